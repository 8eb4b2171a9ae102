//! Live sessions: what is told of them, and who has to close them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::support::{
    Daemon, HAMLET, HOST, Made, PATIENCE, append, hello, list, login, named, with,
};

fn opened(login: &Value, resource: Value) -> Value {
    json!({"sessions": [{
        "account": HAMLET,
        "fingerprint": login["fingerprint"],
        "key_id": login["key_id"],
        "incarnation": login["incarnation"],
        "resource": resource,
    }]})
}

/// A session that is to be closed because it was revoked.
fn closed(account: Value, login: &Value) -> Value {
    json!({
        "account": account,
        "key_id": login["key_id"],
        "condition": "not-authorized",
        "text": "This client certificate has been revoked",
    })
}

#[test]
fn a_session_outlives_its_certificate_unless_the_host_wants_it_closed() {
    let daemon = Daemon::start();
    let expired = 1_700_000_000;
    for close_expired in [false, true] {
        let mut server = daemon.server(json!({"saslcertd_close_expired": close_expired}));
        let cert = Made::of(HAMLET);
        server.append("phone", &cert);
        let login = server.login(&cert);
        assert_eq!(login["not_after"], 3_976_214_400_i64);
        let mut doomed = opened(&login, json!("castle"));
        doomed["sessions"][0]["not_after"] = json!(expired);
        let mut close = closed(json!(HAMLET), &login);
        close["fingerprint"] = login["fingerprint"].clone();
        close["condition"] = json!("reset");
        close["text"] = json!("This client certificate has expired");
        let closes = if close_expired {
            json!([close])
        } else {
            json!([])
        };
        // As the answer to the list of all, whether it is bound or not.
        for resource in [json!("castle"), Value::Null] {
            let mut all = doomed.clone();
            all["sessions"][0]["resource"] = resource;
            assert_eq!(server.ask("session.report", all)["close"], closes);
        }
        if close_expired {
            // As soon as it is heard of, and by itself when the time has come.
            server.notify("session.opened", doomed);
            assert_eq!(server.question("sessions.close"), close);
            assert_eq!(server.question("sessions.close"), close);
        }
        server.ask("certificate.disable", named("phone"));
        // One that goes on.
        let living = opened(&login, json!("orchard"));
        assert_eq!(server.ask("session.report", living)["close"], json!([]));
    }
}

#[test]
fn live_resources_are_listed_with_their_certificate() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let login = server.login(&cert);
    server.notify("session.opened", opened(&login, json!("castle")));
    let resources = |peer: &mut crate::support::Peer| {
        peer.ask("certificate.list", list())["certificates"][0]["resources"].clone()
    };
    assert_eq!(resources(&mut server), json!(["castle"]));
    server.notify(
        "session.closed",
        json!({"sessions": [{"account": HAMLET, "resource": "castle"}]}),
    );
    assert_eq!(resources(&mut server), json!([]));
    server.notify("session.opened", opened(&login, json!("castle")));
    drop(server);
    // They are its connection's: with it they go.
    let mut other = daemon.server(json!({}));
    let start = Instant::now();
    while resources(&mut other) != json!([]) {
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn one_bad_session_shields_no_other() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let login = server.login(&cert);
    server.ask("certificate.revoke", named("phone"));
    let revoked = opened(&login, json!("castle"))["sessions"][0].clone();
    let unreadable = |field: &str, value: Value| with(revoked.clone(), field, value);
    let sessions = json!([
        null,
        unreadable("account", json!("\u{1d2c}@shakespeare.lit")),
        unreadable("key_id", json!(7)),
        unreadable("path", json!("nowhere")),
        revoked,
    ]);
    let close = json!([
        closed(json!(HAMLET), &login),
        closed(json!("\u{1d2c}@shakespeare.lit"), &login),
        closed(json!(HAMLET), &login),
    ]);
    let asked = server.ask("session.report", json!({ "sessions": sessions }));
    assert_eq!(asked["close"], close);
    // Told of, they are closed one by one.
    server.notify("session.opened", json!({ "sessions": sessions }));
    server.question("sessions.close");
    for expected in close.as_array().unwrap() {
        let doomed = server.question("sessions.close");
        assert_eq!(doomed["account"], expected["account"]);
    }
    let closed = json!({"sessions": [null, {"account": "@", "resource": "x"}, {"account": HAMLET, "resource": "castle"}]});
    server.append("tablet", &Made::of(HAMLET));
    server.notify("session.closed", closed);
    let status = server.ask("status", json!({}));
    assert_eq!(status["connections"][0]["sessions"], 0, "{status}");
}

