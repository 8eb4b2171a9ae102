//! The links of all accounts, found by the hashes of their tokens: kept in memory, beside the rows that say what stands in one.
//!
//! An entry without its row is no link. Must not know: who may redeem one.

use std::collections::HashMap;

use crate::identity::{BareJid, Host, Link, LinkHash, LinkId, UnixSeconds};
use crate::system::lock::Lock;

use super::edit::Table;
use super::error::StoreError;
use super::record::{self, RecordError};
use super::rows::Changed;
use super::tables::Tables;

/// Where each link stands, and when it expires.
#[derive(Debug, Default)]
pub(super) struct LinkIndex(Lock<HashMap<LinkHash, Entry>>);

#[derive(Clone, Debug)]
struct Entry {
    account: BareJid,
    expires: UnixSeconds,
}

impl LinkIndex {
    /// That of all rows. Damaged ones are left out, and redeemed by nobody.
    pub(super) fn of_all(tables: &Tables) -> Result<Self, StoreError> {
        let mut entries = HashMap::new();
        for row in tables.sound_rows(Table::Links) {
            let (key, value) = row?;
            match link_at(&key, &value) {
                Ok(link) => drop(entries.insert(link.hash, Entry::of(&link))),
                Err(error) => drop(tables.corrupt(Table::Links, &error)),
            }
        }
        Ok(Self(Lock::new(entries)))
    }

    /// These changes are made.
    pub(super) fn applied(&self, changes: &[Changed]) {
        for changed in changes.iter().filter(|one| one.table == Table::Links) {
            let after = changed.after.as_deref();
            let after = after.and_then(|value| link_at(&changed.key, value).ok());
            match after {
                Some(link) => drop(self.0.lock().insert(link.hash, Entry::of(&link))),
                None => drop(hash_at(&changed.key).and_then(|hash| self.0.lock().remove(&hash))),
            }
        }
    }

    /// The account that has the link with this hash.
    pub(super) fn account_of(&self, hash: &LinkHash) -> Option<BareJid> {
        let all = self.0.lock();
        all.get(hash).map(|entry| entry.account.clone())
    }

    /// The account whose link has this id, and its hash.
    pub(super) fn with_id(&self, id: LinkId) -> Option<(BareJid, LinkHash)> {
        let all = self.0.lock();
        let found = all.iter().find(|(hash, _)| hash.id() == id);
        found.map(|(hash, entry)| (entry.account.clone(), *hash))
    }

    /// The accounts for which `is_meant` that have links, and the hashes of these, in their order.
    pub(super) fn of(&self, is_meant: impl Fn(&BareJid) -> bool) -> Vec<(BareJid, LinkHash)> {
        let all = self.0.lock();
        let meant = all.iter().filter(|(_, entry)| is_meant(&entry.account));
        let mut meant: Vec<_> = meant
            .map(|(hash, entry)| (entry.account.clone(), *hash))
            .collect();
        drop(all);
        meant.sort();
        meant
    }

    /// How many links of `host` have not expired.
    pub(super) fn live_on(&self, host: &Host, now: UnixSeconds) -> usize {
        let all = self.0.lock();
        let is_live = |entry: &&Entry| entry.account.host() == host && now < entry.expires;
        all.values().filter(is_live).count()
    }
}

/// The link in a row.
fn link_at(key: &[u8], value: &[u8]) -> Result<Link, RecordError> {
    let (account, rest) = parts(key).ok_or(RecordError::Key)?;
    record::link(account, rest, value)
}

fn parts(key: &[u8]) -> Option<(BareJid, &[u8])> {
    let part = record::account_part(key);
    Some((record::account_of(part)?, key.get(part.len() + 1..)?))
}

/// The hash of the link that a key is of.
fn hash_at(key: &[u8]) -> Option<LinkHash> {
    let (_, rest) = parts(key)?;
    Some(LinkHash::from_bytes(rest.try_into().ok()?))
}

impl Entry {
    fn of(link: &Link) -> Self {
        Self {
            account: link.account.clone(),
            expires: link.expires,
        }
    }
}
