//! RFC 5280 6.1, rule by rule.

use rcgen::CustomExtension;

use super::der::{extension, sequence, value};
use super::*;
use crate::identity::issued::PolicyId;

fn with(extensions: Vec<CustomExtension>) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.custom_extensions = extensions
}

/// The content of a policy's identifier; 0 is any.
fn policy_id(number: u8) -> Vec<u8> {
    match number {
        0 => vec![0x55, 0x1d, 0x20, 0x00],
        number => vec![0x2b, 0x06, 0x01, 0x04, 0x01, number],
    }
}

/// Critical, as some authorities mark them.
fn policies(numbers: &[u8]) -> CustomExtension {
    let one = |number: &u8| sequence(&[&value(0x06, &[&policy_id(*number)])]);
    let all: Vec<u8> = numbers.iter().flat_map(one).collect();
    extension(32, sequence(&[&all]))
}

fn mappings(pairs: &[(u8, u8)]) -> CustomExtension {
    let one = |(from, to): &(u8, u8)| {
        let id = |number: u8| value(0x06, &[&policy_id(number)]);
        sequence(&[&id(*from), &id(*to)])
    };
    let all: Vec<u8> = pairs.iter().flat_map(one).collect();
    extension(33, sequence(&[&all]))
}

/// requireExplicitPolicy after so many certificates.
fn require_policy(after: u8) -> CustomExtension {
    extension(36, sequence(&[&value(0x80, &[&[after]])]))
}

fn inhibit_mapping(after: u8) -> CustomExtension {
    extension(36, sequence(&[&value(0x81, &[&[after]])]))
}

fn inhibit_any(after: u8) -> CustomExtension {
    extension(54, value(0x02, &[&[after]]))
}

/// Is a leaf below `cas` let in, the first of which is the anchor?
fn is_valid(cas: &[&Ca], leaf: &[u8], demands: &Demands) -> bool {
    let trusted = trusting(&cas[..1]);
    let shown: Vec<&[u8]> = cas[1..].iter().map(|ca| ca.der.as_slice()).collect();
    let presented = Presented {
        leaf,
        intermediates: &shown,
    };
    let (found, _) = crate::policy::chain::path(presented, &trusted, None, demands, NOW);
    found.is_ok() && crate::identity::ClientCert::from_der(leaf).is_ok()
}

#[test]
fn a_policy_that_an_authority_demands_must_be_there() {
    let none = Demands::default();
    for (what, root, between, leaf, expected) in [
        ("nothing demanded", vec![], vec![], vec![], true),
        (
            "policies nobody demands",
            vec![],
            vec![policies(&[1])],
            vec![policies(&[2])],
            true,
        ),
        ("none", vec![], vec![require_policy(0)], vec![], false),
        (
            "none yet demanded",
            vec![],
            vec![require_policy(5)],
            vec![],
            true,
        ),
        (
            "demanded by the anchor",
            vec![require_policy(0)],
            vec![],
            vec![],
            false,
        ),
        (
            "demanded by the leaf",
            vec![],
            vec![],
            vec![require_policy(0)],
            false,
        ),
        (
            "the same",
            vec![],
            vec![require_policy(0), policies(&[1])],
            vec![policies(&[1])],
            true,
        ),
        (
            "another",
            vec![],
            vec![require_policy(0), policies(&[1])],
            vec![policies(&[2])],
            false,
        ),
        (
            "any",
            vec![],
            vec![require_policy(0), policies(&[0])],
            vec![policies(&[2])],
            true,
        ),
        (
            "any that does not count",
            vec![inhibit_any(0), require_policy(0)],
            vec![policies(&[0])],
            vec![policies(&[2])],
            false,
        ),
        (
            "any that does not count below",
            vec![inhibit_any(1), require_policy(0)],
            vec![policies(&[0])],
            vec![policies(&[0])],
            false,
        ),
        (
            "mapped",
            vec![require_policy(0)],
            vec![policies(&[1]), mappings(&[(1, 2)])],
            vec![policies(&[2])],
            true,
        ),
        (
            "mapped, and the old one shown",
            vec![require_policy(0)],
            vec![policies(&[1]), mappings(&[(1, 2)])],
            vec![policies(&[1])],
            false,
        ),
        (
            "mapped where that is inhibited",
            vec![inhibit_mapping(0)],
            vec![policies(&[1]), mappings(&[(1, 2)])],
            vec![policies(&[2]), require_policy(0)],
            false,
        ),
        (
            "any is mapped",
            vec![],
            vec![policies(&[0]), mappings(&[(0, 2)])],
            vec![policies(&[2])],
            false,
        ),
    ] {
        let root = Ca::root(with(root));
        let between = root.below(2, with(between));
        let leaf = between.leaf(20, with(leaf));
        assert_eq!(
            is_valid(&[&root, &between], &leaf, &none),
            expected,
            "{what}"
        );
    }
}

