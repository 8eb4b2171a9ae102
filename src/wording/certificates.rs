//! A certificate of a list, described: for its owner, in a line of an administrator's, or in full.
//!
//! Every text of somebody else's goes through [`visible`] here. Must not know: who may see what.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::identity::visible::visible;
use crate::identity::{
    CertificateName, ClientCert, Fingerprint, Jid, KeyId, LastUse, UnixSeconds, counted,
};

/// The facts about a certificate that people read; also those of a row of `certificate.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The user's name for it.
    pub name: CertificateName,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its key.
    pub key_id: KeyId,
    /// Its addresses.
    pub addresses: Vec<Jid>,
    /// Last second of its validity.
    pub not_after: UnixSeconds,
    /// Has that passed?
    pub expired: bool,
    /// May its sessions add and remove certificates?
    pub may_manage: bool,
    /// When and by whom it was added.
    pub added: Added,
    /// The last login with it.
    pub last_use: Option<LastUse>,
    /// The resources of its live sessions.
    pub resources: Vec<String>,
}

/// When and by whom a certificate was added, or a link made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// When.
    pub at: UnixSeconds,
    /// By what kind of session.
    pub by: AddedBy,
    /// The certificate that this session had logged in with.
    pub fingerprint: Option<Fingerprint>,
    /// Its full JID.
    pub jid: Option<Jid>,
}

/// By what kind of session it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddedBy {
    /// One that had logged in with a certificate.
    Certificate,
    /// One that had logged in with a password.
    Password,
    /// None: an administrator.
    Admin,
}

impl Added {
    /// By whom, for the owner of the account. `name_of`: the name of the certificate of this fingerprint in its list.
    pub(super) fn by_whom(
        &self,
        name_of: impl Fn(&Fingerprint) -> Option<CertificateName>,
    ) -> String {
        let how = match (self.by, self.fingerprint) {
            (AddedBy::Admin, _) => return "an administrator".to_owned(),
            (AddedBy::Password, _) => "with a password".to_owned(),
            (AddedBy::Certificate, of) => match of.and_then(|of| name_of(&of)) {
                Some(name) => format!("with the certificate {}", quoted(&name)),
                None => "with a certificate that is no longer in the list".to_owned(),
            },
        };
        let jid = self.jid.as_ref().map(ToString::to_string);
        let jid = jid.unwrap_or_else(|| "a session".to_owned());
        format!("{}, logged in {how}", visible(&jid))
    }
}

impl Row {
    /// For the owner of the account, in several lines.
    ///
    /// `name_of`: the name of the certificate of this fingerprint in the same list.
    #[must_use]
    pub fn for_owner(&self, name_of: impl Fn(&Fingerprint) -> Option<CertificateName>) -> String {
        let until = if self.expired { "Expired" } else { "Expires" };
        let by = self.added.by_whom(name_of);
        let used = match &self.last_use {
            Some(last) => format!("{}{}", minute(last.at), from(last)),
            None => "none yet".to_owned(),
        };
        let mut out = format!(
            "{until}: {}\nAdded: {} by {by}\nLast login: {used}\nOnline: {}",
            minute(self.not_after),
            minute(self.added.at),
            listed(self.resources.iter().map(|one| visible(one).into_owned()))
                .as_deref()
                .unwrap_or("no"),
        );
        if !self.may_manage {
            out.push_str("\nMay not manage certificates");
        }
        out
    }

    /// For an administrator, in one line of a terminal.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let expired = if self.expired { " (EXPIRED)" } else { "" };
        let used = match &self.last_use {
            Some(last) => format!("last used {}{}", minute(last.at), from(last)),
            None => "never used".to_owned(),
        };
        let online = self.resources.iter().map(|one| in_quotes(&visible(one)));
        let online = listed(online).map_or("no session".to_owned(), |online| {
            let count = self.resources.len();
            format!("{}: {online}", counted(count, "session", "sessions"))
        });
        format!(
            "{}  sha256 {}  valid until {}{expired}  {used}  {online}",
            in_quotes(&visible(self.name.as_str())),
            short(&self.fingerprint),
            day(self.not_after),
        )
    }

    /// All of it, for an administrator, in several lines of a terminal.
    #[must_use]
    pub fn in_full(&self) -> String {
        let used = match &self.last_use {
            Some(last) => format!(
                "last used {} from {}",
                moment(last.at),
                last.address.as_deref().map_or("-".into(), visible)
            ),
            None => "never used".to_owned(),
        };
        let by = match (self.added.by, &self.added.jid) {
            (AddedBy::Admin, _) => "an administrator".to_owned(),
            (how, jid) => {
                let jid = jid.as_ref().map_or("-".to_owned(), ToString::to_string);
                let how = match how {
                    AddedBy::Certificate => "certificate",
                    AddedBy::Password | AddedBy::Admin => "password",
                };
                format!("{} ({how})", visible(&jid))
            }
        };
        let texts = |all: Vec<String>| listed(all.iter().map(|one| visible(one).into_owned()));
        let addresses = self.addresses.iter().map(ToString::to_string).collect();
        let mut out = String::new();
        // Proof, of all that follow: writing to a String never fails.
        let _ = writeln!(out, "{}", visible(self.name.as_str()));
        let mut field = |name: &str, value: &str| {
            let _ = writeln!(out, "  {name:<8} {value}");
        };
        let expired = if self.expired { " (EXPIRED)" } else { "" };
        field("for", &texts(addresses).unwrap_or_default());
        field("valid", &format!("to {}{expired}", moment(self.not_after)));
        field("added", &format!("{} by {by}", moment(self.added.at)));
        field("used", &used);
        let online = texts(self.resources.clone());
        field("online", online.as_deref().unwrap_or("no"));
        field("manages", if self.may_manage { "yes" } else { "no" });
        field("sha-256", &self.fingerprint.to_string());
        field("key", &self.key_id.to_string());
        out
    }
}

