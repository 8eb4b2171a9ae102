//! sled's files: how they are opened, how long what lies in them may be, and what is said of damage.
//!
//! sled writes a node that is longer than a quarter of a segment into a file of its own, which it never syncs
//! (`blobs/`). Therefore segments are long here and rows are not: the longest node fits ([`LONGEST_LEAF`],
//! [`LONGEST_INDEX`]). A file that holds nothing of its own (`snap.*`, `conf`) is set aside when it is damaged.
//!
//! Must not know: what rows mean.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::error::{StoreError, damaged, file_error};
use super::super::rows::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use super::layout::sync_file;

/// Opens sled in `sled`, its own folder, which may be empty.
///
/// Errors: each names the file and says what is wrong with it in words.
pub(super) fn open(
    sled: &Path,
    segment_bytes: usize,
    cache_bytes: u64,
) -> Result<sled::Db, StoreError> {
    if sled.exists() {
        look_at_conf(sled, segment_bytes)?;
        let reach = look_at_snapshots(sled)?;
        look_at_db(sled, reach)?;
    }
    let start = Instant::now();
    loop {
        let opened = sled::Config::new()
            .path(sled)
            .segment_size(segment_bytes)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(500))
            .open();
        match opened {
            Ok(db) => return Ok(db),
            // One that this process has just closed, whose threads end in their own time: the folder's lock is ours.
            Err(error) if is_locked(&error) && start.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(at_open(sled, error)),
        }
    }
}

/// `config.rs` of sled 0.34.7.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

/// The file that sled's rows are in.
pub(super) fn db_file(sled: &Path) -> PathBuf {
    sled.join("db")
}

/// Makes everything in `sled` durable, and that it is there.
pub(super) fn sync(sled: &Path) -> Result<(), StoreError> {
    for entry in list(sled)? {
        if !name_of(&entry).starts_with(ASIDE) {
            sync_file(&entry)?;
        }
    }
    sync_file(sled)
}

/// The files that make each commit durable.
pub(super) struct Durable {
    db: File,
    blobs: PathBuf,
}

impl Durable {
    pub(super) fn of(sled: &Path) -> Result<Self, StoreError> {
        let path = db_file(sled);
        let db = OpenOptions::new().write(true).open(&path);
        Ok(Self {
            db: db.map_err(file_error("cannot open", &path))?,
            blobs: sled.join(BLOBS),
        })
    }

    /// To be called behind sled's own flush, which is not an fsync on Linux (issues 1351, 1452).
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.sync_data().map_err(|source| StoreError::File {
            action: "cannot sync",
            path: "sled/db".to_owned(),
            source,
        })?;
        // By the arithmetic below there are none. If it is wrong, they are synced at least.
        let blobs = list(&self.blobs)?;
        if blobs.is_empty() {
            return Ok(());
        }
        for blob in blobs {
            match sync_file(&blob) {
                // sled's own thread has cleaned it away.
                Err(StoreError::File { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                synced => synced?,
            }
        }
        sync_file(&self.blobs)
    }
}

/// An error of sled's in words for people.
pub(super) fn words(error: &sled::Error) -> String {
    match error {
        sled::Error::Corruption { at: Some(at), .. } => {
            format!("damaged at byte {}", at.lid())
        }
        sled::Error::Corruption { at: None, .. } => "damaged".to_owned(),
        sled::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "its end is missing".to_owned()
        }
        sled::Error::Io(error) => error.to_string(),
        sled::Error::Unsupported(text) | sled::Error::ReportableBug(text) => text.clone(),
        sled::Error::CollectionNotFound(_) => "a table is missing".to_owned(),
    }
}

/// The error of a store whose engine has failed.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn failed(error: sled::Error) -> StoreError {
    StoreError::Engine {
        problem: words(&error),
    }
}

fn at_open(sled: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
            file_error("cannot open", sled)(source)
        }
        error => {
            let problem = format!("{}: {}", db_file(sled).display(), words(&error));
            damaged(sled.parent().unwrap_or(sled), &problem)
        }
    }
}

