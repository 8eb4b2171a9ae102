//! `certificate.list`, `append`, `disable`, `revoke`.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use serde_json::{Value, json};

use crate::passwords::{self, BRUTUS};
use crate::support::{
    Daemon, HAMLET, HOST, Made, ONE, Peer, append, by_certificate, by_password, hello, list, login,
    named, with,
};

/// A certificate of about so many bytes.
fn large(bytes: usize) -> Made {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    Made::with(key, |params| {
        let xmpp = vec![1, 3, 6, 1, 5, 5, 7, 8, 5];
        params.subject_alt_names = vec![SanType::OtherName((xmpp, HAMLET.into()))];
        let [high, low] = u16::try_from(bytes).unwrap().to_be_bytes();
        let mut content = vec![4, 0x82, high, low];
        content.resize(content.len() + bytes, 7);
        let filler = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], content);
        params.custom_extensions.push(filler);
    })
}

#[test]
fn an_account_piles_up_no_expired_certificates() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_max_certs": 2}));
    let yesterday = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    let short_lived = |number: i64| {
        let cert = Made::valid_until(HAMLET, yesterday - time::Duration::minutes(number));
        json!({
            "type": "certificate", "account": HAMLET, "incarnation": ONE, "name": format!("short {number}"),
            "certificate": cert.base64(), "may_manage": true, "order": number, "added_at": 1,
            "added_with": null, "added_by": null, "last_use": null,
        })
    };
    let records: Vec<Value> = (1..=30).map(short_lived).collect();
    let brought = server.ask("import", json!({"records": records, "apply": true}));
    assert_eq!(brought["written"], 30, "{brought}");
    // None of them counts, and with each append those that are too many go.
    server.append("phone", &Made::of(HAMLET));
    server.append("short 21", &Made::of(HAMLET));
    let listed = server.ask("certificate.list", list());
    let listed = listed["certificates"].as_array().unwrap();
    let is = |expired: bool| {
        listed
            .iter()
            .filter(|one| one["expired"] == expired)
            .count()
    };
    assert_eq!((is(true), is(false)), (20, 2));
    // A name of those that stay is still taken.
    let taken = server.refused("certificate.append", append("short 20", &Made::of(HAMLET)));
    assert_eq!(taken["data"]["denial"], "name-taken");
}

#[test]
fn an_account_piles_up_no_large_certificates() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_max_certs": 1000}));
    let mut count = 0;
    let refused = loop {
        let id = server.send(
            "certificate.append",
            append(&format!("{count}"), &large(14_000)),
        );
        let answer = server.answer(id);
        if let Some(error) = answer.get("error") {
            break error.clone();
        }
        count += 1;
        assert!(count < 100);
    };
    assert_eq!(refused["data"]["denial"], "list-too-large");
    assert!(refused["message"].as_str().unwrap().contains("remove one"));
    // Twenty of the largest size are nobody's problem.
    assert!(count >= 20, "{count}");
    server.ask("certificate.disable", named("0"));
    server.append("again", &large(14_000));
}

#[test]
fn a_list_shows_everything_in_the_order_of_addition() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    assert_eq!(
        server.ask("certificate.list", list()),
        json!({"certificates": [], "next": null, "disabled": [], "links": []})
    );
    let (first, second) = (Made::of(HAMLET), Made::of(HAMLET));
    server.append("zebra", &first);
    server.append(" a \u{1f4f1} <&>\"' ", &second);
    server.login(&second);
    let listed = server.ask("certificate.list", list());
    let rows = listed["certificates"].as_array().unwrap();
    assert_eq!(rows[0]["name"], "zebra");
    assert_eq!(rows[1]["name"], "a \u{1f4f1} <&>\"'");
    assert_eq!(rows[0]["certificate"], first.base64());
    assert_eq!(rows[0]["addresses"], json!([HAMLET]));
    assert_eq!(rows[0]["not_before"], 1_767_225_600);
    assert_eq!(rows[0]["expired"], false);
    assert_eq!(rows[0]["added"]["by"], "password");
    assert_eq!(rows[0]["added"]["jid"], "hamlet@shakespeare.lit/castle");
    assert_eq!(rows[0]["last_use"], Value::Null);
    assert_eq!(rows[1]["last_use"]["address"], "192.0.2.7");
    assert_eq!(listed["next"], Value::Null);
}

