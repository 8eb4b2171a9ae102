//! How long the answer to a password has to wait after wrong ones.
//!
//! Nobody is ever locked out. Must not know: whose guesses are counted, and where from.

use crate::identity::UnixSeconds;

/// The guesses of one kind: at one account from one network, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    failures: u32,
    /// Attempts whose outcome is not known yet.
    open: u32,
    /// When the last failure was.
    last: UnixSeconds,
}

/// How an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The password was wrong.
    Failed,
    /// It was right.
    Succeeded,
    /// It could not be found out.
    Unknown,
}

impl Counter {
    /// Nobody has guessed yet.
    #[must_use]
    pub fn new(now: UnixSeconds) -> Self {
        Self {
            failures: 0,
            open: 0,
            last: now,
        }
    }

    /// Failures are forgotten some time after the last one.
    pub fn forget_old(&mut self, now: UnixSeconds) {
        // The clock was ahead: from here on it is forgotten as any other.
        self.last = self.last.min(now);
        if now.0.saturating_sub(self.last.0) > FORGOTTEN_AFTER_SECONDS {
            self.failures = 0;
        }
    }

    /// An attempt begins. How many are counted by now: for [`delay`].
    ///
    /// Attempts whose outcome is not known yet count as well: of a hundred that are made at once, the last waits as if the
    /// others had failed.
    #[must_use]
    pub fn begin(&mut self) -> u32 {
        self.open = self.open.saturating_add(1);
        self.failures.saturating_add(self.open)
    }

    /// An attempt has ended.
    ///
    /// `is_forgiving`: a success forgets the failures. If not they stay, and grow no younger by it.
    pub fn end(&mut self, outcome: Outcome, is_forgiving: bool, now: UnixSeconds) {
        self.open = self.open.saturating_sub(1);
        match outcome {
            Outcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                self.last = now;
            }
            Outcome::Succeeded if is_forgiving => self.failures = 0,
            Outcome::Succeeded | Outcome::Unknown => {}
        }
    }

    /// Has the next attempt to wait? For what is refused at once in the place of being answered later.
    #[must_use]
    pub fn has_to_wait(&self, max_seconds: f64, now: UnixSeconds) -> bool {
        let seconds = delay(self.failures.saturating_add(1), max_seconds);
        #[allow(clippy::cast_possible_truncation)]
        // A minute at most.
        let seconds = seconds.ceil() as i64;
        now < self.last.plus(seconds)
    }

    /// Is there nothing to be remembered?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.failures == 0 && self.open == 0
    }

    /// Failures that count.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// How long the answer to the `count`-th attempt waits, in seconds.
#[must_use]
pub fn delay(count: u32, max_seconds: f64) -> f64 {
    let over = count.saturating_sub(FREE_GUESSES);
    if over == 0 {
        return 0.0;
    }
    let doublings = i32::try_from(over - 1).unwrap_or(i32::MAX);
    (FIRST_DELAY_SECONDS * 2f64.powi(doublings)).min(max_seconds)
}

const FREE_GUESSES: u32 = 10;
const FIRST_DELAY_SECONDS: f64 = 0.5;
/// Ten minutes.
const FORGOTTEN_AFTER_SECONDS: i64 = 600;

#[cfg(test)]
mod tests {
    // The delays are halves and whole numbers: exact.
    #![allow(clippy::float_cmp)]

    use super::*;
    use crate::policy::fixtures::NOW;

    /// So many failures, the last one now.
    fn failed(times: u32) -> Counter {
        let mut counter = Counter::new(NOW);
        for _ in 0..times {
            let _ = counter.begin();
            counter.end(Outcome::Failed, true, NOW);
        }
        counter
    }

    #[test]
    fn the_first_ten_are_free_then_the_delay_doubles_up_to_its_limit() {
        for (count, max_seconds, expected) in [
            (0, 15.0, 0.0),
            (1, 15.0, 0.0),
            (10, 15.0, 0.0),
            (11, 15.0, 0.5),
            (12, 15.0, 1.0),
            (13, 15.0, 2.0),
            (14, 15.0, 4.0),
            (15, 15.0, 8.0),
            (16, 15.0, 15.0),
            (17, 15.0, 15.0),
            (u32::MAX, 15.0, 15.0),
            (16, 60.0, 16.0),
            (u32::MAX, 0.0, 0.0),
        ] {
            assert_eq!(delay(count, max_seconds), expected, "{count}");
        }
    }

    #[test]
    fn attempts_that_are_made_at_once_count_before_they_have_failed() {
        let mut counter = failed(3);
        assert_eq!([counter.begin(), counter.begin()], [4, 5]);
        counter.end(Outcome::Unknown, true, NOW);
        counter.end(Outcome::Failed, true, NOW);
        assert_eq!(counter, failed(4));
    }

    #[test]
    fn failures_are_forgotten_by_a_success_where_that_forgives() {
        for (outcome, is_forgiving, left) in [
            (Outcome::Succeeded, true, 0),
            (Outcome::Succeeded, false, 7),
            (Outcome::Unknown, true, 7),
            (Outcome::Failed, true, 8),
            (Outcome::Failed, false, 8),
        ] {
            let mut counter = failed(7);
            let _ = counter.begin();
            counter.end(outcome, is_forgiving, NOW);
            assert_eq!(counter.failures(), left, "{outcome:?} {is_forgiving}");
            assert_eq!(counter.is_empty(), left == 0);
        }
    }

    #[test]
    fn failures_are_forgotten_ten_minutes_after_the_last_whatever_the_clock_was() {
        // Seconds from the last failure on, each looked at behind the one before.
        for (looks, left) in [
            (&[600][..], 7),
            (&[601], 0),
            (&[-6000, -5400], 7),
            (&[-6000, -5399], 0),
        ] {
            let mut counter = failed(7);
            for seconds in looks {
                counter.forget_old(NOW.plus(*seconds));
            }
            assert_eq!(counter.failures(), left, "{looks:?}");
        }
    }

    #[test]
    fn what_is_refused_in_the_place_of_a_delay_may_be_tried_when_that_has_passed() {
        for (failures, max_seconds, seconds, has_to_wait) in [
            (0, 15.0, 0, false),
            (9, 15.0, 0, false),
            (10, 15.0, 0, true),
            (10, 15.0, 1, false),
            (12, 15.0, 1, true),
            (12, 15.0, 2, false),
            (1000, 15.0, 14, true),
            (1000, 15.0, 15, false),
            (1000, 0.0, 0, false),
        ] {
            let found = failed(failures).has_to_wait(max_seconds, NOW.plus(seconds));
            assert_eq!(found, has_to_wait, "{failures} {max_seconds} {seconds}");
        }
    }

    #[test]
    fn nothing_is_left_of_who_has_not_failed() {
        let mut counter = Counter::new(NOW);
        assert!(counter.is_empty());
        let _ = counter.begin();
        assert!(!counter.is_empty());
        counter.end(Outcome::Succeeded, false, NOW);
        assert!(counter.is_empty());
    }
}
