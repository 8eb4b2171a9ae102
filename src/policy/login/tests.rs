//! The tables of the rules for logging in.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::policy::fixtures::{NOW, account, cert_naming, holder, host, incarnation};
use crate::policy::host::CaFiles;

fn fact(jid: &str) -> AccountFact {
    AccountFact {
        account: account(jid),
        exists: true,
        enabled: true,
        incarnation: Some(incarnation("one")),
    }
}

fn try_login(
    addresses: &[&str],
    enrolled_by: &[&str],
    authzid: Option<&[u8]>,
    policy: &HostPolicy,
) -> Result<String, Denial> {
    let cert = cert_naming(addresses);
    let host = host("a.lit");
    let holders: Vec<Holder> = enrolled_by.iter().map(|jid| holder(jid)).collect();
    let facts = CertificateFacts {
        host: &host,
        cert: &cert,
        holders: &holders,
        revoked_for: &[],
        disabled_for: &[],
        key_disabled_for: &[],
        by_authority: None,
    };
    let accounts = [fact("h@a.lit"), fact("g@a.lit")];
    login(&facts, authzid, &accounts, policy, NOW).map(|login| {
        let account = &login.account;
        match login.resource {
            Some(resource) => format!("{account}/{resource}"),
            None => account.to_string(),
        }
    })
}

