//! A database as it looks from outside, whether a daemon serves it or not.
//!
//! Must not know: how it was looked at, what is well.

use std::time::Duration;

use super::sharing::Standbys;

/// What was seen of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSeen {
    /// Which one it is, in words.
    pub place: String,
    /// The command that makes the store in it, or gives a role its rights.
    pub init: String,
    /// Its server's version.
    pub server: String,
    /// How what is asked gets there.
    pub encryption: Encryption,
    /// How long it took to connect.
    pub connected_in: Duration,
    /// Is there a store in it?
    pub tables: Tables,
    /// The role that asks, as SQL writes it.
    pub role: String,
    /// May that role change how the tables are?
    pub may_change_tables: bool,
    /// How far its clock is at least ahead of this machine's, in milliseconds; less than 0: behind.
    pub ahead_ms: i64,
    /// From how many machines it was served last.
    pub machines: u64,
    /// Who has the rows as well.
    pub standbys: Standbys,
}

/// How questions get to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Over a socket of this machine.
    Socket,
    /// Over TCP, to a server that has proven its name.
    Tls,
    /// Over TCP, for everybody on the way to read and to change.
    None,
}

/// The tables in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Those that this version knows.
    Known {
        /// May the role that asks read and write them, as a daemon has to?
        may_serve: bool,
    },
    /// Those of another version.
    Other {
        /// Which one.
        version: i32,
        /// That which is known here.
        known: i32,
    },
    /// There are none.
    Missing,
}
