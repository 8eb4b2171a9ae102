//! The edits of a change: steps in an account's list, and the rows that they become, by their tables.
//!
//! Must not know: who decides a change, how a row is encoded.

use std::sync::Arc;

use crate::identity::{
    Account, ClientCert, Disabled, Enrolment, Incarnation, KeyId, Link, LinkHash, UnixSeconds,
};

/// One step of a change to an account's list.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Write a record; one of the same account and name is replaced.
    Put {
        /// The record.
        held: Box<Enrolment>,
        /// Its certificate, if the asker has parsed it already: else the writer, for which all others wait, has to.
        cert: Option<Arc<ClientCert>>,
    },
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
    /// Forget that a key was revoked.
    UnrevokeKey {
        /// Which key.
        key_id: KeyId,
        /// For which account of the name.
        incarnation: Incarnation,
    },
    /// Remember that a certificate was taken out of the list.
    MarkDisabled(Box<Disabled>),
    /// Forget that a certificate was taken out of the list.
    ClearDisabled(Box<Disabled>),
    /// Remember which account of the name is the present one.
    SetIncarnation {
        /// Its id.
        incarnation: Incarnation,
        /// Since when it is known.
        since: UnixSeconds,
    },
    /// Forget which account of the name is the present one.
    ForgetIncarnation,
    /// Write the account itself; one that exists is replaced.
    PutAccount(Box<Account>),
    /// Remove the account itself, and nothing that belongs to it.
    RemoveAccount,
    /// Write a link; one with the same hash is replaced.
    PutLink(Box<Link>),
    /// Remove a link.
    RemoveLink(LinkHash),
}

impl Edit {
    /// Write a record with a certificate that nobody has parsed yet.
    #[must_use]
    pub fn put(held: Enrolment) -> Self {
        Self::Put {
            held: Box::new(held),
            cert: None,
        }
    }
}

/// The tables, by what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Certificates,
    /// The facts that a login needs of each certificate, by its fingerprint; they follow from other tables.
    Known,
    Accounts,
    RevokedKeys,
    Disabled,
    Hosts,
    Passwords,
    Meta,
    /// Which certificate expires when; follows from others.
    Expiry,
    /// How much there is of each host; follows from others.
    Counts,
    /// The links that can be redeemed.
    Links,
    /// One row about all others.
    Tally,
}

impl Table {
    pub(super) const COUNT: usize = 12;
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Certificates,
        Self::Known,
        Self::Accounts,
        Self::RevokedKeys,
        Self::Disabled,
        Self::Hosts,
        Self::Passwords,
        Self::Meta,
        Self::Expiry,
        Self::Counts,
        Self::Links,
        Self::Tally,
    ];
    /// Those whose rows are counted: all but the one that says how many there are.
    pub(super) const COUNTED: &'static [Self] = match Self::ALL.split_last() {
        Some((Self::Tally, counted)) => counted,
        _ => panic!("the tally stands last"),
    };

    /// Those whose rows follow from the others'.
    pub(super) const DERIVED: [Self; 3] = [Self::Known, Self::Expiry, Self::Counts];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Certificates => "certs",
            Self::Known => "known",
            Self::Accounts => "accounts",
            Self::RevokedKeys => "revoked_keys",
            Self::Disabled => "disabled",
            Self::Hosts => "hosts",
            Self::Passwords => "passwords",
            Self::Meta => "meta",
            Self::Expiry => "expiry",
            Self::Counts => "counts",
            Self::Links => "links",
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
