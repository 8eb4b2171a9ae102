//! Lines: whatever comes, only itself suffers.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Daemon, HAMLET, Made, PATIENCE, login, named, offer};

#[test]
fn a_strangers_input_never_costs_the_connection() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let mut bystander = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let long = "x".repeat(1024 * 1024);
    let long_id = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":\"{}\",\"method\":\"status\"}}",
        "i".repeat(65)
    );
    for (line, code) in [
        (long.as_bytes(), -32700),
        (deep.as_bytes(), -32700),
        (b"\xff\xfe", -32700),
        (b"{", -32700),
        (b"", -32700),
        (b"[]", -32600),
        (b"{\"id\":null}", -32600),
        (long_id.as_bytes(), -32600),
    ] {
        server.write(line);
        server.write(b"\n");
        let answer = server.line().unwrap();
        assert_eq!(answer["id"], Value::Null);
        assert_eq!(answer["error"]["code"], code);
        server.ask("external.offer", offer(&cert));
        bystander.ask("external.offer", offer(&cert));
    }
}

#[test]
fn a_question_that_is_wrong_is_told_how() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    for (method, params, code, says) in [
        ("nonsense", json!({}), -32601, "nonsense"),
        ("external.offer", json!({}), -32602, "host"),
        (
            "external.offer",
            json!({"host": 3, "chain": ["MII="]}),
            -32602,
            "host: invalid type",
        ),
        (
            "certificate.list",
            json!({"account": "no jid"}),
            -32602,
            "character",
        ),
        (
            "certificate.revoke",
            crate::support::with(crate::support::named("x"), "name", json!(null)),
            -32602,
            "key_id",
        ),
        (
            "certificate.list",
            json!({"account": "a@b/c", "session": null}),
            -32602,
            "bare JID",
        ),
    ] {
        let error = server.refused(method, params);
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
}

#[test]
fn a_line_may_come_in_pieces_and_many_at_once() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let line = b"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"status\"}\n";
    for byte in line {
        server.write(&[*byte]);
    }
    assert_eq!(server.line().unwrap()["id"], "a");
    server.write(&line.repeat(50));
    for _ in 0..50 {
        assert_eq!(server.line().unwrap()["id"], "a");
    }
}

#[test]
fn a_line_that_stays_unfinished_ends_only_its_own_connection() {
    let daemon = Daemon::start();
    let mut slow = daemon.peer();
    let mut server = daemon.server(json!({}));
    slow.write(b"{\"jsonrpc\":");
    assert_eq!(slow.line(), None);
    server.ask("status", json!({}));
}

#[test]
fn questions_in_flight_are_bounded_and_every_one_is_answered() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let ids: Vec<u64> = (0..2000)
        .map(|_| server.send("status", json!({})))
        .collect();
    let mut done = 0;
    let mut refused = 0;
    for _ in &ids {
        let answer = server.line().unwrap();
        match answer["error"]["code"].as_i64() {
            None => done += 1,
            Some(-32001) => refused += 1,
            Some(other) => panic!("{other}"),
        }
    }
    assert_eq!(done + refused, ids.len());
    assert!(done > 0);
}

#[test]
fn a_peer_that_does_not_read_is_cut_off_and_others_go_on() {
    let mut daemon = Daemon::start();
    let mut deaf = daemon.server(json!({}));
    let mut server = daemon.server(json!({}));
    let line =
        json!({"jsonrpc": "2.0", "id": "x".repeat(64), "method": "nonsense"}).to_string() + "\n";
    let lines = line.repeat(1000);
    let start = Instant::now();
    while deaf.try_write(lines.as_bytes()) {
        assert!(start.elapsed() < PATIENCE);
    }
    server.ask("status", json!({}));
    daemon.wait_for("reason in the log", |daemon| {
        daemon.log().contains("leaves its answers unread")
    });
}

#[test]
fn connections_are_bounded() {
    let mut daemon = Daemon::start();
    let mut first = daemon.peer();
    // The one that found out that it listens may still be counted.
    daemon.wait_for("end of its connection", |_| {
        let status = first.ask("status", json!({}));
        status["connections"].as_array().unwrap().len() == 1
    });
    let mut peers: Vec<_> = (0..255).map(|_| daemon.peer()).collect();
    // Asked one after the other, so that all are accepted.
    for peer in &mut peers {
        peer.ask("status", json!({}));
    }
    first.ask("status", json!({}));
    let mut more = daemon.peer();
    assert_eq!(more.line(), None);
    first.ask("status", json!({}));
    drop(peers);
    let start = Instant::now();
    loop {
        let mut peer = daemon.peer();
        if peer.answers() {
            break;
        }
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn what_was_said_is_heard_though_nobody_reads_the_answers() {
    let daemon = Daemon::start();
    let (mut server, mut other) = (daemon.server(json!({})), daemon.server(json!({})));
    let cert = Made::of(HAMLET);
    server.append("phone", &cert);
    other.login(&cert);
    server.stop_reading();
    // More than is read at a time: the first answers find nobody before the last question is read.
    for _ in 0..200 {
        server.send("external.offer", offer(&cert));
    }
    server.send("certificate.revoke", named("phone"));
    drop(server);
    let start = Instant::now();
    loop {
        let id = other.send("external.login", login(&cert));
        if other.answer(id).get("error").is_some() {
            break;
        }
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn who_may_not_ask_hears_why_and_which_flag_admits_it() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    const STRANGER: u32 = 65_534;
    if !nix::unistd::Uid::effective().is_root() {
        // Nobody else can become another user.
        return;
    }
    let daemon = Daemon::start();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(daemon.folder.path(), 0o755);
    open(daemon.socket().parent().unwrap(), 0o755);
    open(&daemon.socket(), 0o666);
    let script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.makefile().read())";
    let mut stranger = std::process::Command::new("/usr/bin/python3");
    stranger.args(["-c", script]).arg(daemon.socket());
    let heard = stranger
        .current_dir("/")
        .uid(STRANGER)
        .gid(STRANGER)
        .output()
        .unwrap();
    let line: Value = serde_json::from_slice(&heard.stdout).unwrap();
    assert_eq!(line["error"]["code"], -32003, "{heard:?}");
    let said = line["error"]["message"].as_str().unwrap();
    for flag in ["--server-user 65534", "--admin-user 65534"] {
        assert!(said.contains(flag), "{said}");
    }
}
