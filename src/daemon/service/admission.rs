//! `account.admit`: no session begins without the daemon's yes, whatever has logged the client in.
//!
//! Must not know: certificates and passwords, which are admitted where they are checked.

use std::sync::PoisonError;

use serde_json::json;

use super::super::connection::Peer;
use super::{Answer, Service};
use crate::policy::passwords;
use crate::protocol::{Admit, Refusal};

impl Service {
    /// May a session begin that neither a password nor a certificate has logged in?
    pub(in crate::daemon) fn admit(&self, answer: &Answer, question: &Admit, peer: Peer) {
        if let Err(refusal) = self.decided_admission(answer, question, peer) {
            answer.send(Err(refusal));
        }
    }

    fn decided_admission(
        &self,
        answer: &Answer,
        question: &Admit,
        peer: Peer,
    ) -> Result<(), Refusal> {
        let account = &question.account;
        self.passwords_of(account.host(), peer)?;
        let (mechanism, address) = (&question.mechanism, &question.address);
        let guard = self
            .revocations
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let known = self.known(account)?;
        let admitted = passwords::begins(known.as_ref(), mechanism.as_deref());
        let answered = admitted.map(|known| {
            answer.send(Ok(json!({
                "incarnation": known.incarnation,
                "password_changed": known.password_changed,
            })));
        });
        drop(guard);
        let verdict = if answered.is_ok() { "yes" } else { "no" };
        tracing::info!(%account, ?mechanism, ?address, "account.admit: {verdict}");
        answered.map_err(Refusal::Login)
    }
}
