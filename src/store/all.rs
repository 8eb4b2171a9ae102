//! The whole store, an account at a time: for backups.

use crate::identity::BareJid;

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

const OF_ACCOUNTS: [Table; 5] = [
    Table::Certificates,
    Table::Accounts,
    Table::RevokedKeys,
    Table::Disabled,
    Table::Passwords,
];
