//! Did an authority that the host trusts issue this certificate, and has it not revoked it: trust anchors and
//! revocation lists, on rustls' verifier.
//!
//! Must not know: which files they come from.

use std::collections::HashSet;

use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder,
    UnknownStatusPolicy, VerifiedPath, anchor_from_trusted_cert,
};

use crate::identity::authority::{AuthorityError, is_authority};
use crate::identity::{Authority, CertificationPath, IssuedId, RevocationList, UnixSeconds};

use super::denial::Denial;

/// The authorities of one file.
#[derive(Debug)]
pub struct Authorities {
    /// As the verifier wants them; in the order of `about`.
    anchors: Vec<TrustAnchor<'static>>,
    about: Vec<Authority>,
}

/// The revocation lists of one file.
#[derive(Debug)]
pub struct RevocationLists {
    lists: Vec<CertRevocationList<'static>>,
    about: Vec<ListedBy>,
    revoked: HashSet<IssuedId>,
}

/// What is known of one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBy {
    /// The authority's name, for people.
    pub issuer: String,
    /// Until when a newer one is promised.
    pub next_update: Option<UnixSeconds>,
    /// How many certificates it lists.
    pub revoked: usize,
    issuer_id: [u8; 32],
}

/// What is wrong with a file of authorities or lists. Never quotes the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No section of the wanted kind.
    #[error("holds no PEM section \"BEGIN {wanted}\"")]
    Empty {
        /// The kind.
        wanted: &'static str,
    },
    /// DER where PEM is wanted.
    #[error("is binary (DER); PEM is wanted: {command}")]
    IsDer {
        /// What makes PEM of it.
        command: &'static str,
    },
    /// Something stands before a section on its first line (the end of the section before, a byte order mark), so that
    /// readers pass it over.
    #[error(
        "a section of it does not begin at the start of a line; a newline is missing, or something stands before it"
    )]
    Hidden,
    /// Another section begins before one of the wanted kind has ended, and readers forget what they had.
    #[error("a section of it has no end")]
    Unended,
    /// Not PEM.
    #[error("is not readable as PEM, at its section {number}")]
    NotPem {
        /// Counted from 1.
        number: usize,
    },
    /// A section that is not what it says.
    #[error("its section {number} {problem}")]
    Section {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        problem: AuthorityError,
    },
    /// A kind of list that the verifier does not take.
    #[error(
        "its section {number} is a delta or indirect revocation list, or one of an unknown kind; a whole one is wanted"
    )]
    UnsupportedList {
        /// Counted from 1.
        number: usize,
    },
}

/// No path: the "no", and what the verifier said, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// The "no".
    pub denial: Denial,
    /// In the verifier's words.
    pub cause: String,
}

impl Authorities {
    /// The authorities in a PEM file; each certificate in it is trusted.
    ///
    /// Errors: nothing of a file that holds anything else than whole certificates of authorities is taken.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let command = "openssl x509 -inform DER -in FILE -out FILE.pem";
        let mut authorities = Self {
            anchors: Vec::new(),
            about: Vec::new(),
        };
        each_section(
            pem,
            SectionKind::Certificate,
            "CERTIFICATE",
            command,
            |number, der| {
                let section = |problem| PemError::Section { number, problem };
                let about = Authority::from_der(der).map_err(section)?;
                let anchor = anchor_from_trusted_cert(&CertificateDer::from(der))
                    .map_err(|_| section(AuthorityError::NotCertificate))?
                    .to_owned();
                authorities.about.push(about);
                authorities.anchors.push(anchor);
                Ok(())
            },
        )?;
        Ok(authorities)
    }

    /// What is known of them, in the order of the file.
    #[must_use]
    pub fn about(&self) -> &[Authority] {
        &self.about
    }

    /// Those that no list of `lists` is of: what they issued is refused.
    pub fn without_list<'a>(
        &'a self,
        lists: &RevocationLists,
    ) -> impl Iterator<Item = &'a Authority> {
        let listed: HashSet<[u8; 32]> = lists.about.iter().map(|list| list.issuer_id).collect();
        self.about
            .iter()
            .filter(move |authority| !listed.contains(&authority.subject_id))
    }

    /// Does a path that was found earlier still end at one of them?
    #[must_use]
    pub fn still_trust(&self, path: &CertificationPath) -> bool {
        self.about.iter().any(|known| known.id == path.authority)
    }
}

