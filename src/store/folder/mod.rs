//! A store's folder is made, looked at and opened. One process has it at a time.
//!
//! Must not know: what is asked of the store once it is open.

pub(super) mod check;
pub(super) mod committer;
pub(super) mod derived;
mod engine;
pub(super) mod layout;
pub(super) mod ledger;
pub(super) mod lock;
mod lost;
mod migration;
mod ownership;
pub(super) mod reached;
pub(super) mod tally;
pub(super) mod whole;

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use super::census::Censuses;
use super::error::{OnFailure, StoreError, damaged, file_error};
use super::link_index::LinkIndex;
use super::tables::Tables;
use super::{Store, refusal, secret};
use crate::system::lock::SharedLock;
use committer::Committer;
use layout::{FORMAT, FORMAT_FILE, FORMAT_ROW, SLED_FOLDER, known_format, sync_file, write_format};
use ledger::Ledger;
use lock::FolderLock;
use reached::{Reached, Reading};
use whole::{OnLoss, Reach};

/// The outcome of `create`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// A new store was made.
    New,
    /// There was one already; nothing was touched.
    Existing,
}

impl Store {
    /// Creates the store in `folder`, which is made if need be (mode 0700). An existing store is left alone.
    ///
    /// Errors: the folder is in use, holds a newer store or one that has lost its `FORMAT`, or cannot be written.
    pub fn create(folder: &Path) -> Result<Created, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(file_error("cannot create", folder))?;
        if folder.join(FORMAT_FILE).exists() {
            known_format(folder)?;
            return Ok(Created::Existing);
        }
        let _lock = FolderLock::take(folder)?;
        let sled = folder.join(SLED_FOLDER);
        let db = lost::open_unused(folder, SMALL_CACHE_BYTES)?;
        let meta = db.open_tree("meta").map_err(StoreError::Engine)?;
        meta.insert(FORMAT_ROW, &FORMAT.to_be_bytes())
            .map_err(StoreError::Engine)?;
        // Of a making that was interrupted.
        reached::forget(folder)?;
        let tables = Tables::open(&db, Box::new(|_| {}))?;
        let tally = whole::count(&tables, reached::FIRST)?;
        db.flush().map_err(StoreError::Engine)?;
        drop((meta, tables, db));
        engine::sync(&sled)?;
        Reached::open(folder)?.0.note_firmly(tally.commits)?;
        // Last: a folder without it is not a store, whatever else was written before a crash.
        write_format(folder)?;
        // Its own entry: it may be new. A process that may not read the folder above did not make this one.
        if let Some(above) = folder.parent().filter(|above| File::open(above).is_ok()) {
            sync_file(above)?;
        }
        Ok(Created::New)
    }

    /// Whether there is a store in `folder`, good or damaged.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FORMAT_FILE).exists()
    }

    /// The user and the group that the store in `folder` belongs to; none where there is no folder.
    #[must_use]
    pub fn owner(folder: &Path) -> Option<(u32, u32)> {
        ownership::owner(folder)
    }

    /// Looks whether a process of user `own` can open the store in `folder`, of what can be seen from outside.
    ///
    /// Errors: missing, newer, somebody else's, on a disk that is read-only; each says what to do.
    pub fn look(folder: &Path, own: u32) -> Result<(), StoreError> {
        ownership::look(folder, own)
    }

    /// Opens the store in `folder`, which must exist and be whole. One of an older format is written anew first, which may
    /// take minutes.
    ///
    /// Units: `cache_bytes` of sled's page cache (not a cap on memory).
    /// Errors: missing, in use, newer, damaged, gone back to an older state, no room to write it anew; each says what to do.
    pub fn open(
        folder: &Path,
        cache_bytes: u64,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        Self::open_with(folder, cache_bytes, OnLoss::Refuse, on_failure)
    }

    /// The same, and says what is done with a store that is not whole.
    pub fn open_with(
        folder: &Path,
        cache_bytes: u64,
        on_loss: OnLoss,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        let opened = Self::opened(folder, cache_bytes, on_loss, on_failure);
        match &opened {
            Ok(_) => refusal::clear(folder),
            Err(error) => refusal::note_error(folder, error),
        }
        opened
    }

    fn opened(
        folder: &Path,
        cache_bytes: u64,
        on_loss: OnLoss,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        if !folder.join(FORMAT_FILE).exists() {
            return Err(lost::without_format(folder));
        }
        let found = known_format(folder)?;
        let lock = FolderLock::take(folder)?;
        if found == FORMAT {
            migration::finish(folder)?;
        }
        let sled = folder.join(SLED_FOLDER);
        // sled would create an empty store in the place of a lost one, without a word.
        if !engine::db_file(&sled).exists() {
            return Err(damaged(folder, "sled/db is missing"));
        }
        let lost = if found == FORMAT {
            None
        } else {
            migration::migrate(folder, found, cache_bytes / 2, on_loss)?
        };
        let (reached, said) = Reached::open(folder)?;
        let db = engine::open(&sled, engine::SEGMENT_BYTES, cache_bytes)?;
        let meta = db.open_tree("meta").map_err(StoreError::Engine)?;
        let row = meta.get(FORMAT_ROW).map_err(StoreError::Engine)?;
        if row.as_deref() != Some(&FORMAT.to_be_bytes()[..]) {
            return Err(damaged(folder, "sled's files are not those of this store"));
        }
        let tables = Tables::open(&db, on_failure)?;
        let links = tally::forget_uncounted_links(&tables)?;
        if links > 0 {
            tracing::warn!(
                links,
                "an older version has written to the store: the links are gone, make new ones"
            );
        }
        let mut proof = whole::prove(folder, &tables, said, on_loss, Reach::AtOnce)?;
        // In a store that is whole there is one.
        let secret = secret::own_secret(&meta)?;
        if proof.is_new {
            derived::write_anew(&tables, || {})?;
            proof.count_again(&tables)?;
            proof.tally.write(&tables)?;
        }
        // The rows that were written during the opening, too.
        db.flush().map_err(StoreError::Engine)?;
        engine::sync(&sled)?;
        if !proof.is_new && found == FORMAT && !matches!(said, Reading::Commits(_)) {
            tracing::warn!(
                file = %folder.join("SEQUENCE").display(),
                ?said,
                "the file is lost or damaged, and is made anew; had the store gone back to an older state, nobody would know"
            );
        }
        tables.set_known_proven(proof.found.is_checked || proof.is_new);
        proof.found.accepted = proof.found.accepted.or(lost);
        reached.note_firmly(proof.tally.commits)?;
        let censuses = Arc::new(Censuses::of_all(&tables)?);
        let links = Arc::new(LinkIndex::of_all(&tables)?);
        let durable = engine::Durable::of(&sled)?;
        let ledger = Ledger::of(proof.tally, proof.counts);
        let reached = Arc::new(reached);
        let committer = Committer::start(
            db,
            tables.clone(),
            durable,
            Arc::clone(&reached),
            Arc::clone(&ledger),
        )?;
        let store = Self {
            tables,
            committer,
            censuses,
            links,
            ledger,
            reached,
            found: proof.found,
            secret: SharedLock::new(secret),
            folder: folder.to_owned(),
            _lock: lock,
        };
        store.remember_loss()?;
        Ok(store)
    }
}

const SMALL_CACHE_BYTES: u64 = 8 << 20;
