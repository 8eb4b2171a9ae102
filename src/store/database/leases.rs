//! The leases of all daemons, as their rows say: who has to be waited for behind a change (docs/decisions/0014-several-machines.md, points 5
//! and 9).
//!
//! A moment is that of this machine's own clock, since boot: nobody can set it, and nobody compares it with another machine's.
//!
//! Must not know: SQL, what is changed.

use std::collections::BTreeMap;
use std::time::Duration;

/// The name of a process: one that starts anew has another one.
pub(super) type Process = [u8; 16];

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) process: Process,
    /// Goes up with each renewal.
    pub(super) renewal: i64,
    /// The number of the last change that the daemon has seen: its servers have all lines about it.
    pub(super) seen: i64,
    /// How long the daemon's askers wait for an answer at most.
    pub(super) patience: Duration,
    /// The name of the machine on which it runs.
    pub(super) machine: String,
    /// Its process there.
    pub(super) pid: u32,
}

/// The rows, and since when they are as they are.
#[derive(Debug, Default)]
pub(super) struct Leases {
    all: BTreeMap<Process, Watched>,
    /// Leases that a failover has lost are over from then on.
    unknown_until: Duration,
}

#[derive(Debug)]
struct Watched {
    lease: Lease,
    /// When this very renewal was first seen.
    since: Duration,
}

/// A row, for whoever wants to know how its daemon is.
pub(super) struct Watching<'a> {
    pub(super) lease: &'a Lease,
    /// How long it has been as it is, if its lease has run out.
    pub(super) silent_for: Option<Duration>,
}

/// Who has not seen a change yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Nobody says yes any more by what was before it. These were silent: the sessions of their servers are closed when they
    /// are back.
    Nobody {
        /// The machines of those, in words.
        silent: Vec<String>,
    },
    /// It is seen by all at the latest then, or their yeses come too late.
    Until(Duration),
}

impl Leases {
    /// The rows say this at `now`, or said so before.
    pub(super) fn looked(&mut self, rows: Vec<Lease>, now: Duration) {
        let mut before = std::mem::take(&mut self.all);
        for lease in rows {
            let same = before
                .remove(&lease.process)
                .filter(|watched| watched.lease.renewal == lease.renewal);
            let since = same.map_or(now, |watched| watched.since);
            self.all.insert(lease.process, Watched { lease, since });
        }
    }

    /// The database goes on at another server since then, which may lack leases that were renewed at the one before. `patience`: the
    /// longest that anybody's askers wait. When that is over.
    pub(super) fn may_be_lost(&mut self, since: Duration, patience: Duration) -> Duration {
        self.unknown_until = self.unknown_until.max(since + silence(patience));
        self.unknown_until
    }

    /// The longest that an asker of another daemon waits.
    pub(super) fn longest_patience(&self) -> Duration {
        let all = self.all.values().map(|one| one.lease.patience);
        all.max().unwrap_or_default()
    }

    /// Who has not seen the change `seq`, which was committed before the rows were looked at.
    pub(super) fn awaited(&self, seq: i64, now: Duration) -> Awaited {
        let behind = self.all.values().filter(|one| one.lease.seen < seq);
        let (silent, waited): (Vec<_>, Vec<_>) = behind.partition(|one| one.end() <= now);
        let last = waited.into_iter().map(Watched::end).max();
        match last.into_iter().chain([self.unknown_until]).max() {
            Some(last) if last > now => Awaited::Until(last),
            _ => Awaited::Nobody {
                silent: silent.into_iter().map(|one| one.lease.in_words()).collect(),
            },
        }
    }

    /// All rows.
    pub(super) fn watched(&self, now: Duration) -> impl Iterator<Item = Watching<'_>> {
        self.all.values().map(move |one| {
            let same_for = now.saturating_sub(one.since);
            Watching {
                lease: &one.lease,
                silent_for: (same_for >= LASTS).then_some(same_for),
            }
        })
    }

    /// Those whose rows tell nothing any more.
    pub(super) fn forgotten(&self, now: Duration) -> Vec<(Process, i64)> {
        let all = self.all.iter();
        let old = all.filter(|(_, one)| one.end() + FORGOTTEN_AFTER <= now);
        old.map(|(process, one)| (*process, one.lease.renewal))
            .collect()
    }
}

