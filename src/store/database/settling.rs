//! Changes that are made, and wait until every daemon has seen them: only then their askers hear of it
//! (docs/decisions/0014-several-machines.md, points 4, 5 and 9).
//!
//! Must not know: how the list of changes is followed, what a change is of.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::super::error::StoreError;
use super::super::job::{Acknowledge, Silent};
use super::connect::{Committed, Session, Unanswered, wait};
use super::followed::Commit;
use super::lease::{FORGET, OwnLease, Renewing, Telling};
use super::leases::{Awaited, Leases, silence};
use crate::system::clock::since_boot;
use crate::system::lock::Lock;

/// The lease of this process, and those of the others.
pub(super) struct Settling {
    own: Arc<OwnLease>,
    pub(super) renewing: Renewing,
    telling: Telling,
    others: Arc<Lock<Leases>>,
    /// The last change that takes something back, whoever has made it.
    takes_back: i64,
    /// Changes that are applied here, and not seen by all.
    unseen: VecDeque<Unseen>,
    /// When they have to be looked at again, if nothing is heard before.
    again: Option<Duration>,
    /// Behind a failover: what is to be noted, and since when it was known here.
    new_timeline: Option<(String, Duration)>,
}

/// Who has asked for a change, and what its commit is worth.
pub(super) struct Asked {
    pub(super) waiting: Vec<Acknowledge>,
    pub(super) worth: Worth,
}

/// Whether a change that is made could be lost with the server all the same.
pub(super) enum Worth {
    /// Not, or whoever has asked hears of it by another daemon.
    Firm,
    /// As the answer to its commit says.
    AsAnswered(Arc<Commit>),
    /// Not behind this renewal, which is a commit of the same history: a standby that has it has what was committed before.
    Behind { renewal: i64 },
}

/// A change that takes something back; or several that wrote nothing behind it; or one whose commit is not answered.
struct Unseen {
    seq: i64,
    asked: Asked,
    /// When it was applied here.
    since: Duration,
}

impl Asked {
    /// By nobody here.
    pub(super) const fn by_another() -> Self {
        Self {
            waiting: Vec::new(),
            worth: Worth::Firm,
        }
    }

    fn tell(self, silent: &Silent) {
        for acknowledge in self.waiting {
            acknowledge(Ok(silent.clone()));
        }
    }

    fn is_firm(&self) -> bool {
        match &self.worth {
            Worth::Firm => true,
            Worth::AsAnswered(commit) => commit.answer() == Some(Committed::Firm),
            Worth::Behind { .. } => false,
        }
    }
}

