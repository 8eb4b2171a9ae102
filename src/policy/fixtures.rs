//! Short words for the tables of cases in the tests of the rules.
//!
//! Must not know: the rules, and what a test expects of them.

#![allow(clippy::unwrap_used)]

use crate::identity::key::Key;
use crate::identity::{
    AddedBy, BareJid, CertificateName, ClientCert, Enrolment, Fingerprint, Holder, Host,
    Incarnation, Jid, KeyId, UnixSeconds,
};

/// 2026-11-21.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_795_219_200);

pub(crate) fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

pub(crate) fn account(jid: &str) -> BareJid {
    BareJid::parse(jid).unwrap()
}

pub(crate) fn incarnation(id: &str) -> Incarnation {
    Incarnation::parse(id).unwrap()
}

/// A certificate with these addresses, valid for a month before and after [`NOW`].
pub(crate) fn cert_naming(addresses: &[&str]) -> ClientCert {
    ClientCert {
        der: b"one".to_vec(),
        fingerprint: Fingerprint::from_bytes([1; 32]),
        key_id: KeyId::from_bytes([1; 32]),
        key: Key::Curve,
        serial: vec![0x5f, 0x3a],
        addresses: addresses.iter().map(|a| Jid::parse(a).unwrap()).collect(),
        not_before: NOW.plus(-30 * 86_400),
        not_after: NOW.plus(30 * 86_400),
        names_address_for_clients: true,
        claims_authority: false,
    }
}

/// Another certificate of `h@a.lit`, with another key.
pub(crate) fn other_cert() -> ClientCert {
    ClientCert {
        der: b"two".to_vec(),
        fingerprint: Fingerprint::from_bytes([2; 32]),
        key_id: KeyId::from_bytes([2; 32]),
        ..cert_naming(&["h@a.lit"])
    }
}

/// `cert` in the list of `jid`, as "phone".
pub(crate) fn enrolled(cert: &ClientCert, jid: &str) -> Enrolment {
    Enrolment {
        account: account(jid),
        incarnation: incarnation("one"),
        name: CertificateName::parse("phone").unwrap(),
        der: cert.der.clone(),
        fingerprint: cert.fingerprint,
        key_id: cert.key_id,
        addresses: cert.addresses.clone(),
        not_before: cert.not_before,
        not_after: cert.not_after,
        may_manage: true,
        order: 1,
        added_at: NOW,
        added_by: AddedBy {
            certificate: None,
            jid: None,
        },
        last_use: None,
    }
}

/// A certificate stands in the list of `jid`, as "phone".
pub(crate) fn holder(jid: &str) -> Holder {
    Holder {
        account: account(jid),
        incarnation: incarnation("one"),
        name: CertificateName::parse("phone").unwrap(),
        may_manage: true,
    }
}
