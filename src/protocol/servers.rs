//! The questions that the daemon asks the module of a server, and its notices to it.
//!
//! Must not know: when, and why.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::identity::{
    BareJid, Fingerprint, Host, Incarnation, KeyId, Outline, ScramHash, UnixSeconds,
};
use crate::policy::live::{Change, Ending};
use crate::wording::endings;

/// A question of the daemon's.
pub trait ServerRequest: Serialize + DeserializeOwned {
    /// How it is called.
    const METHOD: &'static str;
    /// The answer to it.
    type Answer: Serialize + DeserializeOwned;
}

/// A notice from the daemon, which wants no answer.
pub trait ServerNotice: Serialize + DeserializeOwned {
    /// How it is called.
    const METHOD: &'static str;
}

/// The sessions of an account and key, and what they hear. Account and key are texts: of a session whose entry can't be
/// read they are as the server has named them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// Of which account.
    pub account: String,
    /// That logged in with this key.
    pub key_id: String,
    /// With this certificate; with any of the key without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The stream error.
    pub condition: Cow<'static, str>,
    /// In words.
    pub text: Cow<'static, str>,
}

impl Close {
    /// Closes the sessions of this account and key.
    #[must_use]
    pub fn of(account: &BareJid, key_id: &KeyId, ending: Ending) -> Self {
        Self::named(account.to_string(), key_id.to_string(), ending)
    }

    /// Closes the sessions of what was named so.
    #[must_use]
    pub fn named(account: impl Into<String>, key_id: impl Into<String>, ending: Ending) -> Self {
        let (condition, text) = endings::of_session(ending);
        Self {
            account: account.into(),
            key_id: key_id.into(),
            fingerprint: None,
            condition: condition.into(),
            text: text.into(),
        }
    }

    /// Only those of this certificate: of the same key there may be another one.
    #[must_use]
    pub fn with(self, fingerprint: Fingerprint) -> Self {
        Self {
            fingerprint: Some(fingerprint),
            ..self
        }
    }
}

/// `sessions.close`: each session that one of these means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseSessions {
    /// At most a thousand.
    pub close: Vec<Close>,
}

impl ServerRequest for CloseSessions {
    const METHOD: &'static str = "sessions.close";
    type Answer = SessionsClosed;
}

/// How many sessions were closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsClosed {
    /// So many.
    pub closed: u64,
}

/// `account.notify`: the account gets a message from its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyAccount {
    /// The account.
    pub account: BareJid,
    /// The message.
    pub text: String,
}

impl ServerRequest for NotifyAccount {
    const METHOD: &'static str = "account.notify";
    type Answer = Done;
}

/// It was done; there is nothing to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// `account.changed`: somebody else has changed an account; also an entry in the answer to `session.report`. The account is a text: of an
/// entry that can't be read it is as the server has named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountChanged {
    /// The account.
    pub account: String,
    /// The change.
    pub change: AccountChange,
    /// With which stream error all of its sessions are closed; none: they live on.
    pub close: Option<StreamError>,
}

/// How a stream ends (RFC 6120 4.9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamError {
    /// The condition.
    pub condition: Cow<'static, str>,
    /// In words.
    pub text: Cow<'static, str>,
}

impl AccountChanged {
    /// The notice of this change of an account, which may be called as a server has named it.
    #[must_use]
    pub fn of(account: impl Into<String>, change: AccountChange) -> Self {
        let ends = match change {
            AccountChange::Created | AccountChange::Enabled => None,
            AccountChange::Password => Some(Change::Password),
            AccountChange::Disabled => Some(Change::Disabled),
            AccountChange::Deleted => Some(Change::Deleted),
        };
        let close = ends.map(|end| {
            let (condition, text) = endings::of_account(end);
            StreamError {
                condition: condition.into(),
                text: text.into(),
            }
        });
        Self {
            account: account.into(),
            change,
            close,
        }
    }
}

impl ServerRequest for AccountChanged {
    const METHOD: &'static str = "account.changed";
    type Answer = Done;
}

