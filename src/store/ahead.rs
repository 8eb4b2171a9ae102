//! Rows that are read ahead, all of what several changes are about in one question: what is decided of them is not asked for row by row.
//!
//! They are as old as that question. So they serve who keeps everybody else from changing them meanwhile, or who may decide on what was so
//! before. A range of more rows than are fetched is read as it is without.
//!
//! Must not know: what stands in a row, what is decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edit::Table;
use super::error::StoreError;
use super::job::Claim;
use super::record;
use super::rows::{Bytes, Fetched, InOrder, OfEach, Range, Rows};
use super::tables::Tables;
use super::view::View;
use crate::identity::BareJid;

/// The rows of some ranges, and whatever has all others.
struct Ahead {
    rows: Arc<dyn Rows>,
    /// By their tables and where they begin. None begins within another one.
    fetched: BTreeMap<(usize, Vec<u8>), Fetched>,
}

/// The store's records of some accounts, read together where they are far away.
pub struct ReadAhead(Tables);

impl ReadAhead {
    pub(super) fn of(tables: Tables) -> Self {
        Self(tables)
    }

    /// The view of the records of `account`; what was not read ahead is read when it is asked for.
    #[must_use]
    pub fn view<'a>(&'a self, account: &'a BareJid) -> View<'a> {
        View {
            tables: &self.0,
            account,
        }
    }
}

/// The rows that a change of these may read before it is decided.
pub(super) fn ranges_of<'a>(claims: impl Iterator<Item = &'a Claim>) -> Vec<Range> {
    let ranges = claims.flat_map(|claim| match claim {
        Claim::Account(account) => {
            let prefix = record::account_key(account, &[]);
            OF_AN_ACCOUNT
                .iter()
                .filter_map(|table| Range::of(*table, &prefix))
                .collect()
        }
        Claim::Certificate(host, fingerprint) => {
            let prefix = record::fingerprint_prefix(fingerprint, host);
            Vec::from_iter(Range::of(Table::Known, &prefix))
        }
        Claim::Host(_) => Vec::new(),
    });
    ranges.collect()
}

/// The tables whose keys begin with the account.
const OF_AN_ACCOUNT: [Table; 5] = [
    Table::Certificates,
    Table::Accounts,
    Table::RevokedKeys,
    Table::Disabled,
    Table::Passwords,
];

impl Tables {
    /// The same tables, of which these ranges are read now, if that saves anything.
    pub(super) fn ahead(&self, ranges: &[Range]) -> Result<Self, StoreError> {
        self.require_sound()?;
        let Some(fetched) = self.rows().fetch(ranges)? else {
            return Ok(self.clone());
        };
        Ok(self.with(fetched))
    }

    fn with(&self, fetched: Vec<Fetched>) -> Self {
        let by_place = |one: Fetched| ((one.range.table as usize, one.range.from.clone()), one);
        let ahead = Ahead {
            rows: Arc::clone(self.rows()),
            fetched: fetched.into_iter().map(by_place).collect(),
        };
        Self::of(Arc::new(ahead), Arc::clone(&self.health))
    }
}

impl Ahead {
    /// The rows of the range in which `key` lies, if that was fetched.
    fn around(&self, table: Table, key: &[u8]) -> Option<&Fetched> {
        let upto = (table as usize, key.to_vec());
        let (_, last) = self.fetched.range(..=upto).next_back()?;
        let is_in = last.range.table as usize == table as usize && key < &*last.range.before;
        is_in.then_some(last)
    }
}

impl Fetched {
    fn value(&self, key: &[u8]) -> Option<Bytes> {
        let found = self.rows.binary_search_by(|(one, _)| (**one).cmp(key));
        let (_, value) = found.ok().and_then(|at| self.rows.get(at))?;
        Some(value.clone())
    }
}

