//! `external.offer` and `external.login`: is this certificate admitted, and as which account?
//!
//! Must not know: rules (`policy::login` decides), SASL, how the files of authorities are read.

use super::super::derivations::{Purpose, Queued};
use super::super::facts::{Facts, Gathered, Presentation};
use super::super::gate::{Gate, Pass};
use super::super::guesses::Network;
use super::super::hosts::Hosts;
use super::super::lanes::Lanes;
use super::super::last_uses::LastUses;
use super::super::presented::{About, Chains};
use super::super::reply::{Answered, Reply};
use super::super::sessions::Sessions;
use crate::identity::visible::visible;
use crate::identity::{
    Account, BareJid, CertificateName, CertificationPath, ClientCert, Holder, Host, Incarnation,
    UnixSeconds,
};
use crate::policy::login::{AccountFact, Admitted, Heard, Offering};
use crate::policy::{Denial, login};
use crate::protocol::{
    Accounts, Candidate, Chain, Each, Fault, LoggedIn, Login, LoginAccount, Offer, Offered,
    Presented, Refusal, Request,
};

/// Decides who may log in with a certificate.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct External<'a> {
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) chains: &'a Chains,
    pub(in crate::daemon) sessions: &'a Sessions,
    pub(in crate::daemon) gate: &'a Gate,
    pub(in crate::daemon) last_uses: &'a LastUses,
    pub(in crate::daemon) lanes: &'a Lanes,
    pub(in crate::daemon) facts: Facts<'a>,
}

/// A question about a client, and about the chain that it shows.
pub(in crate::daemon) trait OfClient: Request {
    /// Where something is presented, and what: the chain, or its name.
    fn presented(&self) -> (&Host, &Presented);

    /// Answers it, unless it would wait here: for signatures, or for what is being taken back. Then it is decided by the schedule
    /// that is returned.
    fn begin(
        external: &External<'_>,
        reply: &Reply<Self>,
        question: &About<Self>,
        now: UnixSeconds,
    ) -> Option<Schedule>;

    /// Decides it. Blocks, a login while something is taken back.
    fn decide(
        external: &External<'_>,
        reply: &Reply<Self>,
        question: &About<Self>,
        now: UnixSeconds,
    );
}

impl OfClient for Offer {
    fn presented(&self) -> (&Host, &Presented) {
        (&self.host, &self.chain)
    }

    fn begin(
        external: &External<'_>,
        reply: &Reply<Self>,
        question: &About<Self>,
        now: UnixSeconds,
    ) -> Option<Schedule> {
        if !external.asks_authorities(&question.host) {
            reply.send(external.judge_offer(question, now));
            return None;
        }
        let address = question.address.as_deref();
        let visitor = Visitor::new(&question.host, question.chain(), address);
        Some(external.schedule(&visitor, account_facts_of_offer(question), now))
    }

    fn decide(
        external: &External<'_>,
        reply: &Reply<Self>,
        question: &About<Self>,
        now: UnixSeconds,
    ) {
        reply.send(external.judge_offer(question, now));
    }
}

impl OfClient for Login {
    fn presented(&self) -> (&Host, &Presented) {
        (&self.host, &self.chain)
    }

    fn begin(
        external: &External<'_>,
        reply: &Reply<Self>,
        question: &About<Self>,
        now: UnixSeconds,
    ) -> Option<Schedule> {
        if external.asks_authorities(&question.host) {
            let accounts = account_facts(&question.host, &question.accounts);
            let address = question.address.as_deref();
            let visitor = Visitor::new(&question.host, question.chain(), address);
            return Some(external.schedule(&visitor, Some(accounts), now));
        }
        let Some(pass) = external.gate.try_pass() else {
            return Some(Schedule::AtOnce);
        };
        external.decide_login(&pass, reply, question, now);
        None
    }

    fn decide(
        external: &External<'_>,
        reply: &Reply<Self>,
        question: &About<Self>,
        now: UnixSeconds,
    ) {
        external.decide_login(&external.gate.pass(), reply, question, now);
    }
}

