//! `account.*`: passwords of accounts that live in the daemon.

use std::collections::BTreeSet;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::{Daemon, Made, Peer, hello, with};

pub const ROME: &str = "rome.lit";
pub const BRUTUS: &str = "brutus@rome.lit";

/// A peer that has declared [`ROME`] with these options, its accounts in the daemon.
pub fn server(daemon: &Daemon, mut options: Value) -> Peer {
    // The fewest that are allowed: the tests' build is slow at this.
    if options.get("saslcertd_scram_iterations").is_none() {
        options["saslcertd_scram_iterations"] = json!(4096);
    }
    let mut peer = daemon.peer();
    let mut hello = hello(ROME, options);
    hello["hosts"][0]["accounts"] = json!("daemon");
    let answer = peer.ask("session.hello", hello);
    assert_eq!(answer["hosts"][0]["ready"], true, "{answer}");
    peer
}

pub fn create(account: &str, password: &str) -> Value {
    json!({"account": account, "password": password, "caller": "server"})
}

pub fn verify(account: &str, password: &str) -> Value {
    json!({"account": account, "password": password, "address": "192.0.2.7"})
}

fn of(account: &str) -> Value {
    json!({ "account": account })
}

fn admits(peer: &mut Peer, account: &str, password: &str) -> bool {
    let params = json!({"account": account, "password": password, "address": null});
    let id = peer.send("account.verify", params);
    let answer = peer.answer(id);
    match answer.pointer("/error/data/denial") {
        None => {
            assert!(answer["result"].is_object(), "{answer}");
            true
        }
        Some(denial) => {
            assert_eq!(denial, "password-wrong");
            false
        }
    }
}

#[test]
fn an_account_is_created_logs_in_gets_another_password_and_is_deleted() {
    let mut daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let nobody =
        json!({"exists": false, "enabled": false, "created": null, "password_changed": null});
    assert_eq!(rome.ask("account.exists", of(BRUTUS)), nobody);
    let created = rome.ask("account.create", create(BRUTUS, "et tu?"));
    assert_eq!(created["created"], true);
    let known = rome.ask("account.exists", of(BRUTUS));
    assert_eq!(
        (&known["exists"], &known["enabled"]),
        (&json!(true), &json!(true))
    );
    assert!(admits(&mut rome, BRUTUS, "et tu?"));
    assert!(!admits(&mut rome, BRUTUS, "et tu"));
    let again = rome.refused("account.create", create(BRUTUS, "mine now"));
    assert_eq!(again["data"]["denial"], "account-exists");
    rome.ask(
        "account.set_password",
        json!({"account": BRUTUS, "password": "ides"}),
    );
    assert!(admits(&mut rome, BRUTUS, "ides"));
    assert!(!admits(&mut rome, BRUTUS, "et tu?"));
    drop(rome);
    daemon.kill();
    daemon.serve();
    let mut rome = server(&daemon, json!({}));
    assert!(admits(&mut rome, BRUTUS, "ides"));
    // In a database the process that was killed is one that could not be told.
    let deleted = rome.ask("account.delete", of(BRUTUS));
    assert_eq!(
        (&deleted["certificates"], &deleted["servers"]),
        (&json!(0), &json!(0))
    );
    assert!(!admits(&mut rome, BRUTUS, "ides"));
    assert_eq!(rome.ask("account.exists", of(BRUTUS)), nobody);
    for method in ["account.delete", "account.enable", "account.disable"] {
        let refused = rome.refused(method, of(BRUTUS));
        assert_eq!(refused["data"]["denial"], "account-missing", "{method}");
    }
    let refused = rome.refused(
        "account.set_password",
        json!({"account": BRUTUS, "password": "x"}),
    );
    assert_eq!(refused["data"]["denial"], "account-missing");
}

#[test]
fn a_session_that_something_else_has_logged_in_begins_for_an_enabled_account_only() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let created = rome.ask("account.create", create(BRUTUS, "et tu?"));
    rome.ask("account.create", create("cassius@rome.lit", "lean"));
    rome.ask("account.disable", of("cassius@rome.lit"));
    let admit = |account: &str, mechanism: Value| json!({"account": account, "mechanism": mechanism, "address": null});
    for mechanism in [json!(null), json!("OAUTHBEARER")] {
        let admitted = rome.ask("account.admit", admit(BRUTUS, mechanism));
        assert_eq!(admitted["password_changed"], created["password_changed"]);
        assert!(admitted["incarnation"].is_string(), "{admitted}");
    }
    for (account, mechanism) in [
        (BRUTUS, json!("HT-SHA-256-NONE")),
        ("cassius@rome.lit", json!(null)),
        ("nobody@rome.lit", json!("OAUTHBEARER")),
    ] {
        let refused = rome.refused("account.admit", admit(account, mechanism));
        assert_eq!(refused["data"]["denial"], "session-refused", "{account}");
        assert_eq!(refused["data"]["sasl"], "not-authorized");
    }
}

