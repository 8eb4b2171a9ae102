//! The tables of the rules for links.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::identity::{Enrolment, Fingerprint, Jid, KeyId, LinkHash};
use crate::policy::fixtures::{NOW, account, cert_naming, enrolled, incarnation, other_cert};
use crate::policy::host::{CaFiles, ManageWith, Trust};

const DAY: i64 = 24 * 3600;

fn asker(by: LoggedInBy) -> Asker {
    Asker {
        secure: true,
        by,
        jid: None,
    }
}

fn policy(links: Links) -> HostPolicy {
    HostPolicy {
        links,
        ..HostPolicy::default()
    }
}

fn certificate() -> LoggedInBy {
    LoggedInBy::Certificate {
        fingerprint: other_cert().fingerprint,
    }
}

fn link(kind: LinkKind) -> Link {
    Link {
        hash: LinkHash::from_bytes([7; 32]),
        account: account("h@a.lit"),
        incarnation: incarnation("one"),
        kind,
        name: CertificateName::parse("tablet").ok(),
        created: NOW,
        maker: LinkMaker::Admin,
        by: "an administrator of the server".to_owned(),
        expires: NOW.plus(DAY),
        uses: 1,
    }
}

fn own_link(maker: LinkMaker) -> Link {
    Link {
        maker,
        ..link(LinkKind::Add)
    }
}

fn by_password() -> LinkMaker {
    LinkMaker::Password { jid: None }
}

fn holding(enrolments: Vec<Enrolment>) -> AccountList {
    AccountList {
        enrolments,
        incarnation: None,
    }
}

#[test]
fn who_may_make_which_link() {
    use LinkKind::{Add, New, Replace};
    let admin = LoggedInBy::Admin;
    let password = LoggedInBy::Password;
    for (links, by, kind, expected) in [
        (Links::Off, &admin, Add, Some(Denial::LinksOff)),
        (Links::Off, &password, Add, Some(Denial::LinksOff)),
        (Links::Admin, &admin, Add, None),
        (Links::Admin, &admin, New, None),
        (Links::Admin, &admin, Replace, None),
        (Links::Admin, &password, Add, Some(Denial::LinkForbidden)),
        (
            Links::Admin,
            &certificate(),
            Add,
            Some(Denial::LinkForbidden),
        ),
        (Links::Own, &admin, Replace, None),
        (Links::Own, &password, Add, None),
        (Links::Own, &certificate(), Add, None),
        (Links::Own, &password, New, Some(Denial::LinkForbidden)),
        (Links::Own, &password, Replace, Some(Denial::LinkForbidden)),
        (
            Links::Own,
            &certificate(),
            Replace,
            Some(Denial::LinkForbidden),
        ),
    ] {
        let wish = Wish {
            kind,
            name: None,
            seconds: None,
            uses: None,
        };
        let made = make(&wish, &asker(by.clone()), &policy(links), NOW);
        assert_eq!(
            made.as_ref().err(),
            expected.as_ref(),
            "{links:?} {by:?} {kind:?}"
        );
        if let Ok(terms) = made {
            assert_eq!(
                (terms.expires, terms.uses, terms.name),
                (NOW.plus(DAY), 1, None)
            );
        }
    }
}

#[test]
fn a_link_lives_so_long_and_is_used_so_often() {
    use LinkKind::{Add, New, Replace};
    const MONTH: u64 = 30 * 24 * 3600;
    for (is_admin, kind, seconds, uses, is_allowed) in [
        (true, Add, 60, 1, true),
        (true, Add, 59, 1, false),
        (true, Add, 0, 1, false),
        (true, Add, MONTH, 100, true),
        (true, Add, MONTH + 1, 1, false),
        (true, Add, u64::MAX, 1, false),
        (true, Add, 3600, 0, false),
        (true, Add, 3600, 101, false),
        (true, Add, 3600, u32::MAX, false),
        (true, New, MONTH, 1, true),
        (true, New, 3600, 2, false),
        (true, Replace, 3600, 1, true),
        (true, Replace, 3600, 2, false),
        (false, Add, 24 * 3600, 1, true),
        (false, Add, 24 * 3600 + 1, 1, false),
        (false, Add, 3600, 2, false),
    ] {
        let by = if is_admin {
            LoggedInBy::Admin
        } else {
            LoggedInBy::Password
        };
        let wish = Wish {
            kind,
            name: Some(" my tablet "),
            seconds: Some(seconds),
            uses: Some(uses),
        };
        let made = make(&wish, &asker(by), &policy(Links::Own), NOW);
        let case = format!("{is_admin} {kind:?} {seconds} {uses}");
        match made {
            Ok(terms) => {
                assert!(is_allowed, "{case}");
                let expires = NOW.plus(i64::try_from(seconds).unwrap());
                assert_eq!((terms.expires, u32::from(terms.uses)), (expires, uses));
                assert_eq!(terms.name.unwrap().as_str(), "my tablet");
            }
            Err(denial) => assert_eq!((denial, is_allowed), (Denial::LinkTerms, false), "{case}"),
        }
    }
}

