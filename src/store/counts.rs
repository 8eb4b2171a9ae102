//! How much there is of each host's accounts: kept by every commit, so that nobody has to count. The tree `counts` has a row for
//! each host.
//!
//! Must not know: who asks, what the rows mean beyond their keys.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::edit::{Row, Table};
use super::error::StoreError;
use super::record::{self, Versioned};
use super::rows::Changed;
use super::tables::Tables;

/// How much there is of a host's accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCounts {
    /// Records of certificates.
    pub certificates: u64,
    /// Accounts with at least one.
    pub accounts: u64,
    /// Revoked keys that are remembered.
    pub revoked_keys: u64,
}

impl Versioned for HostCounts {
    const VERSION: u8 = 1;
}

impl HostCounts {
    /// Those after a change that moves them by so much.
    fn moved(self, by: Moved) -> Self {
        Self {
            certificates: self.certificates.wrapping_add_signed(by.certificates),
            accounts: self.accounts.wrapping_add_signed(by.accounts),
            revoked_keys: self.revoked_keys.wrapping_add_signed(by.revoked_keys),
        }
    }
}

/// By how much a change moves the counts of a host.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    certificates: i64,
    accounts: i64,
    revoked_keys: i64,
}

/// The counts of all hosts, by the bytes of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<Vec<u8>, HostCounts>);

impl Counts {
    pub(super) fn of(&self, host: &[u8]) -> HostCounts {
        self.0.get(host).copied().unwrap_or_default()
    }

    /// Of all hosts together.
    pub(super) fn total(&self) -> HostCounts {
        let mut total = HostCounts::default();
        for counts in self.0.values() {
            total.certificates = total.certificates.wrapping_add(counts.certificates);
            total.accounts = total.accounts.wrapping_add(counts.accounts);
            total.revoked_keys = total.revoked_keys.wrapping_add(counts.revoked_keys);
        }
        total
    }

    /// The counts that stand in `counts`.
    pub(super) fn read(tables: &Tables) -> Result<Self, StoreError> {
        let mut counts = Self::default();
        for row in tables.scan(Table::Counts, &[]) {
            let (host, value) = row?;
            let of_host = tables.decoded(Table::Counts, &value)?;
            counts.0.insert(host.to_vec(), of_host);
        }
        Ok(counts)
    }

    /// The rows that say them.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        let rows = self.0.iter();
        rows.map(|(host, counts)| row(host, counts))
    }

    /// The rows of the hosts whose counts `changes` change, which are not made yet.
    pub(super) fn following(
        &self,
        tables: &Tables,
        changes: &[Changed],
    ) -> Result<Vec<Row>, StoreError> {
        let moved = moved(tables, changes)?.into_iter();
        let moved = moved.map(|(host, by)| (host, self.of(host), self.of(host).moved(by)));
        Ok(moved
            .filter(|(_, before, after)| before != after)
            .map(|(host, _, after)| row(host, &after))
            .collect())
    }

    /// These changes are made.
    pub(super) fn applied(&mut self, changes: &[Changed]) {
        for changed in changes.iter().filter(|one| one.table == Table::Counts) {
            let counts = changed.after.as_deref().map(record::decode::<HostCounts>);
            match counts {
                Some(Ok(counts)) => drop(self.0.insert(changed.key.clone(), counts)),
                // It was encoded a moment ago.
                Some(Err(_)) => {}
                None => drop(self.0.remove(&changed.key)),
            }
        }
    }

    /// Why these are not the counts that follow from `rows`, in words.
    pub(super) fn held_against(&self, rows: &Self, tables: &[Table]) -> Option<String> {
        let hosts: BTreeSet<&Vec<u8>> = self.0.keys().chain(rows.0.keys()).collect();
        let is_other = |host: &&&Vec<u8>| {
            let (kept, there) = (self.of(host), rows.of(host));
            tables.iter().any(|table| match table {
                Table::Certificates => {
                    (kept.certificates, kept.accounts) != (there.certificates, there.accounts)
                }
                Table::RevokedKeys => kept.revoked_keys != there.revoked_keys,
                _ => false,
            })
        };
        let other = hosts.iter().find(is_other)?;
        let host = String::from_utf8_lossy(other);
        Some(format!("it does not say how much there is of {host}"))
    }
}

/// By how much `changes`, which are not made yet, move the counts of each host.
///
/// Whoever has no counts at hand but those in the rows adds this to them, while nobody else does.
fn moved<'a>(
    tables: &Tables,
    changes: &'a [Changed],
) -> Result<BTreeMap<&'a [u8], Moved>, StoreError> {
    let mut moved: BTreeMap<&[u8], Moved> = BTreeMap::new();
    let mut accounts: BTreeMap<&[u8], ListChange<'_>> = BTreeMap::new();
    for changed in changes {
        let by = i64::from(changed.after.is_some()) - i64::from(changed.before.is_some());
        if by == 0 {
            continue;
        }
        let of_host = moved.entry(host_part(&changed.key));
        match changed.table {
            Table::Certificates => {
                let account = record::account_part(&changed.key);
                let list = accounts.entry(account).or_default();
                if by > 0 {
                    list.gains = true;
                } else {
                    list.goes.insert(&changed.key);
                }
                of_host.or_default().certificates += by;
            }
            Table::RevokedKeys => of_host.or_default().revoked_keys += by,
            _ => {}
        }
    }
    for (account, list) in accounts {
        let (had, has) = list.holds_any(tables, account)?;
        let of_host = moved.entry(host_part(account)).or_default();
        of_host.accounts += i64::from(has) - i64::from(had);
    }
    Ok(moved)
}

/// The row of a host; a host without anything has none.
fn row(host: &[u8], counts: &HostCounts) -> Row {
    Row {
        table: Table::Counts,
        key: host.to_vec(),
        value: (*counts != HostCounts::default()).then(|| record::encode(counts)),
    }
}

/// Counts the rows of a table as they come, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Counting {
    pub(super) counts: Counts,
    /// The account that the last row was of.
    account: Vec<u8>,
}

impl Counting {
    pub(super) fn add(&mut self, table: Table, key: &[u8]) {
        let counted = || host_part(key).to_vec();
        match table {
            Table::Certificates => {
                let counts = self.counts.0.entry(counted()).or_default();
                counts.certificates += 1;
                let account = record::account_part(key);
                if account != self.account {
                    counts.accounts += 1;
                    self.account = account.to_vec();
                }
            }
            Table::RevokedKeys => {
                self.counts.0.entry(counted()).or_default().revoked_keys += 1;
            }
            _ => {}
        }
    }
}

/// The records of an account that a commit writes for the first time or removes.
#[derive(Default)]
struct ListChange<'a> {
    /// There is one that it writes.
    gains: bool,
    /// The keys of those that it removes.
    goes: BTreeSet<&'a [u8]>,
}

impl ListChange<'_> {
    /// Has the account certificates before this, and will it have some?
    fn holds_any(&self, tables: &Tables, account: &[u8]) -> Result<(bool, bool), StoreError> {
        let prefix = [account, b"\0"].concat();
        let mut had = false;
        for row in tables.scan(Table::Certificates, &prefix) {
            had = true;
            let (key, _) = row?;
            if self.gains || !self.goes.contains(&*key) {
                return Ok((true, true));
            }
        }
        Ok((had, self.gains))
    }
}

/// The bytes in front of the first NUL of an account's key.
fn host_part(key: &[u8]) -> &[u8] {
    let end = key.iter().position(|byte| *byte == 0);
    key.get(..end.unwrap_or(key.len())).unwrap_or(key)
}
