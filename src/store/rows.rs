//! The rows of the tables: how they are read, whatever keeps them, and what a change makes of one.
//!
//! Must not know: what stands in a row, where it is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use super::edit::{Row, Table};
use super::error::StoreError;
use super::folder::held::Held;

/// The rows as they are now; in a change, as they are for what it decides.
pub(super) trait Rows: Send + Sync {
    /// The value of a row; `None`: there is none with this key.
    ///
    /// Errors: `Corrupt`, which is counted, if this row can't be read; `Failed` if nothing can be any more, which is told.
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The values of several rows of a table, in the order of `keys`, each as [`Self::row`] has it; in one question, where rows are far away.
    ///
    /// Errors: the outer one is of all of them.
    fn row_of_each(&self, table: Table, keys: &[Vec<u8>]) -> Result<OfEach, StoreError> {
        Ok(keys.iter().map(|key| self.row(table, key)).collect())
    }

    /// The rows from the key `from` on, and before the key `before` if there is one, in the order of the bytes of their keys; read as
    /// they are asked for.
    ///
    /// Errors: as above; more may come behind one.
    fn range(&self, table: Table, from: &[u8], before: Option<&[u8]>) -> InOrder<'_>;

    /// The rows of each of these ranges, in one question, where rows are far away; a range of very many rows is left out. `None`: they are not.
    fn fetch(&self, _: &[Range]) -> Result<Option<Vec<Fetched>>, StoreError> {
        Ok(None)
    }

    /// Writes a row, or takes it out, as nothing in the daemon does: a test makes damage with it.
    #[cfg(test)]
    fn scribble(&self, table: Table, key: &[u8], value: Option<&[u8]>);
}

/// The rows of a table between two keys, the second of which is not among them.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) table: Table,
    pub(super) from: Vec<u8>,
    pub(super) before: Vec<u8>,
}

impl Range {
    /// The rows whose keys begin with `prefix`; `None` if nothing is behind them all.
    pub(super) fn of(table: Table, prefix: &[u8]) -> Option<Self> {
        Some(Self {
            table,
            from: prefix.to_vec(),
            before: end_of(prefix)?,
        })
    }
}

/// The first key behind all that begin with `prefix`; `None`: there is none.
pub(super) fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// All rows of a range, in their order.
#[cfg_attr(not(any(test, feature = "postgres")), allow(dead_code))]
pub(super) struct Fetched {
    pub(super) range: Range,
    pub(super) rows: Vec<RowBytes>,
}

/// The values of several rows: `None`: there is none with this key.
pub(super) type OfEach = Vec<Result<Option<Bytes>, StoreError>>;

/// Rows, one after the other.
pub(super) type InOrder<'a> = Box<dyn Iterator<Item = Result<RowBytes, StoreError>> + 'a>;

/// The key and the value of a row.
pub(super) type RowBytes = (Bytes, Bytes);

/// The bytes of a key or a value: without a copy where whatever keeps them has them in memory.
#[derive(Clone)]
pub(super) enum Bytes {
    /// In sled's cache.
    Held(Held),
    /// Of its own.
    #[cfg_attr(not(any(test, feature = "postgres")), allow(dead_code))]
    Own(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Held(held) => held,
            Self::Own(own) => own,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

/// The rows that stand after `rows` are written: of several with one key the last one stands.
pub(super) fn last_of_each(rows: Vec<Row>) -> Vec<Row> {
    let mut last = BTreeMap::new();
    for Row { table, key, value } in rows {
        last.insert((table as usize, key), (table, value));
    }
    let row = |((_, key), (table, value))| Row { table, key, value };
    last.into_iter().map(row).collect()
}

/// Errors: one of these rows is longer than any that is kept.
pub(super) fn require_short(rows: &[Row]) -> Result<(), StoreError> {
    let is_too_long = |row: &&Row| {
        let value = row.value.as_ref().map_or(0, Vec::len);
        is_too_long(row.key.len(), value)
    };
    match rows.iter().find(is_too_long) {
        Some(row) => Err(StoreError::TooLong {
            table: row.table.name(),
        }),
        None => Ok(()),
    }
}

/// Is a row with a key and a value of these lengths never written? Nothing that we store is as long.
pub(super) fn is_too_long(key_bytes: usize, value_bytes: usize) -> bool {
    key_bytes > MAX_KEY_BYTES || value_bytes > MAX_VALUE_BYTES
}

/// The longest key is that of a certificate that was disabled: host, user, fingerprint, incarnation and name, with a
/// NUL behind the first two and before the last.
pub(super) const MAX_KEY_BYTES: usize = (1023 + 1) + (1023 + 1) + 32 + 64 + 1 + 256;
/// The longest value is a certificate with its addresses, or the options of a host.
pub(super) const MAX_VALUE_BYTES: usize = 32 << 10;

/// A row as it was before a change, and as it is after it.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) before: Option<Bytes>,
    pub(super) after: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_rows_with_one_key_the_last_one_stands() {
        let row = |table, key: &str, value: Option<&str>| Row {
            table,
            key: key.into(),
            value: value.map(Into::into),
        };
        let rows = last_of_each(vec![
            row(Table::Disabled, "a", Some("1")),
            row(Table::Meta, "a", Some("2")),
            row(Table::Disabled, "a", None),
        ]);
        let mut rows: Vec<_> = rows.into_iter().map(|row| (row.table, row.value)).collect();
        rows.sort_by_key(|(table, _)| table.name());
        assert_eq!(
            rows,
            [(Table::Disabled, None), (Table::Meta, Some(b"2".to_vec()))]
        );
    }

    #[test]
    fn behind_a_prefix_comes_the_next_one_of_its_length_or_a_shorter_one() {
        for (prefix, end) in [
            (&b"ab"[..], Some(&b"ac"[..])),
            (b"a\xff\xff", Some(b"b")),
            (b"a\0", Some(b"a\x01")),
            (b"\xff", None),
            (b"", None),
        ] {
            assert_eq!(end_of(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
