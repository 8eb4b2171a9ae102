//! How the accounts of each host look, kept in memory: what SCRAM can be offered, and what an account that
//! does not exist must look like.
//!
//! Must not know: names, passwords.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::identity::account::Looks;
use crate::identity::{Account, Host, ScramHash};

/// How the accounts of one host look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many accounts look how.
    pub looks: BTreeMap<Looks, u64>,
}

impl Census {
    /// How many accounts there are.
    #[must_use]
    pub fn accounts(&self) -> u64 {
        self.looks.values().sum()
    }

    /// How many of them have no verifier for `hash`.
    #[must_use]
    pub fn without(&self, hash: ScramHash) -> u64 {
        let lacking = self
            .looks
            .iter()
            .filter(|(looks, _)| looks.of(hash).is_none());
        lacking.map(|(_, count)| count).sum()
    }

    /// The hashes that every account has.
    #[must_use]
    pub fn common(&self) -> Vec<ScramHash> {
        let mut all = ScramHash::ALL.to_vec();
        all.retain(|hash| self.without(*hash) == 0);
        all
    }
}

/// The census of each host.
#[derive(Debug, Default)]
pub(super) struct Censuses(Mutex<HashMap<Host, Census>>);

impl Censuses {
    /// An account was written, or removed (`after` is `None`).
    pub(super) fn changed(&self, host: &Host, before: Option<&Account>, after: Option<&Account>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let census = all.entry(host.clone()).or_default();
        if let Some(before) = before {
            let looks = before.looks();
            if let Some(count) = census.looks.get_mut(&looks) {
                *count -= 1;
                if *count == 0 {
                    census.looks.remove(&looks);
                }
            }
        }
        if let Some(after) = after {
            *census.looks.entry(after.looks()).or_default() += 1;
        }
    }

    pub(super) fn is_anybody_here(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().any(|census| census.accounts() > 0)
    }

    pub(super) fn of(&self, host: &Host) -> Census {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(host).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::{BareJid, Incarnation, ScramVerifier, UnixSeconds};

    fn account(hashes: &[ScramHash], salt: &[u8]) -> Account {
        let verifiers = hashes.iter().map(|hash| {
            let key = vec![1; hash.key_bytes()];
            ScramVerifier::from_parts(*hash, salt.to_vec(), 4096, key.clone(), key).unwrap()
        });
        Account {
            jid: BareJid::parse("a@b.c").unwrap(),
            incarnation: Incarnation::parse("one").unwrap(),
            enabled: true,
            created: UnixSeconds(0),
            password_changed: UnixSeconds(0),
            verifiers: verifiers.collect(),
        }
    }

    #[test]
    fn only_what_every_account_has_is_common() {
        let host = Host::parse("b.c").unwrap();
        let censuses = Censuses::default();
        assert_eq!(censuses.of(&host).common(), ScramHash::ALL);
        let both = account(&ScramHash::ALL, b"salt");
        let old = account(&[ScramHash::Sha1], b"salt");
        censuses.changed(&host, None, Some(&both));
        censuses.changed(&host, None, Some(&old));
        let census = censuses.of(&host);
        assert_eq!(census.accounts(), 2);
        assert_eq!(census.without(ScramHash::Sha256), 1);
        assert_eq!(census.common(), [ScramHash::Sha1]);
        censuses.changed(&host, Some(&old), Some(&both));
        assert_eq!(censuses.of(&host).common(), ScramHash::ALL);
        censuses.changed(&host, Some(&both), None);
        censuses.changed(&host, Some(&both), None);
        assert_eq!(censuses.of(&host), Census::default());
    }
}
