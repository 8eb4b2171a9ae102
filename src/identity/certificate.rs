//! Client certificates: `examine` lists everything that is wrong with one, and a [`ClientCert`] exists only
//! where nothing is. With authority.rs the only user of x509-parser.
//!
//! Must not know: who is enrolled, which host is asked, what time it is.

use der::asn1::{AnyRef, UintRef};
use der::{Decode, Reader, SliceReader, Tagged};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{
    FromDer, GeneralName, ParsedExtension, SubjectPublicKeyInfo, X509Certificate,
};

use super::byte_order_mark::ByteOrderMark;
use super::hash::hash_as_hex;
use super::jid::Jid;
use super::strict_der::{self, DerFault};

/// Seconds since the epoch, UTC.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// This moment and `seconds` more.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// SHA-256 of a certificate's DER; as text 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

/// SHA-256 of the DER of a SubjectPublicKeyInfo: which key, whatever certificate it stands in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 32]);

/// What the certificate's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// RSA with a modulus of that many bits.
    Rsa {
        /// Bits of the modulus.
        bits: usize,
    },
    /// An elliptic curve that TLS stacks support: P-256, P-384, P-521, Ed25519 or Ed448.
    Curve,
}

/// A certificate that a TLS client may identify itself with: one strict DER certificate, version 3, an
/// acceptable key, addresses that are JIDs. Says nothing about who may use it, or when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    /// The certificate itself.
    pub der: Vec<u8>,
    /// SHA-256 of `der`.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_id: KeyId,
    /// Its key.
    pub key: Key,
    /// Its xmppAddr names, in order, without repetitions.
    pub addresses: Vec<Jid>,
    /// First second of its validity.
    pub not_before: UnixSeconds,
    /// Last second of its validity.
    pub not_after: UnixSeconds,
    /// An rfc822Name or common name carries an address, which is where some clients look for theirs.
    pub names_address_for_clients: bool,
    /// It claims to be a certificate authority. Openssl's default; tolerated where it is enrolled.
    pub claims_authority: bool,
}

/// What makes a certificate unacceptable. The presenter's fault; the texts may be shown to anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// More than [`MAX_DER_BYTES`].
    #[error("the certificate is larger than 16 KiB")]
    TooLarge,
    /// Text where DER is wanted.
    #[error("this is PEM text; the DER certificate is wanted, as base64")]
    IsPem,
    /// A byte order mark in front of it.
    #[error("it {mark}")]
    Marked {
        /// Which.
        mark: ByteOrderMark,
    },
    /// A private key, which was not to leave its device.
    #[error(
        "there is a private key in it. Make a new key: this one has been seen, and must not be used any more; only the \
         certificate is wanted"
    )]
    PrivateKey,
    /// Not one strict DER value, bytes after it included.
    #[error("not one certificate in strict DER encoding: {fault}")]
    NotDer {
        /// What X.690 forbids.
        fault: DerFault,
    },
    /// DER, but not an X.509 certificate that can be understood.
    #[error("not a readable X.509 certificate")]
    NotCertificate,
    /// Version 1 or 2: `openssl x509 -req` without `-extfile` makes them, and they carry no address.
    #[error(
        "an X.509 version 1 certificate carries no address; make a version 3 one (openssl: -extfile)"
    )]
    NotVersion3,
    /// The same extension twice: two readers may see different certificates.
    #[error("an extension stands in the certificate twice")]
    DuplicateExtension,
    /// A critical extension that is not understood (RFC 5280 4.2).
    #[error("a critical extension of the certificate is not understood")]
    UnknownCriticalExtension,
    /// An extension that is understood, and malformed.
    #[error("an extension of the certificate is malformed")]
    MalformedExtension,
    /// An xmppAddr that is not a UTF8String with a JID in it (RFC 6120 13.7.1.4).
    #[error("an XMPP address in the certificate is not a valid JID in a UTF8String")]
    MalformedAddress,
    /// More than [`MAX_NAMES`] names, or addresses of more than [`MAX_ADDRESS_BYTES`].
    #[error("the certificate carries more than 64 names, or addresses of more than 8 KiB")]
    TooManyNames,
    /// A key of another algorithm or curve, or in another form than the usual one.
    #[error("the certificate's key is neither RSA nor P-256, P-384, P-521, Ed25519 or Ed448")]
    UnknownKey,
    /// `notAfter` is not later than `notBefore`.
    #[error("the certificate is never valid: it ends before it begins")]
    NeverValid,
    /// keyUsage without digitalSignature: TLS cannot prove the key with it.
    #[error("the certificate's key usage does not include digital signatures")]
    NotForSigning,
    /// extendedKeyUsage without clientAuth.
    #[error("the certificate's extended key usage does not include client authentication")]
    NotForClients,
}

