//! Turns for costly work, key derivations and strangers' chains: so many run at a time, the others wait in a bounded queue with a
//! deadline. From one network only so many wait, and changes have a queue of their own: a flood costs those beside it little.
//!
//! Must not know: passwords, certificates, what the work comes to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::guesses::Network;
use crate::system::lock::Lock;

/// How many derive at once, and how many wait for it.
#[derive(Debug)]
pub(super) struct Derivations {
    running: Arc<Semaphore>,
    tries: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    networks: Arc<Networks>,
}

/// The purpose of a derivation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// A password is tried, from this network if that is known.
    Try(Option<Network>),
    /// A password is set.
    Change,
}

/// A turn to come; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Queued {
    running: Arc<Semaphore>,
    _permit: OwnedSemaphorePermit,
    _of_network: Option<OfNetwork>,
}

/// How many wait from each network.
type Networks = Lock<HashMap<Network, u32>>;

#[derive(Debug)]
struct OfNetwork {
    networks: Arc<Networks>,
    network: Network,
}

impl OfNetwork {
    fn new(networks: &Arc<Networks>, network: Network) -> Option<Self> {
        let mut counts = networks.lock();
        let count = counts.entry(network).or_default();
        if *count >= MAX_OF_NETWORK {
            return None;
        }
        *count += 1;
        Some(Self {
            networks: Arc::clone(networks),
            network,
        })
    }
}

impl Drop for OfNetwork {
    fn drop(&mut self) {
        let mut counts = self.networks.lock();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// The right to derive; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _running: OwnedSemaphorePermit,
    _queued: Queued,
}

impl Default for Derivations {
    /// One core stays for all that takes microseconds, if there is more than one.
    fn default() -> Self {
        Self::on((cores() - 1).max(1))
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl Derivations {
    /// So many at a time.
    fn on(running: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running)),
            tries: Arc::new(Semaphore::new(running + MAX_TRIES)),
            changes: Arc::new(Semaphore::new(running + MAX_CHANGES)),
            networks: Arc::default(),
        }
    }

    /// For what strangers show: half of the cores stay for those who are known.
    #[must_use]
    pub(super) fn for_strangers() -> Self {
        Self::on((cores() / 2).max(1))
    }

    /// A turn to come; `None` when too many wait.
    #[must_use]
    pub(super) fn queue(&self, purpose: Purpose) -> Option<Queued> {
        let (permits, of_network) = match purpose {
            Purpose::Change => (&self.changes, None),
            Purpose::Try(None) => (&self.tries, None),
            Purpose::Try(Some(network)) => {
                (&self.tries, Some(OfNetwork::new(&self.networks, network)?))
            }
        };
        Some(Queued {
            running: Arc::clone(&self.running),
            _permit: Arc::clone(permits).try_acquire_owned().ok()?,
            _of_network: of_network,
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

/// Most passwords to be tried that wait.
const MAX_TRIES: usize = 64;
/// Most of them from one network, those that are being tried included.
const MAX_OF_NETWORK: u32 = 16;
/// Most passwords to be set that wait.
const MAX_CHANGES: usize = 16;
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
            tries: Arc::new(Semaphore::new(3)),
            ..Derivations::default()
        };
        let queue = || derivations.queue(Purpose::Try(None));
        let first = queue().unwrap().turn().await.unwrap();
        let second = queue().unwrap();
        let third = queue().unwrap();
        assert!(queue().is_none());
        // The clock stands still but for those who wait for it.
        assert!(second.turn().await.is_none());
        drop(first);
        assert!(third.turn().await.is_some());
        assert_eq!(derivations.tries.available_permits(), 3);
    }

    #[test]
    fn a_flood_from_one_place_leaves_room_for_others_and_for_changes() {
        let derivations = Derivations::default();
        let queue = |address| derivations.queue(Purpose::Try(Some(Network::of(address))));
        let flood: Vec<Queued> = (0..100).filter_map(|_| queue("192.0.2.7")).collect();
        assert_eq!(flood.len(), MAX_OF_NETWORK as usize);
        assert!(queue("192.0.2.8").is_some());
        let unknown: Vec<Queued> = (0..100)
            .filter_map(|_| derivations.queue(Purpose::Try(None)))
            .collect();
        assert!(queue("192.0.2.8").is_none() && !unknown.is_empty());
        assert!(derivations.queue(Purpose::Change).is_some());
        drop(flood);
        assert!(queue("192.0.2.7").is_some());
        assert_eq!(derivations.networks.lock().len(), 0);
    }
}
