//! `account.*`: passwords of accounts that live here.
//!
//! **No yes after a change**: as for certificates, a password is answered with yes under the lock that disabling,
//! deleting and setting a password take for writing.

use serde_json::{Value, json};

use super::super::connection::Peer;
use super::super::gate::Closing;
use super::super::guesses::Place;
use super::super::reply::{Answered, Reply, unreadable};
use super::super::reservations::NotReserved;
use super::super::storage;
use super::Service;
use crate::identity::{
    Account, BareJid, Disabled, Host, Incarnation, ScramHash, ScramVerifier, Secret, UnixSeconds,
};
use crate::policy::live::{self, Change};
use crate::policy::passwords::{Caller, Creation, NEW_SALT_BYTES};
use crate::policy::throttle::Outcome;
use crate::policy::{Denial, HostPolicy, passwords};
use crate::protocol::{
    AccountExists, AccountPage, Accounts, Admission, Bad, Check, Create, CreateCaller, Created,
    Delayed, Delete, Deleted, Existence, Failed, Fault, HostScram, ListAccounts, ListedAccount,
    OfHost, PAGE_BYTES, PasswordSet, Refusal, Request, Role, Scram, ScramKeys, SetPassword,
    Succeeded, Switched, Verify,
};
use crate::store::{Decided, Edit, Harmless, StoreError, View};

impl Service {
    pub(in crate::daemon) fn exists(
        &self,
        question: AccountExists,
        peer: Peer,
    ) -> Answered<Existence> {
        let AccountExists { account } = question;
        self.passwords_of(account.host(), peer)?;
        let known = self.known(&account)?;
        Ok(Existence {
            exists: known.is_some(),
            enabled: known.as_ref().is_some_and(|known| known.enabled),
            created: known.as_ref().map(|known| known.created),
            password_changed: known.as_ref().map(|known| known.password_changed),
        })
    }

    /// Runs in its turn of the derivations.
    pub(in crate::daemon) fn verify(
        &self,
        reply: &Reply<Verify>,
        question: &Verify,
        now: UnixSeconds,
    ) {
        let policy = match self.passwords_of(question.account.host(), reply.peer()) {
            Ok(policy) => policy,
            Err(fault) => return reply.refuse(fault),
        };
        let account = &question.account;
        let place = question.address.as_deref().map(Place::of);
        // Before it is known how this attempt ends: many that are made at once must not all count as the first.
        let delay = place.map_or(0.0, |place| {
            self.guesses
                .begun(account, place, policy.guess_delay_max_seconds, now)
        });
        let address = question.address.as_deref();
        let secret = Secret::prepare(&question.password.0);
        let tried = self.try_password(reply, account, secret.as_ref().ok(), &policy, delay);
        if let Some(place) = place {
            let outcome = match tried {
                Ok(true) => Outcome::Succeeded,
                Ok(false) => Outcome::Failed,
                Err(_) => Outcome::Unknown,
            };
            self.guesses.ended(account, place, outcome, now);
        }
        match tried {
            Ok(true) => {
                tracing::info!(%account, address, "account.verify: yes");
                if let Ok(secret) = secret {
                    self.renew(account, &secret, &policy);
                }
            }
            Ok(false) => tracing::info!(%account, address, delay, "account.verify: no"),
            Err(error) => reply.refuse(error),
        }
    }