#[test]
fn a_link_needs_a_list_and_a_name_that_can_be_one() {
    let wish = |name| Wish {
        kind: LinkKind::Add,
        name,
        seconds: None,
        uses: None,
    };
    let admin = asker(LoggedInBy::Admin);
    let files = CaFiles {
        authorities: "/ca.pem".into(),
        lists: None,
        accept_expired_lists: true,
    };
    let authorities = HostPolicy {
        trust: Trust::Ca(files),
        ..HostPolicy::default()
    };
    let usual = HostPolicy::default();
    let refused = |name, policy| make(&wish(name), &admin, policy, NOW).err();
    assert_eq!(refused(None, &authorities), Some(Denial::NoList));
    for name in ["", "a\nb"] {
        let found = refused(Some(name), &usual);
        assert_eq!(found, Some(Denial::NameInvalid), "{name:?}");
    }
}

#[test]
fn only_so_many_links_wait() {
    for (of_account, of_host, expected) in [
        (0, 0, Ok(())),
        (MAX_OF_ACCOUNT - 1, MAX_OF_HOST - 1, Ok(())),
        (MAX_OF_ACCOUNT, 20, Err(Denial::TooManyLinks)),
        (0, MAX_OF_HOST, Err(Denial::TooManyLinks)),
    ] {
        assert_eq!(
            require_room(of_account, of_host),
            expected,
            "{of_account} {of_host}"
        );
    }
}

#[test]
fn whatever_cannot_be_redeemed_is_one_and_the_same() {
    let admins = link(LinkKind::Add);
    let own = own_link(by_password());
    let used = Link {
        uses: 0,
        ..admins.clone()
    };
    let (before, at) = (NOW.plus(DAY - 1), NOW.plus(DAY));
    for (link, links, now, is_usable) in [
        (Some(&admins), Links::Admin, NOW, true),
        (Some(&admins), Links::Admin, before, true),
        (Some(&admins), Links::Admin, at, false),
        (Some(&admins), Links::Own, NOW, true),
        (Some(&admins), Links::Off, NOW, false),
        (Some(&own), Links::Own, NOW, true),
        (Some(&own), Links::Own, at, false),
        (Some(&own), Links::Admin, NOW, false),
        (Some(&own), Links::Off, NOW, false),
        (Some(&used), Links::Own, NOW, false),
        (None, Links::Own, NOW, false),
    ] {
        let found = usable(link, &policy(links), now);
        let expected = link.filter(|_| is_usable).ok_or(Denial::LinkUnknown);
        assert_eq!(found, expected, "{link:?} {links:?} {now:?}");
    }
}

#[test]
fn a_link_is_for_one_account_of_the_name() {
    use LinkKind::{Add, New, Replace};
    let present = |id: &str, enabled| {
        Some(Present {
            incarnation: Some(incarnation(id)),
            enabled,
        })
    };
    let unmarked = || {
        Some(Present {
            incarnation: None,
            enabled: true,
        })
    };
    for (kind, now_there, expected) in [
        (Add, present("one", true), Ok(())),
        (Add, present("one", false), Err(Denial::AccountDisabled)),
        (Add, present("two", true), Err(Denial::LinkUnknown)),
        (Add, present("two", false), Err(Denial::LinkUnknown)),
        (Add, unmarked(), Err(Denial::LinkUnknown)),
        (Add, None, Err(Denial::LinkUnknown)),
        (Replace, present("one", true), Ok(())),
        (Replace, present("one", false), Err(Denial::AccountDisabled)),
        (Replace, present("two", true), Err(Denial::LinkUnknown)),
        (Replace, None, Err(Denial::LinkUnknown)),
        (New, None, Ok(())),
        // It has made it before, and was interrupted.
        (New, present("one", true), Ok(())),
        (New, present("one", false), Err(Denial::AccountDisabled)),
        (New, present("two", true), Err(Denial::AccountExists)),
        (New, present("two", false), Err(Denial::AccountExists)),
        (New, unmarked(), Err(Denial::AccountExists)),
    ] {
        let found = require_account(&link(kind), now_there.as_ref());
        assert_eq!(found, expected, "{kind:?} {now_there:?}");
    }
}

