//! The whole store, account by account: for backups.
//!
//! Must not know: the form of a backup.

use crate::identity::BareJid;

use super::edit::{Planned, Table};
use super::error::StoreError;
use super::tables::Tables;
use super::view::View;
use super::{Store, record};

impl Store {
    /// Reads the accounts behind `after` (`None`: from the first on) in the order of hosts and names, as long as `read` says that
    /// it wants another one. Returns what it read, and behind whom to go on; `None`: all are read.
    ///
    /// Blocks. `read` runs in the writer thread, where nothing changes meanwhile; it must be quick.
    ///
    /// Errors: the first one of `read`, too.
    pub fn accounts_behind<T: Send + 'static>(
        &self,
        after: Option<BareJid>,
        mut read: impl FnMut(&View<'_>) -> Result<(T, bool), StoreError> + Send + 'static,
    ) -> Result<(Vec<T>, Option<BareJid>), StoreError> {
        self.committer.commit(None, move |tables| {
            let mut found = Vec::new();
            let mut last = after;
            loop {
                last = tables.account_behind(last.as_ref())?;
                let Some(account) = &last else {
                    break;
                };
                let (one, wants_another) = read(&View { tables, account })?;
                found.push(one);
                if !wants_another {
                    break;
                }
            }
            Ok(Planned {
                rows: Vec::new(),
                outcome: (found, last),
            })
        })
    }
}

impl Tables {
    /// The first account behind `after` of which anything is remembered.
    fn account_behind(&self, after: Option<&BareJid>) -> Result<Option<BareJid>, StoreError> {
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
                let mut rows = self.rows_behind(table, &[], behind.clone());
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
            let _ = self.corrupt(Table::Accounts, &"a key is no account's");
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
