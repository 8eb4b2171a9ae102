//! Several daemons on one database, of which one stands still, is cut off, or has a server that gives up waiting for its standby: no yes
//! counts behind the answer to a revocation, and nothing is answered that could be lost. With a server of `tests/with-postgresql`, or of
//! a test's own.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::own_server::{Between, OwnServer};
use crate::passwords::{self, BRUTUS, create};
use crate::power::some_microseconds;
use crate::support::{Daemon, HAMLET, Made, Peer, PostgreSql, append, login, named, postgresql};

/// How long an asker of these tests waits for a yes; it drops what comes later.
const WAITS: Duration = Duration::from_millis(100);

fn server(daemon: &Daemon) -> Peer {
    daemon.server(json!({}))
}

fn is_yes(answer: &Value) -> bool {
    answer.get("result").is_some()
}

/// Is it the store's fault, which passes?
fn is_fault(answer: &Value) -> bool {
    answer["error"]["code"] == -32001
}

/// Until the daemon lets somebody in again, or refuses for good: what it says then.
fn answered_by(daemon: &mut Daemon, peer: &mut Peer, cert: &Made) -> Value {
    let mut said = Value::Null;
    daemon.wait_for("a database that is back", |_| {
        let id = peer.send("external.login", login(cert));
        said = peer.answer(id);
        !is_fault(&said)
    });
    said
}

#[test]
fn no_yes_of_a_daemon_that_is_stopped_in_the_middle_of_logins_counts() {
    let here = Daemon::start();
    let mut others: Vec<Daemon> = (0..3).map(|_| here.beside()).collect();
    let mut one = server(&here);
    for round in 0..2 {
        let cert = Made::of(HAMLET);
        let name = format!("device{round}");
        one.append(&name, &cert);
        let mut asked: Vec<(Peer, Vec<u64>, Instant)> = Vec::new();
        for daemon in &mut others {
            let mut peers: Vec<Peer> = (0..3).map(|_| server(daemon)).collect();
            for peer in &mut peers {
                // The certificate is read in the database by the first of these, and is in memory for the others.
                peer.send("external.login", login(&cert));
            }
            some_microseconds(3000);
            daemon.signal(Signal::SIGSTOP);
            for mut peer in peers {
                let ids = (0..5).map(|_| peer.send("external.login", login(&cert)));
                let ids = ids.collect();
                asked.push((peer, ids, Instant::now()));
            }
        }
        one.ask("certificate.revoke", named(&name));
        // Nobody takes an answer any more to what was asked before.
        for (_, _, when) in &asked {
            assert!(when.elapsed() > WAITS, "answered before an answer is late");
        }
        for (peer, ids, _) in &mut asked {
            ids.clear();
            ids.push(peer.send("external.login", login(&cert)));
        }
        for daemon in &others {
            daemon.signal(Signal::SIGCONT);
        }
        for (mut peer, ids, _) in asked {
            for id in ids {
                let answer = peer.answer(id);
                assert!(!is_yes(&answer), "{answer}");
            }
            // Whoever was let in before is out.
            let question = peer.whole_question("sessions.close");
            assert!(!question["params"]["close"].as_array().unwrap().is_empty());
        }
        for daemon in &mut others {
            let mut peer = server(daemon);
            let said = answered_by(daemon, &mut peer, &cert);
            assert_eq!(said["error"]["data"]["denial"], "key-revoked", "{said}");
        }
    }
}

/// A daemon that is cut off from the database, silently, on `connections` of it; and is there again by `mend`.
fn cut_off(connections: usize, mend: impl FnOnce(&Between)) {
    let here = Daemon::start();
    let between = Between::of(&postgresql().unwrap());
    let mut there = here.beside_by(Some(between.at()));
    let (mut one, mut other) = (server(&here), server(&there));
    let cert = Made::of(HAMLET);
    one.append("phone", &cert);
    let spared = Made::of(HAMLET);
    one.append("tablet", &spared);
    other.login(&cert);
    other.login(&spared);
    between.silence(connections);
    one.ask("certificate.revoke", named("phone"));
    let id = other.send("external.login", login(&cert));
    let answer = other.answer(id);
    assert!(!is_yes(&answer), "a yes behind the answer: {answer}");
    mend(&between);
    let said = answered_by(&mut there, &mut other, &cert);
    assert_eq!(said["error"]["data"]["denial"], "key-revoked", "{said}");
    // It has heard what it has missed.
    other.whole_question("sessions.close");
    assert!(is_yes(&answered_by(&mut there, &mut other, &spared)));
}

/// That by which it listens is the first of a daemon's connections.
const LISTENING: usize = 1;
const ALL: usize = usize::MAX;

#[test]
fn a_daemon_whose_listening_connection_is_cut_silently_says_no_yes_and_is_back_by_a_new_one() {
    cut_off(LISTENING, |_| {});
}

#[test]
fn a_daemon_whose_listening_connection_is_held_up_says_no_yes_and_goes_on() {
    cut_off(LISTENING, Between::go_on);
}

#[test]
fn a_daemon_that_is_cut_off_altogether_says_no_yes_and_goes_on() {
    cut_off(ALL, Between::go_on);
}

