//! `external.offer` and `external.login`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::{Daemon, HAMLET, Made, ONE, append, login, named, offer, with};

#[test]
fn an_enrolled_certificate_is_offered_and_logs_in() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    let none = json!({"offer": false, "denial": "cert-unknown"});
    assert_eq!(server.ask("external.offer", offer(&cert)), none);
    let refused = server.login_refused(&cert);
    assert_eq!(refused["data"]["denial"], "cert-unknown");
    assert_eq!(refused["data"]["sasl"], "not-authorized");
    let appended = server.append("phone", &cert);
    let one = json!([{"username": "hamlet", "incarnation": ONE}]);
    let offered = server.ask("external.offer", offer(&cert));
    assert_eq!(
        (&offered["offer"], &offered["candidates"]),
        (&json!(true), &one)
    );
    let login = server.login(&cert);
    assert_eq!(login["username"], "hamlet");
    // What is null is left out.
    assert_eq!(login.get("resource"), None);
    assert_eq!(login["name"], "phone");
    assert_eq!(login["fingerprint"], appended["fingerprint"]);
    assert_eq!(login["may_manage"], true);
}

#[test]
fn a_full_jid_in_the_certificate_binds_its_resource() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of("hamlet@shakespeare.lit/Castle");
    server.append("phone", &cert);
    assert_eq!(server.login(&cert)["resource"], "Castle");
}

#[test]
fn the_authzid_is_bytes_that_are_judged_by_the_daemon() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    for (authzid, expected) in [
        (&b"hamlet@shakespeare.lit"[..], None),
        (b"", None),
        (b"Hamlet@SHAKESPEARE.lit/x", None),
        (b"ophelia@shakespeare.lit", Some("invalid-authzid")),
        (b"\xff", Some("malformed-request")),
        (b"hamlet@shakespeare.lit\0", Some("malformed-request")),
    ] {
        let params = with(login(&cert), "authzid", json!(BASE64.encode(authzid)));
        let id = server.send("external.login", params);
        let answer = server.answer(id);
        let got = answer.pointer("/error/data/sasl").and_then(Value::as_str);
        assert_eq!(got, expected, "{authzid:?}");
    }
}

#[test]
fn the_account_must_exist_and_be_the_one_that_enrolled() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    for (exists, enabled, incarnation, expected) in [
        (false, true, json!(ONE), "account-missing"),
        (true, false, json!(ONE), "account-disabled"),
        (true, true, json!("two"), "cert-unknown"),
        (true, true, Value::Null, "cert-unknown"),
    ] {
        let account = json!({
            "username": "hamlet", "exists": exists, "enabled": enabled, "incarnation": incarnation,
        });
        let params = with(login(&cert), "accounts", json!([account]));
        let refused = server.refused("external.login", params);
        assert_eq!(refused["data"]["denial"], expected);
    }
    let params = with(login(&cert), "accounts", json!([]));
    let refused = server.refused("external.login", params);
    assert_eq!(refused["data"]["denial"], "account-missing");
}

#[test]
fn disabled_and_revoked_certificates_are_refused_until_they_may_return() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    server.ask("certificate.disable", named("phone"));
    assert_eq!(
        server.login_refused(&cert)["data"]["denial"],
        "cert-disabled"
    );
    server.append("phone", &cert);
    server.login(&cert);
    let revoked = server.ask("certificate.revoke", named("phone"));
    assert_eq!(server.login_refused(&cert)["data"]["denial"], "key-revoked");
    assert_eq!(server.ask("external.offer", offer(&cert))["offer"], false);
    // A new certificate with the old key does not bring it back.
    let key = rcgen::KeyPair::try_from(cert.key.serialize_der()).unwrap();
    let renewed = Made::with_key(HAMLET, key);
    let refused = server.refused("certificate.append", append("new", &renewed));
    assert_eq!(refused["data"]["denial"], "key-revoked");
    // An admin may lift it.
    let lift = json!({"account": HAMLET, "key_id": revoked["key_id"]});
    assert_eq!(
        server.ask("certificate.unrevoke", lift)["was_revoked"],
        true
    );
    server.append("phone", &cert);
    server.login(&cert);
}

#[test]
fn what_is_no_certificate_is_refused_like_an_unknown_one() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let known = server.login_refused(&Made::of(HAMLET));
    for der in [&b"hello"[..], b"", &[0x30, 0x80, 0, 0]] {
        let params = with(
            login(&Made::of(HAMLET)),
            "chain",
            json!([BASE64.encode(der)]),
        );
        let refused = server.refused("external.login", params.clone());
        assert_eq!(refused["data"]["denial"], "cert-unacceptable");
        assert_eq!(refused["message"], known["message"]);
        assert_eq!(refused["data"]["sasl"], known["data"]["sasl"]);
    }
}

