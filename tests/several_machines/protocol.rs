//! What the several daemons have agreed on, with every order and bound that it may be wrong about; and what may happen to them.
//!
//! Must not know: how a state looks.

/// The protocol. `Protocol::ours()` is the one that `docs/decisions/0014-several-machines.md` describes. Each field has other values, too, that are wrong, or
/// may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) facts: Facts,
    pub(crate) the_pass: Pass,
    pub(crate) lease_runs_from: LeaseRunsFrom,
    pub(crate) lease_is_looked_at: LeaseIsLookedAt,
    pub(crate) changes_are_looked_for: ChangesAreLookedFor,
    pub(crate) lease_counts: LeaseCounts,
    pub(crate) a_silent_daemon: SilentDaemon,
    pub(crate) lease_ends_by: LeaseEndsBy,
    pub(crate) seen_is_written: SeenIsWritten,
    pub(crate) lease_belongs_to: LeaseBelongsTo,
    pub(crate) seq_is_dealt: SeqIsDealt,
    pub(crate) history_is_known_by: HistoryIsKnownBy,
    pub(crate) a_start: Start,
    pub(crate) after_a_failover: AfterFailover,
    pub(crate) askers: Askers,
}

/// What is asked of the facts of a login, under its pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    /// No change was applied here since before they were read. Else they are read again.
    UnchangedSinceNoted,
    /// Nothing.
    Any,
}

/// How long a login holds its pass: nothing is applied meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    UntilTheYesIsQueued,
    UntilItHasLooked,
}

/// The moment that a daemon counts its lease from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseRunsFrom {
    Sending,
    Answer,
}

/// When a login looks whether there is a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseIsLookedAt {
    /// Under the pass, right before the yes is queued.
    TheYes,
    /// When the question has come.
    TheQuestion,
    Never,
}

/// When the daemon that renews a lease looks which changes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangesAreLookedFor {
    /// When the renewal is committed.
    BehindTheRenewal,
    /// In the statement that renews: its snapshot is older than its commit.
    InsideTheRenewal,
}

/// From when on a renewed lease lets somebody say yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseCounts {
    /// When the changes are applied that were found behind the renewal.
    WhenChangesAreApplied,
    /// At once.
    WhenGranted,
}

/// How long whoever revokes waits for a daemon that has not written that it saw the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SilentDaemon {
    /// The lease, and the longest timeout of its askers.
    LeaseAndTimeout,
    /// A tick less.
    NotQuite,
    Lease,
    /// The timeout, since the commit.
    TimeoutSinceCommit,
    Nothing,
}

/// The clock by which whoever revokes sees that another daemon's lease has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEndsBy {
    /// Its own, since it has first seen this very renewal in the table.
    OwnClock,
    /// That of the database, which can be set.
    DatabaseClock,
}

/// When a daemon writes that it saw a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeenIsWritten {
    /// When the kernel has `sessions.close`.
    BehindTheWrite,
    /// When `sessions.close` is queued in the daemon.
    BehindTheQueue,
    /// Before that.
    BeforeTheQueue,
}

/// Whose a row of the leases is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseBelongsTo {
    /// A process's: after a restart the old one runs out beside the new.
    Process,
    /// A daemon's name: after a restart it is taken over.
    Name,
}

/// When a change gets its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeqIsDealt {
    /// Under a lock that is held until the commit.
    InOrderOfCommits,
    /// When it is asked for, as a sequence deals it.
    InAnyOrder,
}

/// By what a daemon sees that a database lacks a change which is applied there. Each statement names that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistoryIsKnownBy {
    /// A change has a name that no other has: either it is there or not.
    Names,
    /// Its last number is smaller. Only those of the primary are compared.
    Numbers,
    Nothing,
}

/// What a daemon that starts knows of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// All: a file has it.
    ReadsLastChange,
    Forgets,
}

/// What whoever revokes does when another server of the database has become the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailover {
    /// Waits as for a silent daemon, even if the table has none: leases may have been lost.
    WaitsForUnknownLeases,
    BelievesTheTable,
}

