//! The service manager of this machine, and the command line that starts the daemon here.
//!
//! Must not know: whether the daemon runs.

use std::path::Path;

use super::places::DEFAULT_SOCKET;
use super::shell::word;

/// systemd does, for it runs.
pub(crate) fn runs_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// systemd starts this service.
pub(crate) fn has_unit(name: &str) -> bool {
    let has = |folder: &str| Path::new(folder).join(format!("{name}.service")).exists();
    runs_systemd() && UNIT_FOLDERS.iter().any(|folder| has(folder))
}

/// The line for root's shell that starts the daemon at this socket.
pub(crate) fn start_line(socket: &Path) -> String {
    if has_unit("saslcertd") {
        return "systemctl start saslcertd".to_owned();
    }
    let mut line = "saslcertd serve".to_owned();
    if socket != Path::new(DEFAULT_SOCKET) {
        line.push_str(" --socket ");
        line.push_str(&word(socket));
    }
    line
}

const UNIT_FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
