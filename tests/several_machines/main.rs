//! No yes after a revocation, on any of several daemons: the protocol of `docs/decisions/0014-several-machines.md`, and what may happen to
//! it, step by step. None of it is built; this is what its builders follow.
//!
//! A search looks at every state that can be reached. Ours keeps the promise in all of them. Each way to get it wrong is a protocol, too, and the search
//! has to find where that one breaks the promise. These steps are shown by
//! `SHOW_STEPS=1 cargo test --test several_machines -- --nocapture --test-threads 1`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::struct_excessive_bools,
    missing_docs
)]

mod daemon;
mod promise;
mod prosody;
mod protocol;
mod search;
mod state;
mod step;
mod system;

use std::collections::HashSet;
use std::time::Instant;

use protocol::{
    AfterFailover, Askers, ChangesAreLookedFor, Clocks, Durations, Facts, Happenings,
    HistoryIsKnownBy, LeaseBelongsTo, LeaseCounts, LeaseEndsBy, LeaseIsLookedAt, LeaseRunsFrom,
    Pass, Protocol, Renewals, SeenIsWritten, SeqIsDealt, Setting, SilentDaemon, Start,
};
use search::Reached;
use state::{Revoker, State};
use step::What;

const OURS: Protocol = Protocol::ours();
const SHORTEST: Durations = Durations::shortest();
/// A margin that a slow clock can use up.
const WITH_MARGIN: Durations = Durations {
    lease: 3,
    margin: 1,
    timeout: 2,
};

const NOTHING_ELSE: Happenings = Happenings::none();
const CRASHES: Happenings = Happenings {
    crashes: true,
    ..NOTHING_ELSE
};
const FAILOVER: Happenings = Happenings {
    failover: true,
    ..NOTHING_ELSE
};

/// A search, as a row of the decision's table names it.
struct Search {
    name: &'static str,
    setting: Setting,
}

fn search(name: &'static str, protocol: Protocol, happenings: Happenings) -> Search {
    let setting = Setting {
        protocol,
        happenings,
        durations: SHORTEST,
        machine_count: 1,
    };
    Search { name, setting }
}

impl Search {
    fn lasting(mut self, durations: Durations) -> Self {
        self.setting.durations = durations;
        self
    }

    /// Our protocol: the promise holds, the revocation can always be answered still, and each step of `steps` is one that happens.
    fn holds(self, steps: &[What]) {
        let began = Instant::now();
        let reached = Reached::by(&self.setting);
        let is_broken = |state: &State| self.setting.is_broken(state);
        if let Some(number) = reached.first_where(is_broken) {
            self.show(&reached, number);
            panic!("the promise is broken: {}", self.name);
        }
        let is_over = |state: &State| matches!(state.revoker, Revoker::Answered | Revoker::Failed);
        if let Some(number) = reached.nearest_stuck(is_over) {
            self.show(&reached, number);
            panic!("the revocation is never answered: {}", self.name);
        }
        let happened: HashSet<What> = reached.steps().map(|step| step.what).collect();
        for step in steps {
            assert!(happened.contains(step), "never: {step:?}, {}", self.name);
        }
        let count = reached.states().len();
        if is_shown() {
            println!("{}: {count} states, {:?}", self.name, began.elapsed());
        }
        self.stands_in_decision(count);
    }

    /// A protocol that is wrong, or a world that is too bad for ours: the search finds where the promise breaks.
    fn breaks(self) {
        self.breaks_if(Setting::is_broken);
    }

    fn breaks_if(self, is_broken: impl Fn(&Setting, &State) -> bool) {
        let wanted = |state: &State| is_broken(&self.setting, state);
        let (reached, number) = Reached::until(&self.setting, wanted);
        let Some(number) = number else {
            panic!("the promise holds: {}", self.name)
        };
        if is_shown() {
            self.show(&reached, number);
        }
        self.stands_in_decision(reached.way_to(number).len());
    }

    fn show(&self, reached: &Reached<Setting>, number: u32) {
        println!("\n{}", self.name);
        for (at, (step, _)) in reached.way_to(number).iter().enumerate() {
            println!("{:3}. {step}", at + 1);
        }
    }

    /// The decision's tables have this number beside the name.
    fn stands_in_decision(&self, count: usize) {
        let row = format!("| {} | {count} |", self.name);
        assert!(
            DECISION.contains(&row),
            "docs/decisions/0014-several-machines.md has no row {row}"
        );
    }
}

const DECISION: &str = include_str!("../../docs/decisions/0014-several-machines.md");

fn is_shown() -> bool {
    std::env::var_os("SHOW_STEPS").is_some()
}

#[test]
fn two_daemons_keep_the_promise() {
    let both = Happenings {
        renewals: Renewals::AtOnce,
        ..NOTHING_ELSE
    };
    let mut two = search("two daemons", OURS, both);
    two.setting.machine_count = 2;
    two.holds(&[What::FindItSeen, What::FindItSilent, What::ReadClose]);
}