impl Lease {
    fn in_words(&self) -> String {
        format!("{} (process {})", self.machine, self.pid)
    }
}

impl Watched {
    /// Behind it no yes of this lease is taken by an asker.
    fn end(&self) -> Duration {
        self.since + silence(self.lease.patience)
    }
}

/// How long a daemon has to be silent until its yeses come too late. Its clock and ours may go apart by a fifth.
pub(super) fn silence(patience: Duration) -> Duration {
    LASTS + patience + patience / 5
}

/// A lease. Its own daemon counts on a fifth less.
pub(super) const LASTS: Duration = Duration::from_secs(5);
/// The same, for the daemon that has it: from the moment before its renewal was sent.
pub(super) const COUNTS_FOR: Duration = Duration::from_secs(4);
/// Until then `status` shows that somebody is silent.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(process: u8, renewal: i64, seen: i64) -> Lease {
        Lease {
            process: [process; 16],
            renewal,
            seen,
            patience: at(10),
            machine: "machine".to_owned(),
            pid: process.into(),
        }
    }

    fn silent(machines: &[&str]) -> Awaited {
        Awaited::Nobody {
            silent: machines.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn whoever_has_seen_it_is_not_waited_for_and_the_others_until_they_are_late() {
        let mut leases = Leases::default();
        leases.looked(
            vec![lease(1, 1, 7), lease(2, 5, 6), lease(3, 1, 3)],
            at(100),
        );
        assert_eq!(leases.awaited(3, at(100)), silent(&[]));
        // 5 s, and 10 s and a fifth.
        assert_eq!(leases.awaited(7, at(100)), Awaited::Until(at(117)));
        // One goes on renewing, and does not see it.
        leases.looked(
            vec![lease(1, 2, 7), lease(2, 6, 6), lease(3, 1, 3)],
            at(110),
        );
        assert_eq!(leases.awaited(7, at(110)), Awaited::Until(at(127)));
        assert_eq!(leases.awaited(6, at(110)), Awaited::Until(at(117)));
        assert_eq!(leases.awaited(6, at(117)), silent(&["machine (process 3)"]));
        // The same renewal counts from when it was first seen.
        leases.looked(vec![lease(2, 6, 7), lease(3, 1, 3)], at(120));
        assert_eq!(leases.awaited(7, at(120)), silent(&["machine (process 3)"]));
        leases.looked(vec![lease(3, 2, 7)], at(121));
        assert_eq!(leases.awaited(7, at(121)), silent(&[]));
    }

    #[test]
    fn a_lease_that_was_not_renewed_for_as_long_as_it_lasts_is_silent() {
        let mut leases = Leases::default();
        let silent = |leases: &Leases, now| -> Vec<_> {
            let watched = leases.watched(at(now));
            watched.map(|one| (one.lease.pid, one.silent_for)).collect()
        };
        leases.looked(vec![lease(1, 1, 7), lease(2, 1, 7)], at(100));
        assert_eq!(silent(&leases, 104), [(1, None), (2, None)]);
        leases.looked(vec![lease(1, 2, 7), lease(2, 1, 7)], at(105));
        assert_eq!(silent(&leases, 105), [(1, None), (2, Some(at(5)))]);
        leases.looked(vec![lease(2, 2, 7)], at(106));
        assert_eq!(silent(&leases, 106), [(2, None)]);
    }

    #[test]
    fn leases_that_a_failover_may_have_lost_are_waited_for() {
        let mut leases = Leases::default();
        leases.may_be_lost(at(100), at(2));
        leases.looked(vec![lease(1, 1, 9)], at(101));
        assert_eq!(
            leases.awaited(9, at(101)),
            Awaited::Until(at(100) + Duration::from_millis(7400))
        );
        assert_eq!(leases.awaited(9, at(108)), silent(&[]));
    }

    #[test]
    fn a_row_that_is_silent_for_long_is_forgotten() {
        let mut leases = Leases::default();
        leases.looked(vec![lease(1, 4, 1)], at(0));
        assert_eq!(leases.forgotten(at(3616)), []);
        assert_eq!(leases.forgotten(at(3617)), [([1; 16], 4)]);
    }
}
