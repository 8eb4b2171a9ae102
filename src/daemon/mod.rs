//! Answering: one method for each question, and the socket.

mod accepting;
mod authorities;
mod clock;
pub mod connection;
mod declared_host;
mod derivations;
pub(crate) mod disk_room;
pub mod dispatch;
mod guesses;
mod lanes;
mod last_uses;
mod limits;
pub mod listen_error;
pub mod listening;
mod manager;
pub(crate) mod owner;
mod panics;
mod reply;
mod reservations;
pub mod roles;
pub mod server;
pub mod service;
pub mod sessions;
pub(crate) mod socket_folder;
mod storage;
mod store_checks;
mod upkeep;
