//! A client's key and certificate: made for an account, or read from PEM.
//!
//! Must not know: whether a server will accept them, files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, OtherNameValue, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::InconsistentKeys;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};
use xmpp_parsers::jid::BareJid;
use zeroize::Zeroizing;

use crate::identity::ByteOrderMark;
use crate::identity::private_key::holds_private_key;

/// A certificate with its key, ready for TLS.
#[derive(Debug, Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
}

/// A fresh key with its self-signed certificate.
pub struct Fresh {
    /// The same for TLS.
    pub identity: Identity,
    /// The certificate as XEP-0257 wants it.
    pub der: CertificateDer<'static>,
    /// The certificate for a file.
    pub certificate_pem: String,
    /// The key for a file, PKCS#8. The copy inside the crate `rcgen` is dropped unwiped.
    pub key_pem: Zeroizing<String>,
    /// The same key in DER.
    pub key_der: Zeroizing<Vec<u8>>,
    /// The last second of the certificate's validity.
    pub not_after: OffsetDateTime,
}

/// Why there is no certificate to use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file can't be read: the user's fault.
    #[error("it can't be read")]
    File {
        /// The message of the operating system.
        #[source]
        source: io::Error,
    },
    /// No certificate or key is that large.
    #[error("the file is larger than {} KiB", MAX_FILE_BYTES / 1024)]
    TooLarge,
    /// An editor has put something in front.
    #[error("it {mark}")]
    Marked {
        /// The mark.
        mark: ByteOrderMark,
    },
    /// Damaged PEM.
    #[error("the PEM text is damaged")]
    Pem {
        /// The message of the reader.
        #[source]
        source: pem::Error,
    },
    /// The file with the certificate has none.
    #[error("there is no certificate in it (wanted: PEM, \"BEGIN CERTIFICATE\")")]
    NoCertificate,
    /// The key stands where the certificate should.
    #[error(
        "the certificate's file holds a private key and no certificate (wanted: PEM, \"BEGIN CERTIFICATE\")"
    )]
    KeyForCertificate,
    /// The file with the key has none.
    #[error("there is no private key in it (wanted: PEM, \"BEGIN PRIVATE KEY\")")]
    NoKey,
    /// The key is locked with a passphrase.
    #[error("the key is encrypted; `openssl pkey -in KEY -out PLAIN` unlocks it")]
    EncryptedKey,
    /// A pair that isn't one.
    #[error("the key doesn't belong to the certificate")]
    Mismatch,
    /// The TLS library can't work with it, as with unusual kinds of keys.
    #[error("TLS can't use it")]
    Unusable {
        /// The message of rustls.
        #[source]
        source: rustls::Error,
    },
    /// The address can't be written into a certificate: our fault, or a very odd address.
    #[error("no certificate can be made")]
    Make {
        /// The message of rcgen.
        #[source]
        source: rcgen::Error,
    },
    /// The machine has no randomness to give.
    #[error("the machine gives no random numbers")]
    Random,
}

/// Makes a P-256 key and a self-signed certificate for `account`, valid from an hour before `now` until so many `days` later.
///
/// The address stands where the specifications want it and where clients look for it: xmppAddr, rfc822Name (only for
/// ASCII addresses, it can hold no others), and the common name.
/// Source: RFC 6120, 13.7.1; XEP-0416, certificate profile.
pub fn make(account: &BareJid, days: u16, now: OffsetDateTime) -> Result<Fresh, CertificateError> {
    let make = |source| CertificateError::Make { source };
    let address = account.to_string();
    let mut names = vec![SanType::OtherName((
        XMPP_ADDR.to_vec(),
        OtherNameValue::Utf8String(address.clone()),
    ))];
    if address.is_ascii() {
        names.push(SanType::Rfc822Name(
            Ia5String::try_from(address.as_str()).map_err(make)?,
        ));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, address);
    params.subject_alt_names = names;
    params.serial_number = Some(serial()?);
    // Certificates know no fractions of a second.
    params.not_before = now.truncate_to_second() - Duration::HOUR;
    params.not_after = params.not_before + Duration::days(days.into());
    // COMPAT libstrophe 0.14: it finds no xmppAddr when subjectAltName is the first extension. This one stands before it.
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];

    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
    let certificate = params.self_signed(&pair).map_err(make)?;
    let key_pem = Zeroizing::new(pair.serialize_pem());
    let certificate_pem = certificate.pem();
    Ok(Fresh {
        identity: Identity::from_pem(certificate_pem.as_bytes(), key_pem.as_bytes())?,
        der: certificate.der().clone(),
        certificate_pem,
        key_pem,
        key_der: Zeroizing::new(pair.serialize_der()),
        not_after: params.not_after,
    })
}