/// `link` is redeemed with the usual certificate.
fn redeemed(
    link: &Link,
    name: Option<&str>,
    list: &AccountList,
    marks: Marks,
) -> Result<Redeemed, Denial> {
    let cert = Arc::new(cert_naming(&["h@a.lit"]));
    let wish = Redeeming {
        link,
        name,
        cert: &cert,
        secure: true,
    };
    redeem(&wish, list, &[], marks, (&policy(Links::Own), NOW))
}

#[test]
fn a_link_that_adds_leaves_the_others_alone() {
    let list = holding(vec![enrolled(&other_cert(), "h@a.lit")]);
    for (uses, left) in [(1, None), (3, Some(2))] {
        let link = Link {
            uses,
            ..link(LinkKind::Add)
        };
        let found = redeemed(&link, Some("watch"), &list, Marks::default()).unwrap();
        assert_eq!(found.left.map(|left| left.uses), left);
        assert_eq!(found.revoked, None);
        let held = found.appended.enrolment;
        assert_eq!((held.name.as_str(), held.may_manage), ("watch", true));
        assert_eq!(held.fingerprint, cert_naming(&[]).fingerprint);
        assert!(found.appended.leaving.is_empty());
    }
}

#[test]
fn a_link_that_replaces_revokes_all_others_and_takes_none_of_their_keys() {
    let other = Enrolment {
        name: CertificateName::parse("laptop").unwrap(),
        key_id: KeyId::from_bytes([3; 32]),
        fingerprint: Fingerprint::from_bytes([3; 32]),
        ..enrolled(&other_cert(), "h@a.lit")
    };
    let of_another_account = Enrolment {
        incarnation: incarnation("two"),
        name: CertificateName::parse("former").unwrap(),
        key_id: KeyId::from_bytes([4; 32]),
        fingerprint: Fingerprint::from_bytes([4; 32]),
        ..other.clone()
    };
    let list = holding(vec![
        enrolled(&other_cert(), "h@a.lit"),
        other,
        of_another_account,
    ]);
    // The name of one that goes is free.
    let found = redeemed(
        &link(LinkKind::Replace),
        Some("phone"),
        &list,
        Marks::default(),
    );
    let found = found.unwrap();
    let revoked = found.revoked.unwrap();
    let names: Vec<&str> = revoked
        .names()
        .into_iter()
        .map(CertificateName::as_str)
        .collect();
    assert_eq!((names, revoked.keys.len()), (vec!["phone", "laptop"], 2));
    assert_eq!(found.appended.enrolment.name.as_str(), "phone");
    assert_eq!(found.left, None);

    // The lost phone may not come back by the link.
    let list = holding(vec![enrolled(&cert_naming(&["h@a.lit"]), "h@a.lit")]);
    let refused = redeemed(&link(LinkKind::Replace), None, &list, Marks::default());
    assert_eq!(refused.err(), Some(Denial::KeyRevoked));

    let nothing = AccountList::default();
    let found = redeemed(&link(LinkKind::Replace), None, &nothing, Marks::default());
    assert_eq!(found.unwrap().revoked, None);
}

#[test]
fn whoever_has_the_lost_device_can_not_fill_up_the_way_back() {
    let list = holding(vec![enrolled(&other_cert(), "h@a.lit")]);
    let too_many = Marks {
        are_too_many: true,
        ..Marks::default()
    };
    let found = redeemed(&link(LinkKind::Replace), None, &list, too_many).unwrap();
    assert_eq!(found.revoked.map(|revoked| revoked.keys.len()), Some(1));
}