#[test]
fn no_password_is_kept_and_none_is_logged() {
    let mut daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    rome.ask("account.create", create(BRUTUS, "Cassandra-the-first"));
    admits(&mut rome, BRUTUS, "Cassandra-the-first");
    admits(&mut rome, BRUTUS, "Cassandra-the-second");
    rome.refused(
        "account.set_password",
        json!({"account": BRUTUS, "password": ["Cassandra"]}),
    );
    daemon.stop();
    assert!(!daemon.log().contains("Cassandra"));
    let found = Command::new("grep")
        .arg("-rc")
        .arg("Cassandra")
        .arg(daemon.data_dir())
        .output();
    let counts = String::from_utf8(found.unwrap().stdout).unwrap();
    assert!(counts.lines().all(|line| line.ends_with(":0")), "{counts}");
}

#[test]
fn who_does_not_exist_looks_like_who_does() {
    let mut daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    rome.ask("account.create", create("cassius@rome.lit", "lean"));
    rome.ask("account.disable", of("cassius@rome.lit"));
    let words: Vec<Value> = [
        (BRUTUS, "wrong"),
        ("cassius@rome.lit", "lean"),
        ("nobody@rome.lit", "x"),
    ]
    .into_iter()
    .map(|(account, password)| rome.refused("account.verify", verify(account, password)))
    .collect();
    assert_eq!(words[0], words[1]);
    assert_eq!(words[0], words[2]);
    let scram = |rome: &mut Peer, account: &str, hash: &str| {
        rome.ask("account.scram", json!({"account": account, "hash": hash}))
    };
    let mut salts = BTreeSet::new();
    let mut first = Vec::new();
    for hash in ["SHA-1", "SHA-256"] {
        for account in [
            BRUTUS,
            "cassius@rome.lit",
            "nobody@rome.lit",
            "nemo@rome.lit",
        ] {
            let answer = scram(&mut rome, account, hash);
            assert_eq!(answer["iterations"], 4096);
            let salt = answer["salt"].as_str().unwrap();
            assert_eq!(BASE64.decode(salt).unwrap().len(), 16);
            assert!(salts.insert(salt.to_owned()), "{account} {hash}");
            first.push((account, hash, answer));
        }
    }
    drop(rome);
    daemon.stop();
    daemon.serve();
    let mut rome = server(&daemon, json!({}));
    for (account, hash, before) in first {
        assert_eq!(scram(&mut rome, account, hash), before, "{account}");
    }
    // And the keys of a decoy admit nobody, whatever the asker says of the proof.
    let decoy = scram(&mut rome, "nobody@rome.lit", "SHA-1");
    let succeeded = json!({
        "account": "nobody@rome.lit", "hash": "SHA-1", "stored_key": decoy["stored_key"], "address": null,
    });
    let refused = rome.refused("account.succeeded", succeeded);
    assert_eq!(refused["data"]["denial"], "password-wrong");
}

#[test]
fn a_name_that_nobody_can_have_is_answered_as_one_that_nobody_has() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    rome.ask("account.create", create("cassius@rome.lit", "lean"));
    let missing =
        json!({"exists": false, "enabled": false, "created": null, "password_changed": null});
    let mut salts = BTreeSet::new();
    for name in ["nobody", "\u{1f40e}", "\u{1d2c}", "a b", "a@b", "a/b", ""] {
        let account = &format!("{name}@rome.lit");
        assert_eq!(rome.ask("account.exists", of(account)), missing, "{name}");
        for password in ["x", "a\u{0}b", &"p".repeat(2000)] {
            let refused = rome.refused("account.verify", verify(account, password));
            assert_eq!(refused["data"]["denial"], "password-wrong", "{refused}");
        }
        for (hash, key_bytes) in [("SHA-1", 20), ("SHA-256", 32)] {
            let scram = json!({"account": account, "hash": hash});
            let keys = rome.ask("account.scram", scram.clone());
            assert_eq!(rome.ask("account.scram", scram), keys);
            assert_eq!(keys["iterations"], 4096);
            let bytes = |field: &str| BASE64.decode(keys[field].as_str().unwrap()).unwrap();
            assert_eq!(bytes("stored_key").len(), key_bytes);
            assert_eq!(bytes("salt").len(), 16);
            assert!(salts.insert(bytes("salt")), "{name} {hash}");
            let succeeded = json!({
                "account": account, "hash": hash, "stored_key": keys["stored_key"], "address": null,
            });
            let refused = rome.refused("account.succeeded", succeeded);
            assert_eq!(refused["data"]["denial"], "password-wrong");
        }
        for method in ["account.delete", "account.enable", "account.disable"] {
            let refused = rome.refused(method, of(account));
            assert_eq!(refused["data"]["denial"], "account-missing", "{method}");
        }
        let refused = rome.refused("account.set_password", create(account, "x"));
        assert_eq!(refused["data"]["denial"], "account-missing");
        let refused = rome.refused("account.admit", with(of(account), "mechanism", json!("X")));
        assert_eq!(refused["data"]["denial"], "session-refused");
        if name != "nobody" {
            for password in [json!("x"), json!(null)] {
                let question = with(create(account, ""), "password", password);
                let refused = rome.refused("account.create", question);
                assert_eq!(refused["data"]["denial"], "account-name-impossible");
                assert_eq!(refused["data"]["stanza"]["condition"], "not-acceptable");
            }
        }
    }
    // It counts for the network, as any other failure does.
    for _ in 0..20 {
        let failed = json!({"account": "\u{1f40e}@rome.lit", "address": "192.0.2.8"});
        rome.ask("account.failed", failed);
    }
    let delayed = json!({"account": "cassius@rome.lit", "address": "192.0.2.8"});
    let delayed = rome.ask("account.failed", delayed);
    assert!(delayed["delay"].as_f64().unwrap() > 0.0, "{delayed}");
    // Without a host of ours it is nobody's question.
    for account in ["rome.lit", "brutus@rome.lit/orchard", "brutus@"] {
        assert_eq!(rome.refused("account.exists", of(account))["code"], -32602);
    }
}

