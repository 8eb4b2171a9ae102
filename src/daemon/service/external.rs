//! `external.offer` and `external.login`: is this certificate admitted, and as whom.

use std::sync::{Arc, PoisonError, RwLockReadGuard, TryLockError};

use serde_json::{Value, json};

use super::super::authorities::Problem;
use super::super::derivations::{Purpose, Queued};
use super::super::guesses::Place;
use super::{Answer, Answered, Service};
use crate::identity::visible::visible;
use crate::identity::{
    BareJid, CertificateName, CertificationPath, ClientCert, Enrolment, Fingerprint, Host,
    Incarnation, Jid, KeyId, UnixSeconds,
};
use crate::policy::chain::Untrusted;
use crate::policy::host::Trust;
use crate::policy::login::{AccountFact, Admitted, CertificateFacts};
use crate::policy::{Denial, HostPolicy, login};
use crate::protocol::{Accounts, Chain, Each, Fault, Login, LoginAccount, Offer, Refusal};
use crate::store::StoreError;

impl Service {
    pub(in crate::daemon) fn offer(
        self: &Arc<Self>,
        answer: Answer,
        question: Offer,
        now: UnixSeconds,
    ) {
        if !self.asks_authorities(&question.host) {
            return answer.send(self.decided_offer(&question, now));
        }
        let shown = Shown {
            host: &question.host,
            chain: &question.chain,
            address: question.address.as_deref(),
        };
        let turn = self.turn(&shown, told_of_offer(&question), now);
        self.judged(turn, answer, move |service, answer| {
            answer.send(service.decided_offer(&question, now));
        });
    }

    /// Signatures are checked where that holds nobody else up.
    fn asks_authorities(&self, host: &Host) -> bool {
        self.hosts
            .policy(host)
            .is_ok_and(|policy| policy.trust.ca().is_some())
    }

    /// What no record can let in waits for its turn, by the place that it comes from: signatures cost time, and a stranger may
    /// show what it likes. `told`: what the asker knows of the accounts.
    fn turn(&self, shown: &Shown<'_>, told: Option<Vec<AccountFact>>, now: UnixSeconds) -> Turn {
        // Why it could not be looked up is said when it is decided.
        if self.is_known(shown, told, now).unwrap_or(false) {
            return Turn::AtOnce;
        }
        let purpose = Purpose::Try(shown.address.map(Place::of));
        Turn::Queued(self.lanes.queue_stranger(purpose))
    }

    fn is_known(
        &self,
        Shown { host, chain, .. }: &Shown<'_>,
        told: Option<Vec<AccountFact>>,
        now: UnixSeconds,
    ) -> Result<bool, Refusal> {
        let leaf = chain.leaf();
        let held = self.store.enrolments_of(&Fingerprint::of(leaf), host)?;
        // Most strangers cost no more than that.
        if held.is_empty() {
            return Ok(false);
        }
        let Ok(cert) = ClientCert::from_der(leaf) else {
            return Ok(false);
        };
        let (lives, policy) = self.hosts.of(host)?;
        let accounts = match self.known_of(lives, host, &policy, leaf)?.or(told) {
            Some(accounts) => accounts,
            None => self.newest_of(&held)?,
        };
        let fetched = self.fetch(host, &cert, None, &policy)?;
        let facts = fetched.about(host, &cert, None);
        Ok(login::is_known(&facts, &accounts, &policy, now))
    }

    /// Of the accounts that hold the records, the newest of each name that was ever heard of: Prosody is not asked yet.
    fn newest_of(&self, held: &[Enrolment]) -> Result<Vec<AccountFact>, StoreError> {
        let newest = |held: &Enrolment| {
            let account = held.account.clone();
            let known = self.store.view(&account).incarnation()?;
            Ok(AccountFact {
                account,
                exists: true,
                enabled: true,
                incarnation: known.map(|(incarnation, _)| incarnation),
            })
        };
        held.iter().map(newest).collect()
    }

    fn judged(
        self: &Arc<Self>,
        turn: Turn,
        answer: Answer,
        work: impl FnOnce(&Arc<Self>, &Answer) + Send + 'static,
    ) {
        match turn {
            Turn::AtOnce => self.task(answer, work),
            Turn::Queued(queued) => self.in_turn(queued, answer, work),
        }
    }

