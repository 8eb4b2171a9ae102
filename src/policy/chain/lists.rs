//! Revocation lists: which of them count for an authority, and what they say of a certificate.
//!
//! Lists come over networks that nobody protects; only their signature says whose they are. Nothing that a list says is
//! believed, neither its date nor what it names, before its signature has been found to fit.
//!
//! Must not know: which files they come from.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rustls_pki_types::pem::SectionKind;

use crate::identity::authority::Scope;
use crate::identity::issued::{DistributionPoint, Reasons};
use crate::identity::{
    Authority, CertificationPath, GeneralName, Issued, IssuedId, PublicKey, RevocationList,
    UnixSeconds,
};
use crate::policy::denial::Denial;

use super::authorities::{Authorities, Untrusted};
use super::pem::{PemError, each_section};
use super::signature;

/// The revocation lists of one file.
#[derive(Debug)]
pub struct RevocationLists {
    lists: Vec<RevocationList>,
    /// How many certificates each of them lists.
    sizes: Vec<usize>,
    /// For each issuer its lists, the newest first.
    by_issuer: HashMap<[u8; 32], Vec<usize>>,
    /// The revoked certificates, and by which list; in order.
    revoked: Vec<(IssuedId, usize)>,
    /// Which list was found to be signed by which key: each is tried once.
    fits: Mutex<HashMap<(usize, [u8; 32]), bool>>,
}

/// How many signatures of lists are tried for one question, and may be.
#[derive(Debug)]
pub(super) struct Tries {
    pub(super) made: usize,
    max: usize,
}

impl Tries {
    /// For one question of somebody who wants to log in.
    pub(super) fn of_a_question() -> Self {
        Self {
            made: 0,
            max: MAX_TRIES,
        }
    }

    /// For what nobody waits for: each list and key is tried once.
    fn unlimited() -> Self {
        Self {
            made: 0,
            max: usize::MAX,
        }
    }
}

/// No more signatures may be tried.
struct TooMany;

/// The facts about one list, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBy {
    /// The authority's name, for people.
    pub issuer: String,
    /// Until when a newer one is promised.
    pub next_update: UnixSeconds,
    /// How many certificates it lists.
    pub revoked: usize,
    /// Why it does not count, in plain words; `None`: it counts.
    pub problem: Option<&'static str>,
}

