//! Reads the accounts of Prosody's own storage, and the certificates of `mod_client_certs`; the daemon decides and writes.
//!
//! A file for each kind of source (`folder`, `database`), whose tables `lua_table` reads and `account` understands; `bring` asks
//! the daemon about each account, and `report` says what became of it.
//!
//! Must not know: which account or certificate is good.

mod account;
mod bring;
#[cfg(feature = "sql")]
mod database;
mod folder;
mod lua_table;
mod report;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use bring::{Selection, import};
pub(crate) use report::Report;