#[test]
fn a_revocation_answers_first_and_then_closes_the_sessions_everywhere() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let mut other = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let login = server.login(&cert);
    // The newest connection of the host is told.
    other.question("account.notify");
    let id = server.send("certificate.revoke", named("phone"));
    let first = server.line().unwrap();
    let second = server.line().unwrap();
    assert_eq!(first["id"], id);
    assert_eq!(first["result"]["removed"], json!(["phone"]));
    assert_eq!(second["method"], "sessions.close");
    let close = other.question("sessions.close");
    for close in [&second["params"]["close"][0], &close] {
        assert_eq!(close["account"], HAMLET);
        assert_eq!(close["key_id"], login["key_id"]);
        assert_eq!(close["condition"], "not-authorized");
    }
}

#[test]
fn what_was_revoked_meanwhile_is_to_be_closed_after_hello() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let (lost, kept) = (Made::of(HAMLET), Made::of(HAMLET));
    server.append("lost", &lost);
    server.append("kept", &kept);
    let (lost, kept) = (server.login(&lost), server.login(&kept));
    drop(server);
    let mut admin = daemon.peer();
    admin.ask(
        "certificate.revoke",
        json!({"account": HAMLET, "name": "lost"}),
    );
    let mut server = daemon.server(json!({}));
    for resource in [json!("castle"), Value::Null] {
        let answer = server.ask("session.report", opened(&lost, resource));
        let close = json!([closed(json!(HAMLET), &lost)]);
        assert_eq!(answer["close"], close);
    }
    let answer = server.ask("session.report", opened(&kept, json!("orchard")));
    assert_eq!(answer["close"], json!([]));
    // As a notification, the same is asked for.
    server.notify("session.opened", opened(&lost, json!("castle")));
    assert_eq!(server.question("sessions.close")["key_id"], lost["key_id"]);
}

#[test]
fn a_revocation_for_an_earlier_account_of_the_name_lifts_nothing() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let key = || KeyPair::try_from(made.serialize_der()).unwrap();
    let cert = Made::with_key(HAMLET, key());
    let later = |value: Value| crate::support::with(value, "incarnation", json!("two"));
    server.append("old", &cert);
    server.ask(
        "certificate.append",
        later(append("new", &Made::with_key(HAMLET, key()))),
    );
    let account =
        json!({"username": "hamlet", "exists": true, "enabled": true, "incarnation": "two"});
    let fresh = Made::with_key(HAMLET, key());
    server.ask("certificate.append", later(append("newer", &fresh)));
    let question =
        crate::support::with(crate::support::login(&fresh), "accounts", json!([account]));
    let login = server.ask("external.login", question.clone());
    server.ask("certificate.revoke", later(named("new")));
    // The admin cleans up what the earlier account of the name left.
    let mut admin = daemon.peer();
    admin.ask(
        "certificate.revoke",
        json!({"account": HAMLET, "name": "old"}),
    );
    let refused = server.refused(
        "certificate.append",
        later(append("again", &Made::with_key(HAMLET, key()))),
    );
    assert_eq!(refused["data"]["denial"], "key-revoked");
    assert_eq!(
        server.refused("external.login", question)["data"]["sasl"],
        "not-authorized"
    );
    // And the session of the revoked key is closed when Prosody comes back; also if it can't say of which account it is.
    for (incarnation, closed) in [("two", 1), ("three", 0), ("", 1)] {
        let incarnation = Some(incarnation).filter(|id| !id.is_empty());
        let of = crate::support::with(login.clone(), "incarnation", json!(incarnation));
        let answer = server.ask("session.report", opened(&of, json!("castle")));
        let close = answer["close"].as_array().unwrap();
        assert_eq!(close.len(), closed, "{incarnation:?}");
    }
}

#[test]
fn a_certificate_that_was_disabled_can_still_be_revoked() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let login = server.login(&cert);
    // A thief with a stolen key might do this first, and stay.
    server.ask("certificate.disable", named("phone"));
    let revoked = server.ask("certificate.revoke", named("phone"));
    assert_eq!(revoked["key_id"], login["key_id"]);
    assert_eq!(revoked["removed"], json!([]));
    assert_eq!(server.question("sessions.close")["key_id"], login["key_id"]);
    assert_eq!(
        server.refused("certificate.revoke", named("phone"))["data"]["denial"],
        "name-unknown"
    );
    assert_eq!(server.login_refused(&cert)["data"]["denial"], "key-revoked");
}