#[test]
fn while_the_database_is_away_it_is_tried_once_a_second_whoever_waits() {
    let here = Daemon::start();
    let between = Between::of(&postgresql().unwrap());
    let mut revoking = here.beside_by(Some(between.at()));
    let mut silent = here.beside();
    let mut one = server(&revoking);
    let cert = Made::of(HAMLET);
    one.append("phone", &cert);
    let database = here.database(&postgresql().unwrap(), "postgres");
    let seen = || PostgreSql::asked(&database, "SELECT min(seen) FROM saslcertd.leases");
    silent.freeze();
    let before = PostgreSql::asked(&database, "SELECT seq FROM saslcertd.head");
    one.send("certificate.revoke", named("phone"));
    // It is written, and waits for the one that is silent.
    revoking.wait_for("the revocation", |_| {
        PostgreSql::asked(&database, "SELECT seq FROM saslcertd.head") != before
    });
    assert_ne!(
        seen(),
        PostgreSql::asked(&database, "SELECT seq FROM saslcertd.head")
    );
    between.close();
    // Behind the moment when the silent one would have been late: 5 s, and what its askers wait.
    let start = Instant::now();
    let came = between.came();
    while start.elapsed() < Duration::from_secs(8) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let tries = between.came() - came;
    assert!(tries < 30, "{tries} tries in 8 s");
    between.go_on();
    silent.signal(Signal::SIGCONT);
    let said = answered_by(&mut revoking, &mut one, &cert);
    assert_eq!(said["error"]["data"]["denial"], "key-revoked", "{said}");
}

#[test]
fn what_no_standby_has_is_not_answered_whoever_cancels_the_wait_and_is_when_one_has_it() {
    let postgresql = OwnServer::start();
    let mut daemon = Daemon::start_at(&postgresql.at());
    let mut peer = server(&daemon);
    let [mut rome, mut again] = [(); 2].map(|()| passwords::server(&daemon, json!({})));
    let (phone, tablet) = (Made::of(HAMLET), Made::of(HAMLET));
    peer.append("phone", &phone);
    rome.ask("account.create", create(BRUTUS, "et tu?"));
    let database = daemon.database(&postgresql.at(), "postgres");
    let number = |of: &str| {
        let said = PostgreSql::asked(&database, of);
        let said = String::from_utf8(said).unwrap();
        said.trim().parse::<i64>().unwrap()
    };
    let renewal = || number("SELECT max(renewal) FROM saslcertd.leases");
    // No such standby is there: whatever is committed waits.
    stand_by(&database, "nobody");
    daemon.wait_for("a commit that waits", |_| number(WAITING) > 0);
    let before = number("SELECT seq FROM saslcertd.head");
    let revoked = peer.send("certificate.revoke", named("phone"));
    let enrolled = peer.send("certificate.append", append("tablet", &tablet));
    let disabled = rome.send("account.disable", json!({"account": BRUTUS}));
    let is_applied = |daemon: &Daemon| {
        let applied = std::fs::read_to_string(daemon.data_dir().join("APPLIED"));
        let applied = applied.unwrap_or_default();
        let number = applied.split(' ').next().map(str::parse::<i64>);
        number.is_some_and(|number| number.is_ok_and(|number| number > before))
    };
    daemon.wait_for("commits whose wait is cancelled", |daemon| {
        number(CANCEL);
        is_applied(daemon)
    });
    // Who finds it so already hears it no earlier.
    let found = again.send("account.disable", json!({"account": BRUTUS}));
    // What is made by now is applied here, if not all. Renewals that are cancelled make it no firmer.
    let since = renewal();
    daemon.wait_for("more renewals", |_| {
        number(CANCEL);
        renewal() > since + 1
    });
    assert!(daemon.log().contains("the database warns of a commit"));
    let mut waiting = [
        (&mut peer, vec![revoked, enrolled]),
        (&mut rome, vec![disabled]),
        (&mut again, vec![found]),
    ];
    for (peer, ids) in &mut waiting {
        for line in peer.waiting() {
            assert!(!is_yes(&line), "{line}");
            // On a machine that is slow enough, there is no lease any more, or it takes too long.
            ids.retain(|id| line["id"] != *id);
        }
    }
    // There is none, then: now all is as firm as it is to be.
    stand_by(&database, "");
    let mut made = Vec::new();
    for (peer, ids) in &mut waiting {
        while !ids.is_empty() {
            let line = peer.line().unwrap();
            if line.get("method").is_none() {
                assert_ne!(line["error"]["code"], -32000, "{line}");
                ids.retain(|id| line["id"] != *id);
                made.push(is_yes(&line).then(|| line["result"]["name"].clone()));
            }
        }
    }
    let is_made = |name: &str| made.contains(&Some(json!(name)));
    if is_made("tablet") {
        assert!(is_yes(&answered_by(&mut daemon, &mut peer, &tablet)));
    }
    if is_made("phone") {
        let said = answered_by(&mut daemon, &mut peer, &phone);
        assert_eq!(said["error"]["data"]["denial"], "key-revoked", "{said}");
    }
}

/// From now on commits wait for these standbys.
fn stand_by(database: &str, standbys: &str) {
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{standbys}'");
    PostgreSql::asked(database, &set);
    PostgreSql::asked(database, "SELECT pg_reload_conf()");
}

/// Those who wait for a standby.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
/// Cancels that, as an admin may.
const CANCEL: &str =
    "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
