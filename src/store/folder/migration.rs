//! A store of an older format, written anew in the present one.
//!
//! The new one is written into a folder beside. Only when all of it is there, compared and synced does `FORMAT` say so,
//! in one rename; then the folders change places. A kill at any moment leaves the old store, or the new one: what was
//! half written is thrown away, what was half exchanged is finished at the next start.
//!
//! Must not know: what rows mean.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::super::edit::Table;
use super::super::error::{StoreError, damaged, file_error};
use super::super::health::Health;
use super::super::rows::is_too_long;
use super::super::wholeness::{Loss, OnLoss};
use super::layout::{FIRST_FORMAT, FORMAT, FORMAT_ROW, SLED_FOLDER, sync_file, write_format};
use super::reached::{self, Reading};
use super::trees::{Trees, always};
use super::whole::{self, Reach};
use super::{derived, engine};

/// Writes the store in `folder`, which is of the older format `found`, anew.
///
/// Blocks for as long as it takes; the log says how far it is. Returns what was missing in it, and is accepted.
/// Errors: there is no room, it is not whole, or a row cannot be read; the store is as it was.
pub(super) fn migrate(
    folder: &Path,
    found: u32,
    cache_bytes: u64,
    on_loss: OnLoss,
) -> Result<Option<Loss>, StoreError> {
    let fresh = folder.join(FRESH_FOLDER);
    remove_folder(&fresh)?;
    let segment_bytes = if found == FIRST_FORMAT {
        look_at_blobs(folder)?;
        engine::FORMER_SEGMENT_BYTES
    } else {
        engine::SEGMENT_BYTES
    };
    let from = open(folder, SLED_FOLDER, segment_bytes, cache_bytes)?;
    let live = Live::of(folder, &from, found)?;
    require_room(folder, &live)?;
    // The first one said nothing of itself.
    let (commits, lost) = if found == FIRST_FORMAT {
        (reached::FIRST, None)
    } else {
        let tables = trees_of(&from)?.tables;
        let said = reached::said_in(folder).map_or(Reading::Missing, Reading::Commits);
        let proof = whole::prove(folder, &tables, said, on_loss, Reach::Former)?;
        (proof.tally.commits, proof.found.accepted)
    };
    tracing::info!(
        folder = %folder.display(),
        rows = live.rows,
        bytes = live.bytes,
        "the store is written anew in format {FORMAT}, once; the old one is kept until that is done"
    );
    let to = open(folder, FRESH_FOLDER, engine::SEGMENT_BYTES, cache_bytes)?;
    let mut progress = Progress::of(&live);
    copy(folder, &from, &to, &mut progress)?;
    let trees = trees_of(&to)?;
    let records = derived::write_anew(&trees, || progress.more())?;
    if trees.tree(Table::Expiry).len() != records {
        return Err(damaged(folder, NOT_THE_SAME));
    }
    whole::count(&trees, commits)?;
    to.flush().map_err(engine::failed)?;
    drop((from, trees, to));
    engine::sync(&fresh)?;
    write_format(folder)?;
    finish(folder)?;
    tracing::info!(folder = %folder.display(), "the store has format {FORMAT} now");
    Ok(lost)
}

/// How far it is, for the log.
struct Progress {
    of: u64,
    done: u64,
    told: u64,
}

impl Progress {
    fn of(live: &Live) -> Self {
        Self {
            // The rows that follow from a record are written, too.
            of: live.rows + live.records,
            done: 0,
            told: 0,
        }
    }

    fn more(&mut self) {
        self.done += 1;
        if self.done * 10 / self.of.max(1) > self.told {
            self.told = self.done * 10 / self.of.max(1);
            tracing::info!("rows written: {} of {}", self.done, self.of);
        }
    }
}

/// Finishes what a migration left undone when `FORMAT` already said that its store is whole.
pub(super) fn finish(folder: &Path) -> Result<(), StoreError> {
    let [fresh, present, former] =
        [FRESH_FOLDER, SLED_FOLDER, FORMER_FOLDER].map(|name| folder.join(name));
    if fresh.exists() {
        if present.exists() {
            fs::rename(&present, &former).map_err(file_error("cannot rename", &present))?;
        }
        fs::rename(&fresh, &present).map_err(file_error("cannot rename", &fresh))?;
        sync_file(folder)?;
    }
    // Behind the sync: until then it may be what a power cut brings back.
    remove_folder(&former)
}

