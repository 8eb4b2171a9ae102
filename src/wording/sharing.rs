//! The words about daemons that share a database: a line for each, and what is wrong with its standby.
//!
//! Must not know: who asks, where it is shown.

use std::time::Duration;

use crate::identity::counted;
use crate::identity::visible::visible;
use crate::policy::standby::StandbyWord;

/// A daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharer {
    /// The name of its machine.
    pub machine: String,
    /// Its process there.
    pub pid: u32,
    /// Is it the one that answers?
    pub is_this: bool,
    /// For how long it is silent, if it is.
    pub silent_seconds: Option<u64>,
    /// How many changes it has not seen.
    pub behind: u64,
    /// How long its askers wait, in milliseconds.
    pub waits_ms: u64,
}

impl Sharer {
    /// One line.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let this = if self.is_this { ", this one" } else { "" };
        let lease = match self.silent_seconds {
            None => "has a lease".to_owned(),
            Some(seconds) => format!("SILENT for {}", duration(seconds)),
        };
        let behind = match self.behind {
            0 => "has seen every change".to_owned(),
            behind => format!("{} behind", counted(behind, "change", "changes")),
        };
        format!(
            "{} (process {}{this}): {lease}, {behind}, its askers wait for {} s at most",
            visible(&self.machine),
            self.pid,
            Duration::from_millis(self.waits_ms).as_secs_f64()
        )
    }
}

/// For a user: of whose revocation not all daemons could be told.
pub const SILENT: &str = "One of the servers does not answer: sessions there are closed as soon as it does, and until then nobody can log in there";

/// Which daemons could not be told of what was taken back; `None`: all were.
#[must_use]
pub fn silent(daemons: &[String]) -> Option<String> {
    let names: Vec<_> = daemons.iter().map(|name| visible(name)).collect();
    let them = match names.len() {
        0 => return None,
        1 => "it is",
        _ => "they are",
    };
    Some(format!(
        "{} could not be told: nobody is let in there by it any more, and the sessions there are closed when {them} back",
        names.join(", ")
    ))
}

/// Why an answered revocation may be lost, and the line that mends it; `None`: it is not. `role`: the one that asks, as SQL writes it.
#[must_use]
pub fn standby_problem(word: StandbyWord, names: &str, role: &str) -> Option<String> {
    let names = visible(names);
    match word {
        StandbyWord::Kept | StandbyWord::NotNeeded => None,
        StandbyWord::Unnamed => Some(
            "several daemons share the database, and it has no synchronous standby: what was revoked last can be lost with its machine. \
             On it: ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'; SELECT pg_reload_conf()"
                .to_owned(),
        ),
        StandbyWord::Gone => Some(format!(
            "none of the database's synchronous standbys is there ({names}): every change waits for one, unless somebody has ended that \
             wait. Start one, or see docs/several-machines.md"
        )),
        StandbyWord::Unseen => Some(format!(
            "changes wait for a synchronous standby of the database ({names}); whether one is there cannot be seen by {}. As an \
             administrator of the database: GRANT pg_monitor TO {}",
            visible(role),
            visible(role)
        )),
    }
}

/// `7 s`, `12 min`: as exactly as somebody wants to know it.
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_daemon_is_one_line() {
        let this = Sharer {
            machine: "one\u{1b}".to_owned(),
            pid: 7,
            is_this: true,
            silent_seconds: None,
            behind: 0,
            waits_ms: 2000,
        };
        assert_eq!(
            this.in_one_line(),
            "one\\u{1b} (process 7, this one): has a lease, has seen every change, its askers wait for 2 s at most"
        );
        let other = Sharer {
            machine: "two".to_owned(),
            is_this: false,
            silent_seconds: Some(130),
            behind: 1,
            waits_ms: 1050,
            ..this
        };
        assert_eq!(
            other.in_one_line(),
            "two (process 7): SILENT for 2 min, 1 change behind, its askers wait for 1.05 s at most"
        );
    }

    #[test]
    fn who_could_not_be_told_is_named() {
        assert_eq!(silent(&[]), None);
        let said = silent(&["a (process 1)".to_owned(), "b (process 2)".to_owned()]).unwrap();
        assert!(
            said.contains("a (process 1), b (process 2) could not be told"),
            "{said}"
        );
        assert!(said.ends_with("when they are back"), "{said}");
    }

    #[test]
    fn what_may_be_lost_is_said_with_the_line_that_mends_it() {
        let problem = |word| standby_problem(word, "ANY 1 (*)", "\"s\"");
        assert_eq!(problem(StandbyWord::Kept), None);
        assert_eq!(problem(StandbyWord::NotNeeded), None);
        for (word, expected) in [
            (
                StandbyWord::Unnamed,
                "ALTER SYSTEM SET synchronous_standby_names",
            ),
            (StandbyWord::Gone, "ANY 1 (*)"),
            (StandbyWord::Unseen, "GRANT pg_monitor TO \"s\""),
        ] {
            let said = problem(word).unwrap();
            assert!(said.contains(expected), "{said}");
        }
    }
}
