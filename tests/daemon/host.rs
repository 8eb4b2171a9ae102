//! Hosts that were declared once: listing them, and taking away one that nobody declares any more.

use serde_json::{Value, json};

use crate::authorities::Authority;
use crate::support::{Daemon, HAMLET, HOST, Made, hello, named, offer};

fn run(daemon: &Daemon, args: &[&str]) -> (bool, String) {
    let done = daemon.command("host").args(args).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_host_that_nobody_declares_any_more_is_taken_away_and_its_revocations_are_not() {
    let mut daemon = Daemon::start();
    let cert = Made::of(HAMLET);
    let mut server = daemon.server(json!({"saslcertd_max_certs": 5}));
    server.append("phone", &cert);
    server.append("tablet", &Made::of(HAMLET));
    server.ask("certificate.revoke", named("phone"));
    let mut other = daemon.peer();
    other.ask("session.hello", hello("denmark.lit", json!({})));
    // Neither by who keeps sessions, nor by who only declares.
    let mut bridge = daemon.peer();
    let mut declares = hello("rome.lit", json!({}));
    declares["sessions"] = json!(false);
    bridge.ask("session.hello", declares);
    for host in [HOST, "rome.lit"] {
        let (done, said) = run(&daemon, &["forget", host]);
        assert!(
            !done && said.contains("a server that is connected declares the host"),
            "{said}"
        );
    }
    drop(server);
    daemon.wait_for("its end", |daemon| {
        run(daemon, &["list"])
            .1
            .contains("shakespeare.lit: declared by nobody")
    });
    let (done, said) = run(&daemon, &["list"]);
    assert!(done);
    assert_eq!(
        said,
        "denmark.lit: declared; 0 passwords, 0 certificates and 0 revoked keys\n\
         rome.lit: declared; 0 passwords, 0 certificates and 0 revoked keys\n\
         shakespeare.lit: declared by nobody who is connected; 0 passwords, 1 certificate and 1 revoked key\n"
    );
    let (done, said) = run(&daemon, &["forget", "Shakespeare.LIT"]);
    assert!(done, "{said}");
    assert_eq!(
        said,
        "shakespeare.lit is forgotten; 0 passwords, 1 certificate and 1 revoked key of it stay in the store\n"
    );
    let (done, said) = run(&daemon, &["forget", HOST]);
    assert!(
        !done
            && said.contains("the host shakespeare.lit is not declared (saslcertd host list shows"),
        "{said}"
    );
    let (done, said) = run(&daemon, &["forget", "rome.lit/x"]);
    assert!(
        !done && said.contains("a name as shakespeare.lit is wanted"),
        "{said}"
    );
    // Every question about an account of it gets the same answer.
    let file = daemon.folder.path().join("cert");
    std::fs::write(&file, &cert.der).unwrap();
    let file = file.to_str().unwrap();
    for words in [
        ["cert", "list", HAMLET].as_slice(),
        &["cert", "show", HAMLET, "phone"],
        &["cert", "add", HAMLET, "phone", file],
        &["cert", "disable", HAMLET, "phone"],
        &["cert", "revoke", HAMLET, "phone"],
        &["cert", "list", HAMLET, "--revoked"],
        &["cert", "unrevoke", HAMLET, "--all"],
        &["explain", HAMLET, file],
        &["account", "list", HOST],
    ] {
        let mut command = daemon.command(words[0]);
        let said = command.args(&words[1..]).output().unwrap().stderr;
        let said = String::from_utf8(said).unwrap();
        assert!(
            said.contains("the host shakespeare.lit is not declared")
                && said.contains("enable mod_saslcertd"),
            "{words:?}: {said}"
        );
    }
    // It stays so.
    daemon.restart();
    let mut peer = daemon.peer();
    let hosts = peer.ask("host.list", json!({"after": null}))["hosts"].clone();
    let names: Vec<&Value> = hosts
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["host"])
        .collect();
    assert_eq!(names, ["denmark.lit", "rome.lit"]);
    let listed = json!({"account": HAMLET, "after": null});
    assert_eq!(peer.refused("certificate.list", listed)["code"], -32002);
    // Declared anew, it has what it had.
    let mut server = daemon.server(json!({}));
    assert_eq!(server.login_refused(&cert)["data"]["denial"], "key-revoked");
    let again = crate::support::append("phone", &cert);
    let refused = server.refused("certificate.append", again);
    assert_eq!(refused["data"]["denial"], "key-revoked");
}

#[test]
fn hosts_are_listed_in_pages() {
    let daemon = Daemon::start();
    assert_eq!(run(&daemon, &["list"]).1, "no host is declared\n");
    let mut server = daemon.peer();
    let rows: Vec<Value> = (0..120)
        .map(|number| json!({"host": format!("h{number:03}.lit"), "accounts": "daemon", "options": {}}))
        .collect();
    server.ask(
        "session.hello",
        json!({"protocol": 2, "software": "test", "hosts": rows}),
    );
    let first = server.ask("host.list", json!({"after": null}));
    assert_eq!(first["next"], "h099.lit");
    let second = server.ask("host.list", json!({"after": first["next"]}));
    assert_eq!(second["next"], Value::Null);
    assert_eq!(second["hosts"].as_array().unwrap().len(), 20);
}

#[test]
fn a_host_is_not_forgotten_while_its_server_says_hello() {
    let daemon = Daemon::start();
    // A hello takes its time while files of authorities are read.
    let file = daemon.folder.path().join("ca.pem");
    std::fs::write(&file, Authority::new("Denmark").pem.repeat(900)).unwrap();
    let options = json!({"saslcertd_trust": "ca", "saslcertd_ca_file": file});
    let (mut server, mut admin) = (daemon.peer(), daemon.peer());
    server.send("session.hello", hello(HOST, options));
    // Not there yet, or declared by who is connected; never taken away.
    let mut why = String::new();
    while !why.contains("a server that is connected declares the host") {
        let refused = admin.refused("host.forget", json!({"host": HOST}));
        assert_eq!(refused["code"], -32002, "{refused}");
        why = refused["message"].as_str().unwrap().to_owned();
    }
    let hello = server.answer(1);
    assert_eq!(hello["result"]["hosts"][0]["ready"], true, "{hello}");
    server.ask("external.offer", offer(&Made::of(HAMLET)));
}
