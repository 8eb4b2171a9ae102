//! The daemon: what it answers, its process, its store, and the place of its socket.
//!
//! Must not know: what is well.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::super::daemon::{self, Daemon};
use super::super::facts::Facts;
use super::super::finding::word;
use super::files::{folders_above, is_socket, mount_point, node};
use super::processes::find_daemon;
use crate::daemon::listen_error::{ListenError, Remedy};
use crate::daemon::socket_folder::{self, Tenant};
use crate::protocol::DaemonState;
use crate::protocol::client::{AskError, Asker};
use crate::store::{Store, StoreError, refusal};
use crate::system::services::has_unit;

pub(super) fn gather_daemon(given: &Path, facts: Option<&Facts>, data_dir: &Path) -> Daemon {
    let configured = facts
        .map(|facts| facts.socket.as_path())
        .filter(|path| path.is_absolute());
    let socket = configured.unwrap_or(given).to_owned();
    let answer = ask_status(&socket);
    let is_well = matches!(answer, daemon::DaemonAnswer::Status(_));
    let elsewhere = (!is_well && socket != given).then(|| (given.to_owned(), ask_status(given)));
    let (answers_elsewhere, answer) = match elsewhere {
        Some((path, status @ daemon::DaemonAnswer::Status(_))) => (Some(path), status),
        _ => (None, answer),
    };
    let served = answers_elsewhere.as_ref().unwrap_or(&socket);
    Daemon {
        answer,
        process: find_daemon(served, data_dir),
        folders: folders_above(&socket),
        node: node(&socket).filter(|_| is_socket(&socket)),
        store: daemon::StoreFolder::Hidden,
        place: None,
        answers_elsewhere,
        socket,
    }
}

fn status(socket: &Path) -> Result<Box<DaemonState>, AskError> {
    Ok(Box::new(Asker::connect(socket)?.status()?))
}

pub(super) fn ask_status(socket: &Path) -> daemon::DaemonAnswer {
    // First without a word: of all that can be wrong, these two say what to do.
    match UnixStream::connect(socket).map_err(|error| error.kind()) {
        Err(ErrorKind::NotFound) => return daemon::DaemonAnswer::Missing,
        Err(ErrorKind::ConnectionRefused) => return daemon::DaemonAnswer::Nobody,
        _ => {}
    }
    // A thread that waits for longer ends with the process.
    let (said, answer) = mpsc::channel();
    let asked = socket.to_owned();
    std::thread::spawn(move || said.send(status(&asked)));
    match answer.recv_timeout(STATUS_LIMIT) {
        Ok(Ok(status)) => daemon::DaemonAnswer::Status(status),
        Ok(Err(error)) => daemon::DaemonAnswer::Other(causes(&error)),
        Err(_) => {
            let (shown, seconds) = (socket.display(), STATUS_LIMIT.as_secs());
            daemon::DaemonAnswer::Other(format!(
                "saslcertd at {shown} does not answer within {seconds} s: it is stopped, or its disk is stuck"
            ))
        }
    }
}

pub(super) fn look_at_store(data_dir: &Path, uid: u32) -> daemon::StoreFolder {
    if matches!(fs::read_dir(data_dir), Err(error) if error.kind() == ErrorKind::PermissionDenied) {
        return daemon::StoreFolder::Hidden;
    }
    let error = match Store::look(data_dir, uid) {
        Ok(()) => {
            // Some damage shows only when the store is opened: then the daemon has written down what it found.
            return refusal::last(data_dir).map_or(daemon::StoreFolder::Initialised, |message| {
                let remedy = None;
                daemon::StoreFolder::Closed(daemon::Advice { message, remedy })
            });
        }
        Err(StoreError::Missing { .. }) => return daemon::StoreFolder::Empty,
        Err(error) => error,
    };
    let mut message = causes(&error);
    let remedy = match &error {
        StoreError::ForeignFile { mend, .. } => {
            message = without(&message, &format!("; mend it with: {mend}"));
            Some(Remedy::Run(mend.clone()))
        }
        StoreError::File { source, .. } if source.kind() == ErrorKind::ReadOnlyFilesystem => {
            message += " (a disk with errors becomes so: see dmesg)";
            let mount_point = mount_point(data_dir);
            let line = format!("mount -o remount,rw {}", word(&mount_point));
            Some(Remedy::Run(line))
        }
        _ => None,
    };
    daemon::StoreFolder::Closed(daemon::Advice { message, remedy })
}

/// Why the store in a database was not opened the last time, as the daemon's folder says.
pub(super) fn look_at_refusal(data_dir: &Path) -> daemon::StoreFolder {
    refusal::last(data_dir).map_or(daemon::StoreFolder::InDatabase, |message| {
        let remedy = None;
        daemon::StoreFolder::Closed(daemon::Advice { message, remedy })
    })
}

/// The daemon's own verdict on the socket's place: where it does not serve, whether it could; where it does, whether it should.
pub(super) fn look_at_place(daemon: &Daemon, tenant: Tenant) -> Option<daemon::Advice> {
    let is_away = matches!(
        daemon.answer,
        daemon::DaemonAnswer::Missing | daemon::DaemonAnswer::Nobody
    );
    let looked = if daemon.answers_elsewhere.is_some() {
        return None;
    } else if is_away && !has_unit("saslcertd") {
        socket_folder::check(&daemon.socket, tenant)
    } else {
        socket_folder::require_vouching(&daemon.socket, tenant)
    };
    let error = looked.err()?;
    let remedy = error.remedy().cloned();
    let mut message = causes(&error);
    if let Some(remedy) = &remedy {
        message = without(&message, &format!("; {remedy}"));
    }
    if matches!(error, ListenError::MissingFolder { .. }) && daemon.socket.starts_with("/run") {
        message += " (/run is empty after a reboot)";
    }
    Some(daemon::Advice { message, remedy })
}

fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    let all: Vec<String> = all.map(ToString::to_string).collect();
    all.join(": ")
}

/// The message without its remedy, which is told by itself.
fn without(message: &str, end: &str) -> String {
    message.strip_suffix(end).unwrap_or(message).to_owned()
}

/// The status of a large store takes milliseconds.
const STATUS_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use nix::unistd::Uid;

    use super::*;

    #[test]
    fn an_empty_folder_is_no_store() {
        let folder = tempfile::tempdir().unwrap();
        let own = Uid::effective().as_raw();
        let look = |folder: &Path| look_at_store(folder, own);
        assert_eq!(look(folder.path()), daemon::StoreFolder::Empty);
        assert_eq!(
            look(&folder.path().join("nowhere")),
            daemon::StoreFolder::Empty
        );
        Store::create(folder.path()).unwrap();
        assert_eq!(look(folder.path()), daemon::StoreFolder::Initialised);
    }
}
