//! A process of ours that runs.

/// A running `saslcertd serve`.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) uid: u32,
    /// The users that it takes for Prosody's: names as it was started with, and their numbers where there is one.
    pub(super) server_users: Vec<(String, Option<u32>)>,
    /// What it was started with: the program, and what stands behind `serve`.
    pub(super) program: String,
    pub(super) flags: Vec<String>,
    /// systemd has started it.
    pub(super) is_units: bool,
}
