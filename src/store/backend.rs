//! What keeps the rows: the seam of the store. `folder/` is one, with sled; whatever else is to keep them is another.
//!
//! Reading is `Rows` (rows.rs): a row by its key, and the rows between two keys. Writing is a `Job` (job.rs): what it is about, and a
//! decision that reads the tables and gives rows. What a backend owes for it:
//!
//! * Of two jobs that are about the same, one is decided on what the other has written.
//! * All rows of a job are written, or none; and so are those that follow from them (`Memory::following`, `Counts::following`), with them.
//! * `Memory::applied` hears of every change, be it this process's or another's, when it can be read and outlives a power cut, and before
//!   whoever asked for it hears that it is made. It may wait for logins that are being answered, so nothing of that may wait for a change.
//! * Who asked hears it when it outlives a power cut, and never before.
//! * A store that may have lost something is not opened, or says so in `check` and `Condition`; after a failure of which nobody
//!   can say what has become of the rows, nothing is read any more (`Health::fail`). What passes is `Away`, or `OutcomeUnknown` of a change
//!   that was on its way; and while rows can't be believed, their reading is `Away` (`Belief`).
//!
//! Must not know: which changes there are, what a row means.

use std::time::Duration;

use super::error::StoreError;
use super::job::{About, Job, Pending, Planned};
use super::sharing::Sharing;
use super::tables::Tables;
use super::wholeness::TableCheck;

/// Whatever keeps the rows, open.
pub(super) trait Backend: Send + Sync {
    /// Takes a job over, and does not wait for it. Once taken it is done in any case.
    ///
    /// Errors: too many wait, and nobody wants to; the store has failed or was stopped.
    fn take(&self, job: Job, when_full: WhenFull) -> Result<(), StoreError>;

    /// Do reads wait for anything but the processor and a disk? Then no thread may read that others wait for.
    fn reads_block(&self) -> bool;

    /// Goes the way of a change and back, behind all that were taken before, and changes nothing. Blocks.
    fn probe(&self) -> Result<(), StoreError>;

    /// Reads every row, and looks whether it is as it was written; `pause` is called now and then, with how many were read by then.
    /// Changes go on meanwhile. Blocks.
    fn check(&self, pause: &mut dyn FnMut(u64)) -> Result<Vec<TableCheck>, StoreError>;

    /// How far it has come.
    fn condition(&self) -> Condition;

    /// Bytes on the disk.
    fn bytes_on_disk(&self) -> u64;

    /// There may be askers who wait so long for their answer: whoever shares these rows waits as long for a process that is silent. Blocks
    /// until it is sure that they know.
    ///
    /// Errors: they can't be told.
    fn asked_with(&self, patience: Duration) -> Result<(), StoreError>;

    /// The processes that serve the same rows; `None`: no other one can. Blocks.
    ///
    /// Errors: who does can't be asked for now.
    fn sharing(&self) -> Result<Option<Sharing>, StoreError>;

    /// Writes what waits, takes nothing more, and returns when that is done.
    fn stop(&self);
}

/// Whether a job waits for its place among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// It is refused: its asker may come again.
    Refuse,
    /// It waits: many changes are no reason to give up.
    Wait,
}

/// How far a store has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// How many commits it has seen.
    pub(super) commits: u64,
    /// How many rows there are to be checked.
    pub(super) rows: u64,
    /// Why a loss might not be noticed at the next start, in words.
    pub(super) sequence_problem: Option<String>,
}

impl dyn Backend {
    /// Decides and writes, and returns when it is on the disk. Blocks.
    pub(super) fn commit<T: Send + 'static>(
        &self,
        about: About,
        plan: impl FnOnce(&Tables) -> Result<Planned<T>, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, pending) = Job::of(about, plan);
        self.take(job, WhenFull::Refuse)?;
        pending.wait()
    }

    /// The same for one of many changes: it waits for its place, and not for the disk.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        about: About,
        plan: impl FnOnce(&Tables) -> Result<Planned<T>, StoreError> + Send + 'static,
    ) -> Result<Pending<T>, StoreError> {
        let (job, pending) = Job::of(about, plan);
        self.take(job, WhenFull::Wait)?;
        Ok(pending)
    }

    /// Reads what is of one moment. Blocks.
    pub(super) fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tables) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let plan = |tables: &Tables| Ok(Planned::nothing(read(tables)?));
        self.begin(About::Nothing, plan)?.wait()
    }
}
