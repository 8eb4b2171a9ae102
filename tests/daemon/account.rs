//! `saslcertd account`.

use std::io::Write;
use std::process::{Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::{Daemon, Made, Peer, with};

const ROME: &str = "rome.lit";
const BRUTUS: &str = "brutus@rome.lit";

/// Runs `saslcertd account WORDS` with `stdin`.
fn run(daemon: &Daemon, words: &[&str], stdin: &str) -> Output {
    let mut child = daemon
        .command("account")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// The JSON that it prints, and its words beside that.
fn done(daemon: &Daemon, words: &[&str], stdin: &str) -> (Value, String) {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let output = run(daemon, &words, stdin);
    assert!(output.status.success(), "{words:?}: {output:?}");
    let result = serde_json::from_slice(&output.stdout).unwrap();
    (result, String::from_utf8(output.stderr).unwrap())
}

/// Its words when it does nothing.
fn refused(daemon: &Daemon, words: &[&str], stdin: &str) -> String {
    let output = run(daemon, words, stdin);
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{words:?}: {output:?}"
    );
    String::from_utf8(output.stderr).unwrap()
}

/// A Prosody that has declared Rome.
fn prosody(daemon: &Daemon, accounts: &str) -> Peer {
    let mut peer = daemon.peer();
    let rome = json!({"host": ROME, "accounts": accounts, "options": {"saslcertd_scram_iterations": 4096}});
    peer.ask(
        "session.hello",
        json!({"protocol": 2, "software": "Prosody", "hosts": [rome]}),
    );
    peer
}

fn verifies(peer: &mut Peer, account: &str, password: &str) -> bool {
    let id = peer.send(
        "account.verify",
        json!({"account": account, "password": password, "address": null}),
    );
    peer.answer(id).get("result").is_some()
}

#[test]
fn an_account_is_made_changed_disabled_enabled_and_deleted() {
    let daemon = Daemon::start();
    let mut peer = prosody(&daemon, "daemon");
    let (made, said) = done(
        &daemon,
        &["create", "Brutus@Rome.LIT", "--password-file", "-"],
        "a:b \nc\n",
    );
    assert_eq!((&made["created"], said.as_str()), (&json!(true), ""));
    assert!(verifies(&mut peer, BRUTUS, "a:b "));
    assert_eq!(peer.question("account.changed")["change"], "created");

    let file = daemon.folder.path().join("password");
    std::fs::write(&file, "密码\n").unwrap();
    done(
        &daemon,
        &["passwd", BRUTUS, "--password-file", file.to_str().unwrap()],
        "",
    );
    assert!(verifies(&mut peer, BRUTUS, "密码") && !verifies(&mut peer, BRUTUS, "a:b "));
    assert_eq!(peer.question("account.changed")["change"], "password");

    assert_eq!(
        done(&daemon, &["disable", BRUTUS], "").0["was_enabled"],
        true
    );
    assert!(!verifies(&mut peer, BRUTUS, "密码"));
    let (list, _) = done(&daemon, &["list", ROME], "");
    assert_eq!(list["accounts"][0]["username"], "brutus");
    assert_eq!(list["accounts"][0]["enabled"], false);
    assert_eq!(
        done(&daemon, &["disable", BRUTUS], "").0["was_enabled"],
        false
    );
    assert_eq!(
        done(&daemon, &["enable", BRUTUS], "").0["was_enabled"],
        false
    );
    assert!(verifies(&mut peer, BRUTUS, "密码"));

    let (gone, said) = done(&daemon, &["delete", BRUTUS, "--yes"], "");
    assert_eq!(
        (gone, said.as_str()),
        (json!({"certificates": 0, "servers": 1}), "")
    );
    assert!(!verifies(&mut peer, BRUTUS, "密码"));
    assert_eq!(
        done(&daemon, &["list", ROME], "").0,
        json!({"accounts": []})
    );
}

#[test]
fn the_words_for_people_say_what_was_done() {
    let daemon = Daemon::start();
    let _peer = prosody(&daemon, "daemon");
    for (words, expected) in [
        (vec!["list", ROME], "rome.lit has no accounts\n"),
        (
            vec!["create", BRUTUS, "--password-file", "-"],
            "brutus@rome.lit was created\n",
        ),
        (
            vec!["passwd", BRUTUS, "--password-file", "-"],
            "brutus@rome.lit has a new password; its sessions are closed\n",
        ),
        (
            vec!["disable", BRUTUS],
            "brutus@rome.lit is disabled; its sessions are closed\n",
        ),
        (
            vec!["disable", BRUTUS],
            "brutus@rome.lit was disabled already\n",
        ),
        (vec!["enable", BRUTUS], "brutus@rome.lit is enabled\n"),
        (
            vec!["enable", BRUTUS],
            "brutus@rome.lit was enabled already\n",
        ),
        (
            vec!["delete", BRUTUS, "--yes"],
            "brutus@rome.lit was deleted, and 0 certificates with it\n",
        ),
    ] {
        let output = run(&daemon, &words, "et tu?\n");
        assert!(output.status.success(), "{words:?}: {output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    }
}

#[test]
fn what_cannot_be_done_says_why_and_changes_nothing() {
    let daemon = Daemon::start();
    let mut peer = prosody(&daemon, "daemon");
    let from_stdin = |command, account| [command, account, "--password-file", "-"];
    done(&daemon, &from_stdin("create", BRUTUS), "et tu?\n");
    let long = "x".repeat(1025);
    for (words, stdin, expected) in [
        (
            from_stdin("create", BRUTUS).to_vec(),
            "new\n",
            "there is an account brutus@rome.lit already",
        ),
        (
            from_stdin("create", "cinna@rome.lit").to_vec(),
            "\n",
            "the password is empty",
        ),
        (
            from_stdin("create", "cinna@rome.lit").to_vec(),
            "a\tb\n",
            "password",
        ),
        (
            from_stdin("create", "cinna@rome.lit").to_vec(),
            &long,
            "longer than",
        ),
        (
            from_stdin("passwd", "cinna@rome.lit").to_vec(),
            "new\n",
            "there is no account cinna@rome.lit",
        ),
        (
            from_stdin("passwd", BRUTUS).to_vec(),
            "\u{7f}\n",
            "password",
        ),
        (
            vec!["disable", "cinna@rome.lit"],
            "",
            "there is no account cinna@rome.lit",
        ),
        (
            vec!["enable", "cinna@rome.lit"],
            "",
            "there is no account cinna@rome.lit",
        ),
        (
            vec!["delete", "cinna@rome.lit", "--yes"],
            "",
            "there is no account cinna@rome.lit",
        ),
        (vec!["delete", BRUTUS], "yes\n", "add --yes"),
        (vec!["disable", "brutus"], "", "not an account"),
        (
            vec!["disable", "brutus@rome.lit/forum"],
            "",
            "not an account",
        ),
        (vec!["create", BRUTUS, "et tu?"], "", "unexpected argument"),
    ] {
        let said = refused(&daemon, &words, stdin);
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    assert!(verifies(&mut peer, BRUTUS, "et tu?"));
    assert_eq!(
        done(&daemon, &["list", ROME], "").0["accounts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_host_that_nobody_declared_needs_a_word_more_and_one_that_was_keeps_its_options() {
    let daemon = Daemon::start();
    let words = ["create", BRUTUS, "--password-file", "-"];
    let said = refused(&daemon, &words, "et tu?\n");
    assert!(
        said.contains(
            "the host rome.lit is not declared (saslcertd host list shows those that are): enable mod_saslcertd in \
             Prosody and restart it, or add --new-host"
        ),
        "{said}"
    );
    for words in [
        ["list", ROME].as_slice(),
        &["passwd", BRUTUS],
        &["disable", BRUTUS],
        &["delete", BRUTUS, "--yes"],
    ] {
        let said = refused(&daemon, words, "");
        assert!(
            said.contains("the host rome.lit is not declared"),
            "{words:?}: {said}"
        );
    }
    let words = ["create", BRUTUS, "--new-host", "--password-file", "-"];
    done(&daemon, &words, "et tu?\n");
    let mut peer = daemon.peer();
    let declared = |peer: &mut Peer| peer.ask("status", json!({}))["hosts"][0].clone();
    let row = declared(&mut peer);
    assert_eq!(
        (&row["host"], &row["accounts"], &row["options"]),
        (&json!(ROME), &json!("daemon"), &json!({}))
    );

    let mut prosody = prosody(&daemon, "daemon");
    assert!(verifies(&mut prosody, BRUTUS, "et tu?"));
    let words = [
        "create",
        "cinna@rome.lit",
        "--new-host",
        "--password-file",
        "-",
    ];
    done(&daemon, &words, "the poet\n");
    assert_eq!(
        declared(&mut peer)["options"],
        json!({"saslcertd_scram_iterations": 4096})
    );
}

#[test]
fn an_account_may_be_made_before_its_host_is_moved() {
    let daemon = Daemon::start();
    let _peer = prosody(&daemon, "prosody");
    let words = ["create", BRUTUS, "--password-file", "-"];
    let (_, said) = done(&daemon, &words, "et tu?\n");
    assert!(
        said.contains(
            "accounts of rome.lit live in Prosody until you set authentication = \"saslcertd\""
        ),
        "{said}"
    );
    assert_eq!(
        done(&daemon, &["list", ROME], "").0["accounts"][0]["username"],
        "brutus"
    );
}

#[test]
fn a_deletion_says_how_many_certificates_went_and_that_no_server_was_told() {
    let mut daemon = Daemon::start();
    let mut peer = prosody(&daemon, "daemon");
    done(
        &daemon,
        &["create", BRUTUS, "--password-file", "-"],
        "et tu?\n",
    );
    let session =
        json!({"secure": true, "by": "password", "jid": "brutus@rome.lit/forum", "address": null});
    for name in ["phone", "desk"] {
        let params = json!({
            "account": BRUTUS, "incarnation": null, "session": session, "name": name,
            "certificate": Made::of(BRUTUS).base64(), "may_manage": true,
        });
        peer.ask("certificate.append", with(params, "name", name.into()));
    }
    drop(peer);
    daemon.wait_for("end of the connection", |daemon| {
        daemon.peer().ask("status", json!({}))["hosts"][0]["attached"] == false
    });
    let output = run(&daemon, &["delete", BRUTUS, "--yes"], "");
    let (said, warned) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(
        said,
        "brutus@rome.lit was deleted, and 2 certificates with it\n"
    );
    assert!(
        warned.contains("no server was told") && warned.contains("remains"),
        "{warned}"
    );
}

#[test]
fn a_list_of_many_pages_is_whole() {
    let daemon = Daemon::start();
    let mut peer = prosody(&daemon, "daemon");
    let names: Vec<String> = (0..600)
        .map(|number| format!("plebeian-of-rome-number-{number:03}"))
        .collect();
    // Imported: nothing is derived.
    let keys = BASE64.encode([1; 20]);
    let scram = json!({"hash": "SHA-1", "salt": keys, "iterations": 4096, "stored_key": keys, "server_key": keys});
    let login = json!({"enabled": true, "created": null, "password_changed": null, "password": null, "scram": [scram]});
    for name in &names {
        let account = format!("{name}@{ROME}");
        let params = json!({"account": account, "incarnation": null, "login": login, "certificates": [], "apply": true});
        let taken = peer.ask("account.import", params);
        assert_eq!(taken["account"]["verdict"], "taken", "{taken}");
    }
    let (list, _) = done(&daemon, &["list", ROME], "");
    let listed: Vec<&str> = list["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["username"].as_str().unwrap())
        .collect();
    assert_eq!(listed, names);
    let output = run(&daemon, &["list", ROME], "");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().lines().count(),
        601
    );
}