#[test]
fn an_admin_adds_for_the_account_that_has_the_name() {
    let daemon = Daemon::start();
    let mut rome = passwords::server(&daemon, json!({}));
    let cert = Made::of(BRUTUS);
    let file = daemon.folder.path().join("brutus.der");
    std::fs::write(&file, &cert.der).unwrap();
    let add = || {
        let mut command = daemon.command("cert");
        command.args(["add", BRUTUS, "phone"]).arg(&file);
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.code(), said)
    };
    let (status, said) = add();
    assert!(
        status == Some(1) && said.contains("does not exist"),
        "{said}"
    );
    rome.ask("account.create", passwords::create(BRUTUS, "et tu?"));
    rome.ask("account.disable", json!({"account": BRUTUS}));
    let (status, said) = add();
    assert!(status == Some(1) && said.contains("is disabled"), "{said}");
    rome.ask("account.enable", json!({"account": BRUTUS}));
    assert_eq!(add(), (Some(0), String::new()));
    let listed = daemon
        .peer()
        .ask("certificate.list", json!({"account": BRUTUS}));
    assert_eq!(listed["certificates"][0]["added"]["by"], "admin");
    assert_eq!(listed["certificates"][0]["certificate"], cert.base64());
    // Several certificates in a file: which of them is meant would be a guess.
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        cert.base64()
    );
    std::fs::write(&file, pem.repeat(2)).unwrap();
    let (status, said) = add();
    assert!(
        status == Some(1) && said.contains("several certificates"),
        "{said}"
    );
}

