//! The cases of doctor's findings about a daemon, and about the Prosody that asks it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::access::{Node, Who};
use super::super::commands::usual;
use super::super::finding::Mend;
use super::super::process::Process;
use super::socket::user_of_prosody;
use super::*;
use crate::daemon::listen_error::Remedy;
use crate::protocol::PROTOCOL_VERSION;

const PROSODY: u32 = 110;
const DAEMON: u32 = 111;

fn node(path: &str, mode: u32, uid: u32, gid: u32) -> Node {
    Node {
        path: PathBuf::from(path),
        mode,
        uid,
        gid,
    }
}

fn status() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "store": {"corrupt_reads": 0, "certificates": 3, "accounts": 2},
        "connections": [{"uid": PROSODY, "software": "Prosody 13.0.1"}],
        "hosts": [{"host": "a.lit", "ready": true, "attached": true, "options": {}, "errors": []}],
    })
}

fn answer(status: Value) -> DaemonAnswer {
    DaemonAnswer::Status(serde_json::from_value(status).unwrap())
}

/// An installation by hand, as docs/operations.md has it.
fn well() -> Daemon {
    Daemon {
        socket: PathBuf::from("/run/saslcertd/saslcertd.sock"),
        answers_elsewhere: None,
        answer: answer(status()),
        process: Some(Process {
            pid: 7,
            uid: DAEMON,
            server_users: vec![("prosody".to_owned(), Some(PROSODY))],
            program: "saslcertd".to_owned(),
            flags: Vec::new(),
            is_units: false,
        }),
        folders: vec![
            node("/", 0o755, 0, 0),
            node("/run", 0o755, 0, 0),
            node("/run/saslcertd", 0o750, DAEMON, PROSODY),
        ],
        node: Some(node(
            "/run/saslcertd/saslcertd.sock",
            0o660,
            DAEMON,
            PROSODY,
        )),
        store: StoreFolder::Initialised,
        place: None,
    }
}

fn server() -> Server {
    Server {
        is_running: true,
        who: Some(Who {
            uid: PROSODY,
            gids: vec![PROSODY],
        }),
        user: "prosody".to_owned(),
    }
}

fn facts() -> Facts {
    serde_json::from_value(json!({
        "socket": "/run/saslcertd/saslcertd.sock",
        "hosts": [{"host": "a.lit", "saslcertd": true}],
    }))
    .unwrap()
}

fn bad(daemon: &Daemon, server: &Server) -> Vec<(&'static str, String)> {
    let found = findings(daemon, server, Some(&facts()), &usual());
    let bad = found
        .into_iter()
        .filter(|finding| finding.level >= Level::Warning);
    bad.map(|finding| match finding.mend {
        Some(Mend::Run(command)) => (finding.check, command),
        Some(Mend::Edit(edit)) => (finding.check, format!("{:?}", edit.change)),
        Some(Mend::Proxy(line)) => (finding.check, line),
        None => (finding.check, String::new()),
    })
    .collect()
}

#[test]
fn a_good_installation_has_no_problem() {
    assert_eq!(bad(&well(), &server()), []);
}

#[test]
fn without_a_daemon_its_start_is_the_first_thing_to_do() {
    let gone = Daemon {
        answer: DaemonAnswer::Nobody,
        process: None,
        ..well()
    };
    let serve = "saslcertd serve".to_owned();
    assert_eq!(bad(&gone, &server()), [("daemon", serve)]);
    let fresh = Daemon {
        store: StoreFolder::Empty,
        answer: DaemonAnswer::Missing,
        node: None,
        ..gone
    };
    // It wouldn't start.
    let init = "saslcertd init".to_owned();
    let found = bad(&fresh, &server());
    assert_eq!(found.len(), 1);
    assert!(
        found[0].0 == "store" && found[0].1.ends_with(&init),
        "{found:?}"
    );
}

