//! May this certificate log in, and as which account? The rules for offering EXTERNAL and for a login with it.
//!
//! Must not know: where the facts come from.

use crate::identity::{Account, BareJid, ClientCert, Holder, Host, Incarnation, Jid, UnixSeconds};

use super::denial::Denial;
use super::host::{HostPolicy, Trust};
use crate::identity::key::Key;

/// The facts that an offer and a login are decided from.
#[derive(Clone, Debug)]
pub struct CertificateFacts<'a> {
    /// The host that the client connected to.
    pub host: &'a Host,
    /// The certificate that it proved in TLS.
    pub cert: &'a ClientCert,
    /// The accounts of this host that have it in a list: any account, any incarnation, any order.
    pub holders: &'a [Holder],
    /// Accounts of this host that this certificate names or that enrolled it, and for which its key is
    /// revoked; with the incarnation that it was revoked for.
    pub revoked_for: &'a [(BareJid, Incarnation)],
    /// Accounts for which this certificate was disabled.
    pub disabled_for: &'a [BareJid],
    /// Accounts for which a certificate of its key was disabled; asked for where an authority has a say.
    pub key_disabled_for: &'a [BareJid],
    /// Whether an authority of the host vouches for it, or why not; `None` where no authority has a say, or where it
    /// could not be asked and need not be.
    pub by_authority: Option<Result<(), Denial>>,
}

/// A fact of Prosody's about an account that the certificate may belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFact {
    /// The account.
    pub account: BareJid,
    /// Does it exist?
    pub exists: bool,
    /// Is it enabled?
    pub enabled: bool,
    /// Which account of that name; `None` before its first certificate.
    pub incarnation: Option<Incarnation>,
}

impl AccountFact {
    /// Of an account that lives in the daemon.
    #[must_use]
    pub fn of(account: &Account) -> Self {
        Self {
            account: account.jid.clone(),
            exists: true,
            enabled: account.enabled,
            incarnation: Some(account.incarnation.clone()),
        }
    }
}

/// An account that the certificate could log in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The account.
    pub account: BareJid,
    /// Why.
    pub by: Admitted<'a>,
}

/// By what a certificate is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted<'a> {
    /// By the account's list, in which it stands.
    List(&'a Holder),
    /// By the word of an authority alone: it names the account, whichever has the name now.
    Authority,
}

impl CertificateFacts<'_> {
    /// May the lists alone let it in, so that nothing else need be looked up, and no signature tried, before they have refused?
    /// Where an authority may do so, too, every account of the host that it names must have enrolled it: else it may let it in as
    /// one more.
    #[must_use]
    pub fn lists_may_suffice(&self, policy: &HostPolicy) -> bool {
        let holds = |account| self.holders.iter().any(|held| held.account == account);
        match policy.trust {
            Trust::Enrolled => true,
            Trust::EnrolledOrCa(_) => named(self.cert, self.host).all(holds),
            Trust::Ca(_) | Trust::EnrolledAndCa(_) => false,
        }
    }

    /// Has `account` disabled it, or another of its key? That counts where no record of its own stands against it.
    #[must_use]
    pub(super) fn is_disabled_for(&self, account: &BareJid) -> bool {
        self.disabled_for.contains(account) || self.key_disabled_for.contains(account)
    }
}

impl Candidate<'_> {
    /// The one account of the name that is meant; `None` means whichever has it.
    #[must_use]
    pub fn incarnation(&self) -> Option<&Incarnation> {
        match self.by {
            Admitted::List(holder) => Some(&holder.incarnation),
            Admitted::Authority => None,
        }
    }

    fn is_of(&self, fact: &AccountFact) -> bool {
        let meant = self.incarnation();
        fact.account == self.account && (meant.is_none() || meant == fact.incarnation.as_ref())
    }
}

/// A login: the account, and the resource that the session is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    /// As whom.
    pub account: BareJid,
    /// The list or the authority's word that admits it.
    pub by: Admitted<'a>,
    /// The resource that the session must be bound to; `None` leaves it to the client.
    pub resource: Option<String>,
}

