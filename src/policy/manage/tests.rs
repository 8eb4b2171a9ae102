//! The tables of the rules for an account's own list.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::policy::fixtures::{NOW, account, cert_naming, enrolled, incarnation, other_cert};
use crate::policy::host::CaFiles;

const PASSWORD: Asker = Asker {
    secure: true,
    by: LoggedInBy::Password,
    jid: None,
};

fn by_certificate(cert: &ClientCert) -> Asker {
    Asker {
        by: LoggedInBy::Certificate {
            fingerprint: cert.fingerprint,
        },
        ..PASSWORD
    }
}

/// The certificate that is added, its name, and who adds it.
type Wish<'a> = (&'a ClientCert, &'a str, &'a Asker);

fn try_append(
    wish: Wish<'_>,
    held: &AccountList,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Appended, Denial> {
    append_beside(&Marks::default(), wish, held, policy, now)
}

/// The same, where `marks` are remembered beside the list.
fn append_beside(
    marks: &Marks,
    (cert, name, asker): Wish<'_>,
    held: &AccountList,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Appended, Denial> {
    let wish = Appending {
        account: &account("h@a.lit"),
        incarnation: &incarnation("one"),
        asker,
        name,
        cert: &Arc::new(cert.clone()),
        may_manage: true,
    };
    append(&wish, held, marks, policy, now)
}

fn revoking<'a>(asker: &'a Asker, scope: &'a Scope, which: Which<'a>) -> Revoking<'a> {
    Revoking {
        asker,
        scope,
        which,
    }
}

/// The record that a session adds which logged in with its password.
fn appended(cert: &ClientCert, name: &str, held: &AccountList) -> Appended {
    try_append((cert, name, &PASSWORD), held, &HostPolicy::default(), NOW).unwrap()
}

fn holding(enrolments: &[Enrolment]) -> AccountList {
    AccountList {
        enrolments: enrolments.to_vec(),
        ..AccountList::default()
    }
}

#[test]
fn an_append_takes_what_the_rules_allow_and_nothing_else() {
    let cert = cert_naming(&["h@a.lit"]);
    let foreign = cert_naming(&["g@a.lit"]);
    let nameless = cert_naming(&[]);
    let held = holding(&[enrolled(&other_cert(), "h@a.lit")]);
    let plain = Asker {
        secure: false,
        ..PASSWORD
    };
    let one = HostPolicy {
        max_certs: 1,
        ..HostPolicy::default()
    };
    let short = HostPolicy {
        max_validity_days: Some(1),
        ..HostPolicy::default()
    };
    let waived = HostPolicy {
        require_address: false,
        ..HostPolicy::default()
    };
    let usual = HostPolicy::default();
    let empty = AccountList::default();
    let same = holding(&[enrolled(&cert, "h@a.lit")]);
    for (case, cert, name, asker, list, policy, now, expected) in [
        (
            "plain", &cert, " laptop ", &PASSWORD, &empty, &usual, NOW, None,
        ),
        (
            "second", &cert, "laptop", &PASSWORD, &held, &usual, NOW, None,
        ),
        (
            "insecure",
            &cert,
            "x",
            &plain,
            &empty,
            &usual,
            NOW,
            Some(Denial::StreamNotSecure),
        ),
        (
            "no name",
            &cert,
            " ",
            &PASSWORD,
            &empty,
            &usual,
            NOW,
            Some(Denial::NameInvalid),
        ),
        (
            "taken",
            &cert,
            "phone",
            &PASSWORD,
            &held,
            &usual,
            NOW,
            Some(Denial::NameTaken),
        ),
        (
            "same",
            &cert,
            "x",
            &PASSWORD,
            &same,
            &usual,
            NOW,
            Some(Denial::AlreadyEnrolled),
        ),
        (
            "full",
            &cert,
            "x",
            &PASSWORD,
            &held,
            &one,
            NOW,
            Some(Denial::TooManyCertificates),
        ),
        (
            "foreign",
            &foreign,
            "x",
            &PASSWORD,
            &empty,
            &usual,
            NOW,
            Some(Denial::AddressForeign),
        ),
        (
            "foreign, waived",
            &foreign,
            "x",
            &PASSWORD,
            &empty,
            &waived,
            NOW,
            Some(Denial::AddressForeign),
        ),
        (
            "nameless",
            &nameless,
            "x",
            &PASSWORD,
            &empty,
            &usual,
            NOW,
            Some(Denial::AddressMissing),
        ),
        (
            "nameless, waived",
            &nameless,
            "x",
            &PASSWORD,
            &empty,
            &waived,
            NOW,
            None,
        ),
        (
            "long-lived",
            &cert,
            "x",
            &PASSWORD,
            &empty,
            &short,
            NOW,
            Some(Denial::ValidityTooLong),
        ),
        (
            "expired",
            &cert,
            "x",
            &PASSWORD,
            &empty,
            &usual,
            cert.not_after.plus(1),
            Some(Denial::CertificateExpired),
        ),
        (
            "early",
            &cert,
            "x",
            &PASSWORD,
            &empty,
            &usual,
            cert.not_before.plus(-301),
            Some(Denial::CertificateNotYetValid),
        ),
    ] {
        let got = try_append((cert, name, asker), list, policy, now);
        assert_eq!(got.err(), expected, "{case}");
    }
}

