//! Which lists count, and whose.

use super::der::{List, entry, extension, list_extension, sequence, utc_time, value};
use super::*;

fn read(pem: &str) -> RevocationLists {
    RevocationLists::from_pem(pem.as_bytes()).unwrap()
}

fn problems(lists: &RevocationLists, authorities: &Authorities) -> Vec<Option<&'static str>> {
    let about = lists.about(Some(authorities));
    about.into_iter().map(|list| list.problem).collect()
}

const UNFIT: Option<&str> = Some("its signature fits none of the authorities of that name");

#[test]
fn a_list_of_the_same_name_and_another_key_says_nothing_and_hides_nothing() {
    let (root, impostor) = (Ca::root(|_| {}), Ca::root(|_| {}));
    let trusted = trusting(&[&root]);
    let (stolen, kept) = (root.leaf(20, |_| {}), root.leaf(21, |_| {}));
    let path_of = |leaf: &[u8]| path(leaf, &[], &trusted, None, NOW).unwrap();
    let (stolen_path, kept_path) = (path_of(&stolen), path_of(&kept));
    let genuine = root.list(2, &[20]);
    // Newer; it names the one and not the other.
    let forged = impostor.list(1, &[21]);
    for (pem, are_known) in [
        (genuine.clone() + &forged, vec![UNFIT, None]),
        (forged.clone() + &genuine, vec![UNFIT, None]),
    ] {
        let lists = read(&pem);
        assert!(lists.revoke(&stolen_path) && !lists.revoke(&kept_path));
        let with = Some((pem.as_str(), false));
        assert_eq!(denied(&kept, &[], &trusted, with), None);
        assert_eq!(
            denied(&stolen, &[], &trusted, with),
            Some(Denial::ChainRevoked)
        );
        assert_eq!(problems(&lists, &trusted), are_known);
        assert_eq!(trusted.without_list(&lists).count(), 0);
    }
    // Alone it is no list of that authority at all.
    let lists = read(&forged);
    assert!(!lists.revoke(&stolen_path) && !lists.revoke(&kept_path));
    let with = Some((forged.as_str(), true));
    assert_eq!(denied(&kept, &[], &trusted, with), Some(Denial::CrlMissing));
    assert_eq!(trusted.without_list(&lists).count(), 1);
}

#[test]
fn of_many_lists_some_are_tried_for_one_question_and_the_others_for_the_next() {
    use super::super::lists::MAX_TRIES;

    let root = Ca::root(|_| {});
    let (elsinore, impostor) = (
        root.below(2, named("Elsinore")),
        Ca::root(named("Elsinore")),
    );
    let trusted = trusting(&[&root]);
    let leaf = elsinore.leaf(20, |_| {});
    // All of them newer than the genuine one.
    let forged = impostor.list(1, &[]).repeat(100);
    let lists = read(&(root.list(1, &[]) + &forged + &elsinore.list(2, &[])));
    let ask = || {
        let revocation = Some(Revocation {
            lists: &lists,
            accept_expired: true,
        });
        let presented = Presented {
            leaf: &leaf,
            intermediates: &[elsinore.der.as_slice()],
        };
        let demands = Demands::default();
        let (found, tries) = super::super::path(presented, &trusted, revocation, &demands, NOW);
        (found.err().map(|untrusted| untrusted.denial), tries)
    };
    // Two signatures are those of the chain. That of the root is there for its own list.
    let missing = Some(Denial::CrlMissing);
    assert_eq!(ask(), (missing, 2 + MAX_TRIES));
    assert_eq!(ask(), (None, 2 + 102 - MAX_TRIES));
    assert_eq!(ask(), (None, 2));
}

#[test]
fn an_authority_with_two_keys_has_a_list_of_each() {
    let (old, new) = (Ca::root(|_| {}), Ca::root(|_| {}));
    let trusted = trusting(&[&old, &new]);
    let (by_old, by_new) = (old.leaf(20, |_| {}), new.leaf(20, |_| {}));
    let both = old.list(2, &[20]) + &new.list(1, &[]);
    let with = Some((both.as_str(), false));
    assert_eq!(
        denied(&by_old, &[], &trusted, with),
        Some(Denial::ChainRevoked)
    );
    assert_eq!(denied(&by_new, &[], &trusted, with), None);
    assert_eq!(problems(&read(&both), &trusted), [None, None]);
    // The list of one says nothing about the other.
    let one = new.list(1, &[]);
    let with = Some((one.as_str(), false));
    assert_eq!(
        denied(&by_old, &[], &trusted, with),
        Some(Denial::CrlMissing)
    );
    let without = trusted.without_list(&read(&one)).count();
    assert_eq!(without, 1);
}