#[test]
fn a_proof_counts_only_while_the_account_is_as_it_was() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    let keys = rome.ask(
        "account.scram",
        json!({"account": BRUTUS, "hash": "SHA-256"}),
    );
    let succeeded = json!({
        "account": BRUTUS, "hash": "SHA-256", "stored_key": keys["stored_key"], "address": null,
    });
    assert_eq!(
        rome.ask("account.succeeded", succeeded.clone())["delay"],
        0.0
    );
    rome.ask("account.disable", of(BRUTUS));
    rome.refused("account.succeeded", succeeded.clone());
    assert_eq!(
        rome.ask("account.enable", of(BRUTUS)),
        json!({"was_enabled": false})
    );
    rome.ask("account.succeeded", succeeded.clone());
    rome.refused(
        "account.succeeded",
        with(succeeded.clone(), "hash", json!("SHA-1")),
    );
    rome.ask(
        "account.set_password",
        json!({"account": BRUTUS, "password": "et tu?"}),
    );
    rome.refused("account.succeeded", succeeded.clone());
    rome.ask("account.delete", of(BRUTUS));
    rome.refused("account.succeeded", succeeded);
}

#[test]
fn guesses_are_delayed_and_never_locked_out() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({"saslcertd_guess_delay_max": 3}));
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    let mut delays = Vec::new();
    for number in 0..14 {
        let answer = if number % 2 == 0 {
            rome.refused("account.verify", verify(BRUTUS, "wrong"))["data"]["delay"].clone()
        } else {
            rome.ask(
                "account.failed",
                json!({"account": BRUTUS, "address": "192.0.2.7"}),
            )["delay"]
                .clone()
        };
        delays.push(answer.as_f64().unwrap());
    }
    let mut expected = vec![0.0; 10];
    expected.extend([0.5, 1.0, 2.0, 3.0]);
    assert_eq!(delays, expected);
    // The right one waits as well, or an attacker need not wait for a no. Elsewhere nobody waits.
    let elsewhere = with(verify(BRUTUS, "et tu?"), "address", json!("198.51.100.1"));
    assert_eq!(rome.ask("account.verify", elsewhere)["delay"], 0.0);
    assert_eq!(
        rome.ask("account.verify", verify(BRUTUS, "et tu?"))["delay"],
        3.0
    );
    // Its own failures are forgotten; those of the address are not.
    let other = rome.refused("account.verify", verify("nobody@rome.lit", "x"));
    assert_eq!(other["data"]["delay"], 3.0);
}

