//! The whole store, an account at a time: for backups; and all certificates of a host: for figures, and for notices.

use crate::identity::{BareJid, Enrolment, Host};

use super::committer::Table;
use super::{Store, StoreError, record};

impl Store {
    /// The first account behind `after` of which anything is remembered, in the order of hosts and names.
    pub fn account_behind(&self, after: Option<&BareJid>) -> Result<Option<BareJid>, StoreError> {
        // All keys of an account begin with `host NUL user NUL`; no name has a control character.
        let mut behind = after.map(|after| {
            let mut key = record::account_key(after, &[]);
            key.pop();
            key.push(1);
            key
        });
        loop {
            let mut next: Option<Vec<u8>> = None;
            for table in OF_ACCOUNTS {
                let mut rows = self.tables.rows_behind(table, &[], behind.clone());
                if let Some(row) = rows.next() {
                    let (key, _) = row?;
                    let part = record::account_part(&key).to_vec();
                    if next.as_ref().is_none_or(|next| part < *next) {
                        next = Some(part);
                    }
                }
            }
            let Some(part) = next else {
                return Ok(None);
            };
            if let Some(account) = record::account_of(&part) {
                return Ok(Some(account));
            }
            // A damaged key: it is counted, and passed over.
            let _ = self
                .tables
                .corrupt(Table::Accounts, &"a key is no account's");
            let mut key = part;
            key.push(1);
            behind = Some(key);
        }
    }
}

impl Store {
    /// Hands out the certificates of `host` that are meant by `is_meant`, those of accounts that were replaced aside. Looks
    /// at `limit` records at most. Blocks. What is damaged is passed over, and counted as such.
    pub fn each_present(
        &self,
        host: &Host,
        limit: usize,
        is_meant: impl Fn(&Enrolment) -> bool,
        mut take: impl FnMut(Enrolment),
    ) -> Result<(), StoreError> {
        let prefix = record::host_prefix(host);
        for row in self.tables.scan(Table::Certificates, &prefix).take(limit) {
            let held = row.and_then(|(key, value)| self.tables.enrolment(&key, &value));
            let held = match held {
                Ok(held) if is_meant(&held) => held,
                Ok(_) | Err(StoreError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            let present = match self.view(&held.account).incarnation() {
                Ok(present) => present,
                Err(StoreError::Corrupt { .. }) => None,
                Err(error) => return Err(error),
            };
            if present.is_none_or(|(present, _)| present == held.incarnation) {
                take(held);
            }
        }
        Ok(())
    }
}

const OF_ACCOUNTS: [Table; 5] = [
    Table::Certificates,
    Table::Accounts,
    Table::RevokedKeys,
    Table::Disabled,
    Table::Passwords,
];
