//! Certificate authorities, their revocation lists, and which certificates a path to one of them consists of. With
//! certificate.rs the only user of x509-parser.
//!
//! Must not know: which authorities are trusted, by whom, what time it is.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{
    BasicConstraints, CertificateRevocationList, FromDer, X509Certificate, X509Name,
};
use x509_parser::time::ASN1Time;

use super::certificate::{ClientCert, UnixSeconds};
use super::hash::hash_as_hex;
use super::strict_der;
use super::visible::visible;

/// A certificate as its issuer knows it: SHA-256 of the issuer's name and the serial number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IssuedId([u8; 32]);

/// An authority: SHA-256 of its name and its SubjectPublicKeyInfo, whichever certificate it has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuthorityId([u8; 32]);

/// A way from a client's certificate to an authority (RFC 5280 6.1): enough to find out later whether it is still one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CertificationPath {
    /// The client's certificate, and those between it and the authority.
    pub issued: Vec<IssuedId>,
    /// Where it ends.
    pub authority: AuthorityId,
}

/// A certificate that may be trusted to issue others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The certificate itself.
    pub der: Vec<u8>,
    /// Which authority.
    pub id: AuthorityId,
    /// Its name, for people.
    pub subject: String,
    /// SHA-256 of its name, as in [`RevocationList::issuer_id`].
    pub subject_id: [u8; 32],
    /// First second of its validity.
    pub not_before: UnixSeconds,
    /// Last second of its validity.
    pub not_after: UnixSeconds,
    /// How many other authorities may stand between it and a client's certificate; `None`: any number.
    pub max_below: Option<u32>,
}

/// What one authority has revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// The list itself.
    pub der: Vec<u8>,
    /// The authority's name, for people.
    pub issuer: String,
    /// SHA-256 of the authority's name.
    pub issuer_id: [u8; 32],
    /// When it was made.
    pub this_update: UnixSeconds,
    /// Until when a newer one is promised.
    pub next_update: Option<UnixSeconds>,
    /// What it lists.
    pub revoked: Vec<IssuedId>,
}

/// Why a certificate is none of an authority, or a list none of revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// It does not parse.
    #[error("is not a readable X.509 certificate")]
    NotCertificate,
    /// Without basicConstraints CA:TRUE, or with a key usage that leaves keyCertSign out.
    #[error(
        "is not the certificate of an authority (basicConstraints CA:TRUE, keyUsage keyCertSign)"
    )]
    NotAuthority,
    /// It does not parse.
    #[error("is not a readable certificate revocation list")]
    NotList,
}

impl Authority {
    /// The authority whose certificate is in `der`.
    ///
    /// Source: RFC 5280 4.2.1.9 and 4.2.1.3.
    pub fn from_der(der: &[u8]) -> Result<Self, AuthorityError> {
        let cert = parsed(der).ok_or(AuthorityError::NotCertificate)?;
        if !may_issue(&cert) {
            return Err(AuthorityError::NotAuthority);
        }
        let mut hash = Sha256::new();
        hash.update(subject_id(cert.subject()));
        hash.update(cert.public_key().raw);
        Ok(Self {
            id: AuthorityId(hash.finalize().into()),
            subject: printable(cert.subject()),
            subject_id: subject_id(cert.subject()),
            not_before: seconds(cert.validity().not_before),
            not_after: seconds(cert.validity().not_after),
            max_below: constraints_of(&cert).and_then(|of| of.path_len_constraint),
            der: der.to_vec(),
        })
    }
}

impl RevocationList {
    /// The list in `der`.
    ///
    /// Source: RFC 5280 5.
    pub fn from_der(der: &[u8]) -> Result<Self, AuthorityError> {
        if strict_der::check(der).is_err() {
            return Err(AuthorityError::NotList);
        }
        let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
            return Err(AuthorityError::NotList);
        };
        let issuer_id = subject_id(list.issuer());
        Ok(Self {
            issuer: printable(list.issuer()),
            issuer_id,
            this_update: seconds(list.last_update()),
            next_update: list.next_update().map(seconds),
            revoked: list
                .iter_revoked_certificates()
                .map(|revoked| IssuedId::of(&issuer_id, revoked.raw_serial()))
                .collect(),
            der: der.to_vec(),
        })
    }
}

impl IssuedId {
    /// The certificate in `der`, as its issuer knows it; `None` if it does not parse.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let cert = parsed(der)?;
        Some(Self::of(&subject_id(cert.issuer()), cert.raw_serial()))
    }

    fn of(issuer_id: &[u8; 32], serial: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(issuer_id);
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        hash.update(serial.get(zeros..).unwrap_or_default());
        Self(hash.finalize().into())
    }
}

/// May the certificate in `der` issue others? False for what does not parse.
#[must_use]
pub fn is_authority(der: &[u8]) -> bool {
    parsed(der).is_some_and(|cert| may_issue(&cert))
}

/// Does the certificate say that it was issued by itself?
#[must_use]
pub fn is_self_issued(cert: &ClientCert) -> bool {
    parsed(&cert.der).is_some_and(|cert| cert.issuer().as_raw() == cert.subject().as_raw())
}

fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    if strict_der::check_certificate(der).is_err() {
        return None;
    }
    match X509Certificate::from_der(der) {
        Ok(([], cert)) => Some(cert),
        _ => None,
    }
}

/// webpki looks at basicConstraints only.
fn may_issue(cert: &X509Certificate<'_>) -> bool {
    let may_sign = match cert.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    cert.is_ca() && may_sign
}

fn constraints_of<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a BasicConstraints> {
    let found = cert.basic_constraints().ok()??;
    Some(found.value)
}

fn subject_id(name: &X509Name<'_>) -> [u8; 32] {
    Sha256::digest(name.as_raw()).into()
}

fn seconds(time: ASN1Time) -> UnixSeconds {
    UnixSeconds(time.timestamp())
}

/// A name for people: not long.
fn printable(name: &X509Name<'_>) -> String {
    let text: String = name.to_string().chars().take(MAX_SHOWN_CHARS).collect();
    visible(&text).into_owned()
}

const MAX_SHOWN_CHARS: usize = 200;

hash_as_hex!(IssuedId);
hash_as_hex!(AuthorityId);