/// sled takes a damaged one for the end of its log, and opens what was before.
///
/// The last one may be half written: of what was acknowledged before a kill, nothing is in it.
fn look_at_blobs(folder: &Path) -> Result<(), StoreError> {
    let blobs = folder.join(SLED_FOLDER).join(engine::BLOBS);
    let mut damaged_ones = Vec::new();
    let mut last = None;
    for path in engine::list(&blobs)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Ok(number) = name.parse::<u64>() else {
            continue;
        };
        last = last.max(Some(number));
        let bytes = fs::read(&path).map_err(file_error("cannot read", &path))?;
        let is_sound = bytes.split_first_chunk::<4>().is_some_and(|(sum, rest)| {
            !rest.is_empty() && crc32fast::hash(rest) == u32::from_le_bytes(*sum)
        });
        if !is_sound {
            damaged_ones.push((number, path));
        }
    }
    for (number, path) in damaged_ones {
        let problem = format!(
            "{} is damaged, as a power cut could leave it before format 2",
            path.display()
        );
        if Some(number) != last {
            return Err(damaged(folder, &problem));
        }
        tracing::warn!(problem, "it was written last, and is left out");
    }
    Ok(())
}

struct Live {
    rows: u64,
    bytes: u64,
    /// Rows that are records of certificates.
    records: u64,
}

impl Live {
    fn of(folder: &Path, from: &sled::Db, found: u32) -> Result<Self, StoreError> {
        let mut live = Self {
            rows: 0,
            bytes: 0,
            records: 0,
        };
        let mut is_ours = false;
        for name in from.tree_names() {
            for row in &from.open_tree(&name).map_err(engine::failed)? {
                let (key, value) = row.map_err(|error| unreadable(folder, &name, &error))?;
                live.rows += 1;
                live.records += u64::from(name == Table::Certificates.name());
                live.bytes += (key.len() + value.len()) as u64;
                is_ours |= is_format_row(&name, &key) && *value == found.to_be_bytes();
            }
        }
        if is_ours {
            Ok(live)
        } else {
            Err(damaged(folder, "sled's files are not those of this store"))
        }
    }

    /// An upper bound of what sled makes of them while it is filled: it was seen to write 2 to 3 times as much.
    fn needed_bytes(&self) -> u64 {
        let following = BYTES_THAT_FOLLOW * self.records;
        3 * (self.bytes + following) + 64 * self.rows + 4 * engine::SEGMENT_BYTES as u64
    }
}

fn require_room(folder: &Path, live: &Live) -> Result<(), StoreError> {
    let found =
        statvfs(folder).map_err(|error| file_error("cannot measure", folder)(error.into()))?;
    let free_bytes = found
        .blocks_available()
        .saturating_mul(found.fragment_size());
    let needed_bytes = live.needed_bytes();
    if free_bytes < needed_bytes {
        return Err(StoreError::NoRoom {
            folder: folder.display().to_string(),
            needed_bytes,
            free_bytes,
        });
    }
    Ok(())
}

fn copy(
    folder: &Path,
    from: &sled::Db,
    to: &sled::Db,
    progress: &mut Progress,
) -> Result<(), StoreError> {
    for name in from.tree_names() {
        if is_written_anew(&name) {
            continue;
        }
        let old = from.open_tree(&name).map_err(engine::failed)?;
        let new = to.open_tree(&name).map_err(engine::failed)?;
        let mut batch = sled::Batch::default();
        let mut bytes = 0;
        for row in &old {
            let (key, value) = row.map_err(|error| unreadable(folder, &name, &error))?;
            progress.more();
            if let Some(value) = converted(&name, &key, value) {
                bytes += key.len() + value.len();
                batch.insert(key, value);
            }
            if bytes >= BATCH_BYTES {
                new.apply_batch(std::mem::take(&mut batch))
                    .map_err(engine::failed)?;
                bytes = 0;
            }
        }
        new.apply_batch(batch).map_err(engine::failed)?;
        compare(folder, &name, &old, &new)?;
    }
    Ok(())
}

