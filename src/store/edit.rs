//! What a change writes: steps in an account's list, and the rows of sled's trees that they become.
//!
//! Must not know: who decides a change, how a row is encoded.

use crate::identity::{Account, Disabled, Enrolment, Incarnation, KeyId, UnixSeconds};

/// One step of a change to an account's list.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Write a record; one of the same account and name is replaced.
    Put(Box<Enrolment>),
    /// Remove a record.
    Remove(Box<Enrolment>),
    /// Remember that a key was revoked for this account.
    RevokeKey {
        /// Which key.
        key_id: KeyId,
        /// For which account of the name.
        incarnation: Incarnation,
        /// When.
        at: UnixSeconds,
    },
    /// Forget that.
    UnrevokeKey {
        /// Which key.
        key_id: KeyId,
        /// For which account of the name.
        incarnation: Incarnation,
    },
    /// Remember that a certificate was taken out of the list.
    MarkDisabled(Box<Disabled>),
    /// Forget that.
    ClearDisabled(Box<Disabled>),
    /// Remember which account of the name is the present one.
    SetIncarnation {
        /// Its id.
        incarnation: Incarnation,
        /// Since when it is known.
        since: UnixSeconds,
    },
    /// Forget that.
    ForgetIncarnation,
    /// Write the account itself; one that exists is replaced.
    PutAccount(Box<Account>),
    /// Remove the account itself, and nothing that belongs to it.
    RemoveAccount,
}

/// A step that makes no yes to a login wrong that was right before it.
#[derive(Clone, Debug)]
pub struct Harmless(Edit);

impl Harmless {
    /// Write a record; one of the same account and name is replaced.
    #[must_use]
    pub fn put(held: Enrolment) -> Self {
        Self(Edit::Put(Box::new(held)))
    }

    /// Remove a record: its sessions go on.
    #[must_use]
    pub fn remove(held: Enrolment) -> Self {
        Self(Edit::Remove(Box::new(held)))
    }

    /// Forget that a key was revoked.
    #[must_use]
    pub const fn unrevoke_key(key_id: KeyId, incarnation: Incarnation) -> Self {
        Self(Edit::UnrevokeKey {
            key_id,
            incarnation,
        })
    }

    /// Remember that a certificate was taken out of the list: its sessions go on.
    #[must_use]
    pub fn mark_disabled(mark: Disabled) -> Self {
        Self(Edit::MarkDisabled(Box::new(mark)))
    }

    /// Forget that.
    #[must_use]
    pub fn clear_disabled(mark: Disabled) -> Self {
        Self(Edit::ClearDisabled(Box::new(mark)))
    }

    /// Remember which account of the name is the present one.
    #[must_use]
    pub const fn set_incarnation(incarnation: Incarnation, since: UnixSeconds) -> Self {
        Self(Edit::SetIncarnation { incarnation, since })
    }

    /// Write an account that is new, or is still the one of `before` with the same password. `None`: it is another one.
    #[must_use]
    pub fn put_account(before: Option<&Account>, account: Account) -> Option<Self> {
        let is_same = before.is_none_or(|before| {
            before.incarnation == account.incarnation
                && before.password_changed == account.password_changed
                && before.enabled == account.enabled
        });
        is_same.then(|| Self(Edit::PutAccount(Box::new(account))))
    }
}

impl Harmless {
    /// The edit, if it is one. `before`: the account as it is.
    #[must_use]
    pub fn of(edit: Edit, before: Option<&Account>) -> Option<Self> {
        match edit {
            Edit::RevokeKey { .. } | Edit::RemoveAccount | Edit::ForgetIncarnation => None,
            Edit::PutAccount(account) => Self::put_account(before, *account),
            harmless => Some(Self(harmless)),
        }
    }
}

impl From<Harmless> for Edit {
    fn from(Harmless(edit): Harmless) -> Self {
        edit
    }
}

/// Shown by who keeps every yes to a login back for as long as it lives: the daemon's gate.
pub trait NoYes {}

/// In a unit test nobody logs in.
#[cfg(test)]
impl NoYes for () {}

/// sled's trees, by what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Certificates,
    ByFingerprint,
    Accounts,
    RevokedKeys,
    Disabled,
    Hosts,
    Passwords,
    Meta,
    /// One row about all others.
    Tally,
}

impl Table {
    pub(super) const COUNT: usize = 9;
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Certificates,
        Self::ByFingerprint,
        Self::Accounts,
        Self::RevokedKeys,
        Self::Disabled,
        Self::Hosts,
        Self::Passwords,
        Self::Meta,
        Self::Tally,
    ];
    /// Those whose rows are counted: all but the one that says how many there are.
    pub(super) const COUNTED: &'static [Self] = match Self::ALL.split_last() {
        Some((Self::Tally, counted)) => counted,
        _ => panic!("the tally stands last"),
    };

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Certificates => "certs",
            Self::ByFingerprint => "by_fingerprint",
            Self::Accounts => "accounts",
            Self::RevokedKeys => "revoked_keys",
            Self::Disabled => "disabled",
            Self::Hosts => "hosts",
            Self::Passwords => "passwords",
            Self::Meta => "meta",
            Self::Tally => "tally",
        }
    }
}

/// One row to write, or to remove.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// What a change writes, and what its asker is told when that is on the disk.
pub(super) struct Planned<T> {
    pub(super) rows: Vec<Row>,
    pub(super) outcome: T,
}

impl<T> Planned<T> {
    /// Something was looked at, and nothing is written.
    pub(super) fn nothing(outcome: T) -> Self {
        Self {
            rows: Vec::new(),
            outcome,
        }
    }
}
