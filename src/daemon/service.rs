//! One method for each question: parse, fetch the facts, let `policy` decide, write, answer, log.
//!
//! **No yes after a revocation.** Deciding a login and queuing its answer holds `revocations` for reading; a
//! revocation holds it for writing from before its commit until its `sessions.close` is queued on every
//! connection. So a login either loses, or its session is closed.
//!
//! Must not know: sockets, the clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::identity::certificate::Finding;
use crate::identity::{
    AccountList, BareJid, CertificateName, ClientCert, Enrolment, Fingerprint, Host, KeyId,
    LastUse, UnixSeconds,
};
use crate::policy::host::{Declared, Remark};
use crate::policy::login::{AccountFact, CertificateFacts};
use crate::policy::manage::{Appending, Asker, LoggedInBy, Scope};
use crate::policy::{Denial, HostPolicy, login, manage};
use crate::store::{Edit, HostRecord, Store, StoreError};

use super::connection::{Connection, Introduction, Role};
use super::protocol::{
    self, Accounts, Append, Certificate, Closed, Fault, Hello, Id, Incoming, Line, List, Login,
    MAX_CERTIFICATE_BASE64_BYTES, Named, Offer, Opened, PAGE_BYTES, PROTOCOL_VERSION, Refusal,
    Session, SessionBy, Unrevoke, base64_of, fields,
};
use super::sessions::Sessions;

/// Everything that questions are answered from.
pub struct Service {
    store: Store,
    hosts: RwLock<HashMap<Host, DeclaredHost>>,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    sessions: Sessions,
    revocations: RwLock<()>,
    last_uses: Mutex<HashMap<(BareJid, CertificateName), (Fingerprint, LastUse)>>,
    tasks: Arc<Semaphore>,
    is_disk_nearly_full: AtomicBool,
}

/// A host as it was declared last.
#[derive(Clone, Debug)]
struct DeclaredHost {
    accounts: Accounts,
    options: Map<String, Value>,
    declared: Declared,
}

type Answered<T = Value> = Result<T, Refusal>;

