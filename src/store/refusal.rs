//! Why the store was not opened the last time, in a file of its own beside it: `REFUSED`. For whoever asks when no daemon runs
//! that could be asked, and can't find out without opening the store.
//!
//! Must not know: who asks.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::error::StoreError;

/// Writes down why the store in `folder` was not opened. A failed write is ignored: the log has the reason, too.
pub fn note(folder: &Path, words: &str) {
    let _ = fs::write(folder.join(FILE), format!("{words}\n"));
}

/// As [`note`], where only opening the store could show it.
pub(super) fn note_error(folder: &Path, error: &StoreError) {
    let shows_without = matches!(
        error,
        StoreError::Missing { .. }
            | StoreError::Locked { .. }
            | StoreError::OtherUser { .. }
            | StoreError::ForeignFile { .. }
            | StoreError::Database { .. }
    );
    if !shows_without {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        note(folder, &format!("{error}{}", cause.unwrap_or_default()));
    }
}

/// The store is open.
pub(super) fn clear(folder: &Path) {
    let _ = fs::remove_file(folder.join(FILE));
}

/// Why the store in `folder` was not opened the last time; `None` if it was, or nobody has tried.
#[must_use]
pub fn last(folder: &Path) -> Option<String> {
    let mut words = String::new();
    let file = File::open(folder.join(FILE)).ok()?;
    file.take(MAX_BYTES).read_to_string(&mut words).ok()?;
    let words = words.trim();
    (!words.is_empty()).then(|| words.to_owned())
}

const FILE: &str = "REFUSED";
const MAX_BYTES: u64 = 4096;
