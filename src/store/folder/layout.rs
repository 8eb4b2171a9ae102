//! The parts of a data folder: `FORMAT` (which layout; written last), `sled/`, and the sizes of both.
//!
//! Must not know: what is in sled's files.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::super::error::{StoreError, damaged, file_error};

/// The format that `FORMAT` names, if it can be opened.
pub(super) fn known_format(folder: &Path) -> Result<u32, StoreError> {
    let path = folder.join(FORMAT_FILE);
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(100).read_to_string(&mut text))
        .map_err(file_error("cannot read", &path))?;
    let number = text.trim().strip_prefix("saslcertd ");
    match number.and_then(|number| number.parse::<u32>().ok()) {
        Some(found @ FIRST_FORMAT..=FORMAT) => Ok(found),
        Some(found) if found > FORMAT => Err(StoreError::Newer {
            folder: folder.display().to_string(),
            found,
            known: FORMAT,
        }),
        _ => Err(damaged(folder, "its FORMAT file is not one of saslcertd")),
    }
}

/// Says, in one step, that the store in `folder` is whole and of the present format.
pub(super) fn write_format(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(FORMAT_FILE);
    let fresh = folder.join("FORMAT.new");
    let text = format!("saslcertd {FORMAT}\n");
    // The folder first: all that FORMAT vouches for must be found there.
    sync_file(folder)?;
    fs::write(&fresh, text).map_err(file_error("cannot write", &fresh))?;
    sync_file(&fresh)?;
    fs::rename(&fresh, &path).map_err(file_error("cannot write", &path))?;
    sync_file(folder)
}

pub(super) fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(file_error("cannot sync", path))
}

/// Bytes of all files in `folder`.
pub(super) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(|entry| {
            entry
                .and_then(|entry| Ok((entry.path(), entry.metadata()?)))
                .ok()
        })
        .map(|(path, metadata)| {
            if metadata.is_dir() {
                folder_bytes(&path)
            } else {
                metadata.len()
            }
        })
        .sum()
}

/// Layout of the folder and of every record in it.
///
/// 1 had shorter segments, and certificates in files that were never synced. 2 had an index by fingerprint that said no more than
/// where the record stands.
pub(super) const FORMAT: u32 = 3;
pub(super) const FIRST_FORMAT: u32 = 1;
pub(super) const FORMAT_FILE: &str = "FORMAT";
pub(super) const FORMAT_ROW: &str = "format";
pub(super) const SLED_FOLDER: &str = "sled";