#[test]
fn only_hashes_that_every_account_has_are_common_and_a_login_mends_what_is_lacking() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let mut other = server(&daemon, json!({}));
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    let keys = rome.ask("account.scram", json!({"account": BRUTUS, "hash": "SHA-1"}));
    let login = json!({
        "enabled": true, "created": 1, "password_changed": 1, "password": null,
        "scram": [{"hash": "SHA-1", "salt": keys["salt"], "iterations": keys["iterations"],
                   "stored_key": keys["stored_key"], "server_key": keys["server_key"]}],
    });
    rome.ask("account.delete", of(BRUTUS));
    let import = json!({
        "account": BRUTUS, "incarnation": null, "login": login, "certificates": [], "apply": true,
    });
    assert_eq!(
        rome.ask("account.import", import)["account"]["verdict"],
        "taken"
    );
    let told = json!({"host": ROME, "scram": ["SHA-1"]});
    assert_eq!(rome.question("host.scram"), told);
    assert_eq!(other.question("host.scram"), told);
    // Whoever is asked about: nobody shall be told apart by it.
    for account in [BRUTUS, "nobody@rome.lit"] {
        let scram = |hash: &str| json!({"account": account, "hash": hash});
        let refused = rome.refused("account.scram", scram("SHA-256"));
        assert_eq!(refused["data"]["fault"], "hash-not-common");
        assert_eq!(refused["data"]["sasl"], "temporary-auth-failure");
        rome.ask("account.scram", scram("SHA-1"));
    }
    let mut late = daemon.peer();
    let attach = json!({"protocol": 2, "software": "late", "hosts": [{"host": ROME}]});
    assert_eq!(
        late.ask("session.hello", attach)["hosts"][0]["scram"],
        json!(["SHA-1"])
    );
    let status = rome.ask("status", json!({}));
    let passwords = &status["hosts"][0]["passwords"];
    assert_eq!(
        passwords["without"],
        json!({"SHA-1": 0, "SHA-256": 1}),
        "{status}"
    );
    assert!(admits(&mut rome, BRUTUS, "et tu?"));
    let told = json!({"host": ROME, "scram": ["SHA-1", "SHA-256"]});
    assert_eq!(rome.question("host.scram"), told);
    assert_eq!(other.question("host.scram"), told);
    assert!(admits(&mut rome, BRUTUS, "et tu?"));
}

#[test]
fn of_a_verifier_that_is_none_the_reason_is_said() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let import = |salt: &str, iterations: u32| {
        let scram = json!({"hash": "SHA-1", "salt": salt, "iterations": iterations, "stored_key": key, "server_key": key});
        json!({
            "account": BRUTUS, "incarnation": null, "apply": true, "certificates": [],
            "login": {"enabled": true, "created": 1, "password_changed": 1, "password": null, "scram": [scram]},
        })
    };
    // 65 bytes, and 64.
    let (long, longest) = ("A".repeat(87) + "=", "A".repeat(86) + "==");
    for (salt, iterations, words) in [
        (&long, 4096, "its salt has 65 bytes; 1 to 64 are wanted"),
        (&longest, 0, "its iteration count is 0"),
    ] {
        let refused = rome.ask("account.import", import(salt, iterations));
        assert_eq!(refused["account"]["reason"], "password-unacceptable");
        let text = refused["account"]["text"].as_str().unwrap();
        assert!(text.contains(words), "{text}");
    }
    let taken = rome.ask("account.import", import(&longest, 4096));
    assert_eq!(taken["account"]["verdict"], "taken", "{taken}");
}

#[test]
fn an_account_that_is_moved_in_keeps_its_password_and_a_strangers_stays_as_it_is() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let cert = Made::of(BRUTUS);
    let import = |password: &str, apply: bool| {
        json!({
            "account": BRUTUS, "incarnation": null, "apply": apply,
            "login": {"enabled": true, "created": 1, "password_changed": 1, "password": password},
            "certificates": [{"name": "phone", "certificate": cert.base64(), "may_manage": true}],
        })
    };
    let verdicts = |answer: &Value| {
        let of = |path| answer.pointer(path).unwrap().as_str().unwrap().to_owned();
        (of("/account/verdict"), of("/certificates/0/verdict"))
    };
    let mut expect = |params: Value, account: &str, certificate: &str| {
        let answer = rome.ask("account.import", params);
        assert_eq!(
            verdicts(&answer),
            (account.to_owned(), certificate.to_owned()),
            "{answer}"
        );
    };
    expect(import("et tu?", false), "taken", "taken");
    expect(import("et tu?", true), "taken", "taken");
    expect(import("et tu?", true), "unchanged", "unchanged");
    expect(import("another", true), "kept", "unchanged");
    let other = Made::of(BRUTUS);
    let mut stranger = import("another", true);
    stranger["certificates"][0] =
        json!({"name": "tablet", "certificate": other.base64(), "may_manage": true});
    expect(stranger.clone(), "kept", "refused");
    let kept = rome.ask("account.import", stranger);
    assert_eq!(kept["certificates"][0]["reason"], "account-kept", "{kept}");
    // A certificate that its owner has taken out since does not come back.
    let session = json!({"secure": true, "by": "password", "jid": null, "address": null});
    let disable =
        json!({"account": BRUTUS, "incarnation": null, "session": session, "name": "phone"});
    rome.ask("certificate.disable", disable);
    let answer = rome.ask("account.import", import("et tu?", true));
    assert_eq!(
        answer["certificates"][0]["reason"], "cert-disabled",
        "{answer}"
    );
    assert!(admits(&mut rome, BRUTUS, "et tu?"));
}

