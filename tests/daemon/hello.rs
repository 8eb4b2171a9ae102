//! `session.hello`, and what a host that was not declared gets.

use serde_json::json;

use crate::support::{Daemon, HOST, Made, hello, offer};

#[test]
fn a_declared_host_is_ready_and_remembered() {
    let mut daemon = Daemon::start();
    let mut peer = daemon.peer();
    let answer = peer.ask(
        "session.hello",
        hello("Shakespeare.LIT", json!({"saslcertd_max_certs": 3})),
    );
    assert_eq!(answer["protocol"], 1);
    assert_eq!(answer["hosts"][0]["host"], HOST);
    assert_eq!(answer["hosts"][0]["ready"], true);
    assert!(daemon.stop().success());
    daemon.serve();
    let mut peer = daemon.peer();
    let status = peer.ask("status", json!({}));
    assert_eq!(status["hosts"][0]["host"], HOST);
    assert_eq!(status["hosts"][0]["options"]["saslcertd_max_certs"], 3);
    assert_eq!(status["hosts"][0]["attached"], false);
    // Without options a host is only attached to: what was declared stays.
    let attach = json!({"protocol": 1, "software": "again", "hosts": [{"host": HOST}]});
    let answer = peer.ask("session.hello", attach);
    assert_eq!(answer["hosts"][0]["ready"], true);
    let status = peer.ask("status", json!({}));
    assert_eq!(status["hosts"][0]["options"]["saslcertd_max_certs"], 3);
    assert_eq!(status["hosts"][0]["attached"], true);
}

#[test]
fn a_host_with_wrong_options_is_named_and_gets_no_answers() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let answer = peer.ask(
        "session.hello",
        hello(HOST, json!({"saslcertd_trust": "all"})),
    );
    let host = &answer["hosts"][0];
    assert_eq!(host["ready"], false);
    assert_eq!(host["errors"][0]["option"], "saslcertd_trust");
    let error = peer.refused("external.offer", offer(&Made::of("hamlet@shakespeare.lit")));
    assert_eq!(error["code"], -32002);
    assert_eq!(error["data"]["sasl"], "temporary-auth-failure");
    // Mended, it works at once: the last declaration wins.
    peer.ask("session.hello", hello(HOST, json!({})));
    peer.ask("external.offer", offer(&Made::of("hamlet@shakespeare.lit")));
}

#[test]
fn an_undeclared_host_is_refused() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let error = peer.refused("external.offer", offer(&Made::of("hamlet@shakespeare.lit")));
    assert_eq!(error["code"], -32002);
}

#[test]
fn another_version_of_the_protocol_is_refused() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let error = peer.refused("session.hello", json!({"protocol": 2, "software": "x"}));
    assert_eq!(error["code"], -32003);
}

#[test]
fn a_hello_is_handled_before_the_lines_behind_it() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let first = peer.send("session.hello", hello(HOST, json!({})));
    let second = peer.send("external.offer", offer(&Made::of("hamlet@shakespeare.lit")));
    let answers = [peer.line().unwrap(), peer.line().unwrap()];
    for id in [first, second] {
        let answer = answers.iter().find(|answer| answer["id"] == id).unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
    }
}