impl Identity {
    /// Reads a certificate, any intermediate ones after it, and the certificate's key.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = chain(certificates)?;
        let key = private_key(key)?;
        match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
            Ok(key) => Ok(Self { key: Arc::new(key) }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(CertificateError::Mismatch)
            }
            Err(source) => Err(CertificateError::Unusable { source }),
        }
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

/// Reads a file that should hold certificates or a key.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let fail = |source| CertificateError::File { source };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .map_err(fail)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(CertificateError::TooLarge);
    }
    match ByteOrderMark::of(&bytes) {
        Some(mark) => Err(CertificateError::Marked { mark }),
        None => Ok(bytes),
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|source| CertificateError::Pem { source })?;
    if chain.is_empty() && holds_private_key(pem) {
        Err(CertificateError::KeyForCertificate)
    } else if chain.is_empty() {
        Err(CertificateError::NoCertificate)
    } else {
        Ok(chain)
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let encrypted = || {
        pem.windows(ENCRYPTED.len())
            .any(|window| window == ENCRYPTED)
    };
    match PrivateKeyDer::from_pem_slice(pem) {
        _ if encrypted() => Err(CertificateError::EncryptedKey),
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(CertificateError::NoKey),
        Err(source) => Err(CertificateError::Pem { source }),
    }
}

/// A positive number of 16 bytes.
fn serial() -> Result<SerialNumber, CertificateError> {
    let mut bytes = [0; 16];
    ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| CertificateError::Random)?;
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

