//! A change on its way to whatever writes it: what it is about, the decision, and where its outcome comes.
//!
//! Must not know: which changes there are, who writes them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use super::edit::Row;
use super::error::StoreError;
use super::heed::Hear;
use super::tables::Tables;
use crate::identity::{BareJid, Fingerprint, Host};

/// A change on its way.
pub(super) struct Job {
    pub(super) about: About,
    pub(super) plan: Plan,
    /// Who hears what of it concerns those who have logged in before; `None`: whoever heeds all.
    pub(super) asker: Option<Arc<dyn Hear>>,
}

/// What a job is about. Of two that share a part of it, one is decided on what the other has written; which one that is, nobody knows
/// but who asks for the second when the first is answered.
pub(super) enum About {
    /// A change of these. Who locks them one by one does so in their order.
    These(BTreeSet<Claim>),
    /// A change of what no claim names: no other change is made meanwhile.
    Everything,
    /// It writes nothing, and all that it reads is of one moment.
    Nothing,
}

/// Something that one change at a time is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Claim {
    /// How a host was declared, and what is remembered of it.
    Host(Host),
    /// The rows of an account.
    Account(BareJid),
    /// Which accounts of a host hold a certificate.
    Certificate(Host, Fingerprint),
}

/// Decides in the place where it is written, on the tables as they are there; quick, and called once. `None`: nothing is to be
/// written, and the asker has heard why.
pub(super) type Plan = Box<dyn FnOnce(&Tables) -> Option<(Vec<Row>, Acknowledge)> + Send>;

/// Tells the asker, whose types only it knows, that the rows are on the disk, and who could not be told of it; or why not.
pub(super) type Acknowledge = Box<dyn FnOnce(Result<Silent, StoreError>) + Send>;

/// The daemons that share the rows and were silent when something was taken back, in words.
pub(super) type Silent = Vec<String>;

/// The rows that a change writes, and the outcome that its asker is told when they are on the disk.
pub(super) struct Planned<T> {
    pub(super) rows: Vec<Row>,
    pub(super) outcome: T,
}

impl<T> Planned<T> {
    /// Something was looked at, and nothing is written.
    pub(super) fn nothing(outcome: T) -> Self {
        Self {
            rows: Vec::new(),
            outcome,
        }
    }
}

impl Job {
    /// The job of a decision, and where its outcome comes.
    pub(super) fn of<T: Send + 'static>(
        about: About,
        plan: impl FnOnce(&Tables) -> Result<Planned<T>, StoreError> + Send + 'static,
    ) -> (Self, Pending<T>) {
        let (answer, answered) = mpsc::sync_channel(1);
        let plan = move |tables: &Tables| match plan(tables) {
            Ok(Planned { rows, outcome }) => {
                // Nobody may be waiting any more; the change stands all the same.
                let acknowledge: Acknowledge = Box::new(move |written| {
                    drop(answer.send(written.map(|silent| (outcome, silent))));
                });
                Some((rows, acknowledge))
            }
            Err(error) => {
                let _ = answer.send(Err(error));
                None
            }
        };
        let job = Self {
            about,
            plan: Box::new(plan),
            asker: None,
        };
        (job, Pending(answered))
    }
}

/// A change that the writer has, and may not have made yet. It is made in any case.
pub struct Pending<T>(Receiver<Result<(T, Silent), StoreError>>);

impl<T> Pending<T> {
    /// Waits until it is on the disk, or is not to be.
    pub fn wait(self) -> Result<T, StoreError> {
        self.wait_with_silent().map(|(outcome, _)| outcome)
    }

    /// The same, and who was silent.
    pub(super) fn wait_with_silent(self) -> Result<(T, Silent), StoreError> {
        self.0.recv().unwrap_or(Err(StoreError::Failed))
    }
}
