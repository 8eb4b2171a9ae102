//! A state: two machines, each with a daemon and a Prosody, one database, and a command that revokes the only certificate of the only
//! account.
//!
//! Durations are what is left of them, in ticks. So no state holds the time, and there are finitely many.
//!
//! Must not know: the steps.

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct State {
    pub(crate) revoker: Revoker,
    /// How long a question that was asked before the commit may still be answered; if whoever revokes waits for that.
    pub(crate) before_commit: u8,
    pub(crate) database: Database,
    pub(crate) machines: [Machine; 2],
}

/// The command that revokes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Revoker {
    #[default]
    Before,
    /// The change has a number, and is not committed.
    Numbered,
    Committed,
    Answered,
    /// The database has lost the change: a fault, nothing is promised.
    Failed,
}

/// The primary. The number of a change is 0 while there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Database {
    /// The number of the revocation, which stays when the change is lost.
    pub(crate) revocation: u8,
    pub(crate) has_revocation: bool,
    /// The number of another change.
    pub(crate) other: u8,
    pub(crate) has_failed_over: bool,
    /// The last number that the second primary has in common with the first.
    pub(crate) kept: u8,
    /// How long leases may count that were lost.
    pub(crate) unknown_leases: u8,
}

/// A machine, and the row of its daemon's lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) process: Process,
    pub(crate) follower: Follower,
    /// How long the daemon believes that its lease counts.
    pub(crate) lease: u8,
    /// The number of the last change that is applied here.
    pub(crate) applied: u8,
    /// It was found in the history of the second primary.
    pub(crate) is_of_second: bool,
    /// Some daemon of this machine has applied the revocation.
    pub(crate) knows_revocation: bool,
    pub(crate) login: Login,
    /// How long the asker still takes the answer.
    pub(crate) deadline: u8,
    pub(crate) stream: Stream,
    pub(crate) link: Link,
    /// Prosody has a session of the certificate.
    pub(crate) has_session: bool,
    pub(crate) row: Option<Row>,
    /// How long leases of former processes are waited for.
    pub(crate) former: u8,
    /// Whoever revokes waits for nothing of this machine any more.
    pub(crate) is_settled: bool,
    /// How long until the clocks may lose a tick again.
    pub(crate) until_slow: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Process {
    #[default]
    Runs,
    Dead,
    /// It has found that the database's history went backwards.
    Refuses,
}

/// The thread that renews the lease and follows the changes. `age`: since the renewal was sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Follower {
    #[default]
    Idle,
    /// The renewal is under way.
    Renewing { age: u8 },
    /// The statement has looked for changes, and is not committed.
    RenewingAndLooked { age: u8, found: Found },
    /// The renewal is committed.
    Renewed { age: u8 },
    /// It has looked for changes; with an age, behind a renewal.
    Looked { age: Option<u8>, found: Found },
    /// What was found is applied. Not yet written is that it was seen.
    Applied,
}

impl Follower {
    /// Forgets a renewal that is as old as the lease: none counts by it.
    pub(crate) fn forget(&mut self, lease: u8) {
        match self {
            Self::Renewing { age }
            | Self::RenewingAndLooked { age, .. }
            | Self::Renewed { age }
                if *age >= lease =>
            {
                *self = Self::Idle;
            }
            Self::Looked { age, .. } if age.is_some_and(|age| age >= lease) => *age = None,
            _ => {}
        }
    }

    pub(crate) fn grow_older(&mut self, lease: u8) {
        match self {
            Self::Renewing { age }
            | Self::RenewingAndLooked { age, .. }
            | Self::Renewed { age }
            | Self::Looked { age: Some(age), .. } => *age = (*age + 1).min(lease),
            Self::Idle | Self::Looked { age: None, .. } | Self::Applied => {}
        }
    }
}

/// What a look for changes has found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Found {
    /// The number of the last change.
    pub(crate) last: u8,
    /// The revocation is new.
    pub(crate) revokes: bool,
    pub(crate) is_of_second: bool,
}

/// The thread that answers the one login.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Login {
    #[default]
    None,
    /// It has noted the last change that was applied. (A question that the daemon reads later is asked later, here: it is taken for longer.)
    Noted { applied: u8 },
    /// The facts say yes.
    Read { noted: u8 },
    /// It has the pass.
    Passed { noted: u8 },
    /// It has looked at everything: the yes is next.
    Cleared,
}

/// The daemon's lines that Prosody has not read. At most one of each kind is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) yes: Place,
    pub(crate) close: Place,
    pub(crate) close_is_first: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Place {
    #[default]
    Nowhere,
    /// In the daemon: lost when that dies.
    Queued,
    /// In the kernel.
    Written,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Line {
    Yes,
    Close,
}

/// Prosody's connection to the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Link {
    #[default]
    Up,
    /// The daemon has died. What it had written can be read.
    Ended,
    Away,
    /// Prosody has said hello, and the daemon has not yet told which of its sessions are over.
    Unreported,
}

/// A lease in the database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Row {
    pub(crate) seen: u8,
    /// How long whoever revokes waits for this renewal: until it has run out, and all that was answered by it.
    pub(crate) left: u8,
}

impl Row {
    pub(crate) fn has_seen(self, revocation: u8) -> bool {
        revocation > 0 && self.seen >= revocation
    }
}

impl Stream {
    /// Is there a line that closes the session behind the yes?
    pub(crate) fn closes_behind_the_yes(self) -> bool {
        self.close != Place::Nowhere && !self.close_is_first
    }

    pub(crate) fn place_mut(&mut self, line: Line) -> &mut Place {
        match line {
            Line::Yes => &mut self.yes,
            Line::Close => &mut self.close,
        }
    }

    pub(crate) fn queue(&mut self, line: Line, place: Place) {
        *self.place_mut(line) = place;
        self.close_is_first = line == Line::Yes && self.close != Place::Nowhere;
    }

    pub(crate) fn remove(&mut self, line: Line) {
        *self.place_mut(line) = Place::Nowhere;
        self.close_is_first = false;
    }

    /// The first line in this place.
    pub(crate) fn first_in(self, place: Place) -> Option<Line> {
        match (self.yes == place, self.close == place) {
            (true, true) if self.close_is_first => Some(Line::Close),
            (true, _) => Some(Line::Yes),
            (false, true) => Some(Line::Close),
            (false, false) => None,
        }
    }
}

impl Database {
    pub(crate) fn last(self) -> u8 {
        let revocation = if self.has_revocation {
            self.revocation
        } else {
            0
        };
        revocation.max(self.other)
    }

    pub(crate) fn found_behind(self, applied: u8) -> Found {
        Found {
            last: self.last().max(applied),
            revokes: self.has_revocation && self.revocation > applied,
            is_of_second: self.has_failed_over,
        }
    }
}
