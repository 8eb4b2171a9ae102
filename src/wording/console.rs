//! The words for an administrator in Prosody's shell or with `prosodyctl`: a closing sentence, and lines before it.
//!
//! Must not know: who asks, and how it is shown.

use super::certificates::{in_quotes, second, short};
use super::sharing::Sharer;
use crate::identity::visible::visible;
use crate::identity::{
    BareJid, CertificateName, Fingerprint, KeyId, ScramHash, UnixSeconds, counted,
};

/// An account is needed.
pub const WHOSE: &str = "Whose? An account (user@host) is needed";
/// Something else was given.
pub const NO_ACCOUNT: &str = "This is not an account (user@host)";
/// A name is needed.
pub const WHICH: &str = "Which certificate? Its name is needed";

/// Nobody serves the account's host.
#[must_use]
pub fn no_host(account: &BareJid) -> String {
    format!("{} is no host with saslcertd here", account.host())
}

/// There is no such account.
#[must_use]
pub fn missing(account: &BareJid) -> String {
    format!("There is no account {}", visible(&account.to_string()))
}

/// There is no certificate of that name.
#[must_use]
pub fn unknown_name(account: &BareJid) -> String {
    let account = account.to_string();
    format!("{} has no certificate with this name", visible(&account))
}

/// So many there are.
#[must_use]
pub fn listed(count: usize, account: &BareJid) -> String {
    format!(
        "{} of {}",
        counted(count, "certificate", "certificates"),
        visible(&account.to_string())
    )
}

/// The line of one that was disabled.
#[must_use]
pub fn disabled(name: &CertificateName, fingerprint: &Fingerprint) -> String {
    format!(
        "{}  sha256 {}  disabled; it can still be revoked",
        in_quotes(&visible(name.as_str())),
        short(fingerprint)
    )
}

/// One was revoked, which closed so many `sessions` that were known of.
#[must_use]
pub fn revoked(
    name: &CertificateName,
    fingerprint: &Fingerprint,
    account: &BareJid,
    sessions: usize,
) -> String {
    let closed = match sessions {
        0 => "its sessions are closed".to_owned(),
        count => format!("{} closed", counted(count, "session", "sessions")),
    };
    format!(
        "Revoked {} of {} (sha256 {}); {closed}",
        in_quotes(&visible(name.as_str())),
        visible(&account.to_string()),
        short(fingerprint)
    )
}

/// The lines before that: `others` had the same key.
#[must_use]
pub fn revoked_too(others: &[&CertificateName], account: &BareJid, key_id: &KeyId) -> Vec<String> {
    let gone = others.iter().map(|name| {
        let name = in_quotes(&visible(name.as_str()));
        format!("{name} had the same key, and is gone, too")
    });
    let account = account.to_string();
    let lift = format!(
        "To lift it: saslcertd cert unrevoke {} {key_id}",
        visible(&account)
    );
    gone.chain([lift]).collect()
}

/// How things stand, as the daemon that answers knows it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where it listens, as the asker calls it.
    pub socket: String,
    /// Since when it is asked there, if that is known.
    pub since: Option<UnixSeconds>,
    /// Live sessions that logged in with a certificate, if there can be some.
    pub sessions: Option<u64>,
    /// Which the asker serves.
    pub hosts: Vec<HostStatus>,
    /// The daemons that share the store.
    pub sharing: SharingStatus,
}

/// How those are that share a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharingStatus {
    /// Nobody can share it.
    Alone,
    /// These do.
    Shared {
        /// Each daemon, this one among them.
        daemons: Vec<Sharer>,
        /// Why an answered revocation may be lost, in words.
        standby_problem: Option<String>,
    },
    /// Nobody can say: the store can't be asked.
    Away {
        /// Why, in words.
        problem: String,
    },
}

/// How a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// May somebody log in there?
    pub readiness: Readiness,
    /// Its accounts live in the daemon, and all of them have these hashes.
    pub scram: Option<Vec<ScramHash>>,
}

/// May somebody log in on a host?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// No: these options are in error.
    NotReady {
        /// The problems with them.
        errors: Vec<String>,
    },
    /// Nobody has declared it.
    Undeclared,
    /// No: another module takes the logins there.
    Withdrawn,
}

impl Status {
    /// Whether all is well, the closing sentence, and the lines before it.
    #[must_use]
    pub fn in_words(mut self) -> (bool, String, Vec<String>) {
        let since = self
            .since
            .map_or(String::new(), |at| format!(" since {}", second(at)));
        let version = env!("CARGO_PKG_VERSION");
        let socket = visible(&self.socket);
        let mut lines = vec![format!(
            "Connected{since} to saslcertd {version} at {socket}"
        )];
        self.hosts.sort_by(|one, other| one.name.cmp(&other.name));
        lines.extend(self.hosts.iter().map(HostStatus::line));
        if let Some(count) = self.sessions {
            let sessions = counted(count, "session", "sessions");
            lines.push(format!("{sessions} logged in with a certificate"));
        }
        lines.extend(self.sharing.lines());
        if matches!(self.sharing, SharingStatus::Away { .. }) {
            return (false, "The store can't be asked".to_owned(), lines);
        }
        let unready = self.hosts.iter().filter(|host| host.is_unready());
        let unready: Vec<_> = unready.map(|host| visible(&host.name)).collect();
        if unready.is_empty() {
            (true, "All is well".to_owned(), lines)
        } else {
            (false, format!("Not ready: {}", unready.join(", ")), lines)
        }
    }
}

