//! The steps, and what they are called.
//!
//! Must not know: what they do.

use std::fmt;

/// A step, and of which machine it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Step {
    pub(crate) what: What,
    pub(crate) machine: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) enum What {
    Renew,
    SendRenewal,
    GiveRenewalUp,
    LookInsideRenewal,
    CommitRenewal,
    LookForChanges,
    Apply,
    WriteSeen,
    Ask,
    Read,
    ReadOldFacts,
    TakePass,
    ReadAgain,
    HaveNoLease,
    BeCleared,
    QueueYes,
    WriteLine,
    ReadYes,
    DropLateYes,
    ReadClose,
    Die,
    Start,
    FindConnectionEnded,
    Connect,
    Report,
    ReportByOldFacts,
    Refuse,
    NumberRevocation,
    CommitRevocation,
    FindItSeen,
    FindItSilent,
    FindRevocationLost,
    Answer,
    CommitOther,
    SetDatabaseClock,
    FailOver,
    FailOverLosingLeases,
    FailOverLosingLastChange,
    FailOverLosingAllChanges,
    Tick,
    TickWithSlowClocks,
    TickAsleep,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.machine {
            Some(0) => "A: ",
            Some(_) => "B: ",
            None => "",
        };
        write!(f, "{who}{}", self.what.sentence())
    }
}

impl What {
    fn sentence(self) -> &'static str {
        match self {
            Self::Renew => "the daemon renews its lease, and looks for changes",
            Self::SendRenewal => "the daemon sends a renewal of its lease",
            Self::GiveRenewalUp => "the daemon gives the renewal up",
            Self::LookInsideRenewal => "the renewal's statement looks for changes",
            Self::CommitRenewal => "the database commits the renewal",
            Self::LookForChanges => "the daemon looks for changes",
            Self::Apply => "the daemon applies what it found, and a renewed lease counts",
            Self::WriteSeen => "the daemon writes what it has seen",
            Self::Ask => "Prosody asks for a login, which notes the last change that is applied",
            Self::Read => "the login reads the facts",
            Self::ReadOldFacts => "the login reads old facts",
            Self::TakePass => "the login takes the pass",
            Self::ReadAgain => "the facts are too old: the login has to read again",
            Self::HaveNoLease => "the login finds no lease: a fault",
            Self::BeCleared => "the login finds that it may say yes",
            Self::QueueYes => "the daemon queues the yes",
            Self::WriteLine => "the daemon writes a line to Prosody",
            Self::ReadYes => "Prosody reads the yes: a session begins",
            Self::DropLateYes => "Prosody reads the yes, and drops it: too late",
            Self::ReadClose => "Prosody reads sessions.close: the session ends",
            Self::Die => "the daemon dies",
            Self::Start => "the daemon starts",
            Self::FindConnectionEnded => "Prosody finds its connection ended",
            Self::Connect => "Prosody connects",
            Self::Report => "Prosody reports its sessions, and closes those that are over",
            Self::ReportByOldFacts => "Prosody reports its sessions; the facts are old",
            Self::Refuse => "the daemon finds that history went backwards, and stops",
            Self::NumberRevocation => "the revocation gets its number",
            Self::CommitRevocation => "the database commits the revocation",
            Self::FindItSeen => "whoever revokes finds that the daemon has seen it",
            Self::FindItSilent => "whoever revokes finds no lease to wait for",
            Self::FindRevocationLost => "whoever revokes finds the revocation lost: a fault",
            Self::Answer => "the revocation is answered",
            Self::CommitOther => "the database commits another change",
            Self::SetDatabaseClock => "the database's clock is set forward",
            Self::FailOver => "a standby takes over that has everything",
            Self::FailOverLosingLeases => "a standby takes over without the leases",
            Self::FailOverLosingLastChange => "a standby takes over without the last change",
            Self::FailOverLosingAllChanges => "a standby takes over without any change",
            Self::Tick => "time goes on",
            Self::TickWithSlowClocks => "time goes on, but not on this machine's clocks",
            Self::TickAsleep => "time goes on while this machine sleeps",
        }
    }
}
