//! Certificate authorities, their revocation lists, and which certificates a path to one of them consists of. With
//!
//! Must not know: which authorities are trusted, by whom, what time it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::certificate::ClientCert;
use super::hash::hash_as_hex;
use super::issued::{
    AUTHORITY_KEY_ID, ExtensionsFault, Issued, MAX_EXTENSIONS, PublicKey, Reasons, Signed, dotted,
    extensions_in, point_names, seconds, shown, signed_in,
};
use super::name::{GeneralName, Name};
use super::strict_der::{self, DerFault};
use super::time::UnixSeconds;
use super::tlv::{self, ENUMERATED, GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, Values};

/// A certificate as its issuer knows it: SHA-256 of the issuer's name and the serial number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuedId([u8; 32]);

/// An authority: SHA-256 of its name and its SubjectPublicKeyInfo, whichever certificate it has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuthorityId([u8; 32]);

/// A way from a client's certificate to an authority (RFC 5280 6.1): enough to find out later whether it is still one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CertificationPath {
    /// The client's certificate, and those between it and the authority.
    pub issued: Vec<IssuedId>,
    /// For each the key that has issued it, and others that sign the lists which it may stand on: of those between nobody else
    /// keeps them, and the file of authorities may not be there to be asked.
    #[serde(default)]
    pub keys: Vec<Vec<IssuerKey>>,
    /// Where it ends.
    pub authority: AuthorityId,
}

impl CertificationPath {
    /// Is the key known that has issued each of them? What an older version has written lacks them.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.issued.is_empty() && self.issued.len() == self.keys.len()
    }
}

/// The public key of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IssuerKey(pub PublicKey);

impl TryFrom<String> for IssuerKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let info = BASE64.decode(text).ok();
        let key = info.and_then(|info| PublicKey::from_der(&info));
        key.map(Self).ok_or("is not a public key in base64")
    }
}

impl From<IssuerKey> for String {
    fn from(key: IssuerKey) -> Self {
        BASE64.encode(key.0.info)
    }
}

/// A certificate that may be trusted to issue others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
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
    /// Its own certificate: the facts about itself, and the limits for those below it.
    pub issued: Issued,
}

/// A list of the certificates that one authority has revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// The part that the authority has signed.
    pub signed: Signed,
    /// The authority's name, for people.
    pub issuer: String,
    /// The authority's name.
    pub issuer_name: Name,
    /// SHA-256 of the authority's name.
    pub issuer_id: [u8; 32],
    /// When it was made.
    pub this_update: UnixSeconds,
    /// Until when a newer one is promised.
    pub next_update: UnixSeconds,
    /// The kinds of certificates that it is about.
    pub scope: Scope,
    /// The revoked certificates.
    pub revoked: Vec<IssuedId>,
}

/// Which certificates of its issuer a list is about.
///
/// Source: RFC 5280 5.2.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Those with one of these names among their distribution points; `None`: all.
    pub points: Option<Vec<GeneralName>>,
    /// None of authorities.
    pub only_users: bool,
    /// Only those of authorities.
    pub only_authorities: bool,
    /// None of the usual kind.
    pub only_attributes: bool,
    /// Which reasons.
    pub reasons: Reasons,
}

/// Why a certificate is none of an authority, or a list none of revocations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// Nobody knows how long such a list counts.
    #[error("is a revocation list that does not say when the next one is made (nextUpdate)")]
    NoNextUpdate,
    /// Its dates are not written as RFC 5280 5.1.2.4 wants them.
    #[error("is a revocation list with a date that has no seconds, or is not in UTC")]
    Date,
    /// It says only what has changed.
    #[error("is a delta revocation list; a whole one is wanted")]
    DeltaList,
    /// It is about what others have issued.
    #[error("is an indirect revocation list; one of the issuer itself is wanted")]
    IndirectList,
    /// The work with them would grow, and nobody's signature vouches for them yet.
    #[error("is a revocation list with more than {MAX_EXTENSIONS} extensions in one place")]
    TooManyExtensions,
    /// A reader that does not understand it must not use the list (RFC 5280 5.2 and 5.3).
    #[error("is a revocation list with a critical extension that is not understood ({id})")]
    UnknownExtension {
        /// Its object identifier.
        id: String,
    },
}

impl From<ExtensionsFault> for AuthorityError {
    fn from(fault: ExtensionsFault) -> Self {
        match fault {
            ExtensionsFault::Malformed => Self::NotList,
            ExtensionsFault::TooMany => Self::TooManyExtensions,
        }
    }
}

