//! The one writer: groups the changes that wait, writes each group in one transaction, makes it durable, and
//! only then acknowledges. What of a group takes something back is applied behind the sync, and under a closing (`Memory::applied`): logins
//! do not wait for a disk. Each group also writes how much there is by then (`tally`), and is noted beside the store (`reached`).
//!
//! Since nobody else writes, a change may read the tables, decide and plan its rows without a transaction of
//! its own. Two changes that are about the same never share a group, so that the second sees what the first wrote.
//!
//! Must not know: which changes there are, what one means.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};

use sled::Transactional;
use sled::transaction::TransactionError;

use super::super::backend::WhenFull;
use super::super::edit::{Row, Table};
use super::super::error::StoreError;
use super::super::follow::Maker;
use super::super::heed::{Concern, Hear};
use super::super::job::{About, Acknowledge, Job, Planned};
use super::super::memory::Memory;
use super::super::rows::Changed;
use super::super::tables::Tables;
use super::engine::{self, Durable};
use super::ledger::Ledger;
use super::reached::Reached;
use super::trees::Trees;
use crate::system::lock::Lock;

/// The one writer's thread, and those that wait for it.
pub(super) struct Committer {
    waiting: Lock<Option<SyncSender<Waiting>>>,
    thread: Lock<Option<JoinHandle<()>>>,
}

struct Waiting {
    job: Job,
    /// Made durable even if nothing was planned.
    is_probe: bool,
}

