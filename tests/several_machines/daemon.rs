//! What a daemon does: it renews its lease, follows the changes, answers a login, dies and starts.
//!
//! Must not know: who else there is.

use super::protocol::{
    ChangesAreLookedFor, Durations, Facts, HistoryIsKnownBy, LeaseBelongsTo, LeaseCounts,
    LeaseIsLookedAt, LeaseRunsFrom, Pass, Renewals, SeenIsWritten, Setting, Start,
};
use super::state::{Database, Follower, Found, Line, Link, Login, Machine, Place, Process, Row};
use super::step::What;

/// The steps of one machine. Each calls `found` with what happens, and the machine behind it.
pub(crate) struct OfMachine<'a> {
    pub(crate) setting: &'a Setting,
    pub(crate) database: &'a Database,
    pub(crate) dies: bool,
}

impl OfMachine<'_> {
    pub(crate) fn steps_of_daemon(&self, machine: &Machine, found: &mut impl FnMut(What, Machine)) {
        match machine.process {
            Process::Runs => {
                self.renew(machine, found);
                self.follow(machine, found);
                self.log_in(machine, found);
                write_line(machine, found);
                if self.dies {
                    self.die(machine, found);
                }
            }
            Process::Dead => self.start(machine, found),
            Process::Refuses => {}
        }
    }

    fn renew(&self, machine: &Machine, found: &mut impl FnMut(What, Machine)) {
        let protocol = &self.setting.protocol;
        let with = |follower| Machine {
            follower,
            ..*machine
        };
        let new = self.database.found_behind(machine.applied);
        match machine.follower {
            Follower::Idle if self.setting.happenings.renewals == Renewals::AtOnce => {
                if !self.refuses(machine, machine.applied, found) {
                    found(What::Renew, self.renewed_at_once(machine));
                }
            }
            Follower::Idle => found(What::SendRenewal, with(Follower::Renewing { age: 0 })),
            Follower::Renewing { age } => {
                found(What::GiveRenewalUp, with(Follower::Idle));
                if self.refuses(machine, machine.applied, found) {
                    return;
                }
                match protocol.changes_are_looked_for {
                    ChangesAreLookedFor::BehindTheRenewal => {
                        let renewed = self.renewed(machine, age, Follower::Renewed { age });
                        found(What::CommitRenewal, renewed);
                    }
                    ChangesAreLookedFor::InsideTheRenewal => {
                        let looked = Follower::RenewingAndLooked { age, found: new };
                        found(What::LookInsideRenewal, with(looked));
                    }
                }
            }
            Follower::RenewingAndLooked { age, found: inside } => {
                let looked = Follower::Looked {
                    age: Some(age),
                    found: inside,
                };
                found(What::CommitRenewal, self.renewed(machine, age, looked));
            }
            Follower::Renewed { .. } => found(What::GiveRenewalUp, with(Follower::Idle)),
            Follower::Looked { .. } | Follower::Applied => {}
        }
    }

    /// The renewal is committed, and the daemon has looked for changes; if there is none, the lease counts.
    fn renewed_at_once(&self, machine: &Machine) -> Machine {
        let new = self.database.found_behind(machine.applied);
        let looked = Follower::Looked {
            age: Some(0),
            found: new,
        };
        let renewed = self.renewed(machine, 0, looked);
        if new.last == machine.applied {
            self.applied(renewed, Some(0), new)
        } else {
            renewed
        }
    }

    fn renewed(&self, machine: &Machine, age: u8, follower: Follower) -> Machine {
        let seen_before = match self.setting.protocol.lease_belongs_to {
            LeaseBelongsTo::Process => machine.row.map(|row| row.seen),
            LeaseBelongsTo::Name => None,
        };
        let mut after = Machine {
            follower,
            row: Some(Row {
                seen: seen_before.unwrap_or(machine.applied),
                left: self.setting.durations.lease_and_timeout(),
            }),
            ..*machine
        };
        if self.setting.protocol.lease_counts == LeaseCounts::WhenGranted {
            after.lease = self.lease_by(age).max(machine.lease);
        }
        after
    }

    /// What the daemon believes of a lease whose renewal is this old.
    fn lease_by(&self, age: u8) -> u8 {
        let Durations { lease, margin, .. } = self.setting.durations;
        match self.setting.protocol.lease_runs_from {
            LeaseRunsFrom::Sending => (lease - margin).saturating_sub(age),
            LeaseRunsFrom::Answer => lease - margin,
        }
    }

    fn follow(&self, machine: &Machine, found: &mut impl FnMut(What, Machine)) {
        let age = match machine.follower {
            Follower::Idle => None,
            Follower::Renewed { age } => Some(age),
            Follower::Looked { age, found: new } => {
                // While a yes is being said, nothing is applied.
                let has_pass = match self.setting.protocol.the_pass {
                    Pass::UntilTheYesIsQueued => {
                        matches!(machine.login, Login::Passed { .. } | Login::Cleared)
                    }
                    Pass::UntilItHasLooked => matches!(machine.login, Login::Passed { .. }),
                };
                if new.last == machine.applied || !has_pass {
                    found(What::Apply, self.applied(*machine, age, new));
                }
                return;
            }
            Follower::Applied => {
                if self.refuses(machine, machine.applied, found) {
                    return;
                }
                let is_behind_the_write =
                    self.setting.protocol.seen_is_written == SeenIsWritten::BehindTheWrite;
                if is_behind_the_write && machine.stream.close == Place::Queued {
                    return;
                }
                found(What::WriteSeen, seen(*machine, machine.applied));
                return;
            }
            Follower::Renewing { .. } | Follower::RenewingAndLooked { .. } => return,
        };
        if self.refuses(machine, machine.applied, found) {
            return;
        }
        let new = self.database.found_behind(machine.applied);
        let is_as_before = new.last == machine.applied && new.is_of_second == machine.is_of_second;
        if age.is_none() && is_as_before {
            return;
        }
        let mut after = Machine {
            follower: Follower::Looked { age, found: new },
            ..*machine
        };
        if self.setting.protocol.seen_is_written == SeenIsWritten::BeforeTheQueue {
            after.row = after.row.map(|row| Row {
                seen: new.last,
                ..row
            });
        }
        found(What::LookForChanges, after);
    }

    /// Each statement of a daemon names a change that was applied there. A database that lacks it answers nothing else, and the daemon
    /// stops. Does it?
    pub(crate) fn refuses(
        &self,
        machine: &Machine,
        named: u8,
        found: &mut impl FnMut(What, Machine),
    ) -> bool {
        let refuses = match self.setting.protocol.history_is_known_by {
            HistoryIsKnownBy::Names => {
                let is_of_first = self.database.has_failed_over && !machine.is_of_second;
                is_of_first && named > self.database.kept
            }
            HistoryIsKnownBy::Numbers => named > self.database.last(),
            HistoryIsKnownBy::Nothing => false,
        };
        if refuses {
            found(What::Refuse, ended(*machine, Process::Refuses));
        }
        refuses
    }

    fn applied(&self, mut machine: Machine, age: Option<u8>, new: Found) -> Machine {
        let is_new = new.last > machine.applied;
        machine.applied = new.last;
        machine.is_of_second = new.is_of_second;
        if new.revokes {
            machine.knows_revocation = true;
            if matches!(machine.link, Link::Up | Link::Unreported) {
                machine.stream.queue(Line::Close, self.queued());
            }
        }
        if let Some(age) = age {
            machine.lease = self.lease_by(age).max(machine.lease);
        }
        machine.follower = if is_new && machine.row.is_some() {
            Follower::Applied
        } else {
            Follower::Idle
        };
        machine
    }

    /// Where a new line is. What was queued is written at once where nobody dies in between.
    fn queued(&self) -> Place {
        if self.dies {
            Place::Queued
        } else {
            Place::Written
        }
    }

    fn log_in(&self, machine: &Machine, found: &mut impl FnMut(What, Machine)) {
        let protocol = &self.setting.protocol;
        let with = |login| Machine { login, ..*machine };
        let anew = Login::Noted {
            applied: machine.applied,
        };
        match machine.login {
            Login::None => {
                let is_connected = matches!(machine.link, Link::Up | Link::Unreported);
                let is_busy = machine.has_session || machine.stream.yes != Place::Nowhere;
                let is_refused = protocol.lease_is_looked_at == LeaseIsLookedAt::TheQuestion
                    && machine.lease == 0;
                if is_connected && !is_busy && !is_refused {
                    let deadline = self.setting.durations.timeout;
                    let after = Machine {
                        deadline,
                        ..with(anew)
                    };
                    found(What::Ask, after);
                }
            }
            Login::Noted { applied } => self.read(machine, applied, found),
            Login::Read { noted } => found(What::TakePass, with(Login::Passed { noted })),
            Login::Passed { noted } => {
                let is_new_enough = protocol.facts == Facts::Any || noted == machine.applied;
                let is_without =
                    protocol.lease_is_looked_at == LeaseIsLookedAt::TheYes && machine.lease == 0;
                if !is_new_enough {
                    found(What::ReadAgain, with(anew));
                } else if is_without {
                    found(What::HaveNoLease, with(Login::None));
                } else {
                    found(What::BeCleared, with(Login::Cleared));
                }
            }
            Login::Cleared => {
                let mut after = with(Login::None);
                after.stream.queue(Line::Yes, self.queued());
                found(What::QueueYes, after);
            }
        }
    }

    fn read(&self, machine: &Machine, noted: u8, found: &mut impl FnMut(What, Machine)) {
        let with = |login| Machine { login, ..*machine };
        if self.may_lag(noted) {
            found(What::ReadOldFacts, with(Login::Read { noted }));
        }
        if self.refuses(machine, noted, found) {
            return;
        }
        // A no lets nobody in, whatever becomes of it.
        let login = if self.database.has_revocation {
            Login::None
        } else {
            Login::Read { noted }
        };
        found(What::Read, with(login));
    }

    /// May facts be as they were before the revocation? A server of the database answers that lags behind, or the daemon's own memory.
    pub(crate) fn may_lag(&self, named: u8) -> bool {
        let is_named = self.setting.protocol.history_is_known_by == HistoryIsKnownBy::Names;
        let is_answered = !is_named || named < self.database.revocation;
        self.setting.happenings.reads_lag && self.database.has_revocation && is_answered
    }

    fn die(&self, machine: &Machine, found: &mut impl FnMut(What, Machine)) {
        let mut after = ended(*machine, Process::Dead);
        if self.setting.protocol.lease_belongs_to == LeaseBelongsTo::Process {
            // What it has seen it had told its Prosody: nothing is left of it to wait for.
            let unseen = machine
                .row
                .filter(|row| !row.has_seen(self.database.revocation));
            after.former = unseen.map_or(0, |row| row.left).max(machine.former);
            after.row = None;
        }
        found(What::Die, after);
    }

    fn start(&self, machine: &Machine, found: &mut impl FnMut(What, Machine)) {
        if self.setting.protocol.a_start == Start::ReadsLastChange
            && self.refuses(machine, machine.applied, found)
        {
            return;
        }
        let after = Machine {
            process: Process::Runs,
            applied: self.database.last(),
            is_of_second: self.database.has_failed_over,
            knows_revocation: machine.knows_revocation || self.database.has_revocation,
            ..*machine
        };
        found(What::Start, after);
    }
}

fn write_line(machine: &Machine, found: &mut impl FnMut(What, Machine)) {
    if let Some(line) = machine.stream.first_in(Place::Queued) {
        let mut after = *machine;
        *after.stream.place_mut(line) = Place::Written;
        found(What::WriteLine, after);
    }
}

/// The daemon has ended. The kernel keeps what was written, and a file the last change that was applied.
fn ended(machine: Machine, process: Process) -> Machine {
    let mut after = Machine {
        process,
        follower: Follower::Idle,
        lease: 0,
        login: Login::None,
        link: match machine.link {
            Link::Up | Link::Unreported => Link::Ended,
            other => other,
        },
        ..machine
    };
    for line in [Line::Yes, Line::Close] {
        if *after.stream.place_mut(line) == Place::Queued {
            after.stream.remove(line);
        }
    }
    after
}

fn seen(machine: Machine, seen: u8) -> Machine {
    Machine {
        follower: Follower::Idle,
        row: machine.row.map(|row| Row { seen, ..row }),
        ..machine
    }
}