#[test]
fn a_new_key_that_the_old_one_vouches_for_signs_lists_of_both() {
    let root = Ca::root(|_| {});
    let old = root.below(2, named("Elsinore"));
    // Elsinore's new key, certified by its old one; and a key for lists only, certified by the root.
    let new = old.below(3, named("Elsinore"));
    let for_lists = root.below(4, |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    let impostor = Ca::root(named("Elsinore"));
    let trusted = trusting(&[&root]);
    let leaf = old.leaf(20, |_| {});
    let missing = Some(Denial::CrlMissing);
    let revoked = Some(Denial::ChainRevoked);
    for (what, signer, serials, expected) in [
        ("renewed", &new, &[][..], None),
        ("renewed, revoked", &new, &[20], revoked),
        ("for lists", &for_lists, &[], None),
        ("for lists, revoked", &for_lists, &[20], revoked),
        ("nobody's", &impostor, &[], missing),
    ] {
        let lists = root.list(1, &[]) + &signer.list(1, serials);
        let shown = [old.der.as_slice(), signer.der.as_slice()];
        let got = denied(&leaf, &shown, &trusted, Some((&lists, false)));
        assert_eq!(got, expected, "{what}");
        if expected == revoked {
            // A session from before the list ends, too.
            let before = root.list(2, &[]) + &signer.list(2, &[]);
            let before = read(&before);
            let revocation = Revocation {
                lists: &before,
                accept_expired: true,
            };
            let found = path(&leaf, &shown, &trusted, Some(revocation), NOW).unwrap();
            assert!(
                read(&lists).revoke(&found) && !before.revoke(&found),
                "{what}"
            );
        }
    }
    // One that the root has taken back signs no lists any more.
    let lists = root.list(1, &[4]) + &for_lists.list(1, &[]);
    let shown = [old.der.as_slice(), for_lists.der.as_slice()];
    let got = denied(&leaf, &shown, &trusted, Some((&lists, false)));
    assert_eq!(got, missing);
}

#[test]
fn what_the_new_key_revokes_is_revoked_while_a_list_of_the_old_one_counts() {
    let root = Ca::root(|_| {});
    let old = root.below(2, named("Elsinore"));
    let new = root.below(3, named("Elsinore"));
    let impostor = Ca::root(named("Elsinore"));
    let trusted = trusting(&[&root]);
    let leaf = old.leaf(20, |_| {});
    let before = root.list(1, &[]) + &old.list(1, &[]);
    for (what, by, serials, expected) in [
        ("named", &new, &[20][..], Some(Denial::ChainRevoked)),
        ("not named", &new, &[21], None),
        ("named by nobody", &impostor, &[20], None),
    ] {
        let now = before.clone() + &by.list(0, serials);
        let shown = [old.der.as_slice(), by.der.as_slice()];
        let got = denied(&leaf, &shown, &trusted, Some((&now, false)));
        assert_eq!(got, expected, "{what}");
        // A session from before ends, or lives on.
        let lists = read(&before);
        let revocation = Revocation {
            lists: &lists,
            accept_expired: false,
        };
        // The new key has no list yet.
        let found = path(&leaf, &shown, &trusted, Some(revocation), NOW).unwrap();
        assert_eq!(read(&now).revoke(&found), expected.is_some(), "{what}");
    }
}

#[test]
fn a_user_of_an_authoritys_name_signs_no_lists() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature};
    let root = Ca::root(|_| {});
    let elsinore = root.below(2, named("Elsinore"));
    let trusted = trusting(&[&root]);
    let leaf = elsinore.leaf(20, |_| {});
    let missing = Some(Denial::CrlMissing);
    for (is_authority, usages, expected) in [
        (false, vec![], missing),
        (false, vec![DigitalSignature], missing),
        (false, vec![CrlSign], None),
        (true, vec![], None),
        (true, vec![DigitalSignature], missing),
    ] {
        let what = format!("{is_authority} {usages:?}");
        let other = root.below(3, |params| {
            params.key_usages = usages;
            if !is_authority {
                params.is_ca = IsCa::NoCa;
            }
        });
        let lists = root.list(1, &[]) + &List::new().signed_by(&other);
        let shown = [elsinore.der.as_slice(), other.der.as_slice()];
        let got = denied(&leaf, &shown, &trusted, Some((&lists, false)));
        assert_eq!(got, expected, "{what}");
    }
}