impl Service {
    /// A service that knows the hosts that the store remembers.
    ///
    /// Errors: the store.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let mut hosts = HashMap::new();
        for (host, record) in store.hosts()? {
            let options = serde_json::from_str(&record.options).unwrap_or_default();
            let accounts = match record.accounts.as_str() {
                "daemon" => Accounts::Daemon,
                _ => Accounts::Prosody,
            };
            hosts.insert(host, DeclaredHost::new(accounts, options));
        }
        Ok(Self {
            store,
            hosts: RwLock::new(hosts),
            connections: Mutex::default(),
            sessions: Sessions::default(),
            revocations: RwLock::new(()),
            last_uses: Mutex::default(),
            tasks: Arc::new(Semaphore::new(MAX_TASKS as usize)),
            is_disk_nearly_full: AtomicBool::new(false),
        })
    }

    /// A connection was accepted.
    pub fn connected(&self, connection: &Arc<Connection>) {
        let mut all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(connection.id, Arc::clone(connection));
    }

    /// A connection has ended.
    pub fn disconnected(&self, connection: &Connection) {
        let mut all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.remove(&connection.id);
        drop(all);
        self.sessions.forget(connection.id);
    }

    /// Answers one line, now or later.
    ///
    /// `uptime` is for `status`.
    pub fn handle(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        line: Line,
        now: UnixSeconds,
        uptime: Duration,
    ) {
        let parsed = match line {
            Line::Whole(line) => protocol::parse(&line),
            Line::TooLong => Err((None, Fault::TooLong)),
        };
        match parsed {
            Ok(Incoming::Question {
                id: Some(id),
                method,
                params,
            }) => {
                let answer = Answer {
                    connection: Arc::clone(connection),
                    id,
                    is_sent: AtomicBool::new(false),
                };
                self.question(answer, &method, params, now, uptime);
            }
            Ok(Incoming::Question {
                id: None,
                method,
                params,
            }) => self.notification(connection, &method, params),
            Ok(Incoming::Answer { id, result }) => {
                tracing::debug!(connection = connection.id, id, ?result, "answered");
            }
            Err((id, fault)) => {
                tracing::warn!(connection = connection.id, reason = %fault, "unreadable line");
                connection.push(&protocol::failure(id.as_ref(), &fault.into()));
            }
        }
    }

    fn question(
        self: &Arc<Self>,
        answer: Answer,
        method: &str,
        params: Value,
        now: UnixSeconds,
        uptime: Duration,
    ) {
        let role = answer.connection.peer.role;
        match (method, role) {
            ("session.hello", _) => match fields(params) {
                Ok(hello) => self.hello(answer, hello),
                Err(fault) => answer.send(Err(fault.into())),
            },
            ("external.offer", _) => answer.send(self.offer(params, now)),
            ("external.login", _) => self.login(answer, params, now),
            ("session.opened", _) => {
                let answered = self.opened(&answer.connection, params);
                answer.send(answered);
            }
            ("certificate.list", _) => self.task(answer, move |service, answer| {
                answer.send(service.list(params, role, now));
            }),
            ("certificate.append", _) => self.task(answer, move |service, answer| {
                answer.send(service.append(params, now));
            }),
            ("certificate.disable", _) => self.task(answer, move |service, answer| {
                answer.send(service.disable(params, role, now));
            }),
            ("certificate.revoke", _) => self.task(answer, move |service, answer| {
                service.revoke(answer, params, role, now);
            }),
            ("certificate.unrevoke", Role::Admin) => self.task(answer, move |service, answer| {
                answer.send(service.unrevoke(params));
            }),
            ("status", Role::Admin) => self.task(answer, move |service, answer| {
                answer.send(service.status(uptime));
            }),
            _ => {
                let method = method
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(64)
                    .collect();
                answer.send(Err(Fault::UnknownMethod { method }.into()));
            }
        }
    }

    fn notification(&self, connection: &Arc<Connection>, method: &str, params: Value) {
        let done = match method {
            "session.opened" => self.opened(connection, params).map(|revoked| {
                // Belt and braces: a session whose login lost its race is closed as soon as it is heard of.
                let close = revoked.get("close").and_then(Value::as_array);
                for session in close.into_iter().flatten() {
                    ask(connection, "sessions.close", &closing(session.clone()));
                }
            }),
            "session.closed" => fields::<Closed>(params)
                .map(|closed| {
                    for session in &closed.sessions {
                        self.sessions.closed(connection.id, session);
                    }
                })
                .map_err(Refusal::from),
            _ => Ok(()),
        };
        if let Err(refusal) = done {
            tracing::warn!(connection = connection.id, method, ?refusal, "notification");
        }
    }

    /// Runs `work` where it may block. Its answer, or a fault, is sent within the deadline.
    fn task(self: &Arc<Self>, answer: Answer, work: impl FnOnce(&Self, &Answer) + Send + 'static) {
        let permit = Arc::clone(&self.tasks).try_acquire_owned();
        let (Ok(permit), Some(in_flight)) = (permit, answer.connection.begin()) else {
            answer.send(Err(Fault::Overload.into()));
            return;
        };
        let service = Arc::clone(self);
        let answer = Arc::new(answer);
        let late = Arc::clone(&answer);
        let work = tokio::task::spawn_blocking(move || {
            work(&service, &answer);
            drop((permit, in_flight));
        });
        tokio::spawn(async move {
            if tokio::time::timeout(TASK_DEADLINE, work).await.is_err() {
                tracing::error!(connection = late.connection.id, "a question took too long");
            }
            // Whatever happened, a question gets an answer; a second one is never sent.
            late.send(Err(Fault::Deadline.into()));
        });
    }

    /// Waits until nothing is being answered any more, or until `limit` has passed.
    pub async fn finish(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.tasks.acquire_many(MAX_TASKS))
            .await
            .is_err()
        {
            tracing::warn!("questions are left unanswered");
        }
    }

    // session.hello

    fn hello(self: &Arc<Self>, answer: Answer, hello: Hello) {
        if hello.protocol != PROTOCOL_VERSION {
            answer.send(Err(Fault::OtherVersion.into()));
            return;
        }
        let connection = Arc::clone(&answer.connection);
        // Reported anew by what follows.
        self.sessions.forget(connection.id);
        let mut changed = Vec::new();
        let mut results = Vec::new();
        let mut served = std::collections::HashSet::new();
        for declared in hello.hosts {
            let result = self.declare(declared, &mut changed);
            if let Some(host) = result.host.clone() {
                served.insert(host);
            }
            results.push(result);
        }
        let software: String = hello
            .software
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect();
        tracing::info!(
            connection = connection.id,
            software,
            hosts = served.len(),
            "hello"
        );
        connection.introduce(Introduction {
            software,
            hosts: served,
        });
        let result = json!({
            "protocol": PROTOCOL_VERSION,
            "software": concat!("saslcertd ", env!("CARGO_PKG_VERSION")),
            "hosts": results,
        });
        if changed.is_empty() {
            answer.send(Ok(result));
            return;
        }
        self.task(answer, move |service, answer| {
            let written = changed
                .into_iter()
                .try_for_each(|(host, record)| service.store.remember_host(&host, record));
            answer.send(written.map(|()| result).map_err(|error| storage(&error)));
        });
    }

    fn declare(
        &self,
        hello: super::protocol::HelloHost,
        changed: &mut Vec<(Host, HostRecord)>,
    ) -> HelloResult {
        let host = hello.host;
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        let known = hosts.get(&host);
        let Some(options) = hello.options else {
            return match known {
                Some(known) => HelloResult::of(host, known),
                None => HelloResult::unknown(&host),
            };
        };
        let is_new =
            known.is_none_or(|known| known.options != options || known.accounts != hello.accounts);
        let declared = DeclaredHost::new(hello.accounts, options);
        if is_new {
            tracing::info!(
                %host,
                before = known.map(|known| json_of(&known.options)),
                options = json_of(&declared.options),
                errors = declared.declared.errors.len(),
                "host declared"
            );
            changed.push((host.clone(), declared.record()));
        }
        let result = HelloResult::of(host.clone(), &declared);
        hosts.insert(host, declared);
        result
    }

    fn policy(&self, host: &Host) -> Result<HostPolicy, Fault> {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(host) {
            None => Err(Fault::HostUndeclared),
            Some(known) if !known.declared.errors.is_empty() => Err(Fault::HostNotReady),
            Some(known) => Ok(known.declared.policy.clone()),
        }
    }

    // external.*

    fn offer(&self, params: Value, now: UnixSeconds) -> Answered {
        let question: Offer = fields(params)?;
        let policy = self.policy(&question.host)?;
        let decided = self.with_facts(&question.host, question.chain.leaf(), |facts| {
            let candidates = login::offer(facts, &policy, now)?;
            let accounts: Vec<Value> = candidates
                .iter()
                .take(MAX_CANDIDATES)
                .map(|held| {
                    json!({"username": held.account.username(), "incarnation": held.incarnation})
                })
                .collect();
            Ok((facts.cert.fingerprint, accounts))
        })?;
        let host = &question.host;
        Ok(match decided {
            Ok((fingerprint, candidates)) => {
                tracing::info!(%host, %fingerprint, "external.offer: yes");
                json!({"offer": true, "candidates": candidates})
            }
            Err(denial) => {
                let fingerprint = fingerprint_of(question.chain.leaf());
                tracing::info!(%host, fingerprint, reason = denial.words().code, "external.offer: no");
                json!({"offer": false, "candidates": []})
            }
        })
    }

    fn login(self: &Arc<Self>, answer: Answer, params: Value, now: UnixSeconds) {
        let question: Login = match fields(params) {
            Ok(question) => question,
            Err(fault) => return answer.send(Err(fault.into())),
        };
        match self.revocations.try_read() {
            Ok(guard) => self.decide_login(&answer, &question, now, guard),
            Err(TryLockError::Poisoned(guard)) => {
                self.decide_login(&answer, &question, now, guard.into_inner());
            }
            // A revocation is being written: wait for it where waiting holds nobody else up.
            Err(TryLockError::WouldBlock) => self.task(answer, move |service, answer| {
                let lock = &service.revocations;
                let guard = lock.read().unwrap_or_else(PoisonError::into_inner);
                service.decide_login(answer, &question, now, guard);
            }),
        }
    }

    /// Decides and queues the answer while no revocation can come between.
    fn decide_login(
        &self,
        answer: &Answer,
        question: &Login,
        now: UnixSeconds,
        guard: RwLockReadGuard<'_, ()>,
    ) {
        let decided = self.decided_login(question, now);
        answer.send(decided);
        drop(guard);
    }

    fn decided_login(&self, question: &Login, now: UnixSeconds) -> Answered {
        let host = &question.host;
        let policy = self.policy(host)?;
        let accounts: Vec<AccountFact> = question
            .accounts
            .iter()
            .filter_map(|known| {
                Some(AccountFact {
                    account: BareJid::of(&known.username, host).ok()?,
                    exists: known.exists,
                    enabled: known.enabled,
                    incarnation: known.incarnation.clone(),
                })
            })
            .collect();
        let authzid = question.authzid.as_deref();
        let address = question.address.as_deref();
        let leaf = question.chain.leaf();
        let decided = self.with_facts(host, leaf, |facts| {
            let login = login::login(facts, authzid, &accounts, &policy, now)?;
            Ok((login.enrolment.clone(), login.resource))
        })?;
        match decided {
            Ok((held, resource)) => {
                tracing::info!(
                    account = %held.account,
                    fingerprint = %held.fingerprint,
                    name = %held.name,
                    address,
                    "external.login: yes"
                );
                let result = json!({
                    "username": held.account.username(),
                    "resource": resource,
                    "name": held.name,
                    "fingerprint": held.fingerprint,
                    "key_id": held.key_id,
                    "may_manage": held.may_manage,
                });
                self.used(held, question.address.clone(), now);
                Ok(result)
            }
            Err(denial) => {
                let fingerprint = fingerprint_of(leaf);
                let reason = denial.words().code;
                tracing::info!(%host, fingerprint, address, reason, "external.login: no");
                Err(Refusal::Login(denial))
            }
        }
    }

    /// Fetches what is known of the certificate in `der` and lets `decide` decide.
    ///
    /// Errors: the outer ones are faults; the inner ones are its own, or that of an unacceptable certificate.
    fn with_facts<T>(
        &self,
        host: &Host,
        der: &[u8],
        decide: impl FnOnce(&CertificateFacts<'_>) -> Result<T, Denial>,
    ) -> Result<Result<T, Denial>, Refusal> {
        let cert = match ClientCert::from_der(der) {
            Ok(cert) => cert,
            Err(finding) => return Ok(Err(Denial::CertificateUnacceptable { finding })),
        };
        let facts = self.fetch(host, &cert).map_err(|error| storage(&error))?;
        Ok(decide(&CertificateFacts {
            host,
            cert: &cert,
            enrolments: &facts.enrolments,
            revoked_for: &facts.revoked_for,
            disabled_for: &facts.disabled_for,
        }))
    }

    fn fetch(&self, host: &Host, cert: &ClientCert) -> Result<Fetched, StoreError> {
        let mut enrolments = self.store.enrolments_of(&cert.fingerprint, host)?;
        enrolments.retain(|held| held.holds(cert));
        let named = cert
            .addresses
            .iter()
            .filter_map(crate::identity::Jid::account);
        let mut accounts: Vec<BareJid> = named
            .filter(|account| account.host() == host)
            .chain(enrolments.iter().map(|held| held.account.clone()))
            .collect();
        accounts.sort();
        accounts.dedup();
        let mut revoked_for = Vec::new();
        let mut disabled_for = Vec::new();
        for account in accounts {
            if let Some(incarnation) = self.store.revocation(&account, &cert.key_id)? {
                revoked_for.push((account.clone(), incarnation));
            }
            if self.store.is_disabled(&account, &cert.fingerprint)? {
                disabled_for.push(account);
            }
        }
        Ok(Fetched {
            enrolments,
            revoked_for,
            disabled_for,
        })
    }

    fn used(&self, held: Enrolment, address: Option<String>, at: UnixSeconds) {
        let address = address.map(|text| text.chars().take(64).collect());
        let mut uses = self
            .last_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if uses.len() < MAX_UNWRITTEN_USES {
            let noted = (held.fingerprint, LastUse { at, address });
            uses.insert((held.account, held.name), noted);
        }
    }

    /// Writes the last uses that were noted since the last time. Blocks.
    pub fn write_last_uses(&self) {
        let uses = std::mem::take(
            &mut *self
                .last_uses
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for ((account, name), (fingerprint, last_use)) in uses {
            let written = self.store.change(&account, move |list| {
                let held = list
                    .enrolments
                    .iter()
                    .find(|held| held.name == name && held.fingerprint == fingerprint);
                let edits = held.map(|held| {
                    Edit::Put(Box::new(Enrolment {
                        last_use: Some(last_use),
                        ..held.clone()
                    }))
                });
                Ok::<_, Denial>((edits.into_iter().collect(), ()))
            });
            if let Err(error) = written {
                let _ = storage(&error);
                return;
            }
        }
    }

    // session.*

    /// Takes note of live sessions, and answers which of them are to be closed.
    fn opened(&self, connection: &Connection, params: Value) -> Answered {
        let opened: Opened = fields(params)?;
        if !connection.is_introduced() {
            return Err(Fault::NoHello.into());
        }
        let mut close: Vec<Value> = Vec::new();
        for session in opened.sessions {
            let is_revoked = self
                .is_revoked_now(&session.account, session.key_id)
                .map_err(|error| storage(&error))?;
            if is_revoked {
                close.push(json!({"account": session.account, "key_id": session.key_id}));
            }
            self.sessions.opened(connection.id, session);
        }
        close.dedup();
        Ok(json!({"close": close}))
    }

    /// Was the key revoked for the account that is there now?
    fn is_revoked_now(&self, account: &BareJid, key_id: KeyId) -> Result<bool, StoreError> {
        let Some(revoked_for) = self.store.revocation(account, &key_id)? else {
            return Ok(false);
        };
        let list = self.store.account(account)?;
        let is_enrolled_since = list
            .enrolments
            .iter()
            .any(|held| held.key_id == key_id && held.incarnation != revoked_for);
        Ok(!is_enrolled_since)
    }

    // certificate.*

    fn list(&self, params: Value, role: Role, now: UnixSeconds) -> Answered {
        let question: List = fields(params)?;
        self.policy(question.account.host())?;
        let (asker, scope) = asker(question.session, question.incarnation, role)?;
        let list = self
            .store
            .account(&question.account)
            .map_err(|error| storage(&error))?;
        let own = manage::list(&asker, &scope, &list).map_err(Refusal::Management)?;
        let mut page = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        for held in own {
            if question.after.is_some_and(|after| held.order <= after) {
                continue;
            }
            if bytes > PAGE_BYTES {
                next = page.last().map(|(order, _)| *order);
                break;
            }
            let row = self.listed(held, now);
            bytes += row.to_string().len();
            page.push((held.order, row));
        }
        let rows: Vec<Value> = page.into_iter().map(|(_, row)| row).collect();
        Ok(json!({"certificates": rows, "next": next}))
    }

    fn listed(&self, held: &Enrolment, now: UnixSeconds) -> Value {
        let key = (held.account.clone(), held.name.clone());
        let uses = self
            .last_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let unwritten = uses.get(&key).filter(|(with, _)| *with == held.fingerprint);
        let last_use = unwritten
            .map(|(_, last)| last.clone())
            .or_else(|| held.last_use.clone());
        drop(uses);
        json!({
            "name": held.name,
            "certificate": base64_of(&held.der),
            "fingerprint": held.fingerprint,
            "key_id": held.key_id,
            "addresses": held.addresses,
            "not_before": held.not_before,
            "not_after": held.not_after,
            "expired": manage::is_expired(held, now),
            "may_manage": held.may_manage,
            "added": {
                "at": held.added_at,
                "by": if held.added_by.certificate.is_some() { "certificate" } else { "password" },
                "fingerprint": held.added_by.certificate,
                "jid": held.added_by.jid,
            },
            "last_use": last_use,
            "resources": self.sessions.resources(&held.account, &held.fingerprint),
        })
    }

    fn append(&self, params: Value, now: UnixSeconds) -> Answered {
        let question: Append = fields(params)?;
        let policy = self.policy(question.account.host())?;
        if self.is_disk_nearly_full.load(Ordering::Relaxed) {
            return Err(Fault::DiskFull.into());
        }
        let session = question.session.clone();
        let (asker, _) = asker(Some(question.session), None, Role::Server)?;
        let account = question.account.clone();
        let decided = certificate_in(&question.certificate).map(|cert| {
            let warnings = manage::warnings(&cert);
            let written = self.store.change(&question.account.clone(), move |list| {
                let wish = Appending {
                    account: &question.account,
                    incarnation: &question.incarnation,
                    asker: &asker,
                    name: &question.name,
                    cert: &cert,
                    may_manage: question.may_manage,
                };
                let appended = manage::append(&wish, list, &policy, now)?;
                Ok((append_edits(&appended, list, now), appended.enrolment))
            });
            (written, warnings)
        });
        let (written, warnings) = match decided {
            Ok((written, warnings)) => (written.map_err(|error| storage(&error))?, warnings),
            Err(denial) => (Err(denial), Vec::new()),
        };
        let held = log_change("certificate.append", &account, Some(&session), written)?;
        self.tell(&account, &format!(
            "The certificate \"{}\" (SHA-256 {}) was added to your account by {}. Whoever holds its key can \
             log in as you. If that was not you: remove it, and change your password.",
            held.name, held.fingerprint, described(Some(&session)),
        ));
        Ok(json!({
            "name": held.name,
            "fingerprint": held.fingerprint,
            "not_after": held.not_after,
            "warnings": warnings,
        }))
    }

    fn disable(&self, params: Value, role: Role, now: UnixSeconds) -> Answered {
        let question: Named = fields(params)?;
        let policy = self.policy(question.account.host())?;
        let session = question.session.clone();
        let (asker, scope) = asker(question.session, question.incarnation, role)?;
        let name = question.name;
        let written = self.store.change(&question.account, move |list| {
            let gone = manage::disable(&asker, &scope, &name, list, &policy)?;
            let edits = gone.iter().flat_map(|held| {
                [
                    Edit::Remove(Box::new((*held).clone())),
                    Edit::MarkDisabled {
                        fingerprint: held.fingerprint,
                        incarnation: held.incarnation.clone(),
                        at: now,
                    },
                ]
            });
            // Proof: `disable` answers `NameUnknown` where there is none.
            let first = gone.first().ok_or(Denial::NameUnknown)?;
            Ok((edits.collect(), (*first).clone()))
        });
        let written = written.map_err(|error| storage(&error))?;
        let account = &question.account;
        let held = log_change("certificate.disable", account, session.as_ref(), written)?;
        self.tell(account, &format!(
            "The certificate \"{}\" was removed from your account by {}. It can no longer be used to log in.",
            held.name, described(session.as_ref()),
        ));
        Ok(json!({"name": held.name, "fingerprint": held.fingerprint}))
    }

    fn revoke(&self, answer: &Answer, params: Value, role: Role, now: UnixSeconds) {
        // Before the commit: a login that is decided after this line finds the key revoked.
        let guard = self
            .revocations
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match self.revoked(params, role, now) {
            Err(refusal) => answer.send(Err(refusal)),
            Ok((gone, session)) => {
                let mut keys: Vec<KeyId> = gone.iter().map(|held| held.key_id).collect();
                keys.sort();
                keys.dedup();
                let removed: Vec<&CertificateName> = gone.iter().map(|held| &held.name).collect();
                // Proof: `revoke` answers `NameUnknown` where there is none.
                let Some(first) = gone.first() else {
                    return answer.send(Err(Refusal::Management(Denial::NameUnknown)));
                };
                // The answer first: the session that asks may be the first to be closed.
                answer.send(Ok(json!({
                    "name": first.name,
                    "fingerprint": first.fingerprint,
                    "key_id": first.key_id,
                    "removed": removed,
                })));
                for key_id in keys {
                    let session = json!({"account": first.account, "key_id": key_id});
                    self.ask_all("sessions.close", &closing(session));
                }
                drop(guard);
                self.tell(&first.account, &format!(
                    "The certificate \"{}\" was revoked by {}. Its key can never be used again for your \
                     account, and its sessions were closed.",
                    first.name, described(session.as_ref()),
                ));
            }
        }
    }

    fn revoked(
        &self,
        params: Value,
        role: Role,
        now: UnixSeconds,
    ) -> Result<(Vec<Enrolment>, Option<Session>), Refusal> {
        let question: Named = fields(params)?;
        let policy = self.policy(question.account.host())?;
        let session = question.session.clone();
        let (asker, scope) = asker(question.session, question.incarnation, role)?;
        let name = question.name;
        let written = self.store.change(&question.account, move |list| {
            let gone = manage::revoke(&asker, &scope, &name, list, &policy)?;
            let edits = gone.iter().flat_map(|held| {
                [
                    Edit::Remove(Box::new((*held).clone())),
                    Edit::RevokeKey {
                        key_id: held.key_id,
                        incarnation: held.incarnation.clone(),
                        at: now,
                    },
                ]
            });
            Ok((
                edits.collect(),
                gone.into_iter().cloned().collect::<Vec<_>>(),
            ))
        });
        let written = written.map_err(|error| storage(&error))?;
        let account = &question.account;
        let first = written
            .as_ref()
            .map(|gone| gone.first().cloned())
            .map_err(|denial| *denial);
        log_change(
            "certificate.revoke",
            account,
            session.as_ref(),
            first.and_then(|held| held.ok_or(Denial::NameUnknown)),
        )?;
        written
            .map(|gone| (gone, session))
            .map_err(Refusal::Management)
    }

    fn unrevoke(&self, params: Value) -> Answered {
        let Unrevoke { account, key_id } = fields(params)?;
        let written = self.store.change(&account, move |list| {
            let is_revoked = list.revoked_keys.iter().any(|(key, _)| *key == key_id);
            Ok::<_, Denial>((vec![Edit::UnrevokeKey { key_id }], is_revoked))
        });
        let was_revoked = written
            .map_err(|error| storage(&error))?
            .map_err(Refusal::Management)?;
        tracing::info!(%account, %key_id, was_revoked, "certificate.unrevoke: yes");
        Ok(json!({"was_revoked": was_revoked}))
    }

    /// Removes what expired long ago, and what belongs to accounts that were replaced long ago. Blocks.
    pub fn sweep(&self, now: UnixSeconds) {
        let mut accounts: Vec<BareJid> = Vec::new();
        let seen = self.store.for_each_enrolment(|held| {
            if accounts.last() != Some(&held.account) {
                accounts.push(held.account);
            }
        });
        let swept = seen.and_then(|()| {
            accounts.into_iter().try_for_each(|account| {
                let list = self.store.account(&account)?;
                if manage::stale(&list, now).is_empty() {
                    return Ok(());
                }
                let removed = self.store.change(&account, move |list| {
                    let stale = manage::stale(list, now);
                    let count = stale.len();
                    let edits = stale.into_iter().cloned().map(Box::new).map(Edit::Remove);
                    Ok::<_, Denial>((edits.collect(), count))
                })?;
                tracing::info!(%account, ?removed, "stale certificates removed");
                Ok(())
            })
        });
        if let Err(error) = swept {
            let _ = storage(&error);
        }
    }

    // status

    fn status(&self, uptime: Duration) -> Answered {
        let figures = self.store.figures().map_err(|error| storage(&error))?;
        let all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let connections: Vec<Arc<Connection>> = all.values().cloned().collect();
        drop(all);
        let mut hosts: Vec<Value> = {
            let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
            let status = |(host, known): (&Host, &DeclaredHost)| {
                json!({
                    "host": host,
                    "accounts": known.accounts,
                    "ready": known.declared.errors.is_empty(),
                    "attached": connections.iter().any(|connection| connection.serves(host)),
                    "options": known.options,
                    "errors": remarks(&known.declared.errors),
                })
            };
            hosts.iter().map(status).collect()
        };
        hosts.sort_by_key(|host| host.get("host").map(ToString::to_string));
        let mut rows: Vec<Value> = connections
            .iter()
            .map(|connection| {
                json!({
                    "id": connection.id,
                    "uid": connection.peer.uid,
                    "pid": connection.peer.pid,
                    "role": connection.peer.role.name(),
                    "software": connection.introduction().map(|hello| hello.software),
                    "sessions": self.sessions.count(connection.id),
                })
            })
            .collect();
        rows.sort_by_key(|row| row.get("id").and_then(Value::as_u64));
        let is_disk_nearly_full = self.is_disk_nearly_full.load(Ordering::Relaxed);
        Ok(json!({
            "healthy": figures.corrupt_reads == 0 && !is_disk_nearly_full,
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": PROTOCOL_VERSION,
            "uptime_seconds": uptime.as_secs(),
            "store": {
                "path": self.store.folder(),
                "certificates": figures.certificates,
                "accounts": figures.accounts,
                "revoked_keys": figures.revoked_keys,
                "bytes_on_disk": figures.bytes_on_disk,
                "corrupt_reads": figures.corrupt_reads,
                "disk_nearly_full": is_disk_nearly_full,
            },
            "connections": rows,
            "hosts": hosts,
        }))
    }

    /// Bytes of the store's files, for the reserve of free space.
    #[must_use]
    pub fn store_bytes(&self) -> u64 {
        self.store.bytes_on_disk()
    }

    /// Refuses, or takes again, what makes the store grow.
    pub fn set_disk_nearly_full(&self, is_full: bool) {
        if self.is_disk_nearly_full.swap(is_full, Ordering::Relaxed) != is_full {
            if is_full {
                tracing::error!(
                    folder = %self.store.folder().display(),
                    "the disk is nearly full: nothing is added until there is room again"
                );
            } else {
                tracing::info!("there is room on the disk again");
            }
        }
    }

    /// Writes everything that waits and lets nothing more in. Blocks.
    pub fn close(&self) {
        self.write_last_uses();
        self.store.close();
    }

    // Asking

    fn ask_all(&self, method: &str, params: &Value) {
        let all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for connection in all.values().filter(|connection| connection.is_introduced()) {
            ask(connection, method, params);
        }
    }

    /// Sends the account a message, if a server of its host is connected.
    fn tell(&self, account: &BareJid, text: &str) {
        let all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let serving = all
            .values()
            .filter(|connection| connection.serves(account.host()));
        // The newest: an older one of the same server may be about to be noticed as gone.
        if let Some(connection) = serving.max_by_key(|connection| connection.id) {
            let params = json!({"account": account, "text": text});
            ask(connection, "account.notify", &params);
        }
    }
}

/// Where the answer to one question goes. At most one is sent.
struct Answer {
    connection: Arc<Connection>,
    id: Id,
    is_sent: AtomicBool,
}

impl Answer {
    fn send(&self, answered: Answered) {
        if self.is_sent.swap(true, Ordering::AcqRel) {
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
        self.connection.push(&line);
    }
}

struct Fetched {
    enrolments: Vec<Enrolment>,
    revoked_for: Vec<(BareJid, crate::identity::Incarnation)>,
    disabled_for: Vec<BareJid>,
}

impl DeclaredHost {
    fn new(accounts: Accounts, options: Map<String, Value>) -> Self {
        let mut declared = HostPolicy::from_options(&options);
        if accounts == Accounts::Daemon {
            declared.errors.push(Remark {
                option: "authentication".to_owned(),
                message: "authentication = \"saslcertd\": this version keeps no accounts; use another provider"
                    .to_owned(),
            });
        }
        Self {
            accounts,
            options,
            declared,
        }
    }

    fn record(&self) -> HostRecord {
        HostRecord {
            accounts: match self.accounts {
                Accounts::Prosody => "prosody",
                Accounts::Daemon => "daemon",
            }
            .to_owned(),
            options: json_of(&self.options),
        }
    }
}

/// A host in the answer to a hello.
#[derive(Serialize)]
struct HelloResult {
    host: Option<Host>,
    ready: bool,
    errors: Vec<Value>,
    warnings: Vec<Value>,
}

impl HelloResult {
    fn of(host: Host, known: &DeclaredHost) -> Self {
        Self {
            host: Some(host),
            ready: known.declared.errors.is_empty(),
            errors: remarks(&known.declared.errors),
            warnings: remarks(&known.declared.warnings),
        }
    }

    fn unknown(host: &Host) -> Self {
        Self {
            host: Some(host.clone()),
            ready: false,
            errors: vec![json!({
                "option": null,
                "message": format!("{host} was never declared; declare it with its options"),
            })],
            warnings: Vec::new(),
        }
    }
}

fn json_of(options: &Map<String, Value>) -> String {
    Value::Object(options.clone()).to_string()
}

fn remarks(remarks: &[Remark]) -> Vec<Value> {
    let row = |remark: &Remark| json!({"option": remark.option, "message": remark.message});
    remarks.iter().map(row).collect()
}

/// Who asks, and about which of the accounts of a name.
fn asker(
    session: Option<Session>,
    incarnation: Option<crate::identity::Incarnation>,
    role: Role,
) -> Result<(Asker, Scope), Fault> {
    let Some(session) = session else {
        if role != Role::Admin {
            return Err(Fault::WrongParams {
                problem: "missing field `session`".to_owned(),
            });
        }
        let admin = Asker {
            secure: true,
            by: LoggedInBy::Admin,
            jid: None,
        };
        return Ok((admin, Scope::Every));
    };
    let by = match (session.by, session.fingerprint) {
        (SessionBy::Password, _) => LoggedInBy::Password,
        (SessionBy::Certificate, Some(fingerprint)) => LoggedInBy::Certificate { fingerprint },
        (SessionBy::Certificate, None) => {
            return Err(Fault::WrongParams {
                problem: "missing field `session.fingerprint`".to_owned(),
            });
        }
    };
    let asker = Asker {
        secure: session.secure,
        by,
        jid: session.jid,
    };
    Ok((asker, Scope::Of(incarnation)))
}

fn certificate_in(base64: &str) -> Result<ClientCert, Denial> {
    let unacceptable = |finding| Denial::CertificateUnacceptable { finding };
    if base64.trim_start().starts_with("-----BEGIN") {
        return Err(unacceptable(Finding::IsPem));
    }
    if base64.len() > MAX_CERTIFICATE_BASE64_BYTES * 2 {
        return Err(unacceptable(Finding::TooLarge));
    }
    let Certificate(der) = Certificate::from_base64(base64).ok_or(Denial::NotBase64)?;
    ClientCert::from_der(&der).map_err(unacceptable)
}

fn append_edits(appended: &manage::Appended, list: &AccountList, now: UnixSeconds) -> Vec<Edit> {
    let leaving = appended.leaving.iter().cloned().map(Box::new);
    let mut edits: Vec<Edit> = leaving.map(Edit::Remove).collect();
    let held = &appended.enrolment;
    if list.incarnation.as_ref().map(|(known, _)| known) != Some(&held.incarnation) {
        edits.push(Edit::SetIncarnation {
            incarnation: held.incarnation.clone(),
            since: now,
        });
    }
    edits.push(Edit::ClearDisabled {
        fingerprint: held.fingerprint,
    });
    edits.push(Edit::Put(Box::new(held.clone())));
    edits
}

fn log_change(
    question: &'static str,
    account: &BareJid,
    session: Option<&Session>,
    written: Result<Enrolment, Denial>,
) -> Result<Enrolment, Refusal> {
    let by = described(session);
    match &written {
        Ok(held) => tracing::info!(
            %account, name = %held.name, fingerprint = %held.fingerprint, by, "{question}: yes"
        ),
        Err(denial) => {
            tracing::info!(%account, reason = denial.words().code, by, "{question}: no");
        }
    }
    written.map_err(Refusal::Management)
}

/// The session, in words for its owner and for the log.
fn described(session: Option<&Session>) -> String {
    let Some(session) = session else {
        return "the server's administrator".to_owned();
    };
    let jid = session
        .jid
        .as_ref()
        .map_or("a session".to_owned(), ToString::to_string);
    let by = match session.by {
        SessionBy::Password => "with a password",
        SessionBy::Certificate => "with a certificate",
    };
    let from = session.address.as_deref().map(|address| {
        let address: String = address.chars().take(64).collect();
        format!(", from {address}")
    });
    format!("{jid} (logged in {by}{})", from.unwrap_or_default())
}

fn ask(connection: &Connection, method: &str, params: &Value) {
    let id = connection.question_id();
    connection.push(&protocol::question(&id, method, params));
}

/// The fields of `sessions.close` for the sessions of an account and key.
fn closing(mut session: Value) -> Value {
    if let Value::Object(fields) = &mut session {
        fields.insert("condition".to_owned(), "not-authorized".into());
        let text = "This client certificate has been revoked";
        fields.insert("text".to_owned(), text.into());
    }
    session
}

fn fingerprint_of(der: &[u8]) -> Option<String> {
    let cert = ClientCert::from_der(der).ok()?;
    Some(cert.fingerprint.to_string())
}

/// Logs why the store could not be asked; the asker is only told that it could not.
fn storage(error: &StoreError) -> Refusal {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "the store could not be asked");
    match error {
        StoreError::Busy => Fault::Overload.into(),
        _ => Fault::Storage.into(),
    }
}

/// Most questions that wait for the disk at a time, all connections together.
const MAX_TASKS: u32 = 512;
/// The longest that a question may take.
const TASK_DEADLINE: Duration = Duration::from_secs(10);
/// Most accounts that one certificate is offered for.
const MAX_CANDIDATES: usize = 16;
/// Most last uses that wait to be written; beyond it some are forgotten.
const MAX_UNWRITTEN_USES: usize = 100_000;
