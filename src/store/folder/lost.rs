//! A folder without `FORMAT`: is there no store in it, or one that has lost that file? A new store in the place of a lost one would
//! forget every revocation.
//!
//! Must not know: how a store is made or opened. It looks, and changes nothing.

use std::path::Path;

use super::super::edit::Table;
use super::super::error::{StoreError, damaged};
use super::super::health::Health;
use super::layout::SLED_FOLDER;
use super::trees::{Trees, always};
use super::{engine, migration, reached};
use crate::system::shell::word;

/// The error of a folder that has no `FORMAT`: there is no store in it, or it has lost that file.
pub(super) fn without_format(folder: &Path) -> StoreError {
    match require_no_traces(folder) {
        Ok(()) => StoreError::Missing {
            folder: word(folder),
        },
        Err(error) => error,
    }
}

/// Does nothing beside sled's files say that there was a store? One whose making was interrupted is none.
pub(super) fn require_no_traces(folder: &Path) -> Result<(), StoreError> {
    let is_traced = reached::said_in(folder).is_some_and(|commits| commits > reached::FIRST)
        || migration::is_under_way(folder);
    if is_traced {
        return Err(lost(folder));
    }
    Ok(())
}

/// Are there no rows but those of a store that was never used?
pub(super) fn require_no_rows(folder: &Path, db: &sled::Db) -> Result<(), StoreError> {
    let tables = Trees::open(db, Health::of(always(), Box::new(|_| {})))?.tables;
    for table in Table::COUNTED.iter().copied() {
        let is_own = table == Table::Meta;
        if !is_own && tables.scan(table, &[]).next().transpose()?.is_some() {
            return Err(lost(folder));
        }
    }
    Ok(())
}

/// sled's own folder, if it is there, is opened as what a store of the present format has.
pub(super) fn open_unused(folder: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    require_no_traces(folder)?;
    let db = engine::open(
        &folder.join(SLED_FOLDER),
        engine::SEGMENT_BYTES,
        cache_bytes,
    )?;
    require_no_rows(folder, &db)?;
    Ok(db)
}

fn lost(folder: &Path) -> StoreError {
    damaged(
        folder,
        "its FORMAT file is missing, and other files of a store that was used are there",
    )
}