/// `conf` says only what is known anyway.
fn look_at_conf(sled: &Path, segment_bytes: usize) -> Result<(), StoreError> {
    let path = sled.join("conf");
    let problem = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error.to_string(),
        Ok(bytes) => match checked(&bytes, 0) {
            None => "its checksum is wrong".to_owned(),
            Some(text) if text == conf(segment_bytes).as_bytes() => return Ok(()),
            // Not damage: other files stand beside it than were expected.
            Some(_) => {
                let problem = format!("{} is not that of this store", path.display());
                return Err(damaged(sled.parent().unwrap_or(sled), &problem));
            }
        },
    };
    set_aside(&path, &problem)
}

fn conf(segment_bytes: usize) -> String {
    format!("segment_size: {segment_bytes}\nuse_compression: false\nversion: 0.34\n")
}

/// Sets aside what sled could not read, and says how long `db` must be for the snapshot that it will.
///
/// Without one sled reads all of `db`, and finds the same rows.
fn look_at_snapshots(sled: &Path) -> Result<u64, StoreError> {
    let mut last: Option<(PathBuf, u64)> = None;
    for path in list(sled)? {
        if !is_snapshot(&path) {
            continue;
        }
        // Left when sled is killed while opening; it would refuse to open at all.
        if name_of(&path).ends_with(".generating") {
            fs::remove_file(&path).map_err(file_error("cannot remove", &path))?;
            continue;
        }
        let read = fs::read(&path).map_err(|error| error.to_string());
        let reach = read.and_then(|bytes| reach(&bytes).ok_or_else(|| "it is damaged".to_owned()));
        match reach {
            Err(problem) => set_aside(&path, &problem)?,
            Ok(reach) if last.as_ref().is_none_or(|(last, _)| *last < path) => {
                last = Some((path, reach));
            }
            Ok(_) => {}
        }
    }
    Ok(last.map_or(0, |(_, reach)| reach))
}

/// How long `db` must be for what a snapshot points at, if the snapshot is sound.
///
/// Source: `pagecache/snapshot.rs` and `serialization.rs` of sled 0.34.7.
fn reach(bytes: &[u8]) -> Option<u64> {
    // Behind it stand its length and a checksum.
    let mut rest = Bytes(checked(bytes, 8)?);
    rest.take(8)?;
    // Shifted by one: zero is none.
    let mut reach = rest.varint()?;
    while !rest.0.is_empty() {
        // Of how many parts the page consists; none: it is free.
        let parts = rest.byte()?;
        for _ in 0..parts.max(1) {
            rest.take(8)?;
            let is_blob = rest.byte()?;
            reach = reach.max(rest.varint()?.saturating_add(1));
            if is_blob == 1 {
                rest.take(8)?;
            }
            if parts > 0 {
                rest.varint()?;
            }
        }
    }
    Some(reach)
}

/// The bytes in front of a trailer of `trailer` bytes and the checksum, if that is right.
fn checked(bytes: &[u8], trailer: usize) -> Option<&[u8]> {
    let (rest, sum) = bytes.split_last_chunk::<4>()?;
    let text = rest.get(..rest.len().checked_sub(trailer)?)?;
    let is_right = !text.is_empty() && crc32fast::hash(text) == u32::from_le_bytes(*sum);
    is_right.then_some(text)
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// sled's: small ones in a byte or two, others behind their length.
    fn varint(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let mut number = |count: usize| -> Option<u64> {
            let mut bytes = [0; 8];
            bytes.get_mut(..count)?.copy_from_slice(self.take(count)?);
            Some(u64::from_le_bytes(bytes))
        };
        Some(match first {
            0..=240 => u64::from(first),
            241..=248 => 240 + 256 * (u64::from(first) - 241) + number(1)?,
            249 => 2288 + 256 * number(1)? + number(1)?,
            _ => number(usize::from(first) - 247)?,
        })
    }
}