#[test]
fn a_long_list_comes_in_pages() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_max_certs": 500}));
    let names: Vec<String> = (0..120).map(|number| format!("n{number}")).collect();
    for name in &names {
        server.append(name, &Made::of(HAMLET));
    }
    let mut listed = Vec::new();
    let mut after = Value::Null;
    let mut pages = 0;
    loop {
        let page = server.ask("certificate.list", with(list(), "after", after));
        assert!(page.to_string().len() < 100 * 1024);
        let rows = page["certificates"].as_array().unwrap();
        listed.extend(
            rows.iter()
                .map(|row| row["name"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(listed, names);
    assert!(pages > 1);
}

#[test]
fn an_append_is_refused_with_the_words_for_the_client() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_max_certs": 2}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let other = Made::of(HAMLET);
    let pem = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----";
    let folded = other.base64().replace('A', "\n A");
    let insecure = with(by_password(), "secure", json!(false));
    for (params, expected) in [
        (append("phone", &other), Some(("name-taken", "conflict"))),
        (append(" phone ", &other), Some(("name-taken", "conflict"))),
        (append("x", &cert), Some(("already-enrolled", "conflict"))),
        (append("", &other), Some(("name-invalid", "bad-request"))),
        (
            append(&"n".repeat(257), &other),
            Some(("name-invalid", "bad-request")),
        ),
        (
            append("x", &Made::of("ophelia@shakespeare.lit")),
            Some(("address-foreign", "not-acceptable")),
        ),
        (
            with(append("x", &other), "certificate", json!("@@@")),
            Some(("not-base64", "bad-request")),
        ),
        (
            with(append("x", &other), "certificate", json!(pem)),
            Some(("cert-unacceptable", "not-acceptable")),
        ),
        (
            with(
                append("x", &other),
                "certificate",
                json!("A".repeat(30_000)),
            ),
            Some(("cert-unacceptable", "not-acceptable")),
        ),
        (
            with(append("x", &other), "session", insecure),
            Some(("stream-not-secure", "policy-violation")),
        ),
        (
            with(append("second", &other), "certificate", json!(folded)),
            None,
        ),
        (
            append("third", &Made::of(HAMLET)),
            Some(("too-many-certificates", "resource-constraint")),
        ),
    ] {
        let name = params["name"].clone();
        let id = server.send("certificate.append", params);
        let answer = server.answer(id);
        let data = &answer["error"]["data"];
        let got = data["denial"]
            .as_str()
            .zip(data["stanza"]["condition"].as_str());
        assert_eq!(got, expected, "{name} {answer}");
    }
}

#[test]
fn a_file_that_is_uploaded_as_it_is_is_refused_in_the_words_for_that_file() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        cert.base64()
    );
    let marked = |bytes: &[u8]| [b"\xef\xbb\xbf", bytes].concat();
    let utf16: Vec<u8> = format!("\u{feff}{pem}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let key = format!("\u{feff}{}", cert.key.serialize_pem());
    let mark =
        "It begins with a byte order mark, three bytes that nobody sees; this takes them away: sed";
    for (uploaded, words) in [
        (BASE64.encode(marked(&cert.der)), mark),
        (BASE64.encode(marked(pem.as_bytes())), mark),
        (format!("\u{feff}{}", cert.base64()), mark),
        (format!("\n\u{feff}{pem}"), mark),
        (BASE64.encode(utf16), "It is UTF-16 text"),
        (BASE64.encode(&pem), "This is PEM text"),
        (BASE64.encode(&key), "There is a private key in it"),
        (key, "There is a private key in it"),
    ] {
        let wish = with(append("phone", &cert), "certificate", json!(uploaded));
        let refused = server.refused("certificate.append", wish);
        assert_eq!(refused["data"]["denial"], "cert-unacceptable", "{refused}");
        let said = refused["message"].as_str().unwrap();
        assert!(said.starts_with(words), "{words}: {said}");
    }
    server.append("phone", &cert);
}

#[test]
fn of_eight_simultaneous_appends_of_one_name_one_succeeds() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let ids: Vec<u64> = (0..8)
        .map(|_| server.send("certificate.append", append("phone", &Made::of(HAMLET))))
        .collect();
    let mut answers = Vec::new();
    while answers.len() < ids.len() {
        let line = server.line().unwrap();
        if line.get("method").is_none() {
            answers.push(line);
        }
    }
    let denials: Vec<&Value> = answers
        .iter()
        .map(|line| &line["error"]["data"]["denial"])
        .collect();
    let conflicts = denials
        .iter()
        .filter(|denial| **denial == "name-taken")
        .count();
    assert_eq!(conflicts, 7, "{answers:?}");
    let answered: BTreeSet<u64> = answers
        .iter()
        .filter_map(|line| line["id"].as_u64())
        .collect();
    assert_eq!(answered, ids.into_iter().collect());
}

#[test]
fn a_certificate_without_the_right_may_look_but_not_touch() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let (limited, free) = (Made::of(HAMLET), Made::of(HAMLET));
    server.ask(
        "certificate.append",
        with(append("limited", &limited), "may_manage", json!(false)),
    );
    server.append("free", &free);
    let limited = by_certificate(&server.login(&limited));
    let free = by_certificate(&server.login(&free));
    for method in ["certificate.disable", "certificate.revoke"] {
        let refused = server.refused(method, with(named("free"), "session", limited.clone()));
        assert_eq!(refused["data"]["denial"], "management-forbidden");
        assert_eq!(refused["data"]["stanza"]["condition"], "forbidden");
    }
    let wish = with(append("x", &Made::of(HAMLET)), "session", limited.clone());
    let refused = server.refused("certificate.append", wish);
    assert_eq!(refused["data"]["denial"], "management-forbidden");
    server.ask("certificate.list", with(list(), "session", limited));
    let wish = with(append("x", &Made::of(HAMLET)), "session", free.clone());
    server.ask("certificate.append", wish);
    server.ask(
        "certificate.disable",
        with(named("limited"), "session", free),
    );
}

