//! `certificate.revoke` and `certificate.unrevoke`: nobody logs in with a revoked key any more.
//!
//! **No yes after a revocation**: it is applied under a [`Closing`](super::super::gate::Closing), for which the store asks.
//!
//! Must not know: rules (`policy::manage` says which keys are meant, and who may revoke them).

use super::super::connection::Peer;
use super::super::gate::Gate;
use super::super::reply::{Answered, Informs, Reply};
use super::certificates::{Certificates, done, refused};
use super::edits::{ended_links, revoke_edits};
use super::links::Linking;
use super::whose::{Whose, described};
use crate::identity::visible::visible;
use crate::identity::{CertificateName, KeyId, UnixSeconds};
use crate::policy::links::CutOff;
use crate::policy::manage::{Revoked, Which};
use crate::policy::{Denial, manage};
use crate::protocol::{
    Misuse, Refusal, Revoke, RevokedCertificate, ShownRevoked, Unrevoke, Unrevoked,
};
use crate::store::{Edit, Harmless, View};
use crate::wording::notices;

/// Revokes what stands in the lists, by whatever way it was asked for.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Revocations<'a> {
    lists: Certificates<'a>,
    gate: &'a Gate,
}

/// Adds, disables and revokes, as people ask for it: by a client, in a form, at the console.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Managing<'a> {
    pub(in crate::daemon) lists: Certificates<'a>,
    pub(in crate::daemon) revoking: Revocations<'a>,
    pub(in crate::daemon) links: Linking<'a>,
}

impl<'a> Revocations<'a> {
    pub(in crate::daemon) fn new(lists: Certificates<'a>, gate: &'a Gate) -> Self {
        Self { lists, gate }
    }
}

impl Revocations<'_> {
    pub(in crate::daemon) fn revoke(
        &self,
        reply: &Reply<Revoke>,
        question: Revoke,
        now: UnixSeconds,
    ) {
        if let Err(refusal) = self.decide_revocation(reply, question, now) {
            reply.refuse(refusal);
        }
    }

    fn decide_revocation(
        &self,
        reply: &Reply<Revoke>,
        question: Revoke,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let target = match (question.name, question.key_id) {
            (Some(name), None) => Target::Named(name),
            (None, Some(key_id)) => Target::WithKey(key_id),
            _ => return Err(Misuse::NameOrKey.into()),
        };
        let whose = Whose::new(
            question.account,
            question.incarnation,
            question.session,
            reply.peer(),
        );
        let revocation = KeyRevocation {
            whose: &whose,
            target,
        };
        self.revoke_keys(reply, revocation, now, |revoked, _, silent| {
            let removed = revoked.removed.iter().map(|held| &held.name);
            let visible = |name: &CertificateName| visible(name.as_str()).into_owned();
            RevokedCertificate {
                name: revoked.name.clone(),
                shown: ShownRevoked {
                    name: visible(&revoked.name),
                    removed: removed.clone().map(visible).collect(),
                },
                fingerprint: revoked.fingerprint,
                key_id: revoked.key_id,
                removed: removed.cloned().collect(),
                silent: silent.to_vec(),
            }
        })
    }

    /// Revokes keys in one transaction, answers with `result` of it, of the keys and of the daemons that were silent, has their sessions closed, and tells the
    /// account.
    ///
    /// Errors: nothing was revoked, and nothing answered.
    pub(super) fn revoke_keys<Q: Informs>(
        &self,
        reply: &Reply<Q>,
        KeyRevocation { whose, target }: KeyRevocation<'_>,
        now: UnixSeconds,
        result: impl FnOnce(&Revoked, &[KeyId], &[String]) -> Q::Answer,
    ) -> Result<(), Refusal> {
        const QUESTION: &str = "certificate.revoke";
        let account = &whose.account;
        let policy = self.lists.hosts.policy(account.host())?;
        let (asker, scope) = self.lists.asker_of(whose)?;
        let by = whose.by();
        let are_others = matches!(target, Target::AllBut(_));
        let decide = move |view: &View<'_>| {
            let (list, disabled) = (view.list()?, view.disabled()?);
            let wish = manage::Revoking {
                asker: &asker,
                scope: &scope,
                which: target.which(),
            };
            Ok(manage::revoke(&wish, &list, &disabled, &policy))
        };
        // Not in the writer thread, if that is so.
        let denied = decide(&self.lists.store.view(account))?;
        denied.map_err(|denial| refused(QUESTION, account, &by, denial))?;
        let asking = self.gate.asking(reply.connection());
        let asker = Some(asking.asker());
        let written = self.lists.store.take_back(asker, account, move |view| {
            let revoked = match decide(view)? {
                Ok(revoked) => revoked,
                Err(denial) => return Ok(Err(denial)),
            };
            let cut = if are_others {
                CutOff::OthersGo
            } else {
                CutOff::Leave(&revoked.removed)
            };
            let ended = ended_links(view, cut)?.into_iter().map(Edit::RemoveLink);
            let edits = revoke_edits(&revoked, now).into_iter();
            Ok(Ok((edits.chain(ended).collect(), revoked)))
        });
        let revoked = written?.map_err(|denial| refused(QUESTION, account, &by, denial))?;
        let mut keys: Vec<KeyId> = revoked.keys.iter().map(|(key_id, _)| *key_id).collect();
        keys.dedup();
        // Behind every yes that was said before.
        let names = revoked.names();
        for name in &names {
            done(QUESTION, account, name, &revoked.fingerprint_of(name), &by);
        }
        let answer = result(&revoked, &keys, &asking.silent());
        reply.send_closing(asking, &answer);
        let to = revoked.keys.iter().map(|(_, of)| of.clone()).collect();
        self.lists
            .tell(account, to, notices::revoked(&names, &by), now);
        Ok(())
    }
}

impl Certificates<'_> {
    pub(in crate::daemon) fn unrevoke(
        &self,
        question: Unrevoke,
        peer: Peer,
    ) -> Answered<Unrevoked> {
        let Unrevoke { account, key_id } = question;
        self.hosts.policy(account.host())?;
        let written = self.store.change(&account, move |view| {
            let mut revoked = view.revoked_keys()?;
            revoked.retain(|(key, _)| key_id.is_none_or(|meant| meant == *key));
            let was_revoked = !revoked.is_empty();
            let lift = |(key_id, incarnation)| Harmless::unrevoke_key(key_id, incarnation);
            let edits = revoked.into_iter().map(lift).collect();
            Ok(Ok::<_, Denial>((edits, was_revoked)))
        });
        let was_revoked = written?.map_err(Refusal::Management)?;
        let by = described(None, peer);
        tracing::info!(%account, key_id = ?key_id, was_revoked, by, "certificate.unrevoke: yes");
        Ok(Unrevoked { was_revoked })
    }
}

/// A revocation: the keys to revoke, and the list that they stand in.
pub(super) struct KeyRevocation<'a> {
    pub(super) whose: &'a Whose,
    pub(super) target: Target,
}

/// The keys to revoke; see [`Which`].
pub(super) enum Target {
    Named(String),
    WithKey(KeyId),
    AllBut(KeyId),
}

impl Target {
    fn which(&self) -> Which<'_> {
        match self {
            Self::Named(name) => Which::Named(name),
            Self::WithKey(key_id) => Which::WithKey(*key_id),
            Self::AllBut(key_id) => Which::AllBut(*key_id),
        }
    }
}