/// Sets aside snapshots that point behind the end of `db`: sled panics at one. It cuts `db` itself while it runs, when most
/// rows are gone, and makes a snapshot only when it is opened. Without one it reads all of `db`.
///
/// Errors: `db` may not be opened, which sled would say without its name.
fn look_at_db(sled: &Path, reach: u64) -> Result<(), StoreError> {
    let path = db_file(sled);
    let found = OpenOptions::new().read(true).write(true).open(&path);
    let file = match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(file_error("cannot open", &path))?,
    };
    let length = file
        .metadata()
        .map_err(file_error("cannot read", &path))?
        .len();
    if length >= reach {
        return Ok(());
    }
    for path in list(sled)? {
        if is_snapshot(&path) {
            set_aside(&path, "db has become shorter since it was made")?;
        }
    }
    Ok(())
}

/// Can sled do without this file of its folder, or is it what was set aside?
pub(super) fn is_dispensable(path: &Path) -> bool {
    let name = name_of(path);
    name == "conf" || is_snapshot(path) || name.starts_with(ASIDE)
}

/// Gives the file a name that sled does not look for.
fn set_aside(path: &Path, problem: &str) -> Result<(), StoreError> {
    let aside = path.with_file_name(format!("{ASIDE}{}", name_of(path)));
    fs::rename(path, &aside).map_err(file_error("cannot rename", path))?;
    tracing::warn!(
        file = %path.display(),
        set_aside_as = %aside.display(),
        problem,
        "a damaged file of the store was set aside; it holds nothing that is not elsewhere"
    );
    Ok(())
}

fn is_snapshot(path: &Path) -> bool {
    name_of(path).starts_with("snap.")
}

fn name_of(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(file_error("cannot list", folder))?;
    entries
        .map(|entry| Ok(entry.map_err(file_error("cannot list", folder))?.path()))
        .collect()
}

/// Of a store of the present format. A power of two, 16 MiB at most.
pub(super) const SEGMENT_BYTES: usize = 4 << 20;
/// Of format 1.
pub(super) const FORMER_SEGMENT_BYTES: usize = 512 << 10;
const ASIDE: &str = "damaged.";
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
pub(super) const BLOBS: &str = "blobs";

// The largest nodes that sled 0.34.7 makes of them. It splits a leaf of more than 16 rows, and an index of more than
// 256 children, when a thread next comes by, so that there may be one more; a node with fewer than 4 rows, or 64 children,
// is merged into its left neighbour by the thread that comes by, which splits the outcome before it goes on. So a leaf has
// at most 17 + 3 n rows and an index 257 + 63 n children while n threads merge into the same one in the same microseconds.
const LONGEST_LEAF: usize = node_bytes(17 + 3 * 4, MAX_KEY_BYTES + 3 + MAX_VALUE_BYTES + 3);
const LONGEST_INDEX: usize = node_bytes(257 + 63 * 2, MAX_KEY_BYTES + 3 + 9);

/// A node's two bounds and its neighbour beside what it holds (`serialization.rs`: a length has up to 3 bytes here).
const fn node_bytes(count: usize, bytes: usize) -> usize {
    2 + 9 + 9 + 2 * (MAX_KEY_BYTES + 3) + 1 + 3 + count * bytes
}

/// `pagecache/logger.rs`: what is longer, with the longest header, becomes a blob.
const INLINE_BYTES: usize = SEGMENT_BYTES / 4 - 20 - 32;

