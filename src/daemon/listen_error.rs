//! Why the daemon can't listen, and how the admin mends that.
//!
//! Must not know: how the problem was found; it changes nothing by itself.

use std::io;
use std::path::Path;

use crate::system::places::DEFAULT_SOCKET;

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
    #[error("{path} exists and is not a socket; {remedy}")]
    NotSocket {
        /// Which file.
        path: String,
        /// How to make room.
        remedy: Remedy,
    },
    /// The admin's: the folder is not there.
    #[error("the socket's place: there is no {folder}; {remedy}")]
    MissingFolder {
        /// Which folder.
        folder: String,
        /// How to make it.
        remedy: Remedy,
    },
    /// The admin's: a user who may write to the folder could put a false daemon in its place.
    #[error(
        "the socket's place: {folder} can be written by others than root and saslcertd; {remedy}"
    )]
    OpenFolder {
        /// Which folder.
        folder: String,
        /// How to close it to others.
        remedy: Remedy,
    },
    /// The admin's: it belongs to somebody else, who could do the same; or the daemon can't write there.
    #[error(
        "the socket's place: {folder} belongs to {owner}, and saslcertd runs as {own}; {remedy}"
    )]
    ForeignFolder {
        /// Which folder.
        folder: String,
        /// The folder's owner.
        owner: String,
        /// The user that serves.
        own: String,
        /// How to make it the daemon's.
        remedy: Remedy,
    },
    /// The service manager's: the socket that it handed over is not as it has to be.
    #[error(
        "the service manager must hand over one listening Unix stream socket with a path; {problem}"
    )]
    UnfitSocket {
        /// The problem with what was handed over.
        problem: String,
    },
    /// A file or the socket.
    #[error("cannot {action} {path}")]
    File {
        /// The action that failed, as a verb.
        action: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    /// How to mend it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<&Remedy> {
        match self {
            Self::NotSocket { remedy, .. }
            | Self::MissingFolder { remedy, .. }
            | Self::OpenFolder { remedy, .. }
            | Self::ForeignFolder { remedy, .. } => Some(remedy),
            Self::AlreadyServed { .. } | Self::UnfitSocket { .. } | Self::File { .. } => None,
        }
    }
}

pub(super) fn file_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> ListenError {
    let path = path.display().to_string();
    move |source| ListenError::File {
        action,
        path,
        source,
    }
}

/// How the admin mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A line for root's shell.
    Run(String),
    /// A folder of its own: this one is others', too.
    Move,
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Run(line) => write!(out, "mend it with: {line}"),
            Self::Move => write!(
                out,
                "it is not saslcertd's alone, so listen elsewhere: --socket {DEFAULT_SOCKET}, and the same as \
                 saslcertd_socket in Prosody's configuration"
            ),
        }
    }
}
