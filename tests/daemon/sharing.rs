//! Several daemons on one database: behind the answer to a revocation none of them says yes (docs/decisions/0014-several-machines.md).
//! With a server of `tests/with-postgresql`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::backup::{exported, fill, fine, records, run, salt};
use crate::passwords::{self, BRUTUS, create, verify};
use crate::support::{
    Daemon, HAMLET, HOST, Made, Peer, PostgreSql, append, login, named, postgresql,
};

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

/// So many revocations race logins: some hundred, or as many as `SASLCERTD_TEST_REVOCATIONS` says.
fn revocations() -> usize {
    let wanted = std::env::var("SASLCERTD_TEST_REVOCATIONS");
    wanted.map_or(300, |wanted| wanted.parse().unwrap())
}

/// What is asked of one of many accounts: the usual question, with another name in it.
fn of(account: &str, question: &Value) -> Value {
    let username = account.split_once('@').unwrap().0;
    let text = question.to_string().replace(HAMLET, account);
    let own = format!("\"username\":\"{username}\"");
    serde_json::from_str(&text.replace("\"username\":\"hamlet\"", &own)).unwrap()
}

/// Logs in without a pause until a question that was written behind the revocation's answer is answered. How often it got in.
///
/// A server closes what it has let in when it reads the line that says so. So all is well if that line stands behind each yes, and before the
/// answer to whatever was asked behind the revocation's.
fn log_in_until(peer: &mut Peer, account: &str, question: &Value, race: &Race) -> usize {
    let mut asked = VecDeque::new();
    let (mut admitted, mut is_told, mut is_over) = (0, false, false);
    loop {
        if race.gave_up.load(Ordering::SeqCst) {
            return admitted;
        }
        while !is_over && asked.len() < 2 {
            let was_answered = race.is_answered.load(Ordering::SeqCst);
            let id = peer.send("external.login", question.clone());
            asked.push_back((id, was_answered));
        }
        let line = peer.line().expect("the connection ended");
        if line["method"] == "sessions.close" {
            let close = line["params"]["close"].as_array().unwrap();
            is_told |= close.iter().any(|close| close["account"] == account);
            continue;
        }
        let at = asked.iter().position(|(id, _)| line["id"] == *id);
        let (_, was_answered) = asked.remove(at.unwrap()).unwrap();
        if line.get("result").is_some() {
            assert!(!was_answered, "a yes behind the answer: {line}");
            assert!(!is_told, "a yes behind its end, so a session is left");
            admitted += 1;
            race.is_in.store(true, Ordering::SeqCst);
        } else if was_answered {
            assert!(is_told, "an answer before the sessions were closed");
            is_over = true;
        }
        if is_over && asked.is_empty() {
            return admitted;
        }
    }
}

/// How far a revocation is that races logins.
#[derive(Default)]
struct Race {
    is_in: AtomicBool,
    is_answered: AtomicBool,
    gave_up: AtomicBool,
}

/// If nobody will answer any more, the test fails, and does not wait.
struct Watch<'a>(&'a Race);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let gave_up = std::thread::panicking();
        self.0.gave_up.store(gave_up, Ordering::SeqCst);
    }
}

#[test]
fn no_yes_follows_the_answer_to_a_revocation_and_no_session_is_left() {
    let here = Daemon::start();
    let there = here.beside();
    let revocations = revocations();
    let next = AtomicUsize::new(0);
    let admitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (mut one, mut other) = (server(&here), server(&there));
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= revocations {
                        break;
                    }
                    let account = format!("prince{number}@{HOST}");
                    let cert = Made::of(&account);
                    one.ask("certificate.append", of(&account, &append("phone", &cert)));
                    let (question, race) = (of(&account, &login(&cert)), Race::default());
                    admitted.fetch_add(
                        std::thread::scope(|scope| {
                            let (question, race) = (&question, &race);
                            let (account, other) = (&account, &mut other);
                            let logins =
                                scope.spawn(move || log_in_until(other, account, question, race));
                            while !race.is_in.load(Ordering::SeqCst) && !logins.is_finished() {
                                std::thread::yield_now();
                            }
                            let _watch = Watch(race);
                            one.ask("certificate.revoke", of(account, &named("phone")));
                            race.is_answered.store(true, Ordering::SeqCst);
                            logins.join().unwrap()
                        }),
                        Ordering::SeqCst,
                    );
                }
            });
        }
    });
    let admitted = admitted.into_inner();
    // Each was let in before.
    assert!(admitted >= revocations, "{admitted}");
    eprintln!("{revocations} revocations, {admitted} logins before their answers");
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

