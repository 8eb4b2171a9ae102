//! The tables of cases for reading a certificate, and for the findings against one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
    SignatureAlgorithm,
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
                let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
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
