//! The contract between the daemon and whoever asks it, for both sides: questions, lines with limits, errors. docs/protocol.md is
//! its reference.
//!
//! Must not know: how a question is answered; the store.

mod accounts;
pub(crate) mod client;
mod command;
mod console;
pub(crate) mod declaring;
mod each;
mod fault;
mod fields;
mod limits;
mod line;
mod message;
mod questions;
mod request;
mod role;
mod values;

pub use accounts::*;
pub use command::*;
pub use console::*;
pub use each::{Bad, Each};
pub use fault::{Fault, Refusal};
pub use fields::fields;
pub use limits::{
    MAX_ANSWER_BYTES, MAX_CERTIFICATE_BASE64_BYTES, MAX_CHAIN, MAX_CHAIN_BASE64_BYTES,
    MAX_QUESTION_BYTES, PAGE_BYTES, PROTOCOL_VERSION,
};
pub use line::{Line, Lines};
pub use message::{Id, Incoming, failure, parse, question, success};
pub use questions::*;
pub use request::{Before, Lane, Request};
pub use role::Role;
pub use values::*;
