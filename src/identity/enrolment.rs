//! A certificate in an account's list: what is remembered of it.
//!
//! Must not know: how it is stored, and by which rules it was let in.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::as_text::as_text;
use super::certificate::ClientCert;
use super::fingerprint::{Fingerprint, KeyId};
use super::jid::{BareJid, Jid};
use super::time::UnixSeconds;

/// The name that a user gave a certificate: trimmed, 1 to 256 bytes, no control characters, nothing that XML can't carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateName(Arc<str>);

/// Not 1 to 256 bytes, or with control characters or what XML can't carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a certificate's name has 1 to 256 bytes, no control characters and nothing that XML can't carry"
)]
pub struct NameError;

impl CertificateName {
    /// The name in `text`, without the white space around it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text.trim();
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len());
        // XML carries neither of the two (XML 1.0 section 2.2), so no user could take the certificate out again.
        let is_bad =
            |letter: char| letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}');
        if !fits || name.chars().any(is_bad) {
            return Err(NameError);
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which account of a name is meant: a random id that lives and dies with the account, so that a later one of
/// the same name inherits nothing. 1 to 64 characters of `A-Za-z0-9-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(Arc<str>);

/// Not 1 to 64 characters of `A-Za-z0-9-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an incarnation has 1 to 64 characters of A-Z, a-z, 0-9 and -")]
pub struct IncarnationError;

impl Incarnation {
    /// The incarnation in `text`.
    pub fn parse(text: &str) -> Result<Self, IncarnationError> {
        let fits = (1..=64).contains(&text.len());
        if !fits || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(IncarnationError);
        }
        Ok(Self(text.into()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A certificate that an account has enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The account of its list.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Incarnation,
    /// The user's name for it, unique in the list.
    pub name: CertificateName,
    /// The certificate.
    pub der: Vec<u8>,
    /// SHA-256 of `der`.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its key.
    pub key_id: KeyId,
    /// Its addresses.
    pub addresses: Vec<Jid>,
    /// First second of its validity.
    pub not_before: UnixSeconds,
    /// Last second of its validity.
    pub not_after: UnixSeconds,
    /// May a session that logged in with it add and remove certificates?
    pub may_manage: bool,
    /// Its place in the list: larger is later.
    pub order: u64,
    /// When it was added.
    pub added_at: UnixSeconds,
    /// By which session.
    pub added_by: AddedBy,
    /// The last login with it; written some time after the fact.
    pub last_use: Option<LastUse>,
}

impl Enrolment {
    /// Does the record hold this very certificate, byte for byte?
    #[must_use]
    pub fn holds(&self, cert: &ClientCert) -> bool {
        self.der == cert.der
    }
}

/// An account in whose list a certificate stands, and what a login needs of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The account of the list.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Incarnation,
    /// The user's name for the certificate.
    pub name: CertificateName,
    /// May a session that logged in with it add and remove certificates?
    pub may_manage: bool,
}

/// The certificates of all accounts of one name, any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountList {
    /// Its certificates.
    pub enrolments: Vec<Enrolment>,
    /// The incarnation that last enrolled a certificate, and since when it is known.
    pub incarnation: Option<(Incarnation, UnixSeconds)>,
}

/// A certificate that was taken out of an account's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// Of which account of the name.
    pub incarnation: Incarnation,
    /// Its name in the list.
    pub name: CertificateName,
    /// Which certificate.
    pub fingerprint: Fingerprint,
    /// Its key: sessions that logged in with it may live on.
    pub key_id: KeyId,
    /// When it expires by itself.
    pub not_after: UnixSeconds,
}

/// The session that added a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedBy {
    /// The certificate that it logged in with; `None` for a password.
    pub certificate: Option<Fingerprint>,
    /// Its full JID.
    pub jid: Option<Jid>,
}

/// One login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// When.
    pub at: UnixSeconds,
    /// From which address, as the server saw it.
    pub address: Option<String>,
}

/// Longest name of a certificate.
pub const MAX_NAME_BYTES: usize = 256;

macro_rules! text_newtype {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        as_text!(whole $name);
    };
}

text_newtype!(CertificateName);
text_newtype!(Incarnation);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        let long = "n".repeat(256);
        for (text, expected) in [
            ("phone", Some("phone")),
            ("  phone\n", Some("phone")),
            ("\u{1f4f1} <&>\"'", Some("\u{1f4f1} <&>\"'")),
            (long.as_str(), Some(long.as_str())),
            ("", None),
            (" \t", None),
            ("a\u{0}b", None),
            ("a\nb", None),
            ("a\u{85}b", None),
            ("a\u{fffe}", None),
            ("\u{ffff}b", None),
        ] {
            let got = CertificateName::parse(text).ok();
            assert_eq!(got.as_ref().map(CertificateName::as_str), expected);
        }
        assert!(CertificateName::parse(&format!("{long}n")).is_err());
    }

    #[test]
    fn incarnations_are_short_and_plain() {
        for (text, valid) in [
            ("6f1d2c-A", true),
            ("", false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(Incarnation::parse(text).is_ok(), valid, "{text:?}");
        }
    }
}
