//! Failed passwords, counted in bounded memory, by accounts and networks. Nothing is remembered across a restart.
//!
//! Must not know: the clock, who exists, how long a wrong password has to wait.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::MutexGuard;

use crate::identity::{AccountName, UnixSeconds};
use crate::policy::throttle::{Counter, Outcome, delay};
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
pub(super) struct Network(u64);

impl Network {
    /// The network of an address. All texts that are none are in one network together.
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
    /// `None` counts for the network alone.
    account: Option<u64>,
    network: Network,
}

impl Key {
    /// Of the network alone.
    fn of_network(network: Network) -> Self {
        Self {
            account: None,
            network,
        }
    }
}

/// An attempt that goes on.
#[must_use = "until it has ended it counts as one more"]
pub(super) struct Attempt<'a> {
    /// How long its answer has to wait, in seconds.
    pub(super) delay: f64,
    guesses: &'a Guesses,
    /// Those of the account at its network, and of the network alone.
    keys: Option<[Key; 2]>,
}

impl Attempt<'_> {
    /// It has ended.
    ///
    /// A success forgets the failures of this account from this network; those of the network over all accounts stay.
    pub(super) fn end(self, outcome: Outcome, now: UnixSeconds) {
        let Some([pair, alone]) = self.keys else {
            return;
        };
        let mut counters = self.guesses.lock();
        for key in [pair, alone] {
            let counter = counters.entry(key, now);
            counter.end(outcome, key == pair, now);
            if counter.is_empty() {
                counters.recent.remove(&key);
            }
        }
    }
}

/// When `recent` is full it becomes `old`, and the old `old` is forgotten.
#[derive(Debug, Default)]
struct Counters {
    recent: HashMap<Key, Counter>,
    old: HashMap<Key, Counter>,
}

