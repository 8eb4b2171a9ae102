//! A link by which a device gets a key without a password: the secret in it, and what is remembered of it.
//!
//! Must not know: who may make one, what follows when it is opened.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::enrolment::{CertificateName, Incarnation};
use super::fingerprint::Fingerprint;
use super::hash::{HEX, hash_as_hex};
use super::jid::{BareJid, Jid};
use super::time::UnixSeconds;

/// What becomes of the account when a link is redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// It gets one more certificate.
    Add,
    /// It is made, with this certificate and without a password.
    New,
    /// It gets this certificate in the place of all others, which are revoked.
    Replace,
}

impl LinkKind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::New => "new",
            Self::Replace => "replace",
        }
    }
}

impl FromStr for LinkKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let all = [Self::Add, Self::New, Self::Replace];
        let found = all.into_iter().find(|kind| kind.name() == text);
        found.ok_or(UnknownKind)
    }
}

/// None of the kinds of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a link's kind is add, new or replace")]
pub struct UnknownKind;

/// The secret in a link: 128 random bits, as 22 letters. Whoever has it may redeem the link.
pub struct LinkToken(Zeroizing<String>);

impl LinkToken {
    /// The token of these bits.
    #[must_use]
    pub fn of(noise: &[u8; 16]) -> Self {
        Self(Zeroizing::new(BASE64URL_NOPAD.encode(noise)))
    }

    /// The letters, to be handed to whoever asked for the link, and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The sum by which its link is remembered.
    #[must_use]
    pub fn hash(&self) -> LinkHash {
        LinkHash::of(&self.0)
    }
}

impl fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkToken(…)")
    }
}

/// SHA-256 of a token: nobody can make the link of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkHash([u8; 32]);

hash_as_hex!(LinkHash);

impl LinkHash {
    /// Of what may be a token, or anything else that somebody tries.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// The name of its link for people.
    #[must_use]
    pub fn id(&self) -> LinkId {
        let [a, b, c, d, ..] = self.0;
        LinkId([a, b, c, d])
    }
}

/// A link's name for people: the first 8 hex digits of its hash. No two links of a store have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkId([u8; 4]);

/// Not 8 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a link has 8 hex digits")]
pub struct LinkIdError;

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEX.encode(&self.0))
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LinkId {
    type Err = LinkIdError;

    fn from_str(text: &str) -> Result<Self, LinkIdError> {
        let bytes = HEX.decode(text.to_ascii_lowercase().as_bytes());
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(LinkIdError)
    }
}

impl TryFrom<String> for LinkId {
    type Error = LinkIdError;

    fn try_from(text: String) -> Result<Self, LinkIdError> {
        text.parse()
    }
}

impl From<LinkId> for String {
    fn from(id: LinkId) -> Self {
        id.to_string()
    }
}

/// Who has made a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkMaker {
    /// An administrator.
    Admin,
    /// A session of the account, which had logged in with a password.
    Password {
        /// Its full JID.
        jid: Option<Jid>,
    },
    /// A session of the account, which had logged in with this certificate.
    Certificate {
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// The session's full JID.
        jid: Option<Jid>,
    },
}

/// A link that somebody may redeem. Its token is not remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Of its token.
    pub hash: LinkHash,
    /// For whom it is.
    pub account: BareJid,
    /// Which account of that name. Of a kind that makes the account: the one that it will be.
    pub incarnation: Incarnation,
    /// What happens.
    pub kind: LinkKind,
    /// The name that is proposed for the device.
    pub name: Option<CertificateName>,
    /// When it was made.
    pub created: UnixSeconds,
    /// Who has made it.
    pub maker: LinkMaker,
    /// The same in words, for the account's owner.
    pub by: String,
    /// The first second in which it counts no more.
    pub expires: UnixSeconds,
    /// So often it can still be redeemed.
    pub uses: u16,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_has_22_letters_that_a_fragment_can_carry_and_never_shows_itself() {
        let token = LinkToken::of(&[0xfb; 16]);
        assert_eq!(token.reveal(), "-_v7-_v7-_v7-_v7-_v7-w");
        assert_eq!(format!("{token:?}"), "LinkToken(…)");
        assert_eq!(token.hash(), LinkHash::of(token.reveal()));
    }

    #[test]
    fn an_id_is_the_beginning_of_the_hash() {
        let hash = LinkHash::from_bytes([0xa5; 32]);
        assert_eq!(hash.id().to_string(), "a5a5a5a5");
        assert!(hash.to_string().starts_with("a5a5a5a5"));
        for (text, wanted) in [
            ("a5a5a5a5", Some(hash.id())),
            ("A5A5A5A5", Some(hash.id())),
            ("a5a5a5a", None),
            ("a5a5a5a5a5", None),
            ("x5a5a5a5", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), wanted, "{text}");
        }
    }

    #[test]
    fn kinds_are_found_by_their_names() {
        for kind in [LinkKind::Add, LinkKind::New, LinkKind::Replace] {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!("other".parse::<LinkKind>(), Err(UnknownKind));
    }
}