#[test]
fn a_certificate_is_added_to_the_account_that_there_is() {
    let here = |enabled| Account {
        jid: account("h@a.lit"),
        incarnation: incarnation("one"),
        enabled,
        created: NOW,
        password_changed: NOW,
        verifiers: vec![],
    };
    let (missing, disabled) = (Denial::AccountMissing, Denial::AccountDisabled);
    for (known, expected, for_one, for_other) in [
        (
            Some(here(true)),
            Ok(incarnation("one")),
            Ok(()),
            Err(missing),
        ),
        (Some(here(false)), Err(disabled), Err(missing), Err(missing)),
        (None, Err(missing), Err(missing), Err(missing)),
    ] {
        let known = known.as_ref();
        assert_eq!(present(known).cloned(), expected);
        assert_eq!(require_present(known, &incarnation("one")), for_one);
        assert_eq!(require_present(known, &incarnation("two")), for_other);
    }
}

#[test]
fn an_appended_record_is_the_last_in_the_list() {
    let held = holding(&[enrolled(&other_cert(), "h@a.lit")]);
    let cert = cert_naming(&["h@a.lit"]);
    let appended = appended(&cert, " laptop ", &held);
    assert_eq!(appended.enrolment.name.as_str(), "laptop");
    assert!(appended.enrolment.order > held.enrolments[0].order);
    assert_eq!(appended.leaving, []);
}

#[test]
fn a_later_account_of_the_name_finds_its_names_free() {
    let cert = cert_naming(&["h@a.lit"]);
    let mut before = enrolled(&cert, "h@a.lit");
    before.incarnation = incarnation("zero");
    let list = holding(&[before.clone()]);
    let appended = appended(&cert, "phone", &list);
    assert_eq!(appended.leaving, [before]);
    let scope = Scope::Of(Some(incarnation("one")));
    assert_eq!(
        super::list(&PASSWORD, &scope, &list, &HostPolicy::default()),
        Ok(vec![])
    );
    let denied = disable(&PASSWORD, &scope, "phone", &list, &HostPolicy::default());
    assert_eq!(denied, Err(Denial::NameUnknown));
}

#[test]
fn expired_records_do_not_count_but_hold_their_name_for_30_days() {
    let cert = cert_naming(&["h@a.lit"]);
    let mut expired = enrolled(&other_cert(), "h@a.lit");
    expired.not_after = NOW.plus(-1);
    let one = HostPolicy {
        max_certs: 1,
        ..HostPolicy::default()
    };
    let list = holding(&[expired.clone()]);
    assert!(try_append((&cert, "x", &PASSWORD), &list, &one, NOW).is_ok());
    let taken = try_append((&cert, "phone", &PASSWORD), &list, &one, NOW);
    assert_eq!(taken.err(), Some(Denial::NameTaken));
    expired.not_after = NOW.plus(-EXPIRED_STAYS_SECONDS - 1);
    let list = holding(&[expired.clone()]);
    let appended = try_append((&cert, "phone", &PASSWORD), &list, &one, NOW).unwrap();
    assert_eq!(appended.leaving, [expired]);
}

