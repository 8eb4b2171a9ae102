//! The report of an import: a line for each account and certificate as it is decided, and sums.
//!
//! Must not know: where accounts come from, who decides.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::source::Problem;
use crate::identity::visible::{self, visible};
use crate::protocol::{ImportFate, ImportVerdict};

/// The fate of an account or a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReportVerdict {
    /// It is in the daemon now, or would be.
    Taken,
    /// It was there before.
    Unchanged,
    /// Another one of its name was there before, and stays.
    Kept,
    /// It is not in the daemon.
    Refused,
    /// Nobody could decide it: a person must look at it.
    Unclear,
}

/// A verdict, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) verdict: ReportVerdict,
    /// A word for programs.
    pub(super) reason: Option<String>,
    /// A sentence for people.
    pub(super) text: Option<String>,
}

/// One account of the report.
#[derive(Debug)]
pub(super) struct AccountReport {
    pub(super) jid: String,
    /// `None` when only certificates are brought.
    pub(super) login: Option<LoginReport>,
    /// Their names and what became of them.
    pub(super) certificates: Vec<(String, Judgement)>,
}

/// How the account logs in, and what became of that.
#[derive(Debug)]
pub(super) struct LoginReport {
    /// How its password was kept; `None` when nobody can log in with it.
    pub(super) kind: Option<&'static str>,
    pub(super) is_enabled: bool,
    pub(super) judgement: Judgement,
}

/// The report, as it is written.
pub(crate) struct Report<W> {
    out: W,
    is_json: bool,
    accounts: Count,
    certificates: Count,
    problems: u64,
}

/// Numbers of the accounts, or of the certificates.
#[derive(Debug, Default)]
struct Count {
    /// Counted when they are read, not when they are judged.
    found: u64,
    judged: BTreeMap<ReportVerdict, u64>,
    refused_for: BTreeMap<String, u64>,
}

impl ReportVerdict {
    const ALL: [Self; 5] = [
        Self::Taken,
        Self::Unchanged,
        Self::Kept,
        Self::Refused,
        Self::Unclear,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
            Self::Refused => "refused",
            Self::Unclear => "unclear",
        }
    }
}

impl Judgement {
    pub(super) fn refused(reason: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            verdict: ReportVerdict::Refused,
            reason: Some(reason.into()),
            text: Some(text.into()),
        }
    }

    pub(super) fn unclear(reason: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            verdict: ReportVerdict::Unclear,
            ..Self::refused(reason, text)
        }
    }

    /// As the daemon says it.
    pub(super) fn of(said: ImportVerdict) -> Self {
        let kept = "there is an account of this name, whose password is another one or was hashed anew since";
        let verdict = match said.verdict {
            ImportFate::Taken => ReportVerdict::Taken,
            ImportFate::Unchanged => ReportVerdict::Unchanged,
            ImportFate::Kept => ReportVerdict::Kept,
            ImportFate::Refused => ReportVerdict::Refused,
        };
        Self {
            verdict,
            reason: said.reason,
            text: said
                .text
                .or_else(|| (verdict == ReportVerdict::Kept).then(|| kept.to_owned())),
        }
    }

    fn json(&self) -> Value {
        json!({"verdict": self.verdict.name(), "reason": self.reason, "text": self.text})
    }

    /// `refused: The certificate has expired`
    fn for_people(&self) -> String {
        let name = self.verdict.name();
        match &self.text {
            Some(text) => format!("{name}: {}", visible(text)),
            None => name.to_owned(),
        }
    }
}

impl Count {
    fn judge(&mut self, judgement: &Judgement) {
        *self.judged.entry(judgement.verdict).or_default() += 1;
        if judgement.verdict == ReportVerdict::Refused {
            let reason = judgement.reason.clone().unwrap_or_default();
            *self.refused_for.entry(reason).or_default() += 1;
        }
    }

