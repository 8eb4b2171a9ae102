//! The store in a data folder of this machine, with sled: one process has it at a time. The only user of sled.
//!
//! A data folder holds `FORMAT` (which layout; written last by `create`), `LOCK` (its one owner), `SEQUENCE` (how far the
//! store had come), `sled/`, and `REFUSED` (why it was not opened the last time). One of an older layout is written anew when it is
//! opened (`migration`). Reads block for microseconds; changes go through one writer thread (`committer`).
//!
//! Must not know: which changes there are, what a row means.

mod check;
mod committer;
mod derived;
mod engine;
pub(super) mod held;
mod layout;
mod ledger;
mod lock;
mod lost;
mod migration;
pub(super) mod opening;
pub(super) mod ownership;
mod reached;
mod secret;
mod tally;
mod trees;
mod whole;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::backend::{Backend, Condition, WhenFull};
use super::edit::Table;
use super::error::StoreError;
use super::health::Health;
use super::job::Job;
use super::memory::Memory;
use super::queue::Queue;
use super::sharing::Sharing;
use super::wholeness::TableCheck;
use crate::system::lock::Lock;
use check::Checking;
use layout::{SLED_FOLDER, folder_bytes};
use ledger::Ledger;
use lock::FolderLock;
use reached::Reached;

/// A data folder that is open.
pub(super) struct Folder {
    queue: Queue,
    ledger: Arc<Lock<Ledger>>,
    reached: Arc<Reached>,
    memory: Arc<Memory>,
    health: Arc<Health>,
    path: PathBuf,
    // Held for as long as the store is open.
    _lock: FolderLock,
}

impl Backend for Folder {
    fn take(&self, job: Job, when_full: WhenFull) -> Result<(), StoreError> {
        self.queue.take(job, when_full)
    }

    fn reads_block(&self) -> bool {
        false
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.queue.probe()
    }

    fn check(&self, pause: &mut dyn FnMut(u64)) -> Result<Vec<TableCheck>, StoreError> {
        let checking = Checking {
            queue: &self.queue,
            ledger: &self.ledger,
            memory: &self.memory,
            health: &self.health,
        };
        checking.check(pause)
    }

    fn condition(&self) -> Condition {
        let ledger = self.ledger.lock();
        let rows = |table: &Table| ledger.tally().of(*table).rows;
        Condition {
            commits: ledger.tally().commits,
            rows: Table::COUNTED.iter().map(rows).sum(),
            sequence_problem: self.reached.problem(),
        }
    }

    fn bytes_on_disk(&self) -> u64 {
        folder_bytes(&self.path.join(SLED_FOLDER))
    }

    fn asked_with(&self, _: Duration) -> Result<(), StoreError> {
        Ok(())
    }

    fn sharing(&self) -> Result<Option<Sharing>, StoreError> {
        Ok(None)
    }

    fn stop(&self) {
        self.queue.stop();
    }
}
