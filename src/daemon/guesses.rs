//! Failed passwords, counted in bounded memory: how long the next answer has to wait.
//!
//! Nobody is ever locked out, and nothing is remembered across a restart. Must not know: the clock, who exists.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::MutexGuard;

use crate::identity::{BareJid, UnixSeconds};
use crate::system::lock::Lock;

/// The failures of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    counters: Lock<Counters>,
    // Accounts are counted by a keyed hash: names may be long, and nobody can make two of them meet.
    hasher: RandomState,
}

/// From where a client comes: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

impl Place {
    /// The place of an address. Whatever is none has one place together.
    #[must_use]
    pub(super) fn of(address: &str) -> Self {
        // The zone of a link-local address is the server's own.
        let address = address.split('%').next().unwrap_or_default();
        match address
            .parse::<IpAddr>()
            .map(|address| address.to_canonical())
        {
            Ok(IpAddr::V4(address)) => Self(u64::from(address.to_bits())),
            // No /64 in use is that of an IPv4 address in the lowest bits: those are ::/64.
            Ok(IpAddr::V6(address)) => Self((address.to_bits() >> 64) as u64),
            Err(_) => Self(u64::MAX),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// `None` counts for the place alone.
    account: Option<u64>,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    failures: u32,
    /// Attempts whose outcome is not known yet.
    open: u32,
    /// When the last failure was.
    last: UnixSeconds,
}

/// When `recent` is full it becomes `old`, and the old `old` is forgotten.
#[derive(Debug, Default)]
struct Counters {
    recent: HashMap<Key, Counter>,
    old: HashMap<Key, Counter>,
}

/// How an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The password was wrong.
    Failed,
    /// It was right.
    Succeeded,
    /// It could not be found out.
    Unknown,
}

impl Guesses {
    /// An attempt begins: how long its answer has to wait, in seconds. Each is to be ended by [`Self::ended`].
    ///
    /// Attempts whose outcome is not known yet count as well: of a hundred that are made at once, the last waits as if the
    /// others had failed.
    pub(super) fn begun(
        &self,
        account: &BareJid,
        place: Place,
        max_seconds: f64,
        now: UnixSeconds,
    ) -> f64 {
        let keys = self.keys(account, place);
        let mut counters = self.lock();
        let counted = keys.into_iter().map(|key| {
            let counter = counters.entry(key, now);
            counter.open = counter.open.saturating_add(1);
            counter.failures.saturating_add(counter.open)
        });
        delay(counted.max().unwrap_or(0), max_seconds)
    }

