//! For how long what is read counts: until a moment that whoever follows the list of changes moves on, again and again.
//!
//! By a clock that nobody sets, and that goes on while the machine sleeps: who wakes up late has nothing to say.
//!
//! Must not know: who moves it, what is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::error::StoreError;
use super::super::health::Belief;
use crate::system::clock::since_boot;
use crate::system::lock::Lock;

/// Up to when it counts.
#[derive(Debug)]
pub(super) struct Believed {
    /// Since boot, in milliseconds.
    until_ms: AtomicU64,
    /// Why it was not moved, in words.
    doubt: Lock<String>,
}

impl Believed {
    /// Of a store that is being opened: it counts, until somebody sets a moment.
    pub(super) fn at_opening() -> Arc<Self> {
        Arc::new(Self {
            until_ms: AtomicU64::new(u64::MAX),
            doubt: Lock::default(),
        })
    }

    /// What is read counts until that moment, since boot.
    pub(super) fn until(&self, moment: Duration) {
        self.doubt.lock().clear();
        let moment = milliseconds(moment);
        self.until_ms.store(moment, Ordering::Release);
    }

    /// Nothing counts until a moment is set again.
    pub(super) fn doubt(&self, problem: &str) {
        problem.clone_into(&mut self.doubt.lock());
        self.until_ms.store(0, Ordering::Release);
    }

    /// Errors: it does not count now.
    fn require(&self) -> Result<(), StoreError> {
        if milliseconds(since_boot()) < self.until_ms.load(Ordering::Acquire) {
            return Ok(());
        }
        let doubt = self.doubt.lock().clone();
        Err(StoreError::Away {
            problem: if doubt.is_empty() {
                "nothing was heard of the database for too long".to_owned()
            } else {
                doubt
            },
        })
    }

    pub(super) fn belief(self: &Arc<Self>) -> Belief {
        let believed = Arc::clone(self);
        Box::new(move || believed.require())
    }
}

fn milliseconds(since_boot: Duration) -> u64 {
    // Some 500 million years.
    u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_until_the_moment_and_behind_none_that_has_passed() {
        let believed = Believed::at_opening();
        assert!(believed.require().is_ok());
        believed.until(since_boot() + Duration::from_secs(100));
        assert!(believed.require().is_ok());
        believed.until(since_boot());
        assert!(
            matches!(believed.require(), Err(StoreError::Away { problem }) if problem.contains("too long"))
        );
        believed.doubt("it is cut off");
        assert!(
            matches!(believed.require(), Err(StoreError::Away { problem }) if problem == "it is cut off")
        );
    }
}
