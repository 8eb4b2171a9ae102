//! The words that a client hears when its session is closed: the stream error, and the sentence beside it.
//!
//! Must not know: whether a session is over, who closes it.

use crate::policy::live::{Change, Ending};

/// Condition and text of a session that a certificate has logged in.
///
/// Source: RFC 6120 4.9.3.16: with `reset`, keys or certificates have expired during the life of the stream.
#[must_use]
pub fn of_session(ending: Ending) -> (&'static str, &'static str) {
    match ending {
        Ending::Revoked => ("not-authorized", "This client certificate has been revoked"),
        Ending::Unkept => ("resource-constraint", "There are too many sessions"),
        Ending::Expired => ("reset", "This client certificate has expired"),
    }
}

/// Condition and text of all sessions of an account that has changed.
#[must_use]
pub fn of_account(change: Change) -> (&'static str, &'static str) {
    match change {
        Change::Deleted => ("not-authorized", "Account deleted"),
        Change::Disabled => ("not-authorized", "Account disabled"),
        Change::Password => ("reset", "Password changed"),
    }
}