#[test]
fn nothing_is_redeemed_where_others_read_along() {
    let cert = Arc::new(cert_naming(&["h@a.lit"]));
    for kind in [LinkKind::Add, LinkKind::New, LinkKind::Replace] {
        let wish = Redeeming {
            link: &link(kind),
            name: None,
            cert: &cert,
            secure: false,
        };
        let (list, marks) = (AccountList::default(), Marks::default());
        let refused = redeem(&wish, &list, &[], marks, (&policy(Links::Own), NOW));
        assert_eq!(refused.err(), Some(Denial::StreamNotSecure));
    }
}

/// One link of each that another has: made by whom, for which account of the name, until when.
fn links_of_all() -> [Link; 5] {
    let hash = |byte| LinkHash::from_bytes([byte; 32]);
    let own = |byte, created| Link {
        hash: hash(byte),
        created,
        ..own_link(by_password())
    };
    let by_device = LinkMaker::Certificate {
        fingerprint: other_cert().fingerprint,
        jid: None,
    };
    [
        Link {
            maker: by_device,
            ..own(1, NOW)
        },
        own(2, NOW.plus(-5)),
        Link {
            incarnation: incarnation("two"),
            ..own(3, NOW)
        },
        Link {
            expires: NOW,
            ..own(4, NOW)
        },
        Link {
            hash: hash(5),
            ..link(LinkKind::Replace)
        },
    ]
}

#[test]
fn a_user_sees_the_links_that_the_accounts_own_sessions_have_made_and_no_others() {
    let links = links_of_all();
    let one = Scope::Of(Some(incarnation("one")));
    let dumb = asker(LoggedInBy::Token);
    for option in [Links::Own, Links::Admin, Links::Off] {
        let seen = own(&dumb, &one, &links, (&policy(option), NOW)).unwrap();
        assert_eq!(seen, [&links[1], &links[0]], "{option:?}");
    }
    let unmarked = Scope::Of(None);
    let seen = own(&dumb, &unmarked, &links, (&policy(Links::Own), NOW));
    assert_eq!(seen, Ok(Vec::new()));
    let insecure = Asker {
        secure: false,
        ..dumb
    };
    let refused = own(&insecure, &one, &links, (&policy(Links::Own), NOW));
    assert_eq!(refused, Err(Denial::StreamNotSecure));
}

#[test]
fn a_user_takes_back_one_or_all_of_them_and_whatever_else_is_no_link() {
    let links = links_of_all();
    let list = holding(vec![enrolled(&other_cert(), "h@a.lit")]);
    let scope = Scope::Of(Some(incarnation("one")));
    let ids = links.each_ref().map(|link| TakenBack::One(link.hash.id()));
    let [by_device, earlier, of_another, over, admins] = ids;
    let nowhere = TakenBack::One(LinkHash::from_bytes([9; 32]).id());
    let stranger = LoggedInBy::Certificate {
        fingerprint: Fingerprint::from_bytes([9; 32]),
    };
    let password = LoggedInBy::Password;
    for (by, which, expected) in [
        (&password, TakenBack::All, Ok(vec![&links[1], &links[0]])),
        (&password, by_device, Ok(vec![&links[0]])),
        (&certificate(), earlier, Ok(vec![&links[1]])),
        (&LoggedInBy::Token, earlier, Ok(vec![&links[1]])),
        (&password, of_another, Err(Denial::LinkMissing)),
        (&password, over, Err(Denial::LinkMissing)),
        (&password, admins, Err(Denial::LinkMissing)),
        (&password, nowhere, Err(Denial::LinkMissing)),
        // Who may not is told that, whether there is such a link or not.
        (&stranger, by_device, Err(Denial::ManagementForbidden)),
        (&stranger, nowhere, Err(Denial::ManagementForbidden)),
    ] {
        for option in [Links::Own, Links::Admin, Links::Off] {
            let asker = asker(by.clone());
            let facts = (&list, &links[..]);
            let found = take_back(which, (&asker, &scope), facts, (&policy(option), NOW));
            assert_eq!(found, expected, "{by:?} {which:?} {option:?}");
        }
    }
}

