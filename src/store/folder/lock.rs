//! The lock of a store's folder: one process at a time has it open.
//!
//! Must not know: what is in the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::super::error::{StoreError, file_error};

/// The right to a store's folder, until it is dropped.
#[derive(Debug)]
pub(super) struct FolderLock(File);

impl FolderLock {
    /// Takes it, and writes down who has it.
    ///
    /// Errors: another process has it, which is named; the file `LOCK`.
    pub(super) fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("LOCK");
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(file_error("cannot open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // The folder is in use, by any process: an unreadable name changes nothing.
                let _ = (&mut file).take(100).read_to_string(&mut owner);
                return Err(StoreError::Locked {
                    folder: folder.display().to_string(),
                    owner: match owner.trim() {
                        "" => "another process".to_owned(),
                        owner => owner.to_owned(),
                    },
                });
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(file_error("cannot lock", &path)(source));
            }
        }
        let owner = format!("saslcertd, process {}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all(owner.as_bytes()))
            .map_err(file_error("cannot write", &path))?;
        Ok(Self(file))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // A process that was forked meanwhile has the file open, too, until it runs another program: that this one closes it
        // would not be enough.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_dropped_is_free_although_a_forked_process_has_the_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        // As a fork does.
        let inherited = lock.0.try_clone().unwrap();
        assert!(matches!(
            FolderLock::take(folder.path()),
            Err(StoreError::Locked { .. })
        ));
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
        drop(inherited);
    }
}
