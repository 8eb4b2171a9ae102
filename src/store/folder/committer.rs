//! The one writer: groups the changes that wait, writes each group in one transaction, makes it durable, and
//! only then acknowledges. Each group also writes how much there is by then (`tally`), and is noted beside the store (`reached`).
//!
//! Since nobody else writes, a change may read the tables, decide and plan its rows without a transaction of
//! its own. Two changes of one account never share a group, so that the second sees what the first wrote.
//!
//! Must not know: which changes there are, what one means.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};

use sled::Transactional;
use sled::transaction::TransactionError;

use super::super::edit::{Planned, Row, Table};
use super::super::error::StoreError;
use super::super::tables::Tables;
use super::engine::{self, Durable};
use super::ledger::Ledger;
use super::reached::Reached;
use super::tally::{self, Changed};
use crate::system::lock::Lock;

pub(in crate::store) struct Committer {
    waiting: Lock<Option<SyncSender<Job>>>,
    thread: Lock<Option<JoinHandle<()>>>,
}

/// The asker is told through a closure that knows the asker's types.
type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Plan = Box<dyn FnOnce(&Tables) -> Option<(Vec<Row>, Acknowledge)> + Send>;

struct Job {
    /// Changes of the same thing never share a group; `None` is about many, and shares a group with nobody.
    about: Option<Vec<u8>>,
    plan: Plan,
    /// Made durable even if nothing was planned.
    is_probe: bool,
}

impl Committer {
    pub(super) fn start(
        db: sled::Db,
        tables: Tables,
        durable: Durable,
        reached: Arc<Reached>,
        ledger: Arc<Lock<Ledger>>,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(MAX_WAITING);
        let writer = Writer {
            db,
            tables,
            durable,
            reached,
            ledger,
        };
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

    /// Hands `plan` to the writer and waits until what it planned is on the disk.
    pub(in crate::store) fn commit<T: Send + 'static>(
        &self,
        about: Option<Vec<u8>>,
        plan: impl FnOnce(&Tables) -> Result<Planned<T>, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, pending) = job(about, plan);
        let sender = self.waiting.lock();
        match sender.as_ref().map(|sender| sender.try_send(job)) {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_))) => return Err(StoreError::Busy),
            Some(Err(TrySendError::Disconnected(_))) | None => return Err(StoreError::Failed),
        }
        drop(sender);
        pending.wait()
    }

    /// The same for what is about many, and waits for its place: many changes are no reason to give up.
    pub(in crate::store) fn commit_in_turn<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&Tables) -> Result<Planned<T>, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.begin_in_turn(None, plan)?.wait()
    }

    /// Waits for a place, hands `plan` to the writer there, and does not wait for it.
    pub(in crate::store) fn begin_in_turn<'a, T: Send + 'static>(
        &self,
        about: Option<Vec<u8>>,
        plan: impl FnOnce(&Tables) -> Result<Planned<T>, StoreError> + Send + 'static,
    ) -> Result<Pending<'a, T>, StoreError> {
        let (job, pending) = job(about, plan);
        self.queue_in_turn(job)?;
        Ok(pending)
    }

    /// Returns when the writer has flushed and synced once more, with nothing to write.
    ///
    /// Waits for its place, unlike a change: many changes are no reason to take the writer for dead.
    pub(in crate::store) fn probe(&self) -> Result<(), StoreError> {
        let (job, pending) = job(None, |_| Ok(Planned::nothing(())));
        self.queue_in_turn(Job {
            is_probe: true,
            ..job
        })?;
        pending.wait()
    }

    fn queue_in_turn(&self, job: Job) -> Result<(), StoreError> {
        let sender = self.waiting.lock().clone().ok_or(StoreError::Failed)?;
        // `stop` waits for every sender to be gone.
        sender.send(job).map_err(|_| StoreError::Failed)
    }

    /// Writes what waits, takes nothing more, and returns when the thread has ended.
    pub(in crate::store) fn stop(&self) {
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

/// A change that the writer has, and may not have made yet. It is made in any case: a caller that lets go of it waits for that, so that
/// nothing that must last until then (`'a`) ends before.
pub struct Pending<'a, T>(Option<Box<dyn FnOnce() -> Result<T, StoreError> + 'a>>);

impl<'a, T: 'a> Pending<'a, T> {
    fn of(answered: Receiver<Result<T, StoreError>>) -> Self
    where
        T: 'static,
    {
        let wait = move || answered.recv().unwrap_or(Err(StoreError::Failed));
        Self(Some(Box::new(wait)))
    }

    /// The same, with something that is done when it is on the disk.
    pub(in crate::store) fn then<U: 'a>(
        mut self,
        done: impl FnOnce(T) -> U + 'a,
    ) -> Pending<'a, U> {
        let wait = self.0.take();
        let wait = move || {
            wait.map_or(Err(StoreError::Failed), |wait| wait())
                .map(done)
        };
        Pending(Some(Box::new(wait)))
    }

    /// Waits until it is on the disk, or is not to be.
    pub fn wait(mut self) -> Result<T, StoreError> {
        let wait = self.0.take();
        wait.map_or(Err(StoreError::Failed), |wait| wait())
    }
}

impl<T> Drop for Pending<'_, T> {
    fn drop(&mut self) {
        if let Some(wait) = self.0.take() {
            drop(wait());
        }
    }
}