    fn of(&self, verdict: ReportVerdict) -> u64 {
        self.judged.get(&verdict).copied().unwrap_or_default()
    }

    fn json(&self) -> Value {
        let mut count = json!({"found": self.found, "refused_for": self.refused_for});
        for verdict in ReportVerdict::ALL {
            if let Value::Object(fields) = &mut count {
                fields.insert(verdict.name().to_owned(), json!(self.of(verdict)));
            }
        }
        count
    }

    /// `3 found = 2 taken + 0 unchanged + …`
    fn for_people(&self) -> String {
        let parts =
            ReportVerdict::ALL.map(|verdict| format!("{} {}", self.of(verdict), verdict.name()));
        let mut line = format!("{} found = {}", self.found, parts.join(" + "));
        if !self.refused_for.is_empty() {
            let reason = |(reason, number): (&String, &u64)| format!("{number} {reason}");
            let reasons: Vec<_> = self.refused_for.iter().map(reason).collect();
            line.push_str("\n  refused: ");
            line.push_str(&reasons.join(", "));
        }
        line
    }
}

impl<W: Write> Report<W> {
    pub(crate) fn new(out: W, is_json: bool) -> Self {
        Self {
            out,
            is_json,
            accounts: Count::default(),
            certificates: Count::default(),
            problems: 0,
        }
    }

    /// Counts what was read, before it is judged.
    pub(super) fn found(&mut self, accounts: usize, certificates: usize) {
        self.accounts.found += accounts as u64;
        self.certificates.found += certificates as u64;
    }

    /// Writes what became of an account and its certificates.
    pub(super) fn account(&mut self, account: &AccountReport) -> io::Result<()> {
        if let Some(login) = &account.login {
            self.accounts.judge(&login.judgement);
        }
        for (_, judgement) in &account.certificates {
            self.certificates.judge(judgement);
        }
        if self.is_json {
            writeln!(self.out, "{}", visible::json(&account.json().to_string()))
        } else {
            write!(self.out, "{}", account.for_people())
        }
    }

    /// Writes what a person must look at. One that stands for an account counts as a found one.
    pub(super) fn problem(&mut self, problem: &Problem) -> io::Result<()> {
        let Problem { place, text, .. } = problem;
        if problem.is_account {
            self.found(1, 0);
            self.accounts.judge(&Judgement::unclear("unreadable", text));
        } else {
            self.problems += 1;
        }
        if self.is_json {
            let stands_for = problem.is_account.then_some("account");
            let line =
                json!({"type": "problem", "place": place, "stands_for": stands_for, "text": text});
            writeln!(self.out, "{}", visible::json(&line.to_string()))
        } else {
            let (place, text) = (visible(place), visible(text));
            writeln!(self.out, "{place}  unclear: {text}")
        }
    }

    /// Writes the sums, and says whether everything that was found is in the daemon, or would be.
    pub(super) fn finish(&mut self, applied: bool) -> io::Result<bool> {
        if self.is_json {
            let totals = json!({
                "type": "totals", "applied": applied, "accounts": self.accounts.json(),
                "certificates": self.certificates.json(), "other_problems": self.problems,
            });
            writeln!(self.out, "{totals}")?;
        } else {
            writeln!(self.out, "accounts: {}", self.accounts.for_people())?;
            writeln!(self.out, "certificates: {}", self.certificates.for_people())?;
            if self.problems > 0 {
                writeln!(self.out, "other: {} unclear", self.problems)?;
            }
            if !applied {
                writeln!(
                    self.out,
                    "This was a dry run; nothing was changed. To do it: the same command with --apply"
                )?;
            }
        }
        self.out.flush()?;
        let is_in = |count: &Count| {
            count.found == count.of(ReportVerdict::Taken) + count.of(ReportVerdict::Unchanged)
        };
        Ok(is_in(&self.accounts) && is_in(&self.certificates) && self.problems == 0)
    }
}

