//! Messages to an account about its certificates.
//!
//! Must not know: who is online to read them.

use super::certificates::{all_quoted, quoted};
use crate::identity::{CertificateName, Fingerprint};

/// A certificate was added, `by` whom.
#[must_use]
pub fn added(name: &CertificateName, fingerprint: &Fingerprint, by: &str) -> String {
    format!(
        "The certificate {} (SHA-256 {fingerprint}) was added to your account by {by}. Whoever holds its key can log in as \
         you. If that was not you: revoke it, and change your password.",
        quoted(name)
    )
}

/// One was disabled.
#[must_use]
pub fn disabled(name: &CertificateName, by: &str) -> String {
    format!(
        "The certificate {} was removed from your account by {by}. It can no longer be used to log in; sessions that use it \
         go on. If the device is lost, revoke it, too.",
        quoted(name)
    )
}

/// One was revoked, or several at once.
#[must_use]
pub fn revoked(names: &[&CertificateName], by: &str) -> String {
    let names_in_quotes = all_quoted(names);
    if names.len() == 1 {
        return format!(
            "The certificate {names_in_quotes} was revoked by {by}. Its key can never be used again for your account, and its \
             sessions were closed."
        );
    }
    format!(
        "The certificates {names_in_quotes} were revoked by {by}. Their keys can never be used again for your account, and \
         their sessions were closed."
    )
}
