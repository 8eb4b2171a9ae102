//! A file in the data folder that says which change was applied here last, over a restart: a database that has not got that change any
//! more has lost something, or is another one.
//!
//! Must not know: what a change is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::numbers::Place;

/// The file, and what stands in it.
pub(super) struct AppliedFile {
    path: PathBuf,
    written: Option<Place>,
    is_told: bool,
}

impl AppliedFile {
    /// That of a data folder, which is made if need be.
    pub(super) fn of(folder: &Path) -> Self {
        // Without it the file can't be written, which is told then.
        let _ = fs::create_dir_all(folder);
        let path = folder.join(FILE);
        let written = fs::read_to_string(&path).ok();
        let written = written.and_then(|text| read(&text));
        Self {
            path,
            written,
            is_told: false,
        }
    }

    /// The last change that was applied before this process; `None`: nobody knows.
    pub(super) const fn before(&self) -> Option<Place> {
        self.written
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes this one, if it is not the one that stands there.
    pub(super) fn note(&mut self, place: Place) {
        if self.written != Some(place) {
            self.write(place);
        }
    }

    /// The file, or the one before it, is there whole behind a power cut.
    fn write_firmly(&self, new: &Path, text: &str) -> io::Result<()> {
        let mut file = File::create(new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(new, &self.path)?;
        let folder = self.path.parent().map(File::open);
        folder.map_or(Ok(()), |folder| folder?.sync_all())
    }

    pub(super) fn write(&mut self, place: Place) {
        let Place { seq, name } = place;
        let text = format!("{seq} {}\n", data_encoding::HEXLOWER.encode(&name));
        let new = self.path.with_extension("new");
        let written = self.write_firmly(&new, &text);
        match written {
            Ok(()) => self.written = Some(place),
            Err(error) if !self.is_told => {
                self.is_told = true;
                tracing::warn!(
                    file = %self.path.display(),
                    %error,
                    "cannot be written; a database that has gone back to an older state would not be noticed at the next start"
                );
            }
            Err(_) => {}
        }
    }
}

fn read(text: &str) -> Option<Place> {
    let (seq, name) = text.trim().split_once(' ')?;
    let name = data_encoding::HEXLOWER.decode(name.as_bytes()).ok()?;
    Some(Place {
        seq: seq.parse().ok()?,
        name: name.try_into().ok()?,
    })
}

const FILE: &str = "APPLIED";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn it_is_there_behind_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |folder: &Path| AppliedFile::of(&folder.join("data"));
        let mut file = at(folder.path());
        assert_eq!(file.before(), None);
        let place = Place {
            seq: 7,
            name: [0xab; 16],
        };
        file.note(place);
        assert_eq!(at(folder.path()).before(), Some(place));
        fs::write(file.path(), "7 damaged").unwrap();
        assert_eq!(at(folder.path()).before(), None);
    }
}
