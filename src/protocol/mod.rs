//! The contract between the daemon and whoever asks it, for both sides: questions, lines with limits, errors. docs/protocol.md is
//! its reference.
//!
//! Must not know: how a question is answered; the store.

mod accounts;
mod admin;
mod backup;
mod certificates;
pub(crate) mod client;
mod command;
mod console;
pub(crate) mod declaring;
mod each;
mod error_object;
mod external;
mod fault;
mod fields;
mod hosts;
mod limits;
mod line;
mod links;
mod message;
mod request;
mod servers;
mod sessions;
mod status;
mod values;

pub use accounts::*;
pub use admin::*;
pub use backup::*;
pub use certificates::*;
pub use command::*;
pub use console::*;
pub use each::{Bad, Each};
pub use external::*;
pub use fault::{Away, Fault, Misuse, Refusal};
pub use fields::{fields, fields_of};
pub use hosts::*;
pub use limits::{
    MAX_ANSWER_BYTES, MAX_CERTIFICATE_BASE64_BYTES, MAX_CHAIN, MAX_CHAIN_BASE64_BYTES,
    MAX_QUESTION_BYTES, MAX_WAITS_MS, PAGE_BYTES, PROTOCOL_VERSION,
};
pub use line::{Line, Lines};
pub use links::*;
pub use message::{Id, Incoming, failure, notice, parse, question, success};
pub use request::{Lane, Notice, Request};
pub use servers::*;
pub use sessions::*;
pub use status::*;
pub use values::*;

pub use crate::policy::access::{Before, Role};
