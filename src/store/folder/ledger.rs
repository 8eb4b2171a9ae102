//! The account book that the writer thread and a check share: how much there is by now, and how far the check has come.
//!
//! Must not know: what stands in a row.

use std::sync::Arc;

use super::super::counts::{Counting, Counts};
use super::super::edit::Table;
use super::tally::{Changed, Sum, Tally};
use crate::system::lock::Lock;

/// The tally as it is now, and a check that is under way. The writer thread changes both.
pub(in crate::store) struct Ledger {
    tally: Tally,
    counts: Counts,
    pub(in crate::store) check: Option<UnderWay>,
    /// The problem in `counts`, in words, that the check of the counted tables has found.
    pub(in crate::store) miscounted: Option<String>,
}

/// A check of one table, between two pages.
pub(in crate::store) struct UnderWay {
    pub(in crate::store) table: Table,
    /// The last key that was read.
    pub(in crate::store) behind: Option<Vec<u8>>,
    pub(in crate::store) found: Sum,
    /// The counts so far; `None`: rows came or went meanwhile.
    pub(in crate::store) counting: Option<Counting>,
}

impl Ledger {
    pub(in crate::store) fn of(tally: Tally, counts: Counts) -> Arc<Lock<Self>> {
        Arc::new(Lock::new(Self {
            tally,
            counts,
            check: None,
            miscounted: None,
        }))
    }

    pub(in crate::store) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(in crate::store) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// These changes are on the disk now, and this is the tally with them.
    pub(in crate::store) fn committed(&mut self, tally: Tally, changes: &[Changed]) {
        self.tally = tally;
        self.counts.committed(changes);
        let Some(check) = &mut self.check else {
            return;
        };
        for changed in changes {
            // The check will find the rows that it has yet to read as they are then.
            let is_read = check.behind.as_ref() >= Some(&changed.key);
            if changed.table == check.table && is_read {
                changed.apply_to(&mut check.found);
            }
            if changed.table == check.table && changed.before.is_some() != changed.after.is_some() {
                check.counting = None;
            }
        }
    }
}
