//! `account.*`: accounts that live here are created, changed, listed and deleted.
//!
//! **No yes after a change**: it is applied under a [`Closing`](super::super::gate::Closing), for which the store asks. Must not know: how somebody logs in.

use std::fmt::Display;

use serde_json::json;

use super::super::connection::Peer;
use super::super::disk_room::DiskRoom;
use super::super::gate::Gate;
use super::super::hosts::Hosts;
use super::super::reply::{Answered, Reply};
use super::super::reservations::{NotReserved, Reservations};
use super::super::storage;
use super::edits::ended_links;
use super::fresh::{new_incarnation, new_token, new_verifiers};
use crate::identity::{
    Account, AccountName, BareJid, Disabled, ScramHash, ScramVerifier, Secret, UnixSeconds,
};
use crate::policy::links::CutOff;
use crate::policy::live;
use crate::policy::passwords::{Caller, Creation};
use crate::policy::{Denial, HostPolicy, passwords};
use crate::protocol::{
    AccountChanged, AccountExists, AccountPage, Accounts, Bad, Checked, Create, CreateCaller,
    Created, Delete, Deleted, Each, Existence, Fault, ListAccounts, ListedAccount, PAGE_BYTES,
    PasswordSet, Refusal, Request, SetPassword, Switched,
};
use crate::store::{Edit, Store, StoreError, View};

/// Keeps the accounts that live here.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct LocalAccounts<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) gate: &'a Gate,
    pub(in crate::daemon) reservations: &'a Reservations,
    pub(in crate::daemon) disk_room: &'a DiskRoom,
}