impl Login<'_> {
    /// Must an authority go on vouching for it while its session lives? Not where the user's list lets it in by itself.
    #[must_use]
    pub fn rests_on_authority(&self, policy: &HostPolicy) -> bool {
        match self.by {
            Admitted::Authority => true,
            Admitted::List(_) => !policy.trust.either_suffices(),
        }
    }
}

/// The accounts of `host` that the certificate names, as often as it does.
pub fn named(cert: &ClientCert, host: &Host) -> impl Iterator<Item = BareJid> {
    let accounts = cert.addresses.iter().filter_map(Jid::account);
    accounts.filter(move |account| account.host() == host)
}

/// The accounts of which something is known when EXTERNAL is to be offered.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// All that there are: one that is missing does not exist.
    OfAll(&'a [AccountFact]),
    /// Some, or none yet: one that is missing may exist.
    OfSome(&'a [AccountFact]),
}

/// Whether EXTERNAL is offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Offering<'a> {
    /// It is.
    Yes,
    /// It is if somebody could log in as one of these accounts: of at least one of them nothing is known.
    IfOneOf(Vec<Candidate<'a>>),
}

/// Whether EXTERNAL is offered: if somebody could log in as an account of those of [`offer`].
///
/// The login that follows goes by what was told for the offer, and takes an account that is missing there for none: so each of them must have
/// been told of, the usable ones' neighbours too.
///
/// Units and errors: as for [`offer`].
pub fn offer_to<'a>(
    facts: &CertificateFacts<'a>,
    accounts: Heard<'_>,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Offering<'a>, Denial> {
    let mut candidates = offer(facts, policy, now)?;
    let (Heard::OfAll(known) | Heard::OfSome(known)) = accounts;
    if matches!(accounts, Heard::OfSome(_)) {
        candidates.truncate(MAX_ASKED);
        let is_told = |one: &Candidate<'_>| known.iter().any(|fact| fact.account == one.account);
        if !candidates.iter().all(is_told) {
            return Ok(Offering::IfOneOf(candidates));
        }
    }
    if candidates.iter().any(|one| is_usable(one, known)) {
        return Ok(Offering::Yes);
    }
    Err(Denial::AccountMissing)
}

/// Most accounts of one certificate that an asker is asked about.
const MAX_ASKED: usize = 64;

/// As whom this certificate could log in, and why; never empty.
///
/// Whether their accounts exist and are enabled is for the asker to find out.
///
/// Units: `now` and the validity are seconds since the epoch, both ends included.
/// Errors: why EXTERNAL is not to be offered.
/// Source: RFC 6120 6.3.4 and 13.7.2; XEP-0178 1.0 (offer only what can succeed).
pub fn offer<'a>(
    facts: &CertificateFacts<'a>,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Vec<Candidate<'a>>, Denial> {
    require_acceptable(facts.cert, policy)?;
    require_validity(facts.cert, now)?;
    match policy.trust {
        Trust::Enrolled => enrolled(facts, policy),
        Trust::Ca(_) => vouched_for(facts),
        Trust::EnrolledAndCa(_) => {
            require_authority(facts)?;
            enrolled(facts, policy)
        }
        Trust::EnrolledOrCa(_) => match (enrolled(facts, policy), vouched_for(facts)) {
            (Ok(mut candidates), Ok(vouched)) => {
                candidates.extend(vouched);
                Ok(candidates)
            }
            (Ok(candidates), Err(_)) | (Err(_), Ok(candidates)) => Ok(candidates),
            // Nobody has enrolled it, so why the authority does not help says more.
            (Err(Denial::CertificateUnknown), Err(denial)) | (Err(denial), Err(_)) => Err(denial),
        },
    }
}

/// Could a record let somebody log in with it, if an authority that has to agree does? Whom it cannot help is a stranger.
///
/// Shape: `accounts` holds what is known of each account; one that is missing does not exist.
/// Units: as for [`offer`].
#[must_use]
pub fn is_known(
    facts: &CertificateFacts<'_>,
    accounts: &[AccountFact],
    policy: &HostPolicy,
    now: UnixSeconds,
) -> bool {
    let is_acceptable = policy.trust.has_lists()
        && require_acceptable(facts.cert, policy).is_ok()
        && require_validity(facts.cert, now).is_ok();
    let candidates = match enrolled(facts, policy) {
        Ok(candidates) if is_acceptable => candidates,
        Ok(_) | Err(_) => return false,
    };
    candidates.iter().any(|one| is_usable(one, accounts))
}

/// The accounts that have enrolled it.
fn enrolled<'a>(
    facts: &CertificateFacts<'a>,
    policy: &HostPolicy,
) -> Result<Vec<Candidate<'a>>, Denial> {
    let candidates: Vec<Candidate<'a>> = facts
        .holders
        .iter()
        .filter(|holder| !is_revoked(facts, holder))
        .filter(|holder| may_stand_for(facts, policy, &holder.account))
        .map(|holder| Candidate {
            account: holder.account.clone(),
            by: Admitted::List(holder),
        })
        .collect();
    if candidates.is_empty() {
        return Err(why_not_enrolled(facts, policy));
    }
    Ok(candidates)
}

