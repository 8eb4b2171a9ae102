//! `account.admit`: no session begins without the daemon's yes, whatever has logged the client in.
//!
//! Must not know: certificates and passwords, which are admitted where they are checked.

use super::super::reply::Reply;
use super::passwords::Passwords;
use crate::policy::passwords;
use crate::protocol::{Admit, Refusal};

impl Passwords<'_> {
    /// May a session begin that neither a password nor a certificate has logged in?
    pub(in crate::daemon) fn admit(&self, reply: &Reply<Admit>, question: &Admit) {
        if let Err(refusal) = self.judge_session(reply, question) {
            reply.refuse(refusal);
        }
    }

    fn judge_session(&self, reply: &Reply<Admit>, question: &Admit) -> Result<(), Refusal> {
        let name = &question.account;
        self.hosts.passwords_of(name.host(), reply.peer())?;
        let (mechanism, address) = (&question.mechanism, &question.address);
        let admitted = self.let_in(reply, name, None, |known| {
            passwords::begins(known, mechanism.as_deref())
        })?;
        let verdict = if admitted.is_ok() { "yes" } else { "no" };
        tracing::info!(account = %name, ?mechanism, ?address, "account.admit: {verdict}");
        admitted.map(drop).map_err(Refusal::Login)
    }
}