#[test]
fn what_is_demanded_beside_counts_as_if_the_anchor_demanded_it() {
    let root = Ca::root(|_| {});
    let between = root.below(2, with(vec![policies(&[1]), mappings(&[(1, 2)])]));
    let leaf = between.leaf(20, with(vec![policies(&[2])]));
    let id = |number| PolicyId::from_bytes(&policy_id(number));
    let demanding = |policies: Option<Vec<PolicyId>>| Demands {
        policies,
        require_policy: true,
        ..Demands::default()
    };
    for (demands, expected) in [
        (demanding(None), true),
        (demanding(Some(vec![id(1)])), true),
        (demanding(Some(vec![id(2)])), false),
        (
            Demands {
                inhibit_mapping: true,
                ..demanding(None)
            },
            false,
        ),
    ] {
        assert_eq!(
            is_valid(&[&root, &between], &leaf, &demands),
            expected,
            "{demands:?}"
        );
    }
    let anything = between.leaf(20, with(vec![policies(&[0])]));
    assert!(is_valid(&[&root, &between], &anything, &demanding(None)));
    let inhibited = Demands {
        inhibit_any: true,
        ..demanding(None)
    };
    assert!(!is_valid(&[&root, &between], &anything, &inhibited));
}

/// A tree of names: permitted or excluded.
fn constraints(permitted: &[&[u8]], excluded: &[&[u8]]) -> CustomExtension {
    let trees = |tag: u8, bases: &[&[u8]]| {
        let all: Vec<u8> = bases.iter().flat_map(|base| sequence(&[base])).collect();
        if all.is_empty() {
            all
        } else {
            value(tag, &[&all])
        }
    };
    let content = sequence(&[&trees(0xa0, permitted), &trees(0xa1, excluded)]);
    extension(30, content)
}

/// A common name, as a whole distinguished name has it.
fn directory(string: u8, text: &str) -> Vec<u8> {
    let kind = value(0x06, &[&[0x55, 0x04, 0x03]]);
    let pair = sequence(&[&kind, &value(string, &[text.as_bytes()])]);
    sequence(&[&value(0x31, &[&pair])])
}

#[test]
fn names_stay_in_the_trees_that_an_authority_was_given() {
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    let email = |text: &str| value(0x81, &[text.as_bytes()]);
    let dns = |text: &str| value(0x82, &[text.as_bytes()]);
    let uri = |text: &str| value(0x86, &[text.as_bytes()]);
    let distinguished = |string, text| value(0xa4, &[&directory(string, text)]);
    // xmppAddr has no trees: whoever constrains it, constrains what nobody can judge.
    let xmpp = |text: &str| {
        let kind = value(0x06, &[&[0x2b, 6, 1, 5, 5, 7, 8, 5]]);
        value(
            0xa0,
            &[&kind, &value(0xa0, &[&value(0x0c, &[text.as_bytes()])])],
        )
    };
    for (tree, inside, outside) in [
        (
            email("denmark.lit"),
            email("hamlet@denmark.lit"),
            email("hamlet@norway.lit"),
        ),
        (
            email(".denmark.lit"),
            email("a@court.denmark.lit"),
            email("a@denmark.lit"),
        ),
        (
            email("a@denmark.lit"),
            email("a@denmark.lit"),
            email("b@denmark.lit"),
        ),
        (
            dns("denmark.lit"),
            dns("court.denmark.lit"),
            dns("norway.lit"),
        ),
        (
            uri(".denmark.lit"),
            uri("https://a.denmark.lit/"),
            uri("https://norway.lit/"),
        ),
        (
            distinguished(UTF8, "hamlet"),
            distinguished(PRINTABLE, "HAMLET"),
            distinguished(UTF8, "fortinbras"),
        ),
    ] {
        let names = |name: &[u8]| with(vec![extension(17, sequence(&[name]))]);
        for (trees, is_inside_valid) in [
            (constraints(&[&tree], &[]), true),
            (constraints(&[], &[&tree]), false),
        ] {
            let root = Ca::root(|_| {});
            let between = root.below(2, with(vec![trees.clone()]));
            // The leaf's own name is "hamlet": outside of nothing but an excluded tree.
            let is_directory = tree.first() == Some(&0xa4);
            let valid = |leaf: &[u8]| is_valid(&[&root, &between], leaf, &Demands::default());
            let (inside, outside) = (
                valid(&between.leaf(20, names(&inside))),
                valid(&between.leaf(20, names(&outside))),
            );
            assert_eq!(inside, is_inside_valid, "{tree:?}");
            assert_eq!(outside, !is_inside_valid && !is_directory, "{tree:?}");
            // An anchor's count, too.
            let root = Ca::root(with(vec![trees]));
            let leaf = root.leaf(20, names(&xmpp("hamlet@denmark.lit")));
            let expected = is_inside_valid || !is_directory;
            assert_eq!(
                is_valid(&[&root], &leaf, &Demands::default()),
                expected,
                "{tree:?}"
            );
        }
    }
    let root = Ca::root(|_| {});
    let strict = root.below(2, with(vec![constraints(&[&xmpp("denmark.lit")], &[])]));
    let names = |name: &[u8]| with(vec![extension(17, sequence(&[name]))]);
    let leaf = strict.leaf(20, names(&xmpp("hamlet@denmark.lit")));
    assert!(!is_valid(&[&root, &strict], &leaf, &Demands::default()));
    let leaf = strict.leaf(20, names(&email("hamlet@denmark.lit")));
    assert!(is_valid(&[&root, &strict], &leaf, &Demands::default()));
}