#[test]
fn neither_a_decoy_nor_a_new_name_saves_a_disabled_certificate() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let stolen = Made::of(HAMLET);
    server.append("phone", &stolen);
    let login = server.login(&stolen);
    server.ask("certificate.disable", named("phone"));
    server.append("zz", &stolen);
    server.ask("certificate.disable", named("zz"));
    server.append("phone", &Made::of(HAMLET));
    let listed = server.ask("certificate.list", list());
    assert_eq!(listed["disabled"][0]["key_id"], login["key_id"]);
    server.ask("certificate.revoke", named("phone"));
    let closed: Vec<Value> = (0..2)
        .map(|_| server.question("sessions.close")["key_id"].clone())
        .collect();
    assert!(closed.contains(&login["key_id"]));
    assert_eq!(
        server.login_refused(&stolen)["data"]["denial"],
        "key-revoked"
    );
    let listed = server.ask("certificate.list", list());
    assert_eq!(
        (&listed["certificates"], &listed["disabled"]),
        (&json!([]), &json!([]))
    );
}

#[test]
fn a_certificate_that_names_nobody_is_one_accounts_only() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_require_address": false}));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let nameless = Made::with(key, |_| {});
    server.append("phone", &nameless);
    let theirs = |name: &str| {
        crate::support::with(
            append(name, &nameless),
            "account",
            json!("mallory@shakespeare.lit"),
        )
    };
    let refused = server.refused("certificate.append", theirs("stolen"));
    assert_eq!(refused["data"]["denial"], "held-by-another");
    server.login(&nameless);
}

#[test]
fn an_admin_revokes_by_key_when_the_name_is_gone() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let login = server.login(&cert);
    server.ask("certificate.disable", named("phone"));
    server.append("phone", &Made::of(HAMLET));
    let key = login["key_id"].as_str().unwrap();
    let revoke = |arguments: &[&str]| {
        let output = daemon
            .command("cert")
            .arg("revoke")
            .args(arguments)
            .output()
            .unwrap();
        output.status.code()
    };
    assert_eq!(revoke(&[HAMLET, "--key", key]), Some(0));
    assert_eq!(server.question("sessions.close")["key_id"], login["key_id"]);
    assert_eq!(revoke(&[HAMLET, "--key", key]), Some(1));
    assert_eq!(revoke(&[HAMLET]), Some(2));
    assert_eq!(revoke(&[HAMLET, "phone", "--key", key]), Some(2));
    let listed = server.ask("certificate.list", list());
    assert_eq!(listed["certificates"].as_array().unwrap().len(), 1);
}

#[test]
fn sessions_are_reported_after_hello_only() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let none = json!({"sessions": []});
    let error = peer.refused("session.report", none.clone());
    assert_eq!(error["code"], -32003);
    // Nobody is told that it needs none: an administrator does, too.
    assert_eq!(error["message"], "session.hello comes first");
    let mut hello = hello(HOST, json!({}));
    hello["sessions"] = json!(false);
    peer.ask("session.hello", hello);
    let answer = peer.ask("session.report", none);
    assert_eq!(answer, json!({"close": [], "changed": []}));
    let login = json!({"host": HOST, "authzid": null, "chain": []});
    let error = peer.refused("external.login", login);
    let words = "session.hello comes first, of a server that keeps sessions";
    assert_eq!(error["message"], words);
}

#[test]
fn of_accounts_in_prosody_a_report_says_nothing_whoever_reports() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let mut live = opened(&server.login(&cert), json!("castle"));
    live["sessions"][0]["password_changed"] = json!(1);
    let answer = server.ask("session.report", live.clone());
    assert_eq!(answer, json!({"close": [], "changed": []}));
    // The key is enough to know that a certificate is meant; what can't be read of it is closed.
    live["sessions"][0]["fingerprint"] = Value::Null;
    assert_eq!(
        server.ask("session.report", live)["close"][0]["account"],
        HAMLET
    );
}

