//! `command.step`: the ad-hoc command, step by step.

use serde_json::{Value, json};

use crate::passwords;
use crate::support::{Daemon, HAMLET, Made, ONE, Peer, append, by_certificate, by_password, with};

/// A step of a session that has logged in with its password.
fn step(step: Option<&str>, action: &str, fields: Value) -> Value {
    json!({
        "account": HAMLET,
        "incarnation": ONE,
        "session": by_password(),
        "presented": null,
        "step": step,
        "action": action,
        "fields": fields,
    })
}

fn chosen(subcommand: &str) -> Value {
    step(Some("menu"), "next", json!({"subcmd": [subcommand]}))
}

fn take(server: &mut Peer, step: Value) -> Value {
    server.ask("command.step", step)
}

/// The only note, of this kind.
fn note(answer: &Value, kind: &str) -> String {
    assert_eq!(answer["status"], "completed", "{answer}");
    assert_eq!(answer["notes"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["notes"][0]["type"], kind, "{answer}");
    answer["notes"][0]["text"].as_str().unwrap().to_owned()
}

fn options(answer: &Value) -> Vec<&str> {
    let fields = answer["form"]["fields"].as_array().unwrap();
    let options = fields
        .iter()
        .flat_map(|field| field["options"].as_array().unwrap());
    options
        .map(|option| option["value"].as_str().unwrap())
        .collect()
}

#[test]
fn the_menu_offers_what_the_session_can_use() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let login = server.login(&cert);
    let first = step(None, "execute", Value::Null);
    for (question, offered) in [
        (
            first.clone(),
            vec!["add", "list", "disable", "revoke", "revoke-others"],
        ),
        (
            with(first.clone(), "presented", json!(cert.base64())),
            vec![
                "add",
                "add-current",
                "list",
                "disable",
                "revoke",
                "revoke-others",
            ],
        ),
        (
            with(first, "session", by_certificate(&login)),
            vec!["add", "list", "disable", "revoke", "revoke-others"],
        ),
        // Back to it from wherever one is.
        (
            step(Some("revoke"), "prev", Value::Null),
            vec!["add", "list", "disable", "revoke", "revoke-others"],
        ),
    ] {
        let menu = take(&mut server, question);
        assert_eq!(
            (&menu["status"], &menu["step"]),
            (&json!("executing"), &json!("menu"))
        );
        assert_eq!(options(&menu), offered);
    }
}

#[test]
fn a_certificate_is_added_listed_disabled_and_revoked_by_forms() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    let empty = note(&take(&mut server, chosen("list")), "info");
    assert_eq!(empty, "There are no certificates in your list");
    let form = take(&mut server, chosen("add"));
    assert_eq!(form["step"], "add");
    let filled = json!({"name": ["phone"], "cert": [cert.base64()], "manage": ["1"]});
    let added = take(&mut server, step(Some("add"), "complete", filled.clone()));
    assert!(
        added["notes"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("Added the certificate \"phone\". Expires: ")
    );
    let twice = take(&mut server, step(Some("add"), "complete", filled));
    assert_eq!(
        note(&twice, "error"),
        "There is already a certificate of this name"
    );
    let list = take(&mut server, chosen("list"));
    assert_eq!(list["form"]["fields"][0]["name"], "phone");
    let of_list = step(Some("disable"), "complete", json!({"cert": ["phone"]}));
    assert_eq!(
        note(&take(&mut server, of_list), "info"),
        "Disabled: \"phone\""
    );
    // Its sessions may live on.
    let form = take(&mut server, chosen("revoke"));
    assert_eq!(options(&form), ["phone"]);
    let of_list = step(Some("revoke"), "complete", json!({"cert": ["phone"]}));
    let revoked = take(&mut server, of_list.clone());
    assert_eq!(note(&revoked, "info"), "Revoked: \"phone\"");
    assert_eq!(revoked["close"][0]["account"], HAMLET);
    assert_eq!(
        server.question("sessions.close")["key_id"],
        revoked["close"][0]["key_id"]
    );
    let unknown = note(&take(&mut server, of_list), "error");
    assert_eq!(unknown, "There is no certificate of this name");
}