#[test]
fn the_daemon_tells_a_password_from_a_token_by_the_mechanism() {
    let mut daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let session = |mechanism: Value| json!({"secure": true, "by": "sasl", "mechanism": mechanism, "jid": "hamlet@shakespeare.lit/castle", "address": null});
    for (number, mechanism) in ["PLAIN", "SCRAM-SHA-256-PLUS"].into_iter().enumerate() {
        let wish = append(&format!("phone {number}"), &Made::of(HAMLET));
        server.ask(
            "certificate.append",
            with(wish, "session", session(json!(mechanism))),
        );
    }
    let listed = server.ask("certificate.list", list());
    assert_eq!(listed["certificates"][1]["added"]["by"], "password");
    for mechanism in [json!("OAUTHBEARER"), json!("HT-SHA-256-NONE"), json!(null)] {
        let wish = with(
            append("another", &Made::of(HAMLET)),
            "session",
            session(mechanism),
        );
        let refused = server.refused("certificate.append", wish);
        assert_eq!(refused["data"]["denial"], "management-forbidden");
    }
    let token = session(json!("OAUTHBEARER"));
    server.ask(
        "certificate.disable",
        with(named("phone 0"), "session", token.clone()),
    );
    server.ask(
        "certificate.revoke",
        with(named("phone 1"), "session", token),
    );
    daemon.stop();
    let log = daemon.log();
    assert!(log.contains("logged in with a token"), "{log}");
    assert!(log.contains("logged in with a password"), "{log}");
}

#[test]
fn a_name_that_nobody_has_is_not_found() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    for method in ["certificate.disable", "certificate.revoke"] {
        let refused = server.refused(method, named("nobody"));
        assert_eq!(refused["data"]["stanza"]["condition"], "item-not-found");
    }
}

#[test]
fn a_later_account_of_the_name_inherits_nothing() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let later = |params: Value| with(params, "incarnation", json!("two"));
    let listed = server.ask("certificate.list", later(list()));
    assert_eq!(listed["certificates"], json!([]));
    server.ask(
        "certificate.append",
        later(append("phone", &Made::of(HAMLET))),
    );
    // The name went to the new account, and with it the old certificate.
    assert_eq!(
        server.login_refused(&cert)["data"]["denial"],
        "cert-unknown"
    );
}

#[test]
fn every_change_is_told_to_the_account() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    server.append("phone", &Made::of(HAMLET));
    let told = server.question("account.notify");
    assert_eq!(told["account"], HAMLET);
    let text = told["text"].as_str().unwrap();
    assert!(
        text.contains("\"phone\"") && text.contains("192.0.2.7"),
        "{text}"
    );
    server.ask("certificate.revoke", named("phone"));
    let told = server.question("account.notify");
    assert!(told["text"].as_str().unwrap().contains("revoked"));
}

#[test]
fn what_some_clients_cannot_use_is_accepted_with_a_warning() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let bare = server.append("bare", &Made::of(HAMLET));
    assert_eq!(bare["warnings"].as_array().unwrap().len(), 1);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let full = Made::with(key, |params| {
        params.subject_alt_names = vec![
            SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 5], HAMLET.into())),
            SanType::Rfc822Name(HAMLET.try_into().unwrap()),
        ];
    });
    assert_eq!(server.append("full", &full)["warnings"], json!([]));
}

/// An administrator in the server's own shell.
fn by_admin() -> Value {
    json!({"secure": true, "by": "admin", "jid": null, "address": null})
}

#[test]
fn an_administrator_of_the_server_sees_and_revokes_what_every_account_of_the_name_has() {
    let mut daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_manage_with": "password"}));
    server.append("phone", &Made::of(HAMLET));
    let later = Made::of(HAMLET);
    server.ask(
        "certificate.append",
        with(append("laptop", &later), "incarnation", json!("two")),
    );
    for _ in 0..2 {
        server.question("account.notify");
    }
    let all = json!({"account": HAMLET, "session": by_admin()});
    let listed = server.ask("certificate.list", all);
    let names: Vec<&Value> = listed["certificates"].as_array().unwrap().iter().collect();
    let names: Vec<&Value> = names.iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["phone", "laptop"]);
    for name in ["phone", "laptop"] {
        let wish = json!({"account": HAMLET, "session": by_admin(), "name": name});
        assert_eq!(server.ask("certificate.revoke", wish)["name"], name);
        let told = server.question("account.notify");
        let text = told["text"].as_str().unwrap();
        assert!(
            text.contains("revoked by an administrator of the server."),
            "{text}"
        );
    }
    daemon.wait_for("name of who did it in the log", |daemon| {
        daemon
            .log()
            .contains("by=\"an administrator of the server\"")
    });
    let nobody = json!({"account": HAMLET, "session": by_admin(), "name": "phone"});
    let refused = server.refused("certificate.revoke", nobody);
    assert_eq!(refused["data"]["denial"], "name-unknown");
}