impl SharingStatus {
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Alone => Vec::new(),
            Self::Shared {
                daemons,
                standby_problem,
            } => {
                let daemon = |one: &Sharer| format!("Daemon {}", one.in_one_line());
                let problem = standby_problem.as_ref();
                let problem = problem.map(|problem| format!("WARNING: {problem}"));
                daemons.iter().map(daemon).chain(problem).collect()
            }
            Self::Away { problem } => vec![visible(problem).into_owned()],
        }
    }
}

impl HostStatus {
    fn is_unready(&self) -> bool {
        matches!(
            self.readiness,
            Readiness::NotReady { .. } | Readiness::Withdrawn
        )
    }

    fn line(&self) -> String {
        let how = match &self.readiness {
            Readiness::Ready => "ready".to_owned(),
            Readiness::NotReady { errors } => format!("NOT ready: {}", errors.join("; ")),
            Readiness::Undeclared => "not declared to saslcertd yet".to_owned(),
            Readiness::Withdrawn => "withdrawn because of another module, see the log".to_owned(),
        };
        let accounts = match &self.scram {
            None => "accounts in Prosody".to_owned(),
            Some(hashes) if hashes.is_empty() => "accounts in saslcertd".to_owned(),
            Some(hashes) => {
                let names: Vec<String> = hashes
                    .iter()
                    .map(|hash| format!("SCRAM-{}", hash.name()))
                    .collect();
                format!("accounts in saslcertd ({})", names.join(", "))
            }
        };
        format!("{}: {how}; {accounts}", visible(&self.name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    fn host(name: &str, readiness: Readiness) -> HostStatus {
        HostStatus {
            name: name.to_owned(),
            readiness,
            scram: None,
        }
    }

    fn status(hosts: Vec<HostStatus>) -> Status {
        Status {
            socket: "/run/saslcertd.sock".to_owned(),
            since: None,
            sessions: None,
            hosts,
            sharing: SharingStatus::Alone,
        }
    }

    #[test]
    fn each_host_has_a_line_and_the_sentence_names_those_that_are_not_ready() {
        let errors = vec!["saslcertd_trust = \"all\"".to_owned(), "no".to_owned()];
        let rome = HostStatus {
            scram: Some(ScramHash::ALL.to_vec()),
            ..host("rome.lit", Readiness::Ready)
        };
        let new = HostStatus {
            scram: Some(Vec::new()),
            ..host("new.lit", Readiness::Undeclared)
        };
        let (ok, text, lines) = status(vec![
            host("shakespeare.lit", Readiness::Withdrawn),
            rome,
            new,
            host("denmark.lit", Readiness::NotReady { errors }),
        ])
        .in_words();
        assert_eq!(
            (ok, &*text),
            (false, "Not ready: denmark.lit, shakespeare.lit")
        );
        let connected = concat!(
            "Connected to saslcertd ",
            env!("CARGO_PKG_VERSION"),
            " at /run/saslcertd.sock"
        );
        assert_eq!(
            lines,
            [
                connected,
                "denmark.lit: NOT ready: saslcertd_trust = \"all\"; no; accounts in Prosody",
                "new.lit: not declared to saslcertd yet; accounts in saslcertd",
                "rome.lit: ready; accounts in saslcertd (SCRAM-SHA-1, SCRAM-SHA-256)",
                "shakespeare.lit: withdrawn because of another module, see the log; accounts in Prosody",
            ]
        );
    }

    #[test]
    fn a_store_that_cannot_be_asked_is_not_well_and_a_missing_standby_is_warned_of() {
        let with = |sharing| {
            let status = Status {
                sharing,
                ..status(vec![host("denmark.lit", Readiness::Ready)])
            };
            status.in_words()
        };
        let problem = "the database cannot be asked".to_owned();
        let (ok, text, lines) = with(SharingStatus::Away { problem });
        assert_eq!((ok, &*text), (false, "The store can't be asked"));
        assert_eq!(lines[2], "the database cannot be asked");
        let (ok, _, lines) = with(SharingStatus::Shared {
            daemons: Vec::new(),
            standby_problem: Some("none".to_owned()),
        });
        assert!(ok);
        assert_eq!(lines[2], "WARNING: none");
    }

    #[test]
    fn what_is_well_is_said_with_the_sessions_that_there_are() {
        let status = Status {
            since: Some(UnixSeconds(1_767_225_600)),
            sessions: Some(1),
            ..status(vec![host("denmark.lit", Readiness::Ready)])
        };
        let (ok, text, lines) = status.in_words();
        assert_eq!((ok, &*text), (true, "All is well"));
        assert!(lines[0].starts_with("Connected since 2026-01-01 00:00:00 UTC to saslcertd "));
        assert_eq!(lines[2], "1 session logged in with a certificate");
    }
}