impl Authority {
    /// The authority whose certificate is in `der`.
    ///
    /// Source: RFC 5280 4.2.1.9 and 4.2.1.3.
    pub fn from_der(der: &[u8]) -> Result<Self, AuthorityError> {
        let issued = Issued::from_der(der).ok_or(AuthorityError::NotCertificate)?;
        if !issued.is_authority || !issued.may_sign_certificates {
            return Err(AuthorityError::NotAuthority);
        }
        let subject_id = issued.subject.id();
        Ok(Self {
            id: AuthorityId::of(&subject_id, &issued.key),
            subject: issued.subject_shown.clone(),
            subject_id,
            not_before: issued.not_before,
            not_after: issued.not_after,
            issued,
        })
    }
}

impl AuthorityId {
    /// The authority with a name of that hash and that key.
    #[must_use]
    pub fn of(subject_id: &[u8; 32], key: &PublicKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(subject_id);
        hash.update(&key.info);
        Self(hash.finalize().into())
    }
}

impl RevocationList {
    /// The list in `der`; version 1 or 2, whole, of its issuer's own certificates.
    ///
    /// Source: RFC 5280 5.
    pub fn from_der(der: &[u8]) -> Result<Self, AuthorityError> {
        strict_der::check(der).map_err(|fault| match fault {
            DerFault::Time => AuthorityError::Date,
            _ => AuthorityError::NotList,
        })?;
        let (content, signed) = signed_in(der).ok_or(AuthorityError::NotList)?;
        let parts = content.values(SEQUENCE).ok_or(AuthorityError::NotList)?;
        list_in(parts, signed)
    }
}

fn list_in(mut parts: Values<'_>, signed: Signed) -> Result<RevocationList, AuthorityError> {
    use AuthorityError as E;
    let version = match parts.take_if(INTEGER) {
        None => 0,
        Some(version) => version.small(INTEGER).ok_or(E::NotList)?,
    };
    let algorithm = parts.take().and_then(|value| value.of(SEQUENCE));
    if version > 1 || algorithm != Some(signed.algorithm.as_slice()) {
        return Err(E::NotList);
    }
    let issuer = parts.take().ok_or(E::NotList)?.whole;
    let issuer_name = Name::from_der(issuer).ok_or(E::NotList)?;
    let this_update = parts.take().ok_or(E::NotList)?;
    if !matches!(this_update.tag, UTC_TIME | GENERALIZED_TIME) {
        return Err(E::NotList);
    }
    let this_update = seconds(&this_update).ok_or(E::Date)?;
    let next_update = parts
        .take_if(UTC_TIME)
        .or_else(|| parts.take_if(GENERALIZED_TIME));
    let next_update = seconds(&next_update.ok_or(E::NoNextUpdate)?).ok_or(E::Date)?;
    let issuer_id = issuer_name.id();
    let revoked = match parts.take_if(SEQUENCE) {
        None => Vec::new(),
        Some(entries) => {
            let entries = entries.values(SEQUENCE).ok_or(E::NotList)?;
            entries_in(entries, &issuer_id, version)?
        }
    };
    let extensions = parts.take_if(0xa0);
    if !parts.is_finished() || (version == 0 && extensions.is_some()) {
        return Err(E::NotList);
    }
    let scope = match extensions {
        None => Scope::all(),
        Some(extensions) => scope_in(extensions.content, &issuer_name)?,
    };
    Ok(RevocationList {
        signed,
        issuer: shown(issuer),
        issuer_name,
        issuer_id,
        this_update,
        next_update,
        scope,
        revoked,
    })
}