impl Rows for Ahead {
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.around(table, key) {
            Some(fetched) => Ok(fetched.value(key)),
            None => self.rows.row(table, key),
        }
    }

    fn row_of_each(&self, table: Table, keys: &[Vec<u8>]) -> Result<OfEach, StoreError> {
        let fetched = keys
            .iter()
            .map(|key| Some(Ok(self.around(table, key)?.value(key))));
        match fetched.collect() {
            Some(all) => Ok(all),
            None => self.rows.row_of_each(table, keys),
        }
    }

    fn range(&self, table: Table, from: &[u8], before: Option<&[u8]>) -> InOrder<'_> {
        let around = self.around(table, from).zip(before);
        let Some((fetched, before)) = around.filter(|(one, before)| *before <= &*one.range.before)
        else {
            return self.rows.range(table, from, before);
        };
        let begins = fetched.rows.partition_point(|(key, _)| **key < *from);
        let ends = fetched.rows.partition_point(|(key, _)| **key < *before);
        let rows = fetched.rows.get(begins..ends).unwrap_or_default();
        Box::new(rows.iter().cloned().map(Ok))
    }

    #[cfg(test)]
    fn scribble(&self, table: Table, key: &[u8], value: Option<&[u8]>) {
        self.rows.scribble(table, key, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Store;
    use super::super::rows::RowBytes;
    use super::*;
    use crate::identity::{Fingerprint, Host};

    fn account(name: &str) -> BareJid {
        BareJid::parse(&format!("{name}@a.lit")).unwrap()
    }

    fn all(rows: InOrder<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        rows.map(Result::unwrap)
            .map(|(key, value): RowBytes| (key.to_vec(), value.to_vec()))
            .collect()
    }

    /// A store in a folder, with rows of accounts whose keys lie beside each other, and the ranges of two of these accounts.
    #[test]
    fn rows_that_were_read_ahead_read_as_they_were_and_all_others_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        Store::create(folder.path()).unwrap();
        let store = Store::open(folder.path(), 1 << 20, Box::new(|_| {})).unwrap();
        let tables = &store.tables;
        let host = Host::parse("a.lit").unwrap();
        let (shown, other) = (Fingerprint::of(b"shown"), Fingerprint::of(b"other"));
        let mut keys = Vec::new();
        for name in ["a", "a.b", "aa", "b", "c"] {
            let key = |rest: &[u8]| record::account_key(&account(name), rest);
            keys.push((Table::Accounts, key(b"")));
            for rest in [&b"laptop"[..], b"phone"] {
                keys.push((Table::Certificates, key(rest)));
                keys.push((Table::Disabled, key(rest)));
            }
            for fingerprint in [&shown, &other] {
                keys.push((Table::Known, record::known_key(&account(name), fingerprint)));
            }
        }
        for (table, key) in &keys {
            tables.scribble(*table, key, Some(b"old"));
        }
        let claims = [
            Claim::Account(account("a")),
            Claim::Account(account("b")),
            Claim::Certificate(host.clone(), shown),
        ];
        let ranges = ranges_of(claims.iter());
        let fetched = ranges.iter().map(|range| {
            let rows = tables.range(range.table, &range.from, Some(&range.before));
            Fetched {
                range: range.clone(),
                rows: rows.collect::<Result<_, _>>().unwrap(),
            }
        });
        let ahead = tables.with(fetched.collect());
        let (ahead, now) = (ahead.rows(), tables.rows());
        for table in Table::ALL {
            let own = keys.iter().filter(|(of, _)| *of as usize == table as usize);
            for (_, key) in own.clone() {
                let missing = [&key[..], b"0"].concat();
                for key in [key, &missing] {
                    let read = |rows: &Arc<dyn Rows>| rows.row(table, key).unwrap();
                    assert_eq!(read(ahead).as_deref(), read(now).as_deref());
                }
                for (_, before) in own.clone() {
                    let read = |rows: &Arc<dyn Rows>| all(rows.range(table, key, Some(before)));
                    assert_eq!(read(ahead), read(now));
                }
                assert_eq!(
                    all(ahead.range(table, key, None)),
                    all(now.range(table, key, None))
                );
            }
        }
        for (table, key) in &keys {
            tables.scribble(*table, key, Some(b"new"));
        }
        let certificates = |name: &str| {
            let keys = [&b"laptop"[..], b"phone", b"watch"];
            let keys = keys.map(|rest| record::account_key(&account(name), rest));
            let values = ahead.row_of_each(Table::Certificates, &keys).unwrap();
            let values = values
                .into_iter()
                .map(|one| one.unwrap().map(|one| one.to_vec()));
            values.flatten().collect::<Vec<_>>()
        };
        for (name, value) in [
            ("a", b"old"),
            ("a.b", b"new"),
            ("aa", b"new"),
            ("b", b"old"),
        ] {
            assert_eq!(certificates(name), [value, value], "{name}");
        }
        for (fingerprint, value) in [(&shown, &b"old"[..]), (&other, b"new")] {
            let prefix = record::fingerprint_prefix(fingerprint, &host);
            let range = Range::of(Table::Known, &prefix).unwrap();
            let rows = all(ahead.range(Table::Known, &range.from, Some(&range.before)));
            assert_eq!(rows.len(), 5);
            assert!(rows.iter().all(|(_, read)| read == value), "{rows:?}");
        }
    }
}