#[test]
fn who_may_manage_is_looked_up_in_the_list() {
    let cert = cert_naming(&["h@a.lit"]);
    let mut held = enrolled(&cert, "h@a.lit");
    let by_it = by_certificate(&cert);
    let by_unknown = by_certificate(&other_cert());
    let admin = Asker {
        by: LoggedInBy::Admin,
        ..PASSWORD
    };
    let any = HostPolicy::default();
    let passwords = HostPolicy {
        manage_with: ManageWith::Password,
        ..HostPolicy::default()
    };
    let scope = Scope::Of(Some(incarnation("one")));
    for (asker, policy, may_manage, allowed) in [
        (&PASSWORD, &any, true, true),
        (&PASSWORD, &passwords, false, true),
        (&admin, &passwords, false, true),
        (&by_it, &any, true, true),
        (&by_it, &any, false, false),
        (&by_it, &passwords, true, false),
        (&by_unknown, &any, true, false),
    ] {
        held.may_manage = may_manage;
        let list = holding(&[held.clone()]);
        let expected = if allowed {
            Ok(vec![&list.enrolments[0]])
        } else {
            Err(Denial::ManagementForbidden)
        };
        let got = disable(asker, &scope, "phone", &list, policy);
        assert_eq!(got, expected, "{asker:?} {policy:?}");
        let which = Which::Named("phone");
        let got = revoke(&revoking(asker, &scope, which), &list, &[], policy);
        assert_eq!(got.is_ok(), allowed, "{asker:?} {policy:?}");
        assert_eq!(
            super::list(asker, &scope, &list, policy).map(|all| all.len()),
            Ok(1)
        );
    }
}

#[test]
fn a_token_may_look_and_remove_but_adds_nothing_that_would_outlive_it() {
    let (cert, new) = (cert_naming(&["h@a.lit"]), other_cert());
    let list = holding(&[enrolled(&cert, "h@a.lit")]);
    let token = Asker {
        by: LoggedInBy::Token,
        ..PASSWORD
    };
    let any = HostPolicy::default();
    let passwords = HostPolicy {
        manage_with: ManageWith::Password,
        ..HostPolicy::default()
    };
    let scope = Scope::Of(Some(incarnation("one")));
    for (policy, may_remove) in [(&any, true), (&passwords, false)] {
        assert_eq!(
            try_append((&new, "new", &token), &list, policy, NOW),
            Err(Denial::ManagementForbidden)
        );
        let got = disable(&token, &scope, "phone", &list, policy);
        assert_eq!(got.is_ok(), may_remove, "{policy:?}");
        let which = Which::Named("phone");
        let got = revoke(&revoking(&token, &scope, which), &list, &[], policy);
        assert_eq!(got.is_ok(), may_remove, "{policy:?}");
        let listed = super::list(&token, &scope, &list, policy);
        assert_eq!(listed.map(|all| all.len()), Ok(1));
    }
}

#[test]
fn a_mechanism_that_is_not_known_to_prove_a_password_proves_a_token() {
    for (mechanism, expected) in [
        (Some("PLAIN"), LoggedInBy::Password),
        (Some("LOGIN"), LoggedInBy::Password),
        (Some("DIGEST-MD5"), LoggedInBy::Password),
        (Some("CRAM-MD5"), LoggedInBy::Password),
        (Some("SCRAM-SHA-1"), LoggedInBy::Password),
        (Some("SCRAM-SHA-256-PLUS"), LoggedInBy::Password),
        (Some("OAUTHBEARER"), LoggedInBy::Token),
        (Some("X-OAUTH2"), LoggedInBy::Token),
        (Some("HT-SHA-256-NONE"), LoggedInBy::Token),
        (Some("ANONYMOUS"), LoggedInBy::Token),
        (Some("EXTERNAL"), LoggedInBy::Token),
        (Some("plain"), LoggedInBy::Token),
        (Some("X-PLAIN"), LoggedInBy::Token),
        (Some(""), LoggedInBy::Token),
        (None, LoggedInBy::Token),
    ] {
        assert_eq!(
            LoggedInBy::by_mechanism(mechanism),
            expected,
            "{mechanism:?}"
        );
    }
}