/// What an asker (Prosody, a script) does with the answer to a question that it has given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Askers {
    /// Drops it, by a clock that counts while the machine sleeps.
    DropLateAnswers,
    /// Drops it, by a clock that stands still while the machine sleeps.
    DropLateAnswersUnlessAsleep,
    /// Takes it, for example because the timer that would have given it up has not run yet.
    TakeLateAnswers,
}

impl Protocol {
    /// The one that is to be built.
    pub(crate) const fn ours() -> Self {
        Self {
            facts: Facts::UnchangedSinceNoted,
            the_pass: Pass::UntilTheYesIsQueued,
            lease_runs_from: LeaseRunsFrom::Sending,
            lease_is_looked_at: LeaseIsLookedAt::TheYes,
            changes_are_looked_for: ChangesAreLookedFor::BehindTheRenewal,
            lease_counts: LeaseCounts::WhenChangesAreApplied,
            a_silent_daemon: SilentDaemon::LeaseAndTimeout,
            lease_ends_by: LeaseEndsBy::OwnClock,
            seen_is_written: SeenIsWritten::BehindTheWrite,
            lease_belongs_to: LeaseBelongsTo::Process,
            seq_is_dealt: SeqIsDealt::InOrderOfCommits,
            history_is_known_by: HistoryIsKnownBy::Names,
            a_start: Start::ReadsLastChange,
            after_a_failover: AfterFailover::WaitsForUnknownLeases,
            askers: Askers::DropLateAnswers,
        }
    }
}

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) protocol: Protocol,
    pub(crate) happenings: Happenings,
    pub(crate) durations: Durations,
    /// One or two. No daemon sees the other one: what whoever revokes waits for is all that they share. So one, with everything that may
    /// happen to it, stands for any number: with others, the answer only comes later.
    pub(crate) machine_count: usize,
}

/// What may happen. That steps come late needs no field: every step may come as late as it likes, or never. So each search has in it that a daemon is
/// stopped between any two of its steps, that it is cut off from the database, that a notice is lost, and that an asker does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Happenings {
    pub(crate) renewals: Renewals,
    /// Daemons die, and start again.
    pub(crate) crashes: bool,
    /// Another change is committed, at any time.
    pub(crate) another_change: bool,
    /// The database's clock is set forward.
    pub(crate) database_clock_is_set: bool,
    /// A standby becomes the primary, once. It may lack the leases, the last change, or all.
    pub(crate) failover: bool,
    /// A login may read facts that are only as new as the change which it names: from a server of the database that lags behind, or from memory.
    pub(crate) reads_lag: bool,
    /// How far the clocks of a machine may fall behind.
    pub(crate) clocks: Clocks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewals {
    /// Any other step may come between those of a renewal.
    StepByStep,
    AtOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clocks {
    /// All go alike.
    Alike,
    /// Those of a machine lose a tick while a lease and a timeout pass.
    Slow,
    /// Those of a machine stand still for as long as it likes: a virtual machine that is halted from outside.
    Halted,
}

impl Happenings {
    pub(crate) const fn none() -> Self {
        Self {
            renewals: Renewals::StepByStep,
            crashes: false,
            another_change: false,
            database_clock_is_set: false,
            failover: false,
            reads_lag: false,
            clocks: Clocks::Alike,
        }
    }
}

/// Durations, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durations {
    pub(crate) lease: u8,
    /// What a daemon believes its lease to be shorter by.
    pub(crate) margin: u8,
    pub(crate) timeout: u8,
}

impl Durations {
    /// The shortest by which every order of a lease's end, a question's end and a tick is possible.
    pub(crate) const fn shortest() -> Self {
        Self {
            lease: 2,
            margin: 0,
            timeout: 2,
        }
    }

    /// How many ticks after its commit a renewal is of no effect any more: no lease counts by it, and no answer is taken that was given by it.
    ///
    /// What lasts n ticks holds in the moments 0 to n - 1. So the last moment of a lease, and the last one of a question that was asked then, are
    /// n - 1 and m - 1: together n + m - 2. One later nothing is left, and nobody waits for longer: a wait that is right is right by nothing to spare.
    pub(crate) fn lease_and_timeout(self) -> u8 {
        self.lease + self.timeout - 1
    }
}
