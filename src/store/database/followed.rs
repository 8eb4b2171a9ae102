//! How far the list of changes was followed, and who waits until a change of its own comes there.
//!
//! Must not know: how the list is followed, what is remembered of a change.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, PoisonError};
use std::time::{Duration, Instant};

use super::super::error::StoreError;
use super::super::heed::Concern;
use super::super::job::Acknowledge;
use super::belief::Believed;
use super::connect::{Committed, Heard};
use super::numbers::{Name, Place};
use crate::system::lock::Lock;

/// How far the list was followed, and who waits for what.
pub(super) struct Followed {
    state: Lock<State>,
    moved: Condvar,
    believed: Arc<Believed>,
    heard: Sender<Heard>,
}

struct State {
    place: Place,
    expected: HashMap<Name, Expected>,
    idle: Vec<Idle>,
}

/// Those whose change had nothing to write, as of a place in the list.
struct Idle {
    seq: i64,
    waiting: Vec<Acknowledge>,
    until: Instant,
}

/// A change of this process's that is being committed.
pub(super) struct Expected {
    /// What of it concerns who has logged in before, job by job.
    pub(super) concerns: Vec<Concern>,
    pub(super) waiting: Vec<Acknowledge>,
    pub(super) commit: Arc<Commit>,
    until: Instant,
}

/// The answer to a commit, which may come here later than the change itself.
#[derive(Debug, Default)]
pub(super) struct Commit(Lock<Option<Committed>>);

impl Commit {
    /// `None`: not yet.
    pub(super) fn answer(&self) -> Option<Committed> {
        *self.0.lock()
    }
}

impl Expected {
    pub(super) fn of(concerns: Vec<Concern>, waiting: Vec<Acknowledge>) -> Self {
        let until = Instant::now() + PATIENCE;
        Self {
            concerns,
            waiting,
            commit: Arc::default(),
            until,
        }
    }
}

impl Followed {
    pub(super) fn from(place: Place, believed: Arc<Believed>, heard: Sender<Heard>) -> Self {
        Self {
            state: Lock::new(State {
                place,
                expected: HashMap::new(),
                idle: Vec::new(),
            }),
            moved: Condvar::new(),
            believed,
            heard,
        }
    }

    pub(super) fn place(&self) -> Place {
        self.state.lock().place
    }

    /// Waits until the change at `place` is applied here, and is the last one.
    ///
    /// Errors: it is not, in time; or another one is.
    pub(super) fn wait_for(&self, place: Place) -> Result<(), StoreError> {
        let state = self.state.lock();
        let is_before = |state: &mut State| state.place.seq < place.seq;
        let waited = self.moved.wait_timeout_while(state, PATIENCE, is_before);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.place == place {
            return Ok(());
        }
        Err(StoreError::Away {
            problem: "what it has committed last is not what was heard of here".to_owned(),
        })
    }

    /// The change of that name is about to be committed: when it is applied here, whoever waits for it is told. So it does not matter
    /// whether the answer to the commit comes.
    pub(super) fn expect(&self, name: Name, expected: Expected) {
        self.state.lock().expected.insert(name, expected);
    }

    /// The change of that name is committed, and this is worth so much.
    pub(super) fn answered(&self, name: &Name, commit: &Commit, committed: Committed) {
        let is_applied = {
            let state = self.state.lock();
            *commit.0.lock() = Some(committed);
            !state.expected.contains_key(name)
        };
        // Whoever was told of it by the list has waited for this.
        if is_applied {
            let _ = self.heard.send(Heard::Change);
        }
    }

    /// These are told when everything up to the change `seq` is applied here, and seen by all.
    pub(super) fn after(&self, seq: i64, waiting: Vec<Acknowledge>) {
        let until = Instant::now() + PATIENCE;
        self.state.lock().idle.push(Idle {
            seq,
            waiting,
            until,
        });
        let _ = self.heard.send(Heard::Change);
    }

    /// Those of them for whom everything is applied.
    pub(super) fn take_idle(&self) -> Vec<Acknowledge> {
        let mut state = self.state.lock();
        let here = state.place.seq;
        let ready = state.idle.extract_if(.., |idle| idle.seq <= here);
        ready.flat_map(|idle| idle.waiting).collect()
    }

    /// Those of them who have waited for too long.
    pub(super) fn overdue_idle(&self, now: Instant) -> Vec<Acknowledge> {
        let mut state = self.state.lock();
        let late = state.idle.extract_if(.., |idle| idle.until <= now);
        late.flat_map(|idle| idle.waiting).collect()
    }

    /// It is not made after all, or not expected any longer: if it comes all the same, it is as one of somebody else's.
    pub(super) fn forget(&self, name: &Name) -> Option<Expected> {
        self.state.lock().expected.remove(name)
    }

    /// A connection of this era is of no use any more: until there are new ones nothing is answered.
    pub(super) fn lost(&self, era: u64, problem: &str) {
        self.believed.doubt(problem);
        let _ = self.heard.send(Heard::Lost { era });
    }

    pub(super) fn applied(&self, place: Place) {
        self.state.lock().place = place;
        self.moved.notify_all();
    }

    /// Those that were expected for too long.
    pub(super) fn overdue(&self, now: Instant) -> Vec<Expected> {
        let mut state = self.state.lock();
        let late = state
            .expected
            .extract_if(|_, expected| expected.until <= now);
        late.map(|(_, expected)| expected).collect()
    }

    pub(super) fn is_anything_expected(&self) -> bool {
        let state = self.state.lock();
        !state.expected.is_empty() || !state.idle.is_empty()
    }
}

/// A change is applied here within this time after it is committed, or the database is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