impl LocalAccounts<'_> {
    pub(in crate::daemon) fn exists(
        &self,
        question: AccountExists,
        peer: Peer,
    ) -> Answered<Existence> {
        let AccountExists { account: name } = question;
        self.hosts.passwords_of(name.host(), peer)?;
        let known = self.store.account_named(&name)?;
        Ok(Existence {
            exists: known.is_some(),
            enabled: known.as_ref().is_some_and(|known| known.enabled),
            created: known.as_ref().map(|known| known.created),
            password_changed: known.as_ref().map(|known| known.password_changed),
        })
    }

    /// Which accounts with live sessions were changed while their server did not hear of it.
    pub(super) fn changed_since(
        &self,
        sessions: Each<Checked>,
    ) -> Result<Vec<AccountChanged>, Refusal> {
        let mut changes = Vec::new();
        for session in sessions {
            let session = match session {
                Ok(session) => session,
                Err(bad) => {
                    changes.extend(change_of_unreadable(&bad));
                    continue;
                }
            };
            let account = session.account;
            // Of accounts in Prosody nothing is known here, whoever asks. And the sessions of other hosts must not wait until this one's
            // options are mended.
            let lives = self.hosts.of(account.host()).map(|(lives, _)| lives);
            if lives.ok() != Some(Accounts::Daemon) {
                continue;
            }
            let change = match self.store.view(&account).account() {
                Ok(known) => live::changed_since(
                    known.as_ref(),
                    session.incarnation.as_ref(),
                    session.password_changed,
                ),
                Err(error @ StoreError::Corrupt { .. }) => {
                    storage::log(&error);
                    Some(live::change_of_unreadable(true))
                }
                Err(error) => return Err(error.into()),
            };
            changes.extend(
                change.map(|change| AccountChanged::of(account.to_string(), change.into())),
            );
        }
        changes.dedup();
        Ok(changes)
    }

    /// Runs in its turn of the derivations.
    pub(in crate::daemon) fn create(
        &self,
        reply: &Reply<Create>,
        question: Create,
        now: UnixSeconds,
    ) -> Answered<Created> {
        let name = question.account;
        let policy = self.hosts.passwords_of(name.host(), reply.peer())?;
        self.disk_room.require()?;
        let denied = |denial: Denial| refused("account.create", &name, denial);
        let account = name.account();
        let account = account.ok_or_else(|| denied(Denial::AccountNameImpossible))?;
        let asked = match question.caller {
            CreateCaller::Server => Caller::Server,
            CreateCaller::Prosodyctl => Caller::Prosodyctl,
            CreateCaller::Reset => Caller::Reset,
        };
        let token = question.reservation.as_deref();
        let is_anothers = self.reservations.is_anothers(account, token, now);
        let known = self.store.view(account).account()?;
        let Some(password) = question.password else {
            passwords::reserve(known.as_ref(), asked, is_anothers).map_err(denied)?;
            let token = self.reserve(account, asked, now)?;
            return Ok(Created {
                created: known.is_none(),
                password_changed: None,
                reservation: Some(token),
            });
        };
        let caller = passwords::acting(asked, self.reservations.made_for(account, token, now));
        passwords::create(known.as_ref(), caller, is_anothers).map_err(denied)?;
        // The first account that is written has the name, even if another has reserved it.
        let decide = move |known: Option<&Account>| passwords::create(known, caller, false);
        let new = NewPassword {
            question: Create::METHOD,
            account,
            password: &password.0,
            policy: &policy,
        };
        let put = self.put_password(reply, &new, now, decide);
        // Not before: until the account is there, the reservation stands for it.
        if let Some(token) = token {
            self.reservations.give_back(account, token, now);
        }
        let Put { creation, at, .. } = put?;
        Ok(Created {
            created: creation == Creation::New,
            password_changed: Some(at),
            reservation: None,
        })
    }

    /// Runs in its turn of the derivations.
    pub(in crate::daemon) fn set_password(
        &self,
        reply: &Reply<SetPassword>,
        question: SetPassword,
        now: UnixSeconds,
    ) -> Answered<PasswordSet> {
        let SetPassword {
            account: name,
            password,
        } = question;
        let policy = self.hosts.passwords_of(name.host(), reply.peer())?;
        self.disk_room.require()?;
        let new = NewPassword {
            question: SetPassword::METHOD,
            account: existing(SetPassword::METHOD, &name)?,
            password: &password.0,
            policy: &policy,
        };
        self.put_password(reply, &new, now, passwords::set_password)
            .map(|Put { at, silent, .. }| PasswordSet {
                password_changed: at,
                silent,
            })
    }

    /// Derives, and writes the account as `decide` says.
    fn put_password<Q: Request>(
        &self,
        reply: &Reply<Q>,
        new: &NewPassword<'_>,
        now: UnixSeconds,
        decide: impl Fn(Option<&Account>) -> Result<Creation, Denial> + Send + 'static,
    ) -> Result<Put, Refusal> {
        let NewPassword {
            question,
            account,
            password,
            policy,
        } = *new;
        let denied = |denial: Denial| refused(question, account, denial);
        let secret = Secret::prepare(password).map_err(|_| denied(Denial::PasswordUnacceptable))?;
        let known = self.store.view(account).account()?;
        decide(known.as_ref()).map_err(denied)?;
        let verifiers = new_verifiers(&ScramHash::ALL, &secret, policy.scram_iterations)?;
        let incarnation = new_incarnation()?;
        let jid = account.clone();
        let asking = self.gate.asking(reply.connection());
        let asker = Some(asking.asker());
        let written = self.store.take_back(asker, account, move |view| {
            let known = view.account()?;
            let creation = match decide(known.as_ref()) {
                Ok(creation) => creation,
                Err(denial) => return Ok(Err(denial)),
            };
            let account = match known {
                Some(known) => Account {
                    // Never that of the one before, however fast: sessions are told apart by it.
                    password_changed: now.max(known.password_changed.plus(1)),
                    verifiers,
                    ..known
                },
                None => Account {
                    jid,
                    incarnation,
                    enabled: true,
                    created: now,
                    password_changed: now,
                    verifiers,
                },
            };
            let at = account.password_changed;
            let mut edits = vec![Edit::PutAccount(Box::new(account))];
            let ended = ended_links(view, CutOff::OtherPassword)?.into_iter();
            edits.extend(ended.map(Edit::RemoveLink));
            Ok(Ok((edits, (creation, at))))
        });
        let (creation, at) = written?.map_err(denied)?;
        let is_new = creation == Creation::New;
        tracing::info!(%account, is_new, uid = reply.peer().uid, "{question}: yes");
        let silent = asking.silent();
        Ok(Put {
            creation,
            at,
            silent,
        })
    }

    pub(in crate::daemon) fn delete(
        &self,
        reply: &Reply<Delete>,
        question: Delete,
        now: UnixSeconds,
    ) -> Answered<Deleted> {
        let Delete {
            account: name,
            incarnation,
            reservation,
        } = question;
        self.hosts.passwords_of(name.host(), reply.peer())?;
        let account = existing("account.delete", &name)?;
        let denied = |denial: Denial| refused("account.delete", account, denial);
        // Prosody 13 takes a reservation back by deleting the account that it thinks it has created: one of the name is
        // another's. A reservation that has passed says nothing of who is meant.
        let is_taken_back =
            reservation.is_some_and(|token| self.reservations.give_back(account, &token, now));
        if is_taken_back {
            let known = self.store.view(account).account()?;
            passwords::give_back(known.as_ref()).map_err(denied)?;
            return Ok(Deleted {
                certificates: 0,
                servers: 0,
                silent: Vec::new(),
            });
        }
        // Not in the writer thread, if it is refused anyway.
        let known = self.store.view(account).account()?;
        passwords::is_meant(known.as_ref(), incarnation.as_ref()).map_err(denied)?;
        let asking = self.gate.asking(reply.connection());
        let asker = Some(asking.asker());
        let written = self.store.take_back(asker, account, move |view| {
            let known = view.account()?;
            if let Err(denial) = passwords::is_meant(known.as_ref(), incarnation.as_ref()) {
                return Ok(Err(denial));
            }
            let certificates = view.list()?.enrolments.len();
            Ok(Ok((removal(view)?, certificates)))
        });
        let certificates = written?.map_err(denied)?;
        let servers = asking.told();
        tracing::info!(%account, certificates, uid = reply.peer().uid, "account.delete: yes");
        Ok(Deleted {
            certificates,
            servers,
            silent: asking.silent(),
        })
    }

    /// Enables or disables.
    pub(in crate::daemon) fn enable<Q: Request>(
        &self,
        reply: &Reply<Q>,
        name: &AccountName,
        enabled: bool,
    ) -> Answered<Switched> {
        let question = Q::METHOD;
        self.hosts.passwords_of(name.host(), reply.peer())?;
        let account = existing(question, name)?;
        let denied = |denial: Denial| refused(question, account, denial);
        passwords::require(self.store.view(account).account()?.as_ref()).map_err(denied)?;
        let asking = self.gate.asking(reply.connection());
        let asker = Some(asking.asker());
        let written = self.store.take_back(asker, account, move |view| {
            let known = view.account()?;
            Ok(passwords::require(known.as_ref()).map(|known| {
                let is_other = known.enabled != enabled;
                let put = is_other.then(|| Account {
                    enabled,
                    ..known.clone()
                });
                let edits = put.into_iter().map(Box::new).map(Edit::PutAccount);
                (edits.collect(), known.enabled)
            }))
        });
        let was_enabled = written?.map_err(denied)?;
        tracing::info!(%account, was_enabled, uid = reply.peer().uid, "{question}: yes");
        Ok(Switched {
            was_enabled,
            silent: asking.silent(),
        })
    }

    pub(in crate::daemon) fn list_accounts(
        &self,
        question: ListAccounts,
        peer: Peer,
    ) -> Answered<AccountPage> {
        let ListAccounts { host, after } = question;
        self.hosts.passwords_of(&host, peer)?;
        let read = self
            .store
            .accounts_of(&host, after.as_deref(), PAGE_ACCOUNTS)?;
        let mut is_whole = read.len() < PAGE_ACCOUNTS;
        let mut rows: Vec<ListedAccount> = Vec::new();
        let mut bytes = 0;
        for account in &read {
            if bytes > PAGE_BYTES {
                is_whole = false;
                break;
            }
            let hashes = account.verifiers.iter().map(ScramVerifier::hash);
            let row = ListedAccount {
                username: account.jid.username().to_owned(),
                enabled: account.enabled,
                created: account.created,
                password_changed: account.password_changed,
                scram: hashes.collect(),
            };
            bytes += json!(row).to_string().len();
            rows.push(row);
        }
        let last = rows.last().map(|row| row.username.clone());
        let next = last.filter(|_| !is_whole);
        Ok(AccountPage {
            accounts: rows,
            next,
        })
    }

    /// Reserves the name; the answer is what whoever creates its account names again.
    fn reserve(
        &self,
        account: &BareJid,
        caller: Caller,
        now: UnixSeconds,
    ) -> Result<String, Refusal> {
        let token = new_token()?;
        let reserved = self
            .reservations
            .reserve(account.clone(), token.clone(), caller, now);
        reserved.map_err(|problem| match problem {
            NotReserved::Taken => refused("account.create", account, Denial::AccountExists),
            NotReserved::TooMany => Fault::Overload.into(),
        })?;
        tracing::info!(%account, "account.create: reserved");
        Ok(token)
    }
}

