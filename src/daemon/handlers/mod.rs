//! Answers each question: its facts are fetched, `policy` decides, the decision is written, answered and logged.
//!
//! Must not know: sockets, the clock.

pub(super) mod accounts;
pub(super) mod admission;
pub(super) mod authorities;
pub(super) mod backup;
pub(super) mod certificates;
pub(super) mod checks;
pub(super) mod command;
pub(super) mod console;
pub(super) mod edits;
pub(super) mod explain;
pub(super) mod external;
mod fresh;
pub(super) mod hello;
pub(super) mod hosts;
mod incarnations;
pub(super) mod links;
pub(super) mod messages;
pub(super) mod moving_in;
pub(super) mod notices;
mod own_links;
pub(super) mod passwords;
pub(super) mod request;
pub(super) mod revocation;
pub(super) mod sessions;
pub(super) mod status;
mod whose;