    fn decided_offer(&self, question: &Offer, now: UnixSeconds) -> Answered {
        let (lives, policy) = self.hosts.of(&question.host)?;
        let known = self.known_of(lives, &question.host, &policy, question.chain.leaf())?;
        let known = known.or_else(|| told_of_offer(question));
        let is_final = known.is_some();
        let decided = self.with_facts(&question.host, &question.chain, &policy, now, |facts, _| {
            let mut candidates = login::offer(facts, &policy, now)?;
            if let Some(known) = &known {
                login::retain_usable(&mut candidates, known);
                if candidates.is_empty() {
                    return Err(Denial::AccountMissing);
                }
            }
            let accounts: Vec<Value> = candidates
                .iter()
                .take(MAX_CANDIDATES)
                .map(|one| json!({"username": one.account.username(), "incarnation": one.incarnation()}))
                .collect();
            Ok((facts.cert.fingerprint, accounts))
        })?;
        let host = &question.host;
        Ok(match decided {
            Ok((fingerprint, candidates)) => {
                if is_final {
                    tracing::info!(%host, %fingerprint, "external.offer: yes");
                } else {
                    // Asked again, when it is known which accounts there are.
                    tracing::debug!(%host, %fingerprint, "external.offer: to these accounts");
                }
                json!({"offer": true, "candidates": candidates})
            }
            Err(denial) => {
                let fingerprint = fingerprint_of(question.chain.leaf());
                let reason = denial.words().code;
                tracing::info!(%host, fingerprint, reason, "external.offer: no");
                json!({"offer": false, "candidates": [], "denial": reason})
            }
        })
    }

    pub(in crate::daemon) fn login(
        self: &Arc<Self>,
        answer: Answer,
        question: Login,
        now: UnixSeconds,
    ) {
        if self.asks_authorities(&question.host) {
            let told = told(&question.host, &question.accounts);
            let shown = Shown {
                host: &question.host,
                chain: &question.chain,
                address: question.address.as_deref(),
            };
            let turn = self.turn(&shown, Some(told), now);
            return self.judged(turn, answer, move |service, answer| {
                service.decide_login_in_turn(answer, &question, now);
            });
        }
        match self.revocations.try_read() {
            Ok(guard) => self.decide_login(&answer, &question, now, guard),
            Err(TryLockError::Poisoned(guard)) => {
                self.decide_login(&answer, &question, now, guard.into_inner());
            }
            // A revocation is being written: wait for it where waiting holds nobody else up.
            Err(TryLockError::WouldBlock) => self.task(answer, move |service, answer| {
                service.decide_login_in_turn(answer, &question, now);
            }),
        }
    }

    fn decide_login_in_turn(&self, answer: &Answer, question: &Login, now: UnixSeconds) {
        let lock = &self.revocations;
        let guard = lock.read().unwrap_or_else(PoisonError::into_inner);
        self.decide_login(answer, question, now, guard);
    }

    /// Decides and queues the answer while no revocation can come between.
    fn decide_login(
        &self,
        answer: &Answer,
        question: &Login,
        now: UnixSeconds,
        guard: RwLockReadGuard<'_, ()>,
    ) {
        let decided = self.decided_login(answer.connection.id, question, now);
        answer.send(decided);
        drop(guard);
    }

