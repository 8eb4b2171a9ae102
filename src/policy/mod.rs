//! The rules, as pure functions of facts and `now`. Must not know: IO, the clock, the log.

pub mod access;
pub mod chain;
pub mod denial;
pub mod explain;
pub mod health;
pub mod host;
pub mod links;
pub mod live;
pub mod login;
pub mod manage;
pub mod moving_in;
pub mod options;
pub mod page;
pub mod passwords;
pub mod restore;
pub mod standby;
pub mod throttle;

#[cfg(test)]
pub(crate) mod fixtures;

pub use denial::Denial;
pub use host::HostPolicy;