#[test]
fn an_administrator_of_the_server_may_revoke_for_an_account_that_is_disabled_or_gone() {
    let daemon = Daemon::start();
    let mut rome = passwords::server(&daemon, json!({}));
    rome.ask(
        "account.create",
        passwords::create(passwords::BRUTUS, "et tu?"),
    );
    let cert = Made::of(passwords::BRUTUS);
    let wish = with(append("phone", &cert), "account", json!(passwords::BRUTUS));
    rome.ask("certificate.append", wish);
    rome.ask("account.disable", json!({"account": passwords::BRUTUS}));
    let wish = json!({"account": passwords::BRUTUS, "session": by_admin()});
    let listed = rome.ask("certificate.list", wish.clone());
    assert_eq!(listed["certificates"][0]["name"], "phone");
    let by_himself = with(wish.clone(), "session", by_password());
    let refused = rome.refused("certificate.list", by_himself);
    assert_eq!(refused["data"]["denial"], "account-disabled");
    rome.ask("certificate.revoke", with(wish, "name", json!("phone")));
    let nobody = json!({"account": "nobody@rome.lit", "session": by_admin()});
    let listed = rome.ask("certificate.list", nobody);
    assert_eq!(listed["certificates"], json!([]));
}

#[test]
fn what_expires_soon_is_counted_by_host() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let mut neighbour = daemon.peer();
    neighbour.ask("session.hello", hello("shakespeare.lit.example", json!({})));
    let until = |days: i64| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Made::with(key, |params| {
            params.subject_alt_names = vec![SanType::OtherName((
                vec![1, 3, 6, 1, 5, 5, 7, 8, 5],
                HAMLET.into(),
            ))];
            params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        })
    };
    let mut counts =
        |days: u16| server.ask("certificate.expiring", json!({"days": days}))["counts"].clone();
    assert_eq!(counts(30), json!({HOST: 0}));
    let mut asker = daemon.peer();
    let nothing = json!({"protocol": 2, "software": "test", "hosts": []});
    asker.ask("session.hello", nothing);
    for (name, days) in [("soon", 3), ("later", 20), ("next year", 300)] {
        asker.append(name, &until(days));
    }
    assert_eq!(counts(30), json!({HOST: 2}));
    assert_eq!(counts(10), json!({HOST: 1}));
    assert_eq!(counts(0), json!({HOST: 0}));
    assert_eq!(counts(365), json!({HOST: 3}));
    let year = json!({"days": 365});
    let elsewhere = neighbour.ask("certificate.expiring", year.clone());
    assert_eq!(elsewhere["counts"], json!({"shakespeare.lit.example": 0}));
    assert_eq!(asker.ask("certificate.expiring", year)["counts"], json!({}));
    // A later account of the name: nobody waits for those of the earlier one.
    let another = with(append("soon", &until(3)), "incarnation", json!("two"));
    asker.ask("certificate.append", another);
    assert_eq!(counts(30), json!({HOST: 1}));
    // Nobody knows by which rules a host with wrong options is to be counted.
    let unready = hello(HOST, json!({"saslcertd_trust": "all"}));
    server.ask("session.hello", unready);
    let left = server.ask("certificate.expiring", json!({"days": 30}));
    assert_eq!(left["counts"], json!({}));
}

#[test]
fn the_limit_of_a_host_is_its_own() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_manage_with": "password"}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let session = by_certificate(&server.ask("external.login", login(&cert)));
    let refused = server.refused(
        "certificate.revoke",
        with(named("phone"), "session", session),
    );
    assert_eq!(refused["data"]["denial"], "management-forbidden");
}