    /// Tries the password and answers; `true` is yes.
    fn try_password(
        &self,
        reply: &Reply<Verify>,
        account: &BareJid,
        secret: Option<&Secret>,
        policy: &HostPolicy,
        delay: f64,
    ) -> Result<bool, StoreError> {
        let view = self.store.view(account);
        let known = view.account()?.filter(|known| known.enabled);
        let own = known.as_ref().and_then(Account::strongest).cloned();
        // Always made, and one is always tried: time tells nobody who exists.
        let looks = self.store.census(account.host()).dealt;
        let decoys = passwords::decoys(account, &self.store.secret(), &looks, policy);
        let verifier = own.or_else(|| decoys.into_iter().next_back());
        let verifier = verifier.as_ref();
        let is_right = match (secret, verifier) {
            (Some(secret), Some(verifier)) => verifier.admits(secret),
            // What cannot be a password is as slow as one that is wrong.
            (None, Some(verifier)) => {
                if let Ok(some) = Secret::prepare("wrong") {
                    let _ = verifier.admits(&some);
                }
                false
            }
            (_, None) => false,
        };
        let pass = self.gate.pass();
        // Anew: it may have been disabled or given another password while this one was tried.
        let now_known = view.account()?;
        let admitted = verifier
            .filter(|_| is_right)
            .is_some_and(|verifier| passwords::admits(now_known.as_ref(), verifier).is_ok());
        let admitted = now_known.filter(|_| admitted);
        match &admitted {
            Some(known) => reply.admit(&pass, &admission(known, Some(delay))),
            None => reply.refuse(Refusal::Password {
                denial: Denial::PasswordWrong,
                delay,
            }),
        }
        Ok(admitted.is_some())
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
                let renewed = Account {
                    verifiers,
                    ..known.clone()
                };
                let put = Harmless::put_account(Some(&known), renewed);
                Ok(Ok((put.into_iter().collect(), ())))
            })?;
            self.tell_scram(account.host());
            Ok(written)
        })();
        match renewed {
            Ok(_) => {}
            // The login stands all the same.
            Err(error) => storage::log(&error),
        }
    }

    pub(in crate::daemon) fn scram(&self, question: Scram, peer: Peer) -> Answered<ScramKeys> {
        let Scram { account, hash } = question;
        let policy = self.passwords_of(account.host(), peer)?;
        let secret = self.store.secret();
        let looks = self.store.census(account.host()).dealt;
        let decoys = passwords::decoys(&account, &secret, &looks, &policy);
        let decoy = decoys.into_iter().find(|decoy| decoy.hash() == hash);
        let decoy = decoy.unwrap_or_else(|| passwords::decoy(&account, hash, &secret, &policy));
        let known = self.known(&account)?.filter(|known| known.enabled);
        let own = known.as_ref().and_then(|known| known.verifier(hash));
        tracing::debug!(%account, hash = hash.name(), "account.scram");
        let verifier = own.unwrap_or(&decoy);
        Ok(ScramKeys {
            salt: verifier.salt().to_vec(),
            iterations: verifier.iterations(),
            stored_key: verifier.stored_key().to_vec(),
            server_key: verifier.server_key().to_vec(),
        })
    }

    pub(in crate::daemon) fn scram_of(&self, question: OfHost, peer: Peer) -> Answered<HostScram> {
        let OfHost { host } = question;
        self.passwords_of(&host, peer)?;
        Ok(HostScram {
            scram: self.store.census(&host).common(),
        })
    }

    pub(in crate::daemon) fn succeeded(
        &self,
        reply: &Reply<Succeeded>,
        question: &Succeeded,
        now: UnixSeconds,
    ) {
        if let Err(refusal) = self.decided_success(reply, question, now) {
            reply.refuse(refusal);
        }
    }

    fn decided_success(
        &self,
        reply: &Reply<Succeeded>,
        question: &Succeeded,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let account = &question.account;
        let policy = self.passwords_of(account.host(), reply.peer())?;
        let address = question.address.as_deref();
        let place = address.map(Place::of);
        let max = policy.guess_delay_max_seconds;
        let delay = place.map_or(0.0, |place| self.guesses.begun(account, place, max, now));
        let admitted = self.admit_proof(reply, question, delay);
        if let Some(place) = place {
            // Whoever has made a right proof has guessed nothing, even if it came too late.
            let outcome = match admitted {
                Ok(true) => Outcome::Succeeded,
                Ok(false) | Err(_) => Outcome::Unknown,
            };
            self.guesses.ended(account, place, outcome, now);
        }
        let hash = question.hash.name();
        if admitted? {
            tracing::info!(%account, address, hash, "account.succeeded: yes");
            return Ok(());
        }
        tracing::info!(%account, address, hash, "account.succeeded: no, it was changed meanwhile");
        let denial = Denial::PasswordWrong;
        Err(Refusal::Password { denial, delay })
    }

    /// Answers with yes if the account has still the key that the proof was checked with.
    fn admit_proof(
        &self,
        reply: &Reply<Succeeded>,
        question: &Succeeded,
        delay: f64,
    ) -> Result<bool, Refusal> {
        let account = &question.account;
        let pass = self.gate.pass();
        let known = self.known(account)?;
        let verifier = known
            .as_ref()
            .and_then(|known| known.verifier(question.hash));
        let admitted = verifier
            .filter(|verifier| verifier.has_stored_key(&question.stored_key))
            .is_some_and(|verifier| passwords::admits(known.as_ref(), verifier).is_ok());
        let admitted = known.filter(|_| admitted);
        if let Some(known) = &admitted {
            reply.admit(&pass, &admission(known, Some(delay)));
        }
        Ok(admitted.is_some())
    }

    /// Which accounts with live sessions were changed while their server did not hear of it.
    pub(in crate::daemon) fn check(
        &self,
        connection: u64,
        question: Check,
        peer: Peer,
    ) -> Answered {
        let Check { accounts } = question;
        unreadable(connection, "account.check", &accounts);
        let mut changes = Vec::new();
        for session in accounts {
            let session = match session {
                Ok(session) => session,
                Err(bad) => {
                    changes.extend(change_of_unreadable(&bad));
                    continue;
                }
            };
            let account = session.account;
            // The sessions of other hosts must not wait until this one's options are mended.
            if self.passwords_of(account.host(), peer).is_err() {
                continue;
            }
            let change = match self.store.view(&account).account() {
                Ok(known) => live::changed_since(
                    known.as_ref(),
                    session.incarnation.as_ref(),
                    session.password_changed,
                ),
                // Rather one too many: it may log in again.
                Err(error @ StoreError::Corrupt { .. }) => {
                    storage::log(&error);
                    Some(Change::Password)
                }
                Err(error) => return Err(error.into()),
            };
            let change = change.map(|change| match change {
                Change::Deleted => "deleted",
                Change::Disabled => "disabled",
                Change::Password => "password",
            });
            if let Some(change) = change {
                changes.push(json!({"account": account, "change": change}));
            }
        }
        Ok(json!({"changes": changes}))
    }

    pub(in crate::daemon) fn failed(
        &self,
        question: Failed,
        peer: Peer,
        now: UnixSeconds,
    ) -> Answered<Delayed> {
        let Failed { account, address } = question;
        let policy = self.passwords_of(account.host(), peer)?;
        let place = address.as_deref().map(Place::of);
        let max = policy.guess_delay_max_seconds;
        let delay = place.map_or(0.0, |place| {
            let delay = self.guesses.begun(&account, place, max, now);
            self.guesses.ended(&account, place, Outcome::Failed, now);
            delay
        });
        tracing::info!(%account, address, delay, "account.failed");
        Ok(Delayed { delay })
    }

    /// Runs in its turn of the derivations.
    pub(in crate::daemon) fn create(
        &self,
        reply: &Reply<Create>,
        question: Create,
        now: UnixSeconds,
    ) -> Answered<Created> {
        let account = question.account;
        let policy = self.passwords_of(account.host(), reply.peer())?;
        self.disk_room.require()?;
        let caller = match question.caller {
            CreateCaller::Server => Caller::Server,
            CreateCaller::Prosodyctl => Caller::Prosodyctl,
            CreateCaller::Reset => Caller::Reset,
        };
        let token = question.reservation.as_deref();
        let is_anothers = self.reservations.is_anothers(&account, token, now);
        let known = self.known(&account)?;
        let denied = |denial: Denial| refused("account.create", &account, denial);
        let has_password = question.password.is_some();
        passwords::create(known.as_ref(), caller, has_password, is_anothers).map_err(denied)?;
        let Some(password) = question.password else {
            let token = self.reserve(&account, now)?;
            return Ok(Created {
                created: true,
                password_changed: None,
                reservation: Some(token),
            });
        };
        // Whoever is first to be written has the name, whatever was reserved.
        let decide =
            move |known: Option<&Account>| passwords::create(known, caller, has_password, false);
        let put = self.put_password(reply, &account, &password.0, &policy, now, decide);
        // Not before: until the account is there, the reservation stands for it.
        if let Some(token) = token {
            self.reservations.give_back(&account, token, now);
        }
        let (creation, at) = put?;
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
        let SetPassword { account, password } = question;
        let policy = self.passwords_of(account.host(), reply.peer())?;
        self.disk_room.require()?;
        let decide = passwords::set_password;
        self.put_password(reply, &account, &password.0, &policy, now, decide)
            .map(|(_, at)| PasswordSet {
                password_changed: at,
            })
    }

    /// Derives, and writes the account as `decide` says.
    fn put_password<Q: Request>(
        &self,
        reply: &Reply<Q>,
        account: &BareJid,
        password: &str,
        policy: &HostPolicy,
        now: UnixSeconds,
        decide: impl Fn(Option<&Account>) -> Result<Creation, Denial> + Send + 'static,
    ) -> Result<(Creation, UnixSeconds), Refusal> {
        let denied = |denial: Denial| refused("account.password", account, denial);
        let secret = Secret::prepare(password).map_err(|_| denied(Denial::PasswordUnacceptable))?;
        let known = self.known(account)?;
        decide(known.as_ref()).map_err(denied)?;
        let verifiers = new_verifiers(&ScramHash::ALL, &secret, policy.scram_iterations)?;
        let incarnation = new_incarnation()?;
        let jid = account.clone();
        let closing = self.gate.close(&self.servers);
        let written = self.change_account(&closing, account, move |view| {
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
            Ok(Ok((
                vec![Edit::PutAccount(Box::new(account))],
                (creation, at),
            )))
        });
        let (creation, at) = written?.map_err(denied)?;
        let (change, question) = match creation {
            Creation::New => ("created", "account.create"),
            Creation::Password => ("password", "account.set_password"),
        };
        self.servers
            .tell_changed(reply.connection().id, account, change);
        drop(closing);
        tracing::info!(%account, uid = reply.peer().uid, "{question}: yes");
        Ok((creation, at))
    }

    pub(in crate::daemon) fn delete(
        &self,
        reply: &Reply<Delete>,
        question: Delete,
        now: UnixSeconds,
    ) -> Answered<Deleted> {
        let Delete {
            account,
            incarnation,
            reservation,
        } = question;
        self.passwords_of(account.host(), reply.peer())?;
        let denied = |denial: Denial| refused("account.delete", &account, denial);
        // Prosody 13 takes a reservation back by deleting the account that it thinks it has created: one of the name is
        // another's. A reservation that has passed says nothing of who is meant.
        let is_taken_back =
            reservation.is_some_and(|token| self.reservations.give_back(&account, &token, now));
        if is_taken_back {
            return match self.known(&account)? {
                None => Ok(Deleted {
                    certificates: 0,
                    servers: 0,
                }),
                Some(_) => Err(denied(Denial::AccountExists)),
            };
        }
        // What is refused anyway must not hold everybody's logins up.
        let known = self.known(&account)?;
        passwords::is_meant(known.as_ref(), incarnation.as_ref()).map_err(denied)?;
        let closing = self.gate.close(&self.servers);
        let written = self.change_account(&closing, &account, move |view| {
            let known = view.account()?;
            if let Err(denial) = passwords::is_meant(known.as_ref(), incarnation.as_ref()) {
                return Ok(Err(denial));
            }
            let certificates = view.list()?.enrolments.len();
            Ok(Ok((removal(view)?, certificates)))
        });
        let certificates = written?.map_err(denied)?;
        let servers = self
            .servers
            .tell_changed(reply.connection().id, &account, "deleted");
        drop(closing);
        tracing::info!(%account, certificates, uid = reply.peer().uid, "account.delete: yes");
        Ok(Deleted {
            certificates,
            servers,
        })
    }

    /// Enables or disables.
    pub(in crate::daemon) fn enable<Q: Request>(
        &self,
        reply: &Reply<Q>,
        account: &BareJid,
        enabled: bool,
    ) -> Answered<Switched> {
        let question = if enabled {
            "account.enable"
        } else {
            "account.disable"
        };
        self.passwords_of(account.host(), reply.peer())?;
        if self.known(account)?.is_none() {
            return Err(refused(question, account, Denial::AccountMissing));
        }
        let closing = self.gate.close(&self.servers);
        let written = self.change_account(&closing, account, move |view| {
            let Some(known) = view.account()? else {
                return Ok(Err(Denial::AccountMissing));
            };
            let was_enabled = known.enabled;
            let put = Edit::PutAccount(Box::new(Account { enabled, ..known }));
            let edits = if was_enabled == enabled {
                vec![]
            } else {
                vec![put]
            };
            Ok(Ok((edits, was_enabled)))
        });
        let was_enabled = written?.map_err(|denial| refused(question, account, denial))?;
        if was_enabled != enabled {
            let change = if enabled { "enabled" } else { "disabled" };
            self.servers
                .tell_changed(reply.connection().id, account, change);
        }
        drop(closing);
        tracing::info!(%account, was_enabled, uid = reply.peer().uid, "{question}: yes");
        Ok(Switched { was_enabled })
    }

    pub(in crate::daemon) fn list_accounts(
        &self,
        question: ListAccounts,
        peer: Peer,
    ) -> Answered<AccountPage> {
        let ListAccounts { host, after } = question;
        self.passwords_of(&host, peer)?;
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

    /// What stands in `passwords` for the account.
    pub(super) fn known(&self, account: &BareJid) -> Result<Option<Account>, Refusal> {
        Ok(self.store.view(account).account()?)
    }

    /// The rules for passwords of `host`, if they are kept here. An admin may prepare a host before it is moved.
    pub(super) fn passwords_of(&self, host: &Host, peer: Peer) -> Result<HostPolicy, Fault> {
        let (accounts, policy) = self.hosts.of(host)?;
        if accounts == Accounts::Prosody && peer.role != Role::Admin {
            return Err(Fault::AccountsInProsody);
        }
        Ok(policy)
    }

    /// As [`crate::store::Store::take_back`]; and tells the servers when the host's SCRAM hashes are others now.
    fn change_account<T: Send + 'static>(
        &self,
        closing: &Closing<'_>,
        account: &BareJid,
        decide: impl FnOnce(&View<'_>) -> Decided<Edit, T, Denial> + Send + 'static,
    ) -> Result<Result<T, Denial>, StoreError> {
        let written = self.store.take_back(closing, account, decide)?;
        self.tell_scram(account.host());
        Ok(written)
    }

    /// Tells every server of the host which SCRAM hashes may be offered, if that has changed.
    pub(super) fn tell_scram(&self, host: &Host) {
        self.scram_told.tell(&self.store, &self.servers, host);
    }

    /// Reserves the name; the answer is what whoever creates its account names again.
    fn reserve(&self, account: &BareJid, now: UnixSeconds) -> Result<String, Refusal> {
        let token = new_token()?;
        let reserved = self
            .reservations
            .reserve(account.clone(), token.clone(), now);
        reserved.map_err(|problem| match problem {
            NotReserved::Taken => refused("account.create", account, Denial::AccountExists),
            NotReserved::TooMany => Fault::Overload.into(),
        })?;
        tracing::info!(%account, "account.create: reserved");
        Ok(token)
    }
}

