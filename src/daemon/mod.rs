//! Answering: one method for each question, and the socket.

mod authorities;
pub mod connection;
mod derivations;
mod guesses;
pub mod listening;
mod manager;
pub(crate) mod owner;
mod panics;
mod reservations;
pub mod server;
pub mod service;
pub mod sessions;
pub(crate) mod socket_folder;