type Identities = (
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

/// Addresses of the certificate, each with what becomes of an authzid. The host is `a.lit`; `h@a.lit` and
/// `g@a.lit` exist and have enrolled the certificate. `-` stands for none or an empty one.
///
/// Verdicts: an address is who is logged in, with the resource that is bound; `invalid` is an authzid that is
/// not allowed, `which` one that is missing or ambiguous, `malformed` one that is no text, `foreign` a
/// certificate of other hosts.
const IDENTITIES: &[Identities] = &[
    (
        &["h@a.lit"],
        &[
            ("-", "h@a.lit"),
            ("h@a.lit", "h@a.lit"),
            ("H@a.lit", "h@a.lit"),
            ("h@A.LIT", "h@a.lit"),
            ("H@A.Lit", "h@a.lit"),
            ("h@a.lit.", "h@a.lit"),
            ("\u{ff28}@a.lit", "h@a.lit"),
            ("h\u{ad}@a.lit", "h@a.lit"),
            ("h@a.lit/x", "h@a.lit"),
            ("h@a.lit/x/y@z", "h@a.lit"),
            ("H@A.LIT/X", "h@a.lit"),
            ("g@a.lit", "invalid"),
            ("g@a.lit/x", "invalid"),
            ("hh@a.lit", "invalid"),
            ("h@b.lit", "invalid"),
            ("h@x.a.lit", "invalid"),
            ("h@lit", "invalid"),
            ("h@a.lit..", "invalid"),
            ("a.lit", "invalid"),
            ("a.lit/h", "invalid"),
            ("h", "invalid"),
            ("h@", "invalid"),
            ("@a.lit", "invalid"),
            ("h@a.lit/", "invalid"),
            ("h@a.lit@b.lit", "invalid"),
            ("h@@a.lit", "invalid"),
            (" h@a.lit", "invalid"),
            ("h@a.lit ", "invalid"),
            ("h@a.lit\n", "invalid"),
            ("h @a.lit", "invalid"),
            ("\"h\"@a.lit", "invalid"),
            ("h&@a.lit", "invalid"),
            ("<h>@a.lit", "invalid"),
            ("xmpp:h@a.lit", "invalid"),
            ("=", "invalid"),
            ("\u{1d2c}@a.lit", "invalid"),
            ("\u{202e}h@a.lit", "invalid"),
            ("\0", "malformed"),
            ("h@a.lit\0", "malformed"),
            ("h@a.lit\0h@a.lit", "malformed"),
            ("\0h@a.lit", "malformed"),
        ],
    ),
    (
        &["H@A.LIT"],
        &[
            ("-", "h@a.lit"),
            ("h@a.lit", "h@a.lit"),
            ("H@A.LIT", "h@a.lit"),
            ("g@a.lit", "invalid"),
        ],
    ),
    (
        &["h@a.lit", "g@a.lit"],
        &[
            ("-", "which"),
            ("h@a.lit", "h@a.lit"),
            ("g@a.lit", "g@a.lit"),
            ("G@A.lit/x", "g@a.lit"),
            ("f@a.lit", "invalid"),
            ("h@b.lit", "invalid"),
            ("a.lit", "invalid"),
            ("h@a.lit,g@a.lit", "invalid"),
        ],
    ),
    (
        &["h@a.lit", "f@a.lit"],
        // An account that has not enrolled it still counts as an address: nobody guesses which one is meant.
        &[("-", "which"), ("h@a.lit", "h@a.lit"), ("f@a.lit", "gone")],
    ),
    (
        &["f@a.lit", "h@b.lit"],
        &[
            ("-", "foreign"),
            ("f@a.lit", "foreign"),
            ("h@b.lit", "foreign"),
        ],
    ),
    (
        &["h@a.lit", "h@a.lit"],
        &[
            ("-", "h@a.lit"),
            ("h@a.lit", "h@a.lit"),
            ("h@a.lit/x", "h@a.lit"),
        ],
    ),
    (
        &["h@a.lit/x"],
        &[
            ("-", "h@a.lit/x"),
            ("h@a.lit", "h@a.lit/x"),
            ("H@a.lit", "h@a.lit/x"),
            ("h@a.lit/x", "h@a.lit/x"),
            ("H@A.LIT/x", "h@a.lit/x"),
            ("h@a.lit/X", "invalid"),
            ("h@a.lit/y", "invalid"),
            ("h@a.lit/x/", "invalid"),
            ("h@a.lit/xx", "invalid"),
            ("g@a.lit/x", "invalid"),
            ("h@b.lit/x", "invalid"),
            ("a.lit/x", "invalid"),
        ],
    ),
    (
        &["h@a.lit/a b"],
        &[
            ("-", "h@a.lit/a b"),
            ("h@a.lit/a\u{a0}b", "h@a.lit/a b"),
            ("h@a.lit/ab", "invalid"),
        ],
    ),
    (
        &["h@a.lit/x", "h@a.lit/y"],
        &[
            ("-", "which"),
            ("h@a.lit", "which"),
            ("h@a.lit/x", "h@a.lit/x"),
            ("h@a.lit/y", "h@a.lit/y"),
            ("h@a.lit/z", "invalid"),
            ("g@a.lit", "invalid"),
        ],
    ),
    (
        &["h@a.lit", "h@a.lit/x"],
        &[
            ("-", "h@a.lit"),
            ("h@a.lit", "h@a.lit"),
            ("h@a.lit/x", "h@a.lit/x"),
            ("h@a.lit/z", "h@a.lit"),
        ],
    ),
    (
        &["h@a.lit/x", "g@a.lit/x"],
        &[
            ("-", "which"),
            ("h@a.lit", "h@a.lit/x"),
            ("g@a.lit", "g@a.lit/x"),
            ("g@a.lit/x", "g@a.lit/x"),
            ("g@a.lit/y", "invalid"),
        ],
    ),
    (
        &["h@a.lit/x", "g@a.lit"],
        &[
            ("-", "which"),
            ("h@a.lit", "h@a.lit/x"),
            ("h@a.lit/y", "invalid"),
            ("g@a.lit/y", "g@a.lit"),
        ],
    ),
    (
        &["h@b.lit", "h@a.lit", "g@c.lit"],
        &[
            ("-", "h@a.lit"),
            ("h@a.lit", "h@a.lit"),
            ("h@b.lit", "invalid"),
            ("g@c.lit", "invalid"),
            ("g@a.lit", "invalid"),
        ],
    ),
    (
        &["h@b.lit/x", "h@a.lit/y"],
        &[
            ("-", "h@a.lit/y"),
            ("h@a.lit", "h@a.lit/y"),
            ("h@a.lit/x", "invalid"),
        ],
    ),
    (
        &["a.lit", "h@a.lit"],
        &[
            ("-", "h@a.lit"),
            ("h@a.lit", "h@a.lit"),
            ("a.lit", "invalid"),
        ],
    ),
    (
        &["h@b.lit"],
        &[
            ("-", "foreign"),
            ("h@a.lit", "foreign"),
            ("h@b.lit", "foreign"),
        ],
    ),
    (
        &["a.lit"],
        &[
            ("-", "foreign"),
            ("h@a.lit", "foreign"),
            ("a.lit", "foreign"),
        ],
    ),
    (&["a.lit/h"], &[("-", "foreign"), ("h@a.lit", "foreign")]),
    (
        &["h@a.lit/x", "h@a.lit/x"],
        &[
            ("-", "h@a.lit/x"),
            ("h@a.lit", "h@a.lit/x"),
            ("h@a.lit/y", "invalid"),
        ],
    ),
    (
        &["h@a.lit/x", "h@a.lit/y", "h@a.lit"],
        &[
            ("-", "h@a.lit"),
            ("h@a.lit", "h@a.lit"),
            ("h@a.lit/y", "h@a.lit/y"),
            ("h@a.lit/z", "h@a.lit"),
            ("g@a.lit", "invalid"),
        ],
    ),
    (
        &["h@a.lit/x", "h@a.lit/y", "g@a.lit/x", "g@a.lit/y"],
        &[
            ("-", "which"),
            ("h@a.lit", "which"),
            ("g@a.lit", "which"),
            ("h@a.lit/y", "h@a.lit/y"),
            ("g@a.lit/x", "g@a.lit/x"),
            ("g@a.lit/z", "invalid"),
            ("f@a.lit/x", "invalid"),
        ],
    ),
    (
        &["h@a.lit", "g@a.lit", "f@a.lit", "h@b.lit"],
        &[
            ("-", "which"),
            ("h@a.lit", "h@a.lit"),
            ("g@a.lit", "g@a.lit"),
            ("f@a.lit", "gone"),
            ("h@b.lit", "invalid"),
            ("e@a.lit", "invalid"),
        ],
    ),
    (
        &["g@a.lit"],
        &[
            ("-", "g@a.lit"),
            ("g@a.lit", "g@a.lit"),
            ("G@A.LIT", "g@a.lit"),
            ("h@a.lit", "invalid"),
            ("g@b.lit", "invalid"),
            ("g@a.li", "invalid"),
            ("g@a.litt", "invalid"),
            ("g.@a.lit", "invalid"),
            ("g%@a.lit", "invalid"),
            ("g\t@a.lit", "invalid"),
        ],
    ),
    (
        &["h@a.lit/\u{ff38}"],
        // Resourceprep folds width, and keeps case.
        &[
            ("-", "h@a.lit/X"),
            ("h@a.lit/X", "h@a.lit/X"),
            ("h@a.lit/x", "invalid"),
        ],
    ),
    (
        &["h@a.lit/x@y/z"],
        &[
            ("-", "h@a.lit/x@y/z"),
            ("h@a.lit/x@y/z", "h@a.lit/x@y/z"),
            ("h@a.lit/x", "invalid"),
        ],
    ),
    (
        &["h@xn--a-lit.lit", "h@a.lit"],
        &[
            ("-", "h@a.lit"),
            ("h@a.lit", "h@a.lit"),
            ("h@xn--a-lit.lit", "invalid"),
        ],
    ),
    (
        &["x.a.lit", "h@x.a.lit"],
        &[("-", "foreign"), ("h@a.lit", "foreign")],
    ),
];

#[test]
fn the_identity_follows_from_the_addresses_and_the_authzid() {
    let policy = HostPolicy::default();
    let mut rows = 0;
    for (addresses, cases) in IDENTITIES {
        for (authzid, expected) in *cases {
            let sent = if *authzid == "-" { "" } else { *authzid };
            let got = try_login(
                addresses,
                &["h@a.lit", "g@a.lit"],
                Some(sent.as_bytes()),
                &policy,
            );
            let verdict = match &got {
                Ok(who) => who.as_str(),
                Err(Denial::AuthzidInvalid) => "invalid",
                Err(Denial::AuthzidRequired) => "which",
                Err(Denial::AuthzidMalformed) => "malformed",
                Err(Denial::AddressForeign) => "foreign",
                Err(Denial::AccountMissing) => "gone",
                Err(other) => other.words().code,
            };
            assert_eq!(verdict, *expected, "{addresses:?} {authzid:?}");
            rows += 1;
        }
    }
    assert!(rows >= 150, "{rows} rows");
}

#[test]
fn an_authzid_longer_than_any_jid_is_invalid() {
    let long = "h".repeat(10_000);
    let got = try_login(
        &["h@a.lit"],
        &["h@a.lit"],
        Some(long.as_bytes()),
        &HostPolicy::default(),
    );
    assert_eq!(got, Err(Denial::AuthzidInvalid));
}

#[test]
fn an_absent_and_an_empty_authzid_are_the_same() {
    let policy = HostPolicy::default();
    for authzid in [None, Some(&b""[..])] {
        let got = try_login(&["h@a.lit"], &["h@a.lit"], authzid, &policy);
        assert_eq!(got.as_deref(), Ok("h@a.lit"));
    }
}

#[test]
fn an_authzid_that_is_not_utf8_is_malformed() {
    let policy = HostPolicy::default();
    let got = try_login(&["h@a.lit"], &["h@a.lit"], Some(b"h\xff@a.lit"), &policy);
    assert_eq!(got, Err(Denial::AuthzidMalformed));
}

#[test]
fn in_sasl2_an_authzid_must_be_whom_the_stream_comes_from() {
    let invalid = Err(Denial::AuthzidInvalid);
    for (authzid, stream_from, expected) in [
        ("h@a.lit", None, Ok(())),
        ("", Some("g@a.lit"), Ok(())),
        ("", Some("no jid@@"), Ok(())),
        ("h@a.lit", Some("h@a.lit"), Ok(())),
        ("H@a.lit", Some("h@A.LIT"), Ok(())),
        ("h@a.lit/x", Some("h@a.lit"), Ok(())),
        ("h@a.lit", Some("h@a.lit/x"), Ok(())),
        ("h@a.lit", Some("g@a.lit"), invalid),
        ("h@a.lit", Some("h@b.lit"), invalid),
        ("h@a.lit", Some("a.lit"), invalid),
        ("h@a.lit", Some("no jid@@"), invalid),
        ("h@a.lit", Some(""), invalid),
    ] {
        let got = require_announced(Some(authzid.as_bytes()), stream_from);
        assert_eq!(got, expected, "{authzid:?} {stream_from:?}");
    }
}

#[test]
fn only_the_account_that_enrolled_it_logs_in_with_a_certificate() {
    let policy = HostPolicy::default();
    for (enrolled_by, authzid, expected) in [
        (&["h@a.lit"][..], "g@a.lit", Err(Denial::CertificateUnknown)),
        (&["h@a.lit"], "h@a.lit", Ok("h@a.lit")),
        (&[], "h@a.lit", Err(Denial::CertificateUnknown)),
    ] {
        let got = try_login(
            &["h@a.lit", "g@a.lit"],
            enrolled_by,
            Some(authzid.as_bytes()),
            &policy,
        );
        assert_eq!(got, expected.map(str::to_owned), "{enrolled_by:?}");
    }
}

#[test]
fn a_certificate_without_addresses_belongs_to_whoever_enrolled_it() {
    let waived = HostPolicy {
        require_address: false,
        ..HostPolicy::default()
    };
    for (enrolled_by, authzid, expected) in [
        (&["h@a.lit"][..], "", Ok("h@a.lit")),
        (&["h@a.lit"], "h@a.lit", Ok("h@a.lit")),
        (&["h@a.lit"], "g@a.lit", Err(Denial::AuthzidInvalid)),
        (&["h@a.lit", "g@a.lit"], "", Err(Denial::AuthzidRequired)),
        (&["h@a.lit", "g@a.lit"], "g@a.lit", Ok("g@a.lit")),
        (&[], "h@a.lit", Err(Denial::CertificateUnknown)),
    ] {
        let got = try_login(&[], enrolled_by, Some(authzid.as_bytes()), &waived);
        assert_eq!(
            got,
            expected.map(str::to_owned),
            "{enrolled_by:?} {authzid}"
        );
    }
    let strict = HostPolicy::default();
    let got = try_login(&[], &["h@a.lit"], None, &strict);
    assert_eq!(got, Err(Denial::AddressMissing));
    // Waived is the absence of addresses only: one that names somebody else names somebody else.
    let got = try_login(&["x@a.lit"], &["h@a.lit"], None, &waived);
    assert_eq!(got, Err(Denial::AddressForeign));
}

#[test]
fn validity_and_standing_are_checked_before_anything_is_offered() {
    let host = host("a.lit");
    let cert = cert_naming(&["h@a.lit"]);
    let holders = [holder("h@a.lit")];
    let policy = HostPolicy::default();
    let revoked = [(account("h@a.lit"), incarnation("one"))];
    let revoked_before = [(account("h@a.lit"), incarnation("zero"))];
    let disabled = [account("h@a.lit")];
    let facts = CertificateFacts {
        host: &host,
        cert: &cert,
        holders: &holders,
        revoked_for: &[],
        disabled_for: &[],
        key_disabled_for: &[],
        by_authority: None,
    };
    let not_enrolled = CertificateFacts {
        holders: &[],
        ..facts.clone()
    };
    let end = cert.not_after;
    let start = cert.not_before;
    for (name, facts, now, expected) in [
        ("fine", facts.clone(), NOW, None),
        ("last second", facts.clone(), end, None),
        (
            "over",
            facts.clone(),
            end.plus(1),
            Some(Denial::CertificateExpired),
        ),
        ("five minutes early", facts.clone(), start.plus(-300), None),
        (
            "earlier",
            facts.clone(),
            start.plus(-301),
            Some(Denial::CertificateNotYetValid),
        ),
        (
            "unknown",
            not_enrolled.clone(),
            NOW,
            Some(Denial::CertificateUnknown),
        ),
        (
            "revoked",
            CertificateFacts {
                revoked_for: &revoked,
                ..facts.clone()
            },
            NOW,
            Some(Denial::KeyRevoked),
        ),
        (
            "revoked for an earlier account of the name",
            CertificateFacts {
                revoked_for: &revoked_before,
                ..facts.clone()
            },
            NOW,
            None,
        ),
        (
            "disabled",
            CertificateFacts {
                disabled_for: &disabled,
                ..not_enrolled
            },
            NOW,
            Some(Denial::CertificateDisabled),
        ),
    ] {
        assert_eq!(offer(&facts, &policy, now).err(), expected, "offer: {name}");
        let accounts = [fact("h@a.lit")];
        let got = login(&facts, None, &accounts, &policy, now).err();
        assert_eq!(got, expected, "login: {name}");
    }
}

#[test]
fn the_account_must_exist_be_enabled_and_be_the_one_that_enrolled() {
    let host = host("a.lit");
    let cert = cert_naming(&["h@a.lit"]);
    let holders = [holder("h@a.lit")];
    let facts = CertificateFacts {
        host: &host,
        cert: &cert,
        holders: &holders,
        revoked_for: &[],
        disabled_for: &[],
        key_disabled_for: &[],
        by_authority: None,
    };
    let fine = fact("h@a.lit");
    for (accounts, expected) in [
        (vec![fine.clone()], None),
        (vec![], Some(Denial::AccountMissing)),
        (
            vec![AccountFact {
                exists: false,
                ..fine.clone()
            }],
            Some(Denial::AccountMissing),
        ),
        (
            vec![AccountFact {
                enabled: false,
                ..fine.clone()
            }],
            Some(Denial::AccountDisabled),
        ),
        (
            vec![AccountFact {
                incarnation: None,
                ..fine.clone()
            }],
            Some(Denial::CertificateUnknown),
        ),
        (
            vec![AccountFact {
                incarnation: Some(incarnation("two")),
                ..fine
            }],
            Some(Denial::CertificateUnknown),
        ),
    ] {
        let got = login(&facts, None, &accounts, &HostPolicy::default(), NOW);
        assert_eq!(got.err(), expected, "{accounts:?}");
    }
}

#[test]
fn a_short_rsa_key_is_refused() {
    let mut cert = cert_naming(&["h@a.lit"]);
    for (bits, expected) in [
        (
            2047,
            Err(Denial::KeyTooShort {
                bits: 2047,
                wanted: 2048,
            }),
        ),
        (2048, Ok(())),
    ] {
        cert.key = Key::Rsa { bits };
        assert_eq!(require_acceptable(&cert, &HostPolicy::default()), expected);
        let facts = CertificateFacts {
            host: &host("a.lit"),
            cert: &cert,
            holders: &[],
            revoked_for: &[],
            disabled_for: &[],
            key_disabled_for: &[],
            by_authority: Some(Ok(())),
        };
        let policy = ca(Trust::Ca);
        let offered = offer(&facts, &policy, NOW).map(|_| ());
        let admitted = login(&facts, None, &[fact("h@a.lit")], &policy, NOW).map(|_| ());
        assert_eq!((offered, admitted), (expected, expected));
    }
}

#[test]
fn only_a_record_that_could_let_it_in_makes_a_certificate_known() {
    let (cert, host) = (cert_naming(&["h@a.lit"]), host("a.lit"));
    let (own, foreign) = ([holder("h@a.lit")], [holder("g@a.lit")]);
    let revoked = [(account("h@a.lit"), incarnation("one"))];
    let facts = CertificateFacts {
        host: &host,
        cert: &cert,
        holders: &own,
        revoked_for: &[],
        disabled_for: &[],
        key_disabled_for: &[],
        // Nobody has asked them yet.
        by_authority: None,
    };
    let with = |holders| CertificateFacts {
        holders,
        ..facts.clone()
    };
    let key_is_revoked = CertificateFacts {
        revoked_for: &revoked,
        ..facts.clone()
    };
    let (both, either, authority) = (
        ca(Trust::EnrolledAndCa),
        ca(Trust::EnrolledOrCa),
        ca(Trust::Ca),
    );
    let disabled = AccountFact {
        enabled: false,
        ..fact("h@a.lit")
    };
    let later = AccountFact {
        incarnation: Some(incarnation("two")),
        ..fact("h@a.lit")
    };
    let present = || vec![fact("h@a.lit"), fact("g@a.lit")];
    for (case, facts, accounts, policy, now, expected) in [
        ("both", facts.clone(), present(), &both, NOW, true),
        ("either", facts.clone(), present(), &either, NOW, true),
        ("no lists", facts.clone(), present(), &authority, NOW, false),
        ("unknown", with(&[]), present(), &both, NOW, false),
        (
            "names another",
            with(&foreign),
            present(),
            &both,
            NOW,
            false,
        ),
        ("revoked", key_is_revoked, present(), &both, NOW, false),
        ("disabled", facts.clone(), vec![disabled], &both, NOW, false),
        (
            "a later account",
            facts.clone(),
            vec![later],
            &both,
            NOW,
            false,
        ),
        ("no account", facts.clone(), vec![], &both, NOW, false),
        (
            "expired",
            facts.clone(),
            present(),
            &both,
            cert.not_after.plus(1),
            false,
        ),
    ] {
        assert_eq!(is_known(&facts, &accounts, policy, now), expected, "{case}");
    }
}

fn ca(how: fn(CaFiles) -> Trust) -> HostPolicy {
    HostPolicy {
        trust: how(CaFiles {
            authorities: "/ca.pem".into(),
            lists: None,
            accept_expired_lists: true,
        }),
        ..HostPolicy::default()
    }
}

/// Is it enrolled, and what does the authority say: with each trust, what admits it or why nothing does.
#[test]
fn each_trust_admits_by_what_it_says() {
    const UNTRUSTED: Denial = Denial::ChainUntrusted;
    let host = host("a.lit");
    let cert = cert_naming(&["h@a.lit"]);
    let held = [holder("h@a.lit")];
    let accounts = [fact("h@a.lit")];
    let (list, authority) = (Ok("list"), Ok("authority"));
    let vouched = Some(Ok(()));
    let refused = Some(Err(UNTRUSTED));
    let revoked = Some(Err(Denial::ChainRevoked));
    for (is_enrolled, by_authority, for_ca, for_both, for_either) in [
        (true, vouched, authority, list, list),
        (true, refused, Err(UNTRUSTED), Err(UNTRUSTED), list),
        (
            true,
            revoked,
            Err(Denial::ChainRevoked),
            Err(Denial::ChainRevoked),
            list,
        ),
        // A caller that forgot to ask the authorities hears no.
        (true, None, Err(UNTRUSTED), Err(UNTRUSTED), list),
        (
            false,
            vouched,
            authority,
            Err(Denial::CertificateUnknown),
            authority,
        ),
        (
            false,
            refused,
            Err(UNTRUSTED),
            Err(UNTRUSTED),
            Err(UNTRUSTED),
        ),
        (false, None, Err(UNTRUSTED), Err(UNTRUSTED), Err(UNTRUSTED)),
    ] {
        let facts = CertificateFacts {
            host: &host,
            cert: &cert,
            holders: if is_enrolled { &held } else { &[] },
            revoked_for: &[],
            disabled_for: &[],
            key_disabled_for: &[],
            by_authority,
        };
        for (how, expected) in [
            (Trust::Ca as fn(CaFiles) -> Trust, for_ca),
            (Trust::EnrolledAndCa, for_both),
            (Trust::EnrolledOrCa, for_either),
        ] {
            let policy = ca(how);
            let got = login(&facts, None, &accounts, &policy, NOW).map(|login| match login.by {
                Admitted::List(_) => "list",
                Admitted::Authority => "authority",
            });
            assert_eq!(
                got, expected,
                "{:?} {is_enrolled} {by_authority:?}",
                policy.trust
            );
            assert_eq!(offer(&facts, &policy, NOW).err(), expected.err());
        }
        // Where only lists count, no authority lets anybody in.
        let got = login(&facts, None, &accounts, &HostPolicy::default(), NOW);
        assert_eq!(got.is_ok(), is_enrolled);
    }
}

#[test]
fn what_an_authority_vouches_for_is_still_refused_when_the_account_does() {
    let host = host("a.lit");
    let other = incarnation("earlier");
    let cert = cert_naming(&["h@a.lit", "g@a.lit/x", "h@b.lit"]);
    let (revoked, disabled) = ([(account("h@a.lit"), other)], [account("h@a.lit")]);
    let accounts = [fact("h@a.lit"), fact("g@a.lit")];
    let plain = CertificateFacts {
        host: &host,
        cert: &cert,
        holders: &[],
        revoked_for: &[],
        disabled_for: &[],
        key_disabled_for: &[],
        by_authority: Some(Ok(())),
    };
    let with_revoked = CertificateFacts {
        revoked_for: &revoked,
        ..plain.clone()
    };
    let with_disabled = CertificateFacts {
        disabled_for: &disabled,
        ..plain.clone()
    };
    // Another certificate of the same key, or the same with its signature written anew.
    let with_twin_disabled = CertificateFacts {
        key_disabled_for: &disabled,
        ..plain.clone()
    };
    for policy in [ca(Trust::Ca), ca(Trust::EnrolledOrCa)] {
        for (facts, authzid, expected) in [
            (&plain, Some("h@a.lit"), Ok("h@a.lit")),
            (&plain, Some("g@a.lit"), Ok("g@a.lit")),
            (&plain, None, Err(Denial::AuthzidRequired)),
            (&plain, Some("h@b.lit"), Err(Denial::AuthzidInvalid)),
            (&plain, Some("x@a.lit"), Err(Denial::AuthzidInvalid)),
            (
                &with_revoked,
                Some("h@a.lit"),
                Err(Denial::CertificateUnknown),
            ),
            (&with_revoked, Some("g@a.lit"), Ok("g@a.lit")),
            (
                &with_disabled,
                Some("h@a.lit"),
                Err(Denial::CertificateUnknown),
            ),
            (&with_disabled, Some("g@a.lit"), Ok("g@a.lit")),
            (
                &with_twin_disabled,
                Some("h@a.lit"),
                Err(Denial::CertificateUnknown),
            ),
            (&with_twin_disabled, Some("g@a.lit"), Ok("g@a.lit")),
        ] {
            let got = login(facts, authzid.map(str::as_bytes), &accounts, &policy, NOW);
            let got = got.map(|login| login.account.to_string());
            assert_eq!(got, expected.map(str::to_owned), "{authzid:?}");
        }
        let one = cert_naming(&["h@a.lit"]);
        let only = |facts: &CertificateFacts<'_>| {
            let facts = CertificateFacts {
                cert: &one,
                host: &host,
                ..facts.clone()
            };
            offer(&facts, &policy, NOW).err()
        };
        assert_eq!(only(&with_revoked), Some(Denial::KeyRevoked));
        assert_eq!(only(&with_disabled), Some(Denial::CertificateDisabled));
        assert_eq!(only(&with_twin_disabled), Some(Denial::CertificateDisabled));
        // Its own record stands against the mark of another one.
        let held = [holder("h@a.lit")];
        let listed = CertificateFacts {
            cert: &one,
            holders: &held,
            ..with_twin_disabled.clone()
        };
        let is_in = matches!(policy.trust, Trust::EnrolledOrCa(_));
        assert_eq!(offer(&listed, &policy, NOW).is_ok(), is_in);
    }
}

