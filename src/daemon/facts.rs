//! The facts about a certificate that is shown to a host: fetched once, for an offer, a login and `explain` alike. On a host with
//! authorities they are fetched twice: the first time says whether a question of a stranger waits for its turn, the second one decides.
//!
//! Must not know: what follows from it.

use std::sync::Arc;

use super::authorities::{AuthorityFiles, Problem};
use super::hosts::Hosts;
use crate::identity::certificate::Finding;
use crate::identity::{
    Account, BareJid, CertificationPath, ClientCert, Host, Incarnation, UnixSeconds,
};
use crate::policy::chain::Untrusted;
use crate::policy::login::{AccountFact, CertificateFacts, named};
use crate::policy::{Denial, HostPolicy};
use crate::protocol::{Accounts, Chain, Fault, Refusal};
use crate::store::{Holding, Known, Shown, Store, StoreError};

/// Where the facts stand.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) store: &'a Store,
    pub(super) authorities: &'a AuthorityFiles,
}

/// The chain that a client shows to a host, and the rules by which it is judged there.
pub(super) struct Presentation<'a> {
    pub(super) host: &'a Host,
    /// Where the host's accounts live.
    pub(super) lives: Accounts,
    pub(super) policy: Arc<HostPolicy>,
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

/// The facts in the lists about a certificate.
pub(super) struct Gathered<'a> {
    host: &'a Host,
    pub(super) cert: &'a ClientCert,
    holding: Arc<Holding>,
}

/// The accounts that have taken back a certificate or its key, those included that do not hold it.
#[derive(Default)]
pub(super) struct TakenBack {
    /// The accounts that have revoked its key.
    revoked: Vec<(BareJid, Incarnation)>,
    /// The accounts that have disabled it.
    disabled: Vec<BareJid>,
    /// The accounts that have disabled a certificate of its key.
    key_disabled: Vec<BareJid>,
}

/// An authority's word on a chain. `None` where none has a say; else the outer error is that of a file.
pub(super) type AuthorityAnswer = Option<Result<Result<CertificationPath, Untrusted>, Problem>>;