#[test]
fn after_an_offer_the_chain_has_a_name_and_each_question_is_decided_anew() {
    let mut daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let (cert, other) = (Made::of(HAMLET), Made::of(HAMLET));
    // A chain that is not offered gets no name.
    assert_eq!(
        server.ask("external.offer", offer(&cert)).get("chain"),
        None
    );
    server.append("phone", &cert);
    server.append("laptop", &other);
    let offered = server.ask("external.offer", offer(&cert));
    let name = offered["chain"].clone();
    assert_ne!(server.ask("external.offer", offer(&other))["chain"], name);
    let by_name = |question: Value| with(question, "chain", name.clone());
    let again = server.ask("external.offer", by_name(offer(&cert)));
    assert_eq!(again["candidates"], offered["candidates"]);
    // Who has named it knows its name.
    assert_eq!(again.get("chain"), None);
    // In any question, the name means this certificate, and the other one's question does not change that.
    let login_by_name = by_name(login(&other));
    let fingerprint = server.login(&cert)["fingerprint"].clone();
    let login = server.ask("external.login", login_by_name.clone());
    assert_eq!(login["fingerprint"], fingerprint);
    // So does a server that never asked for the offer; and others that come later.
    let mut second = daemon.server(json!({}));
    assert_eq!(second.ask("external.login", login_by_name.clone()), login);
    server.ask("certificate.revoke", named("phone"));
    let refused = server.refused("external.login", login_by_name.clone());
    assert_eq!(refused["data"]["denial"], "key-revoked");
    drop((server, second));
    daemon.restart();
    let mut server = daemon.server(json!({}));
    for method in ["external.login", "external.offer"] {
        let forgotten = server.refused(method, login_by_name.clone());
        assert_eq!(forgotten["code"], -32001);
        assert_eq!(forgotten["data"]["fault"], "chain-forgotten");
        assert_eq!(forgotten["data"].get("denial"), None);
    }
}

#[test]
fn a_certificate_in_a_list_of_the_host_may_be_named_at_once() {
    let mut daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    let appended = server.append("phone", &cert);
    let by_name = |question: Value| with(question, "chain", appended["fingerprint"].clone());
    let asked = server.ask("external.login", by_name(login(&cert)));
    assert_eq!(asked["fingerprint"], appended["fingerprint"]);
    drop(server);
    daemon.restart();
    let mut server = daemon.server(json!({}));
    let offered = server.ask("external.offer", by_name(offer(&cert)));
    assert_eq!(offered["candidates"][0]["username"], "hamlet");
    server.ask("certificate.revoke", named("phone"));
    let refused = server.refused("external.login", by_name(login(&cert)));
    assert_eq!(refused["data"]["denial"], "key-revoked");
}

#[test]
fn chains_are_bounded() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET).base64();
    let large = "A".repeat(24 * 1024);
    for chain in [
        json!([cert, cert, cert, cert, cert, cert, cert]),
        json!([large, large, large]),
        json!(["!"]),
        json!("x"),
    ] {
        let params = json!({"host": "shakespeare.lit", "chain": chain});
        assert_eq!(server.refused("external.offer", params)["code"], -32602);
    }
}

#[test]
fn a_certificate_that_no_question_can_carry_is_no_certificate_to_log_in_with() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    let none = json!({"offer": false, "denial": "cert-unacceptable"});
    let question = with(offer(&cert), "chain", json!([]));
    assert_eq!(server.ask("external.offer", question), none);
    let refused = server.refused("external.login", with(login(&cert), "chain", json!([])));
    assert_eq!(refused["data"]["denial"], "cert-unacceptable");
}

#[test]
fn a_name_cannot_pass_for_other_fields_of_the_log() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append(
        "p account=root@shakespeare.lit by=\"root\" \u{202e}x",
        &cert,
    );
    server.login(&cert);
    let mut daemon = daemon;
    assert!(daemon.stop().success());
    let log = daemon.log();
    let line = log
        .lines()
        .find(|line| line.contains("external.login: yes"))
        .unwrap();
    assert!(
        line.contains(r#"name="p account=root@shakespeare.lit by=\"root\" \u{202e}x""#),
        "{line}"
    );
}

#[test]
fn asked_again_with_what_is_known_the_offer_is_made_for_accounts_that_can_log_in() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let fact = json!({"username": "hamlet", "exists": true, "enabled": true, "incarnation": ONE});
    let but = |name: &str, value: Value| with(fact.clone(), name, value);
    let horatio = but("username", json!("horatio"));
    for (facts, offered, is_asked) in [
        (json!([fact]), true, false),
        (json!([horatio, fact]), true, false),
        (json!([but("exists", json!(false))]), false, false),
        (json!([but("enabled", json!(false))]), false, false),
        (json!([but("incarnation", json!("two"))]), false, false),
        (json!([but("incarnation", Value::Null)]), false, false),
        // Nothing is known of its account yet.
        (json!([horatio]), true, true),
        (json!([]), true, true),
        (Value::Null, true, true),
    ] {
        let question = with(offer(&cert), "accounts", facts.clone());
        let answer = server.ask("external.offer", question);
        assert_eq!(answer["offer"], offered, "{facts}");
        assert_eq!(answer.get("candidates").is_some(), is_asked, "{facts}");
    }
}