#[test]
fn what_is_remembered_beside_the_list_can_refuse_an_append() {
    let cert = cert_naming(&["h@a.lit"]);
    for (revoked_for, are_too_many, expected) in [
        (vec![], false, None),
        (vec!["one"], false, Some(Denial::KeyRevoked)),
        (vec!["zero", "one"], false, Some(Denial::KeyRevoked)),
        (vec!["zero"], false, None),
        (vec![], true, Some(Denial::TooManyMarks)),
    ] {
        let revoked_for = revoked_for.into_iter();
        let marks = Marks {
            revoked_for: revoked_for.map(incarnation).collect(),
            are_too_many,
            is_anothers: false,
        };
        let list = AccountList::default();
        let policy = HostPolicy::default();
        let got = append_beside(&marks, (&cert, "x", &PASSWORD), &list, &policy, NOW);
        assert_eq!(got.err(), expected, "{marks:?}");
    }
}

#[test]
fn a_revocation_takes_every_certificate_with_that_key() {
    let first = enrolled(&cert_naming(&["h@a.lit"]), "h@a.lit");
    let renewed = Enrolment {
        name: CertificateName::parse("renewed").unwrap(),
        fingerprint: other_cert().fingerprint,
        ..first.clone()
    };
    let other = Enrolment {
        name: CertificateName::parse("other").unwrap(),
        ..enrolled(&other_cert(), "h@a.lit")
    };
    let (key, other_key) = (first.key_id, other.key_id);
    let mark = |of: &Enrolment, name: &str| Disabled {
        incarnation: of.incarnation.clone(),
        name: CertificateName::parse(name).unwrap(),
        fingerprint: of.fingerprint,
        key_id: of.key_id,
        not_after: of.not_after,
    };
    let marks = [mark(&other, "lost"), mark(&other, "phone")];
    let list = holding(&[first, renewed, other]);
    let scope = Scope::Of(Some(incarnation("one")));
    let policy = HostPolicy::default();
    let try_revoke = |scope: &Scope, which: Which<'_>| {
        revoke(&revoking(&PASSWORD, scope, which), &list, &marks, &policy)
    };
    for (which, key, removed, cleared) in [
        (Which::Named("renewed"), key, vec!["renewed", "phone"], 0),
        (Which::WithKey(key), key, vec!["phone", "renewed"], 0),
        // Disabled before: its sessions may live on, and its key may stand in the list again.
        (Which::Named("lost"), other_key, vec!["other"], 2),
        (Which::WithKey(other_key), other_key, vec!["other"], 2),
    ] {
        let got = try_revoke(&scope, which).unwrap();
        let names: Vec<&str> = got.removed.iter().map(|held| held.name.as_str()).collect();
        assert_eq!(names, removed, "{which:?}");
        assert_eq!(got.keys, [(key, incarnation("one"))], "{which:?}");
        assert_eq!(got.cleared.len(), cleared, "{which:?}");
    }
    // Each record of the name goes: a decoy in the place of the first must not save it.
    let both = try_revoke(&scope, Which::Named("phone")).unwrap();
    assert_eq!(
        both.keys,
        [(key, incarnation("one")), (other_key, incarnation("one"))]
    );
    assert_eq!((both.removed.len(), both.cleared.len()), (3, 2));
    let gone = disable(&PASSWORD, &scope, "phone", &list, &HostPolicy::default()).unwrap();
    assert_eq!(gone, [&list.enrolments[0]]);
    let later = Scope::Of(Some(incarnation("two")));
    for (scope, which) in [
        (&scope, Which::Named("nobody")),
        (&scope, Which::Named("")),
        (&scope, Which::Named("\u{0}")),
        (&scope, Which::WithKey(KeyId::from_bytes([9; 32]))),
        (&later, Which::Named("phone")),
        (&later, Which::Named("lost")),
        (&later, Which::WithKey(key)),
    ] {
        let got = try_revoke(scope, which);
        assert_eq!(got.err(), Some(Denial::NameUnknown), "{which:?}");
    }
}