/// A job, and where its outcome comes.
fn job<'a, T: Send + 'static>(
    about: Option<Vec<u8>>,
    plan: impl FnOnce(&Tables) -> Result<Planned<T>, StoreError> + Send + 'static,
) -> (Job, Pending<'a, T>) {
    let (answer, answered) = mpsc::sync_channel(1);
    let job = Job {
        about,
        is_probe: false,
        plan: Box::new(move |tables| match plan(tables).and_then(require_short) {
            Ok(Planned { rows, outcome }) => Some((
                rows,
                // Nobody may be waiting any more; the change stands all the same.
                Box::new(move |written| drop(answer.send(written.map(|()| outcome)))),
            )),
            Err(error) => {
                let _ = answer.send(Err(error));
                None
            }
        }),
    };
    (job, Pending::of(answered))
}

struct Writer {
    db: sled::Db,
    tables: Tables,
    durable: Durable,
    /// How far the store has come, beside it.
    reached: Arc<Reached>,
    ledger: Arc<Lock<Ledger>>,
}

impl Writer {
    fn run(&self, receiver: &Receiver<Job>) {
        let mut waiting: VecDeque<Job> = VecDeque::new();
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
            self.tables.fail(&error);
        }
    }

    fn write(&self, group: Vec<Job>) {
        let mut rows = Vec::new();
        let mut waiting: Vec<Acknowledge> = Vec::new();
        for job in group {
            if self.tables.require_sound().is_err() {
                // Dropped unanswered: the caller that waits gets `Failed`.
                return;
            }
            match (job.plan)(&self.tables) {
                Some((planned, acknowledge)) if planned.is_empty() && !job.is_probe => {
                    acknowledge(Ok(()));
                }
                Some((planned, acknowledge)) => {
                    rows.extend(planned);
                    waiting.push(acknowledge);
                }
                None => {}
            }
        }
        if waiting.is_empty() {
            return;
        }
        let applied = if rows.is_empty() {
            Ok(())
        } else {
            let applied = self.apply(rows);
            // Whatever has come of it, and before anybody hears that.
            self.tables.recall.changed();
            applied
        };
        let written = applied
            .and_then(|()| self.make_durable())
            .map(|()| self.note_how_far());
        match written {
            Ok(()) => waiting.into_iter().for_each(|ack| ack(Ok(()))),
            // A row that was to be replaced: nothing was written, and the next group may fare better.
            Err(StoreError::Corrupt { table, problem }) => {
                let refuse = |ack: Acknowledge| {
                    let problem = problem.clone();
                    ack(Err(StoreError::Corrupt { table, problem }));
                };
                waiting.into_iter().for_each(refuse);
            }
            Err(error) => {
                // First, so that no reader answers from what may not be on the disk.
                self.tables.fail(&error);
                let refuse = |ack: Acknowledge| ack(Err(StoreError::Failed));
                waiting.into_iter().for_each(refuse);
            }
        }
    }

    fn apply(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        for Row { table, key, value } in tally::last_of_each(rows) {
            changes.push(Changed {
                before: self.tables.read(table, &key)?,
                table,
                key,
                after: value,
            });
        }
        let counts = self
            .ledger
            .lock()
            .counts()
            .following(&self.tables, &changes)?;
        for Row { table, key, value } in counts {
            changes.push(Changed {
                before: self.tables.read(table, &key)?,
                table,
                key,
                after: value,
            });
        }
        let tally = self.ledger.lock().tally().after(&changes);
        let mut batches: [sled::Batch; Table::COUNT] = Default::default();
        for changed in &changes {
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
        let applied = self.tables.trees[..].transaction(|trees| {
            for (tree, batch) in trees.iter().zip(&batches) {
                tree.apply_batch(batch)?;
            }
            Ok(())
        });
        applied.map_err(|error| match error {
            TransactionError::Storage(error) => StoreError::Engine(error),
            TransactionError::Abort(()) => StoreError::Failed,
        })?;
        self.ledger.lock().committed(tally, &changes);
        Ok(())
    }

    /// Only of what is on the disk.
    fn note_how_far(&self) {
        let commits = self.ledger.lock().tally().commits;
        self.reached.note(commits);
    }

    fn make_durable(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(StoreError::Engine)?;
        self.durable.sync()
    }
}

/// A longer row would end in a file that sled does not sync.
fn require_short<T>(planned: Planned<T>) -> Result<Planned<T>, StoreError> {
    let is_too_long = |row: &&Row| {
        let value = row.value.as_ref().map_or(0, Vec::len);
        engine::is_too_long(row.key.len(), value)
    };
    match planned.rows.iter().find(is_too_long) {
        Some(row) => Err(StoreError::TooLong {
            table: row.table.name(),
        }),
        None => Ok(planned),
    }
}

/// The longest group in which everything is changed once; what would be changed twice stays, in its order.
fn next_group(waiting: &mut VecDeque<Job>) -> Vec<Job> {
    let mut seen = HashSet::new();
    let mut group = Vec::new();
    let mut later = VecDeque::new();
    let mut is_full = false;
    for job in waiting.drain(..) {
        let fits = match &job.about {
            Some(about) => !is_full && seen.insert(about.clone()),
            None => group.is_empty() && !is_full,
        };
        // A job about many accounts waits for the jobs that were asked before it, and lets none pass it.
        is_full |= job.about.is_none();
        if fits {
            group.push(job);
        } else {
            later.push_back(job);
        }
    }
    *waiting = later;
    group
}

const MAX_GROUP: usize = 64;
const MAX_WAITING: usize = 1024;
