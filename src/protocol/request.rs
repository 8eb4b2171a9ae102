//! The contract of every question: its name, the roles that may ask it, what must come before, the lane that answers it.
//!
//! Must not know: which questions there are, how one is answered.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::fields::fields;
use crate::policy::access::{Before, Role};

/// A question, with its fields: the same type for whoever asks and for whoever answers.
pub trait Request: Serialize + DeserializeOwned + Send + 'static {
    /// How it is called.
    const METHOD: &'static str;
    /// The answer to it.
    type Answer: Serialize + DeserializeOwned;
    /// The lowest role that may ask it.
    const ROLE: Role = Role::Server;
    /// The hello that must come before it.
    const BEFORE: Before = Before::Nothing;
    /// Where it is answered.
    const LANE: Lane;
    /// May a password or a key stand in it? Then its line is wiped.
    const MAY_HOLD_SECRET: bool = true;

    /// Reads its fields, a JSON object.
    ///
    /// Errors: which of them is wrong.
    fn read(params: &str) -> Result<Self, Fault> {
        fields(params)
    }

    /// Where this one is answered, if that depends on its fields.
    fn lane(&self) -> Lane {
        Self::LANE
    }

    /// The address of the client that the asker speaks for, if it is known.
    fn address(&self) -> Option<&str> {
        None
    }
}

/// A notice from a server, which wants no answer.
pub trait Notice: Serialize + DeserializeOwned {
    /// How it is called.
    const METHOD: &'static str;
    /// The hello that must have come before: a notice that comes earlier is ignored.
    const BEFORE: Before;
}

/// Where a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Where its line was read: from memory, or by a short read. A question that turns out to take longer moves on by itself.
    AtOnce,
    /// Where its line was read, if the store reads without waiting; else where it may block.
    Read,
    /// Where it may block: it waits for the disk, or for a server.
    Task,
    /// In its turn of the key derivations: a password is tried.
    Try,
    /// In its turn of the key derivations: a password is set.
    Change,
}
