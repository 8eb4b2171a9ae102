//! Accounts with passwords that live here: lists of them, how they look, and the secret that decoys are made from.
//!
//! Must not know: passwords, why an account is listed.

use crate::identity::{Account, Host};

use super::census::Census;
use super::edit::{Row, Table};
use super::error::StoreError;
use super::job::{About, Planned};
use super::memory::SECRET_ROW;
use super::{Store, record};

impl Store {
    /// Up to `limit` accounts of `host` in the order of their names, those behind `after` only.
    ///
    /// Errors: a damaged record is one of its own account, and is passed over here.
    pub fn accounts_of(
        &self,
        host: &Host,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Account>, StoreError> {
        let prefix = record::host_prefix(host);
        let behind = after.map(|after| [&prefix, after.as_bytes(), b"\0"].concat());
        let rows = self
            .tables
            .rows_behind(Table::Passwords, &prefix, behind.as_deref());
        let mut found = Vec::new();
        for row in rows {
            let (key, value) = row?;
            let jid = record::account_of(record::account_part(&key));
            let account = jid.map(|jid| record::account(jid, &value));
            match account {
                Some(Ok(account)) => found.push(account),
                Some(Err(error)) => drop(self.tables.corrupt(Table::Passwords, &error)),
                None => drop(self.tables.corrupt(Table::Passwords, &"its key is damaged")),
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// How the accounts of `host` look. From memory.
    #[must_use]
    pub fn census(&self, host: &Host) -> Census {
        self.memory.censuses.of(host)
    }

    /// Has any host accounts here? From memory.
    #[must_use]
    pub fn has_accounts(&self) -> bool {
        self.memory.censuses.is_anybody_here()
    }

    /// This store's own secret: from it comes what hides who is no account.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        *self.memory.secret.read()
    }

    /// Takes the secret of another store, of which this one is a copy, unless there are accounts here; was it taken? Blocks
    /// until it is on the disk.
    pub fn take_secret(&self, secret: [u8; 32]) -> Result<bool, StoreError> {
        // With nothing else: an account that is made at the same moment is counted before or after it.
        self.writer()?.commit(About::Everything, move |tables| {
            if tables
                .scan(Table::Passwords, &[])
                .next()
                .transpose()?
                .is_some()
            {
                return Ok(Planned::nothing(false));
            }
            Ok(Planned {
                rows: vec![Row {
                    table: Table::Meta,
                    key: SECRET_ROW.to_vec(),
                    value: Some(secret.to_vec()),
                }],
                outcome: true,
            })
        })
    }
}