/// An account that has its password.
struct Put {
    creation: Creation,
    at: UnixSeconds,
    /// The daemons that could not be told, in words.
    silent: Vec<String>,
}

/// A password that an account is given.
struct NewPassword<'a> {
    /// The question's name, for the log.
    question: &'static str,
    account: &'a BareJid,
    password: &'a str,
    policy: &'a HostPolicy,
}

/// The answer for an entry of `session.report` that cannot be read.
fn change_of_unreadable(bad: &Bad) -> Option<AccountChanged> {
    let account = bad.text("account")?;
    let change = live::change_of_unreadable(BareJid::parse(account).is_ok());
    Some(AccountChanged::of(account, change.into()))
}

/// Everything that is remembered of an account, to be removed.
fn removal(view: &View<'_>) -> Result<Vec<Edit>, StoreError> {
    let list = view.list()?;
    let mut edits = vec![Edit::RemoveAccount, Edit::ForgetIncarnation];
    edits.extend(list.enrolments.into_iter().map(Box::new).map(Edit::Remove));
    let lifted = |(key_id, incarnation)| Edit::UnrevokeKey {
        key_id,
        incarnation,
    };
    edits.extend(view.revoked_keys()?.into_iter().map(lifted));
    let disabled: Vec<Disabled> = view.disabled()?;
    edits.extend(disabled.into_iter().map(Box::new).map(Edit::ClearDisabled));
    let links = view.links()?.into_iter();
    edits.extend(links.map(|link| Edit::RemoveLink(link.hash)));
    Ok(edits)
}

/// The account of this name, as far as there may be one.
fn existing<'a>(question: &'static str, name: &'a AccountName) -> Result<&'a BareJid, Refusal> {
    let account = name.account();
    account.ok_or_else(|| refused(question, name, Denial::AccountMissing))
}

fn refused(question: &'static str, account: &impl Display, denial: Denial) -> Refusal {
    tracing::info!(%account, reason = denial.words().code, "{question}: no");
    Refusal::Management(denial)
}

/// Most accounts that are read for one page.
const PAGE_ACCOUNTS: usize = 500;
