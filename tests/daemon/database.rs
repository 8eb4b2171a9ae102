//! The store in a database: how it is made, refused, lost for a while, and found to be older. With a server of `tests/with-postgresql`.

mod tls;

use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};
use saslcertd::identity::{BareJid, Incarnation, KeyId, UnixSeconds};
use saslcertd::store::{Edit, StoreError, View};
use serde_json::json;

use crate::support::{
    Daemon, HAMLET, HOST, Made, PATIENCE, Peer, PostgreSql, append, named, postgresql,
};

fn server() -> PostgreSql {
    postgresql().expect("SASLCERTD_TEST_POSTGRESQL: run this by tests/with-postgresql")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Ends every connection of the daemon's, as a server that is restarted does.
fn cut(daemon: &Daemon) {
    let name = daemon.database_name().replace('"', "'");
    server().run(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {name} AND application_name = 'saslcertd'"
    ));
}

fn answers(peer: &mut Peer) -> bool {
    let id = peer.send("status", json!({}));
    peer.answer(id).get("result").is_some()
}

#[test]
fn init_makes_a_store_once_and_says_so_again() {
    let daemon = Daemon::prepared();
    let again = daemon.command("init").output().unwrap();
    assert!(again.status.success());
    let said = said(&again);
    assert!(
        said.contains("already") && said.contains("the role saslcertd"),
        "{said}"
    );
}

#[test]
fn what_is_not_there_or_not_allowed_is_said_with_the_line_that_mends_it() {
    let daemon = Daemon::prepared();
    let database = daemon.database(&server(), "saslcertd");
    let owner = daemon.database(&server(), "postgres");
    let run = |statement: &str| drop(PostgreSql::asked(&owner, statement));
    let refused = |expected: &[&str]| {
        let refused = daemon.refusal();
        for words in expected {
            assert!(refused.contains(words), "{words}: {refused}");
        }
    };
    run("REVOKE INSERT ON saslcertd.rows FROM saslcertd");
    let line = format!("saslcertd init --database '{database}' --role saslcertd");
    refused(&["may not read and write", &line]);
    run("UPDATE saslcertd.version SET version = 2");
    refused(&["version 2", "newer saslcertd"]);
    run("DROP SCHEMA saslcertd CASCADE");
    let line = format!("make one with: saslcertd init --database '{database}'");
    refused(&["there is no store in it", &line]);
    let name = daemon.database_name();
    server().run(&format!("DROP DATABASE {name}"));
    refused(&["does not exist", "createdb "]);
    server().run(&format!("CREATE DATABASE {name}"));
    run(&format!(
        "ALTER DATABASE {name} SET synchronous_commit = off"
    ));
    refused(&["synchronous_commit is off", "SET synchronous_commit = on"]);
}

#[test]
fn a_password_in_the_words_is_refused_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    for (command, more) in [("init", None), ("serve", Some(["--server-user", "0"]))] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_saslcertd"));
        run.arg(command).args(more.into_iter().flatten());
        run.arg("--socket").arg(folder.path().join("socket"));
        run.args(["--database", "host=/run dbname=a password=geheim"]);
        let output = run.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        assert!(said.contains("a password has no place there"), "{said}");
        assert!(!said.contains("geheim"), "{said}");
    }
}

#[test]
fn a_server_that_is_lost_is_a_fault_that_passes() {
    let mut daemon = Daemon::start();
    let cert = Made::of(HAMLET);
    let mut server = daemon.server(json!({}));
    server.append("phone", &cert);
    for round in 0..20 {
        cut(&daemon);
        // What was acknowledged before is there, and what was not is a fault, not a refusal.
        daemon.wait_for("an answer", |_| {
            let id = server.send("external.login", crate::support::login(&cert));
            let answer = server.answer(id);
            if let Some(error) = answer.get("error") {
                assert_eq!(error["code"], -32001, "{round}: {answer}");
            }
            answer.get("result").is_some()
        });
    }
    let log = daemon.log();
    assert!(log.contains("the database is back"), "{log}");
    assert!(daemon.stop().success());
}

