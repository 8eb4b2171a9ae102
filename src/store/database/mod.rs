//! The store in a database, PostgreSQL: the only user of its driver.
//!
//! The schema `saslcertd` (`schema`) has one table of rows, whose keys and values are those of everywhere; `head`, which deals the numbers of
//! changes; and the list of them. Who reads asks on one of a few connections (`connections`, `rows`). Changes go through one writer thread,
//! a transaction for each group (`writing`). A thread follows the list, and tells the memory of each change in its turn (`following`).
//! A server that can't be asked is a fault that passes: nothing is answered until it is back and all is heard that was missed.
//! docs/decisions/0015-postgresql.md has the reasons.
//!
//! Must not know: which changes there are, what a row means.

mod applied;
mod belief;
mod check;
mod connect;
mod connections;
mod followed;
mod following;
mod lease;
mod leases;
mod line;
pub(super) mod looking;
mod numbers;
pub(super) mod opening;
pub(super) mod place;
mod rows;
pub(super) mod schema;
mod settling;
mod sharing;
mod statements;
mod tls;
mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use super::backend::{Backend, Condition, WhenFull};
use super::error::StoreError;
use super::job::Job;
use super::queue::Queue;
use super::sharing::Sharing;
use super::wholeness::TableCheck;
use crate::system::lock::Lock;
use connect::Heard;
use connections::Connections;
use followed::Followed;
use lease::OwnLease;
use leases::Leases;

/// A database that is open.
pub(super) struct Database {
    connections: Arc<Connections>,
    followed: Arc<Followed>,
    lease: Arc<OwnLease>,
    leases: Arc<Lock<Leases>>,
    queue: Queue,
    heard: Lock<Sender<Heard>>,
    thread: Lock<Option<JoinHandle<()>>>,
    is_stopped: AtomicBool,
}

impl Database {
    /// The database, in words.
    pub(super) fn place(&self) -> String {
        self.connections.place()
    }
}

impl Backend for Database {
    fn take(&self, job: Job, when_full: WhenFull) -> Result<(), StoreError> {
        self.queue.take(job, when_full)
    }

    fn reads_block(&self) -> bool {
        true
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.queue.probe()
    }

    fn check(&self, pause: &mut dyn FnMut(u64)) -> Result<Vec<TableCheck>, StoreError> {
        check::check(&self.connections, &self.followed, pause)
    }

    fn condition(&self) -> Condition {
        Condition {
            commits: self.followed.place().seq.unsigned_abs(),
            rows: self.connections.sizes.rows(),
            sequence_problem: None,
        }
    }

    fn bytes_on_disk(&self) -> u64 {
        self.connections.sizes.bytes()
    }

    fn asked_with(&self, patience: Duration) -> Result<(), StoreError> {
        if self.lease.raise_patience(patience) {
            let _ = self.heard.lock().send(Heard::Change);
        }
        self.lease.wait_until_written(patience)
    }

    fn sharing(&self) -> Result<Option<Sharing>, StoreError> {
        self.look_at_sharing().map(Some)
    }

    fn stop(&self) {
        if self.is_stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.queue.stop();
        // Last: it tells those whose changes were committed last.
        let _ = self.heard.lock().send(Heard::Stop);
        if let Some(thread) = self.thread.lock().take() {
            // A panic there has been told by those who waited for it.
            let _ = thread.join();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}
