//! The cases of doctor's findings about handshakes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::json;
use time::OffsetDateTime;

use super::super::commands::usual;
use super::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn facts(more: &Value) -> Facts {
    let mut all = json!({
        "manage_tls": true,
        "hosts": [{"host": "a.lit", "saslcertd": true}],
        "ports": [{"service": "c2s", "tls": "starttls", "port": 5222, "interfaces": ["*"]}],
    });
    all.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn done(asks: bool, server: u8) -> Handshake {
    Handshake::Done {
        asks,
        refuses: false,
        server: vec![server],
    }
}

fn seen(local: Handshake, public: Result<Handshake, &str>) -> Vec<Seen> {
    vec![Seen {
        host: "a.lit".to_owned(),
        local: vec![(0, "127.0.0.1:5222".parse().unwrap(), local)],
        public: public
            .map(|found| ("192.0.2.1:5222".to_owned(), found))
            .map_err(str::to_owned),
        on_disk: None,
        renewed: None,
    }]
}

#[test]
fn a_port_that_asks_is_well() {
    let found = findings(
        &facts(&json!({})),
        &seen(done(true, 1), Ok(done(true, 1))),
        true,
        NOW,
        &usual(),
    );
    let levels: Vec<Level> = found.iter().map(|finding| finding.level).collect();
    assert_eq!(levels, [Level::Ok, Level::Ok]);
}

#[test]
fn a_port_that_does_not_ask_is_named_with_the_line_that_makes_it() {
    let direct = |service: &str, option: &str, more: &Value| {
        let mut port =
            json!({"service": service, "tls": "direct", "port": 5223, "ssl_option": option});
        port.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!([port])
    };
    let host =
        |starttls: &Value| json!([{"host": "a.lit", "saslcertd": true, "starttls": starttls}]);
    let whole = |option: &str| (None, None, format!("{option} = {{ {ASK} }}"));
    let within = |host: Option<&'static str>, option| (host, Some(option), format!("{ASK};"));
    let none = json!({});
    let cases = [
        (json!({"manage_tls": false}), whole("c2s_ssl")),
        (
            json!({"manage_tls": false, "hosts": host(&json!({"within": "c2s_ssl"}))}),
            within(None, "c2s_ssl"),
        ),
        (
            json!({"hosts": host(&json!({"within": "ssl", "section": "a.lit", "sets_verify": true}))}),
            within(Some("a.lit"), "ssl"),
        ),
        (
            json!({"manage_tls": false, "ports": direct("c2s_direct_tls", "c2s_direct_tls_ssl", &none)}),
            whole("c2s_direct_tls_ssl"),
        ),
        (
            json!({"ports": direct("c2s_direct_tls", "c2s_direct_tls_ssl", &json!({"ssl_set": true, "sets_verify": true}))}),
            within(None, "c2s_direct_tls_ssl"),
        ),
        (
            json!({"ports": direct("multiplex_ssl", "ssl_ssl", &none)}),
            whole("ssl_ssl"),
        ),
    ];
    for (more, expected) in cases {
        let found = findings(
            &facts(&more),
            &seen(done(false, 1), Err("behind NAT")),
            true,
            NOW,
            &usual(),
        );
        assert_eq!(found[0].level, Level::Problem, "{more}");
        let Some(Mend::Edit(edit)) = &found[0].mend else {
            unreachable!("{more}")
        };
        let ConfigChange::Add(line) = &edit.change else {
            unreachable!()
        };
        assert_eq!(
            (edit.host.as_deref(), edit.within.as_deref(), line.clone()),
            expected,
            "{more}"
        );
    }
}

#[test]
fn a_port_that_refuses_what_users_make_is_named_unless_an_authority_must_have_made_it() {
    let refusing = Handshake::Done {
        asks: true,
        refuses: true,
        server: vec![1],
    };
    let found = |trust: &str| {
        let host = json!([{"host": "a.lit", "saslcertd": true, "options": {"saslcertd_trust": trust},
            "starttls": {"within": "c2s_ssl", "sets_verify": true}}]);
        let facts = facts(&json!({"manage_tls": false, "hosts": host}));
        findings(
            &facts,
            &seen(refusing.clone(), Err("")),
            true,
            NOW,
            &usual(),
        )
        .remove(0)
    };
    for trust in ["ca", "enrolled_and_ca"] {
        assert_eq!(found(trust).level, Level::Ok, "{trust}");
    }
    for trust in ["enrolled", "enrolled_or_ca"] {
        let Some(Mend::Edit(edit)) = found(trust).mend else {
            unreachable!("{trust}")
        };
        assert_eq!(edit.within.as_deref(), Some("c2s_ssl"));
        assert_eq!(edit.change, ConfigChange::Add(format!("{TAKE};")));
    }
}

#[test]
fn a_port_that_should_be_asking_by_itself_needs_a_restart() {
    let found = findings(
        &facts(&json!({})),
        &seen(done(false, 1), Err("")),
        true,
        NOW,
        &usual(),
    );
    assert_eq!(
        found[0].mend,
        Some(Mend::Run("systemctl restart prosody".to_owned()))
    );
}

#[test]
fn what_ends_tls_before_prosody_is_named() {
    let cases = [
        (done(true, 1), Ok(done(true, 1)), Level::Ok),
        (done(true, 1), Ok(done(false, 1)), Level::Problem),
        (done(true, 1), Ok(done(true, 2)), Level::Problem),
        (
            done(true, 1),
            Ok(Handshake::Failed("odd".to_owned())),
            Level::NotChecked,
        ),
        (done(true, 1), Err("no address"), Level::NotChecked),
        (done(false, 1), Ok(done(false, 1)), Level::NotChecked),
    ];
    for (local, public, expected) in cases {
        assert_eq!(
            proxy(&seen(local.clone(), public.clone())[0]).level,
            expected,
            "{local:?} {public:?}"
        );
    }
}

#[test]
fn hosts_that_were_not_looked_at_are_said_to_be_so() {
    for (count, expected) in [(MAX_HOSTS, false), (MAX_HOSTS + 1, true)] {
        let host = |n: usize| json!({"host": format!("{n}.lit"), "saslcertd": true});
        let hosts: Vec<Value> = (0..count).map(host).collect();
        let found = findings(&facts(&json!({"hosts": hosts})), &[], true, NOW, &usual());
        let said = found.iter().any(|one| one.message.contains("1 more host;"));
        assert_eq!(said, expected, "{found:?}");
    }
}

#[test]
fn a_dead_port_is_named_once() {
    let dead = Handshake::Unreachable("Connection refused".to_owned());
    let mut all = seen(dead.clone(), Err(""));
    all.push(Seen {
        host: "b.lit".to_owned(),
        ..all[0].clone()
    });
    let hosts = json!([{"host": "a.lit", "saslcertd": true}, {"host": "b.lit", "saslcertd": true}]);
    let found = findings(&facts(&json!({"hosts": hosts})), &all, true, NOW, &usual());
    assert_eq!(
        found
            .iter()
            .filter(|finding| finding.level == Level::Problem)
            .count(),
        1
    );
}

#[test]
fn a_host_without_tls_is_a_problem_unless_it_is_the_one_that_comes_with_prosody() {
    let cases = [
        ("b.lit", done(true, 1), Level::Problem),
        ("localhost", done(true, 1), Level::NotChecked),
        ("localhost", done(false, 1), Level::NotChecked),
        (
            "localhost",
            Handshake::Failed("odd".to_owned()),
            Level::Problem,
        ),
    ];
    for (name, other, expected) in cases {
        let mut all = seen(other.clone(), Err(""));
        all.extend(seen(
            Handshake::Failed("no certificate".to_owned()),
            Err(""),
        ));
        name.clone_into(&mut all[1].host);
        let hosts =
            json!([{"host": "a.lit", "saslcertd": true}, {"host": name, "saslcertd": true}]);
        let found = findings(&facts(&json!({"hosts": hosts})), &all, true, NOW, &usual());
        let of_host = found
            .iter()
            .find(|one| one.message.contains("no certificate"));
        assert_eq!(of_host.unwrap().level, expected, "{name} {other:?}");
    }
}

/// A server's certificate, valid for some days from `NOW` on.
fn server_cert(host: &str, from_days: i64, until_days: i64) -> Vec<u8> {
    let at = |days: i64| OffsetDateTime::from_unix_timestamp(NOW.0 + days * 86_400).unwrap();
    let mut params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (at(from_days), at(until_days));
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

#[test]
fn a_server_certificate_that_clients_refuse_is_named() {
    let good = || server_cert("a.lit", -1, 60);
    let restart = "systemctl restart prosody";
    let import = "prosodyctl --root cert import a.lit \"$PWD\" && { systemctl restart prosody; }";
    let cases = [
        (good(), None, None),
        (
            server_cert("a.lit", -9, -1),
            None,
            Some((Level::Problem, "expired", import)),
        ),
        (
            server_cert("a.lit", 1, 9),
            None,
            Some((Level::Problem, "not valid yet", import)),
        ),
        (
            server_cert("b.lit", -1, 60),
            None,
            Some((Level::Problem, "another host", import)),
        ),
        (
            server_cert("a.lit", -1, 6),
            None,
            Some((Level::Warning, "in 6 days", import)),
        ),
        // The file was renewed, and nobody told Prosody.
        (
            server_cert("a.lit", -9, -1),
            Some(good()),
            Some((Level::Problem, "has not read it yet", restart)),
        ),
    ];
    for (shown, on_disk, expected) in cases {
        let done = Handshake::Done {
            asks: true,
            refuses: false,
            server: shown,
        };
        let mut all = seen(done, Err(""));
        all[0].on_disk = on_disk;
        let found = findings(&facts(&json!({})), &all, true, NOW, &usual());
        let found: Vec<&Finding> = found.iter().filter(|one| one.check == "cert").collect();
        assert_eq!(found.len(), 1);
        match expected {
            None => assert_eq!(found[0].level, Level::Ok),
            Some((level, words, mend)) => {
                assert_eq!(found[0].level, level);
                assert!(found[0].message.contains(words), "{}", found[0].message);
                assert_eq!(found[0].mend, Some(Mend::Run(mend.to_owned())));
            }
        }
    }
}

#[test]
fn a_stopped_prosody_is_not_looked_at() {
    let found = findings(&facts(&json!({})), &[], false, NOW, &usual());
    assert!(
        found
            .iter()
            .all(|finding| finding.level == Level::NotChecked)
    );
}
