//! What is promised, of one state.
//!
//! Must not know: by which steps a state is reached.

use super::protocol::Setting;
use super::state::{Link, Machine, Place, Revoker, State};

impl Setting {
    /// Is the promise broken in this state?
    ///
    /// It is that of one machine: behind the answer to the revocation Prosody takes no yes, unless the line that closes its session comes
    /// right behind it; and no session is open, unless the line that closes it is on its way. A session whose Prosody has lost its
    /// daemon ends with the report that begins the next connection. A daemon that was silent closes its own when it is back, before it has a lease.
    ///
    /// What the database has lost is promised only of machines where it was applied before.
    pub(crate) fn is_broken(&self, state: &State) -> bool {
        self.is_broken_where(state, |machine| {
            state.database.has_revocation || machine.knows_revocation
        })
    }

    /// Is it, if it is promised of every machine?
    pub(crate) fn is_broken_anywhere(&self, state: &State) -> bool {
        self.is_broken_where(state, |_| true)
    }

    fn is_broken_where(&self, state: &State, is_promised: impl Fn(&Machine) -> bool) -> bool {
        let mut machines = state.machines.iter();
        state.revoker == Revoker::Answered
            && machines.any(|machine| {
                is_promised(machine) && (self.lets_in(machine) || stays_open(machine))
            })
    }

    /// A yes is under way that Prosody takes, and nothing behind it closes the session.
    fn lets_in(&self, machine: &Machine) -> bool {
        let stream = &machine.stream;
        stream.yes != Place::Nowhere && self.takes_yes(machine) && !stream.closes_behind_the_yes()
    }
}

/// A session is open, nothing is under way that closes it, and its daemon knows of the revocation or has a lease.
fn stays_open(machine: &Machine) -> bool {
    machine.has_session
        && machine.link == Link::Up
        && machine.stream.close == Place::Nowhere
        && (machine.knows_revocation || machine.lease > 0)
}