#[test]
fn who_may_not_sign_lists_has_none() {
    let root = Ca::root(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let trusted = trusting(&[&root]);
    let leaf = root.leaf(20, |_| {});
    // rcgen refuses to make it.
    let list = List::new().signed_by(&root);
    let got = denied(&leaf, &[], &trusted, Some((&list, true)));
    assert_eq!(got, Some(Denial::CrlMissing));
    assert_eq!(
        problems(&read(&list), &trusted),
        [Some(
            "its authority may not sign lists (keyUsage without cRLSign)"
        )]
    );
    assert_eq!(denied(&leaf, &[], &trusted, None), None);
}

#[test]
fn lists_are_refused_for_their_own_reason() {
    let root = Ca::root(|_| {});
    let trusted = trusting(&[&root]);
    let leaf = root.leaf(20, |_| {});
    let unknown = || AuthorityError::UnknownExtension {
        id: "2.5.29.99".to_owned(),
    };
    // Version 1, as `openssl ca -gencrl` makes it without crlnumber.
    let first = List {
        version: None,
        extensions: vec![],
        entries: vec![entry(&[20], &[])],
        ..List::new()
    };
    let pem = first.signed_by(&root);
    let got = denied(&leaf, &[], &trusted, Some((&pem, false)));
    assert_eq!(got, Some(Denial::ChainRevoked));
    let indirect = sequence(&[&value(0x84, &[&[0xff]])]);
    let others = sequence(&[&value(0xa4, &[&root.name()])]);
    let extended = |extension: Vec<u8>| List {
        extensions: vec![extension],
        ..List::new()
    };
    let listing = |extension: Vec<u8>| List {
        entries: vec![entry(&[20], &[extension])],
        ..List::new()
    };
    // Not critical, and each another one.
    let many = |count: u8| (60..60 + count).map(|number| list_extension(number, false, &[5, 0]));
    let too_many = Some(AuthorityError::TooManyExtensions);
    let with_many = |count| List {
        extensions: many(count).collect(),
        ..List::new()
    };
    let listing_many = |count| List {
        entries: vec![entry(&[20], &many(count).collect::<Vec<_>>())],
        ..List::new()
    };
    let twice = List {
        extensions: many(1).chain(many(1)).collect(),
        ..List::new()
    };
    for (list, expected) in [
        (List::new(), None),
        (with_many(64), None),
        (with_many(65), too_many.clone()),
        (listing_many(64), None),
        (listing_many(65), too_many),
        (twice, Some(AuthorityError::NotList)),
        (
            List {
                next_update: None,
                ..List::new()
            },
            Some(AuthorityError::NoNextUpdate),
        ),
        (
            List {
                this_update: utc_time("2601010000Z"),
                ..List::new()
            },
            Some(AuthorityError::Date),
        ),
        (
            List {
                next_update: Some(utc_time("490101000000+0100")),
                ..List::new()
            },
            Some(AuthorityError::Date),
        ),
        (extended(list_extension(99, true, &[5, 0])), Some(unknown())),
        (extended(list_extension(99, false, &[5, 0])), None),
        (
            extended(list_extension(27, true, &[2, 1, 1])),
            Some(AuthorityError::DeltaList),
        ),
        (
            extended(list_extension(28, true, &indirect)),
            Some(AuthorityError::IndirectList),
        ),
        (listing(list_extension(99, true, &[5, 0])), Some(unknown())),
        (
            listing(list_extension(29, true, &others)),
            Some(AuthorityError::IndirectList),
        ),
        // removeFromCRL
        (
            listing(list_extension(21, false, &[10, 1, 8])),
            Some(AuthorityError::DeltaList),
        ),
        (listing(list_extension(21, false, &[10, 1, 1])), None),
        (
            List {
                version: Some(2),
                ..List::new()
            },
            Some(AuthorityError::NotList),
        ),
    ] {
        let pem = list.signed_by(&root);
        let got = RevocationLists::from_pem(pem.as_bytes()).err();
        let expected = expected.map(|problem| PemError::Section { number: 1, problem });
        assert_eq!(got, expected);
        // In plain words, and each in others.
        if let Some(error) = got {
            let words = error.to_string();
            assert!(
                words.contains("revocation list") && !words.contains('{'),
                "{words}"
            );
        }
    }
}

#[test]
fn a_list_speaks_of_what_is_in_its_scope_only() {
    let root = Ca::root(|_| {});
    let between = root.below(2, named("Elsinore"));
    let trusted = trusting(&[&root]);
    let scoped = |parts: &[&[u8]]| List {
        extensions: vec![list_extension(28, true, &sequence(parts))],
        ..List::new()
    };
    let place = |name: &str| value(0xa0, &[&value(0xa0, &[&value(0x86, &[name.as_bytes()])])]);
    let (users, authorities) = (value(0x81, &[&[0xff]]), value(0x82, &[&[0xff]]));
    let attributes = value(0x85, &[&[0xff]]);
    // keyCompromise alone, and all but that.
    let (some, rest) = (value(0x83, &[&[6, 0x40]]), value(0x83, &[&[7, 0x3f, 0x80]]));
    let direct = root.leaf(20, |_| {});
    let point = sequence(&[&place("http://denmark.lit/a")]);
    let points = sequence(&[&point]);
    let pointing = root.leaf(20, |params| {
        params.custom_extensions = vec![extension(31, points)];
    });
    let below = between.leaf(20, |_| {});
    let missing = Some(Denial::CrlMissing);
    let revoked = Some(Denial::ChainRevoked);
    let clean = |parts: &[&[u8]]| scoped(parts).signed_by(&root);
    let listing = |parts: &[&[u8]]| {
        let entries = vec![entry(&[20], &[])];
        List {
            entries,
            ..scoped(parts)
        }
        .signed_by(&root)
    };
    for (what, leaf, lists, expected) in [
        ("of users", &direct, clean(&[&users]), None),
        ("of authorities", &direct, clean(&[&authorities]), missing),
        ("of attributes", &direct, clean(&[&attributes]), missing),
        (
            "of authorities, listed",
            &direct,
            listing(&[&authorities]),
            missing,
        ),
        ("some reasons", &direct, clean(&[&some]), missing),
        (
            "all reasons, in two",
            &direct,
            clean(&[&some]) + &clean(&[&rest]),
            None,
        ),
        (
            "one of two",
            &direct,
            clean(&[&some]) + &listing(&[&rest]),
            revoked,
        ),
        (
            "of its place",
            &pointing,
            clean(&[&place("http://denmark.lit/a")]),
            None,
        ),
        (
            "of another place",
            &pointing,
            clean(&[&place("http://denmark.lit/b")]),
            missing,
        ),
        (
            "of no place of it",
            &direct,
            clean(&[&place("http://denmark.lit/a")]),
            missing,
        ),
        ("whole, of one with a place", &pointing, clean(&[]), None),
        (
            "revoked there",
            &pointing,
            listing(&[&place("http://denmark.lit/a")]),
            revoked,
        ),
        // The authority between is none of the users.
        (
            "users below",
            &below,
            clean(&[&users]) + &List::new().signed_by(&between),
            missing,
        ),
        (
            "authorities below",
            &below,
            clean(&[&authorities]) + &List::new().signed_by(&between),
            None,
        ),
    ] {
        let shown = [between.der.as_slice()];
        let got = denied(leaf, &shown, &trusted, Some((&lists, false)));
        assert_eq!(got, expected, "{what}");
    }
    // It is a list of its own, whatever is newer and about something else.
    let both = clean(&[&users]) + &root.list(1, &[]);
    assert_eq!(read(&both).about(Some(&trusted)).len(), 2);
}

#[test]
fn a_negative_serial_number_is_none_that_lacks_a_zero() {
    let root = Ca::root(|_| {});
    let trusted = trusting(&[&root]);
    let leaf = root.leaf(0xff, |_| {});
    for (serial, expected) in [
        (&[0, 0xff][..], Some(Denial::ChainRevoked)),
        (&[0xff], None),
    ] {
        let list = List {
            entries: vec![entry(serial, &[])],
            ..List::new()
        };
        let pem = list.signed_by(&root);
        let got = denied(&leaf, &[], &trusted, Some((&pem, false)));
        assert_eq!(got, expected, "{serial:?}");
    }
}
