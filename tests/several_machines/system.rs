//! All steps: those of whoever revokes, of the database and of time are here.
//!
//! Must not know: what a machine does.

use super::daemon::OfMachine;
use super::protocol::{
    AfterFailover, Askers, Clocks, LeaseEndsBy, LeaseRunsFrom, SeqIsDealt, Setting, SilentDaemon,
};
use super::search::System;
use super::state::{Login, Machine, Place, Revoker, Row, State};
use super::step::{Step, What};

impl System for Setting {
    type State = State;
    type Step = Step;

    fn first(&self) -> State {
        State::default()
    }

    fn steps(&self, state: &State, mut found: impl FnMut(Step, State)) {
        let mut report = |what, machine, mut after: State| {
            self.forget(&mut after);
            if after != *state {
                found(Step { what, machine }, after);
            }
        };
        // Nothing is promised any more.
        if state.revoker == Revoker::Failed {
            return;
        }
        self.steps_of_revoker(state, &mut |what, after| report(what, None, after));
        self.steps_of_database(state, &mut |what, after| report(what, None, after));
        self.ticks(state, &mut report);
        for (at, machine) in state.machines.iter().enumerate().take(self.machine_count) {
            self.look_at_row(state, at, &mut |what, after| report(what, Some(at), after));
            let of = OfMachine {
                setting: self,
                database: &state.database,
                dies: self.happenings.crashes,
            };
            let mut changed = |what, machine| {
                let mut after = *state;
                after.machines[at] = machine;
                report(what, Some(at), after);
            };
            of.steps_of_daemon(machine, &mut changed);
            of.steps_of_prosody(machine, &mut changed);
        }
    }
}

impl Setting {
    /// Makes one state of those that differ in nothing which matters any more.
    fn forget(&self, state: &mut State) {
        for machine in &mut state.machines {
            let is_asked = matches!(machine.login, Login::Noted { .. } | Login::Read { .. });
            // The asker has given up, and the daemon holds nothing for it: whatever it still does has no effect.
            if self.protocol.askers == Askers::DropLateAnswers && machine.deadline == 0 && is_asked
            {
                machine.login = Login::None;
            }
            if machine.login == Login::None && machine.stream.yes == Place::Nowhere {
                machine.deadline = 0;
            }
            // A renewal this old gives no lease.
            if self.protocol.lease_runs_from == LeaseRunsFrom::Sending {
                machine.follower.forget(self.durations.lease);
            }
            // Nobody looks at the row any more.
            if machine.is_settled {
                machine.row = None;
                machine.former = 0;
            }
        }
    }

    fn steps_of_revoker(&self, state: &State, found: &mut impl FnMut(What, State)) {
        let mut after = *state;
        match state.revoker {
            Revoker::Before if self.protocol.seq_is_dealt == SeqIsDealt::InAnyOrder => {
                after.revoker = Revoker::Numbered;
                after.database.revocation = state.database.last() + 1;
                found(What::NumberRevocation, after);
            }
            Revoker::Before | Revoker::Numbered => {
                after.revoker = Revoker::Committed;
                if self.protocol.a_silent_daemon == SilentDaemon::TimeoutSinceCommit {
                    after.before_commit = self.durations.timeout;
                }
                after.database.has_revocation = true;
                if state.revoker == Revoker::Before {
                    after.database.revocation = state.database.last() + 1;
                }
                found(What::CommitRevocation, after);
            }
            Revoker::Committed if !state.database.has_revocation => {
                after.revoker = Revoker::Failed;
                found(What::FindRevocationLost, after);
            }
            Revoker::Committed => {
                let mut machines = state.machines.iter().take(self.machine_count);
                if machines.all(|machine| machine.is_settled) {
                    after.revoker = Revoker::Answered;
                    found(What::Answer, after);
                }
            }
            Revoker::Answered | Revoker::Failed => {}
        }
    }

    /// Whoever revokes looks at the row of a machine, behind the commit.
    fn look_at_row(&self, state: &State, at: usize, found: &mut impl FnMut(What, State)) {
        let (machine, database) = (&state.machines[at], &state.database);
        let looks = state.revoker == Revoker::Committed && database.has_revocation;
        if !looks || database.unknown_leases > 0 || machine.is_settled {
            return;
        }
        let has_run_out = |left| match self.protocol.a_silent_daemon {
            SilentDaemon::LeaseAndTimeout => left == 0,
            SilentDaemon::NotQuite => left <= 1,
            SilentDaemon::Lease => left < self.durations.timeout,
            SilentDaemon::TimeoutSinceCommit => state.before_commit == 0,
            SilentDaemon::Nothing => true,
        };
        if !has_run_out(machine.former) {
            return;
        }
        let what = match machine.row {
            Some(row) if row.has_seen(database.revocation) => What::FindItSeen,
            Some(row) if !has_run_out(row.left) => return,
            _ => What::FindItSilent,
        };
        let mut after = *state;
        after.machines[at].is_settled = true;
        found(what, after);
    }