#[test]
fn an_admin_sees_which_keys_are_revoked_and_which_certificates_disabled() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let marked = |args: &[&str]| {
        let mut command = daemon.command("cert");
        let run = command.args(["list", "--revoked", HAMLET]).args(args);
        let run = run.output().unwrap();
        assert!(run.status.success(), "{run:?}");
        String::from_utf8(run.stdout).unwrap()
    };
    assert!(marked(&[]).starts_with("no key of hamlet@"));
    let (phone, tablet) = (Made::of(HAMLET), Made::of(HAMLET));
    server.append("phone", &phone);
    let disabled = server.append("tablet", &tablet);
    let revoked = server.ask("certificate.revoke", named("phone"));
    server.ask("certificate.disable", named("tablet"));
    let said = marked(&[]);
    let key = revoked["key_id"].as_str().unwrap();
    for line in [
        format!("revoked   key {key}\n"),
        format!("saslcertd cert unrevoke {HAMLET} {key}\n"),
        "disabled  tablet\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{said}");
    }
    let told: Value = serde_json::from_str(&marked(&["--json"])).unwrap();
    assert_eq!(told["revoked"][0]["key_id"], key, "{told}");
    assert!(told["revoked"][0]["at"].as_i64() > Some(1_700_000_000));
    assert_eq!(
        told["disabled"][0]["fingerprint"], disabled["fingerprint"],
        "{told}"
    );
    assert_eq!(
        (
            told["revoked"].as_array().unwrap().len(),
            told["disabled"].as_array().unwrap().len()
        ),
        (1, 1)
    );
    assert_eq!(told["left_out"], 0);
    // Lifted, it is gone.
    server.ask(
        "certificate.unrevoke",
        json!({"account": HAMLET, "key_id": key}),
    );
    assert!(!marked(&[]).contains("revoked   key"));
}

/// A client's request of XEP-0257.
fn request(element: &str, children: Value) -> Value {
    json!({
        "account": HAMLET, "incarnation": ONE, "session": by_password(),
        "element": element, "children": children,
    })
}

#[test]
fn a_clients_request_is_carried_out() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    let both = json!({"name": ["phone"], "x509cert": [cert.base64()], "no-cert-management": [""]});
    let ask = |server: &mut Peer, element: &str, children: &Value| {
        server.ask("certificate.request", request(element, children.clone()))
    };
    let listed = |server: &mut Peer| {
        let answer = server.ask(
            "certificate.list",
            with(named("phone"), "after", Value::Null),
        );
        answer["certificates"].as_array().unwrap().clone()
    };
    assert_eq!(ask(&mut server, "append", &both), json!({"close": []}));
    let list = listed(&mut server);
    assert_eq!(list[0]["may_manage"], false);
    let name = json!({"name": ["phone"]});
    assert_eq!(ask(&mut server, "disable", &name), json!({"close": []}));
    assert!(listed(&mut server).is_empty());
    ask(&mut server, "append", &both);
    let revoked = ask(&mut server, "revoke", &name);
    // In the answer, and once more in the line behind it.
    let closing = server.question("sessions.close");
    assert_eq!(revoked["close"], json!([closing]));
    assert_eq!(closing["key_id"], list[0]["key_id"]);
}

#[test]
fn a_clients_request_that_is_malformed_is_refused_in_words() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let base64 = Made::of(HAMLET).base64();
    for (element, children, words) in [
        (
            "append",
            json!({"x509cert": [base64]}),
            "There must be a <name/>",
        ),
        (
            "append",
            json!({"name": ["a"], "x509cert": [base64, base64]}),
            "There must be only one <x509cert/>",
        ),
        (
            "revoke",
            json!({"name": [null]}),
            "<name/> must contain text only",
        ),
        (
            "disable",
            json!({"name": [" "]}),
            "<name/> must not be empty",
        ),
    ] {
        let error = server.refused("certificate.request", request(element, children));
        assert_eq!(error["data"]["denial"], "request-malformed");
        assert_eq!(error["message"], words);
    }
    let error = server.refused("certificate.request", request("items", json!({})));
    assert_eq!(error["code"], -32602);
}
