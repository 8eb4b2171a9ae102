//! Failed passwords, counted in bounded memory: how long the next answer has to wait.
//!
//! Nobody is ever locked out, and nothing is remembered across a restart. Must not know: the clock, who exists.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::identity::{BareJid, UnixSeconds};

/// The failures of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    counters: Mutex<Counters>,
    // Accounts are counted by a keyed hash: names may be long, and nobody can make two of them meet.
    hasher: RandomState,
}

/// From where a client comes: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

impl Place {
    /// The place of an address; `None` for what is none.
    #[must_use]
    pub(super) fn of(address: &str) -> Option<Self> {
        Some(match address.parse::<IpAddr>().ok()?.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits())),
            // No /64 in use is that of an IPv4 address in the lowest bits: those are ::/64.
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        })
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
    last: UnixSeconds,
}

/// When `recent` is full it becomes `old`, and the old `old` is forgotten.
#[derive(Debug, Default)]
struct Counters {
    recent: HashMap<Key, Counter>,
    old: HashMap<Key, Counter>,
}

impl Guesses {
    /// Counts one more failure, and says how long its answer has to wait, in seconds.
    ///
    /// An attempt whose outcome is not known yet is counted as well, and taken back by [`Self::succeeded`]: of a hundred
    /// that are made at once, the last waits as if the others had failed.
    pub(super) fn failed(
        &self,
        account: &BareJid,
        place: Place,
        max_seconds: f64,
        now: UnixSeconds,
    ) -> f64 {
        let keys = self.keys(account, place);
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let most = keys.into_iter().map(|key| counters.add(key, now)).max();
        delay(most.unwrap_or(0), max_seconds)
    }

    /// How long the next answer would have to wait, in seconds. Counts nothing.
    pub(super) fn next(
        &self,
        account: &BareJid,
        place: Place,
        max_seconds: f64,
        now: UnixSeconds,
    ) -> f64 {
        let keys = self.keys(account, place);
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let most = keys.into_iter().map(|key| counters.of(&key, now)).max();
        delay(most.unwrap_or(0).saturating_add(1), max_seconds)
    }

    /// Forgets the failures of this account at this place; those of the place over all accounts stay, less
    /// the `counted` ones that turned out to be none.
    pub(super) fn succeeded(&self, account: &BareJid, place: Place, counted: u32) {
        let [pair, alone] = self.keys(account, place);
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let Counters { recent, old } = &mut *counters;
        recent.remove(&pair);
        old.remove(&pair);
        for counters in [recent, old] {
            if let Some(counter) = counters.get_mut(&alone) {
                counter.failures = counter.failures.saturating_sub(counted);
            }
        }
    }

    fn keys(&self, account: &BareJid, place: Place) -> [Key; 2] {
        let account = Some(self.hasher.hash_one(account));
        [
            Key { account, place },
            Key {
                account: None,
                place,
            },
        ]
    }
}

impl Counters {
    fn of(&self, key: &Key, now: UnixSeconds) -> u32 {
        let found = self.recent.get(key).or_else(|| self.old.get(key));
        let fresh = found.filter(|counter| now.0.saturating_sub(counter.last.0) <= FORGOTTEN_AFTER);
        fresh.map_or(0, |counter| counter.failures)
    }

    fn add(&mut self, key: Key, now: UnixSeconds) -> u32 {
        let failures = self.of(&key, now).saturating_add(1);
        if self.recent.len() >= MAX_COUNTERS && !self.recent.contains_key(&key) {
            self.old = std::mem::take(&mut self.recent);
        }
        let counter = Counter {
            failures,
            last: now,
        };
        self.recent.insert(key, counter);
        failures
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
        Place::of(address).unwrap()
    }

    #[test]
    fn the_first_ten_are_free_then_the_delay_doubles_up_to_its_limit() {
        let guesses = Guesses::default();
        let home = place("192.0.2.7");
        let delays: Vec<f64> = (0..17)
            .map(|_| guesses.failed(&jid("brutus"), home, 15.0, NOW))
            .collect();
        let mut expected = vec![0.0; 10];
        expected.extend([0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]);
        assert_eq!(delays, expected);
        assert_eq!(guesses.failed(&jid("brutus"), home, 0.0, NOW), 0.0);
    }

    #[test]
    fn a_place_is_counted_over_all_accounts_and_an_account_only_at_its_place() {
        let guesses = Guesses::default();
        for number in 0..10 {
            let delay = guesses.failed(&jid(&format!("a{number}")), place("192.0.2.7"), 15.0, NOW);
            assert_eq!(delay, 0.0);
        }
        assert_eq!(
            guesses.failed(&jid("new"), place("192.0.2.7"), 15.0, NOW),
            0.5
        );
        assert_eq!(
            guesses.failed(&jid("a1"), place("192.0.2.8"), 15.0, NOW),
            0.0
        );
    }

    #[test]
    fn addresses_of_ipv6_count_by_their_network() {
        for (a, b, is_same) in [
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
        ] {
            assert_eq!(place(a) == place(b), is_same, "{a} {b}");
        }
        assert_eq!(Place::of("unknown"), None);
    }

    #[test]
    fn failures_are_forgotten_ten_minutes_after_the_last() {
        let guesses = Guesses::default();
        let home = place("192.0.2.7");
        for _ in 0..10 {
            guesses.failed(&jid("brutus"), home, 15.0, NOW);
        }
        assert_eq!(guesses.next(&jid("brutus"), home, 15.0, NOW.plus(600)), 0.5);
        assert_eq!(guesses.next(&jid("brutus"), home, 15.0, NOW.plus(601)), 0.0);
    }

    #[test]
    fn a_success_forgets_its_own_pair_only() {
        let guesses = Guesses::default();
        let home = place("192.0.2.7");
        for _ in 0..12 {
            guesses.failed(&jid("brutus"), home, 15.0, NOW);
        }
        guesses.succeeded(&jid("brutus"), home, 1);
        // Eleven failures of the place are left, and none of the pair.
        assert_eq!(guesses.next(&jid("brutus"), home, 15.0, NOW), 1.0);
        let [pair, alone] = guesses.keys(&jid("brutus"), home);
        let counters = guesses.counters.lock().unwrap();
        assert_eq!((counters.of(&pair, NOW), counters.of(&alone, NOW)), (0, 11));
    }

    #[test]
    fn memory_is_bounded_and_the_recent_ones_are_kept() {
        let guesses = Guesses::default();
        let home = place("192.0.2.7");
        for _ in 0..11 {
            guesses.failed(&jid("brutus"), home, 15.0, NOW);
        }
        for number in 0..MAX_COUNTERS as u64 {
            let other = Place(0x2001_0000_0000_0000 + number);
            guesses.failed(&jid("brutus"), other, 15.0, NOW);
            if number % 10_000 == 0 {
                assert!(guesses.next(&jid("brutus"), home, 15.0, NOW) > 0.0);
                guesses.failed(&jid("brutus"), home, 15.0, NOW);
            }
        }
        assert!(guesses.next(&jid("brutus"), home, 15.0, NOW) > 0.0);
        let counters = guesses.counters.lock().unwrap();
        assert!(counters.recent.len() <= MAX_COUNTERS && counters.old.len() <= MAX_COUNTERS);
    }
}
