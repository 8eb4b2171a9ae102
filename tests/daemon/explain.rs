//! `explain`: what the command says about a real certificate, and that it says what a login says.

use std::process::Output;

use serde_json::{Value, json};

use rcgen::KeyPair;

use crate::support::{Daemon, HAMLET, Made, ONE, named};

fn explain(daemon: &Daemon, cert: &[u8], arguments: &[&str]) -> Output {
    let file = daemon.folder.path().join("cert");
    std::fs::write(&file, cert).unwrap();
    let mut command = daemon.command("explain");
    command.arg(HAMLET).arg(file).args(arguments);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The rules that say no.
fn refusing(output: &Output) -> Vec<String> {
    let lines = text(output);
    let refusing = lines.lines().filter_map(|line| line.strip_prefix("no "));
    let rule = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    refusing.map(rule).collect()
}

#[test]
fn it_says_why_before_and_after_each_change() {
    let daemon = Daemon::start();
    // Nobody is connected while it is asked: of accounts in Prosody it says only what is known here.
    drop(daemon.server(json!({})));
    let cert = Made::of(HAMLET);
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        cert.base64()
    );
    let said = explain(&daemon, pem.as_bytes(), &[]);
    assert_eq!(
        (said.status.code(), refusing(&said)),
        (Some(1), vec!["list".into()])
    );
    assert!(text(&said).ends_with(&format!("{HAMLET} can't log in with it\n")));
    daemon.server(json!({})).append("phone", &cert);
    // As DER, too.
    for file in [pem.as_bytes(), &cert.der] {
        let said = explain(&daemon, file, &[]);
        assert_eq!((said.status.code(), refusing(&said)), (Some(0), vec![]));
        assert!(text(&said).contains("as \"phone\""), "{said:?}");
        assert!(
            text(&said).contains("if Prosody has the account"),
            "{said:?}"
        );
    }
    let other = explain(&daemon, &cert.der, &["--authzid", "yorick@shakespeare.lit"]);
    assert_eq!(
        (other.status.code(), refusing(&other)),
        (Some(1), vec!["identity".into()])
    );
    let mut server = daemon.server(json!({}));
    let key_id = server.login(&cert)["key_id"].clone();
    server.ask("certificate.revoke", named("phone"));
    server.login_refused(&cert);
    drop(server);
    let said = explain(&daemon, &cert.der, &[]);
    assert_eq!(refusing(&said), ["list", "revocation"]);
    let lift = format!(
        "saslcertd cert unrevoke {HAMLET} {}",
        key_id.as_str().unwrap()
    );
    assert!(text(&said).contains(&lift), "{said:?}");
}

#[test]
fn a_long_chain_hinders_no_enrolled_certificate_and_what_is_left_out_is_counted() {
    let daemon = Daemon::start();
    let cert = Made::of(HAMLET);
    daemon.server(json!({})).append("phone", &cert);
    let section = |base64: &str| {
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    };
    let mut file = section(&cert.base64());
    for _ in 0..10 {
        file += &section(&cert.base64());
    }
    file += &section(&"A".repeat(100_000));
    let said = explain(&daemon, file.as_bytes(), &[]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let beside = String::from_utf8(said.stderr).unwrap();
    assert!(beside.contains("6 certificates stand behind"), "{beside}");
    let large = section(&"A".repeat(25_000)) + &section(&cert.base64());
    let said = explain(&daemon, large.as_bytes(), &[]);
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    let why = String::from_utf8(said.stderr).unwrap();
    assert!(why.contains("larger than 24 KiB of base64"), "{why}");
}

#[test]
fn a_certificate_without_address_is_remembered_by_the_account_that_revoked_it() {
    let daemon = Daemon::start();
    let options = json!({"saslcertd_require_address": false});
    let cert = Made::with(KeyPair::generate().unwrap(), |_| {});
    let mut server = daemon.server(options);
    server.append("phone", &cert);
    server.ask("certificate.revoke", named("phone"));
    drop(server);
    let said = explain(&daemon, &cert.der, &[]);
    assert_eq!(refusing(&said), ["list", "revocation"], "{said:?}");
}

#[test]
fn prosody_says_whether_the_account_is_still_that_one() {
    let daemon = Daemon::start();
    let cert = Made::of(HAMLET);
    daemon.server(json!({})).append("phone", &cert);
    for (known, refused) in [
        (json!({"exists": true, "incarnation": ONE}), vec![]),
        (json!({"exists": true, "incarnation": "two"}), vec!["list"]),
        (json!({"exists": true, "incarnation": null}), vec!["list"]),
        (
            json!({"exists": false, "incarnation": null}),
            vec!["list", "account"],
        ),
    ] {
        let mut server = daemon.server(json!({}));
        let answers = std::thread::spawn(move || {
            let question = server.whole_question("account.incarnation");
            assert_eq!(
                question["params"],
                json!({"account": HAMLET, "make": false})
            );
            let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": known});
            server.write(format!("{answer}\n").as_bytes());
            server
        });
        let said = explain(&daemon, &cert.der, &[]);
        drop(answers.join().unwrap());
        assert_eq!(refusing(&said), refused, "{said:?}");
    }
}

#[test]
fn what_cannot_be_asked_is_not_no() {
    let daemon = Daemon::start();
    let cert = Made::of(HAMLET);
    let undeclared = explain(&daemon, &cert.der, &[]);
    assert_eq!(undeclared.status.code(), Some(2), "{undeclared:?}");
    drop(daemon.server(json!({"saslcertd_trust": "ca", "saslcertd_ca_file": "/nowhere/ca.pem"})));
    let said = explain(&daemon, &cert.der, &["--json"]);
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["verdict"], "unknown");
    let rules = said["rules"].as_array().unwrap();
    let authority = rules
        .iter()
        .find(|rule| rule["rule"] == "authority")
        .unwrap();
    assert_eq!(authority["verdict"], "unknown");
    assert!(
        authority["why"]
            .as_str()
            .unwrap()
            .contains("/nowhere/ca.pem")
    );
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let daemon = Daemon::start();
    drop(daemon.server(json!({})));
    let large = [&[0x30, 0x83, 1, 0x11, 0x70, 0x30][..], &vec![0; 70_000]].concat();
    for (file, code, words) in [
        (
            &b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"[..],
            2,
            "is not readable as PEM",
        ),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            2,
            "is a private key, and no certificate",
        ),
        (&large, 2, "larger than 24 KiB of base64"),
        (b"certificate", 2, "is no certificate (wanted: PEM or DER)"),
        (b"", 2, "is empty: no certificate"),
        // Which bytes behind a certificate's first ones are wrong is for the daemon to say.
        (&large[..1000], 1, "no       certificate"),
    ] {
        let said = explain(&daemon, file, &[]);
        let all = text(&said) + &String::from_utf8_lossy(&said.stderr);
        assert!(
            said.status.code() == Some(code) && all.contains(words),
            "{said:?}"
        );
    }
    let mut command = daemon.command("explain");
    let missing = command.args([HAMLET, "/nowhere/file"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("can't read /nowhere/file"));
}
