//! How the accounts of each host look, kept in memory: what SCRAM can be offered, and what an account that
//! does not exist must look like.
//!
//! Must not know: names, passwords.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::edit::{Row, Table};
use super::error::StoreError;
use super::record;
use super::rows::Changed;
use super::tables::Tables;
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

    /// An account was written, or removed (`after` is `None`).
    fn change(&mut self, before: Option<&Account>, after: Option<&Account>) {
        self.accounts += u64::from(after.is_some());
        self.accounts -= u64::from(before.is_some()).min(self.accounts);
        if let Some(before) = before.filter(|account| has_looks(account)) {
            let looks = before.looks();
            if let Some(count) = self.looks.get_mut(&looks) {
                *count -= 1;
                if *count == 0 {
                    self.looks.remove(&looks);
                }
            }
        }
        if let Some(after) = after.filter(|account| has_looks(account)) {
            *self.looks.entry(after.looks()).or_default() += 1;
        }
    }

    /// Deals anew if the looks have changed by much since; have they?
    fn deal_anew(&mut self) -> bool {
        let has_drifted = self.has_drifted();
        if has_drifted {
            self.dealt.clone_from(&self.looks);
        }
        has_drifted
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
        for row in tables.sound_rows(Table::Meta) {
            let (key, value) = row?;
            if let Some(host) = looks_host(&key) {
                match record::looks(&value) {
                    Ok(dealt) => censuses.deal(&host, dealt),
                    Err(error) => drop(tables.corrupt(Table::Meta, &error)),
                }
            }
        }
        for row in tables.sound_rows(Table::Passwords) {
            let (key, value) = row?;
            if let Some(jid) = record::account_of(record::account_part(&key)) {
                let host = jid.host().clone();
                match record::account(jid, &value) {
                    Ok(account) => censuses.count(&host, &account),
                    Err(error) => drop(tables.corrupt(Table::Passwords, &error)),
                }
            }
        }
        Ok(censuses)
    }

    /// The rows that say how decoys look behind these changes, which are not made yet, of the hosts where that is another way.
    pub(super) fn following(&self, changes: &[Changed]) -> Vec<Row> {
        let mut censuses: HashMap<Host, (Census, bool)> = HashMap::new();
        for AccountChange {
            host,
            before,
            after,
        } in account_changes(changes)
        {
            let entry = censuses.entry(host);
            let (census, is_dealt) = entry.or_insert_with_key(|host| (self.of(host), false));
            census.change(before.as_ref(), after.as_ref());
            *is_dealt |= census.deal_anew();
        }
        let dealt = censuses.iter().filter(|(_, (_, is_dealt))| *is_dealt);
        dealt
            .map(|(host, (census, _))| Row {
                table: Table::Meta,
                key: [LOOKS_ROW, host.as_str().as_bytes()].concat(),
                value: Some(record::encode_looks(&census.dealt)),
            })
            .collect()
    }

    /// These changes are made.
    pub(super) fn applied(&self, changes: &[Changed]) {
        for AccountChange {
            host,
            before,
            after,
        } in account_changes(changes)
        {
            let mut all = self.0.lock();
            let census = all.entry(host).or_default();
            census.change(before.as_ref(), after.as_ref());
            census.deal_anew();
        }
        for changed in changes.iter().filter(|one| one.table == Table::Meta) {
            let (Some(host), Some(row)) = (looks_host(&changed.key), &changed.after) else {
                continue;
            };
            // It may say less than what was dealt here a moment ago: a row has a limit.
            let is_ours = record::encode_looks(&self.of(&host).dealt) == *row;
            if let (false, Ok(dealt)) = (is_ours, record::looks(row)) {
                self.deal(&host, dealt);
            }
        }
    }
}

/// An account that was written, or removed.
struct AccountChange {
    host: Host,
    before: Option<Account>,
    after: Option<Account>,
}

/// Those among these changes. A record that can't be read is none: nobody has counted it.
fn account_changes(changes: &[Changed]) -> impl Iterator<Item = AccountChange> {
    let of_accounts = changes.iter().filter(|one| one.table == Table::Passwords);
    of_accounts.filter_map(|changed| {
        let jid = record::account_of(record::account_part(&changed.key))?;
        let read = |value: &[u8]| record::account(jid.clone(), value).ok();
        Some(AccountChange {
            host: jid.host().clone(),
            before: changed.before.as_deref().and_then(read),
            after: changed.after.as_deref().and_then(read),
        })
    })
}