#[test]
fn what_the_daemon_would_say_is_said_in_the_place_of_its_start() {
    let told = |remedy| {
        Some(Advice {
            message: "said".to_owned(),
            remedy,
        })
    };
    let run = || Some(Remedy::Run("line".to_owned()));
    let moved = "Add(\"saslcertd_socket = \\\"/run/saslcertd/saslcertd.sock\\\"\")".to_owned();
    let gone = || Daemon {
        answer: DaemonAnswer::Nobody,
        process: None,
        ..well()
    };
    let cases = [
        (
            StoreFolder::Closed(told(run()).unwrap()),
            None,
            ("store", "line".to_owned()),
        ),
        (
            StoreFolder::Closed(told(None).unwrap()),
            None,
            ("store", String::new()),
        ),
        (
            StoreFolder::Initialised,
            told(run()),
            ("folder", "line".to_owned()),
        ),
        // Others rely on the folder as it is.
        (
            StoreFolder::Initialised,
            told(Some(Remedy::Move)),
            ("folder", moved),
        ),
    ];
    for (store, place, expected) in cases {
        let daemon = Daemon {
            store,
            place,
            ..gone()
        };
        assert_eq!(bad(&daemon, &server()), [expected]);
    }
}

#[test]
fn a_folder_that_is_not_the_daemons_is_not_opened_for_prosody() {
    let socket = PathBuf::from("/home/a/s");
    let moved = "Add(\"saslcertd_socket = \\\"/run/saslcertd/saslcertd.sock\\\"\")".to_owned();
    for (mode, owner) in [(0o700, 5), (0o750, 0), (0o700, PROSODY + 5)] {
        let mut status = status();
        status["connections"] = json!([]);
        let daemon = Daemon {
            answer: answer(status),
            folders: vec![node("/home", 0o755, 0, 0), node("/home/a", mode, owner, 5)],
            node: Some(node("/home/a/s", 0o660, DAEMON, PROSODY)),
            socket: socket.clone(),
            ..well()
        };
        assert_eq!(
            bad(&daemon, &server()).first(),
            Some(&("socket", moved.clone()))
        );
    }
}

#[test]
fn who_cannot_open_the_socket_is_told_what_opens_it() {
    let unconnected = || {
        let mut status = status();
        status["connections"] = json!([]);
        Daemon {
            answer: answer(status),
            ..well()
        }
    };
    let socket = "/run/saslcertd/saslcertd.sock";
    let cases = [
        (
            0o750,
            PROSODY,
            0o600,
            PROSODY,
            format!("chmod g+rw {socket}"),
        ),
        (
            0o750,
            PROSODY,
            0o660,
            DAEMON,
            format!("chgrp prosody {socket} && chmod 660 {socket}"),
        ),
        (
            0o700,
            PROSODY,
            0o660,
            PROSODY,
            "chmod g+rx /run/saslcertd".to_owned(),
        ),
        (
            0o750,
            DAEMON,
            0o660,
            PROSODY,
            "chgrp prosody /run/saslcertd && chmod 750 /run/saslcertd".to_owned(),
        ),
    ];
    for (folder_mode, folder_group, mode, group, mend) in cases {
        let mut daemon = unconnected();
        daemon.folders.pop();
        daemon
            .folders
            .push(node("/run/saslcertd", folder_mode, DAEMON, folder_group));
        daemon.node = Some(node(socket, mode, DAEMON, group));
        assert_eq!(bad(&daemon, &server()).first(), Some(&("socket", mend)));
    }
    let mut connected = well();
    connected.node = Some(node(socket, 0o600, DAEMON, PROSODY));
    let found = findings(&connected, &server(), Some(&facts()), &usual());
    let levels: Vec<Level> = found
        .iter()
        .filter(|one| one.check == "socket")
        .map(|one| one.level)
        .collect();
    assert_eq!(levels, [Level::Warning]);
}

#[test]
fn a_prosody_that_the_daemon_was_not_told_of_is_named() {
    let mut status = status();
    status["connections"] = json!([]);
    let mut daemon = Daemon {
        answer: answer(status),
        ..well()
    };
    daemon.process.as_mut().unwrap().server_users = vec![("xmpp".to_owned(), None)];
    assert_eq!(bad(&daemon, &server()).first().unwrap().0, "role");
}