/// Everything that was found in one certificate.
#[derive(Clone, Debug)]
pub struct Examination {
    /// What speaks against it, in the order of the checks.
    pub findings: Vec<Finding>,
    cert: Option<ClientCert>,
}

impl Examination {
    /// The certificate, if nothing speaks against it; else the first finding.
    pub fn into_cert(self) -> Result<ClientCert, Finding> {
        match (self.findings.first(), self.cert) {
            (Some(finding), _) => Err(*finding),
            (None, Some(cert)) => Ok(cert),
            (None, None) => Err(Finding::NotCertificate),
        }
    }
}

impl Fingerprint {
    /// The fingerprint of whatever certificate `der` is.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl ClientCert {
    /// The certificate in `der`, or the first thing that speaks against it.
    pub fn from_der(der: &[u8]) -> Result<Self, Finding> {
        examine(der).into_cert()
    }
}

/// Reads `der` and lists what speaks against it as a client's certificate.
///
/// Shape: exactly one certificate, at most [`MAX_DER_BYTES`].
/// Errors: none; what cannot be read at all is a finding, too.
/// Source: RFC 5280 4; RFC 6120 13.7.1; X.690 8 to 11.
#[must_use]
pub fn examine(der: &[u8]) -> Examination {
    let mut findings = Vec::new();
    let cert = read(der, &mut findings);
    Examination { findings, cert }
}

/// The first and the last second of the validity of a certificate of anybody's, a server's say; none if it can't be read.
#[must_use]
pub fn validity(der: &[u8]) -> Option<(UnixSeconds, UnixSeconds)> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let validity = cert.validity();
    Some((
        UnixSeconds(validity.not_before.timestamp()),
        UnixSeconds(validity.not_after.timestamp()),
    ))
}

fn read(der: &[u8], findings: &mut Vec<Finding>) -> Option<ClientCert> {
    if der.len() > MAX_DER_BYTES {
        findings.push(Finding::TooLarge);
        return None;
    }
    if holds_private_key(der) {
        findings.push(Finding::PrivateKey);
        return None;
    }
    if der.starts_with(b"-----BEGIN") {
        findings.push(Finding::IsPem);
        return None;
    }
    if let Err(fault) = strict_der::check_certificate(der) {
        findings.push(Finding::NotDer { fault });
        return None;
    }
    let Ok(([], cert)) = X509Certificate::from_der(der) else {
        findings.push(Finding::NotCertificate);
        return None;
    };
    if cert.version().0 != 2 {
        findings.push(Finding::NotVersion3);
    }
    let names = extensions(&cert, findings);
    let key = key(cert.public_key());
    if key.is_none() {
        findings.push(Finding::UnknownKey);
    }
    let not_before = UnixSeconds(cert.validity().not_before.timestamp());
    let not_after = UnixSeconds(cert.validity().not_after.timestamp());
    if not_after <= not_before {
        findings.push(Finding::NeverValid);
    }
    let common_name_is_address = cert
        .subject()
        .iter_common_name()
        .chain(cert.subject().iter_email())
        .any(|name| {
            name.as_str()
                .is_ok_and(|text| Jid::parse(text).is_ok_and(|jid| jid.account().is_some()))
        });
    Some(ClientCert {
        der: der.to_vec(),
        fingerprint: Fingerprint::of(der),
        key_id: KeyId(Sha256::digest(cert.public_key().raw).into()),
        key: key?,
        addresses: names.addresses,
        not_before,
        not_after,
        names_address_for_clients: names.has_email || common_name_is_address,
        claims_authority: cert.is_ca(),
    })
}

