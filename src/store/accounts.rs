//! Accounts whose passwords live here: lists of them, how they look, and the secret that hides who is none.

use std::sync::{Arc, PoisonError};

use crate::identity::{Account, Host};

use super::census::{Census, Censuses};
use super::committer::{Planned, Row, Table};
use super::{Edit, Store, StoreError, Tables, View, record};

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
        let rows = self.tables.rows_behind(Table::Passwords, &prefix, behind);
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
        self.censuses.of(host)
    }

    /// Has any host accounts here? From memory.
    #[must_use]
    pub fn has_accounts(&self) -> bool {
        self.censuses.is_anybody_here()
    }

    /// This store's own secret: from it comes what hides who is no account.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        *self.secret.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the secret of another store, of which this one is a copy, unless there are accounts here; was it taken? Blocks
    /// until it is on the disk.
    pub fn take_secret(&self, secret: [u8; 32]) -> Result<bool, StoreError> {
        let censuses = Arc::clone(&self.censuses);
        // With nothing else: an account that is made at the same moment is counted before or after it.
        let is_taken = self.committer.commit(None, move |_| {
            if censuses.is_anybody_here() {
                return Ok(Planned {
                    rows: Vec::new(),
                    outcome: false,
                });
            }
            Ok(Planned {
                rows: vec![Row {
                    table: Table::Meta,
                    key: SECRET_ROW.to_vec(),
                    value: Some(secret.to_vec()),
                }],
                outcome: true,
            })
        })?;
        if is_taken {
            *self.secret.write().unwrap_or_else(PoisonError::into_inner) = secret;
        }
        Ok(is_taken)
    }
}

impl Tables {
    /// Counts all accounts. Damaged ones are left out.
    pub(super) fn censuses(&self) -> Result<Censuses, StoreError> {
        let censuses = Censuses::default();
        for (key, value) in self.sound_rows(Table::Meta) {
            let host = key.strip_prefix(LOOKS_ROW).map(String::from_utf8_lossy);
            if let Some(Ok(host)) = host.map(|host| Host::parse(&host)) {
                match record::looks(&value) {
                    Ok(dealt) => censuses.deal(&host, dealt),
                    Err(error) => drop(self.corrupt(Table::Meta, &error)),
                }
            }
        }
        for (key, value) in self.sound_rows(Table::Passwords) {
            if let Some(jid) = record::account_of(record::account_part(&key)) {
                let host = jid.host().clone();
                match record::account(jid, &value) {
                    Ok(account) => censuses.count(&host, &account),
                    Err(error) => drop(self.corrupt(Table::Passwords, &error)),
                }
            }
        }
        self.require_sound()?;
        Ok(censuses)
    }
}

/// Keeps the census right: called in the writer thread, with what is about to be written. What comes back is to be
/// written with it.
pub(super) fn count(
    censuses: &Censuses,
    view: &View<'_>,
    edits: &[Edit],
) -> Result<Option<Row>, StoreError> {
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
    let dealt = censuses.changed(host, view.account()?.as_ref(), after);
    Ok(dealt.map(|dealt| Row {
        table: Table::Meta,
        key: [LOOKS_ROW, host.as_str().as_bytes()].concat(),
        value: Some(record::encode_looks(&dealt)),
    }))
}

/// The secret in `meta`, made at the first start; to be synced by who calls.
pub(super) fn own_secret(meta: &sled::Tree) -> Result<[u8; 32], StoreError> {
    let found = meta.get(SECRET_ROW).map_err(StoreError::Engine)?;
    if let Some(secret) = found.and_then(|row| row.first_chunk::<32>().copied()) {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(StoreError::Random)?;
    meta.insert(SECRET_ROW, &secret)
        .map_err(StoreError::Engine)?;
    meta.flush().map_err(StoreError::Engine)?;
    Ok(secret)
}

const SECRET_ROW: &[u8] = b"secret";
const LOOKS_ROW: &[u8] = b"looks ";
