//! How far the store has come, and how much each table holds: one row, written by every commit along with its changes.
//!
//! sled keeps a checksum of each message in its log and cuts the log at the first one that is wrong, or leaves out
//! what stands in the middle, without a word. Then whole tables are older than they were, and each row that is left
//! is sound. Against that helps only what is known of all rows together: how many there are, and a sum over them
//! that does not depend on their order, so that a commit changes it by what it writes.
//!
//! Must not know: what the rows mean.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::counts::Counts;
use super::super::edit::{Row, Table};
use super::super::error::StoreError;
use super::super::record::{self, Versioned};
use super::super::rows::Changed;
use super::super::tables::Tables;
use super::engine;
use super::trees::Trees;

/// How many rows there are, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    hashes: u128,
}

impl Sum {
    pub(super) fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.hashes = self.hashes.wrapping_add(hash(table, key, value));
    }

    /// The sum of rows of the table, of which one has been changed so.
    pub(super) fn follow(&mut self, changed: &Changed) {
        let Changed {
            table,
            key,
            before,
            after,
        } = changed;
        if let Some(before) = before {
            self.take(*table, key, before);
        }
        if let Some(after) = after {
            self.add(*table, key, after);
        }
    }

    pub(super) fn take(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.hashes = self.hashes.wrapping_sub(hash(table, key, value));
    }
}

/// The tally of all writes so far: how many commits, and what each table holds by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) commits: u64,
    sums: [Sum; Table::COUNT],
}

impl Tally {
    pub(super) fn of(&self, table: Table) -> Sum {
        #[allow(clippy::indexing_slicing)]
        // A table's discriminant is below COUNT, which is the array's length.
        self.sums[table as usize]
    }

    pub(super) fn set(&mut self, table: Table, sum: Sum) {
        #[allow(clippy::indexing_slicing)]
        // As above.
        let held = &mut self.sums[table as usize];
        *held = sum;
    }

    /// The tally after one more commit that makes these changes.
    pub(super) fn after(&self, changes: &[Changed]) -> Self {
        let mut next = self.clone();
        next.commits += 1;
        for changed in changes {
            let mut sum = next.of(changed.table);
            sum.follow(changed);
            next.set(changed.table, sum);
        }
        next
    }

    /// Why these are not the counts of as many rows, in words.
    pub(super) fn held_against(&self, counts: &Counts) -> Option<String> {
        let total = counts.total();
        let is_right = total.certificates == self.of(Table::Certificates).rows
            && total.revoked_keys == self.of(Table::RevokedKeys).rows;
        (!is_right).then(|| "it does not say how much there is".to_owned())
    }

    /// The row that says it.
    pub(super) fn row(&self) -> Row {
        let sum = |table: &Table| {
            let Sum { rows, hashes } = self.of(*table);
            (table.name().to_owned(), rows, hashes)
        };
        let record = TallyRow {
            commits: self.commits,
            sums: Table::COUNTED.iter().map(sum).collect(),
        };
        Row {
            table: Table::Tally,
            key: KEY.to_vec(),
            value: Some(record::encode(&record)),
        }
    }

    /// Not by the writer: for who opens or makes a store, who flushes it, too.
    pub(super) fn write(&self, trees: &Trees) -> Result<(), StoreError> {
        let Row { table, key, value } = self.row();
        let written = trees.tree(table).insert(key, value.unwrap_or_default());
        written.map(drop).map_err(engine::failed)
    }

    /// The tally that the store keeps of itself; `None`: nothing was ever counted in it, or that row is lost.
    pub(super) fn read(tables: &Tables) -> Result<Option<Self>, StoreError> {
        let Some(value) = tables.read(Table::Tally, KEY)? else {
            return Ok(None);
        };
        let record: TallyRow = tables.decoded(Table::Tally, &value)?;
        let mut tally = Self {
            commits: record.commits,
            ..Self::default()
        };
        for (name, rows, hashes) in record.sums {
            // A table that this version has no more, it has no rows of either.
            if let Some(table) = Table::COUNTED.iter().find(|table| table.name() == name) {
                tally.set(*table, Sum { rows, hashes });
            }
        }
        Ok(Some(tally))
    }
}

/// Empties the links' table if the store's own tally does not name it: an older version has written since, which knows of no links and
/// has counted none. Who had one asks for another; without this the store would pass for damaged. Returns how many rows went.
pub(super) fn forget_uncounted_links(trees: &Trees) -> Result<usize, StoreError> {
    let tables = &trees.tables;
    // A tally that can't be read is a finding of who holds the store against it.
    let Ok(Some(value)) = tables.read(Table::Tally, KEY) else {
        return Ok(0);
    };
    let Ok(record) = tables.decoded::<TallyRow>(Table::Tally, &value) else {
        return Ok(0);
    };
    let is_counted = |(name, ..): &(String, u64, u128)| name == Table::Links.name();
    if record.sums.iter().any(is_counted) {
        return Ok(0);
    }
    let links = trees.tree(Table::Links);
    let count = links.len();
    links.clear().map_err(engine::failed)?;
    Ok(count)
}