#[test]
fn an_authority_says_who_by_the_addresses_alone() {
    let host = host("a.lit");
    // Even where addresses may be absent: nobody is named, and in no list.
    let waived = HostPolicy {
        require_address: false,
        ..ca(Trust::Ca)
    };
    for (addresses, expected) in [
        (&[][..], Denial::AddressMissing),
        (&["h@b.lit"], Denial::AddressForeign),
        (&["a.lit"], Denial::AddressForeign),
    ] {
        let cert = cert_naming(addresses);
        let facts = CertificateFacts {
            host: &host,
            cert: &cert,
            holders: &[],
            revoked_for: &[],
            disabled_for: &[],
            key_disabled_for: &[],
            by_authority: Some(Ok(())),
        };
        let got = login(&facts, None, &[fact("h@a.lit")], &waived, NOW);
        assert_eq!(got.err(), Some(expected), "{addresses:?}");
        assert_eq!(offer(&facts, &waived, NOW).err(), Some(expected));
    }
}

#[test]
fn the_account_that_an_authority_names_must_exist_and_be_enabled() {
    let host = host("a.lit");
    let cert = cert_naming(&["h@a.lit"]);
    let facts = CertificateFacts {
        host: &host,
        cert: &cert,
        holders: &[],
        revoked_for: &[],
        disabled_for: &[],
        key_disabled_for: &[],
        by_authority: Some(Ok(())),
    };
    let fine = fact("h@a.lit");
    let gone = AccountFact {
        exists: false,
        ..fine.clone()
    };
    let disabled = AccountFact {
        enabled: false,
        ..fine.clone()
    };
    let new = AccountFact {
        incarnation: None,
        ..fine.clone()
    };
    let policy = ca(Trust::Ca);
    for (accounts, expected) in [
        (vec![fine], None),
        // It has never enrolled anything.
        (vec![new], None),
        (vec![], Some(Denial::AccountMissing)),
        (vec![gone], Some(Denial::AccountMissing)),
        (vec![disabled], Some(Denial::AccountDisabled)),
    ] {
        let got = login(&facts, None, &accounts, &policy, NOW);
        assert_eq!(got.err(), expected, "{accounts:?}");
        // A stranger who is offered nothing does not hear whether there is such an account.
        let offered = |heard| offer_to(&facts, heard, &policy, NOW);
        let decided = expected.map_or(Ok(Offering::Yes), |_| Err(Denial::AccountMissing));
        assert_eq!(offered(Heard::OfAll(&accounts)), decided, "{accounts:?}");
        // Of whom nothing was said, it is asked.
        let candidates = offer(&facts, &policy, NOW).unwrap();
        let asked = if accounts.is_empty() {
            Ok(Offering::IfOneOf(candidates))
        } else {
            decided
        };
        assert_eq!(offered(Heard::OfSome(&accounts)), asked, "{accounts:?}");
    }
}

