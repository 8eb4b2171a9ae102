//! The tables that follow from others, written anew: behind a migration, and where something that was missing has been accepted.
//!
//! Must not know: how the others came to be as they are.

use crate::identity::Enrolment;

use super::super::counts::{Counting, Counts};
use super::super::edit::{Row, Table};
use super::super::error::StoreError;
use super::super::tables::Tables;
use super::super::{expiry, known, record};
use super::engine;
use super::trees::Trees;

/// Writes what follows from `certs` and `revoked_keys`, and takes out what does not; to be flushed, and counted, by who calls.
///
/// `progress` hears of each record. From one that can't be read nothing follows: nobody logs in with it. Returns from how many
/// something does.
pub(super) fn write_anew(trees: &Trees, mut progress: impl FnMut()) -> Result<usize, StoreError> {
    let tables = &trees.tables;
    let mut records = 0;
    let mut counting = Counting::default();
    let mut batches = Batches::of(trees);
    for row in tables.sound_rows(Table::Certificates) {
        let (key, value) = row?;
        progress();
        counting.add(Table::Certificates, &key);
        if let Some(held) = record_of(tables, &key, &value)? {
            records += 1;
            for row in known::following_from(tables, &held)? {
                batches.put(row)?;
            }
        }
    }
    batches.end()?;
    for row in tables.sound_rows(Table::RevokedKeys) {
        let (key, _) = row?;
        counting.add(Table::RevokedKeys, &key);
    }
    for table in [Table::Known, Table::Expiry] {
        take_out_strays(trees, table)?;
    }
    write_counts(trees, &counting.counts)?;
    Ok(records)
}

/// Takes out the rows behind which no record stands.
fn take_out_strays(trees: &Trees, table: Table) -> Result<(), StoreError> {
    let tables = &trees.tables;
    let mut batches = Batches::of(trees);
    for row in tables.sound_rows(table) {
        let (key, value) = row?;
        let record = match table {
            Table::Known => known::record_key(&key, &value),
            _ => expiry::record_key(&key),
        };
        let held = match &record {
            Some(record) => match tables.read(Table::Certificates, record)? {
                Some(value) => record_of(tables, record, &value)?,
                None => None,
            },
            None => None,
        };
        let follows = held.is_some_and(|held| match table {
            Table::Known => record::known_key(&held.account, &held.fingerprint) == *key,
            _ => expiry::row(&held.account, &held, true).key == *key,
        });
        if !follows {
            batches.put(Row {
                table,
                key: key.to_vec(),
                value: None,
            })?;
        }
    }
    batches.end()
}

/// The record with its last use; `None`: it can't be read.
fn record_of(tables: &Tables, key: &[u8], value: &[u8]) -> Result<Option<Enrolment>, StoreError> {
    let Ok(held) = record::enrolment(key, value) else {
        return Ok(None);
    };
    tables.with_last_use(held).map(Some)
}

/// Writes all counts anew.
fn write_counts(trees: &Trees, counts: &Counts) -> Result<(), StoreError> {
    trees.tree(Table::Counts).clear().map_err(engine::failed)?;
    let mut batches = Batches::of(trees);
    for row in counts.rows() {
        batches.put(row)?;
    }
    batches.end()
}

/// Rows that are written some at a time, not in one transaction.
struct Batches<'a> {
    trees: &'a Trees,
    of_tables: [sled::Batch; Table::COUNT],
    bytes: usize,
}

impl<'a> Batches<'a> {
    fn of(trees: &'a Trees) -> Self {
        Self {
            trees,
            of_tables: Default::default(),
            bytes: 0,
        }
    }

    fn put(&mut self, Row { table, key, value }: Row) -> Result<(), StoreError> {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        #[allow(clippy::indexing_slicing)]
        // A table's discriminant is below COUNT, which is the array's length.
        let batch = &mut self.of_tables[table as usize];
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
        if self.bytes >= BATCH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), StoreError> {
        self.write()
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        let batches = std::mem::take(&mut self.of_tables);
        for (table, batch) in Table::ALL.into_iter().zip(batches) {
            let written = self.trees.tree(table).apply_batch(batch);
            written.map_err(engine::failed)?;
        }
        Ok(())
    }
}

const BATCH_BYTES: usize = 1 << 20;
