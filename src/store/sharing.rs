//! The daemons that serve the same rows, where several may do so, and what becomes of the rows when the place where they are is lost.
//!
//! Must not know: how the rows are kept, what should be done about it.

use std::time::Duration;

/// Who serves these rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The number of the last change.
    pub head: u64,
    /// This daemon, and then the others in the order of their machines' names.
    pub daemons: Vec<Sharer>,
    /// Who has the rows as well.
    pub standbys: Standbys,
}

/// A daemon that serves these rows, or has done so within the last hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharer {
    /// The name of its machine.
    pub machine: String,
    /// Its process there.
    pub pid: u32,
    /// Is it the one that answers?
    pub is_this: bool,
    /// For how long nothing was heard of it, if its lease has run out meanwhile; as long as this daemon has watched.
    pub silent_for: Option<Duration>,
    /// So many of the last changes it has not seen, as far as it has said.
    pub behind: u64,
    /// How long its askers wait for an answer at most.
    pub patience: Duration,
}

/// The standbys that a commit waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standbys {
    /// Which they are, as the server's configuration says; empty: none.
    pub names: String,
    /// How many of them are there; `None`: the role may not see that.
    pub there: Option<u64>,
    /// The role that asks, as SQL writes it.
    pub role: String,
}