/// The accounts of this host that it names, if an authority vouches for it. A certificate that one of them has revoked or disabled
/// stays out, whichever account of the name did it. With a disabled certificate goes every other of its key: anybody can
/// write an ECDSA signature in a second way (n - s for s), and make another fingerprint of what the authority has signed.
fn vouched_for<'a>(facts: &CertificateFacts<'a>) -> Result<Vec<Candidate<'a>>, Denial> {
    require_authority(facts)?;
    let mut named: Vec<BareJid> = named(facts.cert, facts.host).collect();
    named.sort();
    named.dedup();
    if named.is_empty() {
        return Err(if facts.cert.addresses.is_empty() {
            Denial::AddressMissing
        } else {
            Denial::AddressForeign
        });
    }
    let is_revoked = |account: &BareJid| facts.revoked_for.iter().any(|(of, _)| of == account);
    named.retain(|account| !is_revoked(account) && !facts.is_disabled_for(account));
    if named.is_empty() {
        return Err(if facts.revoked_for.is_empty() {
            Denial::CertificateDisabled
        } else {
            Denial::KeyRevoked
        });
    }
    let candidate = |account| Candidate {
        account,
        by: Admitted::Authority,
    };
    Ok(named.into_iter().map(candidate).collect())
}

/// Fails closed: nobody's word is not an authority's.
fn require_authority(facts: &CertificateFacts<'_>) -> Result<(), Denial> {
    facts.by_authority.unwrap_or(Err(Denial::ChainUntrusted))
}

/// Could somebody log in as the account of this candidate?
fn is_usable(candidate: &Candidate<'_>, accounts: &[AccountFact]) -> bool {
    let mut accounts = accounts.iter();
    accounts.any(|fact| fact.exists && fact.enabled && candidate.is_of(fact))
}

/// For a certificate without addresses, the lists alone name the account: they say nothing of accounts that are gone.
pub(super) fn retain_existing(candidates: &mut Vec<Candidate<'_>>, accounts: &[AccountFact]) {
    candidates.retain(|candidate| {
        accounts
            .iter()
            .any(|fact| fact.exists && candidate.is_of(fact))
    });
}