    /// The attempt has ended.
    ///
    /// A success forgets the failures of this account at this place; those of the place over all accounts stay, and
    /// grow no younger by it.
    pub(super) fn ended(
        &self,
        account: &BareJid,
        place: Place,
        outcome: Outcome,
        now: UnixSeconds,
    ) {
        let [pair, alone] = self.keys(account, place);
        let mut counters = self.lock();
        for key in [pair, alone] {
            let counter = counters.entry(key, now);
            counter.open = counter.open.saturating_sub(1);
            if outcome == Outcome::Failed {
                counter.failures = counter.failures.saturating_add(1);
                counter.last = now;
            } else if outcome == Outcome::Succeeded && key == pair {
                counter.failures = 0;
            }
            if counter.failures == 0 && counter.open == 0 {
                counters.recent.remove(&key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock()
    }

    fn keys(&self, account: &BareJid, place: Place) -> [Key; 2] {
        let account = Some(self.hasher.hash_one(account));
        let of = |account| Key { account, place };
        [of(account), of(None)]
    }
}

impl Counters {
    /// The counter of `key`, without what is to be forgotten.
    fn entry(&mut self, key: Key, now: UnixSeconds) -> &mut Counter {
        let found = self.old.remove(&key);
        if self.recent.len() >= MAX_COUNTERS && !self.recent.contains_key(&key) {
            self.old = std::mem::take(&mut self.recent);
        }
        let counter = self.recent.entry(key).or_insert(found.unwrap_or(Counter {
            failures: 0,
            open: 0,
            last: now,
        }));
        // The clock was ahead: from here on it is forgotten as any other.
        counter.last = counter.last.min(now);
        if now.0.saturating_sub(counter.last.0) > FORGOTTEN_AFTER {
            counter.failures = 0;
        }
        counter
    }
}

/// What the answer to the attempt that made the `failures`-th failure waits, in seconds.
fn delay(failures: u32, max_seconds: f64) -> f64 {
    let over = failures.saturating_sub(FREE_FAILURES);
    if over == 0 {
        return 0.0;
    }
    let doublings = i32::try_from(over - 1).unwrap_or(i32::MAX);
    (FIRST_DELAY_SECONDS * 2f64.powi(doublings)).min(max_seconds)
}

const FREE_FAILURES: u32 = 10;
const FIRST_DELAY_SECONDS: f64 = 0.5;
/// Ten minutes.
const FORGOTTEN_AFTER: i64 = 600;
/// Of one generation; two of them take about 10 MB.
const MAX_COUNTERS: usize = 65_536;

#[cfg(test)]
mod tests {
    // The delays are halves and whole numbers: exact.
    #![allow(clippy::unwrap_used, clippy::float_cmp)]

    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn jid(name: &str) -> BareJid {
        BareJid::parse(&format!("{name}@rome.lit")).unwrap()
    }

    fn place(address: &str) -> Place {
        Place::of(address)
    }

    /// A failure, from its beginning to its end.
    fn failed(guesses: &Guesses, name: &str, place: Place, now: UnixSeconds) -> f64 {
        let delay = guesses.begun(&jid(name), place, 15.0, now);
        guesses.ended(&jid(name), place, Outcome::Failed, now);
        delay
    }

    /// What the next attempt would wait.
    fn next(guesses: &Guesses, name: &str, place: Place, now: UnixSeconds) -> f64 {
        let delay = guesses.begun(&jid(name), place, 15.0, now);
        guesses.ended(&jid(name), place, Outcome::Unknown, now);
        delay
    }

    #[test]
    fn the_first_ten_are_free_then_the_delay_doubles_up_to_its_limit() {
        let guesses = Guesses::default();
        let home = place("192.0.2.7");
        let delays: Vec<f64> = (0..17)
            .map(|_| failed(&guesses, "brutus", home, NOW))
            .collect();
        let mut expected = vec![0.0; 10];
        expected.extend([0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]);
        assert_eq!(delays, expected);
        assert_eq!(guesses.begun(&jid("brutus"), home, 0.0, NOW), 0.0);
    }

    #[test]
    fn attempts_that_are_made_at_once_count_before_they_have_failed() {
        let guesses = Guesses::default();
        let home = place("192.0.2.7");
        let begun = |_| guesses.begun(&jid("brutus"), home, 15.0, NOW);
        let delays: Vec<f64> = (0..12).map(begun).collect();
        assert_eq!(delays.last(), Some(&1.0));
        for _ in 0..12 {
            guesses.ended(&jid("brutus"), home, Outcome::Unknown, NOW);
        }
        assert_eq!(next(&guesses, "brutus", home, NOW), 0.0);
        assert_eq!(guesses.lock().recent.len(), 0);
    }

    #[test]
    fn failures_while_the_clock_was_ahead_are_forgotten_as_any_others() {
        let guesses = Guesses::default();
        let home = place("192.0.2.7");
        let ahead = NOW.plus(10 * FORGOTTEN_AFTER);
        for _ in 0..11 {
            failed(&guesses, "brutus", home, ahead);
        }
        // Set back: they count, from now on.
        assert_eq!(next(&guesses, "brutus", home, NOW), 1.0);
        let later = NOW.plus(FORGOTTEN_AFTER + 1);
        assert_eq!(next(&guesses, "brutus", home, later), 0.0);
    }

    #[test]
    fn a_place_is_counted_over_all_accounts_and_an_account_only_at_its_place() {
        let guesses = Guesses::default();
        for number in 0..10 {
            let name = format!("a{number}");
            assert_eq!(failed(&guesses, &name, place("192.0.2.7"), NOW), 0.0);
        }
        assert_eq!(next(&guesses, "new", place("192.0.2.7"), NOW), 0.5);
        assert_eq!(next(&guesses, "a1", place("192.0.2.8"), NOW), 0.0);
    }

    #[test]
    fn addresses_of_ipv6_count_by_their_network() {
        for (a, b, is_same) in [
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("fe80::1%eth0", "fe80::1", true),
            ("unknown", "", true),
            ("unknown", "192.0.2.7", false),
        ] {
            assert_eq!(place(a) == place(b), is_same, "{a} {b}");
        }
    }

    #[test]
    fn failures_are_forgotten_ten_minutes_after_the_last_whoever_logs_in_meanwhile() {
        let guesses = Guesses::default();
        let home = place("192.0.2.7");
        for _ in 0..10 {
            failed(&guesses, "brutus", home, NOW);
        }
        let later = NOW.plus(300);
        guesses.begun(&jid("portia"), home, 15.0, later);
        guesses.ended(&jid("portia"), home, Outcome::Succeeded, later);
        assert_eq!(next(&guesses, "brutus", home, NOW.plus(600)), 0.5);
        assert_eq!(next(&guesses, "brutus", home, NOW.plus(601)), 0.0);
    }

    #[test]
    fn a_success_forgets_its_own_pair_only() {
        let guesses = Guesses::default();
        let (home, elsewhere) = (place("192.0.2.7"), place("192.0.2.8"));
        for _ in 0..12 {
            failed(&guesses, "brutus", home, NOW);
            failed(&guesses, "brutus", elsewhere, NOW);
        }
        guesses.begun(&jid("brutus"), home, 15.0, NOW);
        guesses.ended(&jid("brutus"), home, Outcome::Succeeded, NOW);
        let counted = |key: Key| guesses.lock().entry(key, NOW).failures;
        let [pair, alone] = guesses.keys(&jid("brutus"), home);
        assert_eq!((counted(pair), counted(alone)), (0, 12));
        let [pair, _] = guesses.keys(&jid("brutus"), elsewhere);
        assert_eq!(counted(pair), 12);
    }

    #[test]
    fn memory_is_bounded_and_the_recent_ones_are_kept() {
        let guesses = Guesses::default();
        let home = place("192.0.2.7");
        for _ in 0..11 {
            failed(&guesses, "brutus", home, NOW);
        }
        for number in 0..2 * MAX_COUNTERS as u64 {
            failed(
                &guesses,
                "brutus",
                Place(0x2001_0000_0000_0000 + number),
                NOW,
            );
            if number % 10_000 == 0 {
                assert!(failed(&guesses, "brutus", home, NOW) > 0.0);
            }
        }
        assert!(next(&guesses, "brutus", home, NOW) > 0.0);
        let counters = guesses.lock();
        assert!(counters.recent.len() <= MAX_COUNTERS && counters.old.len() <= MAX_COUNTERS);
    }
}