/// id-on-xmppAddr.
const XMPP_ADDR: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 8, 5];
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// As in `BEGIN ENCRYPTED PRIVATE KEY` and `Proc-Type: 4,ENCRYPTED`.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn fresh(address: &str) -> Fresh {
        make(
            &BareJid::new(address).unwrap(),
            365,
            OffsetDateTime::from_unix_timestamp(NOW).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn the_address_stands_in_all_three_places() {
        let fresh = fresh("hamlet@shakespeare.lit");
        let (rest, certificate) = X509Certificate::from_der(&fresh.der).unwrap();
        assert!(rest.is_empty());
        // libstrophe 0.14 overlooks it in the first place.
        let place_of = |oid: &str| {
            certificate
                .extensions()
                .iter()
                .position(|one| one.oid.to_id_string() == oid)
        };
        assert_eq!(place_of("2.5.29.17"), Some(1));
        assert_eq!(
            certificate.subject().to_string(),
            "CN=hamlet@shakespeare.lit"
        );
        let names = &certificate
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names;
        let [
            GeneralName::OtherName(oid, value),
            GeneralName::RFC822Name(email),
        ] = names.as_slice()
        else {
            panic!("{names:?}");
        };
        assert_eq!(oid.to_id_string(), "1.3.6.1.5.5.7.8.5");
        assert_eq!(
            *value,
            [b"\xa0\x18\x0c\x16".as_slice(), b"hamlet@shakespeare.lit"].concat()
        );
        assert_eq!(*email, "hamlet@shakespeare.lit");
    }

    #[test]
    fn an_address_beyond_ascii_has_no_rfc822_name() {
        let fresh = fresh("jürgen@shakespeare.lit");
        let (_, certificate) = X509Certificate::from_der(&fresh.der).unwrap();
        let names = &certificate
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names;
        assert!(
            matches!(names.as_slice(), [GeneralName::OtherName(..)]),
            "{names:?}"
        );
    }

    #[test]
    fn a_fresh_certificate_is_for_clients_and_lasts_a_year() {
        let fresh = fresh("hamlet@shakespeare.lit");
        let (_, certificate) = X509Certificate::from_der(&fresh.der).unwrap();
        assert_eq!(certificate.version().0, 2);
        assert_eq!(certificate.validity().not_before.timestamp(), NOW - 3600);
        assert_eq!(
            certificate.validity().not_after.timestamp(),
            NOW - 3600 + 365 * 24 * 3600
        );
        assert_eq!(
            fresh.not_after.unix_timestamp(),
            certificate.validity().not_after.timestamp()
        );
        assert!(!certificate.basic_constraints().unwrap().unwrap().value.ca);
        assert!(
            certificate
                .extended_key_usage()
                .unwrap()
                .unwrap()
                .value
                .client_auth
        );
        assert!(
            certificate
                .key_usage()
                .unwrap()
                .unwrap()
                .value
                .digital_signature()
        );
        assert_eq!(certificate.raw_serial().len(), 16);
    }

    #[test]
    fn two_certificates_share_neither_key_nor_serial() {
        let (one, two) = (
            fresh("hamlet@shakespeare.lit"),
            fresh("hamlet@shakespeare.lit"),
        );
        let (_, first) = X509Certificate::from_der(&one.der).unwrap();
        let (_, second) = X509Certificate::from_der(&two.der).unwrap();
        assert_ne!(first.raw_serial(), second.raw_serial());
        assert_ne!(first.public_key().raw, second.public_key().raw);
    }

    #[test]
    fn a_key_of_another_certificate_is_a_mismatch() {
        let (one, two) = (
            fresh("hamlet@shakespeare.lit"),
            fresh("hamlet@shakespeare.lit"),
        );
        let mixed = Identity::from_pem(one.certificate_pem.as_bytes(), two.key_pem.as_bytes());
        assert!(matches!(mixed, Err(CertificateError::Mismatch)));
    }

    #[test]
    fn unusable_files_say_what_is_wrong_with_them() {
        let fresh = fresh("hamlet@shakespeare.lit");
        let (certificate, key) = (fresh.certificate_pem.as_bytes(), fresh.key_pem.as_bytes());
        let locked =
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(matches!(
            Identity::from_pem(b"", key),
            Err(CertificateError::NoCertificate)
        ));
        assert!(matches!(
            Identity::from_pem(key, key),
            Err(CertificateError::KeyForCertificate)
        ));
        assert!(matches!(
            Identity::from_pem(&fresh.key_der, key),
            Err(CertificateError::KeyForCertificate)
        ));
        assert!(matches!(
            Identity::from_pem(certificate, b""),
            Err(CertificateError::NoKey)
        ));
        assert!(matches!(
            Identity::from_pem(certificate, certificate),
            Err(CertificateError::NoKey)
        ));
        assert!(matches!(
            Identity::from_pem(certificate, locked),
            Err(CertificateError::EncryptedKey)
        ));
    }

    #[test]
    fn a_byte_order_mark_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phone.key");
        for (content, words) in [
            (
                &b"\xef\xbb\xbf-----BEGIN PRIVATE KEY-----"[..],
                "it begins with a byte order mark",
            ),
            (b"\xff\xfe-\0-\0", "it is UTF-16 text"),
        ] {
            std::fs::write(&path, content).unwrap();
            let refused = read(&path).unwrap_err().to_string();
            assert!(refused.starts_with(words), "{refused}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        std::fs::write(
            &path,
            vec![b'a'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1],
        )
        .unwrap();
        assert!(matches!(read(&path), Err(CertificateError::TooLarge)));
        assert!(matches!(
            read(&folder.path().join("none")),
            Err(CertificateError::File { .. })
        ));
    }
}