impl Settling {
    pub(super) fn of(own: Arc<OwnLease>, others: Arc<Lock<Leases>>, telling: Telling) -> Self {
        Self {
            renewing: Renewing::of(Arc::clone(&own)),
            own,
            telling,
            others,
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
        let over = {
            let mut others = self.others.lock();
            let patience = others.longest_patience().max(self.own.patience());
            others.may_be_lost(*since, patience)
        };
        if over <= now {
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

    /// A change is applied: whoever asked for it is told, or waits until it is firm, and seen by all if it takes something back.
    pub(super) fn applied(&mut self, seq: i64, takes_back: bool, asked: Asked) {
        if takes_back {
            self.takes_back = seq;
            self.telling.applied(seq);
            self.wait_for(seq, asked);
        } else if asked.is_firm() {
            asked.tell(&Silent::new());
        } else {
            self.wait_for(SEEN_BY_ALL, asked);
        }
    }

    fn wait_for(&mut self, seq: i64, asked: Asked) {
        self.unseen.push_back(Unseen {
            seq,
            asked,
            since: since_boot(),
        });
    }

    /// Looks at the others' leases, and tells whose change is seen by all. `idle`: those who had nothing to write.
    pub(super) fn settle(
        &mut self,
        session: &Session,
        here: i64,
        idle: Vec<Acknowledge>,
    ) -> Result<(), Unanswered> {
        if !idle.is_empty() {
            // What they found to be so may be by a change that nobody has answered.
            let asked = Asked {
                waiting: idle,
                worth: self.behind_the_next_renewal(),
            };
            self.wait_for(self.takes_back, asked);
        }
        if self.takes_back <= self.own.told() {
            self.own.has_told(here);
        }
        let rows = self.own.others(session)?;
        let now = since_boot();
        self.others.lock().looked(rows, now);
        self.mind_lost_leases(session, now)?;
        self.again = None;
        while let Some(mut first) = self.unseen.pop_front() {
            if !self.is_firm(&mut first.asked, now) {
                self.unseen.push_front(first);
                break;
            }
            let awaited = self.others.lock().awaited(first.seq, now);
            let silent = match awaited {
                Awaited::Until(moment) => {
                    self.again = Some(moment);
                    self.unseen.push_front(first);
                    break;
                }
                Awaited::Nobody { silent } => silent,
            };
            for machine in &silent {
                tracing::warn!(
                    %machine,
                    change = first.seq,
                    "is silent: nobody is let in there by what was taken back, and the sessions there are closed when it is back"
                );
            }
            first.asked.tell(&silent);
        }
        Ok(())
    }

    fn behind_the_next_renewal(&self) -> Worth {
        Worth::Behind {
            renewal: self.renewing.next(),
        }
    }

    /// Otherwise this is looked at again when it may be.
    fn is_firm(&mut self, asked: &mut Asked, now: Duration) -> bool {
        if let Worth::AsAnswered(commit) = &asked.worth {
            match commit.answer() {
                Some(Committed::Firm) => asked.worth = Worth::Firm,
                Some(Committed::Doubtful) => asked.worth = self.behind_the_next_renewal(),
                // Whoever commits tells this thread.
                None => return false,
            }
        }
        let Worth::Behind { renewal } = asked.worth else {
            return true;
        };
        let is_firm = self.renewing.is_firm(renewal);
        if !is_firm && self.renewing.want(renewal) {
            self.again = Some(now);
        }
        is_firm
    }

    pub(super) fn forget_silent(&self, session: &Session) {
        let forgotten = self.others.lock().forgotten(since_boot());
        for (process, renewal) in forgotten {
            // The next look finds it again, if not.
            let _ = wait(session.client().execute(FORGET, &[&&process[..], &renewal]));
        }
    }

    pub(super) fn is_anybody_waiting(&self) -> bool {
        !self.unseen.is_empty()
    }

    /// Whoever has waited for much longer than any daemon may be silent hears that nobody knows: the database is away, or the standby without
    /// which nothing is firm. Else there would be more and more of them. `now`: since boot.
    pub(super) fn give_up_late(&mut self, now: Duration) {
        let patience = self
            .others
            .lock()
            .longest_patience()
            .max(self.own.patience());
        let bound = silence(patience) + GIVEN_UP_AFTER;
        while let Some(late) = self.unseen.pop_front_if(|one| one.since + bound <= now) {
            late.give_up();
        }
    }

    /// Nobody knows any more who has seen what.
    pub(super) fn give_up(&mut self) {
        for one in self.unseen.drain(..) {
            one.give_up();
        }
    }
}

impl Unseen {
    fn give_up(self) {
        for acknowledge in self.asked.waiting {
            acknowledge(Err(StoreError::OutcomeUnknown {
                problem: "it is made, and whether the other daemons know is not known".to_owned(),
            }));
        }
    }
}

/// Nobody waits for others by this number.
const SEEN_BY_ALL: i64 = 0;

/// Beyond the longest that a daemon may be silent and be waited for.
const GIVEN_UP_AFTER: Duration = Duration::from_mins(1);

/// Nothing of before the failover matters any more.
const NOTE_TIMELINE: &str = "
UPDATE saslcertd.head SET timeline = $1
 WHERE EXISTS (SELECT FROM saslcertd.head FOR UPDATE SKIP LOCKED)";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_waits_for_others_for_too_long_hears_that_nobody_knows() {
        let own = Arc::new(OwnLease::new(0).unwrap());
        own.raise_patience(Duration::from_secs(10));
        let mut settling = Settling::of(own, Arc::default(), Telling::ended());
        let (says, hears) = mpsc::channel();
        let acknowledge: Acknowledge = Box::new(move |outcome| says.send(outcome).unwrap());
        let before = since_boot();
        let asked = Asked {
            waiting: vec![acknowledge],
            worth: Worth::Firm,
        };
        settling.applied(1, true, asked);
        // 5 s, 10 s and a fifth, and a minute.
        settling.give_up_late(before + Duration::from_secs(76));
        assert!(hears.try_recv().is_err());
        settling.give_up_late(since_boot() + Duration::from_secs(77));
        assert!(matches!(
            hears.try_recv().unwrap(),
            Err(StoreError::OutcomeUnknown { .. })
        ));
        assert!(!settling.is_anybody_waiting());
    }
}