impl AccountReport {
    fn json(&self) -> Value {
        let login = self.login.as_ref().map(|login| {
            let mut json = login.judgement.json();
            if let Value::Object(fields) = &mut json {
                fields.insert("kind".to_owned(), json!(login.kind));
                fields.insert("enabled".to_owned(), json!(login.is_enabled));
            }
            json
        });
        let certificate = |(name, judgement): &(String, Judgement)| {
            let mut json = judgement.json();
            if let Value::Object(fields) = &mut json {
                fields.insert("name".to_owned(), json!(name));
            }
            json
        };
        let certificates: Vec<_> = self.certificates.iter().map(certificate).collect();
        json!({"type": "account", "account": self.jid, "login": login, "certificates": certificates})
    }

    fn for_people(&self) -> String {
        let jid = visible(&self.jid);
        let mut lines = match &self.login {
            None => format!("{jid}  certificates only\n"),
            Some(login) => {
                let disabled = (!login.is_enabled).then_some("disabled");
                let about: Vec<_> = login.kind.into_iter().chain(disabled).collect();
                let about = match about.as_slice() {
                    [] => String::new(),
                    about => format!(" ({})", about.join(", ")),
                };
                match &login.judgement {
                    Judgement {
                        verdict,
                        text: None,
                        ..
                    } => format!("{jid}  {}{about}\n", verdict.name()),
                    judgement => format!("{jid}  {}{about}\n", judgement.for_people()),
                }
            }
        };
        for (name, judgement) in &self.certificates {
            lines.push_str("    \"");
            lines.push_str(&shortened(name));
            lines.push_str("\"  ");
            lines.push_str(&judgement.for_people());
            lines.push('\n');
        }
        lines
    }
}

fn shortened(name: &str) -> String {
    let mut letters = name.chars();
    let start: String = letters.by_ref().take(MAX_SHOWN_LETTERS).collect();
    let more = if letters.next().is_some() { "…" } else { "" };
    visible(&start).into_owned() + more
}