#[test]
fn what_is_presented_is_added_and_a_private_key_is_refused() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    let none = note(&take(&mut server, chosen("add-current")), "error");
    assert!(none.contains("presented no certificate"), "{none}");
    let presents = |question| with(question, "presented", json!(cert.base64()));
    let form = take(&mut server, presents(chosen("add-current")));
    assert_eq!(form["step"], "add-current");
    let filled = step(Some("add-current"), "complete", json!({"name": ["phone"]}));
    take(&mut server, presents(filled));
    let row = server.ask("certificate.list", crate::support::list())["certificates"][0].clone();
    assert_eq!(
        (&row["name"], &row["may_manage"]),
        (&json!("phone"), &json!(false))
    );
    let pasted = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----";
    let pasted: Vec<&str> = pasted.lines().collect();
    let filled = json!({"name": ["tablet"], "cert": pasted});
    let refused = note(
        &take(&mut server, step(Some("add"), "complete", filled)),
        "error",
    );
    assert!(refused.contains("private key"), "{refused}");
    assert!(!daemon.log().contains("MIIB"));
}

#[test]
fn all_others_are_revoked_at_once_or_none() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let mut other = daemon.server(json!({}));
    let (own, laptop, tablet) = (Made::of(HAMLET), Made::of(HAMLET), Made::of(HAMLET));
    for (name, cert) in [("phone", &own), ("laptop", &laptop), ("tablet", &tablet)] {
        server.append(name, cert);
    }
    let keys: Vec<Value> = [&laptop, &tablet]
        .iter()
        .map(|cert| server.login(cert)["key_id"].clone())
        .collect();
    let session = by_certificate(&server.login(&own));
    let by_own = |question| with(question, "session", session.clone());
    let form = take(&mut server, by_own(chosen("revoke-others")));
    let instructions = form["form"]["instructions"].as_str().unwrap();
    assert!(
        instructions.ends_with(": \"laptop\", \"tablet\""),
        "{instructions}"
    );
    let confirm = by_own(step(Some("revoke-others"), "complete", json!({})));
    let revoked = take(&mut server, confirm.clone());
    assert_eq!(note(&revoked, "info"), "Revoked: \"laptop\", \"tablet\"");
    let closed: Vec<&Value> = revoked["close"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["key_id"])
        .collect();
    assert!(keys.iter().all(|key_id| closed.contains(&key_id)) && closed.len() == 2);
    // Another server hears of both, too, and the account gets one message.
    for _ in 0..2 {
        assert!(keys.contains(&other.question("sessions.close")["key_id"]));
    }
    // Behind the messages that they were added.
    for _ in 0..3 {
        other.question("account.notify");
    }
    let told = other.question("account.notify")["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        told.starts_with("The certificates \"laptop\", \"tablet\" were revoked by "),
        "{told}"
    );
    server.login(&own);
    for cert in [&laptop, &tablet] {
        assert_eq!(server.login_refused(cert)["data"]["denial"], "key-revoked");
    }
    let none = note(&take(&mut server, confirm), "info");
    assert_eq!(none, "There are no other certificates in your list");
}

#[test]
fn who_has_logged_in_with_a_password_says_which_one_stays() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let empty = note(&take(&mut server, chosen("revoke-others")), "info");
    assert_eq!(empty, "There are no certificates in your list");
    let (phone, laptop) = (Made::of(HAMLET), Made::of(HAMLET));
    server.append("phone", &phone);
    let alone = note(&take(&mut server, chosen("revoke-others")), "info");
    assert_eq!(alone, "There are no other certificates in your list");
    server.append("laptop", &laptop);
    let form = take(&mut server, chosen("revoke-others"));
    let options = &form["form"]["fields"][1]["options"];
    assert_eq!(
        (&options[0]["value"], &options[1]["value"]),
        (&json!("phone"), &json!("laptop"))
    );
    let complete = |fields| step(Some("revoke-others"), "complete", fields);
    // Nothing goes before it is certain which one stays.
    let missing = note(&take(&mut server, complete(json!({}))), "error");
    assert_eq!(missing, "Certificate: must be filled in");
    let unknown = take(&mut server, complete(json!({"cert": ["tablet"]})));
    assert_eq!(unknown["denial"], "name-unknown");
    server.login(&laptop);
    let revoked = take(&mut server, complete(json!({"cert": ["phone"]})));
    assert_eq!(note(&revoked, "info"), "Revoked: \"laptop\"");
    server.login(&phone);
    let refused = server.login_refused(&laptop);
    assert_eq!(refused["data"]["denial"], "key-revoked");
}