    fn decided_login(&self, connection: u64, question: &Login, now: UnixSeconds) -> Answered {
        let host = &question.host;
        let (lives, policy) = self.hosts.of(host)?;
        let known = self.known_of(lives, host, &policy, question.chain.leaf())?;
        let accounts = known.unwrap_or_else(|| told(&question.host, &question.accounts));
        let authzid = question.authzid.as_deref();
        let address = question.address.as_deref();
        let leaf = question.chain.leaf();
        let decided = self.with_facts(host, &question.chain, &policy, now, |facts, path| {
            let login = login::login(facts, authzid, &accounts, &policy, now)?;
            login::require_announced(authzid, question.stream_from.as_deref())?;
            Ok(Yes {
                fingerprint: facts.cert.fingerprint,
                key_id: facts.cert.key_id,
                not_after: facts.cert.not_after,
                // Of one that the user's list lets in by itself, no authority need vouch later on.
                path: match (&policy.trust, login.by) {
                    (Trust::EnrolledOrCa(_), Admitted::Enrolment(_)) => None,
                    _ => path.cloned(),
                },
                held: match login.by {
                    Admitted::Enrolment(held) => Some(held.clone()),
                    Admitted::Authority => None,
                },
                account: login.account,
                resource: login.resource,
            })
        })?;
        match decided {
            Ok(yes) => {
                let sessions = &self.sessions;
                let is_kept = yes.path.as_ref().is_none_or(|path| {
                    sessions.logged_in(connection, &yes.account, yes.key_id, path)
                });
                if !is_kept {
                    tracing::error!(connection, account = %yes.account, "external.login: no room to keep one more session");
                    return Err(Fault::Overload.into());
                }
                let password_changed = match lives {
                    Accounts::Prosody => None,
                    Accounts::Daemon => self.known(&yes.account)?.map(|of| of.password_changed),
                };
                let held = yes.held.as_ref();
                let name = held.map(|held| &held.name);
                let of_registration = Denial::PasswordNeeded.words();
                let now_there = accounts.iter().find(|fact| fact.account == yes.account);
                tracing::info!(
                    account = %yes.account,
                    fingerprint = %yes.fingerprint,
                    name = name.map(CertificateName::as_str),
                    is_vouched_for = yes.path.is_some(),
                    address,
                    "external.login: yes"
                );
                let result = json!({
                    "username": yes.account.username(),
                    "resource": yes.resource,
                    "name": name.map(|name| visible(name.as_str())),
                    "fingerprint": yes.fingerprint,
                    "key_id": yes.key_id,
                    "not_after": yes.not_after,
                    "incarnation": now_there.and_then(|fact| fact.incarnation.as_ref()),
                    "may_manage": held.is_some_and(|held| held.may_manage),
                    "password_changed": password_changed,
                    "path": yes.path,
                    "registration": {
                        "type": of_registration.stanza_type,
                        "condition": of_registration.stanza,
                        "text": of_registration.stanza_text,
                    },
                });
                if let Some(held) = yes.held {
                    self.last_uses.note(held, question.address.clone(), now);
                }
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

    /// What is known of the accounts that the certificate may belong to; `None` where only Prosody knows.
    fn known_of(
        &self,
        lives: Accounts,
        host: &Host,
        policy: &HostPolicy,
        der: &[u8],
    ) -> Result<Option<Vec<AccountFact>>, Refusal> {
        if lives == Accounts::Prosody {
            return Ok(None);
        }
        let Ok(cert) = ClientCert::from_der(der) else {
            return Ok(Some(Vec::new()));
        };
        let held = self.store.enrolments_of(&cert.fingerprint, host)?;
        let mut accounts: Vec<BareJid> = held.into_iter().map(|held| held.account).collect();
        if policy.trust.ca().is_some() {
            let named = cert.addresses.iter().filter_map(Jid::account);
            accounts.extend(named.filter(|account| account.host() == host));
        }
        accounts.sort();
        accounts.dedup();
        let mut facts = Vec::new();
        for account in accounts {
            if let Some(known) = self.known(&account)? {
                facts.push(AccountFact {
                    account,
                    exists: true,
                    enabled: known.enabled,
                    incarnation: Some(known.incarnation),
                });
            }
        }
        Ok(Some(facts))
    }

    /// Fetches what is known of the certificate at the head of `chain` and lets `decide` decide; it hears by which path an
    /// authority vouches for it, too.
    ///
    /// Errors: the outer ones are faults; the inner ones are its own, or that of an unacceptable certificate.
    fn with_facts<T>(
        &self,
        host: &Host,
        chain: &Chain,
        policy: &HostPolicy,
        now: UnixSeconds,
        decide: impl Fn(&CertificateFacts<'_>, Option<&CertificationPath>) -> Result<T, Denial>,
    ) -> Result<Result<T, Denial>, Refusal> {
        let cert = match ClientCert::from_der(chain.leaf()) {
            Ok(cert) => cert,
            Err(finding) => return Ok(Err(Denial::CertificateUnacceptable { finding })),
        };
        let facts = self.fetch(host, &cert, None, policy)?;
        let facts_with = |by_authority| facts.about(host, &cert, by_authority);
        // Where everybody whom it names has enrolled it, the lists alone may let it in, and no signature is tried.
        if matches!(policy.trust, Trust::EnrolledOrCa(_)) && facts.is_enrolled_by_all(&cert, host) {
            let decided = decide(&facts_with(None), None);
            if decided.is_ok() {
                return Ok(decided);
            }
        }
        let asked = self.ask_authorities(policy, chain, now);
        let unasked = |problem: &Problem| {
            // A stranger hears no path.
            tracing::error!(%host, fingerprint = %cert.fingerprint, %problem, "the authorities could not be asked");
            Fault::AuthoritiesUnreadable
        };
        let (by_authority, path) = match &asked {
            None => (None, None),
            Some(Ok(Ok(path))) => (Some(Ok(())), Some(path)),
            Some(Ok(Err(untrusted))) => (Some(Err(untrusted.denial)), None),
            // It may do without.
            Some(Err(_)) if matches!(policy.trust, Trust::EnrolledOrCa(_)) => (None, None),
            Some(Err(problem)) => return Err(unasked(problem).into()),
        };
        let decided = decide(&facts_with(by_authority), path);
        match (&decided, &asked) {
            (Err(_), Some(Err(problem))) => return Err(unasked(problem).into()),
            (Err(denial), Some(Ok(Err(Untrusted { cause, .. })))) => {
                let reason = denial.words().code;
                tracing::info!(%host, fingerprint = %cert.fingerprint, reason, cause, "no authority vouches for it");
            }
            _ => {}
        }
        Ok(decided)
    }

    /// Does an authority vouch for it? None where none has a say; else the outer error is that of a file.
    #[allow(clippy::type_complexity)] // Each of its layers is another answer.
    pub(super) fn ask_authorities(
        &self,
        policy: &HostPolicy,
        chain: &Chain,
        now: UnixSeconds,
    ) -> Option<Result<Result<CertificationPath, Untrusted>, Problem>> {
        let files = policy.trust.ca()?;
        let path = self
            .authorities
            .path(files, chain.leaf(), &chain.intermediates(), now);
        Some(path)
    }

    /// What the store knows of `cert`, for all accounts that it names or that have enrolled it; `also`: for that one, too.
    pub(super) fn fetch(
        &self,
        host: &Host,
        cert: &ClientCert,
        also: Option<&BareJid>,
        policy: &HostPolicy,
    ) -> Result<Fetched, StoreError> {
        let mut enrolments = self.store.enrolments_of(&cert.fingerprint, host)?;
        enrolments.retain(|held| held.holds(cert));
        let named = cert.addresses.iter().filter_map(Jid::account);
        let mut accounts: Vec<BareJid> = named
            .filter(|account| account.host() == host)
            .chain(enrolments.iter().map(|held| held.account.clone()))
            .chain(also.cloned())
            .collect();
        accounts.sort();
        accounts.dedup();
        let mut revoked_for = Vec::new();
        let (mut disabled_for, mut key_disabled_for) = (Vec::new(), Vec::new());
        for account in accounts {
            let view = self.store.view(&account);
            for incarnation in view.revoked_for(&cert.key_id)? {
                revoked_for.push((account.clone(), incarnation));
            }
            if policy.trust.ca().is_some() && view.is_key_disabled(&cert.key_id)? {
                key_disabled_for.push(account.clone());
            }
            if view.is_disabled(&cert.fingerprint)? {
                disabled_for.push(account);
            }
        }
        Ok(Fetched {
            enrolments,
            revoked_for,
            disabled_for,
            key_disabled_for,
        })
    }
}

/// Somebody may log in.
struct Yes {
    account: BareJid,
    resource: Option<String>,
    fingerprint: Fingerprint,
    key_id: KeyId,
    not_after: UnixSeconds,
    /// The record that admits it; none if an authority alone does.
    held: Option<Enrolment>,
    /// How an authority vouches for it, if it had to.
    path: Option<CertificationPath>,
}

/// What the store knows of a certificate.
pub(super) struct Fetched {
    pub(super) enrolments: Vec<Enrolment>,
    pub(super) revoked_for: Vec<(BareJid, Incarnation)>,
    pub(super) disabled_for: Vec<BareJid>,
    pub(super) key_disabled_for: Vec<BareJid>,
}

impl Fetched {
    /// With what an authority says of the certificate.
    pub(super) fn about<'a>(
        &'a self,
        host: &'a Host,
        cert: &'a ClientCert,
        by_authority: Option<Result<(), Denial>>,
    ) -> CertificateFacts<'a> {
        CertificateFacts {
            host,
            cert,
            enrolments: &self.enrolments,
            revoked_for: &self.revoked_for,
            disabled_for: &self.disabled_for,
            key_disabled_for: &self.key_disabled_for,
            by_authority,
        }
    }

    /// Has every account of the host that the certificate names enrolled it?
    fn is_enrolled_by_all(&self, cert: &ClientCert, host: &Host) -> bool {
        let named = cert.addresses.iter().filter_map(Jid::account);
        let mut here = named.filter(|account| account.host() == host);
        here.all(|account| self.enrolments.iter().any(|held| held.account == account))
    }
}

/// What somebody shows, and from where.
struct Shown<'a> {
    host: &'a Host,
    chain: &'a Chain,
    address: Option<&'a str>,
}

/// What the asker knows of the accounts.
fn told(host: &Host, accounts: &Each<LoginAccount>) -> Vec<AccountFact> {
    let facts = accounts.good().filter_map(|known| {
        Some(AccountFact {
            account: BareJid::of(&known.username, host).ok()?,
            exists: known.exists,
            enabled: known.enabled,
            incarnation: known.incarnation.clone(),
        })
    });
    facts.collect()
}

fn told_of_offer(question: &Offer) -> Option<Vec<AccountFact>> {
    let accounts = question.accounts.as_ref()?;
    Some(told(&question.host, accounts))
}

/// When a question about a chain is answered.
enum Turn {
    /// A record could let it in.
    AtOnce,
    /// When there is room; `None`: too many wait.
    Queued(Option<Queued>),
}

fn fingerprint_of(der: &[u8]) -> Option<String> {
    let cert = ClientCert::from_der(der).ok()?;
    Some(cert.fingerprint.to_string())
}

/// Most accounts that one certificate is offered for.
const MAX_CANDIDATES: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