#[test]
fn certificates_for_an_account_in_prosody_ask_prosody_whose_they_are() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let mut admin = daemon.peer();
    let cert = Made::of("hamlet@shakespeare.lit");
    let import = |apply: bool| {
        json!({
            "account": "hamlet@shakespeare.lit", "incarnation": null, "login": null, "apply": apply,
            "certificates": [{"name": "phone", "certificate": cert.base64(), "may_manage": true}],
        })
    };
    for (apply, told, verdict) in [
        (false, json!({"exists": true, "incarnation": null}), "taken"),
        (
            false,
            json!({"exists": false, "incarnation": null}),
            "refused",
        ),
        (true, json!({"exists": true, "incarnation": "one"}), "taken"),
        (
            true,
            json!({"exists": true, "incarnation": "one"}),
            "unchanged",
        ),
        (
            true,
            json!({"exists": false, "incarnation": null}),
            "refused",
        ),
    ] {
        let id = admin.send("account.import", import(apply));
        let asked = loop {
            let line = server.line().unwrap();
            if line["method"] == "account.incarnation" {
                break line;
            }
        };
        assert_eq!(
            asked["params"],
            json!({"account": "hamlet@shakespeare.lit", "make": apply})
        );
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": told});
        server.write(format!("{answer}\n").as_bytes());
        let answer = admin.answer(id);
        assert_eq!(
            answer["result"]["certificates"][0]["verdict"], verdict,
            "{answer}"
        );
    }
    // It logs in as that very account.
    server.login(&cert);
    drop(server);
    let refused = admin.refused("account.import", import(true));
    assert_eq!(refused["code"], -32001, "{refused}");
}

#[test]
fn what_was_changed_while_a_server_was_away_is_told_when_it_asks() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    let login = rome.ask("account.verify", verify(BRUTUS, "et tu?"));
    let session = |login: &Value| {
        json!({
            "account": BRUTUS,
            "incarnation": login["incarnation"],
            "password_changed": login["password_changed"],
        })
    };
    let mut told = |session: &Value, method: Option<(&str, Value)>| {
        if let Some((method, params)) = method {
            rome.ask(method, params);
        }
        let answer = rome.ask("session.report", json!({"sessions": [session]}));
        answer
            .pointer("/changed/0/change")
            .cloned()
            .unwrap_or_default()
    };
    let first = session(&login);
    assert_eq!(told(&first, None), Value::Null);
    assert_eq!(
        told(&first, Some(("account.disable", of(BRUTUS)))),
        "disabled"
    );
    assert_eq!(
        told(&first, Some(("account.enable", of(BRUTUS)))),
        Value::Null
    );
    let old = with(first.clone(), "password_changed", json!(1));
    assert_eq!(told(&old, None), "password");
    assert_eq!(
        told(&with(old, "password_changed", Value::Null), None),
        Value::Null
    );
    let again = json!({"account": BRUTUS, "password": "within the same second"});
    assert_eq!(
        told(&first, Some(("account.set_password", again))),
        "password"
    );
    assert_eq!(
        told(&first, Some(("account.delete", of(BRUTUS)))),
        "deleted"
    );
    // Another account of that name: its data must stay.
    let create = create(BRUTUS, "et tu?");
    assert_eq!(told(&first, Some(("account.create", create))), "password");
}

#[test]
fn one_bad_name_shields_no_other_from_a_check() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    rome.ask("account.disable", of(BRUTUS));
    let entry =
        |account: Value| json!({"account": account, "incarnation": null, "password_changed": null});
    let accounts = json!([
        entry(json!("\u{1d2c}@rome.lit")),
        with(entry(json!("cato@rome.lit")), "incarnation", json!(7)),
        entry(json!(["brutus@rome.lit"])),
        null,
        entry(json!(BRUTUS)),
    ]);
    let answer = rome.ask("session.report", json!({ "sessions": accounts }));
    let disabled = json!({"condition": "not-authorized", "text": "Account disabled"});
    let expected = json!([
        {"account": "\u{1d2c}@rome.lit", "change": "disabled", "close": disabled},
        {"account": "cato@rome.lit", "change": "password", "close": {"condition": "reset", "text": "Password changed"}},
        {"account": BRUTUS, "change": "disabled", "close": disabled},
    ]);
    assert_eq!(answer["changed"], expected);
}

