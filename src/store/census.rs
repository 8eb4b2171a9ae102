//! How the accounts of each host look, kept in memory: what SCRAM can be offered, and what an account that
//! does not exist must look like.
//!
//! Must not know: names, passwords.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::edit::{Edit, Row, Table};
use super::error::StoreError;
use super::record;
use super::tables::Tables;
use super::view::View;
use crate::identity::account::Looks;
use crate::identity::{Account, Host, ScramHash};
use crate::system::lock::Lock;

/// How the accounts of one host look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many there are, disabled ones too.
    pub accounts: u64,
    /// How many of those that are enabled and have a password look how.
    pub looks: BTreeMap<Looks, u64>,
    /// The proportions in which decoys look: `looks` as they were when they had last changed by much. A stranger who watches one
    /// name while others register must not see it change because it is none.
    pub dealt: BTreeMap<Looks, u64>,
}

impl Census {
    /// Have the looks changed by much since they were dealt?
    fn has_drifted(&self) -> bool {
        let total = |looks: &BTreeMap<Looks, u64>| looks.values().sum::<u64>();
        let (now, then) = (total(&self.looks), total(&self.dealt));
        if now == 0 || then == 0 {
            return now != then && now != 0;
        }
        #[allow(clippy::cast_precision_loss)]
        // So many accounts there are not.
        let share =
            |count: Option<&u64>, of: u64| count.map_or(0.0, |count| *count as f64 / of as f64);
        let all = self.looks.keys().chain(self.dealt.keys());
        let all: BTreeSet<&Looks> = all.collect();
        let moved: f64 = all
            .into_iter()
            .map(|looks| {
                let now = share(self.looks.get(looks), now);
                (now - share(self.dealt.get(looks), then)).abs()
            })
            .sum();
        moved / 2.0 > MAX_DRIFT
    }

    /// How many that are enabled have no verifier for `hash`.
    #[must_use]
    pub fn without(&self, hash: ScramHash) -> u64 {
        let lacking = self
            .looks
            .iter()
            .filter(|(looks, _)| looks.of(hash).is_none());
        lacking.map(|(_, count)| count).sum()
    }

    /// The hashes that every account has as which somebody may log in.
    #[must_use]
    pub fn common(&self) -> Vec<ScramHash> {
        let mut all = ScramHash::ALL.to_vec();
        all.retain(|hash| self.without(*hash) == 0);
        all
    }
}

/// The census of each host.
#[derive(Debug, Default)]
pub(super) struct Censuses(Lock<HashMap<Host, Census>>);

impl Censuses {
    /// An account was written, or removed (`after` is `None`). The returned value is to be remembered: the new proportions of
    /// the host's decoys.
    pub(super) fn changed(
        &self,
        host: &Host,
        before: Option<&Account>,
        after: Option<&Account>,
    ) -> Option<BTreeMap<Looks, u64>> {
        let mut all = self.0.lock();
        let census = all.entry(host.clone()).or_default();
        census.accounts += u64::from(after.is_some());
        census.accounts -= u64::from(before.is_some()).min(census.accounts);
        if let Some(before) = before.filter(|account| has_looks(account)) {
            let looks = before.looks();
            if let Some(count) = census.looks.get_mut(&looks) {
                *count -= 1;
                if *count == 0 {
                    census.looks.remove(&looks);
                }
            }
        }
        if let Some(after) = after.filter(|account| has_looks(account)) {
            *census.looks.entry(after.looks()).or_default() += 1;
        }
        if !census.has_drifted() {
            return None;
        }
        census.dealt.clone_from(&census.looks);
        Some(census.dealt.clone())
    }

    /// An account was found when the store was opened.
    pub(super) fn count(&self, host: &Host, account: &Account) {
        let mut all = self.0.lock();
        let census = all.entry(host.clone()).or_default();
        census.accounts += 1;
        if has_looks(account) {
            *census.looks.entry(account.looks()).or_default() += 1;
        }
    }

    /// The proportions that were remembered.
    pub(super) fn deal(&self, host: &Host, dealt: BTreeMap<Looks, u64>) {
        let mut all = self.0.lock();
        all.entry(host.clone()).or_default().dealt = dealt;
    }

    pub(super) fn is_anybody_here(&self) -> bool {
        let all = self.0.lock();
        all.values().any(|census| census.accounts > 0)
    }

    pub(super) fn of(&self, host: &Host) -> Census {
        let all = self.0.lock();
        all.get(host).cloned().unwrap_or_default()
    }
}