/// The host of a row that says how decoys look.
fn looks_host(key: &[u8]) -> Option<Host> {
    let host = std::str::from_utf8(key.strip_prefix(LOOKS_ROW)?).ok()?;
    Host::parse(host).ok()
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
    use crate::store::edit::Edit;
    use crate::store::rows::Bytes;

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

    /// Changes the account, and says whether decoys are dealt anew, which another memory of the same rows hears of.
    fn changed(censuses: &Censuses, before: Option<&Account>, after: Option<&Account>) -> bool {
        let jid = BareJid::parse("a@b.c").unwrap();
        let value = |account: &Account| {
            let edit = Edit::PutAccount(Box::new(account.clone()));
            record::rows(&jid, edit).remove(0).value.unwrap()
        };
        let changes = [Changed {
            table: Table::Passwords,
            key: record::account_key(&jid, &[]),
            before: before.map(value).map(Bytes::Own),
            after: after.map(value),
        }];
        let following = censuses.following(&changes);
        censuses.applied(&changes);
        let dealt = following.iter().map(|row| {
            assert_eq!(looks_host(&row.key).as_ref(), Some(jid.host()));
            record::looks(row.value.as_ref().unwrap()).unwrap()
        });
        let dealt: Vec<_> = dealt.collect();
        let (of_memory, of_rows) = (censuses.of(jid.host()).dealt, dealt.last());
        assert!(of_rows.is_none_or(|dealt| *dealt == of_memory));
        !dealt.is_empty()
    }

    #[test]
    fn what_another_daemon_has_dealt_is_taken_over() {
        let host = Host::parse("b.c").unwrap();
        let (here, there) = (Censuses::default(), Censuses::default());
        assert!(changed(
            &there,
            None,
            Some(&account(&ScramHash::ALL, b"salt"))
        ));
        let dealt = there.of(&host).dealt;
        here.applied(&[Changed {
            table: Table::Meta,
            key: [LOOKS_ROW, host.as_str().as_bytes()].concat(),
            before: None,
            after: Some(record::encode_looks(&dealt)),
        }]);
        assert_eq!(here.of(&host).dealt, dealt);
    }

    #[test]
    fn only_what_every_account_has_is_common() {
        let host = Host::parse("b.c").unwrap();
        let censuses = Censuses::default();
        assert_eq!(censuses.of(&host).common(), ScramHash::ALL);
        let both = account(&ScramHash::ALL, b"salt");
        let old = account(&[ScramHash::Sha1], b"salt");
        changed(&censuses, None, Some(&both));
        changed(&censuses, None, Some(&old));
        let census = censuses.of(&host);
        assert_eq!(census.accounts, 2);
        assert_eq!(census.without(ScramHash::Sha256), 1);
        assert_eq!(census.common(), [ScramHash::Sha1]);
        // Nobody logs in with a disabled one, so it holds nothing back.
        let disabled = Account {
            enabled: false,
            ..old.clone()
        };
        changed(&censuses, Some(&old), Some(&disabled));
        let census = censuses.of(&host);
        assert_eq!(
            (census.accounts, census.common()),
            (2, ScramHash::ALL.to_vec())
        );
        changed(&censuses, Some(&disabled), Some(&both));
        assert_eq!(censuses.of(&host).common(), ScramHash::ALL);
        changed(&censuses, Some(&both), None);
        changed(&censuses, Some(&both), None);
        let census = censuses.of(&host);
        assert_eq!((census.accounts, census.looks.len()), (0, 0));
    }

    #[test]
    fn an_account_without_a_password_takes_no_hash_from_the_others() {
        let host = Host::parse("b.c").unwrap();
        let censuses = Censuses::default();
        let (both, none) = (account(&ScramHash::ALL, b"salt"), account(&[], b""));
        changed(&censuses, None, Some(&both));
        let dealt = censuses.of(&host).dealt;
        assert!(!changed(&censuses, None, Some(&none)));
        censuses.count(&host, &none);
        let census = censuses.of(&host);
        assert_eq!(
            (census.accounts, census.common()),
            (3, ScramHash::ALL.to_vec())
        );
        assert_eq!((census.looks.len(), census.dealt), (1, dealt));
        changed(&censuses, Some(&none), Some(&both));
        assert_eq!(censuses.of(&host).looks.get(&both.looks()), Some(&2));
        changed(&censuses, Some(&both), Some(&none));
        changed(&censuses, Some(&none), None);
        assert_eq!(censuses.of(&host).looks.get(&both.looks()), Some(&1));
    }

    #[test]
    fn decoys_are_dealt_anew_only_when_the_accounts_look_quite_different() {
        let host = Host::parse("b.c").unwrap();
        let censuses = Censuses::default();
        let both = account(&ScramHash::ALL, b"salt");
        let old = account(&[ScramHash::Sha1], b"salt");
        assert!(changed(&censuses, None, Some(&both)));
        let mut dealt = 0;
        for _ in 0..99 {
            dealt += usize::from(changed(&censuses, None, Some(&both)));
        }
        assert_eq!(dealt, 0);
        for number in 0..50 {
            let is_dealt = changed(&censuses, None, Some(&old));
            // 26 of 126 are more than a fifth; after that it takes as many again.
            assert_eq!(is_dealt, number == 25, "{number}");
        }
        assert_eq!(censuses.of(&host).dealt.get(&old.looks()), Some(&26));
    }
}
