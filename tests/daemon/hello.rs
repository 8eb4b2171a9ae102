//! `session.hello`, and what a host that was not declared gets.

use serde_json::{Value, json};

use crate::support::{Daemon, HOST, Made, hello, login, offer, with};

#[test]
fn a_declared_host_is_ready_and_remembered() {
    let mut daemon = Daemon::start();
    let mut peer = daemon.peer();
    let answer = peer.ask(
        "session.hello",
        hello("Shakespeare.LIT", json!({"saslcertd_max_certs": 3})),
    );
    assert_eq!(answer["protocol"], 2);
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
    let attach = json!({"protocol": 2, "software": "again", "hosts": [{"host": HOST}]});
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
fn a_page_with_which_nobody_can_manage_certificates_is_told() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let mut lines = |page: Value, web: Value, sessions: bool| {
        let host = json!({"host": HOST, "options": {}, "page": page, "web": web});
        let hello =
            json!({"protocol": 2, "software": "test", "sessions": sessions, "hosts": [host]});
        let answer = peer.ask("session.hello", hello);
        assert_eq!(answer["hosts"][0]["ready"], true);
        answer["log"].clone()
    };
    let web = |trusted: Value| {
        json!({
            "https_ports": [], "interfaces": ["127.0.0.1"], "trusted_proxies": trusted, "x_forwarded": true, "websocket_secure": false,
        })
    };
    let open = |port: u16| with(web(json!([])), "https_ports", json!([port]));
    let unicode = json!("https://b\u{fc}cher.lit:5281/devices");
    let (page, plain) = (
        json!("https://shakespeare.lit/devices"),
        json!("http://shakespeare.lit/devices"),
    );
    for (page, web, part) in [
        (&page, web(json!(["192.0.2.7"])), "trusted_proxies"),
        (&plain, web(json!(["127.0.0.1"])), "is not https"),
        (&plain, Value::Null, "is not https"),
        (
            &page,
            open(5281),
            "unless the proxy connects to one of https_ports",
        ),
        (
            &page,
            with(web(json!(["127.0.0.1"])), "x_forwarded", json!(false)),
            "http_legacy_x_forwarded is off",
        ),
        (&unicode, web(json!(["127.0.0.1"])), "http_host"),
        (&unicode, Value::Null, "http_host"),
    ] {
        let log = lines(page.clone(), web.clone(), true);
        assert_eq!(
            (&log[0]["host"], &log[0]["level"]),
            (&json!(HOST), &json!("warn"))
        );
        let text = log[0]["text"].as_str().unwrap();
        assert!(
            text.contains(part) && text.contains(page.as_str().unwrap()),
            "{log}"
        );
        // Who serves no sessions serves no page.
        assert_eq!(lines(page.clone(), web, false), json!([]));
    }
    for (page, web) in [
        (&page, web(json!(["127.0.0.1"]))),
        (&page, Value::Null),
        (&Value::Null, web(json!([]))),
        (&page, open(443)),
    ] {
        assert_eq!(lines(page.clone(), web, true), json!([]));
    }
    // Whatever the address is, it makes one line, and no long one.
    let log = lines(
        json!(format!("a page\n{}", "x".repeat(500))),
        Value::Null,
        true,
    );
    let text = log[0]["text"].as_str().unwrap();
    assert!(
        text.contains("is not https") && !text.contains('\n'),
        "{log}"
    );
    assert!(text.len() < 500, "{log}");
}

#[test]
fn an_undeclared_host_is_refused() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    peer.ask("session.hello", hello("denmark.lit", json!({})));
    let error = peer.refused("external.offer", offer(&Made::of("hamlet@shakespeare.lit")));
    assert_eq!(error["code"], -32002);
}

#[test]
fn who_did_not_say_hello_gets_no_login() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let cert = Made::of("hamlet@shakespeare.lit");
    server.append("phone", &cert);
    let mut stranger = daemon.peer();
    for (method, params) in [
        ("external.offer", offer(&cert)),
        ("external.login", login(&cert)),
    ] {
        let error = stranger.refused(method, params);
        assert_eq!(error["code"], -32003);
        assert_eq!(error["data"]["sasl"], "temporary-auth-failure");
    }
}