#[test]
fn the_rules_of_the_list_hold_for_links_too() {
    let revoked = Marks {
        revoked_for: vec![incarnation("one")],
        ..Marks::default()
    };
    let too_many = Marks {
        are_too_many: true,
        ..Marks::default()
    };
    let nothing = AccountList::default();
    let own = holding(vec![enrolled(&cert_naming(&["h@a.lit"]), "h@a.lit")]);
    let add = link(LinkKind::Add);
    for (name, list, marks, expected) in [
        (
            Some("a\u{7}"),
            &nothing,
            Marks::default(),
            Denial::NameInvalid,
        ),
        (None, &nothing, revoked, Denial::KeyRevoked),
        (None, &nothing, too_many, Denial::TooManyMarks),
        (None, &own, Marks::default(), Denial::AlreadyEnrolled),
    ] {
        assert_eq!(redeemed(&add, name, list, marks).err(), Some(expected));
    }
    let foreign = Link {
        account: account("g@a.lit"),
        ..add
    };
    let refused = redeemed(&foreign, None, &nothing, Marks::default());
    assert_eq!(refused.err(), Some(Denial::AddressForeign));
}

/// Who steals a device makes a link with it, and is cut off before it is opened.
#[test]
fn a_link_ends_with_the_right_of_the_certificate_that_made_it() {
    let (device, maker) = (
        enrolled(&other_cert(), "h@a.lit"),
        LinkMaker::Certificate {
            fingerprint: other_cert().fingerprint,
            jid: Jid::parse("h@a.lit/phone").ok(),
        },
    );
    let link = own_link(maker);
    let dumb = Enrolment {
        may_manage: false,
        ..device.clone()
    };
    for (enrolments, is_good) in [
        (vec![device.clone()], true),
        (vec![dumb], false),
        (vec![], false),
    ] {
        let found = redeemed(&link, Some("new"), &holding(enrolments), Marks::default());
        match found {
            Ok(found) => {
                assert!(is_good);
                let by = found.appended.enrolment.added_by;
                assert_eq!(by.certificate, Some(other_cert().fingerprint));
                assert_eq!(by.jid, Jid::parse("h@a.lit/phone").ok());
            }
            Err(denial) => assert_eq!((denial, is_good), (Denial::LinkUnknown, false)),
        }
    }
    let by_passwords = HostPolicy {
        manage_with: ManageWith::Password,
        ..policy(Links::Own)
    };
    let cert = Arc::new(cert_naming(&["h@a.lit"]));
    for (link, is_good) in [(&link, false), (&own_link(by_password()), true)] {
        let wish = Redeeming {
            link,
            name: Some("new"),
            cert: &cert,
            secure: true,
        };
        let list = holding(vec![device.clone()]);
        let found = redeem(&wish, &list, &[], Marks::default(), (&by_passwords, NOW));
        assert_eq!(found.is_ok(), is_good);
    }
}

#[test]
fn a_session_that_may_not_add_makes_no_link() {
    let list = holding(vec![enrolled(&other_cert(), "h@a.lit")]);
    let one = incarnation("one");
    for (by, has_a_maker, may) in [
        (LoggedInBy::Admin, true, true),
        (LoggedInBy::Password, true, true),
        (LoggedInBy::Token, false, false),
        (certificate(), true, true),
        (
            LoggedInBy::Certificate {
                fingerprint: Fingerprint::from_bytes([9; 32]),
            },
            true,
            false,
        ),
    ] {
        let asker = asker(by);
        assert_eq!(maker(&asker).is_some(), has_a_maker, "{asker:?}");
        let found = may_add(&asker, &one, &list, &policy(Links::Own));
        assert_eq!(found.is_ok(), may, "{asker:?}");
    }
    let insecure = Asker {
        secure: false,
        ..asker(LoggedInBy::Password)
    };
    let found = may_add(&insecure, &one, &list, &policy(Links::Own));
    assert_eq!(found, Err(Denial::StreamNotSecure));
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let named = |name: &str, of: &str| Enrolment {
        name: CertificateName::parse(name).unwrap(),
        incarnation: incarnation(of),
        ..enrolled(&other_cert(), "h@a.lit")
    };
    let long = "é".repeat(128);
    let shorter = format!("{} 2", "é".repeat(127));
    for (wanted, taken, expected) in [
        ("Phone", vec![], "Phone"),
        (" Phone ", vec![], "Phone"),
        ("Phone", vec![named("Phone", "one")], "Phone 2"),
        ("Phone", vec![named("phone", "one")], "Phone"),
        (
            "Phone",
            vec![named("Phone", "one"), named("Phone 2", "one")],
            "Phone 3",
        ),
        ("Phone", vec![named("Phone", "two")], "Phone"),
        (&*long, vec![named(&long, "one")], &*shorter),
    ] {
        let found = free_name(wanted, &holding(taken), &incarnation("one")).unwrap();
        assert_eq!(found.as_str(), expected);
    }
    let found = redeemed(
        &link(LinkKind::Add),
        None,
        &AccountList::default(),
        Marks::default(),
    );
    assert_eq!(found.unwrap().appended.enrolment.name.as_str(), "tablet");
    let nameless = Link {
        name: None,
        ..link(LinkKind::Add)
    };
    let found = redeemed(&nameless, None, &AccountList::default(), Marks::default());
    assert_eq!(
        found.unwrap().appended.enrolment.name.as_str(),
        "New device"
    );
}

