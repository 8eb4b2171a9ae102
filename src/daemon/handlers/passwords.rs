//! `account.verify`, `account.scram` and what follows on them: is this the account's password?
//!
//! **No yes after a change**: only `let_in` says it, with a [`Pass`](super::super::gate::Pass) that is taken before the account is read.
//!
//! Must not know: how a password is derived and compared, how long a wrong one waits (`policy::throttle` says).

use super::super::connection::Peer;
use super::super::disk_room::DiskRoom;
use super::super::gate::Gate;
use super::super::guesses::{Guesses, Network};
use super::super::hosts::Hosts;
use super::super::reply::{Admits, Answered, Reply};
use super::super::storage;
use super::fresh::new_verifiers;
use super::hello;
use crate::identity::{Account, AccountName, BareJid, Secret, UnixSeconds};
use crate::policy::throttle::Outcome;
use crate::policy::{Denial, HostPolicy, passwords};
use crate::protocol::{
    Admission, Delayed, Failed, Fault, Refusal, Scram, ScramKeys, Succeeded, Verify,
};
use crate::store::{Harmless, Store, StoreError};

/// Tries passwords, and hands out keys to try them with.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Passwords<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) gate: &'a Gate,
    pub(in crate::daemon) guesses: &'a Guesses,
    pub(in crate::daemon) disk_room: &'a DiskRoom,
}