impl Censuses {
    /// Counts all accounts. Damaged ones are left out.
    pub(super) fn of_all(tables: &Tables) -> Result<Self, StoreError> {
        let censuses = Self::default();
        for (key, value) in tables.sound_rows(Table::Meta) {
            let host = key.strip_prefix(LOOKS_ROW).map(String::from_utf8_lossy);
            if let Some(Ok(host)) = host.map(|host| Host::parse(&host)) {
                match record::looks(&value) {
                    Ok(dealt) => censuses.deal(&host, dealt),
                    Err(error) => drop(tables.corrupt(Table::Meta, &error)),
                }
            }
        }
        for (key, value) in tables.sound_rows(Table::Passwords) {
            if let Some(jid) = record::account_of(record::account_part(&key)) {
                let host = jid.host().clone();
                match record::account(jid, &value) {
                    Ok(account) => censuses.count(&host, &account),
                    Err(error) => drop(tables.corrupt(Table::Passwords, &error)),
                }
            }
        }
        tables.require_sound()?;
        Ok(censuses)
    }

    /// Keeps the census right: called in the writer thread, with what is about to be written. The returned row is to be
    /// written with it.
    pub(super) fn note(&self, view: &View<'_>, edits: &[Edit]) -> Result<Option<Row>, StoreError> {
        let host = view.account.host();
        // Of several, the last one stands.
        let after = edits.iter().rev().find_map(|edit| match edit {
            Edit::PutAccount(account) => Some(Some(account.as_ref())),
            Edit::RemoveAccount => Some(None),
            _ => None,
        });
        let Some(after) = after else {
            return Ok(None);
        };
        let dealt = self.changed(host, view.account()?.as_ref(), after);
        Ok(dealt.map(|dealt| Row {
            table: Table::Meta,
            key: [LOOKS_ROW, host.as_str().as_bytes()].concat(),
            value: Some(record::encode_looks(&dealt)),
        }))
    }
}

/// Can somebody try a password with verifiers of its own? One without any looks like none: it keeps no hash from all others.
fn has_looks(account: &Account) -> bool {
    account.enabled && !account.verifiers.is_empty()
}

const LOOKS_ROW: &[u8] = b"looks ";
/// A fifth of the accounts look another way now.
const MAX_DRIFT: f64 = 0.2;

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
        assert_eq!(census.accounts, 2);
        assert_eq!(census.without(ScramHash::Sha256), 1);
        assert_eq!(census.common(), [ScramHash::Sha1]);
        // Nobody logs in with a disabled one, so it holds nothing back.
        let disabled = Account {
            enabled: false,
            ..old.clone()
        };
        censuses.changed(&host, Some(&old), Some(&disabled));
        let census = censuses.of(&host);
        assert_eq!(
            (census.accounts, census.common()),
            (2, ScramHash::ALL.to_vec())
        );
        censuses.changed(&host, Some(&disabled), Some(&both));
        assert_eq!(censuses.of(&host).common(), ScramHash::ALL);
        censuses.changed(&host, Some(&both), None);
        censuses.changed(&host, Some(&both), None);
        let census = censuses.of(&host);
        assert_eq!((census.accounts, census.looks.len()), (0, 0));
    }

    #[test]
    fn an_account_without_a_password_takes_no_hash_from_the_others() {
        let host = Host::parse("b.c").unwrap();
        let censuses = Censuses::default();
        let (both, none) = (account(&ScramHash::ALL, b"salt"), account(&[], b""));
        censuses.changed(&host, None, Some(&both));
        let dealt = censuses.of(&host).dealt;
        assert!(censuses.changed(&host, None, Some(&none)).is_none());
        censuses.count(&host, &none);
        let census = censuses.of(&host);
        assert_eq!(
            (census.accounts, census.common()),
            (3, ScramHash::ALL.to_vec())
        );
        assert_eq!((census.looks.len(), census.dealt), (1, dealt));
        censuses.changed(&host, Some(&none), Some(&both));
        assert_eq!(censuses.of(&host).looks.get(&both.looks()), Some(&2));
        censuses.changed(&host, Some(&both), Some(&none));
        censuses.changed(&host, Some(&none), None);
        assert_eq!(censuses.of(&host).looks.get(&both.looks()), Some(&1));
    }

    #[test]
    fn decoys_are_dealt_anew_only_when_the_accounts_look_quite_different() {
        let host = Host::parse("b.c").unwrap();
        let censuses = Censuses::default();
        let both = account(&ScramHash::ALL, b"salt");
        let old = account(&[ScramHash::Sha1], b"salt");
        assert!(censuses.changed(&host, None, Some(&both)).is_some());
        let mut dealt = 0;
        for _ in 0..99 {
            dealt += usize::from(censuses.changed(&host, None, Some(&both)).is_some());
        }
        assert_eq!(dealt, 0);
        for number in 0..50 {
            let is_dealt = censuses.changed(&host, None, Some(&old)).is_some();
            // 26 of 126 are more than a fifth; after that it takes as many again.
            assert_eq!(is_dealt, number == 25, "{number}");
        }
        assert_eq!(censuses.of(&host).dealt.get(&old.looks()), Some(&26));
    }
}