#[test]
fn prosodys_detours_create_and_set_passwords() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let mut other = server(&daemon, json!({}));
    let as_caller = |password: Value, caller: &str| json!({"account": BRUTUS, "password": password, "caller": caller});
    // Prosody 13: create without a password, set it, enable.
    let reserved = rome.ask("account.create", as_caller(Value::Null, "server"));
    assert_eq!(reserved["created"], true);
    assert_eq!(rome.ask("account.exists", of(BRUTUS))["exists"], false);
    let taken = other.refused("account.create", as_caller(json!("x"), "server"));
    assert_eq!(taken["data"]["denial"], "account-exists");
    // No account is made by setting a password, and none by who has not reserved the name.
    let set = json!({"account": BRUTUS, "password": "mine"});
    let refused = other.refused("account.set_password", set);
    assert_eq!(refused["data"]["denial"], "account-missing");
    let with_token = |reserved: &Value, password: &str| {
        let wish = as_caller(json!(password), "server");
        with(wish, "reservation", reserved["reservation"].clone())
    };
    let stranger = with(reserved.clone(), "reservation", json!("guessed"));
    for wish in [as_caller(Value::Null, "server"), with_token(&stranger, "x")] {
        let taken = other.refused("account.create", wish);
        assert_eq!(taken["data"]["denial"], "account-exists");
    }
    // A refused password gives the name back.
    let refused = rome.refused("account.create", with_token(&reserved, "a\u{1}b"));
    assert_eq!(refused["data"]["denial"], "password-unacceptable");
    let reserved = other.ask("account.create", as_caller(Value::Null, "server"));
    other.ask("account.create", with_token(&reserved, "fine"));
    let late = rome.refused("account.create", with_token(&reserved, "late"));
    assert_eq!(late["data"]["denial"], "account-exists");
    rome.ask("account.enable", of(BRUTUS));
    assert!(admits(&mut rome, BRUTUS, "fine"));
    assert_eq!(
        rome.question("account.changed"),
        json!({"account": BRUTUS, "change": "created", "close": null})
    );
    // prosodyctl passwd of 0.12, and a reset by invitation, "create" who exists; a reset by its reservation only.
    let taken = rome.refused("account.create", as_caller(json!("no"), "reset"));
    assert_eq!(taken["data"]["denial"], "account-exists");
    let reserved = rome.ask("account.create", as_caller(Value::Null, "reset"));
    assert_eq!(reserved["created"], false);
    let wishes = [
        (as_caller(json!("one"), "prosodyctl"), "one"),
        (with_token(&reserved, "two"), "two"),
    ];
    for (wish, password) in wishes {
        let answer = rome.ask("account.create", wish);
        assert_eq!(answer["created"], false);
        assert!(admits(&mut rome, BRUTUS, password));
        assert_eq!(other.question("account.changed")["change"], "password");
    }
    let late = rome.refused("account.create", with_token(&reserved, "three"));
    assert_eq!(late["data"]["denial"], "account-exists");
    // A reservation that is taken back.
    let cinna = json!({"account": "cinna@rome.lit", "password": null, "caller": "server"});
    let reserved = rome.ask("account.create", cinna);
    let taken_back = with(
        of("cinna@rome.lit"),
        "reservation",
        reserved["reservation"].clone(),
    );
    rome.ask("account.delete", taken_back.clone());
    other.ask("account.create", create("cinna@rome.lit", "poet"));
    assert!(admits(&mut other, "cinna@rome.lit", "poet"));
    // It is used up: who names it later means the account.
    rome.ask("account.delete", taken_back);
    assert!(!admits(&mut other, "cinna@rome.lit", "poet"));
    // A server that takes a reservation back deletes no account that somebody else has made meanwhile, and hears of it.
    let casca = json!({"account": "casca@rome.lit", "password": null, "caller": "server"});
    let reserved = rome.ask("account.create", casca);
    let at_the_terminal = with(
        create("casca@rome.lit", "first"),
        "caller",
        json!("prosodyctl"),
    );
    other.ask("account.create", at_the_terminal);
    let taken_back = with(
        of("casca@rome.lit"),
        "reservation",
        reserved["reservation"].clone(),
    );
    let refused = rome.refused("account.delete", taken_back);
    assert_eq!(refused["data"]["denial"], "account-exists");
    assert!(admits(&mut other, "casca@rome.lit", "first"));
}

#[test]
fn of_two_who_create_one_account_at_the_same_moment_one_hears_of_a_conflict() {
    let daemon = Daemon::start();
    let mut peers = [server(&daemon, json!({})), server(&daemon, json!({}))];
    let create_at_once = |peers: &mut [Peer; 2], wishes: [Value; 2]| -> [Value; 2] {
        let [one, other] = wishes;
        let ids = [
            peers[0].send("account.create", one),
            peers[1].send("account.create", other),
        ];
        [peers[0].answer(ids[0]), peers[1].answer(ids[1])]
    };
    let is_conflict = |answer: &Value| {
        let denial = answer.pointer("/error/data/denial");
        assert!(denial.is_none_or(|denial| denial == "account-exists"));
        denial.is_some()
    };
    for number in 0..40 {
        let account = format!("player{number}@rome.lit");
        // As Prosody 0.12 and as Prosody 13 does it: at once, and after a reservation.
        let with_password = |password: &str| create(&account, password);
        let wishes = if number % 2 == 0 {
            [with_password("one"), with_password("two")]
        } else {
            let reserve = json!({"account": account, "password": null, "caller": "server"});
            let reserved = create_at_once(&mut peers, [reserve.clone(), reserve]);
            assert_ne!(is_conflict(&reserved[0]), is_conflict(&reserved[1]));
            let token = |answer: &Value| answer.pointer("/result/reservation").cloned();
            [("one", &reserved[0]), ("two", &reserved[1])].map(|(password, answer)| {
                let token = token(answer).unwrap_or_default();
                with(with_password(password), "reservation", token)
            })
        };
        let answers = create_at_once(&mut peers, wishes);
        let refused: Vec<bool> = answers.iter().map(is_conflict).collect();
        assert_ne!(refused[0], refused[1], "{answers:?}");
        for (password, refused) in ["one", "two"].into_iter().zip(refused) {
            assert_eq!(admits(&mut peers[0], &account, password), !refused);
        }
    }
}

