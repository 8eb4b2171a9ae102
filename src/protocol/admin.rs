//! An administrator's questions: `explain` and `store.check`, each with its answer.
//!
//! Must not know: how it is found out.

use serde::{Deserialize, Serialize};

use super::request::{Lane, Request};
use super::values::Chain;
use crate::identity::{BareJid, UnixSeconds};
use crate::policy::access::Role;
use crate::policy::explain::Explanation;

/// `store.check`.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoreCheck {
    /// Begin one, unless one runs.
    pub start: bool,
}

impl Request for StoreCheck {
    const METHOD: &'static str = "store.check";
    type Answer = ChecksState;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::AtOnce;
}

/// How far the checks of the store are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksState {
    /// How many have begun since the daemon's start.
    pub begun: u64,
    /// The one that runs.
    pub running: Option<RunningCheck>,
    /// The last one that has ended.
    pub last: Option<EndedCheck>,
}

/// A check that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningCheck {
    /// Rows that were read.
    pub rows: u64,
    /// Rows that there are.
    pub of: u64,
}

/// A check that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndedCheck {
    /// Which one, as [`ChecksState::begun`] counts.
    pub number: u64,
    /// When it began.
    pub at: UnixSeconds,
    /// Is every row as it was written?
    pub whole: bool,
    /// The result for each table.
    pub tables: Vec<CheckedTable>,
}

/// The result of a check of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedTable {
    /// Its name.
    pub table: String,
    /// Rows that are there.
    pub rows: u64,
    /// Rows that were written.
    pub written: u64,
    /// The problem with it, in words.
    pub problem: Option<String>,
}

/// `explain`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explain {
    /// The account that is to log in.
    pub account: BareJid,
    /// With which certificate.
    pub chain: Chain,
    /// Asking for which identity.
    pub authzid: Option<String>,
}

impl Request for Explain {
    const METHOD: &'static str = "explain";
    type Answer = Explanation;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}
