//! The socket that connections come from, and the folder that vouches for it.
//!
//! Must not know: who may connect, or what is asked.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, chown};
use tokio::net::UnixListener;

/// Why nobody can be listened to.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The admin's: another daemon has the socket.
    #[error("another saslcertd answers at {path}")]
    AlreadyServed {
        /// Which socket.
        path: String,
    },
    /// The admin's: something that is not a socket is in the way.
    #[error("{path} exists and is not a socket; remove it or choose another --socket")]
    NotSocket {
        /// Which file.
        path: String,
    },
    /// The admin's: whoever may write to the folder could put a false daemon in its place.
    #[error(
        "the socket's folder {folder} can be written by others than root and saslcertd; mend it with: {mend}"
    )]
    OpenFolder {
        /// Which folder.
        folder: String,
        /// The command that closes it.
        mend: String,
    },
    /// A file or the socket.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ListenError {
    let path = path.display().to_string();
    move |source| ListenError::File {
        action,
        path,
        source,
    }
}

/// A socket that nobody answers at may be replaced; one that somebody does, never.
pub(super) fn require_unanswered(path: &Path) -> Result<(), ListenError> {
    let shown = path.display().to_string();
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(file_error("look at", path)(source)),
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotSocket { path: shown });
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

/// Listens at `path`, in the place of a socket that nobody answers at.
pub(super) fn listen(path: &Path, group: Option<Gid>) -> Result<UnixListener, ListenError> {
    require_unanswered(path)?;
    // Under another name until its mode is right, so that nobody connects before; then it replaces the old one.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(file_error("listen at", path))?;
    if let Some(group) = group
        && let Err(error) = chown(&fresh, None, Some(group))
    {
        tracing::warn!(
            socket = %path.display(),
            %group,
            %error,
            "the socket keeps our own group; the server must be a member of it"
        );
    }
    fs::set_permissions(&fresh, fs::Permissions::from_mode(SOCKET_MODE))
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(file_error("listen at", path))?;
    Ok(listener)
}

/// The daemon has no other proof of who it is than where its socket lies.
pub(super) fn require_closed_folder(socket: &Path) -> Result<(), ListenError> {
    let folder = match socket.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let shown = folder.display().to_string();
    let found = fs::metadata(folder).map_err(file_error("look at the socket's folder", folder))?;
    let own = Uid::effective().as_raw();
    let mend = if found.mode() & 0o022 != 0 {
        format!("chmod go-w {shown}")
    } else if found.uid() != 0 && found.uid() != own {
        format!("chown {own} {shown}")
    } else {
        return Ok(());
    };
    Err(ListenError::OpenFolder {
        folder: shown,
        mend,
    })
}

const SOCKET_MODE: u32 = 0o660;
