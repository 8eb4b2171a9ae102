//! Changes that are made, and wait until every daemon has seen them: only then their askers hear of it
//! (docs/decisions/0014-several-machines.md, points 4, 5 and 9).
//!
//! Must not know: how the list of changes is followed, what a change is of.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::super::error::StoreError;
use super::super::job::Acknowledge;
use super::connect::{Session, Unanswered, wait};
use super::lease::{FORGET, OwnLease, Renewing, Telling};
use super::leases::{Awaited, Leases};
use crate::system::clock::since_boot;

/// The lease of this process, and those of the others.
pub(super) struct Settling {
    own: Arc<OwnLease>,
    pub(super) renewing: Renewing,
    telling: Telling,
    others: Leases,
    /// The last change that takes something back, whoever has made it.
    takes_back: i64,
    /// Changes that are applied here, and not seen by all.
    unseen: VecDeque<Unseen>,
    /// When they have to be looked at again, if nothing is heard before.
    again: Option<Duration>,
    /// Behind a failover: what is to be noted, and since when it was known here.
    new_timeline: Option<(String, Duration)>,
}

/// A change of this process's that takes something back; or several that wrote nothing behind it.
struct Unseen {
    seq: i64,
    waiting: Vec<Acknowledge>,
}

impl Settling {
    pub(super) fn of(own: Arc<OwnLease>, telling: Telling) -> Self {
        Self {
            renewing: Renewing::of(Arc::clone(&own)),
            own,
            telling,
            others: Leases::default(),
            takes_back: 0,
            unseen: VecDeque::new(),
            again: None,
            new_timeline: None,
        }
    }

    /// The database may go on at another server. Leases that were renewed at the one before may be lost: they are waited for, until
    /// somebody has noted that this is over.
    pub(super) fn goes_on(&mut self, new_timeline: Option<String>) {
        self.new_timeline = new_timeline.map(|timeline| (timeline, since_boot()));
    }

    fn mind_lost_leases(&mut self, session: &Session, now: Duration) -> Result<(), Unanswered> {
        let Some((timeline, since)) = &self.new_timeline else {
            return Ok(());
        };
        let patience = self.others.longest_patience().max(self.own.patience());
        if self.others.may_be_lost(*since, patience) <= now {
            let noted = wait(session.client().execute(NOTE_TIMELINE, &[timeline]))?;
            // Somebody commits just now: the next time.
            if noted > 0 {
                self.new_timeline = None;
            }
        }
        Ok(())
    }

    /// How long nothing has to be looked at, if there is something at all.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.again.map(|again| again.saturating_sub(since_boot()))
    }

    /// The others can't be looked at for now: when is for whoever tries again.
    pub(super) fn look_when_back(&mut self) {
        self.again = None;
    }

    /// A change is applied: whoever asked for it is told, or waits until it is seen by all.
    pub(super) fn applied(&mut self, seq: i64, takes_back: bool, waiting: Vec<Acknowledge>) {
        if takes_back {
            self.takes_back = seq;
            self.telling.applied(seq);
            self.unseen.push_back(Unseen { seq, waiting });
            return;
        }
        for acknowledge in waiting {
            acknowledge(Ok(()));
        }
    }

    /// Looks at the others' leases, and tells whose change is seen by all. `idle`: those who had nothing to write.
    pub(super) fn settle(
        &mut self,
        session: &Session,
        here: i64,
        idle: Vec<Acknowledge>,
    ) -> Result<(), Unanswered> {
        if !idle.is_empty() {
            self.unseen.push_back(Unseen {
                seq: self.takes_back,
                waiting: idle,
            });
        }
        if self.takes_back <= self.own.told() {
            self.own.has_told(here);
        }
        let rows = self.own.others(session)?;
        let now = since_boot();
        self.others.looked(rows, now);
        self.mind_lost_leases(session, now)?;
        self.again = None;
        while let Some(first) = self.unseen.front() {
            match self.others.awaited(first.seq, now) {
                Awaited::Until(moment) => {
                    self.again = Some(moment);
                    break;
                }
                Awaited::Nobody { silent } => {
                    for machine in silent {
                        tracing::warn!(
                            %machine,
                            change = first.seq,
                            "is silent: nobody is let in there by what was taken back, and the sessions there are closed when it is back"
                        );
                    }
                }
            }
            for acknowledge in self
                .unseen
                .pop_front()
                .into_iter()
                .flat_map(|one| one.waiting)
            {
                acknowledge(Ok(()));
            }
        }
        Ok(())
    }

    pub(super) fn forget_silent(&self, session: &Session) {
        for (process, renewal) in self.others.forgotten(since_boot()) {
            // The next look finds it again, if not.
            let _ = wait(session.client().execute(FORGET, &[&&process[..], &renewal]));
        }
    }

    pub(super) fn is_anybody_waiting(&self) -> bool {
        !self.unseen.is_empty()
    }

    /// Nobody knows any more who has seen what.
    pub(super) fn give_up(&mut self) {
        for acknowledge in self.unseen.drain(..).flat_map(|one| one.waiting) {
            acknowledge(Err(StoreError::OutcomeUnknown {
                problem: "it is made, and whether the other daemons know is not known".to_owned(),
            }));
        }
    }
}

/// Nothing of before the failover matters any more.
const NOTE_TIMELINE: &str = "
UPDATE saslcertd.head SET timeline = $1
 WHERE EXISTS (SELECT FROM saslcertd.head FOR UPDATE SKIP LOCKED)";
