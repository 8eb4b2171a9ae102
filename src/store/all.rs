//! The whole store, account by account: for backups.
//!
//! The rows are only taken as they stand, so that those of an account are of one moment and a change hardly waits; what stands in
//! them is read afterwards.
//!
//! Must not know: the form of a backup.

use crate::identity::{BareJid, KeyId};

use super::edit::{Edit, Table};
use super::error::StoreError;
use super::rows::RowBytes;
use super::tables::Tables;
use super::{Store, record};

/// Up to where the accounts were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The last one.
    pub account: BareJid,
    /// Up to where in it; `None`: to its end.
    pub inside: Option<Cursor>,
}

/// A place among the things that are remembered of an account: behind one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    table: Table,
    key: Vec<u8>,
}

/// The most that is read at a time, as large as it is in a backup.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// No account is begun behind so much.
    pub page_bytes: usize,
    /// No account goes on behind so much of it.
    pub account_bytes: usize,
}

/// The rows of one account, of one moment. Nobody has looked yet what stands in them.
#[derive(Clone, Debug)]
pub struct AccountRows {
    account: BareJid,
    rows: Rows,
}

/// Rows of several tables.
type Rows = Vec<(Table, RowBytes)>;

impl Cursor {
    /// As a later question names it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.table as u8];
        bytes.extend_from_slice(&self.key);
        bytes
    }

    /// Out of these bytes; `None` if they are those of no place.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (table, key) = bytes.split_first()?;
        let is_it = |of: &&Table| **of as u8 == *table;
        let table = *THINGS.iter().find(is_it)?;
        Some(Self {
            table,
            key: key.to_vec(),
        })
    }
}

impl AccountRows {
    /// The account that they are of.
    #[must_use]
    pub fn account(&self) -> &BareJid {
        &self.account
    }
}

impl Store {
    /// Reads the accounts behind `after` (`None`: from the first on) in the order of hosts and names, within `limits`. Returns their
    /// rows, and behind what to go on; `None`: all are read.
    ///
    /// Blocks, for its turn among the changes, too.
    pub fn accounts_behind(
        &self,
        after: Option<Stop>,
        limits: ReadLimits,
    ) -> Result<(Vec<AccountRows>, Option<Stop>), StoreError> {
        let read = move |tables: &Tables| tables.accounts_behind(after.as_ref(), limits);
        self.writer()?.look(read)
    }

    /// The contents of the rows, each as the edit that would write it anew. The last uses are those of now.
    pub fn things<'a>(
        &'a self,
        rows: &'a AccountRows,
    ) -> impl Iterator<Item = Result<Edit, StoreError>> + 'a {
        let AccountRows { account, rows } = rows;
        let thing = |(table, row)| self.tables.thing(account, table, row);
        rows.iter().map(move |(table, row)| thing((*table, row)))
    }
}

