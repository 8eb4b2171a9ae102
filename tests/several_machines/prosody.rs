//! What Prosody does: it reads lines, and connects anew when its daemon is gone.
//!
//! Must not know: what a daemon does.

use super::daemon::OfMachine;
use super::protocol::{Askers, Setting};
use super::state::{Line, Link, Machine, Place, Process};
use super::step::What;

impl OfMachine<'_> {
    pub(crate) fn steps_of_prosody(
        &self,
        machine: &Machine,
        found: &mut impl FnMut(What, Machine),
    ) {
        self.read_lines(machine, found);
        self.connect(machine, found);
    }

    fn read_lines(&self, machine: &Machine, found: &mut impl FnMut(What, Machine)) {
        let Some(line) = machine.stream.first_in(Place::Written) else {
            return;
        };
        let mut after = *machine;
        after.stream.remove(line);
        match line {
            Line::Close => {
                after.has_session = false;
                found(What::ReadClose, after);
            }
            Line::Yes if self.setting.takes_yes(machine) => {
                after.has_session = true;
                found(What::ReadYes, after);
            }
            Line::Yes => found(What::DropLateYes, after),
        }
    }

    fn connect(&self, machine: &Machine, found: &mut impl FnMut(What, Machine)) {
        let with = |link| Machine { link, ..*machine };
        match machine.link {
            Link::Up => {}
            Link::Ended => {
                if machine.stream.first_in(Place::Written).is_none() {
                    found(What::FindConnectionEnded, with(Link::Away));
                }
            }
            Link::Away => {
                if machine.process == Process::Runs {
                    let is_in_doubt = machine.has_session;
                    let link = if is_in_doubt {
                        Link::Unreported
                    } else {
                        Link::Up
                    };
                    found(What::Connect, with(link));
                }
            }
            Link::Unreported => {
                if machine.process == Process::Runs {
                    self.report(machine, found);
                }
            }
        }
    }

    fn report(&self, machine: &Machine, found: &mut impl FnMut(What, Machine)) {
        let mut after = Machine {
            link: Link::Up,
            ..*machine
        };
        if self.may_lag(machine.applied) {
            found(What::ReportByOldFacts, after);
        }
        if self.refuses(machine, machine.applied, found) {
            return;
        }
        after.has_session &= !self.database.has_revocation;
        found(What::Report, after);
    }
}

impl Setting {
    /// Would Prosody take the yes that is under way to it?
    pub(crate) fn takes_yes(&self, machine: &Machine) -> bool {
        machine.deadline > 0 || self.protocol.askers == Askers::TakeLateAnswers
    }
}