/// Decides a SASL EXTERNAL login.
///
/// With an authzid, it must be one of the certificate's addresses. Without, the certificate must
/// name exactly one account on the host; if it names none, exactly one account must have enrolled it.
///
/// Shape: `accounts` holds what is known of each candidate; one that is missing does not exist.
/// Units: `now` and the validity are seconds since the epoch, both ends included.
/// Errors: the first refusal in the order of the checks below.
/// Source: XEP-0178 (client-to-server); XEP-0257 (SASL EXTERNAL); RFC 4422 A.
pub fn login<'a>(
    facts: &CertificateFacts<'a>,
    authzid: Option<&[u8]>,
    accounts: &[AccountFact],
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Login<'a>, Denial> {
    let mut candidates = offer(facts, policy, now)?;
    let authzid = parse_authzid(authzid)?;
    if facts.cert.addresses.is_empty() {
        retain_existing(&mut candidates, accounts);
        if candidates.is_empty() {
            return Err(Denial::CertificateUnknown);
        }
    }
    let (account, resource) = identity(facts, authzid.as_ref(), &candidates)?;
    // A record must be the account's own: a certificate that names two accounts admits only those who enrolled it
    // themselves. Records stand before an authority's word.
    let known = accounts.iter().find(|fact| fact.account == account);
    let candidate = candidates
        .into_iter()
        .filter(|candidate| candidate.account == account)
        .find(|candidate| known.is_some_and(|fact| candidate.is_of(fact)));
    match (known, candidate) {
        (Some(fact), Some(_)) if !fact.exists => Err(Denial::AccountMissing),
        (Some(fact), Some(_)) if !fact.enabled => Err(Denial::AccountDisabled),
        (Some(_), Some(candidate)) => Ok(Login {
            account,
            by: candidate.by,
            resource,
        }),
        (Some(_), None) => Err(Denial::CertificateUnknown),
        (None, _) => Err(Denial::AccountMissing),
    }
}

/// Does this host take such a certificate, whoever shows it, and whenever?
pub fn require_acceptable(cert: &ClientCert, policy: &HostPolicy) -> Result<(), Denial> {
    match cert.key {
        Key::Rsa { bits } if bits < policy.min_rsa_bits => Err(Denial::KeyTooShort {
            bits,
            wanted: policy.min_rsa_bits,
        }),
        Key::Rsa { .. } | Key::Curve => Ok(()),
    }
}

/// Is `now` within the certificate's validity? A machine whose clock is up to 5 minutes ahead may have made it.
pub fn require_validity(cert: &ClientCert, now: UnixSeconds) -> Result<(), Denial> {
    if now > cert.not_after {
        return Err(Denial::CertificateExpired);
    }
    if now.plus(NOT_BEFORE_LEEWAY_SECONDS) < cert.not_before {
        return Err(Denial::CertificateNotYetValid);
    }
    Ok(())
}

/// Could `account` be meant by this certificate? It names it; or it names nobody at all, and the host allows that.
fn may_stand_for(facts: &CertificateFacts<'_>, policy: &HostPolicy, account: &BareJid) -> bool {
    if facts.cert.addresses.is_empty() {
        return !policy.require_address;
    }
    names(facts.cert, account)
}

/// Does the certificate carry an address of `account`?
#[must_use]
pub fn names(cert: &ClientCert, account: &BareJid) -> bool {
    let mut addresses = cert.addresses.iter();
    addresses.any(|address| address.names(account))
}

fn is_revoked(facts: &CertificateFacts<'_>, holder: &Holder) -> bool {
    facts.revoked_for.iter().any(|(account, incarnation)| {
        *account == holder.account && *incarnation == holder.incarnation
    })
}

fn why_not_enrolled(facts: &CertificateFacts<'_>, policy: &HostPolicy) -> Denial {
    if facts.cert.addresses.is_empty() && policy.require_address {
        Denial::AddressMissing
    } else if !facts.revoked_for.is_empty() {
        Denial::KeyRevoked
    } else if !facts.disabled_for.is_empty() {
        Denial::CertificateDisabled
    } else if facts.holders.is_empty() {
        Denial::CertificateUnknown
    } else {
        Denial::AddressForeign
    }
}

pub(super) fn parse_authzid(authzid: Option<&[u8]>) -> Result<Option<Jid>, Denial> {
    let bytes = match authzid {
        None | Some([]) => return Ok(None),
        Some(bytes) => bytes,
    };
    if bytes.contains(&0) {
        return Err(Denial::AuthzidMalformed);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Denial::AuthzidMalformed)?;
    Jid::parse(text)
        .map(Some)
        .map_err(|_| Denial::AuthzidInvalid)
}