#[test]
fn a_daemon_that_dies_keeps_the_promise() {
    let happenings = Happenings {
        another_change: true,
        reads_lag: true,
        ..CRASHES
    };
    search("crashes, old facts, another change", OURS, happenings).holds(&[
        What::FindItSeen,
        What::FindItSilent,
        What::GiveRenewalUp,
        What::HaveNoLease,
        What::ReadAgain,
        What::ReadOldFacts,
        What::DropLateYes,
        What::ReadClose,
        What::Report,
        What::ReportByOldFacts,
    ]);
}

#[test]
fn a_slow_clock_keeps_the_promise() {
    let happenings = Happenings {
        clocks: Clocks::Slow,
        ..CRASHES
    };
    search("crashes, slow clocks", OURS, happenings)
        .lasting(WITH_MARGIN)
        .holds(&[What::TickWithSlowClocks, What::HaveNoLease]);
}

#[test]
fn a_failover_keeps_the_promise_where_the_revocation_was_applied() {
    let happenings = Happenings {
        failover: true,
        ..CRASHES
    };
    search("crashes, failover", OURS, happenings).holds(&[
        What::FailOverLosingLastChange,
        What::FailOverLosingLeases,
        What::Refuse,
        What::FindRevocationLost,
    ]);
}

#[test]
fn a_failover_among_other_changes_keeps_the_promise_where_the_revocation_was_applied() {
    let happenings = Happenings {
        renewals: Renewals::AtOnce,
        another_change: true,
        ..FAILOVER
    };
    let steps = [What::FailOverLosingAllChanges, What::Refuse];
    search("failover, another change", OURS, happenings).holds(&steps);
}

#[test]
fn without_faults_somebody_logs_in_and_is_logged_out() {
    let setting = search("", OURS, NOTHING_ELSE).setting;
    let logged_in = |state: &State| state.revoker == Revoker::Before && has_session(state);
    assert!(Reached::until(&setting, logged_in).1.is_some());
    let reached = Reached::by(&setting);
    let logged_out = |state: &State| state.revoker == Revoker::Answered && !has_session(state);
    assert_eq!(reached.nearest_stuck(logged_out), None);
}

fn has_session(state: &State) -> bool {
    state.machines.iter().any(|machine| machine.has_session)
}

/// Orders of which both are right, where nothing else happens that makes them wrong.
#[test]
fn these_orders_do_not_matter() {
    let early = Protocol {
        lease_is_looked_at: LeaseIsLookedAt::TheQuestion,
        ..OURS
    };
    search(
        "the lease is looked at when the question comes",
        early,
        CRASHES,
    )
    .holds(&[]);
    let queued = Protocol {
        seen_is_written: SeenIsWritten::BehindTheQueue,
        ..OURS
    };
    let name = "seen is written when the close is queued, and nobody dies";
    search(name, queued, NOTHING_ELSE).holds(&[]);
    let clock = Protocol {
        lease_ends_by: LeaseEndsBy::DatabaseClock,
        ..OURS
    };
    let name = "a lease ends by the database's clock, and that is never set";
    search(name, clock, CRASHES).holds(&[]);
}

#[test]
fn a_login_has_to_look_again_and_to_have_a_lease() {
    let facts = Facts::Any;
    let name = "a login does not look again under its pass";
    search(name, Protocol { facts, ..OURS }, NOTHING_ELSE).breaks();

    let lease_is_looked_at = LeaseIsLookedAt::Never;
    let protocol = Protocol {
        lease_is_looked_at,
        ..OURS
    };
    search("a login looks at no lease", protocol, NOTHING_ELSE).breaks();

    let the_pass = Pass::UntilItHasLooked;
    let name = "the pass is let go before the yes is queued";
    search(name, Protocol { the_pass, ..OURS }, NOTHING_ELSE).breaks();
}

/// What the lease is for.
#[test]
fn without_a_lease_facts_must_never_be_old() {
    let protocol = Protocol {
        lease_is_looked_at: LeaseIsLookedAt::Never,
        a_silent_daemon: SilentDaemon::TimeoutSinceCommit,
        ..OURS
    };
    let name = "no lease, a wait for the timeout, and facts are never old";
    search(name, protocol, CRASHES).holds(&[]);

    let lag = Happenings {
        reads_lag: true,
        ..NOTHING_ELSE
    };
    let name = "no lease, a wait for the timeout, and facts may be old";
    search(name, protocol, lag).breaks();
}