impl RevocationLists {
    /// The lists in a PEM file. Of several from one authority the newest counts; of equally old ones the last in the file, since
    /// lists are appended.
    ///
    /// Errors: nothing of a file that holds anything else than whole lists is taken.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let command = "openssl crl -inform DER -in FILE -out FILE.pem";
        let mut found: Vec<(RevocationList, CertRevocationList<'static>)> = Vec::new();
        each_section(pem, SectionKind::Crl, "X509 CRL", command, |number, der| {
            let about = RevocationList::from_der(der)
                .map_err(|problem| PemError::Section { number, problem })?;
            let list = OwnedCertRevocationList::from_der(der)
                .map_err(|_| PemError::UnsupportedList { number })?;
            found.push((about, list.into()));
            Ok(())
        })?;
        found.reverse();
        found.sort_by_key(|(about, _)| std::cmp::Reverse(about.this_update));
        let mut lists = Self {
            lists: Vec::new(),
            about: Vec::new(),
            revoked: HashSet::new(),
        };
        for (about, list) in found {
            // An authority may have one list for each part of what it issues.
            let is_older = lists.lists.iter().any(|newer| {
                newer.issuer() == list.issuer()
                    && newer.issuing_distribution_point() == list.issuing_distribution_point()
            });
            if is_older {
                continue;
            }
            lists.lists.push(list);
            lists.about.push(ListedBy {
                issuer: about.issuer,
                issuer_id: about.issuer_id,
                next_update: about.next_update,
                revoked: about.revoked.len(),
            });
            lists.revoked.extend(about.revoked);
        }
        Ok(lists)
    }

    /// What is known of them.
    #[must_use]
    pub fn about(&self) -> &[ListedBy] {
        &self.about
    }

    /// Is anything revoked on a path that was found earlier?
    #[must_use]
    pub fn revoke(&self, path: &CertificationPath) -> bool {
        path.issued.iter().any(|id| self.revoked.contains(id))
    }

    fn options<'a>(
        lists: &'a [&'a CertRevocationList<'static>],
        accept_expired: bool,
    ) -> Option<RevocationOptions<'a>> {
        let expiration = if accept_expired {
            ExpirationPolicy::Ignore
        } else {
            ExpirationPolicy::Enforce
        };
        // Errors only where there is no list, which `from_pem` excludes.
        let builder = RevocationOptionsBuilder::new(lists).ok()?;
        Some(
            builder
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(expiration)
                .build(),
        )
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

/// Finds a path from a client's certificate to one of the authorities, of which nothing is revoked.
///
/// The addresses in it are none of this function's business: whoever an authority names, it may name.
///
/// Shape: `leaf` and `intermediates` as the client presented them, DER.
/// Units: `now` is seconds since the epoch.
/// Errors: the "no", and the verifier's words.
/// Source: RFC 5280 6; RFC 6120 13.7.2.
pub fn path(
    leaf: &[u8],
    intermediates: &[&[u8]],
    authorities: &Authorities,
    revocation: Option<Revocation<'_>>,
    now: UnixSeconds,
) -> Result<CertificationPath, Untrusted> {
    let der = CertificateDer::from(leaf);
    let cert = EndEntityCert::try_from(&der).map_err(untrusted)?;
    let intermediates: Vec<CertificateDer<'_>> = intermediates
        .iter()
        .map(|der| CertificateDer::from(*der))
        .collect();
    let lists: Vec<&CertRevocationList<'static>> = revocation
        .iter()
        .flat_map(|revocation| &revocation.lists.lists)
        .collect();
    let accept_expired = revocation.is_some_and(|revocation| revocation.accept_expired);
    let options = match revocation {
        None => None,
        // Without options nothing would be looked up.
        Some(_) => Some(
            RevocationLists::options(&lists, accept_expired)
                .ok_or(webpki::Error::UnknownRevocationStatus)
                .map_err(untrusted)?,
        ),
    };
    let since_epoch = u64::try_from(now.0).unwrap_or(0);
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(since_epoch));
    let is_sound = |found: &VerifiedPath<'_>| require_sound(found, authorities, time, now);
    let found = cert
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &authorities.anchors,
            &intermediates,
            time,
            KeyUsage::client_auth(),
            options,
            Some(&is_sound),
        )
        .map_err(untrusted)?;
    let mut issued = vec![leaf.to_vec()];
    issued.extend(
        found
            .intermediate_certificates()
            .map(|cert| cert.der().to_vec()),
    );
    let issued = issued.iter().map(|der| IssuedId::of_certificate(der));
    let authority = authorities.at(found.anchor()).next();
    match (issued.collect::<Option<Vec<_>>>(), authority) {
        (Some(issued), Some(authority)) => Ok(CertificationPath {
            issued,
            authority: authority.id,
        }),
        _ => Err(untrusted(webpki::Error::BadDer)),
    }
}