#[test]
fn a_revocation_of_all_others_takes_every_key_but_one_s_own() {
    let own = Enrolment {
        order: 2,
        ..enrolled(&cert_naming(&["h@a.lit"]), "h@a.lit")
    };
    let named = |name: &str, held: &Enrolment, order| Enrolment {
        name: CertificateName::parse(name).unwrap(),
        order,
        ..held.clone()
    };
    let own_again = named("renewed", &own, 3);
    let tablet = named("tablet", &enrolled(&other_cert(), "h@a.lit"), 1);
    let tablet_again = named("tablet, renewed", &tablet, 4);
    let laptop = Enrolment {
        key_id: KeyId::from_bytes([7; 32]),
        fingerprint: Fingerprint::of(b"laptop"),
        ..named("laptop", &own, 5)
    };
    let mark = |name: &str, of: &Enrolment, key_id| Disabled {
        incarnation: of.incarnation.clone(),
        name: CertificateName::parse(name).unwrap(),
        fingerprint: of.fingerprint,
        key_id,
        not_after: of.not_after,
    };
    let lost_key = KeyId::from_bytes([8; 32]);
    let lost = mark("lost", &own, lost_key);
    let marks = [
        lost.clone(),
        mark("an older own one", &own, own.key_id),
        mark("tablet of before", &own, tablet.key_id),
    ];
    let scope = Scope::Of(Some(incarnation("one")));
    let list_of = |held: &[&Enrolment]| {
        let held: Vec<Enrolment> = held.iter().map(|one| (*one).clone()).collect();
        holding(&held)
    };
    for (held, marks, shown, names, keys) in [
        // The names come in the list's order, not in that of the records.
        (
            list_of(&[&laptop, &own_again, &tablet_again, &tablet, &own]),
            &marks[..],
            vec!["tablet", "laptop", "lost"],
            vec!["tablet", "tablet, renewed", "laptop", "lost"],
            vec![tablet.key_id, laptop.key_id, lost_key],
        ),
        (
            list_of(&[&own]),
            &marks[..1],
            vec!["lost"],
            vec!["lost"],
            vec![lost_key],
        ),
        (
            list_of(&[&own, &own_again]),
            &marks[1..2],
            vec![],
            vec![],
            vec![],
        ),
        (list_of(&[]), &[][..], vec![], vec![], vec![]),
    ] {
        let usual = HostPolicy::default();
        let listed = list(&PASSWORD, &scope, &held, &usual).unwrap();
        let before = others(&listed, &disabled(&scope, &held, marks), own.key_id);
        let before: Vec<&str> = before.iter().map(|name| name.as_str()).collect();
        assert_eq!(before, shown);
        let which = Which::AllBut(own.key_id);
        let got = revoke(&revoking(&PASSWORD, &scope, which), &held, marks, &usual);
        if keys.is_empty() {
            assert_eq!(got.err(), Some(Denial::NameUnknown));
            continue;
        }
        let got = got.unwrap();
        let told: Vec<&str> = got.names().iter().map(|name| name.as_str()).collect();
        assert_eq!(told, names);
        let mut gone: Vec<KeyId> = got.keys.iter().map(|(key_id, _)| *key_id).collect();
        let mut wanted = keys;
        gone.sort();
        wanted.sort();
        assert_eq!(gone, wanted);
        assert!(got.removed.iter().all(|held| held.key_id != own.key_id));
        // Of its own key nothing is forgotten.
        assert!(got.cleared.iter().all(|mark| mark.key_id != own.key_id));
    }
    // By whom nothing may be revoked, all may not be.
    let restricted = Enrolment {
        may_manage: false,
        ..own.clone()
    };
    let held = list_of(&[&restricted, &laptop]);
    let asker = by_certificate(&cert_naming(&["h@a.lit"]));
    let which = Which::AllBut(own.key_id);
    let refused = revoke(
        &revoking(&asker, &scope, which),
        &held,
        &[],
        &HostPolicy::default(),
    );
    assert_eq!(refused.err(), Some(Denial::ManagementForbidden));
}

#[test]
fn what_is_long_expired_or_orphaned_goes_by_itself() {
    let held = enrolled(&other_cert(), "h@a.lit");
    let long_ago = NOW.plus(-EXPIRED_STAYS_SECONDS - 1);
    for (not_after, present, since, goes) in [
        (NOW, "one", long_ago, false),
        (NOW.plus(-EXPIRED_STAYS_SECONDS), "one", long_ago, false),
        (long_ago, "one", NOW, true),
        (NOW, "two", NOW, false),
        (NOW, "two", long_ago, true),
    ] {
        let mut list = holding(&[Enrolment {
            not_after,
            ..held.clone()
        }]);
        list.incarnation = Some((incarnation(present), since));
        assert_eq!(
            !stale(&list, NOW).is_empty(),
            goes,
            "{not_after:?} {present}"
        );
    }
}

