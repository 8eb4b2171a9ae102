//! How far the store had come, in a file of its own beside sled's: `SEQUENCE`.
//!
//! Written behind each commit, when that is on the disk, and not synced: the file may be older than the store, never
//! newer. So losing it harms nothing, and a store that has not come as far as it says has lost something. For the same reason
//! a commit stands although the file can't be written; that is told, and the next commit tries again.
//!
//! Must not know: what was written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::error::{StoreError, file_error};
use crate::system::lock::Lock;

/// The file, and what stood in it.
pub(super) struct Reached {
    file: File,
    path: PathBuf,
    /// Why the last commit is not noted, in words.
    problem: Lock<Option<String>>,
}

/// The content of the file, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// So many commits were on the disk.
    Commits(u64),
    /// There was no such file.
    Missing,
    /// It is not as it was written. It says nothing.
    Damaged,
}

impl Reached {
    /// Opens the file in the data folder, or makes one.
    ///
    /// Errors: the file cannot be made, read or written.
    pub(super) fn open(folder: &Path) -> Result<(Self, Reading), StoreError> {
        let path = folder.join(FILE);
        let said = match read(&path) {
            Ok(text) => said(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Missing,
            Err(error) => return Err(file_error("cannot read", &path)(error)),
        };
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(file_error("cannot open", &path))?;
        let reached = Self {
            file,
            path,
            problem: Lock::new(None),
        };
        Ok((reached, said))
    }

    /// Says that so many commits are on the disk; they must be. If that can't be written, [`problem`](Self::problem) says why.
    pub(super) fn note(&self, commits: u64) {
        let written = self.write(commits);
        let mut problem = self.problem.lock();
        match written {
            Ok(()) => {
                if problem.take().is_some() {
                    tracing::info!(file = %self.path.display(), "the file is written again");
                }
            }
            Err(error) => {
                if problem.is_none() {
                    tracing::error!(
                        file = %self.path.display(),
                        %error,
                        "the file cannot be written, and says too little of how far the store has come. No change is lost; had \
                         the store gone back to an older state, the next start might not notice"
                    );
                }
                *problem = Some(error.to_string());
            }
        }
    }

    /// Why the last commit is not noted, if it is not.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.problem.lock();
        problem.clone()
    }

    fn write(&self, commits: u64) -> io::Result<()> {
        // One write of less than a sector in its place: a process that is killed leaves the old line or the new one.
        let text = line(commits);
        self.file.write_all_at(text.as_bytes(), 0)
    }

    /// The same for who opens or makes a store: waits until that is on the disk and nothing else stands in the file.
    ///
    /// Errors: it cannot be written. Before the first answer that costs nobody anything, and somebody is there who can mend it.
    pub(super) fn note_firmly(&self, commits: u64) -> Result<(), StoreError> {
        self.write(commits)
            .map_err(file_error("cannot write", &self.path))?;
        self.file
            .set_len(line(commits).len() as u64)
            .and_then(|()| self.file.sync_all())
            .map_err(file_error("cannot sync", &self.path))
    }
}

/// How far the store in the folder had come, as far as the file says.
pub(super) fn said_in(folder: &Path) -> Option<u64> {
    match said(&read(&folder.join(FILE)).ok()?) {
        Reading::Commits(commits) => Some(commits),
        Reading::Missing | Reading::Damaged => None,
    }
}

/// Takes the file away: what it says is said of no store any more.
pub(super) fn forget(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(file_error("cannot remove", &path)(error))
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// Always of one length, so that it is written over in its place.
fn line(commits: u64) -> String {
    let number = format!("{commits:020}");
    let sum = Sha256::digest(&number);
    let sum = sum
        .iter()
        .take(16)
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    format!("saslcertd {number} {sum}\n")
}

fn said(text: &[u8]) -> Reading {
    let number = std::str::from_utf8(text).ok().and_then(|text| {
        let number = text.split(' ').nth(1)?;
        number.parse().ok()
    });
    match number {
        Some(commits) if line(commits).as_bytes() == text => Reading::Commits(commits),
        _ => Reading::Damaged,
    }
}

/// The number of commits of a store that was made and never changed.
pub(super) const FIRST: u64 = 1;
/// Its name.
pub(super) const FILE: &str = "SEQUENCE";
const MAX_BYTES: u64 = 200;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn what_was_noted_is_said_and_no_flipped_bit_changes_it() {
        let folder = tempfile::tempdir().unwrap();
        let (reached, first) = Reached::open(folder.path()).unwrap();
        assert_eq!(first, Reading::Missing);
        for commits in [1, 9_999, u64::MAX, 1234] {
            reached.note(commits);
            assert_eq!(reached.problem(), None);
            let (_, said) = Reached::open(folder.path()).unwrap();
            assert_eq!(said, Reading::Commits(commits));
        }
        let whole = line(1234).into_bytes();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(said(&flipped), Reading::Damaged, "{bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(said(&whole[..length]), Reading::Damaged);
        }
        forget(folder.path()).unwrap();
        forget(folder.path()).unwrap();
        assert_eq!(Reached::open(folder.path()).unwrap().1, Reading::Missing);
    }

    #[test]
    fn what_is_too_long_is_cut_when_it_is_noted_firmly() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "x".repeat(500)).unwrap();
        let (reached, said) = Reached::open(folder.path()).unwrap();
        assert_eq!(said, Reading::Damaged);
        reached.note_firmly(7).unwrap();
        assert_eq!(Reached::open(folder.path()).unwrap().1, Reading::Commits(7));
    }
}