#[test]
fn no_acknowledged_revocation_is_lost_among_lost_connections() {
    let mut daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let mut revoked = Vec::new();
    for round in 0..30 {
        let cert = Made::of(HAMLET);
        daemon.wait_for("a store that answers", |_| answers(&mut server));
        let id = server.send(
            "certificate.append",
            append(&format!("device{round}"), &cert),
        );
        if server.answer(id).get("result").is_none() {
            continue;
        }
        let id = server.send("certificate.revoke", named(&format!("device{round}")));
        if round % 2 == 0 {
            cut(&daemon);
        }
        if server.answer(id).get("result").is_some() {
            revoked.push(cert);
        }
    }
    assert!(revoked.len() > 5, "{}", revoked.len());
    daemon.wait_for("a store that answers", |_| answers(&mut server));
    daemon.restart();
    let mut server = daemon.server(json!({}));
    for cert in &revoked {
        let refused = server.login_refused(cert);
        assert_ne!(refused["code"], -32001, "{refused}");
    }
}

#[test]
fn a_database_that_has_gone_back_is_not_served_until_that_is_accepted() {
    let mut daemon = Daemon::start();
    let owner = daemon.database(&server(), "postgres");
    let run = |statement: &str| drop(PostgreSql::asked(&owner, statement));
    let mut peer = daemon.server(json!({}));
    peer.append("phone", &Made::of(HAMLET));
    // An older copy of the list, while it is served.
    run(
        "DELETE FROM saslcertd.changes WHERE seq = (SELECT seq FROM saslcertd.head); \
         UPDATE saslcertd.head SET (seq, name) = (SELECT seq, name FROM saslcertd.changes ORDER BY seq DESC LIMIT 1)",
    );
    let status = daemon.ended();
    assert_eq!(status.code(), Some(1));
    let log = daemon.log();
    let said = daemon.refusal();
    assert!(said.contains("has gone back to an older state"), "{said}");
    assert!(said.contains("--accept-rollback"), "{said}");
    assert!(log.contains("stopping"), "{log}");
    daemon.serve_with(&["--accept-rollback"]);
    daemon.restart();
}

#[test]
fn a_change_that_is_another_one_of_the_same_number_is_noticed() {
    let mut daemon = Daemon::start();
    let owner = daemon.database(&server(), "postgres");
    daemon.server(json!({})).append("phone", &Made::of(HAMLET));
    let other = "UPDATE saslcertd.changes SET name = decode(repeat('00', 16), 'hex') WHERE seq = (SELECT seq FROM saslcertd.head)";
    PostgreSql::asked(&owner, other);
    assert_eq!(daemon.ended().code(), Some(1));
    assert!(UnixStream::connect(daemon.socket()).is_err());
}

#[test]
fn old_lines_of_the_list_of_changes_go_some_at_a_time_until_all_have_gone() {
    let mut daemon = Daemon::prepared();
    let owner = daemon.database(&server(), "postgres");
    let asked = |statement: &str| {
        let said = PostgreSql::asked(&owner, statement);
        String::from_utf8(said).unwrap().trim().to_owned()
    };
    // As many as one go takes, twice and a half; the last day's are three.
    asked(
        "INSERT INTO saslcertd.changes SELECT number, decode(lpad(to_hex(number), 32, '0'), 'hex'),
                now() - CASE WHEN number > 24997 THEN interval '0' ELSE interval '2 days' END, '{}', '{}', '{}', '{}'
           FROM generate_series(1, 25000) AS number;
         UPDATE saslcertd.changes SET at = at - interval '2 days' WHERE seq = 0;
         UPDATE saslcertd.head SET (seq, name) = (SELECT seq, name FROM saslcertd.changes ORDER BY seq DESC LIMIT 1)",
    );
    daemon.serve();
    daemon.wait_for("few lines", |_| {
        asked("SELECT min(seq) >= 24000 FROM saslcertd.changes") == "t"
    });
    // None of those that stay is missing, or whoever follows would find that.
    assert_eq!(asked("SELECT count(*) >= 1001 FROM saslcertd.changes"), "t");
    daemon.server(json!({})).append("phone", &Made::of(HAMLET));
}