#[test]
fn a_name_that_is_no_host_costs_the_others_nothing() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let odd = "\u{1f4a9}.lit";
    let answer = peer.ask(
        "session.hello",
        json!({
            "protocol": 2, "software": "test",
            "hosts": [{"host": odd, "options": {}}, {"host": HOST, "options": {}}],
        }),
    );
    assert_eq!(answer["hosts"][0]["host"], odd);
    assert_eq!(answer["hosts"][0]["ready"], false);
    assert!(
        answer["hosts"][0]["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("no such name")
    );
    assert_eq!(answer["hosts"][1]["ready"], true);
    peer.ask("external.offer", offer(&Made::of("hamlet@shakespeare.lit")));
}

#[test]
fn a_declaration_that_is_unreadable_costs_the_others_nothing() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let hosts = json!([
        {"host": "a.lit", "accounts": "ldap", "options": {}},
        {"host": "b.lit", "options": ["x"]},
        7,
        {"host": "c.lit", "options": {}},
    ]);
    let hello = json!({"protocol": 2, "software": "test", "hosts": hosts});
    let answer = peer.ask("session.hello", hello);
    let told = answer["hosts"].as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|one| (one["host"].as_str().unwrap(), one["ready"] == true))
        .collect();
    let expected = [
        ("a.lit", false),
        ("b.lit", false),
        ("", false),
        ("c.lit", true),
    ];
    assert_eq!(told, expected, "{answer}");
    let why = answer["hosts"][0]["errors"][0]["message"].as_str().unwrap();
    assert!(why.contains("accounts: "), "{why}");
}

#[test]
fn a_host_with_more_options_than_can_be_remembered_is_refused_by_itself() {
    let mut daemon = Daemon::start();
    let mut peer = daemon.peer();
    let with_options = |host: &str, bytes: usize| {
        let options = json!({"saslcertd_unknown": "x".repeat(bytes)});
        json!({"host": host, "accounts": "prosody", "options": options})
    };
    let hosts = [with_options("a.lit", 100_000), with_options("b.lit", 1000)];
    let hello = json!({"protocol": 2, "software": "test", "hosts": hosts});
    let answer = peer.ask("session.hello", hello.clone());
    let why = answer["hosts"][0]["errors"][0]["message"].as_str().unwrap();
    assert!(why.contains("16 KiB"), "{why}");
    assert_eq!(answer["hosts"][0]["ready"], false);
    assert_eq!(answer["hosts"][1]["ready"], true);
    // Nothing of it is remembered.
    daemon.restart();
    let status = daemon.peer().ask("status", json!({}));
    assert_eq!(status["hosts"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["hosts"][0]["host"], "b.lit");
}

#[test]
fn a_hello_may_come_in_pieces() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let piece = |host: &str, continued: bool| {
        let hosts = json!([{"host": host, "options": {}}]);
        json!({"protocol": 2, "software": "test", "hosts": hosts, "continued": continued})
    };
    peer.ask("session.hello", piece("denmark.lit", false));
    peer.ask("session.hello", piece(HOST, true));
    let attached = |peer: &mut crate::support::Peer| {
        let status = peer.ask("status", json!({}));
        let hosts = status["hosts"].as_array().unwrap().iter();
        hosts.filter(|host| host["attached"] == true).count()
    };
    assert_eq!(attached(&mut peer), 2);
    peer.ask("session.hello", piece(HOST, false));
    assert_eq!(attached(&mut peer), 1);
}