#[test]
fn who_does_not_say_how_long_it_waits_is_let_in_as_one_that_waits_long() {
    let here = Daemon::start();
    let mut one = passwords::server(&here, json!({}));
    one.ask("account.create", create(BRUTUS, "first"));
    let database = here.database(&postgresql().unwrap(), "postgres");
    let patience = "SELECT patience_ms FROM saslcertd.leases";
    let patience = || String::from_utf8(PostgreSql::asked(&database, patience)).unwrap();
    one.ask("account.verify", verify(BRUTUS, "first"));
    assert_ne!(patience().trim(), "30000");
    let mut stranger = Peer::connect(&here.socket());
    stranger.ask("account.verify", verify(BRUTUS, "first"));
    assert_eq!(patience().trim(), "30000");
}

#[test]
fn status_names_all_daemons_and_says_who_is_silent_and_that_no_standby_is_there() {
    let mut here = Daemon::start();
    let mut there = here.beside();
    let (mut one, _other) = (server(&here), server(&there));
    let shared = |peer: &mut Peer| peer.ask("status", json!({}))["store"]["shared"].clone();
    // Each is there from the first answer on, and the other one hears of it within a second.
    let mut asking = here.peer();
    here.wait_for("the other's row", |_| {
        shared(&mut asking)["daemons"].as_array().unwrap().len() == 2
    });
    let daemons = shared(&mut one)["daemons"].clone();
    assert_eq!(daemons[0]["pid"], here.pid());
    assert_eq!(daemons[0]["this"], true);
    assert_eq!(daemons[0]["behind"], 0);
    assert_eq!(daemons[1]["pid"], there.pid());
    assert_eq!(daemons[1]["this"], false);
    assert_eq!(daemons[1]["machine"], daemons[0]["machine"]);
    // What counts until somebody says less.
    assert_eq!(daemons[1]["waits_ms"], 2000);
    let standbys = shared(&mut one)["standbys"].clone();
    assert_eq!(standbys["names"], "");
    let problem = standbys["problem"].as_str().unwrap();
    assert!(problem.contains("no synchronous standby"), "{problem}");

    there.freeze();
    one.append("phone", &Made::of(HAMLET));
    here.wait_for("silence", |_| {
        !shared(&mut asking)["daemons"][1]["silent_seconds"].is_null()
    });
    let silent = shared(&mut one);
    assert!(
        silent["daemons"][1]["behind"].as_u64() > Some(0),
        "{silent}"
    );
    // One that has a lease needs no standby.
    assert_eq!(silent["standbys"]["problem"], json!(null));
    let shown = here.command("status").output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let this = format!("(process {}, this one): has a lease", here.pid());
    let other = format!("(process {}): SILENT for ", there.pid());
    assert!(shown.contains(&this) && shown.contains(&other), "{shown}");
    let ran = one.ask(
        "console.run",
        json!({"words": ["status"], "socket": "/run/socket", "sessions": null, "withdrawn": []}),
    );
    let lines = ran["lines"].to_string();
    assert!(lines.contains(&this) && lines.contains(&other), "{lines}");
    there.signal(Signal::SIGCONT);
    here.wait_for("a lease", |_| {
        shared(&mut asking)["daemons"][1]["silent_seconds"].is_null()
    });
}

