//! Client certificates: `examine` lists everything that is wrong with one, and a [`ClientCert`] exists only
//! where nothing is.
//!
//! Must not know: who is enrolled, which host is asked, what time it is.

use der::asn1::AnyRef;
use der::{Decode, Tagged};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::byte_order_mark::ByteOrderMark;
use super::fingerprint::{Fingerprint, KeyId};
use super::jid::Jid;
use super::key::{self, Key};
use super::private_key::holds_private_key;
use super::strict_der::{self, DerFault};
use super::time::UnixSeconds;

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
    /// Its serial number, by which its authority knows it: an INTEGER's octets, as they came.
    pub serial: Vec<u8>,
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

/// A reason why a certificate is unacceptable. The presenter's fault; the texts may be shown to anyone.
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
        /// The mark.
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
        /// The rule of X.690 that it breaks.
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
    /// The reasons against it, in the order of the checks.
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
    let key = key::read(cert.public_key());
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
        key_id: KeyId::of(cert.public_key().raw),
        key: key?,
        serial: cert.raw_serial().to_vec(),
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

/// Largest certificate that is read. Real ones have 0.5 to 3 KB.
pub const MAX_DER_BYTES: usize = 16 * 1024;
/// Most names in one certificate.
pub const MAX_NAMES: usize = 64;
/// Most bytes of the XMPP addresses in one certificate, as they are prepared.
pub const MAX_ADDRESS_BYTES: usize = 8 * 1024;

/// The version of this parser. Raise it when a certificate that was taken is refused, or when something else is read in one: what the
/// store has of the older versions' reading is read anew then.
pub const READING: u8 = 1;

const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";

#[cfg(test)]
mod tests;
