//! Did an authority that the host trusts issue this certificate, and has it not revoked it: trust anchors, the validation of
//! paths (RFC 5280 6.1), and revocation lists (6.3). The signatures are checked by rustls' algorithms.
//!
//! Must not know: which files they come from.

mod lists;
mod pem;
mod policies;
mod rules;
mod signature;
mod walk;

use rustls_pki_types::pem::SectionKind;

use crate::identity::authority::IssuerKey;
use crate::identity::{
    Authority, AuthorityId, CertificationPath, Issued, IssuedId, PublicKey, UnixSeconds,
};

use super::denial::Denial;

pub use lists::{ListedBy, RevocationLists};
pub use pem::{PemError, hides_section};
pub use rules::Demands;

/// The authorities of one file.
#[derive(Debug)]
pub struct Authorities {
    about: Vec<Authority>,
}

/// No path: the "no", and why, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// The "no".
    pub denial: Denial,
    /// In plain words.
    pub cause: String,
}

impl Authorities {
    /// The authorities in a PEM file; each certificate in it is trusted.
    ///
    /// Errors: nothing of a file that holds anything else than whole certificates of authorities is taken.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let command = "openssl x509 -inform DER -in FILE -out FILE.pem";
        let mut about = Vec::new();
        pem::each_section(
            pem,
            SectionKind::Certificate,
            "CERTIFICATE",
            command,
            |number, der| {
                let section = |problem| PemError::Section { number, problem };
                about.push(Authority::from_der(der).map_err(section)?);
                Ok(())
            },
        )?;
        Ok(Self { about })
    }

    /// What is known of them, in the order of the file.
    #[must_use]
    pub fn about(&self) -> &[Authority] {
        &self.about
    }

    /// Why `authority` can vouch for nobody, whenever it is asked; `None` if it can.
    #[must_use]
    pub fn never_vouches(&self, authority: &Authority) -> Option<String> {
        let issued = &authority.issued;
        if let Some(cause) = signature::unusable_key(&issued.key) {
            return Some(cause);
        }
        if !issued.is_for_clients {
            return Some("it is not for clients (extendedKeyUsage)".to_owned());
        }
        let id = issued.not_understood.as_ref()?;
        Some(format!("its critical extension {id} is not understood"))
    }

    /// Those that no list of `lists` is of: what they issued is refused.
    pub fn without_list<'a>(
        &'a self,
        lists: &RevocationLists,
    ) -> impl Iterator<Item = &'a Authority> {
        self.about
            .iter()
            .filter(|authority| !lists.is_there_one_of(authority))
    }

    /// Does a path that was found earlier still end at one of them?
    #[must_use]
    pub fn still_trust(&self, path: &CertificationPath) -> bool {
        path.is_whole() && self.about.iter().any(|known| known.id == path.authority)
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

/// Finds a path from a client's certificate to one of the authorities, of which nothing is revoked; and how many signatures were
/// tried.
///
/// The addresses in it are none of this function's business: whoever an authority names, it may name.
///
/// Shape: `leaf` and `intermediates` as the client presented them, DER.
/// Units: `now` is seconds since the epoch.
/// Errors: the "no", and why.
/// Source: RFC 5280 6; RFC 6120 13.7.2.
pub fn path(
    leaf: &[u8],
    intermediates: &[&[u8]],
    authorities: &Authorities,
    revocation: Option<Revocation<'_>>,
    demands: &Demands,
    now: UnixSeconds,
) -> (Result<CertificationPath, Untrusted>, usize) {
    let Some(leaf) = Issued::from_der(leaf) else {
        let cause = "it is malformed, as an authority's certificate must not be".to_owned();
        let denial = Denial::ChainUntrusted;
        return (Err(Untrusted { denial, cause }), 0);
    };
    // What can't be read is passed over: a path may do without.
    let between = intermediates.iter().filter_map(|der| Issued::from_der(der));
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