impl RevocationLists {
    /// The lists in a PEM file. Of several from one authority the newest counts; of equally old ones the last in the file, since
    /// lists are appended.
    ///
    /// Errors: nothing of a file that holds anything else than whole lists is taken.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let command = "openssl crl -inform DER -in FILE -out FILE.pem";
        let mut lists: Vec<RevocationList> = Vec::new();
        each_section(pem, SectionKind::Crl, "X509 CRL", command, |number, der| {
            let list = RevocationList::from_der(der)
                .map_err(|problem| PemError::Section { number, problem })?;
            lists.push(list);
            Ok(())
        })?;
        lists.reverse();
        lists.sort_by_key(|list| std::cmp::Reverse(list.this_update));
        let mut by_issuer: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
        let (mut revoked, mut sizes) = (Vec::new(), Vec::new());
        for (at, list) in lists.iter_mut().enumerate() {
            by_issuer.entry(list.issuer_id).or_default().push(at);
            let ids = std::mem::take(&mut list.revoked);
            sizes.push(ids.len());
            revoked.extend(ids.into_iter().map(|id| (id, at)));
        }
        revoked.sort_unstable();
        Ok(Self {
            lists,
            sizes,
            by_issuer,
            revoked,
            fits: Mutex::default(),
        })
    }

    /// The facts about each list, for people; of none that a newer one stands for.
    #[must_use]
    pub fn about(&self, authorities: Option<&Authorities>) -> Vec<ListedBy> {
        let authorities = authorities.map(Authorities::about).unwrap_or_default();
        // For each the lists that count.
        let counting: Vec<(&Authority, Vec<usize>)> = authorities
            .iter()
            .map(|one| (one, self.all_counting(one.subject_id, &one.issued.key)))
            .collect();
        let mut about = Vec::new();
        for (at, (list, revoked)) in self.lists.iter().zip(&self.sizes).enumerate() {
            let named = || {
                counting
                    .iter()
                    .filter(|(one, _)| one.subject_id == list.issuer_id)
            };
            let signed_by: Vec<_> = named()
                .filter(|(one, _)| {
                    let signed = self.is_signed(at, &one.issued.key, &mut Tries::unlimited());
                    signed.is_ok_and(|signed| signed)
                })
                .collect();
            let problem = if named().next().is_none() {
                None
            } else if signed_by.is_empty() {
                Some("its signature fits none of the authorities of that name")
            } else if !signed_by.iter().any(|(one, _)| one.issued.may_sign_lists) {
                Some("its authority may not sign lists (keyUsage without cRLSign)")
            } else {
                None
            };
            let is_newest = signed_by.iter().any(|(_, newest)| newest.contains(&at));
            if problem.is_none() && !signed_by.is_empty() && !is_newest {
                continue;
            }
            about.push(ListedBy {
                issuer: list.issuer.clone(),
                next_update: list.next_update,
                revoked: *revoked,
                problem,
            });
        }
        about
    }

    /// Is there a list of that authority which counts?
    #[must_use]
    pub(super) fn is_there_one_of(&self, authority: &Authority) -> bool {
        let key = &authority.issued.key;
        authority.issued.may_sign_lists && !self.all_counting(authority.subject_id, key).is_empty()
    }

    /// Is anything revoked on a path that was found earlier?
    #[must_use]
    pub fn revoke(&self, path: &CertificationPath) -> bool {
        let mut pairs = path.issued.iter().zip(&path.keys);
        pairs.any(|(id, keys)| keys.iter().any(|key| self.is_revoked(*id, &key.0)))
    }

    fn is_revoked(&self, id: IssuedId, key: &PublicKey) -> bool {
        self.listing(id).any(|at| {
            self.lists
                .get(at)
                .is_some_and(|list| self.all_counting(list.issuer_id, key).contains(&at))
        })
    }

    /// The lists that name a certificate, whoever has signed them.
    fn listing(&self, id: IssuedId) -> impl Iterator<Item = usize> {
        let from = self.revoked.partition_point(|(before, _)| *before < id);
        let rest = self.revoked.get(from..).unwrap_or_default();
        rest.iter()
            .take_while(move |(one, _)| *one == id)
            .map(|(_, at)| *at)
    }

    /// The lists that count of an authority: the newest of each scope that its key has signed.
    ///
    /// Source: RFC 5280 6.3.3 (a) and (g).
    fn counting(
        &self,
        issuer_id: [u8; 32],
        key: &PublicKey,
        tries: &mut Tries,
    ) -> Result<Vec<usize>, TooMany> {
        let mut counting: Vec<(usize, &Scope)> = Vec::new();
        for at in self.by_issuer.get(&issuer_id).into_iter().flatten() {
            let Some(list) = self.lists.get(*at) else {
                continue;
            };
            let is_older = counting.iter().any(|(_, newer)| **newer == list.scope);
            if !is_older && self.is_signed(*at, key, tries)? {
                counting.push((*at, &list.scope));
            }
        }
        Ok(counting.into_iter().map(|(at, _)| at).collect())
    }

    /// The same, whatever it costs.
    fn all_counting(&self, issuer_id: [u8; 32], key: &PublicKey) -> Vec<usize> {
        let counting = self.counting(issuer_id, key, &mut Tries::unlimited());
        counting.unwrap_or_default()
    }

    fn is_signed(&self, at: usize, key: &PublicKey, tries: &mut Tries) -> Result<bool, TooMany> {
        let which = (at, key.id);
        let fits = || self.fits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = fits().get(&which) {
            return Ok(*known);
        }
        if tries.made >= tries.max {
            return Err(TooMany);
        }
        tries.made += 1;
        let list = self.lists.get(at);
        let is_signed = list.is_some_and(|list| signature::fits(&list.signed, key));
        let mut fits = fits();
        if fits.len() < MAX_REMEMBERED {
            fits.insert(which, is_signed);
        }
        Ok(is_signed)
    }
}

/// Revocation lists, and whether one that is older than it promised still counts.
#[derive(Clone, Copy, Debug)]
pub struct Revocation<'a> {
    /// The lists.
    pub lists: &'a RevocationLists,
    /// `saslcertd_crl_expired = "accept"`.
    pub accept_expired: bool,
}