impl Authorities {
    fn at<'a>(&'a self, anchor: &TrustAnchor<'_>) -> impl Iterator<Item = &'a Authority> {
        let both = self.anchors.iter().zip(&self.about);
        both.filter(move |(known, _)| {
            known.subject == anchor.subject
                && known.subject_public_key_info == anchor.subject_public_key_info
        })
        .map(|(_, about)| about)
    }
}

/// What webpki does not look at: the validity of what the path ends at and how long it lets a path be, and the key usage of what
/// the path goes through.
fn require_sound(
    found: &VerifiedPath<'_>,
    authorities: &Authorities,
    time: UnixTime,
    now: UnixSeconds,
) -> Result<(), webpki::Error> {
    let is_valid = |one: &&Authority| one.not_before <= now && now <= one.not_after;
    let mut at_end = authorities.at(found.anchor()).filter(is_valid).peekable();
    if at_end.peek().is_none() {
        return Err(webpki::Error::CertExpired {
            time,
            not_after: time,
        });
    }
    let below = found.intermediate_certificates().count();
    let allows = |max: u32| usize::try_from(max).is_ok_and(|max| below <= max);
    if !at_end.any(|one| one.max_below.is_none_or(allows)) {
        return Err(webpki::Error::PathLenConstraintViolated);
    }
    let mut between = found.intermediate_certificates();
    if !between.all(|cert| is_authority(&cert.der())) {
        return Err(webpki::Error::EndEntityUsedAsCa);
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value)] // For map_err.
fn untrusted(error: webpki::Error) -> Untrusted {
    use webpki::Error as E;
    let denial = match error {
        E::CertRevoked => Denial::ChainRevoked,
        E::UnknownRevocationStatus => Denial::CrlMissing,
        E::CrlExpired { .. } => Denial::CrlExpired,
        E::CertExpired { .. } | E::CertNotValidYet { .. } => Denial::ChainExpired,
        _ => Denial::ChainUntrusted,
    };
    Untrusted {
        denial,
        cause: error.to_string(),
    }
}

/// Hands each section of `kind` to `take`, numbered from 1; others are passed over.
fn each_section(
    pem: &[u8],
    kind: SectionKind,
    wanted: &'static str,
    command: &'static str,
    mut take: impl FnMut(usize, &[u8]) -> Result<(), PemError>,
) -> Result<(), PemError> {
    const SEQUENCE: u8 = 0x30;
    if hides_section(pem) {
        return Err(PemError::Hidden);
    }
    let begin = [BEGIN, wanted.as_bytes(), b"-----"].concat();
    let there = lines(pem).filter(|line| line.starts_with(&begin)).count();
    let mut taken = 0;
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    for (before, section) in sections.enumerate() {
        let number = before + 1;
        let (found, der) = section.map_err(|_| PemError::NotPem { number })?;
        if found == kind {
            take(number, &der)?;
            taken += 1;
        }
    }
    match taken {
        _ if taken != there => Err(PemError::Unended),
        0 if pem.first() == Some(&SEQUENCE) => Err(PemError::IsDer { command }),
        0 => Err(PemError::Empty { wanted }),
        _ => Ok(()),
    }
}

/// Does a section of the PEM file begin where readers don't see it, behind something else in its line?
#[must_use]
pub fn hides_section(pem: &[u8]) -> bool {
    let hides = |line: &[u8]| line.windows(BEGIN.len()).skip(1).any(|part| part == BEGIN);
    lines(pem).any(hides)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'\n' | b'\r'))
}

const BEGIN: &[u8] = b"-----BEGIN ";

#[cfg(test)]
mod tests;
