//! Is everything there that was ever written, and nothing else? What was found, and what an admin says to it.
//!
//! Must not know: how it is found out.

use serde::{Deserialize, Serialize};

use super::edit::{Row, Table};
use super::record::{self, Versioned};
use crate::identity::UnixSeconds;

/// The outcome of a check of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCheck {
    /// Which table.
    pub table: &'static str,
    /// Rows that are there.
    pub rows: u64,
    /// Rows that were written.
    pub written: u64,
    /// The problem of the table, in words; `None` when every row is as it was written.
    pub problem: Option<String>,
}

/// A loss that an admin has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When it was accepted.
    pub at: UnixSeconds,
    /// So many commits are missing at the end.
    pub commits: u64,
    /// These tables are not as they were written.
    pub tables: Vec<String>,
}

impl Versioned for Loss {
    const VERSION: u8 = 1;
}

/// The treatment of a store that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// It is not opened.
    Refuse,
    /// The rest of it is served, and the loss is remembered.
    Accept {
        /// The time of the decision.
        now: UnixSeconds,
    },
}

/// How the store was found when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The tables that were read as a whole before anything was answered.
    pub checked: Vec<TableCheck>,
    /// Were these all of them?
    pub is_checked: bool,
    /// The loss that was accepted at this opening.
    pub accepted: Option<Loss>,
}

impl Loss {
    /// The row that remembers it.
    pub(super) fn row(&self) -> Row {
        Row {
            table: Table::Meta,
            key: LOSS_ROW.to_vec(),
            value: Some(record::encode(self)),
        }
    }
}

/// Under which key the last one stands in `meta`.
pub(super) const LOSS_ROW: &[u8] = b"loss";
