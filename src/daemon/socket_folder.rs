//! The folder of the socket, and what lies at the socket's place: may the daemon listen there, and what makes it so?
//!
//! The daemon has no other proof of who it is than where its socket lies: nobody else may write there, or put another folder in
//! the place of one on the way. The proposal closes only the daemon's own folders: where others rely on a folder as it is, the
//! socket moves.
//!
//! It looks, and changes nothing. `serve` asks before it listens, and `doctor` when no daemon does.
//!
//! Must not know: questions, who may ask one.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};

use super::listen_error::{ListenError, Remedy, file_error};
use crate::system::places::DEFAULT_SOCKET;
use crate::system::shell::word;

/// As whom the daemon serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tenant {
    /// Its user.
    pub(crate) uid: u32,
    /// The group that its socket is given.
    pub(crate) group: Option<u32>,
}

/// Whether the daemon may listen at `socket`, a path that it makes itself.
pub(crate) fn check(socket: &Path, tenant: Tenant) -> Result<(), ListenError> {
    let folder = folder_of(socket);
    require_closed_way(folder, tenant)?;
    require_writable(folder, tenant)?;
    require_unanswered(socket, tenant)
}

/// Whether nobody but root and the daemon may change what lies at `socket`.
pub(crate) fn require_vouching(socket: &Path, tenant: Tenant) -> Result<(), ListenError> {
    require_closed_way(folder_of(socket), tenant)
}

/// A socket that nobody answers at may be replaced; one that somebody does, never.
pub(super) fn require_unanswered(path: &Path, tenant: Tenant) -> Result<(), ListenError> {
    let shown = path.display().to_string();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(file_error("look at", path)(source)),
    };
    if !found.file_type().is_socket() {
        let is_own = fs::metadata(folder_of(path))
            .is_ok_and(|folder| is_tenants(folder_of(path), &folder, tenant));
        // Somebody put it there, and may need it.
        let remedy = if is_own {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".aside");
            Remedy::Run(format!("mv {} {}", word(path), word(Path::new(&aside))))
        } else {
            Remedy::Move
        };
        return Err(ListenError::NotSocket {
            path: shown,
            remedy,
        });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(ListenError::AlreadyServed { path: shown }),
        // Its queue is full: somebody is there.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ListenError::AlreadyServed { path: shown })
        }
        Err(source) => Err(file_error("ask who answers at", path)(source)),
    }
}

fn folder_of(socket: &Path) -> &Path {
    match socket.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn require_closed_way(folder: &Path, tenant: Tenant) -> Result<(), ListenError> {
    let problem = file_error("look at the socket's folder", folder);
    let paths =
        std::path::absolute(folder).and_then(|as_given| Ok((as_given, fs::canonicalize(folder)?)));
    let (as_given, resolved): (PathBuf, PathBuf) = match paths {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ListenError::MissingFolder {
                folder: folder.display().to_string(),
                remedy: Remedy::Run(making(folder, tenant)),
            });
        }
        Err(error) => return Err(problem(error)),
    };
    require_closed(&resolved, false, tenant)?;
    for above in as_given.ancestors().chain(resolved.ancestors()).skip(1) {
        require_closed(above, true, tenant)?;
    }
    Ok(())
}

/// `sticky_will_do`: in a sticky folder nobody renames what belongs to others.
fn require_closed(folder: &Path, sticky_will_do: bool, tenant: Tenant) -> Result<(), ListenError> {
    let found = fs::metadata(folder).map_err(file_error("look at", folder))?;
    let is_open = found.mode() & 0o022 != 0;
    if is_open && !(sticky_will_do && found.mode() & STICKY != 0) {
        let is_roots = found.uid() == 0 && ROOTS.iter().any(|path| Path::new(path) == folder);
        return Err(ListenError::OpenFolder {
            folder: folder.display().to_string(),
            remedy: if is_roots || is_tenants(folder, &found, tenant) {
                Remedy::Run(format!("chmod go-w {}", word(folder)))
            } else {
                Remedy::Move
            },
        });
    }
    if found.uid() != 0 && found.uid() != tenant.uid {
        return Err(foreign(folder, &found, tenant));
    }
    Ok(())
}

fn require_writable(folder: &Path, tenant: Tenant) -> Result<(), ListenError> {
    let found = fs::metadata(folder).map_err(file_error("look at", folder))?;
    // Nobody else may write there, so its group's rights are none.
    if tenant.uid == 0 || found.uid() == tenant.uid {
        return Ok(());
    }
    Err(foreign(folder, &found, tenant))
}

fn foreign(folder: &Path, found: &Metadata, tenant: Tenant) -> ListenError {
    // A folder of root's there was made for us by hand; one of somebody else's only where it is ours by custom.
    let is_usual = Path::new(DEFAULT_SOCKET).parent() == Some(folder);
    let is_made_for_us = is_usual || (found.uid() == 0 && is_tenants(folder, found, tenant));
    // Root's rights are not what a folder is given for.
    let remedy = if tenant.uid != 0 && is_made_for_us {
        Remedy::Run(format!("chown {} {}", user(tenant.uid), word(folder)))
    } else {
        Remedy::Move
    };
    ListenError::ForeignFolder {
        folder: folder.display().to_string(),
        owner: user(found.uid()),
        own: user(tenant.uid),
        remedy,
    }
}

/// Is the folder the daemon's alone, by its owner or by its name?
pub(crate) fn is_own(folder: &Path, mode: u32, owner: u32, daemon: u32) -> bool {
    let is_named = folder
        .components()
        .any(|part| part.as_os_str().to_string_lossy().contains("saslcertd"));
    mode & STICKY == 0 && (is_named || (daemon != 0 && owner == daemon))
}

fn is_tenants(folder: &Path, found: &Metadata, tenant: Tenant) -> bool {
    // A folder that the server's user owns is the server's, too.
    let uid = if is_a_servers(tenant) { 0 } else { tenant.uid };
    is_own(folder, found.mode(), found.uid(), uid)
}

/// Does it serve as the very user that asks?
fn is_a_servers(tenant: Tenant) -> bool {
    let user = User::from_uid(Uid::from_raw(tenant.uid)).ok().flatten();
    user.is_some_and(|user| Some(user.gid.as_raw()) == tenant.group)
}

/// The line that makes the folder, for the daemon to write in and the server to look in.
pub(crate) fn making(folder: &Path, tenant: Tenant) -> String {
    let group = tenant
        .group
        .map_or_else(String::new, |group| format!(" -g {}", self::group(group)));
    format!(
        "install -d -m 750 -o {}{group} {}",
        user(tenant.uid),
        word(folder)
    )
}

/// A user's name, or number.
pub(crate) fn user(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// A group's name, or number.
pub(crate) fn group(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}

const STICKY: u32 = 0o1000;
/// Folders of the system that root alone writes to, everywhere.
const ROOTS: [&str; 6] = ["/", "/run", "/var", "/var/lib", "/srv", "/usr"];