/// Warnings for the user of a fresh certificate although it was accepted.
#[must_use]
pub fn cautions(cert: &ClientCert) -> Vec<&'static str> {
    let mut cautions = Vec::new();
    if !cert.names_address_for_clients {
        cautions.push(
            "The certificate has no rfc822Name and no address as common name; Conversations will not find \
             its address in it",
        );
    }
    if cert.claims_authority {
        cautions.push(
            "The certificate claims to be a certificate authority (basicConstraints CA:TRUE), which a \
             client's should not",
        );
    }
    cautions
}

/// Names of certificates, as a sentence has them: `"phone", "tablet"`. Of many the first, and how many more there are: the sentence
/// must fit into a stanza.
#[must_use]
pub fn all_quoted(names: &[&CertificateName]) -> String {
    let some = names.iter().take(MAX_NAMES).map(|name| quoted(name));
    let some = listed(some).unwrap_or_default();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

/// The name of a certificate, as a sentence has it.
#[must_use]
pub fn quoted(name: &CertificateName) -> String {
    format!("\"{}\"", visible(name.as_str()))
}

/// Text that was made [`visible`], in quotes that end where it ends: it can't pass for more than it is.
#[must_use]
pub fn in_quotes(shown: &str) -> String {
    format!("\"{}\"", shown.replace('"', "\\u{22}"))
}

/// The first digits of a fingerprint: as many as tell two certificates apart.
#[must_use]
pub fn short(fingerprint: &Fingerprint) -> String {
    let digits = fingerprint.to_string();
    format!("{}…", digits.get(..16).unwrap_or(&digits))
}

/// `2026-01-01 00:00 UTC`; `never` for the end that RFC 5280, 4.1.2.5 gives to what has none.
#[must_use]
pub fn minute(at: UnixSeconds) -> String {
    let Some(time) = date_of(at) else {
        return "never".to_owned();
    };
    let (day, hour, minute) = (time.date(), time.hour(), time.minute());
    format!("{day} {hour:02}:{minute:02} UTC")
}

/// `2026-01-01 00:00:00 UTC`.
#[must_use]
pub fn second(at: UnixSeconds) -> String {
    let Some(time) = date_of(at) else {
        return "never".to_owned();
    };
    let (day, hour, minute, second) = (time.date(), time.hour(), time.minute(), time.second());
    format!("{day} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `2026-01-01`.
fn day(at: UnixSeconds) -> String {
    date_of(at).map_or("never".to_owned(), |time| time.date().to_string())
}

/// As RFC 3339 writes it.
#[must_use]
pub fn moment(at: UnixSeconds) -> String {
    let time = OffsetDateTime::from_unix_timestamp(at.0).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_default()
}

fn date_of(at: UnixSeconds) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::from_unix_timestamp(at.0).ok();
    time.filter(|_| at < NO_END)
}

fn from(last: &LastUse) -> String {
    let address = last.address.as_deref();
    address.map_or_else(String::new, |address| format!(" from {}", visible(address)))
}

fn listed(texts: impl Iterator<Item = String>) -> Option<String> {
    let all: Vec<String> = texts.collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Most names in one sentence.
const MAX_NAMES: usize = 20;

/// 9999-12-31 23:59:59.
const NO_END: UnixSeconds = UnixSeconds(253_402_300_799);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::policy::fixtures::{cert_naming, other_cert};

    fn row() -> Row {
        let cert = cert_naming(&["hamlet@shakespeare.lit"]);
        Row {
            name: CertificateName::parse("my \"phone\" \u{202e}").unwrap(),
            fingerprint: cert.fingerprint,
            key_id: cert.key_id,
            addresses: cert.addresses,
            not_after: UnixSeconds(1_798_761_600),
            expired: false,
            may_manage: false,
            added: Added {
                at: UnixSeconds(1_767_225_600),
                by: AddedBy::Certificate,
                fingerprint: Some(other_cert().fingerprint),
                jid: Some(Jid::parse("hamlet@shakespeare.lit/desk").unwrap()),
            },
            last_use: Some(LastUse {
                at: UnixSeconds(1_769_904_000),
                address: Some("192.0.2.7".to_owned()),
            }),
            resources: vec!["orchard".to_owned(), "bal\u{200b}cony".to_owned()],
        }
    }

    fn bare() -> Row {
        Row {
            expired: true,
            may_manage: true,
            added: Added {
                at: UnixSeconds(0),
                by: AddedBy::Admin,
                fingerprint: None,
                jid: None,
            },
            last_use: None,
            resources: Vec::new(),
            ..row()
        }
    }

    #[test]
    fn the_owner_reads_all_that_a_person_wants_to_know() {
        let name = CertificateName::parse("tablet").unwrap();
        let known = |of: &Fingerprint| (*of == other_cert().fingerprint).then(|| name.clone());
        assert_eq!(
            row().for_owner(known),
            "Expires: 2027-01-01 00:00 UTC\n\
             Added: 2026-01-01 00:00 UTC by hamlet@shakespeare.lit/desk, logged in with the certificate \"tablet\"\n\
             Last login: 2026-02-01 00:00 UTC from 192.0.2.7\n\
             Online: orchard, bal\\u{200b}cony\n\
             May not manage certificates"
        );
        let gone = row().for_owner(|_| None);
        assert!(gone.contains("logged in with a certificate that is no longer in the list\n"));
        assert_eq!(
            bare().for_owner(|_| None),
            "Expired: 2027-01-01 00:00 UTC\nAdded: 1970-01-01 00:00 UTC by an administrator\n\
             Last login: none yet\nOnline: no"
        );
    }

    #[test]
    fn an_administrator_reads_one_line_that_nobody_else_can_write() {
        let short = short(&row().fingerprint);
        assert_eq!(short.chars().count(), 17);
        assert_eq!(
            row().in_one_line(),
            format!(
                "\"my \\u{{22}}phone\\u{{22}} \\u{{202e}}\"  sha256 {short}  valid until 2027-01-01  \
                 last used 2026-02-01 00:00 UTC from 192.0.2.7  2 sessions: \"orchard\", \"bal\\u{{200b}}cony\""
            )
        );
        assert!(
            bare()
                .in_one_line()
                .ends_with("valid until 2027-01-01 (EXPIRED)  never used  no session")
        );
    }

    #[test]
    fn in_full_nothing_is_left_out() {
        let (row, bare) = (row(), bare());
        assert_eq!(
            row.in_full(),
            format!(
                "my \"phone\" \\u{{202e}}\n  for      hamlet@shakespeare.lit\n  valid    to 2027-01-01T00:00:00Z\n  \
                 added    2026-01-01T00:00:00Z by hamlet@shakespeare.lit/desk (certificate)\n  \
                 used     last used 2026-02-01T00:00:00Z from 192.0.2.7\n  online   orchard, bal\\u{{200b}}cony\n  \
                 manages  no\n  sha-256  {}\n  key      {}\n",
                row.fingerprint, row.key_id,
            )
        );
        let said = bare.in_full();
        assert!(said.contains(" (EXPIRED)\n") && said.contains("by an administrator\n"));
        assert!(said.contains("never used\n") && said.contains("online   no\n"));
    }

    #[test]
    fn of_many_names_some_are_said_and_the_others_counted() {
        let names: Vec<CertificateName> = (1..=1000)
            .map(|number| CertificateName::parse(&number.to_string()).unwrap())
            .collect();
        let names: Vec<&CertificateName> = names.iter().collect();
        let twenty = all_quoted(&names[..20]);
        assert!(twenty.starts_with("\"1\", \"2\", ") && twenty.ends_with("\"19\", \"20\""));
        assert_eq!(all_quoted(&names[..21]), format!("{twenty} and 1 more"));
        assert_eq!(all_quoted(&names), format!("{twenty} and 980 more"));
    }

    #[test]
    fn a_time_is_readable_whatever_the_number() {
        for (seconds, wanted) in [
            (1_767_225_600, "2026-01-01 00:00 UTC"),
            (-1, "1969-12-31 23:59 UTC"),
            (253_402_300_799, "never"),
            (i64::MAX, "never"),
        ] {
            assert_eq!(minute(UnixSeconds(seconds)), wanted);
        }
    }
}
