//! The store's owner, and whether a process of some user can open it, as far as its files show that from outside.
//!
//! Root's files in a store of somebody else's keep the daemon out, and say so badly.
//!
//! Must not know: what the files hold. It looks, and changes nothing.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Uid, User};

use super::super::error::{StoreError, file_error};
use super::layout::{FORMAT_FILE, SLED_FOLDER, known_format};
use super::{engine, lost, migration, reached};
use crate::system::shell::word;

/// The user and the group that the store in `folder` belongs to; none where there is no folder.
///
/// Root's folder with a store of somebody else's in it, a mount point say, is that user's.
pub(in crate::store) fn owner(folder: &Path) -> Option<(u32, u32)> {
    let found = fs::metadata(folder).ok()?;
    let owner = |found: &Metadata| (found.uid(), found.gid());
    if found.uid() == 0
        && let Ok(format) = fs::symlink_metadata(folder.join(FORMAT_FILE))
    {
        return Some(owner(&format));
    }
    Some(owner(&found))
}

/// The error that keeps a process of user `own` from opening the store, if there is one.
pub(in crate::store) fn look(folder: &Path, own: u32) -> Result<(), StoreError> {
    let Some((owner, _)) = owner(folder) else {
        return match fs::metadata(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(file_error("cannot look at", folder)(error))
            }
            _ => Err(missing(folder)),
        };
    };
    if owner != own && owner != 0 && own != 0 {
        return Err(StoreError::OtherUser {
            folder: folder.display().to_string(),
            owner: name(owner),
            own: name(own),
        });
    }
    if own != 0 {
        require_own(folder, own)?;
    }
    match fs::symlink_metadata(folder.join(FORMAT_FILE)) {
        Ok(_) => drop(known_format(folder)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(lost::without_format(folder));
        }
        Err(error) => return Err(file_error("cannot look at", folder)(error)),
    }
    if statvfs(folder).is_ok_and(|disk| disk.flags().contains(FsFlags::ST_RDONLY)) {
        return Err(StoreError::File {
            action: "cannot write to",
            path: folder.display().to_string(),
            source: io::Error::from(nix::errno::Errno::EROFS),
        });
    }
    Ok(())
}

fn missing(folder: &Path) -> StoreError {
    StoreError::Missing {
        folder: word(folder),
    }
}

/// The daemon makes every file itself, for itself alone.
fn require_own(folder: &Path, own: u32) -> Result<(), StoreError> {
    let mut folders = vec![folder.to_owned()];
    let mut left = MAX_FILES;
    let foreign = |path: &Path, found: &Metadata| StoreError::ForeignFile {
        path: path.display().to_string(),
        owner: name(found.uid()),
        own: name(own),
        mend: chown(folder, own),
    };
    let found = fs::symlink_metadata(folder).map_err(file_error("cannot look at", folder))?;
    // A folder may be root's, and its group's be ours.
    if found.uid() != own && found.mode() & GROUP_AND_OTHERS == 0 && !found.is_symlink() {
        return Err(foreign(folder, &found));
    }
    while let Some(next) = folders.pop() {
        let entries = fs::read_dir(&next).map_err(file_error("cannot list", &next))?;
        for entry in entries {
            let path = entry.map_err(file_error("cannot list", &next))?.path();
            if !is_of_store(path.strip_prefix(folder).unwrap_or(&path)) {
                continue;
            }
            let found = match fs::symlink_metadata(&path) {
                // The daemon's own, which comes and goes.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                found => found.map_err(file_error("cannot look at", &path))?,
            };
            if found.uid() != own {
                return Err(foreign(&path, &found));
            }
            if found.is_dir() {
                folders.push(path);
            }
            left -= 1;
            if left == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Others may keep something beside it: `lost+found`, for one. `path` is from the folder on.
fn is_of_store(path: &Path) -> bool {
    // A file that holds nothing of its own is set aside when it cannot be read.
    if path.parent() == Some(Path::new(SLED_FOLDER)) && engine::is_dispensable(path) {
        return false;
    }
    let ours = [
        FORMAT_FILE,
        "LOCK",
        reached::FILE,
        SLED_FOLDER,
        // Left by a migration that was cut off; the daemon must remove them.
        migration::FRESH_FOLDER,
        migration::FORMER_FOLDER,
    ];
    matches!(path.components().next(), Some(Component::Normal(first)) if ours.iter().any(|name| first == *name))
}

fn chown(folder: &Path, own: u32) -> String {
    let user = User::from_uid(Uid::from_raw(own)).ok().flatten();
    // With a colon, the user's own group goes with it.
    let whose = user.map_or_else(|| own.to_string(), |user| format!("{}:", user.name));
    format!("chown -R {whose} {}", word(folder))
}

fn name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

const GROUP_AND_OTHERS: u32 = 0o077;
/// A look at so many files is enough: a foreign one stands out early.
const MAX_FILES: usize = 4096;