#[test]
fn everything_moves_from_a_folder_to_a_database_and_back_while_all_are_served() {
    let from = Daemon::start_in_folder();
    let phone = fill(&from);
    let here = Daemon::start();
    let there = here.beside();
    let back = Daemon::start_in_folder();
    let (path, text) = exported(&from);
    let kinds = [
        "secret",
        "host",
        "account",
        "certificate",
        "revoked_key",
        "disabled",
        "incarnation",
    ];
    for kind in kinds {
        assert!(text.contains(&format!("\"type\":\"{kind}\"")), "{kind}");
    }
    fine(&run(&here, "import", &[path.to_str().unwrap()]));
    let (path, in_database) = exported(&here);
    assert_eq!(records(&in_database), records(&text));
    // Whoever shares the database has all of it as well, and goes on to count right.
    assert_eq!(records(&exported(&there).1), records(&text));
    assert_eq!(salt(&there), salt(&from));
    for daemon in [&here, &there] {
        daemon
            .server(json!({"saslcertd_max_certs": 7}))
            .login(&phone);
        fine(&run(daemon, "check", &[]));
    }
    fine(&run(&back, "import", &[path.to_str().unwrap()]));
    assert_eq!(records(&exported(&back).1), records(&text));
    assert_eq!(salt(&back), salt(&from));
    back.server(json!({"saslcertd_max_certs": 7})).login(&phone);
    fine(&run(&back, "check", &[]));
    // A second import has nothing to write, in either direction.
    for (daemon, path) in [(&here, &path), (&back, &path)] {
        let again = run(daemon, "import", &[path.to_str().unwrap(), "--json"]);
        let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(again["written"], 0, "{again}");
    }
}

#[test]
fn the_answer_names_the_daemons_that_were_silent() {
    let mut here = Daemon::start();
    let mut there = here.beside();
    let (mut one, _other) = (server(&here), server(&there));
    let mut rome = passwords::server(&here, json!({}));
    for name in [BRUTUS, "cinna@rome.lit"] {
        rome.ask("account.create", create(name, "first"));
    }
    for name in ["phone", "tablet", "laptop", "watch"] {
        one.append(name, &Made::of(HAMLET));
    }
    let revoked = one.ask("certificate.revoke", named("phone"));
    assert_eq!(revoked.get("silent"), None, "{revoked}");
    there.freeze();
    let name = format!("(process {})", there.pid());
    let is_named = |answer: &serde_json::Value| {
        let silent = answer["silent"].as_array().unwrap();
        assert!(
            silent.len() == 1 && silent[0].as_str().unwrap().ends_with(&name),
            "{answer}"
        );
    };
    is_named(&one.ask("certificate.revoke", named("tablet")));
    is_named(&rome.ask(
        "account.set_password",
        json!({"account": BRUTUS, "password": "second"}),
    ));
    is_named(&rome.ask("account.disable", json!({"account": BRUTUS})));
    is_named(&rome.ask("account.delete", json!({"account": BRUTUS})));
    let shown = run(&here, "cert", &["revoke", HAMLET, "laptop"]);
    fine(&shown);
    let complaint = String::from_utf8(shown.stderr).unwrap();
    assert!(
        complaint.contains(&format!("{name} could not be told")),
        "{complaint}"
    );
    let shown = run(&here, "account", &["disable", "cinna@rome.lit"]);
    fine(&shown);
    let complaint = String::from_utf8(shown.stderr).unwrap();
    assert!(
        complaint.contains(&format!("{name} could not be told")),
        "{complaint}"
    );
    let ran = one.ask(
        "console.run",
        json!({"words": ["revoke", HAMLET, "watch"], "socket": "/run/socket", "sessions": null, "withdrawn": []}),
    );
    let lines = ran["lines"].to_string();
    assert!(
        lines.contains(&format!("{name} could not be told")),
        "{ran}"
    );
    there.signal(Signal::SIGCONT);
    here.wait_for("nobody who is silent", |_| {
        one.append("another", &Made::of(HAMLET));
        let revoked = one.ask("certificate.revoke", named("another"));
        revoked.get("silent").is_none()
    });
}

