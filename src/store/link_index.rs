//! The links of all accounts, found by the hashes of their tokens: kept in memory, beside the rows that say what stands in one.
//!
//! An entry without its row is no link. Must not know: who may redeem one.

use std::collections::HashMap;

use crate::identity::{BareJid, Host, Link, LinkHash, LinkId, UnixSeconds};
use crate::system::lock::Lock;

use super::edit::{Edit, Table};
use super::error::StoreError;
use super::record;
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
        for (key, value) in tables.sound_rows(Table::Links) {
            let part = record::account_part(&key);
            let rest = key.get(part.len() + 1..).unwrap_or_default();
            let Some(account) = record::account_of(part) else {
                let _ = tables.corrupt(Table::Links, &"its key is damaged");
                continue;
            };
            match record::link(account, rest, &value) {
                Ok(link) => drop(entries.insert(link.hash, Entry::of(&link))),
                Err(error) => drop(tables.corrupt(Table::Links, &error)),
            }
        }
        tables.require_sound()?;
        Ok(Self(Lock::new(entries)))
    }

    /// Keeps it right: called in the writer thread, with what is about to be written.
    pub(super) fn note(&self, account: &BareJid, edits: &[Edit]) {
        for edit in edits {
            match edit {
                Edit::PutLink(link) => {
                    let entry = Entry {
                        account: account.clone(),
                        ..Entry::of(link)
                    };
                    self.0.lock().insert(link.hash, entry);
                }
                Edit::RemoveLink(hash) => drop(self.0.lock().remove(hash)),
                _ => {}
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

impl Entry {
    fn of(link: &Link) -> Self {
        Self {
            account: link.account.clone(),
            expires: link.expires,
        }
    }
}