impl From<Change> for AccountChange {
    fn from(change: Change) -> Self {
        match change {
            Change::Deleted => Self::Deleted,
            Change::Disabled => Self::Disabled,
            Change::Password => Self::Password,
        }
    }
}

/// A change of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountChange {
    /// There is one now.
    Created,
    /// It has another password.
    Password,
    /// Nobody may log in as it.
    Disabled,
    /// One may log in as it again.
    Enabled,
    /// There is none any more.
    Deleted,
}

impl AccountChange {
    /// What has become of an account. `None`: nothing that a server has to hear.
    #[must_use]
    pub fn between(before: Option<&Outline>, after: Option<&Outline>) -> Option<Self> {
        match (before, after) {
            (None, None) => None,
            (None, Some(_)) => Some(Self::Created),
            (Some(_), None) => Some(Self::Deleted),
            (Some(before), Some(after)) => {
                let is_other = before.password_changed != after.password_changed
                    || before.incarnation != after.incarnation;
                match (before.enabled, after.enabled) {
                    (true, false) => Some(Self::Disabled),
                    _ if is_other => Some(Self::Password),
                    (false, true) => Some(Self::Enabled),
                    _ => None,
                }
            }
        }
    }
}

/// An account as it was when a session of it logged in.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checked {
    /// The account.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Option<Incarnation>,
    /// When it had got its password; `None` if that does not matter.
    pub password_changed: Option<UnixSeconds>,
}

/// `account.incarnation`: which account of this name lives in the server?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskIncarnation {
    /// The account.
    pub account: BareJid,
    /// Does one that has no incarnation get one?
    pub make: bool,
}

impl ServerRequest for AskIncarnation {
    const METHOD: &'static str = "account.incarnation";
    type Answer = Presence;
}

/// `account.register`: makes an account whose password nobody knows, which is to have this incarnation. One that exists already stays as it is;
/// one that such a question has begun to make is finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterAccount {
    /// The account.
    pub account: BareJid,
    /// Which one of its name it is to be.
    pub incarnation: Incarnation,
}

impl ServerRequest for RegisterAccount {
    const METHOD: &'static str = "account.register";
    type Answer = Presence;
}

/// An account that lives in the server, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Is there one?
    pub exists: bool,
    /// May anybody log in as it?
    #[serde(default)]
    pub enabled: bool,
    /// Which one of its name, if it has an incarnation.
    pub incarnation: Option<Incarnation>,
}

/// `host.scram`: the hashes that every account of a host has are others now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramChanged {
    /// Which host.
    pub host: Host,
    /// The hashes.
    pub scram: Vec<ScramHash>,
}

impl ServerNotice for ScramChanged {
    const METHOD: &'static str = "host.scram";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixtures::{NOW, incarnation};

    #[test]
    fn a_change_of_an_account_is_what_its_servers_have_to_hear() {
        let before = Outline {
            incarnation: incarnation("one"),
            enabled: true,
            password_changed: NOW,
        };
        let of = |change: fn(&mut Outline)| {
            let mut of = before.clone();
            change(&mut of);
            Some(of)
        };
        let same = || Some(before.clone());
        let disabled = || of(|one| one.enabled = false);
        let password = || of(|one| one.password_changed = NOW.plus(1));
        for (before, after, expected) in [
            (None, None, None),
            (None, same(), Some(AccountChange::Created)),
            (same(), None, Some(AccountChange::Deleted)),
            (same(), same(), None),
            (same(), disabled(), Some(AccountChange::Disabled)),
            (disabled(), same(), Some(AccountChange::Enabled)),
            (disabled(), disabled(), None),
            (same(), password(), Some(AccountChange::Password)),
            (
                same(),
                of(|one| one.incarnation = incarnation("two")),
                Some(AccountChange::Password),
            ),
            (disabled(), password(), Some(AccountChange::Password)),
            (password(), disabled(), Some(AccountChange::Disabled)),
        ] {
            let change = AccountChange::between(before.as_ref(), after.as_ref());
            assert_eq!(change, expected, "{before:?} {after:?}");
        }
    }
}