impl Tables {
    fn accounts_behind(
        &self,
        after: Option<&Stop>,
        limits: ReadLimits,
    ) -> Result<(Vec<AccountRows>, Option<Stop>), StoreError> {
        let mut tables = Vec::new();
        for table in THINGS {
            let behind = after.map(|after| after.key_in(table));
            let rows = self.rows_behind(table, &[], behind.as_deref());
            tables.push(Ahead::of(table, rows)?);
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        while let Some(part) = tables.iter().filter_map(Ahead::account_part).min() {
            let part = part.to_vec();
            let (rows, inside) = rows_of(&part, &mut tables, limits.account_bytes)?;
            let Some(account) = record::account_of(&part) else {
                // A damaged key: it is counted, and passed over.
                let _ = self.corrupt(Table::Accounts, &"a key is no account's");
                continue;
            };
            bytes += rows.iter().map(|(_, row)| bytes_of(row)).sum::<usize>();
            let stop = Stop {
                account: account.clone(),
                inside,
            };
            found.push(AccountRows { account, rows });
            if stop.inside.is_some() || bytes > limits.page_bytes {
                return Ok((found, Some(stop)));
            }
        }
        Ok((found, None))
    }

    /// The content of a row of `account`, as the edit that writes it.
    fn thing(
        &self,
        account: &BareJid,
        table: Table,
        (key, value): &RowBytes,
    ) -> Result<Edit, StoreError> {
        let corrupt = |error: record::RecordError| self.corrupt(table, &error);
        let mark = || self.decoded::<record::Mark>(table, value);
        let rest = rest_of(key);
        Ok(match table {
            Table::Passwords => {
                let account = record::account(account.clone(), value).map_err(corrupt)?;
                Edit::PutAccount(Box::new(account))
            }
            Table::Accounts => {
                let record::Mark { incarnation, at } = mark()?;
                Edit::SetIncarnation {
                    incarnation,
                    since: at,
                }
            }
            Table::Certificates => Edit::put(self.with_last_use(self.enrolment(key, value)?)?),
            Table::RevokedKeys => {
                let record::Mark { incarnation, at } = mark()?;
                let key_id = rest.first_chunk::<32>();
                let key_id = key_id.ok_or_else(|| corrupt(record::RecordError::Key))?;
                Edit::RevokeKey {
                    key_id: KeyId::from_bytes(*key_id),
                    incarnation,
                    at,
                }
            }
            Table::Disabled => {
                let mark = record::disabled(rest, value).map_err(corrupt)?;
                Edit::MarkDisabled(Box::new(mark))
            }
            // Of no account, or of no backup: `THINGS` has none of them.
            Table::Known
            | Table::Hosts
            | Table::Meta
            | Table::Expiry
            | Table::Counts
            | Table::Links
            | Table::Tally => Edit::ForgetIncarnation,
        })
    }
}

impl Stop {
    /// A key of `table` behind which the rest is.
    fn key_in(&self, table: Table) -> Vec<u8> {
        let mut key = record::account_key(&self.account, &[]);
        let place = |table| THINGS.iter().position(|of| *of == table);
        match &self.inside {
            Some(inside) if inside.table == table => {
                key.extend_from_slice(&inside.key);
            }
            // Before all of the account's rows, of which one may end here.
            Some(inside) if place(inside.table) < place(table) => drop(key.pop()),
            // Behind all of them: no name has a control character.
            Some(_) | None => {
                key.pop();
                key.push(1);
            }
        }
        key
    }
}

/// The rows of a table, and the next of them.
struct Ahead<I> {
    table: Table,
    next: Option<RowBytes>,
    rest: I,
}

impl<I: Iterator<Item = Result<RowBytes, StoreError>>> Ahead<I> {
    fn of(table: Table, mut rest: I) -> Result<Self, StoreError> {
        let next = rest.next().transpose()?;
        Ok(Self { table, next, rest })
    }

    /// The beginning of the next row's key: which account it is of.
    fn account_part(&self) -> Option<&[u8]> {
        let (key, _) = self.next.as_ref()?;
        Some(record::account_part(key))
    }

    /// The next row, if it is one of this account.
    fn next_of(&mut self, part: &[u8]) -> Result<Option<RowBytes>, StoreError> {
        if self.account_part() != Some(part) {
            return Ok(None);
        }
        let after = self.rest.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, after))
    }
}

/// Takes the rows of one account, as far as they fit into `bytes`, and up to where that was; `None`: all of them.
fn rows_of<I: Iterator<Item = Result<RowBytes, StoreError>>>(
    part: &[u8],
    tables: &mut [Ahead<I>],
    limit: usize,
) -> Result<(Rows, Option<Cursor>), StoreError> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for ahead in tables {
        let table = ahead.table;
        while let Some(row) = ahead.next_of(part)? {
            bytes += bytes_of(&row);
            let (key, _) = &row;
            let place = (bytes > limit).then(|| Cursor {
                table,
                key: rest_of(key).to_vec(),
            });
            found.push((table, row));
            if place.is_some() {
                return Ok((found, place));
            }
        }
    }
    Ok((found, None))
}

/// The part of a key behind `host NUL user NUL`.
fn rest_of(key: &[u8]) -> &[u8] {
    let account = record::account_part(key).len();
    key.get(account + 1..).unwrap_or_default()
}

/// How much a row counts: as much as a backup makes of it, at most. There binary parts are in base64 or in hexadecimal digits, what the
/// key says stands in each record, and fields have names.
fn bytes_of((key, value): &RowBytes) -> usize {
    NAMES_BYTES + 2 * key.len() + value.len() + value.len() / 2
}

/// The tables of what is remembered of an account, in the order in which it is handed out.
///
/// Rows that keep certificates out come before them: a large account is read in parts, and whoever brings them back one after the other
/// must not let in what was revoked between two of them.
const THINGS: [Table; 5] = [
    Table::Passwords,
    Table::Accounts,
    Table::RevokedKeys,
    Table::Disabled,
    Table::Certificates,
];
/// No record has more in names of fields.
const NAMES_BYTES: usize = 400;
