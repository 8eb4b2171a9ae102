//! An account whose password lives here.
//!
//! Must not know: how it is stored, how its password is tried.

use super::enrolment::Incarnation;
use super::jid::BareJid;
use super::password::{Look, ScramHash, ScramVerifier};
use super::time::UnixSeconds;

/// An account whose password lives here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its address.
    pub jid: BareJid,
    /// Which account of that name.
    pub incarnation: Incarnation,
    /// May anybody log in as it?
    pub enabled: bool,
    /// When it was created.
    pub created: UnixSeconds,
    /// When it got its present password.
    pub password_changed: UnixSeconds,
    /// At most one for each hash, and all of one password.
    pub verifiers: Vec<ScramVerifier>,
}

impl Account {
    /// Its verifier for `hash`.
    #[must_use]
    pub fn verifier(&self, hash: ScramHash) -> Option<&ScramVerifier> {
        self.verifiers
            .iter()
            .find(|verifier| verifier.hash() == hash)
    }

    /// Its verifier of the strongest hash.
    #[must_use]
    pub fn strongest(&self) -> Option<&ScramVerifier> {
        self.verifiers.iter().max_by_key(|verifier| verifier.hash())
    }

    /// What a session of it rests on.
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline {
            incarnation: self.incarnation.clone(),
            enabled: self.enabled,
            password_changed: self.password_changed,
        }
    }

    /// How it looks to who has proved nothing yet.
    #[must_use]
    pub fn looks(&self) -> Looks {
        Looks(ScramHash::ALL.map(|hash| self.verifier(hash).map(ScramVerifier::look)))
    }
}

/// What the sessions of an account rest on: nothing that a password could be tried with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Which account of its name.
    pub incarnation: Incarnation,
    /// May anybody log in as it?
    pub enabled: bool,
    /// When it got its present password: tells passwords apart.
    pub password_changed: UnixSeconds,
}

/// How an account's verifiers look from outside, in the order of [`ScramHash::ALL`]; `None` where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Looks(pub [Option<Look>; 2]);

impl Looks {
    /// How the verifier of `hash` looks.
    #[must_use]
    pub fn of(&self, hash: ScramHash) -> Option<Look> {
        let Self([sha1, sha256]) = self;
        match hash {
            ScramHash::Sha1 => *sha1,
            ScramHash::Sha256 => *sha256,
        }
    }
}
