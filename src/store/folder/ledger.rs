//! The account book that the writer thread and a check share: how much there is by now, and how far the check has come.
//!
//! Must not know: what stands in a row.

use std::sync::Arc;

use super::super::counts::Counting;
use super::super::edit::Table;
use super::super::rows::Changed;
use super::tally::{Sum, Tally};
use crate::system::lock::Lock;

/// The tally as it is now, and a check that is under way. The writer thread changes both.
pub(super) struct Ledger {
    tally: Tally,
    pub(super) check: Option<UnderWay>,
    /// The problem in `counts`, in words, that the check of the counted tables has found.
    pub(super) miscounted: Option<String>,
}

/// A check of one table, between two pages.
pub(super) struct UnderWay {
    pub(super) table: Table,
    /// The last key that was read.
    pub(super) behind: Option<Vec<u8>>,
    pub(super) found: Sum,
    /// The counts so far; `None`: rows came or went meanwhile.
    pub(super) counting: Option<Counting>,
}

impl Ledger {
    pub(super) fn of(tally: Tally) -> Arc<Lock<Self>> {
        Arc::new(Lock::new(Self {
            tally,
            check: None,
            miscounted: None,
        }))
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// These changes are on the disk now, and this is the tally with them.
    pub(super) fn committed(&mut self, tally: Tally, changes: &[Changed]) {
        self.tally = tally;
        let Some(check) = &mut self.check else {
            return;
        };
        for changed in changes {
            // The check will find the rows that it has yet to read as they are then.
            let is_read = check.behind.as_ref() >= Some(&changed.key);
            if changed.table == check.table && is_read {
                check.found.follow(changed);
            }
            if changed.table == check.table && changed.before.is_some() != changed.after.is_some() {
                check.counting = None;
            }
        }
    }
}
