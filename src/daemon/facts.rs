//! The facts about a certificate that is shown to a host: parsed and fetched once, for an offer, a login and `explain` alike.
//!
//! Must not know: what follows from it.

use super::authorities::{AuthorityFiles, Problem};
use super::hosts::Hosts;
use crate::identity::certificate::Finding;
use crate::identity::{
    BareJid, CertificationPath, ClientCert, Enrolment, Host, Incarnation, UnixSeconds,
};
use crate::policy::chain::Untrusted;
use crate::policy::login::{AccountFact, CertificateFacts, named};
use crate::policy::{Denial, HostPolicy};
use crate::protocol::{Accounts, Chain, Fault, Refusal};
use crate::store::{Store, StoreError};

/// Where the facts stand.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) store: &'a Store,
    pub(super) authorities: &'a AuthorityFiles,
}

/// What somebody shows to a host, and by which rules it is judged there.
pub(super) struct Presentation<'a> {
    pub(super) host: &'a Host,
    /// Where the host's accounts live.
    pub(super) lives: Accounts,
    pub(super) policy: HostPolicy,
    pub(super) chain: &'a Chain,
}

impl<'a> Presentation<'a> {
    /// Errors: nobody has declared the host, or its options are in error.
    pub(super) fn new(hosts: &Hosts, host: &'a Host, chain: &'a Chain) -> Result<Self, Fault> {
        let (lives, policy) = hosts.of(host)?;
        Ok(Self {
            host,
            lives,
            policy,
            chain,
        })
    }
}

/// What the store knows of a certificate.
pub(super) struct Gathered<'a> {
    host: &'a Host,
    pub(super) cert: &'a ClientCert,
    pub(super) enrolments: Vec<Enrolment>,
    revoked_for: Vec<(BareJid, Incarnation)>,
    disabled_for: Vec<BareJid>,
    key_disabled_for: Vec<BareJid>,
}

/// What an authority says of a chain. `None` where none has a say; else the outer error is that of a file.
type AuthorityAnswer = Option<Result<Result<CertificationPath, Untrusted>, Problem>>;

