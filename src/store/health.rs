//! Whether what is read may be believed: of a whole store, whoever reads in it.
//!
//! Must not know: where rows are kept, who asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::edit::Table;
use super::error::{OnFailure, StoreError};

/// May be believed now what is read: asked before each reading. A place that has its rows to itself is always believed; one that others
/// change, only as long as it is sure to hear of that.
///
/// Errors: `Away`.
pub(super) type Belief = Box<dyn Fn() -> Result<(), StoreError> + Send + Sync>;

/// How a failure is told, and what was seen of damage since the start.
pub(super) struct Health {
    failed: AtomicBool,
    belief: Belief,
    on_failure: OnFailure,
    corrupt_reads: AtomicU64,
    known_is_proven: AtomicBool,
}

impl Health {
    /// That of a store that was just opened. `on_failure` is called once at most.
    pub(super) fn of(belief: Belief, on_failure: OnFailure) -> Self {
        Self {
            failed: AtomicBool::new(false),
            belief,
            on_failure,
            corrupt_reads: AtomicU64::new(0),
            known_is_proven: AtomicBool::new(false),
        }
    }

    /// Errors: the store has failed, and answers nothing any more; or it can't be believed now, which passes.
    pub(super) fn require_sound(&self) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Failed);
        }
        (self.belief)()
    }

    /// For what passes there is `Away`. Nothing is answered from now on, and the process is told so.
    pub(super) fn fail(&self, error: &StoreError) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            (self.on_failure)(error);
        }
    }

    /// The error of a row that can't be read, which is counted.
    pub(super) fn corrupt(&self, table: Table, problem: &dyn std::fmt::Display) -> StoreError {
        self.corrupt_reads.fetch_add(1, Ordering::Relaxed);
        StoreError::Corrupt {
            table: table.name(),
            problem: problem.to_string(),
        }
    }

    /// How many rows could not be read.
    pub(super) fn corrupt_reads(&self) -> u64 {
        self.corrupt_reads.load(Ordering::Relaxed)
    }

    /// Was `known` held against what was written since the start?
    pub(super) fn is_known_proven(&self) -> bool {
        self.known_is_proven.load(Ordering::Acquire)
    }

    pub(super) fn set_known_proven(&self, is_proven: bool) {
        self.known_is_proven.store(is_proven, Ordering::Release);
    }
}
