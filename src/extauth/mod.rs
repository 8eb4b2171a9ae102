//! Old servers that start a script to check passwords: the script.
//!
//! `wire` has their two protocols, `input` reads standard input, `bridge` carries each question to the daemon and its answer
//! back.
//!
//! Must not know: who may log in.

mod bridge;
mod input;
mod wire;

pub(crate) use bridge::run;
pub use wire::{
    Frames, Input, MAX_LINE_BYTES, Password, Protocol, Request, RequestError, answer, serve,
};
