//! Old servers that start a script to check passwords: the script.
//!
//! `wire` has their two protocols, `input` reads what the server writes and answers it in turn, `bridge` carries each question
//! to the daemon and its answer back.
//!
//! Must not know: who may log in.

mod bridge;
mod input;
mod wire;

pub(crate) use bridge::run;
pub use input::{Input, serve};
pub use wire::{BadRequest, Frames, MAX_LINE_BYTES, Password, Protocol, Request, answer};
