//! The one writer: writes each group of the changes that wait in one transaction, makes it durable, and
//! only then acknowledges. What of a group takes something back is applied behind the sync, and under a closing (`Memory::applied`): logins
//! do not wait for a disk. Each group also writes how much there is by then (`tally`), and is noted beside the store (`reached`).
//!
//! Since nobody else writes, a change may read the tables, decide and plan its rows without a transaction of
//! its own.
//!
//! Must not know: which changes there are, what one means.

use std::sync::Arc;

use sled::Transactional;
use sled::transaction::TransactionError;

use super::super::edit::{Row, Table};
use super::super::error::StoreError;
use super::super::follow::Maker;
use super::super::heed::{Concern, Hear};
use super::super::job::{Acknowledge, Silent};
use super::super::memory::Memory;
use super::super::queue::{Waiting, Writer};
use super::super::rows::{Changed, require_short};
use super::engine::{self, Durable};
use super::ledger::Ledger;
use super::reached::Reached;
use super::trees::Trees;
use crate::system::lock::Lock;

/// The writer's own part of the store.
pub(super) struct Committer {
    pub(super) db: sled::Db,
    pub(super) trees: Trees,
    pub(super) durable: Durable,
    /// How far the store has come, beside it.
    pub(super) reached: Arc<Reached>,
    pub(super) ledger: Arc<Lock<Ledger>>,
    pub(super) memory: Arc<Memory>,
}

impl Writer for Committer {
    fn write(&mut self, group: Vec<Waiting>) {
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
                Ok((of_job, _)) if of_job.is_empty() && !is_probe => acknowledge(Ok(Silent::new())),
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
                    acknowledge(Ok(Silent::new()));
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

    fn end(&mut self) {
        // The background thread of sled may hold clean-up work back: a clean end leaves none.
        if let Err(error) = self.make_durable() {
            self.trees.tables.health.fail(&error);
        }
    }
}

impl Committer {
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