#[test]
fn links_end_with_what_cuts_off_whoever_may_have_them() {
    let [add, new, replace] = [LinkKind::Add, LinkKind::New, LinkKind::Replace].map(link);
    let own = own_link(by_password());
    let all = [add.clone(), new, replace, own.clone()];
    assert_eq!(
        ended_by(CutOff::OthersGo, &all),
        all.iter().collect::<Vec<_>>()
    );
    assert_eq!(ended_by(CutOff::OtherPassword, &all), [&add, &own]);
    // Those of a certificate end with it, if it is that of the same account.
    let held = enrolled(&other_cert(), "h@a.lit");
    let by_it = own_link(LinkMaker::Certificate {
        fingerprint: held.fingerprint,
        jid: None,
    });
    let of_another = Link {
        incarnation: incarnation("two"),
        ..by_it.clone()
    };
    let links = [add, own, by_it.clone(), of_another];
    let leaving = [enrolled(&cert_naming(&["h@a.lit"]), "h@a.lit"), held];
    assert_eq!(ended_by(CutOff::Leave(&leaving), &links), [&by_it]);
    assert_eq!(
        ended_by(CutOff::Leave(&leaving[..1]), &links),
        [] as [&Link; 0]
    );
}

#[test]
fn a_link_takes_room_while_it_could_be_used_and_none_of_the_accounts_own_from_an_administrators() {
    let held = enrolled(&other_cert(), "h@a.lit");
    let list = holding(vec![held.clone()]);
    let one = held.incarnation.clone();
    let own = own_link(LinkMaker::Certificate {
        fingerprint: held.fingerprint,
        jid: None,
    });
    let (wanted, other) = (policy(Links::Own), incarnation("two"));
    for (link, present, list, policy, expected) in [
        (&own, Some(&one), &list, &wanted, true),
        (&own, None, &list, &wanted, true),
        (&own, Some(&other), &list, &wanted, false),
        (&own, Some(&one), &holding(Vec::new()), &wanted, false),
        (&own, Some(&one), &list, &policy(Links::Admin), false),
        (&link(LinkKind::New), None, &list, &wanted, true),
        (&link(LinkKind::Replace), Some(&one), &list, &wanted, true),
    ] {
        let found = waits(link, present, list, (policy, NOW));
        assert_eq!(found, expected, "{link:?} {present:?} {policy:?}");
        assert!(!waits(link, present, list, (policy, NOW.plus(DAY))));
    }
    let by_admin = link(LinkKind::Replace);
    for (made, other, expected) in [
        (&by_admin, &own, false),
        (&by_admin, &by_admin, true),
        (&own, &by_admin, true),
        (&own, &own_link(by_password()), true),
    ] {
        assert_eq!(counts_for(made, other), expected);
    }
}

#[test]
fn a_page_has_an_address_behind_which_a_secret_may_stand() {
    for (address, is_one) in [
        ("https://a.lit:5281/devices", true),
        ("http://localhost:5280/devices", true),
        ("https://a.lit/devices#x", false),
        ("javascript:alert(1)", false),
        ("https://a.lit/de vices", false),
        ("https://ä.lit/", false),
        ("", false),
    ] {
        assert_eq!(is_page(address), is_one, "{address}");
    }
    assert!(!is_page(&format!("https://a.lit/{}", "x".repeat(1000))));
}