#[test]
fn another_version_of_the_protocol_is_refused() {
    // An older one, and a newer one.
    for version in [1, 3] {
        let daemon = Daemon::start();
        let mut peer = daemon.peer();
        // The rest of the hello may mean anything there.
        let module = json!({"version": "9.0", "path": "/m/mod_saslcertd"});
        let hello = json!({"protocol": version, "software": "x", "module": module, "hosts": 7});
        let error = peer.refused("session.hello", hello);
        assert_eq!(error["code"], -32003);
        let words = error["message"].as_str().unwrap();
        for part in [&*format!("version {version}"), "speaks 2", "one package"] {
            assert!(words.contains(part), "{words}");
        }
        let status = daemon.peer().ask("status", json!({}));
        let stranger = &status["stranger"];
        assert_eq!(stranger["protocol"], version);
        assert_eq!(
            (&stranger["software"], &stranger["module"]),
            (&json!("x"), &module)
        );
        // It has come back with ours; a command that was typed says nothing about that.
        let hello = json!({"protocol": 2, "software": "x", "module": module});
        peer.ask("session.hello", hello);
        peer.refused(
            "session.hello",
            json!({"protocol": version, "software": "x", "sessions": false}),
        );
        let status = daemon.peer().ask("status", json!({}));
        assert_eq!(status["stranger"], json!(null));
    }
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

#[test]
fn what_is_wrong_with_options_is_said_in_finished_lines() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let piece = |hosts: Value, continued: bool| {
        json!({
            "protocol": 2, "software": "test", "folder": "/etc/prosody", "continued": continued, "hosts": hosts,
            "global": {"saslcertd_timeout": "soon", "saslcertd_max_certs": 3, "saslcertd_socket": "/s"},
        })
    };
    let good = json!({"host": HOST, "options": {"saslcertd_max_cert": 4}});
    let bad = json!({"host": "rome.lit", "accounts": "daemon", "options": {"saslcertd_max_certs": 0, "saslcertd_timeout": 3}});
    let answer = peer.ask("session.hello", piece(json!([good, bad]), false));
    let lines: Vec<(Option<&str>, &str, &str)> = answer["log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let text = |field: &str| line[field].as_str();
            (text("host"), text("level").unwrap(), text("text").unwrap())
        })
        .collect();
    for (host, level, words) in [
        (None, "error", "saslcertd_timeout = \"soon\": must be"),
        (
            Some("rome.lit"),
            "error",
            "saslcertd_timeout belongs into the global section",
        ),
        (
            Some("rome.lit"),
            "error",
            "Nobody can log in on rome.lit: saslcertd_max_certs = 0",
        ),
        (Some(HOST), "warn", "saslcertd_max_certs meant?"),
    ] {
        let is_there = |line: &&(Option<&str>, &str, &str)| {
            (line.0, line.1) == (host, level) && line.2.contains(words)
        };
        assert_eq!(
            lines.iter().filter(is_there).count(),
            1,
            "{words}\n{lines:?}"
        );
    }
    assert_eq!(lines.len(), 4, "{lines:?}");
    // The host's own option counts, and those of the whole server are none of it.
    let status = daemon.peer().ask("status", json!({}));
    let shown = status["hosts"].as_array().unwrap().iter();
    let of =
        |name: &str| shown.clone().find(|host| host["host"] == name).unwrap()["options"].clone();
    assert_eq!(
        of(HOST),
        json!({"saslcertd_max_certs": 3, "saslcertd_max_cert": 4})
    );
    assert_eq!(of("rome.lit"), json!({"saslcertd_max_certs": 0}));
    // A line that concerns the server is said once.
    let answer = peer.ask("session.hello", piece(json!([]), true));
    assert_eq!(answer["log"], json!([]));
}

#[test]
fn an_asker_may_not_say_to_wait_for_longer_than_five_minutes() {
    let daemon = Daemon::start();
    let mut server = daemon.peer();
    let hello = |waits_ms: u32| with(hello(HOST, json!({})), "waits_ms", json!(waits_ms));
    let refused = server.refused("session.hello", hello(300_001));
    assert_eq!(refused["code"], -32602);
    assert_eq!(refused["message"], "waits_ms must be at most 300000");
    server.ask("session.hello", hello(300_000));
    // Nothing of the first one was taken.
    let status = daemon.peer().ask("status", json!({}));
    assert_eq!(status["connections"][0]["waits_ms"], 300_000);
}

#[test]
fn of_what_a_connection_says_to_wait_the_longest_counts() {
    let daemon = Daemon::start();
    let mut server = daemon.peer();
    let mut waits = |waits_ms: Value| {
        let hosts = json!([{"host": HOST, "accounts": "prosody", "options": {}}]);
        let hello =
            json!({"protocol": 2, "software": "test", "hosts": hosts, "waits_ms": waits_ms});
        server.ask("session.hello", hello);
        let status = daemon.peer().ask("status", json!({}));
        status["connections"][0]["waits_ms"].clone()
    };
    for (said, counts) in [
        (json!(null), json!(null)),
        (json!(2000), json!(2000)),
        (json!(5500), json!(5500)),
        // A question that was asked before waits as long as it was to.
        (json!(100), json!(5500)),
        (json!(null), json!(5500)),
    ] {
        assert_eq!(waits(said), counts);
    }
    let told = daemon.command("status").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(", waits for 5.5 s at most"), "{told}");
}
