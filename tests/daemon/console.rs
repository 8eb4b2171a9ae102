//! `console.run`: what an administrator does in Prosody's shell.

use serde_json::{Value, json};

use crate::passwords;
use crate::support::{Daemon, HAMLET, HOST, Made, Peer, hello};

fn run(server: &mut Peer, words: &[&str]) -> Value {
    server.ask(
        "console.run",
        json!({"words": words, "socket": "/run/socket", "sessions": 2, "withdrawn": []}),
    )
}

fn refusal(server: &mut Peer, words: &[&str]) -> String {
    let ran = run(server, words);
    assert_eq!(ran["ok"], false, "{ran}");
    ran["text"].as_str().unwrap().to_owned()
}

#[test]
fn certificates_are_listed_and_revoked_by_name() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    server.append("my \"phone\"", &cert);
    let login = server.login(&cert);
    server.notify(
        "session.opened",
        json!({"sessions": [{
            "account": HAMLET, "fingerprint": login["fingerprint"], "key_id": login["key_id"],
            "incarnation": null, "resource": "orchard", "path": null, "not_after": null, "address": null,
        }]}),
    );
    let listed = run(&mut server, &["list", HAMLET]);
    assert_eq!(listed["text"], format!("1 certificate of {HAMLET}"));
    let line = listed["lines"][0].as_str().unwrap();
    assert!(
        line.starts_with("\"my \\u{22}phone\\u{22}\"  sha256 "),
        "{line}"
    );
    assert!(line.ends_with("  1 session: \"orchard\""), "{line}");
    let revoked = run(&mut server, &["revoke", HAMLET, "my \"phone\""]);
    let text = revoked["text"].as_str().unwrap();
    assert!(text.ends_with("; 1 session closed"), "{text}");
    let lift = format!(
        "To lift it: saslcertd cert unrevoke {HAMLET} {}",
        login["key_id"].as_str().unwrap()
    );
    assert_eq!(revoked["lines"], json!([lift]));
    assert_eq!(server.question("sessions.close")["key_id"], login["key_id"]);
    // Behind the message that it was added.
    server.question("account.notify");
    let told = server.question("account.notify")["text"].clone();
    let told = told.as_str().unwrap();
    assert!(
        told.contains(" was revoked by an administrator of the server."),
        "{told}"
    );
}

#[test]
fn whoever_is_no_account_is_named() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    for (jid, words) in [
        ("", "Whose? An account (user@host) is needed"),
        (HOST, "This is not an account (user@host)"),
        (
            "hamlet@shakespeare.lit/desk",
            "This is not an account (user@host)",
        ),
        (
            "hamlet@elsinore.lit",
            "elsinore.lit is no host with saslcertd here",
        ),
    ] {
        assert_eq!(refusal(&mut server, &["list", jid]), words);
        assert_eq!(refusal(&mut server, &["revoke", jid, "phone"]), words);
    }
    for words in [["dance"].as_slice(), &["list", HAMLET, "phone"], &[]] {
        let refused = server.refused("console.run", json!({"words": words, "socket": ""}));
        assert_eq!(refused["code"], -32602);
    }
    let mut rome = passwords::server(&daemon, json!({}));
    let nobody = "nobody@rome.lit";
    let missing = format!("There is no account {nobody}");
    assert_eq!(refusal(&mut rome, &["list", nobody]), missing);
    assert_eq!(refusal(&mut rome, &["revoke", nobody, "phone"]), missing);
    rome.ask(
        "account.create",
        passwords::create(passwords::BRUTUS, "et tu?"),
    );
    let unknown = format!("{} has no certificate with this name", passwords::BRUTUS);
    assert_eq!(
        refusal(&mut rome, &["revoke", passwords::BRUTUS, "phone"]),
        unknown
    );
}

#[test]
fn what_is_missing_is_named() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    for words in [["list"].as_slice(), &["revoke"]] {
        let said = refusal(&mut server, words);
        assert_eq!(said, "Whose? An account (user@host) is needed");
    }
    for words in [["revoke", HAMLET].as_slice(), &["revoke", HAMLET, ""]] {
        let said = refusal(&mut server, words);
        assert_eq!(said, "Which certificate? Its name is needed");
    }
}

#[test]
fn prosody_is_asked_whether_its_account_exists() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let question = json!({"words": ["list", HAMLET], "socket": "/run/socket"});
    for (exists, text) in [
        (false, format!("There is no account {HAMLET}")),
        (true, format!("0 certificates of {HAMLET}")),
    ] {
        let id = server.send("console.run", question.clone());
        let asked = server.whole_question("account.incarnation");
        assert_eq!(asked["params"], json!({"account": HAMLET, "make": false}));
        let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"exists": exists, "incarnation": null}});
        server.write(format!("{reply}\n").as_bytes());
        assert_eq!(server.answer(id)["result"]["text"], text);
    }
}

#[test]
fn the_status_is_of_the_hosts_of_the_connection() {
    let daemon = Daemon::start();
    let mut server = daemon.peer();
    let wrong = hello("denmark.lit", json!({"saslcertd_trust": "everyone"}));
    daemon.peer().ask("session.hello", wrong);
    let hosts: Vec<Value> = [HOST, "denmark.lit", "new.lit"]
        .iter()
        .map(|host| json!({"host": host}))
        .collect();
    drop(daemon.server(json!({})));
    server.ask(
        "session.hello",
        json!({"protocol": 2, "software": "test", "hosts": hosts}),
    );
    let ran = run(&mut server, &["status"]);
    assert_eq!(
        (&ran["ok"], &ran["text"]),
        (&json!(false), &json!("Not ready: denmark.lit"))
    );
    let lines = ran["lines"].as_array().unwrap().iter();
    // Those of a database's daemons have a test of their own.
    let lines: Vec<&str> = lines
        .map(|line| line.as_str().unwrap())
        .filter(|line| !line.starts_with("Daemon "))
        .collect();
    assert!(lines[0].starts_with("Connected since 20") && lines[0].ends_with(" at /run/socket"));
    assert!(
        lines[1].starts_with("denmark.lit: NOT ready: saslcertd_trust"),
        "{lines:?}"
    );
    assert_eq!(
        lines[2..],
        [
            "new.lit: not declared to saslcertd yet; accounts in Prosody",
            "shakespeare.lit: ready; accounts in Prosody",
            "2 sessions logged in with a certificate",
        ]
    );
    // An entry that is no host here is nobody's, and shields none of the others.
    for (withdrawn, unready) in [
        (json!([HOST]), "denmark.lit, shakespeare.lit"),
        (json!(["a..lit", 7, HOST]), "denmark.lit, shakespeare.lit"),
        (Value::Null, "denmark.lit"),
    ] {
        let status = json!({"words": ["status"], "socket": "/run/socket", "withdrawn": withdrawn});
        let ran = server.ask("console.run", status);
        assert_eq!(ran["text"], format!("Not ready: {unready}"));
    }
}
