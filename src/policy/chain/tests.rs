//! Real chains and lists, made on the spot.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber,
};
use time::{Duration, OffsetDateTime};

mod der;
mod lists;
mod rules;

use crate::identity::Authority;

use super::*;
use crate::identity::authority::AuthorityError;
use crate::identity::{ByteOrderMark, RevocationList};
use crate::policy::fixtures::NOW;

/// One that can issue others.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    serial: u64,
}

fn days(days: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW.0).unwrap() + Duration::days(days)
}

fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = days(-10);
    params.not_after = days(10);
    params
}

fn ca_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = params(name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> impl FnOnce(&mut CertificateParams) {
    move |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Ca {
    fn root(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (ca_params("Denmark Root", 1), key());
        change(&mut params);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            der,
            serial: 1,
        }
    }

    fn below(&self, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (ca_params("Elsinore", serial), key());
        change(&mut params);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            der,
            serial,
        }
    }

    /// Its distinguished name, DER.
    fn name(&self) -> Vec<u8> {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let (_, cert) = X509Certificate::from_der(&self.der).unwrap();
        cert.subject().as_raw().to_vec()
    }

    fn leaf(&self, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = params("hamlet", serial);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let cert = params.signed_by(&key(), &self.issuer).unwrap();
        cert.der().to_vec()
    }

    /// A list made so many days ago, of these serial numbers.
    fn list(&self, age: i64, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: days(-9),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: days(-age),
            next_update: days(2 - age),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn pem(ders: &[&[u8]]) -> String {
    use base64::Engine;
    let section = |der: &&[u8]| {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    ders.iter().map(section).collect()
}

fn trusting(cas: &[&Ca]) -> Authorities {
    let ders: Vec<&[u8]> = cas.iter().map(|ca| ca.der.as_slice()).collect();
    Authorities::from_pem(pem(&ders).as_bytes()).unwrap()
}

/// Without further demands.
fn path(
    leaf: &[u8],
    intermediates: &[&[u8]],
    authorities: &Authorities,
    revocation: Option<Revocation<'_>>,
    now: UnixSeconds,
) -> Result<CertificationPath, Untrusted> {
    let demands = Demands::default();
    let presented = Presented {
        leaf,
        intermediates,
    };
    super::path(presented, authorities, revocation, &demands, now).0
}

fn denied(
    leaf: &[u8],
    intermediates: &[&[u8]],
    authorities: &Authorities,
    lists: Option<(&str, bool)>,
) -> Option<Denial> {
    let read = lists.map(|(pem, accept_expired)| {
        let lists = RevocationLists::from_pem(pem.as_bytes()).unwrap();
        (lists, accept_expired)
    });
    let revocation = read.as_ref().map(|(lists, accept_expired)| Revocation {
        lists,
        accept_expired: *accept_expired,
    });
    let found = path(leaf, intermediates, authorities, revocation, NOW);
    found.err().map(|untrusted| untrusted.denial)
}

#[test]
fn a_path_leads_to_an_authority_or_there_is_none() {
    let root = Ca::root(|_| {});
    let other = Ca::root(named("Norway Root"));
    // The same name, another key.
    let impostor = Ca::root(|_| {});
    let between = root.below(2, |_| {});
    let old = root.below(3, |params| params.not_after = days(-1));
    let no_signer = root.below(4, |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let no_ca = root.below(5, |params| params.is_ca = IsCa::ExplicitNoCa);
    let last = root.below(6, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let deeper = last.below(7, named("Kronborg"));
    let for_servers = root.below(8, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let plain = |_: &mut CertificateParams| {};
    let untrusted = Some(Denial::ChainUntrusted);
    let expired = Some(Denial::ChainExpired);
    let self_signed = {
        let cert = params("hamlet", 9).self_signed(&key()).unwrap();
        cert.der().to_vec()
    };
    let trusted = trusting(&[&other, &root]);
    for (what, leaf, intermediates, expected) in [
        ("its own", root.leaf(20, plain), vec![], None),
        ("the other's", other.leaf(20, plain), vec![], None),
        ("an impostor's", impostor.leaf(20, plain), vec![], untrusted),
        ("nobody's", self_signed, vec![], untrusted),
        ("one between", between.leaf(20, plain), vec![&between], None),
        ("not shown", between.leaf(20, plain), vec![], untrusted),
        (
            "another shown",
            between.leaf(20, plain),
            vec![&last],
            untrusted,
        ),
        ("expired between", old.leaf(20, plain), vec![&old], expired),
        (
            "no signer",
            no_signer.leaf(20, plain),
            vec![&no_signer],
            untrusted,
        ),
        (
            "no authority",
            no_ca.leaf(20, plain),
            vec![&no_ca],
            untrusted,
        ),
        ("the last", last.leaf(20, plain), vec![&last], None),
        (
            "too deep",
            deeper.leaf(20, plain),
            vec![&deeper, &last],
            untrusted,
        ),
        (
            "for servers",
            for_servers.leaf(20, plain),
            vec![&for_servers],
            untrusted,
        ),
        (
            "an authority itself",
            root.leaf(20, |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
            vec![],
            untrusted,
        ),
        (
            "a server",
            root.leaf(20, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
            vec![],
            untrusted,
        ),
    ] {
        let shown: Vec<&[u8]> = intermediates.iter().map(|ca| ca.der.as_slice()).collect();
        assert_eq!(denied(&leaf, &shown, &trusted, None), expected, "{what}");
    }
}

#[test]
fn an_anchor_says_itself_how_long_a_path_may_be() {
    let root = Ca::root(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)));
    let between = root.below(2, |_| {});
    let last = between.below(3, named("Kronborg"));
    let trusted = trusting(&[&root]);
    let one = between.leaf(20, |_| {});
    let two = last.leaf(20, |_| {});
    assert_eq!(denied(&one, &[&between.der], &trusted, None), None);
    assert_eq!(
        denied(&two, &[&last.der, &between.der], &trusted, None),
        Some(Denial::ChainUntrusted)
    );
    // One that is trusted for itself needs nobody above it.
    let both = trusting(&[&root, &between]);
    assert_eq!(denied(&two, &[&last.der, &between.der], &both, None), None);
}

#[test]
fn an_authority_counts_in_its_validity_only_whichever_of_its_certificates() {
    let old = Ca::root(|params| params.not_after = days(-1));
    let leaf = old.leaf(20, |_| {});
    let trusted = trusting(&[&old]);
    assert_eq!(
        denied(&leaf, &[], &trusted, None),
        Some(Denial::ChainExpired)
    );
    // The same name and key, renewed.
    let mut renewed = ca_params("Denmark Root", 2);
    renewed.not_after = days(5);
    let renewed = renewed
        .self_signed(old.issuer.key())
        .unwrap()
        .der()
        .to_vec();
    let both = pem(&[&old.der, &renewed]);
    let both = Authorities::from_pem(both.as_bytes()).unwrap();
    assert_eq!(denied(&leaf, &[], &both, None), None);
    let coming = Ca::root(|params| params.not_before = days(1));
    let leaf = coming.leaf(20, |_| {});
    let trusted = trusting(&[&coming]);
    assert_eq!(
        denied(&leaf, &[], &trusted, None),
        Some(Denial::ChainExpired)
    );
}

#[test]
fn what_a_list_names_is_refused_and_what_has_no_list_too() {
    let root = Ca::root(|_| {});
    let between = root.below(2, |_| {});
    let impostor = Ca::root(|_| {});
    let trusted = trusting(&[&root]);
    let direct = root.leaf(20, |_| {});
    let below = between.leaf(20, |_| {});
    let shown = [between.der.as_slice()];
    let all = |lists: &[String]| lists.concat();
    let empty = || root.list(1, &[]);
    let revoked = Some(Denial::ChainRevoked);
    let missing = Some(Denial::CrlMissing);
    for (what, leaf, shown, lists, accept_expired, expected) in [
        ("clean", &direct, &[][..], empty(), false, None),
        (
            "another one",
            &direct,
            &[],
            root.list(1, &[21]),
            false,
            None,
        ),
        (
            "revoked",
            &direct,
            &[],
            root.list(1, &[20, 21]),
            true,
            revoked,
        ),
        (
            "no list of it",
            &direct,
            &[],
            between.list(1, &[]),
            true,
            missing,
        ),
        (
            "none of the root",
            &below,
            &shown,
            between.list(1, &[]),
            true,
            missing,
        ),
        ("none of the middle", &below, &shown, empty(), true, missing),
        (
            "both",
            &below,
            &shown,
            all(&[between.list(1, &[]), empty()]),
            true,
            None,
        ),
        (
            "revoked below",
            &below,
            &shown,
            all(&[between.list(1, &[20]), empty()]),
            true,
            revoked,
        ),
        (
            "the middle is revoked",
            &below,
            &shown,
            all(&[between.list(1, &[]), root.list(1, &[between.serial])]),
            true,
            revoked,
        ),
        ("old", &direct, &[], root.list(5, &[]), true, None),
        (
            "old, revoked",
            &direct,
            &[],
            root.list(5, &[20]),
            true,
            revoked,
        ),
        (
            "too old",
            &direct,
            &[],
            root.list(5, &[]),
            false,
            Some(Denial::CrlExpired),
        ),
        // The newest counts, wherever it stands.
        (
            "newer",
            &direct,
            &[],
            all(&[root.list(5, &[20]), empty()]),
            false,
            None,
        ),
        (
            "newer first",
            &direct,
            &[],
            all(&[empty(), root.list(5, &[20])]),
            false,
            None,
        ),
        (
            "revoked since",
            &direct,
            &[],
            all(&[root.list(5, &[]), root.list(1, &[20])]),
            false,
            revoked,
        ),
        (
            "revoked in the same second",
            &direct,
            &[],
            all(&[empty(), root.list(1, &[20])]),
            false,
            revoked,
        ),
        ("forged", &direct, &[], impostor.list(1, &[]), true, missing),
    ] {
        let got = denied(leaf, shown, &trusted, Some((&lists, accept_expired)));
        assert_eq!(got, expected, "{what}");
    }
}

#[test]
fn a_path_holds_until_something_on_it_is_revoked_or_its_authority_goes() {
    let root = Ca::root(|_| {});
    let other = Ca::root(|_| {});
    let between = root.below(2, |_| {});
    let leaf = between.leaf(20, |_| {});
    let trusted = trusting(&[&root]);
    let found = path(&leaf, &[&between.der], &trusted, None, NOW).unwrap();
    let lists = |pem: String| RevocationLists::from_pem(pem.as_bytes()).unwrap();
    for (what, authorities, list, expected) in [
        ("no list", &trusted, None, true),
        ("others", &trusted, Some(root.list(1, &[20, 3])), true),
        ("the leaf", &trusted, Some(between.list(1, &[20])), false),
        ("the middle", &trusted, Some(root.list(1, &[2])), false),
        (
            "lifted",
            &trusted,
            Some(root.list(5, &[2]) + &root.list(1, &[])),
            true,
        ),
        ("another authority", &trusting(&[&other]), None, false),
        ("one more", &trusting(&[&other, &root]), None, true),
    ] {
        let is_revoked = list.is_some_and(|list| lists(list).revoke(&found));
        assert_eq!(
            authorities.still_trust(&found) && !is_revoked,
            expected,
            "{what}"
        );
    }
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(
        serde_json::from_str::<CertificationPath>(&json).unwrap(),
        found
    );
    // As an older version reported it, without the keys that sign lists: nobody could tell whether it is revoked.
    let mut old = serde_json::to_value(&found).unwrap();
    old.as_object_mut().unwrap().remove("keys");
    let old: CertificationPath = serde_json::from_value(old).unwrap();
    assert!(trusted.still_trust(&found) && !trusted.still_trust(&old));
}

#[test]
fn files_are_taken_whole_or_not_at_all() {
    let root = Ca::root(|_| {});
    let leaf = root.leaf(20, |_| {});
    let good = pem(&[&root.der]);
    let cut = good.get(..good.len() - 40).unwrap().to_owned();
    let section = |number, problem| PemError::Section { number, problem };
    for (text, expected) in [
        (good.clone(), None),
        (format!("Denmark's own\n{good}\n# and that is all\n"), None),
        (
            String::new(),
            Some(PemError::Empty {
                wanted: "CERTIFICATE",
            }),
        ),
        (
            "Something".into(),
            Some(PemError::Empty {
                wanted: "CERTIFICATE",
            }),
        ),
        (
            root.list(1, &[]),
            Some(PemError::Empty {
                wanted: "CERTIFICATE",
            }),
        ),
        (cut.clone(), Some(PemError::NotPem { number: 1 })),
        (format!("{good}{cut}"), Some(PemError::NotPem { number: 2 })),
        (
            format!("{good}{}", pem(&[&leaf])),
            Some(section(2, AuthorityError::NotAuthority)),
        ),
        // As `cat` makes it of files that lack the last newline: nothing may be lost unseen.
        (format!("{}{good}", good.trim_end()), Some(PemError::Hidden)),
        // As other systems write files.
        (
            format!("\u{feff}{good}"),
            Some(PemError::Marked(ByteOrderMark::Utf8)),
        ),
        (
            format!("{good}\u{feff}{}", pem(&[&leaf])),
            Some(PemError::Hidden),
        ),
        (format!("{good}  {good}"), Some(PemError::Hidden)),
        (good.replace('\n', "\r\n"), None),
        (
            format!(
                "{good}{}{}",
                good.replace("-----END CERTIFICATE-----\n", ""),
                good.replace("CERTIFICATE", "TRUSTED CERTIFICATE")
            ),
            Some(PemError::Unended),
        ),
        (
            pem(&[b"\x30\x00"]),
            Some(section(1, AuthorityError::NotCertificate)),
        ),
    ] {
        let got = Authorities::from_pem(text.as_bytes());
        assert_eq!(got.err(), expected, "{text}");
    }
    let got = Authorities::from_pem(&root.der).unwrap_err();
    assert!(matches!(got, PemError::IsDer { .. }), "{got}");
    for (text, expected) in [
        (root.list(1, &[]), None),
        (good, Some(PemError::Empty { wanted: "X509 CRL" })),
    ] {
        assert_eq!(RevocationLists::from_pem(text.as_bytes()).err(), expected);
    }
}

#[test]
fn authorities_without_a_list_are_known() {
    let root = Ca::root(|_| {});
    let between = root.below(2, |_| {});
    let trusted = trusting(&[&root, &between]);
    let lists = RevocationLists::from_pem(root.list(1, &[3, 4]).as_bytes()).unwrap();
    let without: Vec<&str> = trusted
        .without_list(&lists)
        .map(|one| one.subject.as_str())
        .collect();
    assert_eq!(without, ["CN=Elsinore"]);
    let about = lists.about(Some(&trusted));
    let shown: Vec<(&str, usize)> = about
        .iter()
        .map(|list| (list.issuer.as_str(), list.revoked))
        .collect();
    assert_eq!(shown, [("CN=Denmark Root", 2)]);
    assert_eq!(about.first().unwrap().next_update, NOW.plus(86_400));
}

proptest::proptest! {
    #[test]
    fn whatever_the_bytes_nothing_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let _ = Authorities::from_pem(&bytes);
        let _ = RevocationLists::from_pem(&bytes);
        let _ = Authority::from_der(&bytes);
        let _ = RevocationList::from_der(&bytes);
    }
}
