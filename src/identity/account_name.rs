//! The name that somebody gives for an account's: nobody need have it, and there are names that nobody can have.
//!
//! Must not know: who exists.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::jid::{BareJid, Host, JidError};
use super::visible::visible;

/// `localpart@host`, of which only the host is known to be one.
///
/// A stranger types the localpart. Prosody takes some that are refused here (characters that are younger than Unicode 3.2, for
/// one): whoever asks about such a name hears no, as of any other that nobody has, and not that it could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AccountName {
    /// There may be an account of this name.
    Possible(BareJid),
    /// There can't be one.
    Impossible {
        /// As it came.
        localpart: String,
        /// The host that it is to be on.
        host: Host,
    },
}

impl AccountName {
    /// Parses `localpart@host`.
    ///
    /// Errors: there is no host in it that can be one.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        if let Ok(account) = BareJid::parse(text) {
            return Ok(Self::Possible(account));
        }
        // At the last one: no host holds any.
        let (localpart, host) = text.rsplit_once('@').ok_or(JidError::NotBare)?;
        Ok(Self::Impossible {
            localpart: localpart.to_owned(),
            host: Host::parse(host)?,
        })
    }

    /// The account of this name, if there can be one.
    #[must_use]
    pub fn account(&self) -> Option<&BareJid> {
        match self {
            Self::Possible(account) => Some(account),
            Self::Impossible { .. } => None,
        }
    }

    /// The host that it is on.
    #[must_use]
    pub fn host(&self) -> &Host {
        match self {
            Self::Possible(account) => account.host(),
            Self::Impossible { host, .. } => host,
        }
    }
}

/// For a line of the log: a name that nobody can have is shortened.
impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Possible(account) => account.fmt(f),
            Self::Impossible { localpart, host } => {
                let shown: String = localpart.chars().take(SHOWN_CHARS).collect();
                write!(f, "{}@{host}", visible(&shown))
            }
        }
    }
}

impl From<BareJid> for AccountName {
    fn from(account: BareJid) -> Self {
        Self::Possible(account)
    }
}

impl TryFrom<String> for AccountName {
    type Error = JidError;
    fn try_from(text: String) -> Result<Self, JidError> {
        Self::parse(&text)
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        match name {
            AccountName::Possible(account) => account.into(),
            AccountName::Impossible { localpart, host } => format!("{localpart}@{host}"),
        }
    }
}

const SHOWN_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_of_a_host_is_possible_exactly_if_it_is_an_accounts_address() {
        let long = format!("{}@rome.lit", "x".repeat(1024));
        for (text, possible) in [
            ("brutus@rome.lit", Some(true)),
            ("BRUTUS@Rome.lit.", Some(true)),
            ("\u{1f642}@rome.lit", Some(false)),
            ("\u{1d2c}@rome.lit", Some(false)),
            ("@rome.lit", Some(false)),
            ("a b@rome.lit", Some(false)),
            ("a@b@rome.lit", Some(false)),
            ("a/b@rome.lit", Some(false)),
            (&long, Some(false)),
            ("rome.lit", None),
            ("brutus@", None),
            ("brutus@rome.lit/orchard", None),
            ("", None),
        ] {
            let name = AccountName::parse(text);
            let found = name.as_ref().ok().map(|name| name.account().is_some());
            assert_eq!(found, possible, "{text}");
            if let Ok(name) = name {
                assert_eq!(name.host().as_str(), "rome.lit");
                assert_eq!(AccountName::try_from(String::from(name.clone())), Ok(name));
            }
        }
    }

    #[test]
    fn a_name_that_nobody_can_have_is_safe_and_short_in_the_log() {
        let name = AccountName::parse(&format!("a\n{}@rome.lit", "x".repeat(9000))).unwrap();
        let expected = format!("a\\u{{a}}{}@rome.lit", "x".repeat(62));
        assert_eq!(name.to_string(), expected);
    }
}
