//! Messages to an account about its certificates.
//!
//! Must not know: who is online to read them.

use time::OffsetDateTime;

use super::certificates::{all_quoted, minute, quoted};
use crate::identity::visible::visible;
use crate::identity::{CertificateName, Fingerprint, Jid, LinkId, UnixSeconds, days};

/// The author of a change to a list, as its owner and the log read it.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// Somebody at the machine's command line.
    CommandLine {
        /// As which of its users.
        uid: u32,
    },
    /// Somebody in the server's shell.
    Administrator,
    /// A session of the account.
    Session {
        /// Its full JID, if it is known.
        jid: Option<&'a Jid>,
        /// Its proof at the login.
        with: With,
        /// Where it comes from.
        address: Option<&'a str>,
    },
}

/// The proof by which a session has logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// A password.
    Password,
    /// A token, or what counts as one.
    Token,
    /// A certificate.
    Certificate,
}

impl With {
    fn in_words(self) -> &'static str {
        match self {
            Self::Password => "a password",
            Self::Token => "a token",
            Self::Certificate => "a certificate",
        }
    }
}

impl By<'_> {
    /// In words that nobody else can write.
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Self::CommandLine { uid } => format!("the server's administrator (user {uid})"),
            Self::Administrator => "an administrator of the server".to_owned(),
            Self::Session { jid, with, address } => {
                let jid = jid.map_or("a session".to_owned(), ToString::to_string);
                let (jid, with) = (visible(&jid), with.in_words());
                format!("{jid} (logged in with {with}{})", from(address))
            }
        }
    }
}

/// A certificate was added, `by` whom.
#[must_use]
pub fn added(name: &CertificateName, fingerprint: &Fingerprint, by: &str) -> String {
    format!(
        "The certificate {} (SHA-256 {fingerprint}) was added to your account by {by}. Whoever holds its key can log in as \
         you. If that was not you: revoke it, and change your password.",
        quoted(name)
    )
}

/// A certificate was added by a link that was made `by` somebody; `revoked`: those that it has replaced.
#[must_use]
pub fn added_by_link(
    (name, fingerprint): (&CertificateName, &Fingerprint),
    by: &str,
    address: Option<&str>,
    revoked: &[&CertificateName],
) -> String {
    let text = format!(
        "A link that was made by {by} was opened{}: by it the certificate {} (SHA-256 {fingerprint}) was added to your account. \
         Whoever holds its key can log in as you.",
        from(address),
        quoted(name),
    );
    let replaced = match revoked {
        [] => String::new(),
        [one] => format!(
            " It has replaced {}, which was revoked. {WHO_KNOWS_THE_PASSWORD}",
            quoted(one)
        ),
        all => format!(
            " It has replaced {}, which were revoked. {WHO_KNOWS_THE_PASSWORD}",
            all_quoted(all)
        ),
    };
    format!("{text}{replaced} If that was not you: revoke it, and tell the server's administrator.")
}

/// Certificates alone were revoked.
const WHO_KNOWS_THE_PASSWORD: &str =
    "Whoever knows your password can still log in: change it, too, if somebody else may.";

/// A session of the account has made a link.
#[must_use]
pub fn link_made(id: LinkId, expires: UnixSeconds, by: &str) -> String {
    format!(
        "A link ({id}) that gives a device a key for your account was made by {by}. It can be used once, until {}. If that \
         was not you: revoke all certificates but one, which ends links, too, and change your password.",
        minute(expires)
    )
}

/// ", from 192.0.2.7", if that is known.
fn from(address: Option<&str>) -> String {
    address.map_or_else(String::new, |address| {
        let address: String = address.chars().take(MAX_SHOWN_ADDRESS).collect();
        format!(", from {}", visible(&address))
    })
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

/// One expires soon.
#[must_use]
pub fn expires(name: &CertificateName, not_after: UnixSeconds, now: UnixSeconds) -> String {
    format!(
        "The certificate {} of your account expires {}. Then it can no longer be used to log in: add a new one before that.",
        quoted(name),
        day_of(not_after, now)
    )
}

/// "on 2026-01-31 (in 7 days)".
fn day_of(moment: UnixSeconds, now: UnixSeconds) -> String {
    let left = days(moment.0.saturating_sub(now.0) / SECONDS_PER_DAY);
    let left = format!("in {left}");
    OffsetDateTime::from_unix_timestamp(moment.0)
        .map(|time| format!("on {} ({left})", time.date()))
        .unwrap_or(left)
}

const SECONDS_PER_DAY: i64 = 24 * 3600;
/// Characters of a client's address.
const MAX_SHOWN_ADDRESS: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn who_changed_a_list_is_named_in_words_that_nobody_else_can_write() {
        let jid = Jid::parse("h@a.lit/x").unwrap();
        let session = |jid, with, address| By::Session { jid, with, address };
        for (by, wanted) in [
            (
                By::CommandLine { uid: 7 },
                "the server's administrator (user 7)",
            ),
            (By::Administrator, "an administrator of the server"),
            (
                session(Some(&jid), With::Password, Some("192.0.2.7\n")),
                "h@a.lit/x (logged in with a password, from 192.0.2.7\\u{a})",
            ),
            (
                session(None, With::Token, None),
                "a session (logged in with a token)",
            ),
        ] {
            assert_eq!(by.in_words(), wanted);
        }
    }

    #[test]
    fn who_made_a_link_and_what_it_has_replaced_is_said() {
        let name = |text| CertificateName::parse(text).unwrap();
        let (new, one, two) = (name("phone"), name("old"), name("older"));
        let fingerprint = Fingerprint::of(b"x");
        for (address, revoked, parts) in [
            (
                None,
                vec![],
                ["was opened: by it", "log in as you. If that"],
            ),
            (
                Some("192.0.2.7\n"),
                vec![&one],
                [
                    "was opened, from 192.0.2.7\\u{a}: by it",
                    "It has replaced \"old\", which was revoked.",
                ],
            ),
            (
                None,
                vec![&one, &two],
                [
                    "made by me",
                    "It has replaced \"old\", \"older\", which were revoked.",
                ],
            ),
        ] {
            let text = added_by_link((&new, &fingerprint), "me", address, &revoked);
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[test]
    fn what_expires_soon_has_a_day_and_how_long_that_is() {
        let name = CertificateName::parse("phone").unwrap();
        let now = UnixSeconds(1_795_219_200);
        for (seconds, wanted) in [
            (7 * SECONDS_PER_DAY, "on 2026-11-28 (in 7 days)"),
            (SECONDS_PER_DAY, "on 2026-11-22 (in 1 day)"),
        ] {
            let text = expires(&name, now.plus(seconds), now);
            let start = format!("The certificate \"phone\" of your account expires {wanted}. ");
            assert!(text.starts_with(&start), "{text}");
        }
    }
}