impl External<'_> {
    /// The question, beside the chain that it is about.
    ///
    /// Errors: it names one that nobody knows, or the store can't be read.
    pub(in crate::daemon) fn about<Q: OfClient>(&self, question: Q) -> Result<About<Q>, Refusal> {
        self.chains.find(self.facts.store, question, Q::presented)
    }

    /// May it be decided where others wait? What it needs is in memory, or is read without waiting. A refusal may need more.
    pub(in crate::daemon) fn may_begin_here<Q: OfClient>(&self, question: &Q) -> bool {
        let store = self.facts.store;
        if !store.reads_block() {
            return true;
        }
        let (host, presented) = question.presented();
        let lives = self.hosts.of(host).map(|(lives, _)| lives);
        let chain = self.chains.known(presented);
        lives == Ok(Accounts::Prosody)
            && chain.is_some_and(|chain| {
                chain.parsed().is_some() && store.remembers(chain.fingerprint(), host)
            })
    }

    /// Signatures are checked where that holds nobody else up.
    fn asks_authorities(&self, host: &Host) -> bool {
        self.hosts
            .policy(host)
            .is_ok_and(|policy| policy.trust.ca().is_some())
    }

    /// A certificate that no record can let in waits for a turn, by the client's network: signatures cost time, and a stranger may
    /// show what it likes. `accounts`: what the asker knows of the accounts. The facts that are read here are read again for the
    /// decision, a login under its pass: the certificate may have been taken back meanwhile.
    fn schedule(
        &self,
        visitor: &Visitor<'_>,
        accounts: Option<Vec<AccountFact>>,
        now: UnixSeconds,
    ) -> Schedule {
        // Why it could not be looked up is said when it is decided.
        if self.is_known(visitor, accounts, now).unwrap_or(false) {
            return Schedule::AtOnce;
        }
        let purpose = Purpose::Try(visitor.address.map(Network::of));
        Schedule::Queued(self.lanes.queue_stranger(purpose))
    }

    fn is_known(
        &self,
        Visitor { host, chain, .. }: &Visitor<'_>,
        accounts: Option<Vec<AccountFact>>,
        now: UnixSeconds,
    ) -> Result<bool, Refusal> {
        let shown = Presentation::new(self.hosts, host, chain)?;
        let known = self.facts.look_up(&shown)?;
        // Most strangers cost no more than that.
        if known.holding.holders.is_empty() {
            return Ok(false);
        }
        let Ok(gathered) = Gathered::of(known, &shown) else {
            return Ok(false);
        };
        let known = self.facts.accounts_of(&shown, &gathered)?;
        let accounts = match known.as_deref().map(facts_of).or(accounts) {
            Some(accounts) => accounts,
            None => self.facts.newest_of(&gathered)?,
        };
        Ok(login::is_known(
            &gathered.by_lists(),
            &accounts,
            &shown.policy,
            now,
        ))
    }

    fn judge_offer(&self, question: &About<Offer>, now: UnixSeconds) -> Answered<Offered> {
        let shown = Presentation::new(self.hosts, &question.host, question.chain())?;
        let decided = match self.facts.gather(&shown)? {
            Ok(gathered) => {
                let own = self.facts.accounts_of(&shown, &gathered)?;
                let own = own.as_deref().map(facts_of);
                let told = account_facts_of_offer(question).unwrap_or_default();
                let heard = own.as_deref().map_or(Heard::OfSome(&told), Heard::OfAll);
                self.facts.judge(&shown, &gathered, now, |facts, _| {
                    let candidates = match login::offer_to(facts, heard, &shown.policy, now)? {
                        Offering::Yes => Vec::new(),
                        Offering::IfOneOf(candidates) => candidates.iter().map(candidate).collect(),
                    };
                    Ok((facts.cert.fingerprint, candidates))
                })?
            }
            Err(finding) => Err(Denial::CertificateUnacceptable { finding }),
        };
        let host = &question.host;
        Ok(match decided {
            Ok((fingerprint, candidates)) => {
                if candidates.is_empty() {
                    tracing::info!(%host, %fingerprint, "external.offer: yes");
                } else {
                    // Asked again, when it is known which of them there are.
                    tracing::debug!(%host, %fingerprint, "external.offer: to these accounts");
                }
                let name = self.chains.remember(question.chain());
                Offered {
                    offer: true,
                    candidates,
                    chain: (!question.is_named()).then_some(name),
                    denial: None,
                }
            }
            Err(denial) => {
                let fingerprint = readable_fingerprint(question.chain());
                let reason = denial.words().code;
                tracing::info!(%host, fingerprint, reason, "external.offer: no");
                Offered {
                    offer: false,
                    candidates: Vec::new(),
                    chain: None,
                    denial: Some(reason.into()),
                }
            }
        })
    }

    fn decide_login(
        &self,
        pass: &Pass<'_>,
        reply: &Reply<Login>,
        question: &About<Login>,
        now: UnixSeconds,
    ) {
        match self.judge_login(pass, reply.connection().id, question, now) {
            Ok(yes) => reply.admit(pass, &yes),
            Err(refusal) => reply.refuse(refusal),
        }
    }

    /// The facts are read under the pass that the yes is sent with.
    fn judge_login(
        &self,
        _pass: &Pass<'_>,
        connection: u64,
        question: &About<Login>,
        now: UnixSeconds,
    ) -> Answered<LoggedIn> {
        let shown = Presentation::new(self.hosts, &question.host, question.chain())?;
        let gathered = match self.facts.gather(&shown)? {
            Ok(gathered) => gathered,
            Err(finding) => {
                let denial = Denial::CertificateUnacceptable { finding };
                return Err(refused(question, denial));
            }
        };
        let known = self.facts.accounts_of(&shown, &gathered)?;
        let accounts = match &known {
            Some(known) => facts_of(known),
            None => account_facts(&question.host, &question.accounts),
        };
        let authzid = question.authzid.as_deref();
        let decided = self.facts.judge(&shown, &gathered, now, |facts, path| {
            let login = login::login(facts, authzid, &accounts, &shown.policy, now)?;
            login::require_announced(authzid, question.stream_from.as_deref())?;
            Ok(Yes {
                cert: gathered.cert,
                path: path
                    .filter(|_| login.rests_on_authority(&shown.policy))
                    .cloned(),
                holder: match login.by {
                    Admitted::List(holder) => Some(holder.clone()),
                    Admitted::Authority => None,
                },
                incarnation: accounts
                    .iter()
                    .find(|fact| fact.account == login.account)
                    .and_then(|fact| fact.incarnation.clone()),
                password_changed: known.as_deref().and_then(|known| {
                    let own = known.iter().find(|one| one.jid == login.account);
                    own.map(|own| own.password_changed)
                }),
                account: login.account,
                resource: login.resource,
            })
        })?;
        let yes = decided.map_err(|denial| refused(question, denial))?;
        let answer = self.let_in(connection, question, &yes)?;
        if let Some(holder) = yes.holder {
            let address = question.address.clone();
            self.last_uses
                .note(holder, yes.cert.fingerprint, address, now);
        }
        Ok(answer)
    }

    /// The yes, if there is room to keep the session that follows.
    fn let_in(
        &self,
        connection: u64,
        question: &About<Login>,
        yes: &Yes<'_>,
    ) -> Answered<LoggedIn> {
        let account = &yes.account;
        let sessions = self.sessions;
        let is_kept = yes
            .path
            .as_ref()
            .is_none_or(|path| sessions.logged_in(connection, account, yes.cert.key_id, path));
        if !is_kept {
            tracing::error!(connection, %account, "external.login: no room to keep one more session");
            return Err(Fault::Overload.into());
        }
        let holder = yes.holder.as_ref();
        let name = holder.map(|holder| &holder.name);
        tracing::info!(
            %account,
            fingerprint = %yes.cert.fingerprint,
            name = name.map(CertificateName::as_str),
            is_vouched_for = yes.path.is_some(),
            address = question.address.as_deref(),
            "external.login: yes"
        );
        Ok(LoggedIn {
            username: account.username().to_owned(),
            resource: yes.resource.clone(),
            name: name.map(|name| visible(name.as_str()).into_owned()),
            fingerprint: yes.cert.fingerprint,
            key_id: yes.cert.key_id,
            not_after: yes.cert.not_after,
            incarnation: yes.incarnation.clone(),
            may_manage: holder.is_some_and(|holder| holder.may_manage),
            password_changed: yes.password_changed,
            path: yes.path.clone(),
        })
    }
}