#[test]
fn all_others_are_revoked_without_a_form_too_since_it_has_nothing_to_fill_in() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let (own, laptop) = (Made::of(HAMLET), Made::of(HAMLET));
    server.append("phone", &own);
    server.append("laptop", &laptop);
    let session = by_certificate(&server.login(&own));
    let confirm = step(Some("revoke-others"), "complete", Value::Null);
    let revoked = take(&mut server, with(confirm, "session", session));
    assert_eq!(note(&revoked, "info"), "Revoked: \"laptop\"");
    server.login(&own);
    let refused = server.login_refused(&laptop);
    assert_eq!(refused["data"]["denial"], "key-revoked");
}

#[test]
fn the_asker_s_own_sessions_are_closed_behind_the_answer() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    let session = by_certificate(&server.login(&cert));
    let form = take(
        &mut server,
        with(chosen("revoke"), "session", session.clone()),
    );
    let label = &form["form"]["fields"][1]["options"][0]["label"];
    assert_eq!(*label, "phone (the one that you are using now)");
    let of_list = step(Some("revoke"), "complete", json!({"cert": ["phone"]}));
    let revoked = take(&mut server, with(of_list, "session", session));
    assert_eq!(revoked["close"], json!([]));
    assert_eq!(server.question("sessions.close")["account"], HAMLET);
}

#[test]
fn a_step_that_is_none_is_not_taken() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    for (question, command) in [
        (step(Some("menu"), "dance", json!({})), "malformed-action"),
        (
            step(None, "next", json!({"subcmd": ["list"]})),
            "bad-sessionid",
        ),
        (
            step(Some("executing"), "complete", json!({})),
            "bad-sessionid",
        ),
        (step(Some("list"), "complete", json!({})), "bad-sessionid"),
    ] {
        let answer = take(&mut server, question);
        assert_eq!(answer["status"], "error");
        assert_eq!(answer["error"]["command"], command);
        assert_eq!(answer["error"]["condition"], "bad-request");
    }
    for (question, words) in [
        (chosen("dance"), "There is no such action"),
        (
            step(Some("menu"), "next", json!({})),
            "Actions: must be filled in",
        ),
        (
            step(Some("add"), "complete", Value::Null),
            "The form is missing",
        ),
        (
            step(Some("revoke"), "complete", json!({})),
            "Certificate: must be filled in",
        ),
        (
            step(
                Some("add"),
                "complete",
                json!({"name": ["phone"], "cert": ["to be, or not to be"]}),
            ),
            "This is no certificate: neither PEM (BEGIN CERTIFICATE) nor its base64",
        ),
    ] {
        assert_eq!(note(&take(&mut server, question), "error"), words);
    }
    let canceled = take(&mut server, step(Some("menu"), "cancel", Value::Null));
    assert_eq!(canceled["status"], "canceled");
}

#[test]
fn by_forms_nobody_may_more_than_by_questions() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.ask(
        "certificate.append",
        with(append("phone", &cert), "may_manage", json!(false)),
    );
    server.append("laptop", &Made::of(HAMLET));
    let session = by_certificate(&server.login(&cert));
    for question in [
        step(
            Some("add"),
            "complete",
            json!({"name": ["tablet"], "cert": [Made::of(HAMLET).base64()]}),
        ),
        step(Some("disable"), "complete", json!({"cert": ["laptop"]})),
        step(Some("revoke"), "complete", json!({"cert": ["laptop"]})),
        step(Some("revoke-others"), "complete", json!({})),
    ] {
        let refused = take(&mut server, with(question, "session", session.clone()));
        let refused = note(&refused, "error");
        assert!(refused.contains("may not change the list"), "{refused}");
    }
    let list = take(&mut server, with(chosen("list"), "session", session));
    assert_eq!(list["form"]["fields"].as_array().unwrap().len(), 2);
}

#[test]
fn where_accounts_live_here_the_present_one_is_meant() {
    let daemon = Daemon::start();
    let mut rome = passwords::server(&daemon, json!({}));
    rome.ask(
        "account.create",
        passwords::create(passwords::BRUTUS, "et tu?"),
    );
    let question = with(chosen("list"), "account", json!(passwords::BRUTUS));
    let question = with(question, "incarnation", Value::Null);
    let empty = note(&take(&mut rome, question.clone()), "info");
    assert_eq!(empty, "There are no certificates in your list");
    rome.ask("account.disable", json!({"account": passwords::BRUTUS}));
    assert_eq!(
        note(&take(&mut rome, question), "error"),
        "The account is disabled"
    );
}
