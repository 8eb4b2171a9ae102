//! `account.admit`: no session begins without the daemon's yes, whatever has logged the client in.
//!
//! Must not know: certificates and passwords, which are admitted where they are checked.

use super::super::gate::Gate;
use super::super::hosts::Hosts;
use super::super::reply::Reply;
use super::passwords::admission;
use crate::policy::passwords;
use crate::protocol::{Admit, Refusal};
use crate::store::Store;

/// May a session begin that neither a password nor a certificate has logged in?
pub(in crate::daemon) fn admit(
    store: &Store,
    hosts: &Hosts,
    gate: &Gate,
    reply: &Reply<Admit>,
    question: &Admit,
) {
    if let Err(refusal) = decide(store, hosts, gate, reply, question) {
        reply.refuse(refusal);
    }
}

fn decide(
    store: &Store,
    hosts: &Hosts,
    gate: &Gate,
    reply: &Reply<Admit>,
    question: &Admit,
) -> Result<(), Refusal> {
    let name = &question.account;
    hosts.passwords_of(name.host(), reply.peer())?;
    let (mechanism, address) = (&question.mechanism, &question.address);
    let pass = gate.pass();
    let known = store.account_named(name)?;
    let admitted = passwords::begins(known.as_ref(), mechanism.as_deref());
    if let Ok(known) = &admitted {
        reply.admit(&pass, &admission(known, None));
    }
    drop(pass);
    let verdict = if admitted.is_ok() { "yes" } else { "no" };
    tracing::info!(account = %name, ?mechanism, ?address, "account.admit: {verdict}");
    admitted.map(drop).map_err(Refusal::Login)
}