#[test]
fn what_expires_soon_has_not_expired_yet() {
    let mut held = enrolled(&other_cert(), "h@a.lit");
    for (left, soon) in [
        (-1, false),
        (0, true),
        (30 * SECONDS_PER_DAY - 1, true),
        (30 * SECONDS_PER_DAY, false),
    ] {
        held.not_after = NOW.plus(left);
        assert_eq!(expires_within(&held, 30, NOW), soon, "{left}");
    }
}

#[test]
fn who_looks_at_the_coming_days_misses_nothing_that_expires_soon() {
    let mut held = enrolled(&other_cert(), "h@a.lit");
    held.added_at = NOW.plus(-1000 * SECONDS_PER_DAY);
    let days = [1, 30, 7];
    let coming = coming_days(30, NOW);
    let step = SECONDS_PER_DAY / 4;
    for left in (-60 * 4..60 * 4).map(|steps| steps * step) {
        held.not_after = NOW.plus(left);
        let hears = notice_since(&held, &days, NOW).is_some();
        let is_soon = expires_within(&held, 30, NOW);
        assert!(
            coming.contains(&held.not_after) || !(hears || is_soon),
            "{left}"
        );
    }
    assert_eq!(
        (coming.start(), coming.end()),
        (&NOW, &NOW.plus(30 * SECONDS_PER_DAY))
    );
}

#[test]
fn a_host_gives_notices_of_what_is_in_its_lists_if_it_names_a_day() {
    let files = CaFiles {
        authorities: "/ca.pem".into(),
        lists: None,
        accept_expired_lists: true,
    };
    for (trust, expiry_notice_days, expected) in [
        (Trust::Enrolled, vec![7], true),
        (Trust::Enrolled, vec![], false),
        (Trust::EnrolledOrCa(files.clone()), vec![7], true),
        (Trust::Ca(files), vec![7], false),
    ] {
        let policy = HostPolicy {
            trust,
            expiry_notice_days,
            ..HostPolicy::default()
        };
        assert_eq!(gives_notices(&policy), expected, "{:?}", policy.trust);
    }
}

#[test]
fn notice_is_given_at_each_of_the_days_before_it_expires() {
    let mut held = enrolled(&other_cert(), "h@a.lit");
    held.not_after = NOW.plus(100 * SECONDS_PER_DAY);
    let at = |days: i64| held.not_after.plus(-days * SECONDS_PER_DAY);
    let since = |now| notice_since(&held, &[7, 30, 1], now);
    assert_eq!(since(at(30).plus(-1)), None);
    assert_eq!(since(at(30)), Some(at(30)));
    assert_eq!(since(at(7).plus(-1)), Some(at(30)));
    assert_eq!(since(at(7)), Some(at(7)));
    assert_eq!(since(held.not_after), Some(at(1)));
    assert_eq!(since(held.not_after.plus(1)), None);
    assert_eq!(notice_since(&held, &[], at(1)), None);
    // Added when it had 20 days left.
    let late = Enrolment {
        added_at: at(20),
        ..held.clone()
    };
    assert_eq!(notice_since(&late, &[7, 30, 1], at(10)), None);
    assert_eq!(notice_since(&late, &[7, 30, 1], at(5)), Some(at(7)));
}

#[test]
fn an_account_without_incarnation_has_no_certificates() {
    let policy = HostPolicy::default();
    let list = holding(&[enrolled(&other_cert(), "h@a.lit")]);
    let got = super::list(&PASSWORD, &Scope::Of(None), &list, &policy);
    assert_eq!(got, Ok(vec![]));
    let got = super::list(&PASSWORD, &Scope::Every, &list, &policy);
    assert_eq!(got.map(|all| all.len()), Ok(1));
}

#[test]
fn the_certificate_of_the_connection_is_added_only_by_who_has_not_logged_in_with_it() {
    let key = KeyId::from_bytes([7; 32]);
    for (own, presented, expected) in [
        (None, Some("MIIB"), Ok("MIIB")),
        (None, None, Err(Denial::NonePresented)),
        (Some(&key), Some("MIIB"), Err(Denial::NonePresented)),
        (Some(&key), None, Err(Denial::NonePresented)),
    ] {
        assert_eq!(presented_to_add(own, presented), expected);
    }
}