#[test]
fn of_each_account_that_a_certificate_could_log_in_as_something_must_be_told() {
    let host = host("a.lit");
    let cert = cert_naming(&[]);
    let names: Vec<String> = (0..70)
        .map(|number| format!("h{number:02}@a.lit"))
        .collect();
    let holders: Vec<Holder> = names.iter().map(|name| holder(name)).collect();
    let told: Vec<AccountFact> = names.iter().map(|name| fact(name)).collect();
    // How many are asked about; nobody: it is offered.
    let asked = |holders: &[Holder], told: &[AccountFact]| {
        let facts = CertificateFacts {
            host: &host,
            cert: &cert,
            holders,
            revoked_for: &[],
            disabled_for: &[],
            key_disabled_for: &[],
            by_authority: None,
        };
        let policy = HostPolicy {
            require_address: false,
            ..HostPolicy::default()
        };
        match offer_to(&facts, Heard::OfSome(told), &policy, NOW).unwrap() {
            Offering::Yes => 0,
            Offering::IfOneOf(candidates) => candidates.len(),
        }
    };
    // The second has enrolled it since the asker has heard of the first.
    assert_eq!(asked(&holders[..2], &told[..1]), 2);
    assert_eq!(asked(&holders[..2], &told[..2]), 0);
    // Of very many some are enough.
    assert_eq!(asked(&holders, &told[..63]), 64);
    assert_eq!(asked(&holders, &told[..64]), 0);
}