impl Facts<'_> {
    /// The facts in the lists about the certificate. It is found by its fingerprint, and parsed only if it stands in none.
    ///
    /// Errors: the outer one is the store's; the inner one says why it is no certificate that anybody may log in with.
    pub(super) fn gather<'a>(
        &self,
        shown: &Presentation<'a>,
    ) -> Result<Result<Gathered<'a>, Finding>, StoreError> {
        Ok(Gathered::of(self.look_up(shown)?, shown))
    }

    /// The same, not parsed even if it stands in no list.
    pub(super) fn look_up(&self, shown: &Presentation<'_>) -> Result<Known, StoreError> {
        let chain = shown.chain;
        let cert = Shown {
            der: chain.leaf(),
            fingerprint: chain.fingerprint(),
            cert: chain.parsed(),
        };
        self.store.known(cert, shown.host)
    }

    /// The accounts that have taken back the certificate or its key, among those that it names and those that hold it; `also` is
    /// looked at, too.
    pub(super) fn taken_back(
        &self,
        shown: &Presentation<'_>,
        gathered: &Gathered<'_>,
        also: Option<&BareJid>,
    ) -> Result<TakenBack, StoreError> {
        let cert = gathered.cert;
        let mut back = TakenBack::default();
        for account in gathered.concerned(also) {
            let view = self.store.view(&account);
            // For every account of the name: the lists have said it only of those whose record it is.
            for incarnation in view.revoked_for(&cert.key_id)? {
                back.revoked.push((account.clone(), incarnation));
            }
            if shown.policy.trust.ca().is_some() && view.is_key_disabled(&cert.key_id)? {
                back.key_disabled.push(account.clone());
            }
            if view.is_disabled(&cert.fingerprint)? {
                back.disabled.push(account);
            }
        }
        Ok(back)
    }

    /// The accounts that the certificate may belong to; `None` where only Prosody knows them.
    pub(super) fn accounts_of(
        &self,
        shown: &Presentation<'_>,
        gathered: &Gathered<'_>,
    ) -> Result<Option<Vec<Account>>, StoreError> {
        if shown.lives == Accounts::Prosody {
            return Ok(None);
        }
        let holders = gathered.holding.holders.iter();
        let mut accounts: Vec<BareJid> = holders.map(|holder| holder.account.clone()).collect();
        if shown.policy.trust.ca().is_some() {
            accounts.extend(gathered.named_here());
        }
        accounts.sort();
        accounts.dedup();
        let accounts = accounts.iter().map(|one| self.store.view(one).account());
        let accounts: Vec<Option<Account>> = accounts.collect::<Result<_, _>>()?;
        Ok(Some(accounts.into_iter().flatten().collect()))
    }

    /// Of the accounts that hold the records, the newest of each name that was ever heard of: Prosody is not asked.
    pub(super) fn newest_of(
        &self,
        gathered: &Gathered<'_>,
    ) -> Result<Vec<AccountFact>, StoreError> {
        let holders = gathered
            .holding
            .holders
            .iter()
            .map(|held| held.account.clone());
        self.account_facts(Accounts::Prosody, holders)
    }

    /// The facts that are known here about each of the accounts. Prosody is not asked about its own: the newest one that was heard
    /// of counts.
    pub(super) fn account_facts(
        &self,
        lives: Accounts,
        accounts: impl IntoIterator<Item = BareJid>,
    ) -> Result<Vec<AccountFact>, StoreError> {
        let accounts = accounts.into_iter();
        accounts
            .map(|account| self.account_fact(lives, account))
            .collect()
    }

    fn account_fact(&self, lives: Accounts, account: BareJid) -> Result<AccountFact, StoreError> {
        Ok(match lives {
            Accounts::Daemon => {
                let known = self.store.view(&account).account()?;
                known.as_ref().map_or(
                    AccountFact {
                        account,
                        exists: false,
                        enabled: false,
                        incarnation: None,
                    },
                    AccountFact::of,
                )
            }
            Accounts::Prosody => {
                let newest = self.store.view(&account).incarnation()?;
                AccountFact {
                    account,
                    exists: true,
                    enabled: true,
                    incarnation: newest.map(|(incarnation, _)| incarnation),
                }
            }
        })
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
        // A certificate that the lists let in by themselves is in: nothing else is looked up, and no signature is tried.
        // The reason of a refusal is given with everything at hand.
        let by_lists = gathered.by_lists();
        if by_lists.lists_may_suffice(&shown.policy) {
            let decided = decide(&by_lists, None);
            if decided.is_ok() {
                return Ok(decided);
            }
        }
        let back = self.taken_back(shown, gathered, None)?;
        let asked = self.ask_authorities(shown, now);
        let unasked = |problem: &Problem| {
            // A stranger hears no path.
            tracing::error!(%host, %fingerprint, %problem, "the authorities could not be asked");
            Fault::AuthoritiesUnreadable
        };
        let path = match &asked {
            Some(Ok(Ok(path))) => Some(path),
            // It may do without.
            Some(Err(problem)) if !shown.policy.trust.either_suffices() => {
                return Err(unasked(problem).into());
            }
            _ => None,
        };
        let decided = decide(&gathered.facts(&back, by_authority(&asked)), path);
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

/// An authority's word, as the rules take it. One that could not be asked says nothing.
pub(super) fn by_authority(asked: &AuthorityAnswer) -> Option<Result<(), Denial>> {
    match asked.as_ref()? {
        Ok(Ok(_)) => Some(Ok(())),
        Ok(Err(untrusted)) => Some(Err(untrusted.denial)),
        Err(_) => None,
    }
}

impl<'a> Gathered<'a> {
    /// Errors: why it is no certificate that anybody may log in with.
    pub(super) fn of(known: Known, shown: &Presentation<'a>) -> Result<Self, Finding> {
        let cert = shown.chain.cert_or(known.cert)?;
        Ok(Self {
            host: shown.host,
            cert,
            holding: known.holding,
        })
    }
}

impl Gathered<'_> {
    /// The lists alone: enough to let somebody in by them, and to say that they let nobody in. Why not may lie elsewhere.
    pub(super) fn by_lists(&self) -> CertificateFacts<'_> {
        CertificateFacts {
            host: self.host,
            cert: self.cert,
            holders: &self.holding.holders,
            revoked_for: &self.holding.revoked_for,
            disabled_for: &[],
            key_disabled_for: &[],
            by_authority: None,
        }
    }

    /// With what was taken back, and with what an authority says of the certificate.
    pub(super) fn facts<'a>(
        &'a self,
        back: &'a TakenBack,
        by_authority: Option<Result<(), Denial>>,
    ) -> CertificateFacts<'a> {
        CertificateFacts {
            revoked_for: &back.revoked,
            disabled_for: &back.disabled,
            key_disabled_for: &back.key_disabled,
            by_authority,
            ..self.by_lists()
        }
    }

    /// The accounts that the certificate names or that hold it, and `also`; each once.
    pub(super) fn concerned(&self, also: Option<&BareJid>) -> Vec<BareJid> {
        let holders = self.holding.holders.iter().map(|held| held.account.clone());
        let accounts = self.named_here().chain(holders).chain(also.cloned());
        let mut accounts: Vec<BareJid> = accounts.collect();
        accounts.sort();
        accounts.dedup();
        accounts
    }

    /// The accounts of the host that the certificate names.
    fn named_here(&self) -> impl Iterator<Item = BareJid> {
        named(self.cert, self.host)
    }
}

#[cfg(test)]
mod tests;