/// How many messages wait for a daemon that can deliver them.
fn waiting_messages(daemon: &Daemon) -> String {
    let database = daemon.database(&postgresql().unwrap(), "postgres");
    let count = "SELECT count(*) FROM saslcertd.rows WHERE position('message '::bytea IN key) = 1";
    let count = PostgreSql::asked(&database, count);
    String::from_utf8(count).unwrap().trim().to_owned()
}

/// On the command line: a certificate is added, which nobody can log in with.
fn add(daemon: &Daemon, account: &str, name: &str) {
    let file = daemon.folder.path().join(format!("{name}.der"));
    std::fs::write(&file, Made::of(account).der).unwrap();
    fine(&run(
        daemon,
        "cert",
        &["add", account, name, file.to_str().unwrap()],
    ));
}

fn delivered(daemon: &Daemon) -> usize {
    daemon.log().matches("a message that was left").count()
}

#[test]
fn what_is_done_here_an_account_hears_once_from_one_of_the_daemons_with_its_server() {
    let mut here = Daemon::start();
    let mut others = [here.beside(), here.beside()];
    let mut servers = others
        .each_ref()
        .map(|daemon| passwords::server(daemon, json!({})));
    servers[0].ask("account.create", create(BRUTUS, "first"));
    let names = ["phone", "tablet", "laptop"];
    for name in names {
        add(&here, BRUTUS, name);
        fine(&run(&here, "cert", &["revoke", BRUTUS, name]));
    }
    here.wait_for("all are delivered", |here| {
        let all: usize = others.iter().map(delivered).sum();
        waiting_messages(here) == "0" && all >= 2 * names.len()
    });
    // What was queued is written before the end.
    for daemon in &mut others {
        assert!(daemon.stop().success());
    }
    let told: String = servers.map(Peer::rest).concat();
    let told: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["method"] == "account.notify")
        .map(|line| line["params"].clone())
        .collect();
    assert!(told.iter().all(|one| one["account"] == BRUTUS), "{told:?}");
    let texts = told.iter().map(|one| one["text"].as_str().unwrap());
    let texts: Vec<&str> = texts.collect();
    assert_eq!(texts.len(), 2 * names.len(), "{texts:?}");
    for name in names {
        for words in ["was added", "was revoked"] {
            let is_meant =
                |text: &&&str| text.contains(&format!("\"{name}\"")) && text.contains(words);
            assert_eq!(texts.iter().filter(is_meant).count(), 1, "{texts:?}");
        }
    }
}

#[test]
fn a_message_waits_for_the_first_server_of_the_host_and_for_the_account_that_it_is_to() {
    const CINNA: &str = "cinna@rome.lit";
    let mut here = Daemon::start();
    let mut there = here.beside();
    let mut rome = passwords::server(&there, json!({}));
    for account in [BRUTUS, CINNA] {
        rome.ask("account.create", create(account, "first"));
    }
    drop(rome);
    // It is gone for the daemon, too.
    let mut asking = there.peer();
    there.wait_for("the server's end", |_| {
        let status = asking.ask("status", json!({}));
        status["connections"].as_array().unwrap().len() == 1
    });
    for (account, name) in [(BRUTUS, "phone"), (CINNA, "tablet"), (BRUTUS, "laptop")] {
        add(&here, account, name);
    }
    fine(&run(&here, "account", &["delete", CINNA, "--yes"]));
    let stranger = server(&there);
    here.wait_for("all are left", |here| waiting_messages(here) == "3");
    let mut rome = passwords::server(&there, json!({}));
    // In the order in which they were written.
    for name in ["phone", "laptop"] {
        let told = rome.question("account.notify");
        assert_eq!(told["account"], BRUTUS);
        let text = told["text"].as_str().unwrap();
        assert!(text.contains(&format!("\"{name}\"")), "{text}");
    }
    here.wait_for("nothing waits", |here| waiting_messages(here) == "0");
    assert!(there.stop().success());
    for rest in [rome.rest(), stranger.rest()] {
        assert!(!rest.contains("account.notify"), "{rest}");
    }
}