impl Facts<'_> {
    /// Everything that the store knows of the certificate, for all accounts that it names or that have enrolled it; `also`: for
    /// that one, too.
    ///
    /// Errors: the outer one is the store's; the inner one says why it is no certificate that anybody may log in with.
    pub(super) fn gather<'a>(
        &self,
        shown: &Presentation<'a>,
        also: Option<&BareJid>,
    ) -> Result<Result<Gathered<'a>, Finding>, StoreError> {
        let cert = match shown.chain.cert() {
            Ok(cert) => cert,
            Err(finding) => return Ok(Err(finding)),
        };
        let enrolments = self.store.enrolments_of(&cert.fingerprint, shown.host)?;
        self.gather_beside(enrolments, shown, also)
    }

    /// As [`Self::gather`], where the records were read already: those of this fingerprint.
    pub(super) fn gather_beside<'a>(
        &self,
        mut enrolments: Vec<Enrolment>,
        shown: &Presentation<'a>,
        also: Option<&BareJid>,
    ) -> Result<Result<Gathered<'a>, Finding>, StoreError> {
        let host = shown.host;
        let cert = match shown.chain.cert() {
            Ok(cert) => cert,
            Err(finding) => return Ok(Err(finding)),
        };
        enrolments.retain(|held| held.holds(cert));
        let mut accounts: Vec<BareJid> = named(cert, host)
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
            if shown.policy.trust.ca().is_some() && view.is_key_disabled(&cert.key_id)? {
                key_disabled_for.push(account.clone());
            }
            if view.is_disabled(&cert.fingerprint)? {
                disabled_for.push(account);
            }
        }
        Ok(Ok(Gathered {
            host,
            cert,
            enrolments,
            revoked_for,
            disabled_for,
            key_disabled_for,
        }))
    }

    /// The accounts that the certificate may belong to; `None` where only Prosody knows them.
    pub(super) fn accounts_of(
        &self,
        shown: &Presentation<'_>,
        gathered: &Gathered<'_>,
    ) -> Result<Option<Vec<AccountFact>>, StoreError> {
        if shown.lives == Accounts::Prosody {
            return Ok(None);
        }
        let held = gathered.enrolments.iter();
        let mut accounts: Vec<BareJid> = held.map(|held| held.account.clone()).collect();
        if shown.policy.trust.ca().is_some() {
            accounts.extend(gathered.named_here());
        }
        accounts.sort();
        accounts.dedup();
        let mut facts = Vec::new();
        for account in accounts {
            if let Some(known) = self.store.view(&account).account()? {
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

    /// Of the accounts that hold the records, the newest of each name that was ever heard of: Prosody is not asked.
    pub(super) fn newest_of(
        &self,
        gathered: &Gathered<'_>,
    ) -> Result<Vec<AccountFact>, StoreError> {
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
        gathered.enrolments.iter().map(newest).collect()
    }

    /// Does an authority vouch for it?
    pub(super) fn ask_authorities(
        &self,
        shown: &Presentation<'_>,
        now: UnixSeconds,
    ) -> AuthorityAnswer {
        let files = shown.policy.trust.ca()?;
        let chain = shown.chain;
        let path = self
            .authorities
            .path(files, chain.leaf(), &chain.intermediates(), now);
        Some(path)
    }

    /// Lets `decide` decide by what was gathered, and by what an authority says; it hears by which path one vouches, too.
    ///
    /// Errors: the outer one is a fault; the inner one is its own.
    pub(super) fn judge<T>(
        &self,
        shown: &Presentation<'_>,
        gathered: &Gathered<'_>,
        now: UnixSeconds,
        decide: impl Fn(&CertificateFacts<'_>, Option<&CertificationPath>) -> Result<T, Denial>,
    ) -> Result<Result<T, Denial>, Refusal> {
        let (host, fingerprint) = (shown.host, gathered.cert.fingerprint);
        let unasked_facts = gathered.facts(None);
        if unasked_facts.lists_may_suffice(&shown.policy) {
            let decided = decide(&unasked_facts, None);
            if decided.is_ok() {
                return Ok(decided);
            }
        }
        let asked = self.ask_authorities(shown, now);
        let unasked = |problem: &Problem| {
            // A stranger hears no path.
            tracing::error!(%host, %fingerprint, %problem, "the authorities could not be asked");
            Fault::AuthoritiesUnreadable
        };
        let (by_authority, path) = match &asked {
            None => (None, None),
            Some(Ok(Ok(path))) => (Some(Ok(())), Some(path)),
            Some(Ok(Err(untrusted))) => (Some(Err(untrusted.denial)), None),
            // It may do without.
            Some(Err(_)) if shown.policy.trust.either_suffices() => (None, None),
            Some(Err(problem)) => return Err(unasked(problem).into()),
        };
        let decided = decide(&gathered.facts(by_authority), path);
        match (&decided, &asked) {
            (Err(_), Some(Err(problem))) => return Err(unasked(problem).into()),
            (Err(denial), Some(Ok(Err(Untrusted { cause, .. })))) => {
                let reason = denial.words().code;
                tracing::info!(%host, %fingerprint, reason, cause, "no authority vouches for it");
            }
            _ => {}
        }
        Ok(decided)
    }
}

impl Gathered<'_> {
    /// With what an authority says of the certificate.
    pub(super) fn facts(&self, by_authority: Option<Result<(), Denial>>) -> CertificateFacts<'_> {
        CertificateFacts {
            host: self.host,
            cert: self.cert,
            enrolments: &self.enrolments,
            revoked_for: &self.revoked_for,
            disabled_for: &self.disabled_for,
            key_disabled_for: &self.key_disabled_for,
            by_authority,
        }
    }

    /// The accounts of the host that the certificate names.
    pub(super) fn named_here(&self) -> impl Iterator<Item = BareJid> {
        named(self.cert, self.host)
    }
}