/// As long as a certificate's name may be.
const MAX_SHOWN_LETTERS: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn judgement(verdict: ReportVerdict) -> Judgement {
        Judgement {
            verdict,
            reason: None,
            text: None,
        }
    }

    fn account(
        jid: &str,
        verdict: ReportVerdict,
        certificates: &[(&str, Judgement)],
    ) -> AccountReport {
        AccountReport {
            jid: jid.to_owned(),
            login: Some(LoginReport {
                kind: Some("SCRAM-SHA-1"),
                is_enabled: jid != "ophelia@denmark.lit",
                judgement: judgement(verdict),
            }),
            certificates: certificates
                .iter()
                .map(|(name, judgement)| ((*name).to_owned(), judgement.clone()))
                .collect(),
        }
    }

    fn written(is_json: bool, applied: bool) -> (String, bool) {
        let mut report = Report::new(Vec::new(), is_json);
        report.found(3, 2);
        let expired = Judgement::refused("cert-expired", "The certificate has expired");
        let certificates = [
            ("phone", judgement(ReportVerdict::Taken)),
            ("old\u{1b}[2J\u{202e}", expired),
        ];
        report
            .account(&account(
                "hamlet@denmark.lit",
                ReportVerdict::Taken,
                &certificates,
            ))
            .unwrap();
        report
            .account(&account(
                "ophelia@denmark.lit",
                ReportVerdict::Unchanged,
                &[],
            ))
            .unwrap();
        let mut yorick = account("yorick@denmark.lit", ReportVerdict::Taken, &[]);
        yorick.login = Some(LoginReport {
            kind: None,
            is_enabled: true,
            judgement: Judgement::refused("no-password", "it has no password yet"),
        });
        report.account(&yorick).unwrap();
        for is_account in [true, false] {
            let place = "data/x\n.dat".to_owned();
            report
                .problem(&Problem {
                    place,
                    is_account,
                    text: "line 1: expected \"return\"".to_owned(),
                })
                .unwrap();
        }
        let is_all_in = report.finish(applied).unwrap();
        (String::from_utf8(report.out).unwrap(), is_all_in)
    }

    #[test]
    fn people_read_a_line_for_each_and_sums() {
        let expected = "\
hamlet@denmark.lit  taken (SCRAM-SHA-1)
    \"phone\"  taken
    \"old\\u{1b}[2J\\u{202e}\"  refused: The certificate has expired
ophelia@denmark.lit  unchanged (SCRAM-SHA-1, disabled)
yorick@denmark.lit  refused: it has no password yet
data/x\\u{a}.dat  unclear: line 1: expected \"return\"
data/x\\u{a}.dat  unclear: line 1: expected \"return\"
accounts: 4 found = 1 taken + 1 unchanged + 0 kept + 1 refused + 1 unclear
  refused: 1 no-password
certificates: 2 found = 1 taken + 0 unchanged + 0 kept + 1 refused + 0 unclear
  refused: 1 cert-expired
other: 1 unclear
";
        let dry =
            "This was a dry run; nothing was changed. To do it: the same command with --apply\n";
        assert_eq!(written(false, true), (expected.to_owned(), false));
        assert_eq!(written(false, false), (format!("{expected}{dry}"), false));
    }

    #[test]
    fn programs_read_a_json_object_a_line() {
        let (lines, _) = written(true, true);
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let kinds: Vec<_> = lines
            .iter()
            .map(|line| line["type"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "account", "account", "account", "problem", "problem", "totals"
            ]
        );
        assert_eq!(
            lines[0],
            json!({"type": "account", "account": "hamlet@denmark.lit",
            "login": {"kind": "SCRAM-SHA-1", "enabled": true, "verdict": "taken", "reason": null, "text": null},
            "certificates": [
                {"name": "phone", "verdict": "taken", "reason": null, "text": null},
                {"name": "old\u{1b}[2J\u{202e}", "verdict": "refused", "reason": "cert-expired",
                    "text": "The certificate has expired"},
            ]})
        );
        assert_eq!(
            lines[5],
            json!({"type": "totals", "applied": true, "other_problems": 1,
                "accounts": {"found": 4, "taken": 1, "unchanged": 1, "kept": 0, "refused": 1, "unclear": 1,
                    "refused_for": {"no-password": 1}},
                "certificates": {"found": 2, "taken": 1, "unchanged": 0, "kept": 0, "refused": 1, "unclear": 0,
                    "refused_for": {"cert-expired": 1}}})
        );
    }

    #[test]
    fn everything_is_in_only_when_nothing_was_refused_kept_or_unclear() {
        for verdict in ReportVerdict::ALL {
            let mut report = Report::new(Vec::new(), false);
            report.found(1, 0);
            report
                .account(&account("hamlet@denmark.lit", verdict, &[]))
                .unwrap();
            let is_in = matches!(verdict, ReportVerdict::Taken | ReportVerdict::Unchanged);
            assert_eq!(report.finish(true).unwrap(), is_in, "{verdict:?}");
        }
    }

    #[test]
    fn a_verdict_of_the_daemon_is_read_and_an_unknown_one_is_an_error() {
        let read = |said: Value| serde_json::from_value(said).map(Judgement::of);
        for (text, shown) in [
            (json!("There is one"), "There is one"),
            (
                json!(null),
                "there is an account of this name, whose password is another one or was hashed anew since",
            ),
        ] {
            let kept = json!({"verdict": "kept", "reason": "account-exists", "text": text});
            let kept = read(kept).unwrap();
            assert_eq!(
                (kept.verdict, kept.text.as_deref()),
                (ReportVerdict::Kept, Some(shown))
            );
        }
        for strange in [json!({"verdict": "adored"}), json!({})] {
            assert!(read(strange).is_err());
        }
    }
}
