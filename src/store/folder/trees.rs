//! sled's trees, one for each table: reads, with every way in which they can fail.
//!
//! Must not know: what stands in a row.

use std::ops::Bound;
use std::sync::Arc;

use super::super::edit::Table;
use super::super::error::StoreError;
use super::super::health::{Belief, Health};
use super::super::rows::{Bytes, InOrder, RowBytes, Rows};
use super::super::tables::Tables;
use super::engine::{failed, words};

/// The rows of a data folder change by this process alone.
pub(super) fn always() -> Belief {
    Box::new(|| Ok(()))
}

/// sled's trees, and what is read in them. Shared by readers and the writer.
#[derive(Clone)]
pub(super) struct Trees {
    all: Arc<[sled::Tree; Table::COUNT]>,
    /// The same for who only reads.
    pub(super) tables: Tables,
}

impl Trees {
    pub(super) fn open(db: &sled::Db, health: Health) -> Result<Self, StoreError> {
        let mut trees = Vec::new();
        for table in Table::ALL {
            trees.push(db.open_tree(table.name()).map_err(failed)?);
        }
        let trees: [sled::Tree; Table::COUNT] = trees.try_into().map_err(|_| StoreError::Failed)?;
        let (all, health) = (Arc::new(trees), Arc::new(health));
        let reading = Reading {
            trees: Arc::clone(&all),
            health: Arc::clone(&health),
        };
        Ok(Self {
            all,
            tables: Tables::of(Arc::new(reading), health),
        })
    }

    pub(super) fn tree(&self, table: Table) -> &sled::Tree {
        of(&self.all, table)
    }

    /// In the order of `Table::ALL`.
    pub(super) fn all(&self) -> &[sled::Tree] {
        &self.all[..]
    }
}

/// What is read in them.
struct Reading {
    trees: Arc<[sled::Tree; Table::COUNT]>,
    health: Arc<Health>,
}

impl Rows for Reading {
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match of(&self.trees, table).get(key) {
            Ok(value) => Ok(value.map(bytes)),
            Err(error) => Err(self.read_error(table, error)),
        }
    }

    fn range(&self, table: Table, from: &[u8], before: Option<&[u8]>) -> InOrder<'_> {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = of(&self.trees, table).range::<&[u8], _>((Bound::Included(from), end));
        let read = move |row: sled::Result<(sled::IVec, sled::IVec)>| -> Result<RowBytes, _> {
            match row {
                Ok((key, value)) => Ok((bytes(key), bytes(value))),
                Err(error) => Err(self.read_error(table, error)),
            }
        };
        Box::new(rows.map(read))
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    fn scribble(&self, table: Table, key: &[u8], value: Option<&[u8]>) {
        let tree = of(&self.trees, table);
        match value {
            Some(value) => drop(tree.insert(key, value).unwrap()),
            None => drop(tree.remove(key).unwrap()),
        }
    }
}

impl Reading {
    fn read_error(&self, table: Table, error: sled::Error) -> StoreError {
        match error {
            sled::Error::Corruption { .. } => self.health.corrupt(table, &words(&error)),
            error => {
                self.health.fail(&failed(error));
                StoreError::Failed
            }
        }
    }
}

fn of(trees: &[sled::Tree; Table::COUNT], table: Table) -> &sled::Tree {
    #[allow(clippy::indexing_slicing)]
    // A table's discriminant is below COUNT, which is the array's length.
    &trees[table as usize]
}

fn bytes(held: sled::IVec) -> Bytes {
    Bytes::Held(held.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_cannot_be_believed_for_now_is_read_again_later_and_never_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::open(folder.path()).unwrap();
        // So many looks are believed; no failure is told.
        let left = Arc::new(AtomicU32::new(u32::MAX));
        let believed = Arc::clone(&left);
        let belief: Belief = Box::new(move || {
            let step = |left: u32| left.checked_sub(1);
            let order = Ordering::Relaxed;
            let taken = believed.fetch_update(order, order, step);
            taken.map(drop).map_err(|_| StoreError::Away {
                problem: "no lease".to_owned(),
            })
        });
        let health = Health::of(belief, Box::new(|error| panic!("{error}")));
        let trees = Trees::open(&db, health).unwrap();
        let tables = &trees.tables;
        for key in [b"a", b"b"] {
            tables.scribble(Table::Disabled, key, Some(b""));
        }
        let count = || tables.sound_rows(Table::Disabled).collect::<Vec<_>>();
        assert!(matches!(count()[..], [Ok(_), Ok(_)]));
        left.store(0, Ordering::Relaxed);
        assert!(matches!(count()[..], [Err(StoreError::Away { .. })]));
        let read = tables.read(Table::Disabled, b"a");
        assert!(matches!(read, Err(StoreError::Away { .. })));
        left.store(1, Ordering::Relaxed);
        assert!(tables.read(Table::Disabled, b"a").unwrap().is_some());
        assert!(tables.require_sound().is_err());
    }
}