#[test]
fn an_authority_that_issues_to_itself_does_not_lengthen_a_path() {
    let root = Ca::root(|_| {});
    let last = root.below(2, |params| {
        named("Elsinore")(params);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let renewed = last.below(3, named("Elsinore"));
    let other = last.below(4, named("Kronborg"));
    let none = Demands::default();
    assert!(is_valid(
        &[&root, &last, &renewed],
        &renewed.leaf(20, |_| {}),
        &none
    ));
    assert!(!is_valid(
        &[&root, &last, &other],
        &other.leaf(20, |_| {}),
        &none
    ));
}

#[test]
fn a_critical_extension_that_nobody_understands_ends_a_path() {
    let unknown = || vec![extension(99, vec![5, 0])];
    let none = Demands::default();
    let root = Ca::root(|_| {});
    let between = root.below(2, with(unknown()));
    assert!(!is_valid(
        &[&root, &between],
        &between.leaf(20, |_| {}),
        &none
    ));
    assert!(!is_valid(&[&root], &root.leaf(20, with(unknown())), &none));
    let odd = Ca::root(with(unknown()));
    assert!(!is_valid(&[&odd], &odd.leaf(20, |_| {}), &none));
}

#[test]
fn names_that_differ_in_their_writing_only_are_the_same() {
    let written = |string: fn(&str) -> rcgen::DnValue, text: &'static str| {
        move |params: &mut CertificateParams| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::CommonName, string(text));
        }
    };
    let printable: fn(&str) -> rcgen::DnValue =
        |text| rcgen::DnValue::PrintableString(text.try_into().unwrap());
    let utf8: fn(&str) -> rcgen::DnValue = |text| rcgen::DnValue::Utf8String(text.to_owned());
    let root = Ca::root(written(utf8, "Denmark Root"));
    let trusted = trusting(&[&root]);
    for (what, string, text, expected) in [
        ("another type", printable, "Denmark Root", None),
        ("another case", utf8, "DENMARK root", None),
        ("other spaces", utf8, " Denmark  Root ", None),
        (
            "another name",
            utf8,
            "DenmarkRoot",
            Some(Denial::ChainUntrusted),
        ),
    ] {
        // The same key, under a name that is written in another way.
        let mut params = ca_params("", 1);
        written(string, text)(&mut params);
        let key = KeyPair::from_pem(&root.issuer.key().serialize_pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let same = Ca {
            issuer,
            der: root.der.clone(),
            serial: 1,
        };
        let leaf = same.leaf(20, |_| {});
        assert_eq!(denied(&leaf, &[], &trusted, None), expected, "{what}");
        // So its list is of that authority, too.
        let list = same.list(1, &[20]);
        let expected = expected.or(Some(Denial::ChainRevoked));
        let got = denied(&leaf, &[], &trusted, Some((&list, false)));
        assert_eq!(got, expected, "{what}");
    }
}

#[test]
fn what_a_stranger_forges_costs_few_signatures() {
    let root = Ca::root(|_| {});
    let trusted = trusting(&[&root]);
    let tries = |leaf: &[u8], shown: &[&Ca]| {
        let shown: Vec<&[u8]> = shown.iter().map(|ca| ca.der.as_slice()).collect();
        let presented = Presented {
            leaf,
            intermediates: &shown,
        };
        let demands = Demands::default();
        let (found, tries) = crate::policy::chain::path(presented, &trusted, None, &demands, NOW);
        (found.is_ok(), tries)
    };
    let between = root.below(2, named("Elsinore"));
    assert_eq!(tries(&root.leaf(20, |_| {}), &[]), (true, 1));
    assert_eq!(tries(&between.leaf(20, |_| {}), &[&between]), (true, 2));
    // Each bears the authority's name and says that it has issued the others.
    let forged: Vec<Ca> = (0..5).map(|_| Ca::root(|_| {})).collect();
    let shown: Vec<&Ca> = forged.iter().collect();
    assert_eq!(tries(&forged[0].leaf(20, |_| {}), &shown), (false, 6));
    // An authority's own helper gets no further than the budget.
    let helpers: Vec<Ca> = (0..5)
        .map(|at| root.below(30 + at, named("Denmark Root")))
        .collect();
    let shown: Vec<&Ca> = helpers.iter().collect();
    let (_, count) = tries(&forged[0].leaf(20, |_| {}), &shown);
    assert!(count <= walk::MAX_SIGNATURES, "{count}");
}
