//! Did an authority that the host trusts issue this certificate, and has it not revoked it: trust anchors, the validation of
//! paths (RFC 5280 6.1), and revocation lists (6.3). The signatures are checked by rustls' algorithms.
//!
//! Must not know: which files they come from.

mod authorities;
mod lists;
mod pem;
mod policies;
mod rules;
mod signature;
mod walk;

use crate::identity::authority::IssuerKey;
use crate::identity::{AuthorityId, CertificationPath, Issued, IssuedId, PublicKey, UnixSeconds};

use super::denial::Denial;

pub use authorities::{Authorities, Untrusted};
pub use lists::{ListedBy, Revocation, RevocationLists};
pub use pem::{PemError, hides_section};
pub use rules::Demands;

/// The certificates that a client has presented, DER.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// Its own.
    pub leaf: &'a [u8],
    /// Those between its own and an authority's, in any order.
    pub intermediates: &'a [&'a [u8]],
}

/// Finds a path from a client's certificate to one of the authorities, of which nothing is revoked; and how many signatures were
/// tried.
///
/// The addresses in it are none of this function's business: whoever an authority names, it may name.
///
/// Units: `now` is seconds since the epoch.
/// Errors: the "no", and why.
/// Source: RFC 5280 6; RFC 6120 13.7.2.
pub fn path(
    presented: Presented<'_>,
    authorities: &Authorities,
    revocation: Option<Revocation<'_>>,
    demands: &Demands,
    now: UnixSeconds,
) -> (Result<CertificationPath, Untrusted>, usize) {
    let Some(leaf) = Issued::from_der(presented.leaf) else {
        let cause = "it is malformed, as an authority's certificate must not be".to_owned();
        let denial = Denial::ChainUntrusted;
        return (Err(Untrusted { denial, cause }), 0);
    };
    // A certificate that can't be read is passed over: a path may do without it.
    let between = presented.intermediates.iter();
    let between = between.filter_map(|der| Issued::from_der(der));
    let between: Vec<Issued> = between.take(MAX_BETWEEN).collect();
    let question = walk::Question {
        leaf: &leaf,
        between: &between,
        authorities,
        revocation,
        demands,
        now,
    };
    let (found, signatures) = walk::find(&question);
    let path = found.map(|way| {
        let upwards = || way.between.iter().rev();
        let all = std::iter::once(&leaf).chain(upwards().copied());
        CertificationPath {
            issued: all.map(IssuedId::of_issued).collect(),
            keys: way.signers.iter().rev().map(|keys| keys_of(keys)).collect(),
            authority: AuthorityId::of(&way.anchor.subject.id(), &way.anchor.key),
        }
    });
    (path, signatures)
}

fn keys_of(keys: &[&PublicKey]) -> Vec<IssuerKey> {
    keys.iter().map(|key| IssuerKey((*key).clone())).collect()
}

/// Most certificates between that are looked at; the protocol takes fewer.
const MAX_BETWEEN: usize = 16;

#[cfg(test)]
mod tests;
