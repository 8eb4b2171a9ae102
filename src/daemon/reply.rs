//! Where one answer goes, and the daemon's own questions.
//!
//! Must not know: what is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::connection::{Connection, Peer};
use crate::identity::visible::visible;
use crate::protocol::{self, Each, Fault, Id, Refusal};

/// What a question is answered with.
pub(super) type Answered<T = Value> = Result<T, Refusal>;

/// Where the answer to one question goes. At most one is sent.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) connection: Arc<Connection>,
    pub(super) id: Id,
    pub(super) is_sent: Arc<AtomicBool>,
}

impl Answer {
    pub(super) fn send(&self, answered: Answered) {
        self.send_before(answered, "");
    }

    pub(super) fn send_unknown(&self, method: &str) {
        let shown: String = method.chars().take(64).collect();
        let method = visible(&shown).into_owned();
        let Peer { uid, role, .. } = self.connection.peer;
        self.send(Err(Fault::UnknownMethod { method, uid, role }.into()));
    }

    /// Sends the answer, unless one was sent, and `lines` right behind it in any case.
    pub(super) fn send_before(&self, answered: Answered, lines: &str) {
        if self.is_sent.swap(true, Ordering::AcqRel) {
            self.connection.push(lines);
            return;
        }
        let line = match answered {
            Ok(result) => protocol::success(&self.id, &result),
            Err(refusal) => {
                if let Refusal::Fault(fault) = &refusal {
                    tracing::warn!(connection = self.connection.id, reason = %fault, "not decided");
                }
                protocol::failure(Some(&self.id), &refusal)
            }
        };
        self.connection.push(&(line + lines));
    }
}

pub(super) fn ask(connection: &Connection, method: &str, params: &Value) {
    let id = connection.question_id();
    connection.push(&protocol::question(&id, method, params));
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