#[derive(Default)]
struct Names {
    addresses: Vec<Jid>,
    has_email: bool,
}

fn extensions(cert: &X509Certificate<'_>, findings: &mut Vec<Finding>) -> Names {
    let mut names = Names::default();
    if cert.extensions_map().is_err() {
        findings.push(Finding::DuplicateExtension);
        return names;
    }
    for extension in cert.extensions() {
        let parsed = extension.parsed_extension();
        if !parsed.unsupported() {
            let oid = extension.oid.to_id_string();
            if let Err(fault) = strict_der::check_extension(&oid, extension.value) {
                findings.push(Finding::NotDer { fault });
                continue;
            }
        }
        if matches!(parsed, ParsedExtension::ParseError { .. }) {
            findings.push(Finding::MalformedExtension);
            continue;
        }
        match parsed {
            ParsedExtension::SubjectAlternativeName(subject) => {
                names = names_of(&subject.general_names, findings);
            }
            ParsedExtension::KeyUsage(usage) => {
                if !usage.digital_signature() {
                    findings.push(Finding::NotForSigning);
                }
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                if !usage.client_auth && !usage.any {
                    findings.push(Finding::NotForClients);
                }
            }
            // The one says only whether it is an authority, which `is_ca` reads. The other binds authorities: whoever judges a path
            // reads it.
            ParsedExtension::BasicConstraints(_) | ParsedExtension::CertificatePolicies(_) => {}
            // Non-critical ones that say nothing about who the client is.
            _ if !extension.critical => {}
            _ => findings.push(Finding::UnknownCriticalExtension),
        }
    }
    names
}