#[test]
fn an_account_is_deleted_only_if_it_is_the_one_that_is_meant() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    let login = rome.ask("account.verify", verify(BRUTUS, "et tu?"));
    let delete = with(of(BRUTUS), "incarnation", login["incarnation"].clone());
    rome.ask("account.delete", delete.clone());
    rome.ask("account.create", create(BRUTUS, "another"));
    let refused = rome.refused("account.delete", delete);
    assert_eq!(refused["data"]["denial"], "account-missing");
    assert!(admits(&mut rome, BRUTUS, "another"));
}

#[test]
fn passwords_that_cannot_be_one_are_refused() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let longest = "p".repeat(1024);
    for (password, is_fine) in [
        ("", false),
        ("a\nb", false),
        ("\u{0}", false),
        (&"p".repeat(1025), false),
        (longest.as_str(), true),
        ("a:b:c", true),
        ("p\u{e4}ss\u{1f40e}", true),
    ] {
        let id = rome.send("account.create", create(BRUTUS, password));
        let answer = rome.answer(id);
        let denial = answer.pointer("/error/data/denial");
        assert_eq!(denial.is_none(), is_fine, "{answer}");
        if is_fine {
            assert!(admits(&mut rome, BRUTUS, password));
            rome.ask("account.delete", of(BRUTUS));
        } else {
            assert_eq!(denial.unwrap(), "password-unacceptable");
            assert!(!admits(&mut rome, BRUTUS, password));
        }
    }
}

#[test]
fn an_accounts_certificates_live_and_die_with_it() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let mut other = server(&daemon, json!({}));
    let cert = Made::of(BRUTUS);
    let session =
        json!({"secure": true, "by": "password", "jid": "brutus@rome.lit/forum", "address": null});
    let append = json!({
        "account": BRUTUS, "incarnation": "ignored", "session": session,
        "name": "phone", "certificate": cert.base64(), "may_manage": true,
    });
    let login = json!({
        "host": ROME, "chain": [cert.base64()], "authzid": null, "address": null,
        // Prosody's word on accounts that live here is not believed.
        "accounts": [{"username": "brutus", "exists": true, "enabled": true, "incarnation": "ignored"}],
    });
    let offer = json!({"host": ROME, "chain": [cert.base64()]});
    let refused = rome.refused("certificate.append", append.clone());
    assert_eq!(refused["data"]["denial"], "account-missing");
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    let without = with(append.clone(), "incarnation", Value::Null);
    rome.ask("certificate.append", without);
    // Nobody needs to say which accounts there are.
    let offered = rome.ask("external.offer", offer.clone());
    assert_eq!(offered["offer"], true);
    assert_eq!(offered.get("candidates"), None);
    let session_of = rome.ask("external.login", with(login.clone(), "accounts", json!([])));
    assert_eq!(session_of["username"], "brutus");
    rome.ask("account.disable", of(BRUTUS));
    assert_eq!(other.question("account.changed")["change"], "created");
    assert_eq!(other.question("account.changed")["change"], "disabled");
    assert_eq!(rome.ask("external.offer", offer.clone())["offer"], false);
    let refused = rome.refused("external.login", login.clone());
    assert_eq!(refused["data"]["denial"], "account-disabled");
    rome.ask("account.enable", of(BRUTUS));
    rome.ask("external.login", login.clone());
    let gone = rome.ask("account.delete", of(BRUTUS));
    assert_eq!(gone, json!({"certificates": 1, "servers": 1}));
    assert_eq!(rome.ask("external.offer", offer)["offer"], false);
    rome.refused("external.login", login.clone());
    // A later account of the name inherits nothing.
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    rome.refused("external.login", login);
    let list = json!({"account": BRUTUS, "incarnation": null, "session": session, "after": null});
    assert_eq!(
        rome.ask("certificate.list", list)["certificates"],
        json!([])
    );
    rome.ask("certificate.append", append);
}

#[test]
fn accounts_are_listed_in_pages() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let keys = BASE64.encode([1; 20]);
    let login = json!({
        "enabled": true, "created": 1, "password_changed": 2, "password": null,
        "scram": [{"hash": "SHA-1", "salt": "c2FsdA==", "iterations": 4096, "stored_key": keys, "server_key": keys}],
    });
    let mut expected = Vec::new();
    for number in 0..1203 {
        let username = format!("legionary-{number:04}");
        let account = format!("{username}@{ROME}");
        rome.ask(
            "account.import",
            json!({"account": account, "incarnation": null, "login": login, "certificates": [], "apply": true}),
        );
        expected.push(username);
    }
    let mut found = Vec::new();
    let mut after = Value::Null;
    let mut pages = 0;
    loop {
        let page = rome.ask("account.list", json!({"host": ROME, "after": after}));
        pages += 1;
        for row in page["accounts"].as_array().unwrap() {
            assert_eq!(row["scram"], json!(["SHA-1"]));
            found.push(row["username"].as_str().unwrap().to_owned());
        }
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(found, expected);
    assert!(pages > 2, "{pages} pages");
}

