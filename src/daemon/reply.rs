//! Where one answer goes, and the daemon's own questions.
//!
//! Must not know: what is answered.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::connection::{Connection, Peer};
use super::gate::{Asking, Pass};
use crate::identity::visible::visible;
use crate::protocol::{self, Each, Fault, Id, Refusal, Request};

/// The answer to a question, or why there is none.
pub type Answered<T> = Result<T, Refusal>;

/// A question that lets nobody in: its answer is sent as it is. `daemon/dispatch.rs` says which ones.
pub trait Informs: Request {}

/// A question that may let somebody in: its yes is sent with a [`Pass`] only. `daemon/dispatch.rs` says which ones.
pub trait Admits: Request {}

/// Where the answer to one question goes. At most one is sent.
pub struct Reply<Q> {
    to: To,
    question: PhantomData<fn() -> Q>,
}

/// Which question of which connection, and whether it was answered.
#[derive(Clone)]
struct To {
    connection: Arc<Connection>,
    id: Id,
    is_sent: Arc<AtomicBool>,
}

impl<Q> Clone for Reply<Q> {
    fn clone(&self) -> Self {
        Self {
            to: self.to.clone(),
            question: PhantomData,
        }
    }
}

impl<Q: Request> Reply<Q> {
    /// Where the answer to the question `id` goes.
    pub(super) fn new(connection: &Arc<Connection>, id: Id) -> Self {
        Self {
            to: To {
                connection: Arc::clone(connection),
                id,
                is_sent: Arc::default(),
            },
            question: PhantomData,
        }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.to.connection
    }

    pub(super) fn peer(&self) -> Peer {
        self.to.connection.peer
    }

    /// The peer is answered as if there were no such question.
    pub(super) fn refuse_unknown(&self) {
        refuse_unknown(self.connection(), &self.to.id, Q::METHOD);
    }

    /// Says no, or why it could not be decided.
    pub(super) fn refuse(&self, refusal: impl Into<Refusal>) {
        self.to.send(Err::<&(), _>(&refusal.into()));
    }
}