impl Passwords<'_> {
    /// Runs in its turn of the derivations.
    pub(in crate::daemon) fn verify(
        &self,
        reply: &Reply<Verify>,
        question: &Verify,
        now: UnixSeconds,
    ) {
        let policy = match self
            .hosts
            .passwords_of(question.account.host(), reply.peer())
        {
            Ok(policy) => policy,
            Err(fault) => return reply.refuse(fault),
        };
        let name = &question.account;
        let network = question.address.as_deref().map(Network::of);
        // Before it is known how this attempt ends: many that are made at once must not all count as the first.
        let max = policy.guess_delay_max_seconds;
        let guess = self.guesses.begin(name, network, max, now);
        let delay = guess.delay;
        let address = question.address.as_deref();
        let secret = Secret::prepare(&question.password.0);
        let attempt = Attempt {
            name,
            secret: secret.as_ref().ok(),
            policy: &policy,
            delay,
        };
        let tried = self.try_password(reply, &attempt);
        let outcome = match &tried {
            Ok(Some(_)) => Outcome::Succeeded,
            Ok(None) => Outcome::Failed,
            Err(_) => Outcome::Unknown,
        };
        guess.end(outcome, now);
        match tried {
            Ok(Some(known)) => {
                tracing::info!(account = %name, address, "account.verify: yes");
                if let Ok(secret) = secret {
                    self.renew(&known.jid, &secret, &policy);
                }
            }
            Ok(None) => tracing::info!(account = %name, address, delay, "account.verify: no"),
            Err(error) => reply.refuse(error),
        }
    }

    /// Tries the password and answers: yes for the account that is returned.
    fn try_password(
        &self,
        reply: &Reply<Verify>,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Account>, StoreError> {
        let Attempt {
            name,
            secret,
            policy,
            delay,
        } = *attempt;
        let known = self.store.account_named(name)?;
        let own = passwords::may_try(known.as_ref()).and_then(Account::strongest);
        let own = own.cloned();
        // Always made, and one is always tried: time tells nobody who exists.
        let looks = self.store.census(name.host()).dealt;
        let decoys = passwords::decoys(name, &self.store.secret(), &looks, policy);
        let verifier = own.or_else(|| decoys.into_iter().next_back());
        let verifier = verifier.as_ref();
        let is_right = match (secret, verifier) {
            (Some(secret), Some(verifier)) => verifier.admits(secret),
            // A text that cannot be a password is refused as slowly as a wrong one.
            (None, Some(verifier)) => {
                if let Ok(some) = Secret::prepare("wrong") {
                    let _ = verifier.admits(&some);
                }
                false
            }
            (_, None) => false,
        };
        // It may have been disabled or given another password while this one was tried.
        let admitted = self.let_in(reply, name, Some(delay), |known| {
            passwords::admits(known, verifier.filter(|_| is_right))
        })?;
        if let Err(denial) = admitted {
            reply.refuse(Refusal::Password { denial, delay });
        }
        Ok(admitted.ok())
    }

    /// Answers with yes if `judge` admits the account of this name: which one it is.
    ///
    /// The account is read, anew, under the pass that the yes is sent with. `delay`: how long the answer is to wait, in seconds.
    /// Errors: the inner one is that of `judge`, and nothing is answered.
    pub(super) fn let_in<Q: Admits<Answer = Admission>>(
        &self,
        reply: &Reply<Q>,
        name: &AccountName,
        delay: Option<f64>,
        judge: impl FnOnce(Option<&Account>) -> Result<&Account, Denial>,
    ) -> Result<Result<Account, Denial>, StoreError> {
        hello::note_patience(reply.connection(), self.store)?;
        let pass = self.gate.pass();
        let known = self.store.account_named(name)?;
        let admitted = judge(known.as_ref()).cloned();
        if let Ok(known) = &admitted {
            reply.admit(&pass, &admission(known, delay));
        }
        Ok(admitted)
    }

    /// Gives an account whose password is at hand the verifiers that it lacks.
    fn renew(&self, account: &BareJid, secret: &Secret, policy: &HostPolicy) {
        let renewed: Result<Result<(), Denial>, StoreError> = (|| {
            let Some(known) = self.store.view(account).account()? else {
                return Ok(Ok(()));
            };
            let hashes = passwords::outdated(&known, policy);
            if hashes.is_empty() || self.disk_room.is_nearly_full() {
                return Ok(Ok(()));
            }
            let made = new_verifiers(&hashes, secret, policy.scram_iterations)?;
            let before = known.verifiers.clone();
            let written = self.store.change(account, move |view| {
                let known = view.account()?;
                // Another password by now, say.
                let Some(known) = known.filter(|known| known.verifiers == before) else {
                    return Ok(Ok((Vec::new(), ())));
                };
                let mut verifiers = known.verifiers.clone();
                verifiers.retain(|old| made.iter().all(|new| new.hash() != old.hash()));
                verifiers.extend(made);
                let renewed = Account { verifiers, ..known };
                let put = Harmless::put_account(view, renewed)?;
                Ok(Ok((put.into_iter().collect(), ())))
            })?;
            Ok(written)
        })();
        match renewed {
            Ok(_) => {}
            // The login stands all the same.
            Err(error) => storage::log(&error),
        }
    }

    pub(in crate::daemon) fn scram(&self, question: Scram, peer: Peer) -> Answered<ScramKeys> {
        let Scram {
            account: name,
            hash,
        } = question;
        let policy = self.hosts.passwords_of(name.host(), peer)?;
        let secret = self.store.secret();
        let census = self.store.census(name.host());
        // It may have been offered before somebody came who lacks it; or before the asker knew.
        if !census.common().contains(&hash) {
            return Err(Fault::HashNotCommon.into());
        }
        let decoys = passwords::decoys(&name, &secret, &census.dealt, &policy);
        let decoy = decoys.into_iter().find(|decoy| decoy.hash() == hash);
        let decoy = decoy.unwrap_or_else(|| passwords::decoy(&name, hash, &secret, &policy));
        let known = self.store.account_named(&name)?;
        let own = passwords::may_try(known.as_ref()).and_then(|known| known.verifier(hash));
        tracing::debug!(account = %name, hash = hash.name(), "account.scram");
        let verifier = own.unwrap_or(&decoy);
        Ok(ScramKeys {
            salt: verifier.salt().to_vec(),
            iterations: verifier.iterations(),
            stored_key: verifier.stored_key().to_vec(),
            server_key: verifier.server_key().to_vec(),
        })
    }

    pub(in crate::daemon) fn succeeded(
        &self,
        reply: &Reply<Succeeded>,
        question: &Succeeded,
        now: UnixSeconds,
    ) {
        if let Err(refusal) = self.judge_success(reply, question, now) {
            reply.refuse(refusal);
        }
    }

    fn judge_success(
        &self,
        reply: &Reply<Succeeded>,
        question: &Succeeded,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let name = &question.account;
        let policy = self.hosts.passwords_of(name.host(), reply.peer())?;
        let address = question.address.as_deref();
        let network = address.map(Network::of);
        let max = policy.guess_delay_max_seconds;
        let guess = self.guesses.begin(name, network, max, now);
        let delay = guess.delay;
        // The account must still have the key that the proof was checked with.
        let admitted = self.let_in(reply, name, Some(delay), |known| {
            passwords::proves(known, question.hash, &question.stored_key)
        });
        // A client with a right proof has guessed nothing, even if the proof came too late.
        let outcome = match admitted {
            Ok(Ok(_)) => Outcome::Succeeded,
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        };
        guess.end(outcome, now);
        let hash = question.hash.name();
        match admitted? {
            Ok(_) => {
                tracing::info!(account = %name, address, hash, "account.succeeded: yes");
                Ok(())
            }
            Err(denial) => {
                tracing::info!(account = %name, address, hash, "account.succeeded: no, it was changed meanwhile");
                Err(Refusal::Password { denial, delay })
            }
        }
    }

    pub(in crate::daemon) fn failed(
        &self,
        question: Failed,
        peer: Peer,
        now: UnixSeconds,
    ) -> Answered<Delayed> {
        let Failed {
            account: name,
            address,
        } = question;
        let policy = self.hosts.passwords_of(name.host(), peer)?;
        let network = address.as_deref().map(Network::of);
        let max = policy.guess_delay_max_seconds;
        let guess = self.guesses.begin(&name, network, max, now);
        let delay = guess.delay;
        guess.end(Outcome::Failed, now);
        tracing::info!(account = %name, address, delay, "account.failed");
        Ok(Delayed { delay })
    }
}

/// A password that is tried.
struct Attempt<'a> {
    name: &'a AccountName,
    /// `None`: it can't be a password.
    secret: Option<&'a Secret>,
    policy: &'a HostPolicy,
    /// How long the answer is to wait, in seconds.
    delay: f64,
}

/// A yes, with what tells later whether it still holds.
fn admission(known: &Account, delay: Option<f64>) -> Admission {
    Admission {
        delay,
        incarnation: known.incarnation.clone(),
        password_changed: known.password_changed,
    }
}