/// The number that a row of `table` adds to its sum. Lengths stand before what they measure: no two rows look alike.
fn hash(table: Table, key: &[u8], value: &[u8]) -> u128 {
    let mut hash = Sha256::new();
    for part in [table.name().as_bytes(), key, value] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let (half, _) = hash.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    u128::from_be_bytes(*half)
}

#[derive(Serialize, Deserialize)]
struct TallyRow {
    commits: u64,
    sums: Vec<(String, u64, u128)>,
}

impl Versioned for TallyRow {
    const VERSION: u8 = 1;
}

const KEY: &[u8] = b"tally";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::{BareJid, Incarnation, Link, LinkHash, LinkKind, LinkMaker, UnixSeconds};
    use crate::store::rows::Bytes;
    use crate::store::{Harmless, Store, View};

    fn changed(key: &str, before: Option<&str>, after: Option<&str>) -> Changed {
        Changed {
            table: Table::Disabled,
            key: key.into(),
            before: before.map(|text| Bytes::Own(text.into())),
            after: after.map(Into::into),
        }
    }

    #[test]
    fn links_that_an_older_version_did_not_count_are_gone_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        Store::create(folder.path()).unwrap();
        let open = || Store::open(folder.path(), 8 << 20, Box::new(|_| {}));
        let store = open().unwrap();
        let [account, other] =
            ["juliet@a.lit", "romeo@a.lit"].map(|jid| BareJid::parse(jid).unwrap());
        let link = Link {
            hash: LinkHash::of("token"),
            account: account.clone(),
            incarnation: Incarnation::parse("one").unwrap(),
            kind: LinkKind::Add,
            name: None,
            created: UnixSeconds(1),
            maker: LinkMaker::Admin,
            by: "an administrator".to_owned(),
            expires: UnixSeconds(2),
            uses: 1,
        };
        let put = move |_: &View<'_>| Ok(Ok::<_, ()>((vec![Harmless::put_link(link)], ())));
        store.change(&account, put).unwrap().unwrap();
        let incarnation = Incarnation::parse("two").unwrap();
        let mark = Harmless::set_incarnation(incarnation.clone(), UnixSeconds(1));
        let put = move |_: &View<'_>| Ok(Ok::<_, ()>((vec![mark], ())));
        store.change(&other, put).unwrap().unwrap();
        drop(store);
        let has_link = |store: &Store| !store.view(&account).links().unwrap().is_empty();
        let store = open().unwrap();
        assert!(has_link(&store));
        // As a version writes it that knows of no links.
        let value = store.tables.read(Table::Tally, KEY).unwrap().unwrap();
        let mut record: TallyRow = store.tables.decoded(Table::Tally, &value).unwrap();
        record.sums.retain(|(name, ..)| name != Table::Links.name());
        let uncounted = record::encode(&record);
        store.tables.scribble(Table::Tally, KEY, Some(&uncounted));
        drop(store);
        for _ in 0..2 {
            let store = open().unwrap();
            assert!(!has_link(&store));
            let present = store.view(&other).incarnation().unwrap();
            assert_eq!(present, Some((incarnation.clone(), UnixSeconds(1))));
        }
    }

    #[test]
    fn a_sum_is_that_of_its_rows_whatever_their_order_and_past() {
        let mut counted = Sum::default();
        counted.add(Table::Disabled, b"b", b"2");
        counted.add(Table::Disabled, b"a", b"1");
        let tally = Tally::default()
            .after(&[changed("a", None, Some("0")), changed("c", None, Some("3"))])
            .after(&[
                changed("a", Some("0"), Some("1")),
                changed("c", Some("3"), None),
                changed("b", None, Some("2")),
            ]);
        assert_eq!(tally.of(Table::Disabled), counted);
        assert_eq!((tally.commits, counted.rows), (2, 2));
        assert_eq!(tally.of(Table::Meta), Sum::default());
    }

    #[test]
    fn no_two_rows_count_alike() {
        let of = |table, key: &[u8], value: &[u8]| {
            let mut sum = Sum::default();
            sum.add(table, key, value);
            sum
        };
        let one = of(Table::Disabled, b"ab", b"c");
        assert_ne!(one, of(Table::Disabled, b"a", b"bc"));
        assert_ne!(one, of(Table::RevokedKeys, b"ab", b"c"));
        assert_ne!(one, of(Table::Disabled, b"ab", b"d"));
    }
}