#[test]
fn a_lease_has_to_be_counted_and_renewed_like_this() {
    let protocol = Protocol {
        lease_runs_from: LeaseRunsFrom::Answer,
        ..OURS
    };
    let name = "a lease counts from the answer to its renewal";
    search(name, protocol, NOTHING_ELSE).breaks();

    let protocol = Protocol {
        changes_are_looked_for: ChangesAreLookedFor::InsideTheRenewal,
        ..OURS
    };
    let name = "changes are looked for in the statement that renews";
    search(name, protocol, NOTHING_ELSE).breaks();

    let protocol = Protocol {
        lease_counts: LeaseCounts::WhenGranted,
        ..OURS
    };
    let name = "a lease counts before the changes behind it are applied";
    search(name, protocol, NOTHING_ELSE).breaks();

    let protocol = Protocol {
        lease_belongs_to: LeaseBelongsTo::Name,
        ..OURS
    };
    let name = "a daemon that starts takes the lease of the former process over";
    search(name, protocol, CRASHES).breaks();

    let slow = Happenings {
        clocks: Clocks::Slow,
        ..NOTHING_ELSE
    };
    let without_margin = Durations {
        margin: 0,
        ..WITH_MARGIN
    };
    search("a clock is slow, and there is no margin", OURS, slow)
        .lasting(without_margin)
        .breaks();
}

#[test]
fn whoever_revokes_has_to_wait_for_so_long() {
    let protocol = Protocol {
        a_silent_daemon: SilentDaemon::Nothing,
        ..OURS
    };
    let name = "whoever revokes does not wait for a silent daemon";
    search(name, protocol, NOTHING_ELSE).breaks();

    let protocol = Protocol {
        a_silent_daemon: SilentDaemon::Lease,
        ..OURS
    };
    let name = "whoever revokes waits for the lease, and not for the timeout";
    search(name, protocol, NOTHING_ELSE).breaks();

    let protocol = Protocol {
        a_silent_daemon: SilentDaemon::NotQuite,
        ..OURS
    };
    let name = "whoever revokes waits a tick less than both";
    search(name, protocol, NOTHING_ELSE).breaks();

    let protocol = Protocol {
        lease_ends_by: LeaseEndsBy::DatabaseClock,
        ..OURS
    };
    let set = Happenings {
        database_clock_is_set: true,
        ..NOTHING_ELSE
    };
    search(
        "a lease ends by the database's clock, and that is set",
        protocol,
        set,
    )
    .breaks();
}

#[test]
fn seen_has_to_be_written_last() {
    let protocol = Protocol {
        seen_is_written: SeenIsWritten::BeforeTheQueue,
        ..OURS
    };
    let name = "seen is written before the close is queued";
    search(name, protocol, NOTHING_ELSE).breaks();

    let protocol = Protocol {
        seen_is_written: SeenIsWritten::BehindTheQueue,
        ..OURS
    };
    let name = "seen is written when the close is queued, and the daemon dies";
    search(name, protocol, CRASHES).breaks();
}

#[test]
fn numbers_have_to_be_dealt_in_the_order_of_commits() {
    let protocol = Protocol {
        seq_is_dealt: SeqIsDealt::InAnyOrder,
        ..OURS
    };
    let another = Happenings {
        another_change: true,
        ..NOTHING_ELSE
    };
    search("a smaller number commits later", protocol, another).breaks();
}

#[test]
fn lost_history_has_to_be_noticed() {
    let protocol = Protocol {
        history_is_known_by: HistoryIsKnownBy::Nothing,
        ..OURS
    };
    search(
        "a failover that lost commits goes unnoticed",
        protocol,
        FAILOVER,
    )
    .breaks();
    let lag = Happenings {
        reads_lag: true,
        ..NOTHING_ELSE
    };
    let name = "facts are read from a server that lags, and it is not noticed";
    search(name, protocol, lag).breaks();

    let protocol = Protocol {
        history_is_known_by: HistoryIsKnownBy::Numbers,
        ..OURS
    };
    let another = Happenings {
        another_change: true,
        ..FAILOVER
    };
    let name = "a failover is noticed by numbers, which are dealt again";
    search(name, protocol, another).breaks();

    let protocol = Protocol {
        a_start: Start::Forgets,
        ..OURS
    };
    let crashes = Happenings {
        renewals: Renewals::AtOnce,
        failover: true,
        ..CRASHES
    };
    let name = "a daemon that starts has forgotten what it had applied";
    search(name, protocol, crashes).breaks();

    let protocol = Protocol {
        after_a_failover: AfterFailover::BelievesTheTable,
        ..OURS
    };
    let name = "leases that a failover lost are not waited for";
    search(name, protocol, FAILOVER).breaks();
}

#[test]
fn askers_have_to_drop_late_answers() {
    let protocol = Protocol {
        askers: Askers::TakeLateAnswers,
        ..OURS
    };
    search("Prosody takes late answers", protocol, NOTHING_ELSE).breaks();

    let protocol = Protocol {
        askers: Askers::DropLateAnswersUnlessAsleep,
        ..OURS
    };
    let name = "Prosody's clock stands still while the machine sleeps";
    search(name, protocol, NOTHING_ELSE).breaks();
}

/// What no protocol of this kind keeps: the decision names it, and so does this.
#[test]
fn these_are_the_limits() {
    let halted = Happenings {
        clocks: Clocks::Halted,
        ..NOTHING_ELSE
    };
    search("a machine is halted with its clocks", OURS, halted).breaks();
    let name = "a failover lost the revocation, and a daemon was silent before";
    search(name, OURS, FAILOVER).breaks_if(Setting::is_broken_anywhere);
}