/// What is answered for an entry of `account.check` that cannot be read: its sessions end, and nothing is deleted.
fn change_of_unreadable(bad: &Bad) -> Option<Value> {
    let account = bad.text("account")?;
    let change = match BareJid::parse(account) {
        // Rather one too many: it may log in again.
        Ok(_) => "password",
        // Nobody can log in as it.
        Err(_) => "disabled",
    };
    Some(json!({"account": account, "change": change}))
}

/// A yes, with what tells later whether it still holds.
pub(super) fn admission(known: &Account, delay: Option<f64>) -> Admission {
    Admission {
        delay,
        incarnation: known.incarnation.clone(),
        password_changed: known.password_changed,
    }
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
    Ok(edits)
}

/// One verifier for each of `hashes`, with a salt of its own.
pub(super) fn new_verifiers(
    hashes: &[ScramHash],
    secret: &Secret,
    iterations: u32,
) -> Result<Vec<ScramVerifier>, StoreError> {
    let derive = |hash: &ScramHash| {
        let mut salt = [0; NEW_SALT_BYTES];
        getrandom::fill(&mut salt).map_err(StoreError::Random)?;
        Ok(ScramVerifier::derive(*hash, secret, &salt, iterations))
    };
    hashes.iter().map(derive).collect()
}

/// Which account of a name a new one is.
pub(super) fn new_incarnation() -> Result<Incarnation, StoreError> {
    let text = new_token()?;
    // Proof: 32 hex digits are an incarnation.
    #[allow(clippy::expect_used)]
    Ok(Incarnation::parse(&text).expect("hex digits are an incarnation"))
}

/// Sixteen random bytes, in hex.
fn new_token() -> Result<String, StoreError> {
    let mut noise = [0; 16];
    getrandom::fill(&mut noise).map_err(StoreError::Random)?;
    let hex = |text, byte: &u8| format!("{text}{byte:02x}");
    Ok(noise.iter().fold(String::new(), hex))
}

fn refused(question: &'static str, account: &BareJid, denial: Denial) -> Refusal {
    tracing::info!(%account, reason = denial.words().code, "{question}: no");
    Refusal::Management(denial)
}

/// Most accounts that are read for one page.
const PAGE_ACCOUNTS: usize = 500;