#[test]
fn what_a_check_reads_is_told_if_it_does_not_count_right() {
    let mut daemon = Daemon::start();
    let mut server_peer = daemon.server(json!({}));
    server_peer.append("phone", &Made::of(HAMLET));
    assert!(daemon.stop().success());
    let store = daemon.store();
    let whole = store.check(|_| {}).unwrap();
    assert!(
        whole.iter().all(|table| table.problem.is_none()),
        "{whole:?}"
    );
    let owner = daemon.database(&server(), "postgres");
    PostgreSql::asked(&owner, "DELETE FROM saslcertd.rows WHERE kind = 0");
    let found = store.check(|_| {}).unwrap();
    let counts = found.iter().find(|table| table.table == "counts").unwrap();
    assert!(counts.problem.is_some(), "{found:?}");
}

/// Of four threads each, of which 150 are waited for.
const TURNS: u8 = 60;

/// Several change one host at once, while connections are cut again and again.
#[test]
fn counts_and_what_was_acknowledged_stand_whatever_is_cut() {
    let daemon = Daemon::prepared();
    let store = daemon.store();
    let (acknowledged, made) = (Mutex::new(BTreeMap::new()), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (store, acknowledged, made) = (&store, &acknowledged, &made);
        let threads = (0..4_u8).map(|thread| {
            scope.spawn(move || {
                let account = BareJid::parse(&format!("user{thread}@{HOST}")).unwrap();
                for turn in 0..TURNS {
                    let (key, is_revoked) = ([thread, turn % 7].repeat(16), turn % 3 != 2);
                    let key_id = KeyId::from_bytes(key.try_into().unwrap());
                    let incarnation = Incarnation::parse("one").unwrap();
                    let at = UnixSeconds(1);
                    let edit = if is_revoked {
                        Edit::RevokeKey {
                            key_id,
                            incarnation,
                            at,
                        }
                    } else {
                        Edit::UnrevokeKey {
                            key_id,
                            incarnation,
                        }
                    };
                    let start = Instant::now();
                    let known = loop {
                        let edit = edit.clone();
                        let change = |_: &View<'_>| Ok(Ok::<_, ()>((vec![edit], ())));
                        match store.take_back(None, &account, change) {
                            Ok(made) => {
                                made.unwrap();
                                break Some(is_revoked);
                            }
                            Err(StoreError::OutcomeUnknown { .. }) => break None,
                            // As it was: once more.
                            Err(StoreError::Away { .. } | StoreError::Busy) => {
                                assert!(start.elapsed() < PATIENCE);
                                std::thread::sleep(Duration::from_millis(2));
                            }
                            Err(error) => panic!("{error}"),
                        }
                    };
                    made.fetch_add(1, Ordering::Relaxed);
                    let place = (account.clone(), key_id);
                    acknowledged.lock().unwrap().insert(place, known);
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        // Some come through between two cuts.
        for cuts in 1..=15 {
            let start = Instant::now();
            while made.load(Ordering::Relaxed) < cuts * 10 {
                assert!(start.elapsed() < PATIENCE);
                std::thread::sleep(Duration::from_millis(1));
            }
            cut(&daemon);
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
    store.close();
    drop(store);
    let store = daemon.store();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(
        acknowledged
            .values()
            .filter(|known| known.is_some())
            .count()
            > 5
    );
    for ((account, key_id), known) in acknowledged {
        let is_revoked = !store
            .view(&account)
            .revoked_for(&key_id)
            .unwrap()
            .is_empty();
        assert!(known.is_none_or(|known| known == is_revoked), "{account}");
    }
    let found = store.check(|_| {}).unwrap();
    assert!(
        found.iter().all(|table| table.problem.is_none()),
        "{found:?}"
    );
}

/// What doctor finds of the database: of each check how bad it is, and the words with the line that mends it.
fn doctor(daemon: &Daemon, arguments: &[&str]) -> BTreeMap<String, (String, String)> {
    let mut doctor = daemon.command("doctor");
    doctor.args([
        "--json",
        "--prosodyctl",
        "/nowhere/prosodyctl",
        "--data-dir",
    ]);
    let output = doctor.arg(daemon.data_dir()).args(arguments).output();
    let said: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let findings = said["findings"].as_array().unwrap().iter();
    let found = findings.map(|one| {
        let text = |field: &str| one[field].as_str().unwrap().to_owned();
        let words = format!("{} {}", text("message"), one["mend"]);
        (text("check"), (text("level"), words))
    });
    found.collect()
}

fn assert_found(
    found: &BTreeMap<String, (String, String)>,
    check: &str,
    level: &str,
    expected: &str,
) {
    let (how_bad, words) = &found[check];
    assert!(
        how_bad == level && words.contains(expected),
        "{check}: {found:?}"
    );
}

#[test]
fn doctor_looks_at_the_database_of_a_daemon_that_runs_and_of_one_that_does_not() {
    let mut daemon = Daemon::start();
    let words = daemon.database(&server(), "saslcertd");
    let owner = daemon.database(&server(), "postgres");
    let run = |statement: &str| drop(PostgreSql::asked(&owner, statement));
    let found = doctor(&daemon, &[]);
    assert_found(&found, "database", "ok", "over a socket of this machine");
    assert_found(&found, "db-role", "ok", "the role saslcertd ");
    assert_found(&found, "db-clock", "ok", "agree");
    assert_found(&found, "standby", "ok", "one daemon");
    assert_found(&found, "store", "ok", "postgresql: host=");
    let other = daemon.beside();
    let mut peer = daemon.peer();
    daemon.wait_for("the other's row", |_| {
        let daemons = &peer.ask("status", json!({}))["store"]["shared"]["daemons"];
        daemons.as_array().unwrap().len() == 2
    });
    let found = doctor(&daemon, &[]);
    assert_found(
        &found,
        "standby",
        "warning",
        "ALTER SYSTEM SET synchronous_standby_names",
    );
    drop(other);

    assert!(daemon.stop().success());
    // Nobody says which database it is.
    assert!(!doctor(&daemon, &[]).contains_key("database"));
    let found = doctor(&daemon, &["--database", &words]);
    assert_found(&found, "database", "ok", "PostgreSQL ");
    assert_found(&found, "db-role", "ok", "the role saslcertd ");
    assert_found(&found, "store", "ok", "in a database");
    let found = doctor(&daemon, &["--database", &owner]);
    assert_found(&found, "db-role", "warning", "createuser saslcertd_daemon");
    run("REVOKE INSERT ON saslcertd.rows FROM saslcertd");
    let found = doctor(&daemon, &["--database", &words]);
    let line = format!("saslcertd init --database '{words}' --role saslcertd");
    assert_found(&found, "db-role", "problem", &line);
    run("UPDATE saslcertd.version SET version = 2");
    let found = doctor(&daemon, &["--database", &words]);
    assert_found(&found, "database", "problem", "have version 2");
    run("DROP SCHEMA saslcertd CASCADE");
    let found = doctor(&daemon, &["--database", &words]);
    assert_found(
        &found,
        "database",
        "problem",
        &format!("saslcertd init --database '{words}'"),
    );
    server().run(&format!("DROP DATABASE {}", daemon.database_name()));
    let found = doctor(&daemon, &["--database", &words]);
    assert_found(&found, "database", "problem", "createdb ");
    let found = doctor(&daemon, &["--database", "host=/nowhere dbname=a"]);
    assert_found(&found, "database", "problem", "cannot be reached");
}

/// Over a socket PostgreSQL knows by it who asks.
#[test]
fn doctor_asks_the_database_as_the_daemons_user() {
    let daemon = Daemon::prepared();
    if !Uid::effective().is_root() {
        // Who is not root can be nobody else.
        return;
    }
    // Whom the server of the tests lets into the folder of its socket.
    let other = User::from_name("postgres").unwrap().unwrap();
    std::fs::create_dir_all(daemon.data_dir()).unwrap();
    chown(daemon.data_dir(), Some(other.uid.as_raw()), None).unwrap();
    let words = daemon.database(&server(), "").replace(" user=", "");
    let found = doctor(&daemon, &["--database", &words]);
    assert_found(&found, "db-role", "warning", "the role postgres may change");
}