impl Committer {
    pub(super) fn start(writer: Writer) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(MAX_WAITING);
        let thread = thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| StoreError::File {
                action: "cannot start the writer thread for",
                path: "the store".to_owned(),
                source,
            })?;
        Ok(Self {
            waiting: Lock::new(Some(sender)),
            thread: Lock::new(Some(thread)),
        })
    }

    /// Hands the job to the writer.
    pub(super) fn take(&self, job: Job, when_full: WhenFull) -> Result<(), StoreError> {
        let is_probe = false;
        let waiting = Waiting { job, is_probe };
        if when_full == WhenFull::Wait {
            return self.queue_in_turn(waiting);
        }
        let sender = self.waiting.lock();
        match sender.as_ref().map(|sender| sender.try_send(waiting)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(StoreError::Busy),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(StoreError::Failed),
        }
    }

    /// Waits for its turn, and until what `plan` writes is on the disk. Nothing changes meanwhile.
    pub(super) fn in_turn<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&Tables) -> Result<Planned<T>, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, pending) = Job::of(About::Everything, plan);
        self.take(job, WhenFull::Wait)?;
        pending.wait()
    }

    /// Returns when the writer has flushed and synced once more, with nothing to write.
    ///
    /// Waits for its place, unlike a change: many changes are no reason to take the writer for dead.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        let (job, pending) = Job::of(About::Nothing, |_| Ok(Planned::nothing(())));
        let is_probe = true;
        self.queue_in_turn(Waiting { job, is_probe })?;
        pending.wait()
    }

    fn queue_in_turn(&self, waiting: Waiting) -> Result<(), StoreError> {
        let sender = self.waiting.lock().clone().ok_or(StoreError::Failed)?;
        // `stop` waits for every sender to be gone.
        sender.send(waiting).map_err(|_| StoreError::Failed)
    }

    /// Writes what waits, takes nothing more, and returns when the thread has ended.
    pub(super) fn stop(&self) {
        drop(self.waiting.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            // A panic there has been told to everybody who waited: their answers never came.
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The writer's own part of the store.
pub(super) struct Writer {
    pub(super) db: sled::Db,
    pub(super) trees: Trees,
    pub(super) durable: Durable,
    /// How far the store has come, beside it.
    pub(super) reached: Arc<Reached>,
    pub(super) ledger: Arc<Lock<Ledger>>,
    pub(super) memory: Arc<Memory>,
}

impl Writer {
    fn run(&self, receiver: &Receiver<Waiting>) {
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match receiver.recv() {
                    Ok(job) => waiting.push_back(job),
                    Err(_) => break,
                }
            }
            while waiting.len() < MAX_GROUP {
                match receiver.try_recv() {
                    Ok(job) => waiting.push_back(job),
                    Err(_) => break,
                }
            }
            self.write(next_group(&mut waiting));
        }
        // The background thread of sled may hold clean-up work back: a clean end leaves none.
        if let Err(error) = self.make_durable() {
            self.trees.tables.health.fail(&error);
        }
    }

    fn write(&self, group: Vec<Waiting>) {
        let mut changes = Vec::new();
        let mut concerns = Vec::new();
        let mut waiting: Vec<Acknowledge> = Vec::new();
        for Waiting { job, is_probe } in group {
            if self.trees.tables.require_sound().is_err() {
                // Dropped unanswered: the caller that waits gets `Failed`.
                return;
            }
            let Some((planned, acknowledge)) = (job.plan)(&self.trees.tables) else {
                continue;
            };
            // No two jobs of a group change the same row: what is wrong with one is no matter of the others.
            match self.changed_by(planned, job.asker) {
                Err(error) => acknowledge(Err(error)),
                Ok((of_job, _)) if of_job.is_empty() && !is_probe => acknowledge(Ok(())),
                Ok((of_job, concern)) => {
                    changes.extend(of_job);
                    concerns.extend(concern);
                    waiting.push(acknowledge);
                }
            }
        }
        if waiting.is_empty() {
            return;
        }
        match self.write_durably(changes) {
            Ok(changes) => {
                if !changes.is_empty() {
                    self.memory.applied(&changes, &concerns, Maker::Here);
                }
                for acknowledge in waiting {
                    acknowledge(Ok(()));
                }
            }
            // A row of what follows from the changes: nothing was written, and the next group may fare better.
            Err(StoreError::Corrupt { table, problem }) => {
                let refuse = |ack: Acknowledge| {
                    let problem = problem.clone();
                    ack(Err(StoreError::Corrupt { table, problem }));
                };
                waiting.into_iter().for_each(refuse);
            }
            Err(error) => {
                // First, so that no reader answers from what may not be on the disk.
                self.trees.tables.health.fail(&error);
                let refuse = |ack: Acknowledge| ack(Err(StoreError::Failed));
                waiting.into_iter().for_each(refuse);
            }
        }
    }

    /// The changes that the rows of a job make, and what of them concerns who has logged in before.
    fn changed_by(
        &self,
        rows: Vec<Row>,
        asker: Option<Arc<dyn Hear>>,
    ) -> Result<(Vec<Changed>, Option<Concern>), StoreError> {
        require_short(&rows)?;
        let tables = &self.trees.tables;
        let changed = tables.changed_by(rows)?;
        let concern = Concern::of(tables, &changed, asker)?;
        Ok((changed, concern))
    }

    /// Writes these changes and those that follow from them, all of which are returned. Without any it syncs all the same.
    fn write_durably(&self, mut changes: Vec<Changed>) -> Result<Vec<Changed>, StoreError> {
        if !changes.is_empty() {
            let written = self.write_rows(&mut changes);
            if written.is_err() {
                // Before anybody hears that.
                self.memory.in_doubt();
            }
            written?;
        }
        self.make_durable()?;
        self.note_how_far();
        Ok(changes)
    }

    /// Adds what follows from the changes, and writes all of it in one transaction.
    fn write_rows(&self, changes: &mut Vec<Changed>) -> Result<(), StoreError> {
        let tables = &self.trees.tables;
        changes.extend(tables.changed_by(self.memory.following(changes))?);
        let counts = {
            let counts = self.memory.counts.lock();
            counts.following(tables, changes)?
        };
        changes.extend(tables.changed_by(counts)?);
        let tally = self.ledger.lock().tally().after(changes);
        let mut batches: [sled::Batch; Table::COUNT] = Default::default();
        for changed in &*changes {
            #[allow(clippy::indexing_slicing)]
            // A table's discriminant is below COUNT, which is the array's length.
            let batch = &mut batches[changed.table as usize];
            match &changed.after {
                Some(value) => batch.insert(changed.key.as_slice(), value.as_slice()),
                None => batch.remove(changed.key.as_slice()),
            }
        }
        let Row { table, key, value } = tally.row();
        #[allow(clippy::indexing_slicing)]
        // As above.
        batches[table as usize].insert(key, value.unwrap_or_default());
        let applied = self.trees.all().transaction(|trees| {
            for (tree, batch) in trees.iter().zip(&batches) {
                tree.apply_batch(batch)?;
            }
            Ok(())
        });
        applied.map_err(|error| match error {
            TransactionError::Storage(error) => engine::failed(error),
            TransactionError::Abort(()) => StoreError::Failed,
        })?;
        self.ledger.lock().committed(tally, changes);
        Ok(())
    }

    /// Only of what is on the disk.
    fn note_how_far(&self) {
        let commits = self.ledger.lock().tally().commits;
        self.reached.note(commits);
    }

    fn make_durable(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(engine::failed)?;
        self.durable.sync()
    }
}

/// A longer row would end in a file that sled does not sync.
fn require_short(rows: &[Row]) -> Result<(), StoreError> {
    let is_too_long = |row: &&Row| {
        let value = row.value.as_ref().map_or(0, Vec::len);
        engine::is_too_long(row.key.len(), value)
    };
    match rows.iter().find(is_too_long) {
        Some(row) => Err(StoreError::TooLong {
            table: row.table.name(),
        }),
        None => Ok(()),
    }
}

/// The longest group in which everything is changed once; what would be changed twice stays, in its order.
fn next_group(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut seen = HashSet::new();
    let mut group = Vec::new();
    let mut later = VecDeque::new();
    let mut is_full = false;
    for one in waiting.drain(..) {
        let fits = match &one.job.about {
            About::These(claims) => {
                let is_new = !is_full && claims.iter().all(|claim| !seen.contains(claim));
                // What has to wait keeps back what is asked behind it.
                seen.extend(claims.iter().cloned());
                is_new
            }
            // It waits for the jobs that were asked before it, and lets none pass it.
            About::Everything | About::Nothing => {
                let is_first = group.is_empty() && !is_full;
                is_full = true;
                is_first
            }
        };
        if fits {
            group.push(one);
        } else {
            later.push_back(one);
        }
    }
    *waiting = later;
    group
}

const MAX_GROUP: usize = 64;
const MAX_WAITING: usize = 1024;