/// For each yes that stands behind a `sessions.close` of its key, a session would live on.
#[test]
fn no_yes_stands_behind_a_revocation() {
    let daemon = Daemon::start();
    let mut admin = daemon.peer();
    let (mut admitted, mut refused) = (0, 0);
    for round in 0..100 {
        let cert = Made::of(HAMLET);
        let mut server = daemon.server(json!({}));
        server.append("phone", &cert);
        server.question("account.notify");
        let revoke = json!({"account": HAMLET, "name": "phone"});
        let logins = |server: &mut crate::support::Peer| {
            for _ in 0..24 {
                server.send("external.login", login(&cert));
            }
        };
        // Either of them may be the first to be read.
        let revocation = if round % 2 == 0 {
            logins(&mut server);
            admin.send("certificate.revoke", revoke)
        } else {
            let id = admin.send("certificate.revoke", revoke);
            logins(&mut server);
            id
        };
        let mut is_closed = false;
        let mut answers = 0;
        while answers < 24 || !is_closed {
            let line = server.line().unwrap();
            if line["method"] == "sessions.close" {
                is_closed = true;
            } else if line.get("result").is_some() {
                assert!(!is_closed, "a yes behind the revocation in round {round}");
                admitted += 1;
                answers += 1;
            } else if line.get("error").is_some() {
                assert_eq!(line["error"]["data"]["denial"], "key-revoked");
                refused += 1;
                answers += 1;
            }
        }
        assert!(admin.answer(revocation).get("error").is_none());
        assert_eq!(server.login_refused(&cert)["data"]["denial"], "key-revoked");
    }
    assert!(
        admitted > 0 && refused > 0,
        "one order never happened: {admitted} {refused}"
    );
}

#[test]
fn revocations_do_not_wait_for_logins_to_pause() {
    let daemon = Daemon::start();
    let certs: Vec<Made> = (0..4).map(|_| Made::of(HAMLET)).collect();
    let mut admin = daemon.server(json!({}));
    for (at, cert) in certs.iter().enumerate() {
        admin.append(&format!("desk {at}"), cert);
    }
    let mut doomed: Vec<Value> = Vec::new();
    for at in 0..10 {
        let name = format!("phone {at}");
        admin.append(&name, &Made::of(HAMLET));
        doomed.push(json!({"account": HAMLET, "name": name}));
    }
    let (answers, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for cert in &certs {
            let mut server = daemon.server(json!({}));
            let (answers, is_over) = (&answers, &is_over);
            scope.spawn(move || {
                // Never fewer than this many wait for their answer.
                const AT_ONCE: usize = 16;
                let mut waiting = 0;
                while !is_over.load(Ordering::Relaxed) {
                    while waiting < 2 * AT_ONCE {
                        server.send("external.login", login(cert));
                        waiting += 1;
                    }
                    while waiting > AT_ONCE {
                        let line = server.line().unwrap();
                        if line.get("method").is_none() {
                            assert!(line.get("result").is_some(), "{line}");
                            waiting -= 1;
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        // However it ends, so do the logins.
        let _end = Ends(&is_over);
        let mut revoker = daemon.peer();
        for revoke in doomed {
            let before = answers.load(Ordering::Relaxed);
            while answers.load(Ordering::Relaxed) < before + 64 {
                std::thread::yield_now();
            }
            revoker.ask("certificate.revoke", revoke);
        }
    });
}

/// Sets a flag at its end.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_admin_lists_and_revokes_without_a_session() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    server.ask("certificate.append", append("phone", &Made::of(HAMLET)));
    let run = |arguments: &[&str]| {
        let output = daemon.command("cert").args(arguments).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (
            output.status.code(),
            said,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said, _) = run(&["list", HAMLET]);
    assert_eq!(code, Some(0));
    assert!(
        said.starts_with("phone\n") && said.contains("192.0.2.7") || said.contains("never used"),
        "{said}"
    );
    let (code, said, _) = run(&["show", HAMLET, "phone"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("-----BEGIN CERTIFICATE-----"), "{said}");
    let (code, said, _) = run(&["revoke", HAMLET, "phone", "--json"]);
    assert_eq!(code, Some(0));
    let revoked: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(revoked["removed"], json!(["phone"]));
    let (code, _, error) = run(&["revoke", HAMLET, "phone"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no certificate of this name"), "{error}");
    let key = revoked["key_id"].as_str().unwrap();
    assert_eq!(run(&["unrevoke", HAMLET, key]).0, Some(0));
    assert_eq!(run(&["unrevoke", HAMLET, key]).0, Some(1));
    assert_eq!(run(&["unrevoke", HAMLET, "--all"]).0, Some(1));
    assert_eq!(run(&["unrevoke", HAMLET]).0, Some(2));
    let (code, _, error) = run(&["list", HOST]);
    assert_eq!(code, Some(1));
    assert!(error.contains("not an account"), "{error}");
}