    fn steps_of_database(&self, state: &State, found: &mut impl FnMut(What, State)) {
        if self.happenings.another_change && state.database.other == 0 {
            let mut after = *state;
            after.database.other = match state.revoker {
                Revoker::Numbered => state.database.revocation + 1,
                _ => state.database.last() + 1,
            };
            found(What::CommitOther, after);
        }
        let is_believed = self.protocol.lease_ends_by == LeaseEndsBy::DatabaseClock;
        if self.happenings.database_clock_is_set && is_believed {
            let mut after = *state;
            for machine in &mut after.machines {
                machine.row = machine.row.map(|row| Row { left: 0, ..row });
            }
            found(What::SetDatabaseClock, after);
        }
        if self.happenings.failover && !state.database.has_failed_over {
            let (none, last) = (state.database.last() + 1, state.database.last());
            for (what, lost_from, loses_leases) in [
                (What::FailOver, none, false),
                (What::FailOverLosingLeases, none, true),
                (What::FailOverLosingLastChange, last, false),
                (What::FailOverLosingLastChange, last, true),
                (What::FailOverLosingAllChanges, 1, false),
                (What::FailOverLosingAllChanges, 1, true),
            ] {
                if lost_from > 0 {
                    found(what, self.failed_over(*state, lost_from, loses_leases));
                }
            }
        }
    }

    /// Another primary lacks the changes from this number on, and what was written of them.
    fn failed_over(&self, mut state: State, lost_from: u8, loses_leases: bool) -> State {
        let database = &mut state.database;
        database.has_failed_over = true;
        if self.protocol.after_a_failover == AfterFailover::WaitsForUnknownLeases {
            database.unknown_leases = self.durations.lease_and_timeout();
        }
        if database.has_revocation && database.revocation >= lost_from {
            database.has_revocation = false;
        }
        if database.other >= lost_from {
            database.other = 0;
        }
        let last = database.last();
        database.kept = last;
        for machine in &mut state.machines {
            let row = machine.row.filter(|_| !loses_leases);
            machine.row = row.map(|row| Row {
                seen: row.seen.min(last),
                ..row
            });
        }
        state
    }

    fn ticks(&self, state: &State, found: &mut impl FnMut(What, Option<usize>, State)) {
        let mut all = *state;
        all.before_commit = state.before_commit.saturating_sub(1);
        all.database.unknown_leases = state.database.unknown_leases.saturating_sub(1);
        let with = |own: [Pace; 2]| {
            let mut after = all;
            for (machine, pace) in after.machines.iter_mut().zip(own) {
                self.tick(machine, pace);
            }
            after
        };
        found(What::Tick, None, with([Pace::Usual; 2]));
        // Only the first machine's clocks are ever wrong. The other one is like it.
        let may_be_slow = match self.happenings.clocks {
            Clocks::Alike => false,
            Clocks::Slow => state.machines[0].until_slow == 0,
            Clocks::Halted => true,
        };
        if may_be_slow {
            let after = with([Pace::Slow, Pace::Usual]);
            found(What::TickWithSlowClocks, Some(0), after);
        }
        if self.protocol.askers == Askers::DropLateAnswersUnlessAsleep {
            let after = with([Pace::Asleep, Pace::Usual]);
            found(What::TickAsleep, Some(0), after);
        }
    }

    fn tick(&self, machine: &mut Machine, pace: Pace) {
        machine.former = machine.former.saturating_sub(1);
        machine.until_slow = machine.until_slow.saturating_sub(1);
        machine.row = machine.row.map(|row| Row {
            left: row.left.saturating_sub(1),
            ..row
        });
        if pace == Pace::Slow {
            if self.happenings.clocks == Clocks::Slow {
                machine.until_slow = self.durations.lease_and_timeout();
            }
            return;
        }
        machine.lease = machine.lease.saturating_sub(1);
        machine.follower.grow_older(self.durations.lease);
        if pace != Pace::Asleep {
            machine.deadline = machine.deadline.saturating_sub(1);
        }
    }
}

/// How the clocks of a machine go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Usual,
    Slow,
    Asleep,
}