const _: () = assert!(LONGEST_LEAF <= INLINE_BYTES && LONGEST_INDEX <= INLINE_BYTES);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    /// A key of the greatest length that differs from its neighbours in its last bytes only.
    fn key(number: usize) -> Vec<u8> {
        let mut key = vec![b'k'; MAX_KEY_BYTES - 8];
        key.extend_from_slice(format!("{number:08}").as_bytes());
        key
    }

    #[test]
    fn the_longest_nodes_become_no_blobs() {
        let folder = tempfile::tempdir().unwrap();
        let sled = folder.path().join("sled");
        let db = open(&sled, SEGMENT_BYTES, 64 << 20).unwrap();
        let long = db.open_tree("leaves").unwrap();
        let value = vec![7; MAX_VALUE_BYTES];
        for number in 0..100 {
            long.insert(key(number * 7 % 100), &value[..]).unwrap();
        }
        // More leaves than an index holds, of the longest keys.
        let wide = db.open_tree("index").unwrap();
        for number in 0..6000 {
            wide.insert(key(number), b"").unwrap();
        }
        // And what is merged.
        for number in (0..100).filter(|number| number % 10 > 1) {
            long.remove(key(number)).unwrap();
        }
        for number in (0..6000).filter(|number| number % 50 > 5) {
            wide.remove(key(number)).unwrap();
        }
        for number in 0..100 {
            long.insert(key(number), &value[..]).unwrap();
        }
        db.flush().unwrap();
        assert_eq!(list(&sled.join(BLOBS)).unwrap(), Vec::<PathBuf>::new());
        drop((long, wide, db));
        // The reading of sled's own arithmetic is right: with rows that are a little longer, there are blobs.
        let db = open(&sled, SEGMENT_BYTES, 64 << 20).unwrap();
        // A byte for what it is, the lengths of key and value, and the key.
        let link = INLINE_BYTES - 1 - (1 + 4) - 1;
        db.insert(b"k", vec![7; link]).unwrap();
        assert_eq!(list(&sled.join(BLOBS)).unwrap().len(), 0);
        db.insert(b"k", vec![7; link + 1]).unwrap();
        assert_eq!(list(&sled.join(BLOBS)).unwrap().len(), 1);
    }

    #[test]
    fn a_snapshot_says_how_far_it_reaches_or_is_no_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let sled = folder.path().join("sled");
        for round in 0..3 {
            let db = open(&sled, SEGMENT_BYTES, 8 << 20).unwrap();
            for number in 0..500_usize {
                let value = vec![round; 3000 + number];
                db.insert(key(number), value).unwrap();
            }
            db.flush().unwrap();
        }
        drop(open(&sled, SEGMENT_BYTES, 8 << 20).unwrap());
        let bytes = fs::read(&snapshots(&sled)[0]).unwrap();
        let length = fs::metadata(db_file(&sled)).unwrap().len();
        let reach = reach(&bytes).unwrap();
        assert!(reach > length / 2 && reach <= length, "{reach} of {length}");
        for damaged in [
            &bytes[..0],
            &bytes[..12],
            &bytes[..bytes.len() - 1],
            b"garbage, and quite long",
        ] {
            assert_eq!(super::reach(damaged), None);
        }
    }

    fn snapshots(sled: &Path) -> Vec<PathBuf> {
        let mut found = list(sled).unwrap();
        found.retain(|path| is_snapshot(path));
        found
    }

    /// When sled cuts its file is up to its threads. So the long snapshot is that of another, larger store.
    #[test]
    fn a_file_that_is_shorter_than_its_snapshot_is_opened_with_all_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (large, small) = (folder.path().join("large"), folder.path().join("small"));
        for (sled, rows) in [(&large, 2000), (&small, 20)] {
            let db = open(sled, SEGMENT_BYTES, 8 << 20).unwrap();
            for number in 0..rows {
                db.insert(key(number), vec![1; 4000]).unwrap();
            }
            db.flush().unwrap();
            drop(db);
            drop(open(sled, SEGMENT_BYTES, 8 << 20).unwrap());
        }
        let long = &snapshots(&large)[0];
        let name = long.file_name().unwrap();
        fs::copy(long, small.join(name)).unwrap();
        let length = fs::metadata(db_file(&small)).unwrap().len();
        assert!(reach(&fs::read(long).unwrap()).unwrap() > length);
        let db = open(&small, SEGMENT_BYTES, 8 << 20).unwrap();
        assert_eq!(db.len(), 20);
        assert!(small.join(format!("{ASIDE}{}", name.display())).exists());
    }
}
