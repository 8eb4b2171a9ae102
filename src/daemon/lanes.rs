//! Runs the answers that may block: so many at a time, each within its deadline, and the costly ones in their turn.
//!
//! Must not know: what is asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::derivations::{Derivations, Purpose, Queued};
use super::reply::Reply;
use super::yielding::Yielding;
use crate::protocol::{Fault, Request};

/// The lanes that lead off the thread that reads the lines.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    tasks: Tasks,
    derivations: Derivations,
    yielding: Yielding,
    /// Where chains are judged that nobody has enrolled.
    strangers: Strangers,
}

#[derive(Debug)]
struct Strangers(Derivations);

impl Default for Strangers {
    fn default() -> Self {
        Self(Derivations::for_strangers())
    }
}

#[derive(Clone, Debug)]
struct Tasks(Arc<Semaphore>);

impl Default for Tasks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_TASKS as usize)))
    }
}

impl Lanes {
    /// Runs `work` where it may block. Its answer, or a fault, is sent within the deadline.
    pub(super) fn task<Q: Request>(
        &self,
        reply: Reply<Q>,
        work: impl FnOnce(&Reply<Q>) + Send + 'static,
    ) {
        self.tasks.run(&Handle::current(), reply, answering(work));
    }

    /// Runs `work` where it may block. It answers, or hands the question on to where it is answered.
    pub(super) fn way<Q: Request>(
        &self,
        reply: Reply<Q>,
        work: impl FnOnce(&Reply<Q>) + Send + 'static,
    ) {
        let work = |reply: &Reply<Q>| {
            work(reply);
            Then::MayBeHandedOn
        };
        self.tasks.run(&Handle::current(), reply, work);
    }

    /// Runs `work`, which derives keys, when its turn has come, on threads that yield to all others.
    pub(super) fn derivation<Q: Request>(
        &self,
        purpose: Purpose,
        reply: Reply<Q>,
        work: impl FnOnce(&Reply<Q>) + Send + 'static,
    ) {
        let queued = self.derivations.queue(purpose);
        self.in_turn_on(self.yielding.handle(), queued, reply, work);
    }

    /// A turn to judge what a stranger shows; `None` when too many wait.
    #[must_use]
    pub(super) fn queue_stranger(&self, purpose: Purpose) -> Option<Queued> {
        self.strangers.0.queue(purpose)
    }

    /// Runs `work` when its turn has come; without one, too many wait.
    pub(super) fn in_turn<Q: Request>(
        &self,
        queued: Option<Queued>,
        reply: Reply<Q>,
        work: impl FnOnce(&Reply<Q>) + Send + 'static,
    ) {
        self.in_turn_on(Handle::current(), queued, reply, work);
    }

    fn in_turn_on<Q: Request>(
        &self,
        threads: Handle,
        queued: Option<Queued>,
        reply: Reply<Q>,
        work: impl FnOnce(&Reply<Q>) + Send + 'static,
    ) {
        let Some(queued) = queued else {
            reply.refuse(Fault::Overload);
            return;
        };
        let tasks = self.tasks.clone();
        tokio::spawn(async move {
            match queued.turn().await {
                Some(turn) => {
                    let work = answering(move |reply: &Reply<Q>| {
                        work(reply);
                        drop(turn);
                    });
                    tasks.run(&threads, reply, work);
                }
                None => reply.refuse(Fault::Overload),
            }
        });
    }

    /// Waits for those that have begun; no other task begins until what is returned is dropped.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub(super) async fn fill(&self) -> tokio::sync::OwnedSemaphorePermit {
        let tasks = Arc::clone(&self.tasks.0);
        tasks.acquire_many_owned(MAX_TASKS).await.unwrap()
    }

    /// Waits until nothing is being answered any more, or until `limit` has passed.
    pub(super) async fn finish(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.tasks.0.acquire_many(MAX_TASKS))
            .await
            .is_err()
        {
            tracing::warn!("questions are left unanswered");
        }
    }
}

impl Tasks {
    fn run<Q: Request>(
        &self,
        threads: &Handle,
        reply: Reply<Q>,
        work: impl FnOnce(&Reply<Q>) -> Then + Send + 'static,
    ) {
        let permit = Arc::clone(&self.0).try_acquire_owned();
        let (Ok(permit), Some(in_flight)) = (permit, reply.connection().begin()) else {
            reply.refuse(Fault::Overload);
            return;
        };
        let late = reply.clone();
        let work = threads.spawn_blocking(move || {
            let then = work(&reply);
            drop((permit, in_flight));
            then
        });
        tokio::spawn(async move {
            match tokio::time::timeout(TASK_DEADLINE, work).await {
                Ok(Ok(Then::MayBeHandedOn)) => return,
                Ok(_) => {}
                Err(_) => {
                    tracing::error!(
                        connection = late.connection().id,
                        "a question took too long"
                    );
                }
            }
            // Each question gets a reply, a failure too; a second one is never sent.
            late.refuse(Fault::Deadline);
        });
    }
}

/// What becomes of a question when its work is done.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// It has its answer, or gets none.
    IsOver,
    /// If it has none, it gets it elsewhere.
    MayBeHandedOn,
}

fn answering<Q>(work: impl FnOnce(&Reply<Q>)) -> impl FnOnce(&Reply<Q>) -> Then {
    |reply| {
        work(reply);
        Then::IsOver
    }
}

/// Most questions that wait for the disk at a time, all connections together.
const MAX_TASKS: u32 = 512;
/// The longest that a question may take.
const TASK_DEADLINE: Duration = Duration::from_secs(10);