/// The certificates that are listed.
fn entries_in(
    mut entries: Values<'_>,
    issuer_id: &[u8; 32],
    version: u32,
) -> Result<Vec<IssuedId>, AuthorityError> {
    use AuthorityError as E;
    let mut revoked = Vec::new();
    while !entries.is_finished() {
        let entry = entries.take().and_then(|entry| entry.values(SEQUENCE));
        let mut parts = entry.ok_or(E::NotList)?;
        let serial = parts.take().and_then(|serial| serial.of(INTEGER));
        let serial = serial.ok_or(E::NotList)?;
        let date = parts.take().ok_or(E::NotList)?;
        if !matches!(date.tag, UTC_TIME | GENERALIZED_TIME) {
            return Err(E::NotList);
        }
        seconds(&date).ok_or(E::Date)?;
        if let Some(extensions) = parts.take_if(SEQUENCE) {
            let extensions = extensions_in(extensions.whole)?;
            if version == 0 {
                return Err(E::NotList);
            }
            for extension in extensions {
                match extension.id {
                    CERTIFICATE_ISSUER => return Err(E::IndirectList),
                    REASON => {
                        let reason = tlv::only(extension.value);
                        let reason = reason.and_then(|reason| reason.of(ENUMERATED));
                        // Only a delta takes something back.
                        if reason.is_none_or(|reason| reason == [8]) {
                            return Err(E::DeltaList);
                        }
                    }
                    INVALIDITY_DATE => {}
                    id if extension.is_critical => {
                        return Err(E::UnknownExtension { id: dotted(id) });
                    }
                    _ => {}
                }
            }
        }
        if !parts.is_finished() {
            return Err(E::NotList);
        }
        revoked.push(IssuedId::of(issuer_id, serial));
    }
    Ok(revoked)
}

fn scope_in(tagged: &[u8], issuer: &Name) -> Result<Scope, AuthorityError> {
    use AuthorityError as E;
    let mut scope = Scope::all();
    for extension in extensions_in(tagged)? {
        match extension.id {
            DELTA => return Err(E::DeltaList),
            DISTRIBUTION_POINT => {
                let read = Scope::from_extension(extension.value, issuer);
                let (read, is_indirect) = read.ok_or(E::NotList)?;
                if is_indirect {
                    return Err(E::IndirectList);
                }
                scope = read;
            }
            AUTHORITY_KEY_ID | CRL_NUMBER => {}
            id if extension.is_critical => return Err(E::UnknownExtension { id: dotted(id) }),
            _ => {}
        }
    }
    Ok(scope)
}

impl Scope {
    /// All certificates and all reasons.
    fn all() -> Self {
        Self {
            points: None,
            only_users: false,
            only_authorities: false,
            only_attributes: false,
            reasons: Reasons::ALL,
        }
    }

    /// And whether the list is an indirect one.
    fn from_extension(value: &[u8], issuer: &Name) -> Option<(Self, bool)> {
        let mut parts = tlv::only(value)?.values(SEQUENCE)?;
        let points = match parts.take_if(0xa0) {
            None => None,
            Some(name) => Some(point_names(&name, issuer)?),
        };
        let only_users = flag(&mut parts, 0x81)?;
        let only_authorities = flag(&mut parts, 0x82)?;
        let reasons = match parts.take_if(0x83) {
            None => Reasons::ALL,
            Some(bits) => Reasons::from_bits(bits.content)?,
        };
        let is_indirect = flag(&mut parts, 0x84)?;
        let only_attributes = flag(&mut parts, 0x85)?;
        let scope = Self {
            points,
            only_users,
            only_authorities,
            only_attributes,
            reasons,
        };
        parts.is_finished().then_some((scope, is_indirect))
    }
}

/// A BOOLEAN DEFAULT FALSE with another tag.
fn flag(parts: &mut Values<'_>, tag: u8) -> Option<bool> {
    match parts.take_if(tag) {
        None => Some(false),
        Some(flag) => match flag.content {
            [0xff] => Some(true),
            [0] => Some(false),
            _ => None,
        },
    }
}

impl IssuedId {
    /// The certificate in `der`, as its issuer knows it; `None` if it does not parse.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        Issued::from_der(der).as_ref().map(Self::of_issued)
    }

    /// The certificate, as its issuer knows it.
    #[must_use]
    pub fn of_issued(issued: &Issued) -> Self {
        Self::of(&issued.issuer.id(), &issued.serial)
    }

    /// Negative numbers are none that lack a zero.
    fn of(issuer_id: &[u8; 32], serial: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(issuer_id);
        hash.update(serial);
        Self(hash.finalize().into())
    }
}

/// Does the certificate say that it was issued by itself?
#[must_use]
pub fn is_self_issued(cert: &ClientCert) -> bool {
    Issued::from_der(&cert.der).is_some_and(|cert| cert.is_self_issued())
}

const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
const REASON: &[u8] = &[0x55, 0x1d, 21];
const INVALIDITY_DATE: &[u8] = &[0x55, 0x1d, 24];
const DELTA: &[u8] = &[0x55, 0x1d, 27];
const DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];

hash_as_hex!(IssuedId);
hash_as_hex!(AuthorityId);