/// Somebody may log in.
struct Yes<'a> {
    account: BareJid,
    /// Which account of the name it is, as far as that is known.
    incarnation: Option<Incarnation>,
    resource: Option<String>,
    cert: &'a ClientCert,
    /// The list that admits it; none if an authority alone does.
    holder: Option<Holder>,
    /// When the password of an account that lives here was last changed.
    password_changed: Option<UnixSeconds>,
    /// How an authority vouches for it, if it had to.
    path: Option<CertificationPath>,
}

/// A client that asks for EXTERNAL: what it shows, and from where.
struct Visitor<'a> {
    host: &'a Host,
    chain: &'a Chain,
    address: Option<&'a str>,
}

impl<'a> Visitor<'a> {
    fn new(host: &'a Host, chain: &'a Chain, address: Option<&'a str>) -> Self {
        Self {
            host,
            chain,
            address,
        }
    }
}

/// The asker's facts about the accounts.
fn account_facts(host: &Host, accounts: &Each<LoginAccount>) -> Vec<AccountFact> {
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

fn candidate(one: &login::Candidate<'_>) -> Candidate {
    Candidate {
        username: one.account.username().to_owned(),
        incarnation: one.incarnation().cloned(),
    }
}

/// The facts about accounts that live here.
fn facts_of(accounts: &[Account]) -> Vec<AccountFact> {
    accounts.iter().map(AccountFact::of).collect()
}

fn account_facts_of_offer(question: &About<Offer>) -> Option<Vec<AccountFact>> {
    let accounts = question.accounts.as_ref()?;
    Some(account_facts(&question.host, accounts))
}

/// When a question is answered that may wait.
pub(in crate::daemon) enum Schedule {
    /// As soon as it may block.
    AtOnce,
    /// When there is room; `None`: too many wait.
    Queued(Option<Queued>),
}

fn refused(question: &About<Login>, denial: Denial) -> Refusal {
    let host = &question.host;
    let address = question.address.as_deref();
    let fingerprint = readable_fingerprint(question.chain());
    let reason = denial.words().code;
    tracing::info!(%host, fingerprint, address, reason, "external.login: no");
    Refusal::Login(denial)
}

/// For the log; `None`: it is no certificate.
fn readable_fingerprint(chain: &Chain) -> Option<String> {
    let cert = chain.cert().ok()?;
    Some(cert.fingerprint.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
    use serde_json::json;

    use super::super::super::state::State;
    use super::*;
    use crate::protocol::fields_of;
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
        let state = State::new(|listeners| Store::open_heard(&data, listeners)).unwrap();
        let options = json!({"saslcertd_trust": "ca", "saslcertd_ca_file": file});
        let host = Host::parse("a.lit").unwrap();
        let options = serde_json::from_value(options).unwrap();
        state
            .hosts
            .declare(&host, Accounts::Prosody, options)
            .unwrap();
        state.vouching().read(false);
        let question: Login = fields_of(json!({
            "host": "a.lit", "chain": [leaf], "authzid": null, "address": null,
            "accounts": [{"username": "h", "exists": true, "enabled": true, "incarnation": null}],
        }))
        .unwrap();
        let question = (state.chains).find(&state.store, question, |one| (&one.host, &one.chain));
        let question = question.unwrap();
        let log_in = || {
            let pass = state.gate.pass();
            state.external().judge_login(&pass, 1, &question, NOW)
        };
        assert!(log_in().is_ok());
        // A second one of the same kind would take no room of its own.
        state.sessions.forget(1);
        state.sessions.fill(1);
        let refused = log_in().unwrap_err();
        assert!(
            matches!(refused, Refusal::Fault(Fault::Overload)),
            "{refused:?}"
        );
    }
}
