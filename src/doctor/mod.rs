//! Finds the problems of an installation, and for each the line that mends it. The problem that explains most comes first.
//!
//! `gather` asks prosodyctl, the daemon, the files, the processes and TLS; then each family of checks judges what was gathered.
//!
//! Must not know: how findings are printed.

mod access;
mod authorities;
mod commands;
mod daemon;
#[cfg(feature = "postgres")]
mod database;
mod facts;
mod finding;
mod gather;
mod machine;
#[cfg(feature = "client")]
mod page;
mod printed;
mod process;
mod prosody;
mod prosodyctl;
mod releases;
#[cfg(feature = "client")]
mod tls;

pub(crate) use finding::{Finding, Level};
pub(crate) use gather::{Installation, examine};