/// In SASL2 a non-empty authzid must be whom the stream said it comes from, if it said so; resources aside.
///
/// Source: XEP-0388 1.0.4, "Initiation".
pub fn require_announced(authzid: Option<&[u8]>, stream_from: Option<&str>) -> Result<(), Denial> {
    let (Some(authzid), Some(stream_from)) = (parse_authzid(authzid)?, stream_from) else {
        return Ok(());
    };
    let announced = Jid::parse(stream_from).ok().and_then(|jid| jid.account());
    if announced.is_some() && announced == authzid.account() {
        Ok(())
    } else {
        Err(Denial::AuthzidInvalid)
    }
}

/// Which account is meant, and which resource its session is bound to.
pub(super) fn identity(
    facts: &CertificateFacts<'_>,
    authzid: Option<&Jid>,
    candidates: &[Candidate<'_>],
) -> Result<(BareJid, Option<String>), Denial> {
    if let Some(authzid) = authzid {
        let account = authzid.account().ok_or(Denial::AuthzidInvalid)?;
        if account.host() != facts.host {
            return Err(Denial::AuthzidInvalid);
        }
        if facts.cert.addresses.is_empty() {
            // Nobody is named, so only the lists say whose it is.
            let holds = candidates.iter().any(|one| one.account == account);
            return if holds {
                Ok((account, None))
            } else {
                Err(Denial::AuthzidInvalid)
            };
        }
        let resource = resource_for(facts.cert, &account, authzid.resource())?;
        return Ok((account, resource));
    }
    let mut accounts: Vec<BareJid> = if facts.cert.addresses.is_empty() {
        candidates.iter().map(|one| one.account.clone()).collect()
    } else {
        // Enrolled or not: which identity is meant must not depend on what else happens to be enrolled.
        named(facts.cert, facts.host).collect()
    };
    accounts.sort();
    accounts.dedup();
    let mut accounts = accounts.into_iter();
    match (accounts.next(), accounts.next()) {
        (None, _) => Err(Denial::AddressForeign),
        (Some(account), None) => {
            let resource = if facts.cert.addresses.is_empty() {
                None
            } else {
                resource_for(facts.cert, &account, None)?
            };
            Ok((account, resource))
        }
        (Some(_), Some(_)) => Err(Denial::AuthzidRequired),
    }
}

/// The resource that a session of `account` is bound to, when it asked for `wanted` (or for none).
///
/// Source: XEP-0257, "full JID"; the table in the tests is the rule.
fn resource_for(
    cert: &ClientCert,
    account: &BareJid,
    wanted: Option<&str>,
) -> Result<Option<String>, Denial> {
    let own = |address: &&Jid| address.names(account);
    let mut addresses: Vec<&Jid> = cert.addresses.iter().filter(own).collect();
    addresses.sort();
    addresses.dedup();
    let is_bare = addresses.iter().any(|address| address.resource().is_none());
    let mut resources = addresses.iter().filter_map(|address| address.resource());
    if let Some(wanted) = wanted {
        if resources.any(|resource| resource == wanted) {
            return Ok(Some(wanted.to_owned()));
        }
        return if is_bare {
            Ok(None)
        } else {
            Err(Denial::AuthzidInvalid)
        };
    }
    if is_bare {
        return Ok(None);
    }
    match (resources.next(), resources.next()) {
        (None, _) => Err(Denial::AuthzidInvalid),
        (Some(resource), None) => Ok(Some(resource.to_owned())),
        (Some(_), Some(_)) => Err(Denial::AuthzidRequired),
    }
}

/// How far notBefore may lie ahead, at enrolment and at login. There is no leeway for notAfter.
pub const NOT_BEFORE_LEEWAY_SECONDS: i64 = 300;

#[cfg(test)]
mod tests;