#[test]
fn the_lists_may_suffice_where_no_authority_has_a_say_or_all_are_in_them() {
    let host = host("a.lit");
    let two = &["h@a.lit", "g@a.lit/x", "h@b.lit"][..];
    let (either, both, lists) = (
        ca(Trust::EnrolledOrCa),
        ca(Trust::EnrolledAndCa),
        HostPolicy::default(),
    );
    for (addresses, enrolled_by, policy, expected) in [
        (&["h@a.lit"][..], &["h@a.lit"][..], &either, true),
        (&["h@a.lit"], &[], &either, false),
        (&["h@a.lit"], &["g@a.lit"], &either, false),
        (two, &["h@a.lit"], &either, false),
        (two, &["h@a.lit", "g@a.lit"], &either, true),
        (&["h@a.lit"], &["h@a.lit"], &both, false),
        (&["h@a.lit"], &["h@a.lit"], &lists, true),
        // Nobody else has a say.
        (two, &["h@a.lit"], &lists, true),
        (&["h@a.lit"], &[], &lists, true),
    ] {
        let cert = cert_naming(addresses);
        let held: Vec<_> = enrolled_by.iter().map(|jid| holder(jid)).collect();
        let facts = CertificateFacts {
            host: &host,
            cert: &cert,
            holders: &held,
            revoked_for: &[],
            disabled_for: &[],
            key_disabled_for: &[],
            by_authority: None,
        };
        let found = facts.lists_may_suffice(policy);
        assert_eq!(found, expected, "{addresses:?} {enrolled_by:?}");
    }
}

#[test]
fn a_session_rests_on_an_authority_unless_the_list_alone_lets_it_in() {
    let held = holder("h@a.lit");
    let (list, authority) = (Admitted::List(&held), Admitted::Authority);
    for (policy, by, expected) in [
        (ca(Trust::EnrolledOrCa), list, false),
        (ca(Trust::EnrolledOrCa), authority, true),
        (ca(Trust::EnrolledAndCa), list, true),
        (ca(Trust::Ca), authority, true),
    ] {
        let login = Login {
            account: account("h@a.lit"),
            by,
            resource: None,
        };
        let found = login.rests_on_authority(&policy);
        assert_eq!(found, expected, "{:?} {by:?}", policy.trust);
    }
}