fn names_of(general_names: &[GeneralName<'_>], findings: &mut Vec<Finding>) -> Names {
    let mut names = Names::default();
    if general_names.len() > MAX_NAMES {
        findings.push(Finding::TooManyNames);
        return names;
    }
    for name in general_names {
        match name {
            GeneralName::OtherName(oid, rest) if oid.to_id_string() == XMPP_ADDR => {
                match xmpp_address(rest) {
                    Some(address) if names.addresses.contains(&address) => {}
                    Some(address) => names.addresses.push(address),
                    None => findings.push(Finding::MalformedAddress),
                }
            }
            GeneralName::RFC822Name(_) => names.has_email = true,
            GeneralName::Invalid(..) => findings.push(Finding::MalformedExtension),
            _ => {}
        }
    }
    // Preparation can make them ten times as long as they are in the certificate.
    let bytes: usize = names
        .addresses
        .iter()
        .map(|jid| jid.to_string().len())
        .sum();
    if bytes > MAX_ADDRESS_BYTES {
        findings.push(Finding::TooManyNames);
    }
    names
}

/// The JID in `value`: `[0] EXPLICIT UTF8String`, and nothing after either.
fn xmpp_address(value: &[u8]) -> Option<Jid> {
    let outer = AnyRef::from_der(value).ok()?;
    let explicit = der::Tag::ContextSpecific {
        constructed: true,
        number: der::TagNumber(0),
    };
    if outer.tag() != explicit {
        return None;
    }
    let inner = AnyRef::from_der(outer.value()).ok()?;
    if inner.tag() != der::Tag::Utf8String {
        return None;
    }
    Jid::parse(std::str::from_utf8(inner.value()).ok()?).ok()
}

/// The key, if it is of a kind that TLS clients prove, and written in the one usual form.
///
/// A key must have one encoding only: the revocation of a key is remembered by the hash of it.
fn key(info: &SubjectPublicKeyInfo<'_>) -> Option<Key> {
    let bits = &info.subject_public_key;
    if bits.unused_bits != 0 {
        return None;
    }
    let point = &bits.data;
    let parameters = info.algorithm.parameters.as_ref();
    match info.algorithm.algorithm.to_id_string().as_str() {
        RSA => {
            let is_null =
                parameters.is_some_and(|any| any.tag().0 == 5 && any.as_bytes().is_empty());
            if !is_null || strict_der::check(point).is_err() {
                return None;
            }
            rsa_modulus_bits(point).map(|bits| Key::Rsa { bits })
        }
        EC => {
            let curve = parameters?.as_oid().ok()?.to_id_string();
            let point_bytes = match curve.as_str() {
                P256 => 65,
                P384 => 97,
                P521 => 133,
                _ => return None,
            };
            (point.len() == point_bytes && point.first() == Some(&4)).then_some(Key::Curve)
        }
        ED25519 => (parameters.is_none() && point.len() == 32).then_some(Key::Curve),
        ED448 => (parameters.is_none() && point.len() == 57).then_some(Key::Curve),
        _ => None,
    }
}

fn rsa_modulus_bits(key: &[u8]) -> Option<usize> {
    let sequence = AnyRef::from_der(key).ok()?;
    if sequence.tag() != der::Tag::Sequence {
        return None;
    }
    let mut reader = SliceReader::new(sequence.value()).ok()?;
    let modulus = UintRef::decode(&mut reader).ok()?;
    let exponent = UintRef::decode(&mut reader).ok()?;
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let is_one = exponent.as_bytes() == [1];
    if !reader.is_finished()
        || !is_odd(exponent.as_bytes())
        || !is_odd(modulus.as_bytes())
        || is_one
    {
        return None;
    }
    let modulus = modulus.as_bytes();
    let leading_zeros = modulus.first()?.leading_zeros() as usize;
    Some(modulus.len() * 8 - leading_zeros)
}

/// Is there a private key in it, as PEM or DER (PKCS#8, PKCS#1, SEC 1)?
#[must_use]
pub fn holds_private_key(bytes: &[u8]) -> bool {
    if bytes
        .windows(PRIVATE_KEY.len())
        .any(|part| part == PRIVATE_KEY)
    {
        return true;
    }
    // Version, and then what a public structure never has behind it.
    let Some(rest) = bytes.strip_prefix(&[0x30]) else {
        return false;
    };
    let Some((first, rest)) = rest.split_first() else {
        return false;
    };
    let length_bytes = usize::from(first.saturating_sub(0x80));
    let rest = rest.get(length_bytes..).unwrap_or_default();
    match rest {
        // PKCS#8: the algorithm. PKCS#1: the modulus.
        // SEC 1: the key.
        [2, 1, 0 | 1, 0x30, ..] | [2, 1, 0, 2, ..] | [2, 1, 1, 4, ..] => true,
        _ => false,
    }
}

const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";
/// Largest certificate that is read. Real ones have 0.5 to 3 KB.
pub const MAX_DER_BYTES: usize = 16 * 1024;
/// Most names in one certificate.
pub const MAX_NAMES: usize = 64;
/// Most bytes of the XMPP addresses in one certificate, as they are prepared.
pub const MAX_ADDRESS_BYTES: usize = 8 * 1024;

const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";
const ED25519: &str = "1.3.101.112";
const ED448: &str = "1.3.101.113";

hash_as_hex!(Fingerprint);
hash_as_hex!(KeyId);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
        KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
        SanType, SignatureAlgorithm,
    };

    fn address(jid: &str) -> SanType {
        SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 5], jid.into()))
    }

    fn made_with(
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.subject_alt_names = vec![address("Hamlet@Shakespeare.lit")];
        change(&mut params);
        let key = KeyPair::generate_for(algorithm).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        made_with(&PKCS_ECDSA_P256_SHA256, change)
    }

    /// An extension of subjectAltName with these bytes as the value of one xmppAddr.
    fn raw_address(value: &[u8]) -> impl FnOnce(&mut CertificateParams) {
        let oid = [0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 8, 5];
        let other_name = tlv(0xa0, &[&oid[..], value].concat());
        let content = tlv(0x30, &other_name);
        move |params| {
            params.subject_alt_names = vec![];
            params.custom_extensions =
                vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
        }
    }

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length @ 0..0x80) => out.push(length),
            Ok(length) => out.extend([0x81, length]),
            Err(_) => {
                out.push(0x82);
                out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            }
        }
        out.extend_from_slice(content);
        out
    }

    /// The parts of a certificate that may be written in a way that DER forbids.
    struct Parts {
        version: Vec<u8>,
        serial: Vec<u8>,
        subject: Vec<u8>,
        not_before: Vec<u8>,
        unique_id: Vec<u8>,
        extensions: Vec<Vec<u8>>,
        signature: Vec<u8>,
    }

    impl Parts {
        fn strict() -> Self {
            Self {
                version: tlv(0xa0, &[2, 1, 2]),
                serial: vec![2, 1, 1],
                subject: tlv(0x30, &[]),
                not_before: tlv(0x17, b"260101000000Z"),
                unique_id: vec![],
                extensions: vec![extension(17, None, &tlv(0x30, &xmpp_addr("a@b")))],
                signature: vec![3, 2, 0, 1],
            }
        }

        fn der(&self) -> Vec<u8> {
            let algorithm = tlv(0x30, &[6, 3, 0x2b, 0x65, 0x70]);
            let key = tlv(3, &[&[0][..], &[7; 32]].concat());
            let tbs = [
                self.version.clone(),
                self.serial.clone(),
                algorithm.clone(),
                tlv(0x30, &[]),
                tlv(
                    0x30,
                    &[self.not_before.clone(), tlv(0x17, b"270101000000Z")].concat(),
                ),
                self.subject.clone(),
                tlv(0x30, &[algorithm.clone(), key].concat()),
                self.unique_id.clone(),
                tlv(0xa3, &tlv(0x30, &self.extensions.concat())),
            ];
            let signature = self.signature.clone();
            tlv(
                0x30,
                &[tlv(0x30, &tbs.concat()), algorithm, signature].concat(),
            )
        }
    }

    fn xmpp_addr(jid: &str) -> Vec<u8> {
        let value = tlv(0xa0, &tlv(0x0c, jid.as_bytes()));
        tlv(
            0xa0,
            &[&[6, 8, 0x2b, 6, 1, 5, 5, 7, 8, 5][..], &value].concat(),
        )
    }

    fn extension(number: u8, critical: Option<u8>, value: &[u8]) -> Vec<u8> {
        let critical = critical.map(|byte| vec![1, 1, byte]).unwrap_or_default();
        tlv(
            0x30,
            &[vec![6, 3, 0x55, 0x1d, number], critical, tlv(4, value)].concat(),
        )
    }

    /// A subject of one RDN with these values, each of them a common name.
    fn subject(values: &[Vec<u8>]) -> Vec<u8> {
        let named = values
            .iter()
            .map(|value| tlv(0x30, &[&[6, 3, 0x55, 4, 3][..], value].concat()));
        tlv(0x30, &tlv(0x31, &named.collect::<Vec<_>>().concat()))
    }

    #[test]
    fn strict_der_is_strict_in_both_directions() {
        let mut cases: Vec<(&str, Parts, Option<DerFault>)> = vec![];
        let mut case = |name, change: &dyn Fn(&mut Parts), fault| {
            let mut parts = Parts::strict();
            change(&mut parts);
            cases.push((name, parts, fault));
        };
        case("as it should be", &|_| {}, None);
        for (name, tag, text) in [
            ("ObjectDescriptor", 0x07, &b"a"[..]),
            ("UTF8String", 0x0c, "\u{e9}".as_bytes()),
            ("TeletexString", 0x14, b"\xe9"),
            ("GraphicString", 0x19, b"a"),
            ("GeneralString", 0x1b, b"a"),
            ("UniversalString", 0x1c, &[0, 0, 0, 0x61]),
            ("BMPString", 0x1e, &[0, 0x61]),
        ] {
            case(name, &|p| p.subject = subject(&[tlv(tag, text)]), None);
        }
        for (name, serial, fault) in [
            ("serial 0", &[2, 1, 0][..], None),
            // RFC 5280 4.1.2.2 forbids authorities to make them, and asks who reads them to cope.
            ("serial -1", &[2, 1, 0xff], None),
            ("an empty serial", &[2, 0], Some(DerFault::Integer)),
            (
                "a serial in too many bytes",
                &[2, 3, 0, 0, 1],
                Some(DerFault::Integer),
            ),
            (
                "a negative one in too many bytes",
                &[2, 2, 0xff, 0xff],
                Some(DerFault::Integer),
            ),
        ] {
            case(name, &|p| p.serial = serial.to_vec(), fault);
        }
        for (name, time, fault) in [
            ("GeneralizedTime", tlv(0x18, b"20260101000000Z"), None),
            (
                "no seconds",
                tlv(0x17, b"2601010000Z"),
                Some(DerFault::Time),
            ),
            (
                "an offset",
                tlv(0x17, b"260101000000+0100"),
                Some(DerFault::Time),
            ),
            (
                "an offset of nothing",
                tlv(0x17, b"260101000000+0000"),
                Some(DerFault::Time),
            ),
            (
                "a fraction",
                tlv(0x18, b"20260101000000.5Z"),
                Some(DerFault::Time),
            ),
        ] {
            case(name, &|p| p.not_before.clone_from(&time), fault);
        }
        let usage = |critical, value: &[u8]| {
            let usage = extension(15, critical, value);
            move |p: &mut Parts| p.extensions.push(usage.clone())
        };
        for (name, critical, value, fault) in [
            ("key usage", Some(0xff), [3, 2, 7, 0x80], None),
            (
                "critical as 01",
                Some(1),
                [3, 2, 7, 0x80],
                Some(DerFault::Boolean),
            ),
            (
                "not critical, written down",
                Some(0),
                [3, 2, 7, 0x80],
                Some(DerFault::Default),
            ),
            (
                "bits that don't count",
                None,
                [3, 2, 7, 0xff],
                Some(DerFault::BitString),
            ),
            (
                "zeros that have names",
                None,
                [3, 2, 0, 0x80],
                Some(DerFault::BitString),
            ),
        ] {
            case(name, &usage(critical, &value), fault);
        }
        case(
            "no authority, written down",
            &|p| {
                p.extensions.push(extension(19, None, &[0x30, 3, 1, 1, 0]));
            },
            Some(DerFault::Default),
        );
        case(
            "version 1, written down",
            &|p| p.version = tlv(0xa0, &[2, 1, 0]),
            Some(DerFault::Default),
        );
        let (a, b) = (tlv(0x0c, b"a"), tlv(0x0c, b"b"));
        case(
            "two values in order",
            &|p| p.subject = subject(&[a.clone(), b.clone()]),
            None,
        );
        case(
            "two values out of order",
            &|p| p.subject = subject(&[b.clone(), a.clone()]),
            Some(DerFault::SetOrder),
        );
        case("a unique id", &|p| p.unique_id = vec![0x82, 2, 0, 1], None);
        case(
            "a padded unique id",
            &|p| p.unique_id = vec![0x82, 2, 1, 1],
            Some(DerFault::BitString),
        );
        case(
            "a padded signature",
            &|p| p.signature = vec![3, 2, 1, 1],
            Some(DerFault::BitString),
        );
        case(
            "a signature in parts",
            &|p| p.signature = tlv(0x23, &[3, 2, 0, 1]),
            Some(DerFault::Tag),
        );
        for (name, parts, fault) in cases {
            let expected = fault.map(|fault| Finding::NotDer { fault });
            assert_eq!(ClientCert::from_der(&parts.der()).err(), expected, "{name}");
        }
    }

    #[test]
    fn a_certificate_that_anyone_may_use_for_anything_is_a_clients() {
        let any = ExtendedKeyUsagePurpose::Any;
        for (usages, fault) in [
            (vec![any.clone()], None),
            (vec![ExtendedKeyUsagePurpose::ServerAuth, any], None),
            (
                vec![ExtendedKeyUsagePurpose::ServerAuth],
                Some(Finding::NotForClients),
            ),
        ] {
            let der = made(|p| p.extended_key_usages.clone_from(&usages));
            assert_eq!(ClientCert::from_der(&der).err(), fault, "{usages:?}");
        }
    }

    #[test]
    fn a_plain_certificate_is_read_whole() {
        let der = made(|params| {
            params.subject_alt_names = vec![
                address("Hamlet@Shakespeare.lit"),
                address("hamlet@shakespeare.lit"),
                address("hamlet@shakespeare.lit/Phone"),
            ];
        });
        let cert = ClientCert::from_der(&der).unwrap();
        let names: Vec<String> = cert.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["hamlet@shakespeare.lit", "hamlet@shakespeare.lit/Phone"]
        );
        assert_eq!(cert.not_before, UnixSeconds(1_767_225_600));
        assert_eq!(cert.not_after, UnixSeconds(1_798_761_600));
        assert_eq!(cert.key, Key::Curve);
        assert!(!cert.claims_authority);
        assert_eq!(cert.fingerprint.to_string().parse(), Ok(cert.fingerprint));
    }

    #[test]
    fn the_usual_curves_are_accepted() {
        for algorithm in [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ED25519,
        ] {
            let cert = ClientCert::from_der(&made_with(algorithm, |_| {})).unwrap();
            assert_eq!(cert.key, Key::Curve);
        }
    }

    #[test]
    fn what_speaks_against_a_certificate_is_found() {
        let utf8 = |text: &str| tlv(0x0c, text.as_bytes());
        let explicit = |inner: &[u8]| tlv(0xa0, inner);
        let cases: Vec<(&str, Vec<u8>, Option<Finding>)> = vec![
            ("plain", made(|_| {}), None),
            ("no address", made(|p| p.subject_alt_names = vec![]), None),
            (
                "authority",
                made(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
                None,
            ),
            (
                "client usage",
                made(|p| {
                    p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
                    p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                }),
                None,
            ),
            (
                "server only",
                made(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
                Some(Finding::NotForClients),
            ),
            (
                "encipherment only",
                made(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
                Some(Finding::NotForSigning),
            ),
            (
                "ends before it begins",
                made(|p| p.not_after = rcgen::date_time_ymd(2025, 1, 1)),
                Some(Finding::NeverValid),
            ),
            (
                "unknown critical",
                made(|p| {
                    let mut extension =
                        CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                    extension.set_criticality(true);
                    p.custom_extensions = vec![extension];
                }),
                Some(Finding::UnknownCriticalExtension),
            ),
            (
                "duplicate",
                made(|p| {
                    p.custom_extensions = vec![CustomExtension::from_oid_content(
                        &[2, 5, 29, 17],
                        tlv(0x30, &tlv(0x82, b"example.com")),
                    )];
                }),
                Some(Finding::DuplicateExtension),
            ),
            ("raw", made(raw_address(&explicit(&utf8("a@b")))), None),
            (
                "IA5String",
                made(raw_address(&explicit(&tlv(0x16, b"a@b")))),
                Some(Finding::MalformedAddress),
            ),
            (
                "trailing inner",
                made(raw_address(&explicit(&[utf8("a@b"), utf8("c@d")].concat()))),
                Some(Finding::MalformedAddress),
            ),
            (
                "implicit",
                made(raw_address(&tlv(0x80, b"a@b"))),
                Some(Finding::MalformedAddress),
            ),
            (
                "not a JID",
                made(raw_address(&explicit(&utf8("a b@c")))),
                Some(Finding::MalformedAddress),
            ),
            (
                "NUL",
                made(raw_address(&explicit(&utf8("a@b\0")))),
                Some(Finding::MalformedAddress),
            ),
            (
                "not UTF-8",
                made(raw_address(&explicit(&tlv(0x0c, &[0xff])))),
                Some(Finding::NotDer {
                    fault: DerFault::Text,
                }),
            ),
            (
                "too many names",
                made(|p| {
                    p.subject_alt_names = (0..65).map(|i| address(&format!("a{i}@b"))).collect();
                }),
                Some(Finding::TooManyNames),
            ),
            (
                "addresses that grow when they are prepared",
                made(|p| {
                    // U+3316 is six letters then.
                    let long = |i| address(&format!("a@b/{i}{}", "\u{3316}".repeat(50)));
                    p.subject_alt_names = (0..15).map(long).collect();
                }),
                Some(Finding::TooManyNames),
            ),
            (
                "trailing",
                [made(|_| {}), vec![0]].concat(),
                Some(Finding::NotDer {
                    fault: DerFault::Trailing,
                }),
            ),
            (
                "chain",
                [made(|_| {}), made(|_| {})].concat(),
                Some(Finding::NotDer {
                    fault: DerFault::Trailing,
                }),
            ),
            (
                "truncated",
                made(|_| {})[..100].to_vec(),
                Some(Finding::NotDer {
                    fault: DerFault::Truncated,
                }),
            ),
            (
                "empty",
                vec![],
                Some(Finding::NotDer {
                    fault: DerFault::Truncated,
                }),
            ),
            (
                "PEM",
                b"-----BEGIN CERTIFICATE-----".to_vec(),
                Some(Finding::IsPem),
            ),
            (
                "its key",
                KeyPair::generate().unwrap().serialize_der(),
                Some(Finding::PrivateKey),
            ),
            (
                "its key as PEM, behind a certificate",
                [
                    &b"-----BEGIN CERTIFICATE-----"[..],
                    KeyPair::generate().unwrap().serialize_pem().as_bytes(),
                ]
                .concat(),
                Some(Finding::PrivateKey),
            ),
            (
                "a key of PKCS#1",
                tlv(0x30, &[2, 1, 0, 2, 1, 7]),
                Some(Finding::PrivateKey),
            ),
            (
                "a key of SEC 1",
                tlv(0x30, &[2, 1, 1, 4, 1, 7]),
                Some(Finding::PrivateKey),
            ),
            (
                "other DER",
                tlv(0x30, &utf8("hello")),
                Some(Finding::NotCertificate),
            ),
            (
                "large",
                vec![0x30; MAX_DER_BYTES + 1],
                Some(Finding::TooLarge),
            ),
        ];
        for (name, der, expected) in cases {
            assert_eq!(ClientCert::from_der(&der).err(), expected, "{name}");
        }
    }

    #[test]
    fn a_length_that_is_not_minimal_is_refused() {
        let der = made(|_| {});
        assert_eq!(der[..2], [0x30, 0x82]);
        let padded = [&[0x30, 0x83, 0x00][..], &der[2..]].concat();
        let fault = DerFault::Length;
        assert_eq!(
            ClientCert::from_der(&padded).err(),
            Some(Finding::NotDer { fault })
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = examine(&bytes);
        }

        #[test]
        fn a_changed_certificate_never_panics(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut der = made(|_| {});
            let at = at.index(der.len());
            der[at] = to;
            let _ = examine(&der);
        }
    }
}
