//! sled's trees as tables: reads, with every way in which they can fail.
//!
//! Must not know: what stands in a row.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::identity::{Enrolment, Fingerprint, Host};

use super::edit::Table;
use super::error::{OnFailure, StoreError, words};
use super::recall::Recall;
use super::record;

/// sled's trees, and how a failure is told. Shared by readers and the writer.
#[derive(Clone)]
pub(super) struct Tables {
    pub(super) trees: Arc<[sled::Tree; Table::COUNT]>,
    failed: Arc<AtomicBool>,
    on_failure: Arc<OnFailure>,
    pub(super) corrupt_reads: Arc<AtomicU64>,
    known_is_proven: Arc<AtomicBool>,
    pub(super) recall: Arc<Recall>,
}

pub(super) type RowBytes = (sled::IVec, sled::IVec);

impl Tables {
    pub(super) fn open(db: &sled::Db, on_failure: OnFailure) -> Result<Self, StoreError> {
        let mut trees = Vec::new();
        for table in Table::ALL {
            trees.push(db.open_tree(table.name()).map_err(StoreError::Engine)?);
        }
        let trees: [sled::Tree; Table::COUNT] = trees.try_into().map_err(|_| StoreError::Failed)?;
        Ok(Self {
            trees: Arc::new(trees),
            failed: Arc::new(AtomicBool::new(false)),
            on_failure: Arc::new(on_failure),
            corrupt_reads: Arc::new(AtomicU64::new(0)),
            known_is_proven: Arc::new(AtomicBool::new(false)),
            recall: Arc::default(),
        })
    }

    pub(super) fn tree(&self, table: Table) -> &sled::Tree {
        #[allow(clippy::indexing_slicing)]
        // A table's discriminant is below COUNT, which is the array's length.
        &self.trees[table as usize]
    }

    pub(super) fn read(&self, table: Table, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.require_sound()?;
        let read = self.tree(table).get(key);
        read.map_err(|error| self.read_error(table, error))
    }

    pub(super) fn scan<'a>(
        &'a self,
        table: Table,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<RowBytes, StoreError>> + use<'a> {
        let rows = self.tree(table).scan_prefix(prefix);
        let sound = self.require_sound().err().map(Err);
        sound
            .into_iter()
            .chain(rows.map(move |row| row.map_err(|error| self.read_error(table, error))))
    }

    /// The rows whose keys begin with `prefix`, from the first one after `behind`.
    pub(super) fn rows_behind<'a>(
        &'a self,
        table: Table,
        prefix: &[u8],
        behind: Option<Vec<u8>>,
    ) -> impl Iterator<Item = Result<RowBytes, StoreError>> + use<'a> {
        let start = behind.map_or_else(|| Bound::Included(prefix.to_vec()), Bound::Excluded);
        let prefix = prefix.to_vec();
        let is_inside = move |row: &Result<RowBytes, StoreError>| {
            row.as_ref()
                .map_or(true, |(key, _)| key.starts_with(&prefix))
        };
        self.range(table, start, Bound::Unbounded)
            .take_while(is_inside)
    }

    /// The rows between two keys, in their order.
    pub(super) fn range(
        &self,
        table: Table,
        start: Bound<Vec<u8>>,
        end: Bound<Vec<u8>>,
    ) -> impl Iterator<Item = Result<RowBytes, StoreError>> {
        let sound = self.require_sound().err().map(Err);
        let rows = self.tree(table).range((start, end));
        let rows = rows.map(move |row| row.map_err(|error| self.read_error(table, error)));
        sound.into_iter().chain(rows)
    }

    pub(super) fn enrolments_of(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
    ) -> Result<Vec<Enrolment>, StoreError> {
        let mut found = Vec::new();
        for row in self.known_rows(fingerprint, host) {
            let (account, row) = row?;
            let key = record::account_key(&account, row.name.as_str().as_bytes());
            // A row may be gone by now: a change can come between the two reads.
            if let Some(value) = self.read(Table::Certificates, &key)? {
                let held = self.enrolment(&key, &value)?;
                found.push(Enrolment {
                    last_use: row.last_use.or(held.last_use),
                    ..held
                });
            }
        }
        Ok(found)
    }

    /// The bytes with this fingerprint that stand in a list of `host`; `None`: nowhere, or in damaged records only.
    pub(super) fn certificate(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        for row in self.known_rows(fingerprint, host).take(MAX_TRIED) {
            let read = row.and_then(|(account, row)| {
                let key = record::account_key(&account, row.name.as_str().as_bytes());
                let value = self.read(Table::Certificates, &key)?;
                value.map(|value| self.enrolment(&key, &value)).transpose()
            });
            match read {
                // A damaged record must not pass for the certificate that the client has shown.
                Ok(Some(held)) if Fingerprint::of(&held.der) == *fingerprint => {
                    return Ok(Some(held.der));
                }
                // It is counted.
                Ok(_) | Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// All rows that can be read. The unreadable ones are counted; after too many of them the rest is given up.
    pub(super) fn sound_rows(&self, table: Table) -> impl Iterator<Item = RowBytes> {
        let mut damaged = 0;
        self.scan(table, &[])
            .map_while(move |row| match row {
                Ok(row) => Some(Some(row)),
                Err(StoreError::Corrupt { .. }) if damaged < MAX_DAMAGED_ROWS => {
                    damaged += 1;
                    Some(None)
                }
                Err(_) => None,
            })
            .flatten()
    }

    /// The record as it was written: `known` may say a later last use.
    pub(super) fn enrolment(&self, key: &[u8], value: &[u8]) -> Result<Enrolment, StoreError> {
        let held = record::enrolment(key, value);
        held.map_err(|error| self.corrupt(Table::Certificates, &error))
    }

    /// The record with the last use that `known` says; its own one is that of the day when it was written.
    pub(super) fn with_last_use(&self, held: Enrolment) -> Result<Enrolment, StoreError> {
        let told = self.last_use(&held.account, &held.name, &held.fingerprint)?;
        Ok(Enrolment {
            last_use: told.or(held.last_use),
            ..held
        })
    }

    /// Was `known` held against what was written since the start?
    pub(super) fn is_known_proven(&self) -> bool {
        self.known_is_proven.load(Ordering::Acquire)
    }

    pub(super) fn set_known_proven(&self, is_proven: bool) {
        self.known_is_proven.store(is_proven, Ordering::Release);
    }

    pub(super) fn decoded<T: record::Versioned>(
        &self,
        table: Table,
        value: &[u8],
    ) -> Result<T, StoreError> {
        record::decode(value).map_err(|error| self.corrupt(table, &error))
    }

    pub(super) fn require_sound(&self) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Failed);
        }
        Ok(())
    }

    pub(super) fn corrupt(&self, table: Table, problem: &dyn std::fmt::Display) -> StoreError {
        self.corrupt_reads.fetch_add(1, Ordering::Relaxed);
        StoreError::Corrupt {
            table: table.name(),
            problem: problem.to_string(),
        }
    }

    pub(super) fn read_error(&self, table: Table, error: sled::Error) -> StoreError {
        match error {
            sled::Error::Corruption { .. } => self.corrupt(table, &words(&error)),
            error => {
                self.fail(&StoreError::Engine(error));
                StoreError::Failed
            }
        }
    }

    pub(super) fn fail(&self, error: &StoreError) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            (self.on_failure)(error);
        }
    }
}

/// Most records that are tried for one certificate.
const MAX_TRIED: usize = 4;
/// sled may report the same damaged place again and again.
const MAX_DAMAGED_ROWS: usize = 1000;