#[test]
fn a_host_whose_accounts_live_in_prosody_has_no_passwords_here_but_for_an_admin() {
    let daemon = Daemon::start();
    let mut peer = daemon.server(json!({}));
    // This peer is an admin, who prepares the host before it is moved.
    peer.ask("account.create", create("hamlet@shakespeare.lit", "to be"));
    assert!(admits(&mut peer, "hamlet@shakespeare.lit", "to be"));
    let unknown = peer.refused("account.exists", of("a@nowhere.lit"));
    assert_eq!(unknown["code"], -32002);
}

#[test]
fn who_keeps_no_sessions_is_asked_nothing_and_logs_nobody_in() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let mut cli = daemon.peer();
    let attach =
        json!({"protocol": 2, "software": "cli", "sessions": false, "hosts": [{"host": ROME}]});
    cli.ask("session.hello", attach);
    let early = cli.refused("external.offer", json!({"host": ROME, "chain": ["MA=="]}));
    assert_eq!(early["code"], -32003);
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    cli.ask("account.disable", of(BRUTUS));
    assert_eq!(rome.question("account.changed")["change"], "disabled");
    cli.ask("account.delete", of(BRUTUS));
    assert_eq!(cli.asked, Vec::<Value>::new());
}

#[test]
fn a_flood_of_passwords_is_refused_as_a_fault_and_certificates_go_on() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    let cert = Made::of(BRUTUS);
    let session = json!({"secure": true, "by": "password", "jid": null, "address": null});
    rome.ask(
        "certificate.append",
        json!({"account": BRUTUS, "session": session, "name": "phone", "certificate": cert.base64(), "may_manage": true}),
    );
    // To try a password of this account takes a second and more.
    let key = BASE64.encode([1; 32]);
    let slow = json!([{
        "hash": "SHA-256", "salt": "c2FsdA==", "iterations": 10_000_000, "stored_key": key, "server_key": key,
    }]);
    let login = json!({"enabled": true, "created": 1, "password_changed": 1, "password": null, "scram": slow});
    rome.ask(
        "account.import",
        json!({"account": "cato@rome.lit", "incarnation": null, "login": login, "certificates": [], "apply": true}),
    );
    let mut other = server(&daemon, json!({}));
    for _ in 0..200 {
        other.send("account.verify", verify("cato@rome.lit", "x"));
    }
    let login = json!({"host": ROME, "chain": [cert.base64()], "authzid": null, "address": null, "accounts": []});
    rome.ask("external.login", login.clone());
    // On the connection of the flood, too: in front of every answer that needed a derivation.
    let id = other.send("external.login", login);
    let (mut decided, mut sent_away) = (0, 0);
    loop {
        let answer = other.line().unwrap();
        if answer["id"] == id {
            assert_eq!(answer["result"]["username"], "brutus", "{answer}");
            break;
        }
        match answer["error"]["code"].as_i64().unwrap() {
            -32000 => decided += 1,
            -32001 => {
                assert_eq!(answer["error"]["data"]["sasl"], "temporary-auth-failure");
                sent_away += 1;
            }
            code => panic!("{code}: {answer}"),
        }
    }
    // Those that were derived while the question was on its way had no place in the queue any more.
    assert!(decided < 8 && sent_away > 100, "{decided} {sent_away}");
}

#[test]
fn a_yes_is_never_queued_behind_a_change() {
    let daemon = Daemon::start();
    let mut rome = server(&daemon, json!({}));
    let mut admin = daemon.peer();
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    for _ in 0..30 {
        let ids: Vec<u64> = (0..8)
            .map(|_| {
                let params = json!({"account": BRUTUS, "password": "et tu?", "address": null});
                rome.send("account.verify", params)
            })
            .collect();
        admin.ask("account.disable", of(BRUTUS));
        let mut open = ids.len();
        let mut is_disabled = false;
        while open > 0 || !is_disabled {
            let line = rome.line().unwrap();
            if line["method"] == "account.changed" {
                is_disabled |= line["params"]["change"] == "disabled";
            } else if line.get("method").is_none() {
                assert!(
                    !is_disabled || line.get("result").is_none(),
                    "a late yes: {line}"
                );
                open -= 1;
            }
        }
        admin.ask("account.enable", of(BRUTUS));
        assert_eq!(rome.question("account.changed")["change"], "enabled");
    }
}