impl Revocation<'_> {
    /// May `cert` still be used, by what the authority of that name has said?
    ///
    /// Shape: the first of `signers` has signed `cert`; the others have its name. A certificate that one of them revokes is revoked.
    /// `tries` counts the signatures of the whole question.
    /// Errors: the "no", and why.
    /// Source: RFC 5280 6.3.3.
    pub(super) fn require_unrevoked(
        self,
        cert: &Issued,
        signers: &[&Issued],
        tries: &mut Tries,
        now: UnixSeconds,
    ) -> Result<(), Untrusted> {
        let Self {
            lists,
            accept_expired,
        } = self;
        let shown = signers
            .first()
            .map_or("", |first| first.subject_shown.as_str());
        let refused = |denial, why: &str| {
            Err(Untrusted {
                denial,
                cause: format!("{why} {shown}"),
            })
        };
        let id = IssuedId::of_issued(cert);
        let issuer_id = cert.issuer.id();
        let mut covered = Reasons(0);
        let mut is_old = false;
        for signer in signers.iter().filter(|signer| signer.may_sign_lists) {
            let Ok(counting) = lists.counting(issuer_id, &signer.key, tries) else {
                // The lists that were tried are remembered: the next question comes further.
                return refused(
                    Denial::CrlMissing,
                    "too many revocation lists would have to be tried, to find that of",
                );
            };
            for at in counting {
                let Some(list) = lists.lists.get(at) else {
                    continue;
                };
                let about = reasons_about(cert, list);
                if about == Reasons(0) {
                    continue;
                }
                if lists.listing(id).any(|listing| listing == at) {
                    return refused(Denial::ChainRevoked, "it stands on the revocation list of");
                }
                if now > list.next_update && !accept_expired {
                    is_old = true;
                    continue;
                }
                covered = Reasons(covered.0 | about.0);
            }
        }
        if covered == Reasons::ALL {
            return Ok(());
        }
        if is_old {
            return refused(Denial::CrlExpired, "too old is the revocation list of");
        }
        if !signers.iter().any(|signer| signer.may_sign_lists) {
            return refused(
                Denial::CrlMissing,
                "keyUsage without cRLSign: there can be no revocation list of",
            );
        }
        refused(
            Denial::CrlMissing,
            "there is no revocation list, for all reasons, of",
        )
    }
}

/// Which reasons to revoke `cert` the list would tell; none if it is about others.
///
/// Source: RFC 5280 6.3.3 (b) and (d).
fn reasons_about(cert: &Issued, list: &RevocationList) -> Reasons {
    let scope = &list.scope;
    if scope.only_attributes
        || (scope.only_users && cert.is_authority)
        || (scope.only_authorities && !cert.is_authority)
    {
        return Reasons(0);
    }
    let Some(points) = &scope.points else {
        return scope.reasons;
    };
    // A list that no point of the certificate names is at the place that bears its issuer's name.
    let own = GeneralName::Directory(list.issuer_name.clone());
    let mut reasons = if points.contains(&own) {
        Reasons::ALL.0
    } else {
        0
    };
    let leads_here = |point: &&DistributionPoint| {
        let names = point.names.as_deref().unwrap_or_default();
        !point.is_indirect && names.iter().any(|name| points.contains(name))
    };
    for point in cert.points.iter().filter(leads_here) {
        reasons |= point.reasons.0;
    }
    Reasons(reasons & scope.reasons.0)
}

/// Most signatures of lists that are tried for one question. Those of the authorities of the file were tried when it was read; of
/// a key that a client shows there is a list or two, unless somebody puts others of its name into the file.
pub(super) const MAX_TRIES: usize = 64;

impl Authorities {
    /// Those that no list of `lists` is of: what they issued is refused.
    pub fn without_list<'a>(
        &'a self,
        lists: &RevocationLists,
    ) -> impl Iterator<Item = &'a Authority> {
        self.about
            .iter()
            .filter(|authority| !lists.is_there_one_of(authority))
    }
}

/// Most pairs of a list and a key that are remembered; more are tried anew each time.
const MAX_REMEMBERED: usize = 100_000;