#[test]
fn a_socket_that_prosody_does_not_look_at_is_named() {
    let daemon = Daemon {
        answers_elsewhere: Some(PathBuf::from("/s")),
        ..well()
    };
    let mend = "Add(\"saslcertd_socket = \\\"/s\\\"\")".to_owned();
    assert_eq!(bad(&daemon, &server()), [("socket", mend)]);
}

#[test]
fn hosts_that_are_not_ready_are_named() {
    let cases = [
        (json!([]), "systemctl restart prosody"),
        (
            json!([{"host": "a.lit", "attached": false, "ready": true}]),
            "systemctl restart prosody",
        ),
        (
            json!([{"host": "a.lit", "attached": true, "ready": false, "options": {"x": 1}}]),
            "systemctl reload prosody",
        ),
        (
            json!([{"host": "a.lit", "attached": true, "ready": true, "options": {"x": 1}}]),
            "systemctl reload prosody",
        ),
    ];
    for (hosts, mend) in cases {
        let mut status = status();
        status["hosts"] = hosts;
        let daemon = Daemon {
            answer: answer(status),
            ..well()
        };
        assert_eq!(bad(&daemon, &server()), [("hosts", mend.to_owned())]);
    }
    let mut status = status();
    status["connections"] = json!([]);
    let daemon = Daemon {
        answer: answer(status),
        ..well()
    };
    assert_eq!(
        bad(&daemon, &server()),
        [("hosts", "systemctl restart prosody".to_owned())]
    );
}

#[test]
fn a_prosody_that_does_not_run_is_named_and_its_hosts_are_not_judged() {
    let stopped = Server {
        is_running: false,
        ..server()
    };
    assert_eq!(
        bad(&well(), &stopped),
        [("running", "systemctl start prosody".to_owned())]
    );
}

#[test]
fn a_module_of_another_version_is_named_with_its_folder() {
    for version in [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1] {
        let mut status = status();
        status["connections"] = json!([]);
        status["stranger"] = json!({"uid": PROSODY, "protocol": version, "module": {"version": "9.9", "path": "/m/mod_saslcertd"}});
        let daemon = Daemon {
            answer: answer(status),
            ..well()
        };
        let mut facts = facts();
        // Only what is loaded is wrong.
        facts.module.protocol = PROTOCOL_VERSION;
        let found = findings(&daemon, &server(), Some(&facts), &usual());
        let hosts = found.iter().find(|one| one.check == "hosts").unwrap();
        assert!(
            hosts.message.contains("9.9 in /m/mod_saslcertd")
                && hosts.message.contains(&format!("version {version}"))
        );
        assert_eq!(
            hosts.mend,
            Some(Mend::Run("systemctl restart prosody".to_owned()))
        );
    }
}

#[test]
fn a_user_of_prosodys_that_is_not_there_is_named_with_what_made_it() {
    for (name, mend) in [
        ("prosody", "apt-get install --reinstall prosody"),
        ("prosdy", "Remove(\"prosody_user\")"),
    ] {
        let gone = Server {
            who: None,
            user: name.to_owned(),
            ..server()
        };
        let mut facts = facts();
        facts.user = Some(name.to_owned());
        let found = user_of_prosody(&gone, Some(&facts), &usual());
        let told = match found {
            Mend::Run(line) => line,
            Mend::Edit(edit) => format!("{:?}", edit.change),
            Mend::Proxy(_) => unreachable!(),
        };
        assert_eq!(told, mend);
    }
}

#[test]
fn damage_of_the_store_is_named() {
    for (field, value) in [
        ("corrupt_reads", json!(2)),
        ("check", json!({"whole": false})),
        ("accepted_loss", json!({"new": true})),
        ("sequence_problem", json!("No space left on device")),
    ] {
        let mut status = status();
        status["store"][field] = value;
        let daemon = Daemon {
            answer: answer(status),
            ..well()
        };
        let found = bad(&daemon, &server());
        assert_eq!(found.first().unwrap().0, "store", "{field}");
    }
}
