//! Several daemons on one database: behind the answer to a revocation none of them says yes (docs/decisions/0014-several-machines.md).
//! With a server of `tests/with-postgresql`.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::passwords::{self, BRUTUS, create, verify};
use crate::support::{Daemon, HAMLET, Made, Peer, PostgreSql, login, named, postgresql};

/// A server that has asked to be told, so that it hears which sessions are over.
fn server(daemon: &Daemon) -> Peer {
    daemon.server(json!({}))
}

/// The lease of a daemon that is silent has run out before so many were answered.
fn waited_for(daemon: &mut Daemon, answers: usize) {
    daemon.wait_for("the wait", |daemon| {
        daemon.log().matches("is silent").count() >= answers
    });
}

#[test]
fn what_is_enrolled_here_logs_in_there_and_not_behind_the_answer_to_its_revocation() {
    let here = Daemon::start();
    let there = here.beside();
    let (mut one, mut other) = (server(&here), server(&there));
    for round in 0..50 {
        let cert = Made::of(HAMLET);
        let name = format!("device{round}");
        one.append(&name, &cert);
        // Whoever has not heard of it yet reads it in the database.
        assert_eq!(other.login(&cert)["username"], "hamlet");
        one.ask("certificate.revoke", named(&name));
        assert_eq!(other.any_question()["method"], "sessions.close");
        other.login_refused(&cert);
        one.login_refused(&cert);
    }
}

#[test]
fn no_yes_follows_the_answer_to_a_revocation_among_logins_that_never_pause() {
    let here = Daemon::start();
    let daemons = [here.beside(), here.beside()];
    let mut one = server(&here);
    for round in 0..40 {
        let cert = Made::of(HAMLET);
        let name = format!("device{round}");
        one.append(&name, &cert);
        let is_answered = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for daemon in &daemons {
                let (cert, is_answered) = (&cert, &is_answered);
                let mut other = server(daemon);
                scope.spawn(move || {
                    loop {
                        let was_answered = is_answered.load(Ordering::SeqCst);
                        let id = other.send("external.login", login(cert));
                        let is_yes = other.answer(id).get("result").is_some();
                        assert!(!(is_yes && was_answered), "a yes behind the answer");
                        if was_answered {
                            break;
                        }
                    }
                });
            }
            one.ask("certificate.revoke", named(&name));
            is_answered.store(true, Ordering::SeqCst);
        });
    }
}

#[test]
fn a_daemon_that_is_silent_is_waited_for_and_says_no_when_it_is_back() {
    let mut here = Daemon::start();
    let mut there = here.beside();
    let (mut one, mut other) = (server(&here), server(&there));
    let cert = Made::of(HAMLET);
    one.append("phone", &cert);
    assert_eq!(other.login(&cert)["username"], "hamlet");
    there.freeze();
    // It may have said yes by what it knew.
    one.ask("certificate.revoke", named("phone"));
    waited_for(&mut here, 1);
    // What it is asked now, it answers when it is back.
    let id = other.send("external.login", login(&cert));
    there.signal(Signal::SIGCONT);
    let answer = other.answer(id);
    assert!(answer.get("error").is_some(), "{answer}");
    assert_eq!(other.any_question()["method"], "sessions.close");
}

#[test]
fn one_that_was_killed_holds_nobody_up_for_ever() {
    let here = Daemon::start();
    let mut there = here.beside();
    let mut one = server(&here);
    let cert = Made::of(HAMLET);
    one.append("phone", &cert);
    there.kill();
    one.ask("certificate.revoke", named("phone"));
    let mut again = here.beside();
    server(&again).login_refused(&cert);
    assert!(again.stop().success());
}

#[test]
fn a_password_that_is_changed_here_is_another_one_there() {
    let here = Daemon::start();
    let there = here.beside();
    let [mut one, mut other] = [&here, &there].map(|daemon| passwords::server(daemon, json!({})));
    one.ask("account.create", create(BRUTUS, "first"));
    other.ask("account.verify", verify(BRUTUS, "first"));
    one.ask("account.delete", json!({"account": BRUTUS}));
    other.refused("account.verify", verify(BRUTUS, "first"));
    one.ask("account.create", create(BRUTUS, "second"));
    other.ask("account.verify", verify(BRUTUS, "second"));
    other.refused("account.verify", verify(BRUTUS, "first"));
}

#[test]
fn who_asks_for_the_same_is_not_answered_before_it_is_so_everywhere() {
    let mut here = Daemon::start();
    let mut there = here.beside();
    let [mut one, mut two, mut other] =
        [&here, &here, &there].map(|daemon| passwords::server(daemon, json!({})));
    one.ask("account.create", create(BRUTUS, "first"));
    other.ask("account.verify", verify(BRUTUS, "first"));
    there.freeze();
    let database = here.database(&postgresql().unwrap(), "postgres");
    let seq = || PostgreSql::asked(&database, "SELECT seq FROM saslcertd.head");
    let before = seq();
    let first = one.send("account.disable", json!({"account": BRUTUS}));
    // It is written, and not answered.
    here.wait_for("the change", |_| seq() != before);
    two.ask("account.disable", json!({"account": BRUTUS}));
    // For the first change, and for the second one that had nothing to write.
    assert!(one.answer(first).get("result").is_some());
    waited_for(&mut here, 2);
    there.signal(Signal::SIGCONT);
}

#[test]
fn a_certificate_that_is_disabled_lets_nobody_in_anywhere_behind_the_answer() {
    let mut here = Daemon::start();
    let mut there = here.beside();
    let (mut one, mut other) = (server(&here), server(&there));
    let cert = Made::of(HAMLET);
    one.append("phone", &cert);
    other.login(&cert);
    there.freeze();
    one.ask("certificate.disable", named("phone"));
    waited_for(&mut here, 1);
    there.signal(Signal::SIGCONT);
    other.login_refused(&cert);
}
