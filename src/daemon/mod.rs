//! The daemon: it listens on the socket, reads questions, and answers each from the store by the rules of `policy`.
//!
//! Must not know: rules (`policy` decides), sentences for people (`wording` has them), flags of the command line.

mod accepting;
mod authorities;
mod clock;
pub mod connection;
mod declared_host;
mod derivations;
mod disk_room;
pub mod dispatch;
mod exchange;
mod facts;
mod following;
pub mod gate;
mod guesses;
mod handlers;
mod hosts;
mod lanes;
mod last_uses;
mod limits;
pub mod listen_error;
pub mod listening;
mod manager;
mod notice_times;
pub(crate) mod owner;
mod panics;
mod presented;
pub mod reply;
mod reservations;
pub mod roles;
mod scram_news;
pub mod server;
mod servers;
pub mod sessions;
pub(crate) mod socket_folder;
pub mod state;
mod storage;
mod store_checks;
mod upkeep;
mod waiting_messages;
mod yielding;
