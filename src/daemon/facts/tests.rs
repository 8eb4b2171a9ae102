//! The lists' word on a certificate is enough to let somebody in.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{CertificateParams, KeyPair, SanType};

use super::super::state::State;
use super::*;
use crate::identity::Enrolment;
use crate::identity::{AddedBy, CertificateName, Disabled};
use crate::policy::host::{CaFiles, Trust};
use crate::policy::login;
use crate::store::{Edit, Store};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn account(name: &str) -> BareJid {
    BareJid::parse(name).unwrap()
}

fn made(key: &KeyPair, addresses: &[&str]) -> ClientCert {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2096, 1, 1);
    let xmpp = || vec![1, 3, 6, 1, 5, 5, 7, 8, 5];
    let names = addresses.iter();
    params.subject_alt_names = names
        .map(|jid| SanType::OtherName((xmpp(), (*jid).into())))
        .collect();
    ClientCert::from_der(params.self_signed(key).unwrap().der()).unwrap()
}

fn held(account: &BareJid, incarnation: &str, name: &str, cert: &ClientCert) -> Edit {
    let record = Enrolment {
        account: account.clone(),
        incarnation: Incarnation::parse(incarnation).unwrap(),
        name: CertificateName::parse(name).unwrap(),
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
    };
    Edit::Put {
        held: Box::new(record),
        cert: Some(Arc::new(cert.clone())),
    }
}

/// An account's possible acts with a certificate, beside holding it as one of its incarnations or not at all.
fn marks(cert: &ClientCert, mark: usize) -> Vec<Edit> {
    let incarnation = |id: &str| Incarnation::parse(id).unwrap();
    let revoke = |id| Edit::RevokeKey {
        key_id: cert.key_id,
        incarnation: incarnation(id),
        at: NOW,
    };
    match mark {
        0 => Vec::new(),
        1 => vec![revoke("one")],
        2 => vec![revoke("two")],
        _ => vec![Edit::MarkDisabled(Box::new(Disabled {
            incarnation: incarnation("one"),
            name: CertificateName::parse("former").unwrap(),
            fingerprint: cert.fingerprint,
            key_id: cert.key_id,
            not_after: cert.not_after,
        }))],
    }
}

/// The lists' own answer is the whole answer: what they let in is let in, as whom and why, with everything that was taken back at
/// hand, and with the certificate parsed anew; what they refuse is refused.
#[test]
fn the_lists_let_in_whom_all_facts_let_in() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.unwrap();
    let data = folder.path().join("data");
    Store::create(&data).unwrap();
    let state = State::new(|listeners| Store::open_heard(&data, listeners)).unwrap();
    let host = Host::parse("a.lit").unwrap();
    let (h, g) = (account("h@a.lit"), account("g@a.lit"));
    let files = CaFiles {
        authorities: "/nowhere".into(),
        lists: None,
        accept_expired_lists: false,
    };
    let fact = |account: &BareJid, incarnation: &str| AccountFact {
        account: account.clone(),
        exists: true,
        enabled: true,
        incarnation: Some(Incarnation::parse(incarnation).unwrap()),
    };
    let facts_of = [
        vec![fact(&h, "one"), fact(&g, "one")],
        vec![fact(&h, "two")],
        vec![],
    ];
    let policies = [
        HostPolicy::default(),
        HostPolicy {
            require_address: false,
            ..HostPolicy::default()
        },
        HostPolicy {
            trust: Trust::EnrolledOrCa(files),
            require_address: false,
            ..HostPolicy::default()
        },
    ]
    .map(Arc::new);
    let (mut yes, mut no) = (0, 0);
    let addresses: [&[&str]; 5] = [
        &[],
        &["h@a.lit"],
        &["h@a.lit", "g@a.lit"],
        &["h@a.lit/x"],
        &["h@b.lit"],
    ];
    for bits in 0..5 * 3 * 2 * 4 * 4 {
        let mut bits = bits;
        let mut of = |count: usize| {
            let one = bits % count;
            bits /= count;
            one
        };
        let cert = made(&KeyPair::generate().unwrap(), addresses[of(5)]);
        let name = cert.fingerprint.to_string();
        let name = &name[..16];
        let (by_h, by_g) = (of(3), of(2));
        let mut of_h = marks(&cert, of(4));
        let mut of_g = marks(&cert, of(4));
        if by_h > 0 {
            of_h.push(held(&h, ["one", "two"][by_h - 1], name, &cert));
        }
        if by_g > 0 {
            of_g.push(held(&g, "one", name, &cert));
        }
        for (account, edits) in [(&h, of_h), (&g, of_g)] {
            let done = state
                .store
                .take_back(None, account, move |_| Ok(Ok::<_, ()>((edits, ()))));
            done.unwrap().unwrap();
        }
        for policy in &policies {
            let chain = Chain::from_base64(&[BASE64.encode(&cert.der)]).unwrap();
            let shown = Presentation {
                host: &host,
                lives: Accounts::Prosody,
                policy: policy.clone(),
                chain: &chain,
            };
            let facts = state.facts();
            let gathered = facts.gather(&shown).unwrap().unwrap();
            assert_eq!(gathered.cert, &cert);
            let back = facts.taken_back(&shown, &gathered, None).unwrap();
            let lists = gathered.by_lists();
            if !lists.lists_may_suffice(policy) {
                continue;
            }
            for by_authority in [None, Some(Ok(())), Some(Err(Denial::ChainUntrusted))] {
                let all = gathered.facts(&back, by_authority);
                let by_lists_alone = policy.trust == Trust::Enrolled || by_authority.is_none();
                for (authzid, accounts) in [None, Some(&b"h@a.lit"[..])]
                    .iter()
                    .flat_map(|authzid| facts_of.iter().map(move |of| (*authzid, of)))
                {
                    let login = |facts| login::login(facts, authzid, accounts, policy, NOW);
                    match (login(&lists), login(&all)) {
                        (Ok(one), other) => {
                            assert_eq!(Ok(one), other);
                            yes += 1;
                        }
                        (Err(_), Ok(other)) => assert!(!by_lists_alone, "{other:?} {all:?}"),
                        (Err(_), Err(_)) => no += 1,
                    }
                }
                let offer = |facts| login::offer(facts, policy, NOW);
                if by_lists_alone {
                    assert_eq!(offer(&lists).ok(), offer(&all).ok());
                }
                let known = |facts| login::is_known(facts, &facts_of[0], policy, NOW);
                assert_eq!(known(&lists), known(&all));
            }
        }
    }
    assert!(yes > 500 && no > 500, "{yes} {no}");
}
