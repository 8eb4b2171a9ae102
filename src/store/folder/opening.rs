//! A data folder is made and opened.
//!
//! Must not know: what is asked of the store once it is open.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use super::super::edit::Table;
use super::super::error::{OnFailure, StoreError, damaged, file_error};
use super::super::follow::Listeners;
use super::super::health::Health;
use super::super::job::Planned;
use super::super::memory::Memory;
use super::super::queue::Queue;
use super::super::tables::Tables;
use super::super::wholeness::{Found, OnLoss};
use super::Folder;
use super::committer::Committer;
use super::layout::{
    FORMAT, FORMAT_FILE, FORMAT_ROW, SLED_FOLDER, known_format, sync_file, write_format,
};
use super::ledger::Ledger;
use super::lock::FolderLock;
use super::reached::{self, Reached, Reading};
use super::trees::{Trees, always};
use super::whole::{self, Reach};
use super::{derived, engine, lost, migration, secret, tally};

/// The outcome of `create`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// A new store was made.
    New,
    /// There was one already; nothing was touched.
    Existing,
}

/// Creates the store in `folder`, which is made if need be (mode 0700). An existing store is left alone.
///
/// Errors: the folder is in use, holds a newer store or one that has lost its `FORMAT`, or cannot be written.
pub(in crate::store) fn create(folder: &Path) -> Result<Created, StoreError> {
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
    let meta = db.open_tree("meta").map_err(engine::failed)?;
    meta.insert(FORMAT_ROW, &FORMAT.to_be_bytes())
        .map_err(engine::failed)?;
    // Of a making that was interrupted.
    reached::forget(folder)?;
    let trees = Trees::open(&db, Health::of(always(), Box::new(|_| {})))?;
    let tally = whole::count(&trees, reached::FIRST)?;
    db.flush().map_err(engine::failed)?;
    drop((meta, trees, db));
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

/// A data folder that is open, and what reads in it.
pub(in crate::store) struct Opened {
    pub(in crate::store) folder: Folder,
    pub(in crate::store) tables: Tables,
    pub(in crate::store) memory: Arc<Memory>,
    pub(in crate::store) found: Found,
}

/// Opens the store in `folder`, which must exist. One of an older format is written anew first, which may take minutes.
///
/// Units: `cache_bytes` of sled's page cache (not a cap on memory).
/// Errors: missing, in use, newer, damaged, gone back to an older state unless `on_loss` accepts that, no room to write it anew.
pub(in crate::store) fn open(
    folder: &Path,
    cache_bytes: u64,
    on_loss: OnLoss,
    listeners: Listeners,
    on_failure: OnFailure,
) -> Result<Opened, StoreError> {
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
    require_format(folder, &db)?;
    let trees = Trees::open(&db, Health::of(always(), on_failure))?;
    let links = tally::forget_uncounted_links(&trees)?;
    if links > 0 {
        tracing::warn!(
            links,
            "an older version has written to the store: the links are gone, make new ones"
        );
    }
    let mut proof = whole::prove(folder, &trees.tables, said, on_loss, Reach::AtOnce)?;
    // In a store that is whole there is one.
    let secret = secret::own_secret(trees.tree(Table::Meta))?;
    if proof.is_new {
        derived::write_anew(&trees, || {})?;
        proof.count_again(&trees.tables)?;
        proof.tally.write(&trees)?;
    }
    // The rows that were written during the opening, too.
    db.flush().map_err(engine::failed)?;
    engine::sync(&sled)?;
    if !proof.is_new && found == FORMAT && !matches!(said, Reading::Commits(_)) {
        tracing::warn!(
            file = %folder.join("SEQUENCE").display(),
            ?said,
            "the file is lost or damaged, and is made anew; had the store gone back to an older state, nobody would know"
        );
    }
    let tables = trees.tables.clone();
    let is_proven = proof.found.is_checked || proof.is_new;
    tables.health.set_known_proven(is_proven);
    proof.found.accepted = proof.found.accepted.or(lost);
    reached.note_firmly(proof.tally.commits)?;
    let memory = Arc::new(Memory::of_all(&tables, proof.counts, secret, listeners)?);
    let ledger = Ledger::of(proof.tally);
    let reached = Arc::new(reached);
    let queue = Queue::start(Committer {
        db,
        trees,
        durable: engine::Durable::of(&sled)?,
        reached: Arc::clone(&reached),
        ledger: Arc::clone(&ledger),
        memory: Arc::clone(&memory),
    })?;
    if let Some(loss) = &proof.found.accepted {
        let rows = vec![loss.row()];
        queue.in_turn(move |_| Ok(Planned { rows, outcome: () }))?;
    }
    Ok(Opened {
        folder: Folder {
            queue,
            ledger,
            reached,
            memory: Arc::clone(&memory),
            health: Arc::clone(&tables.health),
            path: folder.to_owned(),
            _lock: lock,
        },
        tables,
        memory,
        found: proof.found,
    })
}

/// Errors: sled's files are those of another store, or of another format.
fn require_format(folder: &Path, db: &sled::Db) -> Result<(), StoreError> {
    let meta = db.open_tree(Table::Meta.name()).map_err(engine::failed)?;
    let row = meta.get(FORMAT_ROW).map_err(engine::failed)?;
    if row.as_deref() == Some(&FORMAT.to_be_bytes()[..]) {
        return Ok(());
    }
    Err(damaged(folder, "sled's files are not those of this store"))
}

const SMALL_CACHE_BYTES: u64 = 8 << 20;
