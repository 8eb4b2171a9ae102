//! Where key derivations run: as many at a time as there are cores, the others in a bounded queue with a deadline,
//! so that a flood of passwords costs nothing but itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places for derivations.
#[derive(Debug)]
pub(super) struct Derivations {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A place in the queue; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Queued {
    running: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

/// The right to derive; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _running: OwnedSemaphorePermit,
    _queued: Queued,
}

impl Default for Derivations {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            running: Arc::new(Semaphore::new(cores)),
            waiting: Arc::new(Semaphore::new(cores + MAX_WAITING)),
        }
    }
}

impl Derivations {
    /// A place in the queue; `None` when it is full.
    #[must_use]
    pub(super) fn queue(&self) -> Option<Queued> {
        Some(Queued {
            _place: Arc::clone(&self.waiting).try_acquire_owned().ok()?,
            running: Arc::clone(&self.running),
        })
    }
}

impl Queued {
    /// Waits for its turn; `None` when it does not come in time.
    pub(super) async fn turn(self) -> Option<Turn> {
        let running = Arc::clone(&self.running).acquire_owned();
        let running = tokio::time::timeout(QUEUE_DEADLINE, running).await.ok()?;
        Some(Turn {
            _running: running.ok()?,
            _queued: self,
        })
    }
}

/// Most derivations that wait.
const MAX_WAITING: usize = 64;
/// Less than an asker waits for an answer: one that nobody waits for any more need not be made.
const QUEUE_DEADLINE: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_and_whoever_waits_too_long_is_sent_away() {
        let derivations = Derivations {
            running: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(3)),
        };
        let first = derivations.queue().unwrap().turn().await.unwrap();
        let second = derivations.queue().unwrap();
        let third = derivations.queue().unwrap();
        assert!(derivations.queue().is_none());
        // The clock stands still but for those who wait for it.
        assert!(second.turn().await.is_none());
        drop(first);
        assert!(third.turn().await.is_some());
        assert_eq!(derivations.waiting.available_permits(), 3);
    }
}
