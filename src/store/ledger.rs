//! How much there is by now, and how far a check has come: what the writer thread and a check share.

use std::sync::Arc;

use super::edit::Table;
use super::tally::{Changed, Sum, Tally};
use crate::system::lock::Lock;

/// The tally as it is now, and a check that is under way. The writer thread changes both.
pub(super) struct Ledger {
    tally: Tally,
    pub(super) check: Option<UnderWay>,
}

/// A check of one table, between two pages.
pub(super) struct UnderWay {
    pub(super) table: Table,
    /// The last key that was read.
    pub(super) behind: Option<Vec<u8>>,
    pub(super) found: Sum,
}

impl Ledger {
    pub(super) fn of(tally: Tally) -> Arc<Lock<Self>> {
        Arc::new(Lock::new(Self { tally, check: None }))
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
            // What the check has yet to read it will find as it is then.
            let is_read = check.behind.as_ref() >= Some(&changed.key);
            if changed.table == check.table && is_read {
                changed.apply_to(&mut check.found);
            }
        }
    }
}