    use super::*;
    use crate::protocol::fields;
    use crate::store::Store;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    /// An authority's certificate as PEM, and one of `h@a.lit` that it has issued, as base64.
    fn issued() -> (String, String) {
        let params = || {
            let mut params = CertificateParams::default();
            params.not_before = rcgen::date_time_ymd(2026, 1, 1);
            params.not_after = rcgen::date_time_ymd(2096, 1, 1);
            params
        };
        let (mut authority, mut leaf) = (params(), params());
        authority
            .distinguished_name
            .push(DnType::CommonName, "Denmark");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let xmpp = vec![1, 3, 6, 1, 5, 5, 7, 8, 5];
        leaf.subject_alt_names = vec![SanType::OtherName((xmpp, "h@a.lit".into()))];
        let (key, own) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pem = authority.self_signed(&key).unwrap().pem();
        let leaf = leaf.signed_by(&own, &Issuer::new(authority, key)).unwrap();
        (pem, BASE64.encode(leaf.der()))
    }

    #[test]
    fn a_login_whose_session_cannot_be_kept_is_not_a_yes() {
        let folder = tempfile::tempdir().unwrap();
        let (data, file) = (folder.path().join("data"), folder.path().join("ca.pem"));
        let (pem, leaf) = issued();
        std::fs::write(&file, pem).unwrap();
        Store::create(&data).unwrap();
        let store = Store::open(&data, 1 << 20, Box::new(|_| {})).unwrap();
        let service = Service::new(store).unwrap();
        let options = json!({"saslcertd_trust": "ca", "saslcertd_ca_file": file});
        let host = Host::parse("a.lit").unwrap();
        let options = serde_json::from_value(options).unwrap();
        service
            .hosts
            .declare(&host, Accounts::Prosody, options)
            .unwrap();
        service.read_authorities(false);
        let question: Login = fields(json!({
            "host": "a.lit", "chain": [leaf], "authzid": null, "address": null,
            "accounts": [{"username": "h", "exists": true, "enabled": true, "incarnation": null}],
        }))
        .unwrap();
        let log_in = || service.decided_login(1, &question, NOW);
        assert!(log_in().is_ok());
        // A second one of the same kind would take no room of its own.
        service.sessions.forget(1);
        service.sessions.fill(1);
        let refused = log_in().unwrap_err();
        assert!(
            matches!(refused, Refusal::Fault(Fault::Overload)),
            "{refused:?}"
        );
    }
}
