//! The jobs that wait for whoever writes them: one thread, which gets them in groups.
//!
//! In one group no two jobs are about the same, so that each is decided on what is written already: the second of two waits for the
//! next group, and then sees what the first wrote.
//!
//! Must not know: how a group is written.

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};

use super::backend::WhenFull;
use super::error::StoreError;
use super::job::{About, Job, Planned};
use super::tables::Tables;
use crate::system::lock::Lock;

/// The way to the thread that writes.
pub(super) struct Queue {
    waiting: Lock<Option<SyncSender<Waiting>>>,
    thread: Lock<Option<JoinHandle<()>>>,
}

/// A job that waits.
pub(super) struct Waiting {
    pub(super) job: Job,
    /// Made durable even if nothing was planned.
    pub(super) is_probe: bool,
}

/// Whoever writes, in the queue's thread.
pub(super) trait Writer: Send + 'static {
    /// Decides and writes these jobs, of which no two are about the same.
    fn write(&mut self, group: Vec<Waiting>);

    /// Nothing more comes.
    fn end(&mut self);
}

impl Queue {
    /// A queue with a thread that writes what is in it.
    pub(super) fn start(writer: impl Writer) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(MAX_WAITING);
        let thread = thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || run(writer, &receiver))
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

    /// Returns when the writer has made durable once more, with nothing to write.
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

impl Drop for Queue {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut writer: impl Writer, receiver: &Receiver<Waiting>) {
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
        writer.write(next_group(&mut waiting));
    }
    writer.end();
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
