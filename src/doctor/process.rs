//! A process of ours that runs.
//!
//! Must not know: how it was found.

/// A running `saslcertd serve`.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) uid: u32,
    /// The users that it takes for Prosody's: names as it was started with, and their numbers where there is one.
    pub(super) server_users: Vec<(String, Option<u32>)>,
    /// Its command line: the program, and the words behind `serve`.
    pub(super) program: String,
    pub(super) flags: Vec<String>,
    /// systemd has started it.
    pub(super) is_units: bool,
}