impl Guesses {
    /// An attempt begins. One from nowhere is not counted, and does not wait.
    pub(super) fn begin(
        &self,
        account: &AccountName,
        network: Option<Network>,
        max_seconds: f64,
        now: UnixSeconds,
    ) -> Attempt<'_> {
        let keys = network.map(|network| self.keys(account, network));
        let mut counters = self.lock();
        let counted = keys.iter().flatten();
        let counted = counted.map(|key| counters.entry(*key, now).begin());
        Attempt {
            delay: delay(counted.max().unwrap_or(0), max_seconds),
            guesses: self,
            keys,
        }
    }

    /// A link was tried from this network that is none. Must the network wait until it may guess again? Then this guess does not
    /// count. Of nowhere nothing is counted.
    #[must_use]
    pub(super) fn must_wait_after_link(
        &self,
        network: Option<Network>,
        max_seconds: f64,
        now: UnixSeconds,
    ) -> bool {
        network.is_some_and(|network| {
            let mut counters = self.lock();
            let counter = counters.entry(Key::of_network(network), now);
            let must_wait = counter.has_to_wait(max_seconds, now);
            if !must_wait {
                let _ = counter.begin();
                counter.end(Outcome::Failed, false, now);
            }
            must_wait
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock()
    }

    fn keys(&self, account: &AccountName, network: Network) -> [Key; 2] {
        let account = Some(self.hasher.hash_one(account));
        [Key { account, network }, Key::of_network(network)]
    }
}

impl Counters {
    /// The counter of `key`, without what is to be forgotten.
    fn entry(&mut self, key: Key, now: UnixSeconds) -> &mut Counter {
        let found = self.old.remove(&key);
        if self.recent.len() >= MAX_COUNTERS && !self.recent.contains_key(&key) {
            self.old = std::mem::take(&mut self.recent);
        }
        let counter = self.recent.entry(key);
        let counter = counter.or_insert(found.unwrap_or(Counter::new(now)));
        counter.forget_old(now);
        counter
    }
}

/// Of one generation; two of them take about 10 MB.
const MAX_COUNTERS: usize = 65_536;

#[cfg(test)]
mod tests {
    // The delays are halves and whole numbers: exact.
    #![allow(clippy::unwrap_used, clippy::float_cmp)]

    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn jid(name: &str) -> AccountName {
        AccountName::parse(&format!("{name}@rome.lit")).unwrap()
    }

    fn network(address: &str) -> Network {
        Network::of(address)
    }

    /// A failure, from its beginning to its end.
    fn failed(guesses: &Guesses, name: &str, network: Network, now: UnixSeconds) -> f64 {
        let attempt = guesses.begin(&jid(name), Some(network), 15.0, now);
        let delay = attempt.delay;
        attempt.end(Outcome::Failed, now);
        delay
    }

    /// The delay of the next attempt.
    fn next(guesses: &Guesses, name: &str, network: Network, now: UnixSeconds) -> f64 {
        let attempt = guesses.begin(&jid(name), Some(network), 15.0, now);
        let delay = attempt.delay;
        attempt.end(Outcome::Unknown, now);
        delay
    }

    #[test]
    fn attempts_that_are_made_at_once_count_before_they_have_failed() {
        let guesses = Guesses::default();
        let home = network("192.0.2.7");
        let begun = |_| guesses.begin(&jid("brutus"), Some(home), 15.0, NOW);
        let attempts: Vec<Attempt<'_>> = (0..12).map(begun).collect();
        assert_eq!(attempts.last().unwrap().delay, 1.0);
        for attempt in attempts {
            attempt.end(Outcome::Unknown, NOW);
        }
        assert_eq!(next(&guesses, "brutus", home, NOW), 0.0);
        assert_eq!(guesses.lock().recent.len(), 0);
    }

    #[test]
    fn an_attempt_from_nowhere_is_not_counted_and_does_not_wait() {
        let guesses = Guesses::default();
        for _ in 0..20 {
            let attempt = guesses.begin(&jid("brutus"), None, 15.0, NOW);
            assert_eq!(attempt.delay, 0.0);
            attempt.end(Outcome::Failed, NOW);
        }
        assert_eq!(guesses.lock().recent.len(), 0);
    }

    #[test]
    fn a_place_is_counted_over_all_accounts_and_an_account_only_at_its_place() {
        let guesses = Guesses::default();
        for number in 0..10 {
            let name = format!("a{number}");
            assert_eq!(failed(&guesses, &name, network("192.0.2.7"), NOW), 0.0);
        }
        assert_eq!(next(&guesses, "new", network("192.0.2.7"), NOW), 0.5);
        assert_eq!(next(&guesses, "a1", network("192.0.2.8"), NOW), 0.0);
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
            assert_eq!(network(a) == network(b), is_same, "{a} {b}");
        }
    }

    #[test]
    fn failures_are_forgotten_ten_minutes_after_the_last_whoever_logs_in_meanwhile() {
        let guesses = Guesses::default();
        let home = network("192.0.2.7");
        for _ in 0..10 {
            failed(&guesses, "brutus", home, NOW);
        }
        let later = NOW.plus(300);
        let attempt = guesses.begin(&jid("portia"), Some(home), 15.0, later);
        attempt.end(Outcome::Succeeded, later);
        assert_eq!(next(&guesses, "brutus", home, NOW.plus(600)), 0.5);
        assert_eq!(next(&guesses, "brutus", home, NOW.plus(601)), 0.0);
    }

    #[test]
    fn links_that_are_none_are_counted_with_the_passwords_of_the_same_network() {
        let guesses = Guesses::default();
        let (home, elsewhere) = (Some(network("192.0.2.7")), Some(network("192.0.2.8")));
        for _ in 0..10 {
            assert!(!guesses.must_wait_after_link(home, 15.0, NOW));
        }
        // Those that have to wait make it no longer.
        for _ in 0..5 {
            assert!(guesses.must_wait_after_link(home, 15.0, NOW));
        }
        assert!(!guesses.must_wait_after_link(elsewhere, 15.0, NOW));
        assert_eq!(next(&guesses, "brutus", network("192.0.2.7"), NOW), 0.5);
        assert!(!guesses.must_wait_after_link(home, 15.0, NOW.plus(1)));
        assert!(!guesses.must_wait_after_link(home, 0.0, NOW.plus(1)));
        // From nowhere.
        for _ in 0..20 {
            assert!(!guesses.must_wait_after_link(None, 15.0, NOW));
        }
    }

    #[test]
    fn a_success_forgets_its_own_pair_only() {
        let guesses = Guesses::default();
        let (home, elsewhere) = (network("192.0.2.7"), network("192.0.2.8"));
        for _ in 0..12 {
            failed(&guesses, "brutus", home, NOW);
            failed(&guesses, "brutus", elsewhere, NOW);
        }
        let attempt = guesses.begin(&jid("brutus"), Some(home), 15.0, NOW);
        attempt.end(Outcome::Succeeded, NOW);
        let counted = |key: Key| guesses.lock().entry(key, NOW).failures();
        let [pair, alone] = guesses.keys(&jid("brutus"), home);
        assert_eq!((counted(pair), counted(alone)), (0, 12));
        let [pair, _] = guesses.keys(&jid("brutus"), elsewhere);
        assert_eq!(counted(pair), 12);
    }

    #[test]
    fn memory_is_bounded_and_the_recent_ones_are_kept() {
        let guesses = Guesses::default();
        let home = network("192.0.2.7");
        for _ in 0..11 {
            failed(&guesses, "brutus", home, NOW);
        }
        for number in 0..2 * MAX_COUNTERS as u64 {
            failed(
                &guesses,
                "brutus",
                Network(0x2001_0000_0000_0000 + number),
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