impl<Q: Informs> Reply<Q> {
    /// Sends the answer.
    ///
    /// ```
    /// use saslcertd::daemon::reply::Reply;
    /// use saslcertd::protocol::{Delayed, Failed};
    ///
    /// fn informs(reply: &Reply<Failed>, answer: Delayed) {
    ///     reply.send(Ok(answer));
    /// }
    /// ```
    pub fn send(&self, answered: Answered<Q::Answer>) {
        match answered {
            Ok(answer) => self.to.send(Ok(&answer)),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Sends the answer to a question that took something back, and has the sessions closed that are over.
    ///
    /// They are closed even if the question was answered before: it took too long.
    pub(super) fn send_closing(&self, asking: Asking, answer: &Q::Answer) {
        asking.end(|lines| {
            self.to.send_awaited(Ok(answer), lines);
        });
    }
}

impl<Q: Admits> Reply<Q> {
    /// Lets somebody in, while nothing can be taken back.
    ///
    /// ```
    /// use saslcertd::daemon::gate::Pass;
    /// use saslcertd::daemon::reply::Reply;
    /// use saslcertd::protocol::{Admission, Verify};
    ///
    /// fn lets_in(reply: &Reply<Verify>, pass: &Pass<'_>, yes: &Admission) {
    ///     reply.admit(pass, yes);
    /// }
    /// ```
    ///
    /// Without a pass there is no way to say yes. The call is that of [`Reply::send`], whose sample compiles; here the compiler
    /// refuses it, since `Verify` is no question that [`Informs`]:
    ///
    /// ```compile_fail
    /// use saslcertd::daemon::reply::Reply;
    /// use saslcertd::protocol::{Admission, Verify};
    ///
    /// fn lets_in(reply: &Reply<Verify>, yes: Admission) {
    ///     reply.send(Ok(yes));
    /// }
    /// ```
    ///
    /// So it is with a certificate:
    ///
    /// ```
    /// use saslcertd::daemon::gate::Pass;
    /// use saslcertd::daemon::reply::Reply;
    /// use saslcertd::protocol::{LoggedIn, Login};
    ///
    /// fn lets_in(reply: &Reply<Login>, pass: &Pass<'_>, yes: &LoggedIn) {
    ///     reply.admit(pass, yes);
    /// }
    /// ```
    ///
    /// ```compile_fail
    /// use saslcertd::daemon::reply::Reply;
    /// use saslcertd::protocol::{LoggedIn, Login};
    ///
    /// fn lets_in(reply: &Reply<Login>, yes: LoggedIn) {
    ///     reply.send(Ok(yes));
    /// }
    /// ```
    pub fn admit(&self, _pass: &Pass<'_>, yes: &Q::Answer) {
        self.to.send_awaited(Ok(yes), "");
    }
}

impl To {
    /// Sends the answer, unless one was sent.
    fn send(&self, answered: Result<&impl Serialize, &Refusal>) {
        if self.is_first(&answered) {
            self.connection.queue(|queued| self.write(answered, queued));
        }
    }

    /// Sends the answer, unless one was sent, and `lines` right behind it in any case. One of them lets somebody in, or has sessions
    /// closed.
    fn send_awaited(&self, answered: Result<&impl Serialize, &Refusal>, lines: &str) {
        let is_first = self.is_first(&answered);
        self.connection.queue_awaited(|queued| {
            if is_first {
                self.write(answered, queued);
            }
            queued.extend_from_slice(lines.as_bytes());
        });
    }

    /// Is it the first answer? Then the log has what could not be decided.
    fn is_first<T>(&self, answered: &Result<&T, &Refusal>) -> bool {
        if self.is_sent.swap(true, Ordering::AcqRel) {
            return false;
        }
        match answered {
            // Any stranger's certificate: its asker sends the chain.
            Err(Refusal::Fault(fault @ Fault::ChainForgotten)) => {
                tracing::debug!(connection = self.connection.id, reason = %fault, "not decided");
            }
            Err(Refusal::Fault(fault)) => {
                tracing::warn!(connection = self.connection.id, reason = %fault, "not decided");
            }
            Ok(_) | Err(_) => {}
        }
        true
    }

    fn write(&self, answered: Result<&impl Serialize, &Refusal>, queued: &mut Vec<u8>) {
        match answered {
            Ok(result) => protocol::success(queued, &self.id, result),
            Err(refusal) => {
                let line = protocol::failure(Some(&self.id), refusal);
                queued.extend_from_slice(line.as_bytes());
            }
        }
    }
}

/// Refuses a question that the peer can't ask.
pub(super) fn refuse_unknown(connection: &Connection, id: &Id, method: &str) {
    let short: String = method.chars().take(64).collect();
    let method = visible(&short).into_owned();
    let Peer { uid, role, .. } = connection.peer;
    let fault = Fault::UnknownMethod { method, uid, role };
    tracing::warn!(connection = connection.id, reason = %fault, "not decided");
    connection.push(&protocol::failure(Some(id), &fault.into()));
}

/// Logs what of a list could not be read: the asker's fault, and nobody else's.
pub(super) fn unreadable<T>(connection: u64, question: &'static str, list: &Each<T>) {
    if let Some(first) = list.bad().next() {
        let (count, reason) = (list.bad().count(), &first.problem);
        tracing::warn!(
            connection,
            count,
            reason,
            "{question}: elements that are unreadable"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Admit, Login, Succeeded, Verify};

    #[test]
    fn every_question_that_may_let_somebody_in_wants_a_pass() {
        fn method<Q: Admits>() -> &'static str {
            Q::METHOD
        }
        let admitting = [
            method::<Login>(),
            method::<Verify>(),
            method::<Succeeded>(),
            method::<Admit>(),
        ];
        assert_eq!(
            admitting,
            [
                "external.login",
                "account.verify",
                "account.succeeded",
                "account.admit"
            ]
        );
    }
}