/// Does what stands in the tree follow from others, or count them?
fn is_written_anew(tree: &[u8]) -> bool {
    let mut anew = Table::DERIVED.iter().chain([&Table::Tally]);
    tree == FORMER_INDEX || anew.any(|table| tree == table.name().as_bytes())
}

/// The row's value in the present format; `None`: it has no place there.
fn converted(tree: &[u8], key: &[u8], value: sled::IVec) -> Option<sled::IVec> {
    if is_format_row(tree, key) {
        return Some(sled::IVec::from(&FORMAT.to_be_bytes()));
    }
    if is_too_long(key.len(), value.len()) {
        // A host's options, which Prosody declares anew, or a certificate that nobody has but to see what happens.
        tracing::warn!(
            table = %String::from_utf8_lossy(tree).escape_debug(),
            key = %String::from_utf8_lossy(key).escape_debug(),
            bytes = value.len(),
            "left out: it is longer than anything that is kept"
        );
        return None;
    }
    Some(value)
}

/// Before the old store is given up.
fn compare(
    folder: &Path,
    name: &[u8],
    old: &sled::Tree,
    new: &sled::Tree,
) -> Result<(), StoreError> {
    let mut copied = new.iter();
    for row in old {
        let (key, value) = row.map_err(|error| unreadable(folder, name, &error))?;
        let is_kept = is_format_row(name, &key) || !is_too_long(key.len(), value.len());
        if !is_kept {
            continue;
        }
        let copy = copied.next().transpose().map_err(engine::failed)?;
        let is_same = copy.is_some_and(|(other, copy)| {
            other == key && (copy == value || is_format_row(name, &key))
        });
        if !is_same {
            return Err(damaged(folder, NOT_THE_SAME));
        }
    }
    Ok(())
}

fn is_format_row(tree: &[u8], key: &[u8]) -> bool {
    tree == b"meta" && key == FORMAT_ROW.as_bytes()
}

fn open(
    folder: &Path,
    name: &str,
    segment_bytes: usize,
    cache_bytes: u64,
) -> Result<sled::Db, StoreError> {
    engine::open(&folder.join(name), segment_bytes, cache_bytes)
}

/// Nobody is served from them.
fn trees_of(db: &sled::Db) -> Result<Trees, StoreError> {
    Trees::open(db, Health::of(always(), Box::new(|_| {})))
}

fn unreadable(folder: &Path, tree: &[u8], error: &sled::Error) -> StoreError {
    let problem = format!(
        "a record in {} cannot be read, so that the store cannot be written anew: {}",
        String::from_utf8_lossy(tree).escape_debug(),
        engine::words(error)
    );
    damaged(folder, &problem)
}

/// Has a migration left a folder of its own?
pub(super) fn is_under_way(folder: &Path) -> bool {
    [FRESH_FOLDER, FORMER_FOLDER]
        .iter()
        .any(|name| folder.join(name).exists())
}

fn remove_folder(folder: &Path) -> Result<(), StoreError> {
    if !folder.exists() {
        return Ok(());
    }
    tracing::info!(folder = %folder.display(), "a folder that a migration left is removed");
    fs::remove_dir_all(folder).map_err(file_error("cannot remove", folder))
}

/// The new store while it is written.
pub(super) const FRESH_FOLDER: &str = "sled.new";
/// The old one when the new one has taken its place.
pub(super) const FORMER_FOLDER: &str = "sled.old";
const NOT_THE_SAME: &str = "what was written anew is not what was read";
const BATCH_BYTES: usize = 1 << 20;
/// The index by fingerprint of formats 1 and 2: fingerprint, host and user to the certificate's name.
const FORMER_INDEX: &[u8] = b"by_fingerprint";
/// The size of the rows that follow from a record of a certificate with usual names and addresses.
const BYTES_THAT_FOLLOW: u64 = 512;
