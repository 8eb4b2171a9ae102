//! The socket that connections come from. It is made here, at a path, or a service manager (systemd) listens and hands it over: then
//! it outlives this process, and a client that connects while no daemon runs waits for the next one.
//!
//! Must not know: who may connect, or what is asked.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, chown};
use tokio::net::{UnixListener, UnixStream};

use super::listen_error::{ListenError, file_error};
use super::socket_folder::{self, Tenant, require_unanswered};

/// Where to listen.
#[derive(Debug)]
pub enum SocketSource {
    /// At a path where the socket is made, and removed at the end.
    Path(PathBuf),
    /// At a socket that exists already, and stays.
    HandedOver {
        /// Listening, since before this process began.
        listener: std::os::unix::net::UnixListener,
        /// Where clients find it.
        path: PathBuf,
    },
}

impl SocketSource {
    /// The socket that a service manager handed over, as `sd_listen_fds(3)` describes it; else `path`.
    ///
    /// To be called once and before the first thread starts: it takes `LISTEN_FDS` and `LISTEN_PID` out of the
    /// environment.
    ///
    /// Errors: this process was handed something else than the one socket.
    pub fn from_environment(path: &Path) -> Result<Self, ListenError> {
        let unfit = |problem: String| ListenError::UnfitSocket { problem };
        // listenfd, which makes a listener of the number, would take a missing LISTEN_PID for ours.
        let is_for_us =
            env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        if !is_for_us {
            return Ok(Self::Path(path.to_owned()));
        }
        let mut handed_over = ListenFd::from_env();
        if handed_over.len() != 1 {
            return Err(unfit(format!("there are {}", handed_over.len())));
        }
        let listener = handed_over
            .take_unix_listener(0)
            .map_err(|error| unfit(error.to_string()))?
            .ok_or_else(|| unfit("it is missing".to_owned()))?;
        if !getsockopt(&listener, sockopt::AcceptConn).unwrap_or(false) {
            return Err(unfit("it does not listen".to_owned()));
        }
        let address = listener
            .local_addr()
            .map_err(|error| unfit(error.to_string()))?;
        match address.as_pathname() {
            Some(path) => Ok(Self::HandedOver {
                path: path.to_owned(),
                listener,
            }),
            // Nothing protects a name without a file.
            None => Err(unfit("it has no path".to_owned())),
        }
    }

    /// Where clients find the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) | Self::HandedOver { path, .. } => path,
        }
    }

    /// Looks whether we may listen here, and changes nothing.
    pub(super) fn check(&self, tenant: Tenant) -> Result<(), ListenError> {
        match self {
            Self::Path(path) => socket_folder::check(path, tenant),
            Self::HandedOver { path, .. } => socket_folder::require_vouching(path, tenant),
        }
    }

    /// Listens. A socket of our own is given to the tenant's group.
    pub(super) fn listen(self, tenant: Tenant) -> Result<Listening, ListenError> {
        match self {
            Self::Path(path) => Ok(Listening {
                listener: listen(&path, tenant)?,
                own_path: Some(path),
            }),
            Self::HandedOver { listener, path } => Ok(Listening {
                listener: listener
                    .set_nonblocking(true)
                    .and_then(|()| UnixListener::from_std(listener))
                    .map_err(file_error("listen at", &path))?,
                own_path: None,
            }),
        }
    }
}

/// An open socket.
pub(super) struct Listening {
    listener: UnixListener,
    /// Its file, if we made it.
    own_path: Option<PathBuf>,
}

impl Listening {
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Takes no more connections. Those that nobody has accepted are refused, or wait for the next process if the
    /// socket is not ours.
    pub(super) fn end(self) {
        drop(self.listener);
        if let Some(path) = self.own_path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Listens at `path`, in the place of a socket that nobody answers at.
fn listen(path: &Path, tenant: Tenant) -> Result<UnixListener, ListenError> {
    require_unanswered(path, tenant)?;
    // Under another name until its mode is right, so that nobody connects before; then it replaces the old one.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(file_error("listen at", path))?;
    if let Some(group) = tenant.group
        && let Err(error) = chown(&fresh, None, Some(Gid::from_raw(group)))
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

const SOCKET_MODE: u32 = 0o660;
