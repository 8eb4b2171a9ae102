//! How long the client waits: a limit for each step and one for all of them together.
//!
//! The only file of the client that looks at a clock.
//!
//! Must not know: what is waited for.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Limits every wait of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    step: Duration,
    end: Instant,
}

/// A wait ended without an answer: the network's or the server's fault, and nothing is known about the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {} s", .waited.as_secs_f32().ceil())]
pub struct Overdue {
    waited: Duration,
}

impl Deadlines {
    /// Starts the clock: each step may take `step`, and whatever happens, everything ends after `total`.
    #[must_use]
    pub fn starting_now(step: Duration, total: Duration) -> Self {
        Self {
            step,
            end: Instant::now() + total,
        }
    }

    /// The same limits with another, usually shorter, one for each step.
    #[must_use]
    pub fn with_step(self, step: Duration) -> Self {
        Self { step, ..self }
    }

    /// Waits for `work` until its step's limit or the end of all, whichever comes first.
    pub async fn limit<T>(&self, work: impl Future<Output = T>) -> Result<T, Overdue> {
        let start = Instant::now();
        let until = self.end.min(start + self.step);
        timeout_at(until, work).await.map_err(|_| Overdue {
            waited: until.saturating_duration_since(start),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_step_ends_at_its_limit() {
        let deadlines = Deadlines::starting_now(Duration::from_millis(1), Duration::from_mins(1));
        assert!(deadlines.limit(pending::<()>()).await.is_err());
    }

    #[tokio::test]
    async fn many_short_steps_end_at_the_total() {
        let deadlines = Deadlines::starting_now(Duration::from_mins(1), Duration::from_millis(1));
        assert!(deadlines.limit(pending::<()>()).await.is_err());
        assert!(
            deadlines
                .with_step(Duration::from_secs(90))
                .limit(pending::<()>())
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn what_is_ready_is_returned() {
        let deadlines = Deadlines::starting_now(Duration::from_mins(1), Duration::from_mins(1));
        assert_eq!(deadlines.limit(async { 5 }).await.unwrap(), 5);
    }
}
