//! The accounts that hear that a certificate expires soon.

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::support::{Daemon, HAMLET, HOST, Made, ONE, Peer, append, hello};

const OTHER: &str = "verona.lit";
const ROMEO: &str = "romeo@verona.lit";
const ANTONIO: &str = "antonio@shakespeare.lit";

/// A daemon that knows certificates which were added a year ago, by the account, name and days that each has left.
fn with_certificates(held: &[(&str, &str, i64)]) -> Daemon {
    let made = Daemon::start();
    let mut server = serving(&made, &[HOST, OTHER], json!({}));
    for (account, name, days) in held {
        // Half a day more, so that the time that this takes doesn't count.
        let left = Duration::days(*days) + Duration::hours(12);
        let cert = Made::valid_until(account, OffsetDateTime::now_utc() + left);
        let mut question = append(name, &cert);
        question["account"] = (*account).into();
        server.ask("certificate.append", question);
    }
    let path = made.folder.path().join("backup");
    let run = |daemon: &Daemon, command: &str| {
        let done = daemon.command(command).arg(&path).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    run(&made, "export");
    let text = std::fs::read_to_string(&path).unwrap();
    let aged = text.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        if let Some(added) = record.get("added_at").and_then(Value::as_i64) {
            record["added_at"] = (added - 365 * 24 * 3600).into();
        }
        format!("{record}\n")
    });
    std::fs::write(&path, aged.collect::<String>()).unwrap();
    let daemon = Daemon::start();
    run(&daemon, "import");
    daemon
}

fn serving(daemon: &Daemon, hosts: &[&str], options: Value) -> Peer {
    let mut server = daemon.peer();
    for (i, host) in hosts.iter().enumerate() {
        let mut one = hello(host, options.clone());
        one["continued"] = (i > 0).into();
        server.ask("session.hello", one);
    }
    server
}

impl Peer {
    /// Waits for a notice, and answers it. Returns whom it is for, and its text.
    fn notice(&mut self) -> (String, String) {
        let question = self.unanswered_notice();
        self.reply(&question, json!({}));
        let text = |name: &str| question["params"][name].as_str().unwrap().to_owned();
        (text("account"), text("text"))
    }

    /// Of accounts whose names begin with `a`, others live here now.
    fn unanswered_notice(&mut self) -> Value {
        loop {
            let line = self.any_question();
            match line["method"].as_str() {
                Some("account.notify") => return line,
                Some("account.incarnation") => {
                    let is_another = line["params"]["account"].as_str().unwrap().starts_with('a');
                    let incarnation = if is_another { "two" } else { ONE };
                    self.reply(&line, json!({"exists": true, "incarnation": incarnation}));
                }
                _ => {}
            }
        }
    }

    fn reply(&mut self, question: &Value, result: Value) {
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
        self.write(format!("{answer}\n").as_bytes());
    }
}

#[test]
fn each_account_hears_once_what_expires() {
    let mut daemon = with_certificates(&[
        (HAMLET, "phone", 5),
        (HAMLET, "laptop", 20),
        (HAMLET, "tablet", 40),
        (ROMEO, "watch", 0),
        // Made anew since; due before all others.
        ("ariel@shakespeare.lit", "phone", 15),
        // And behind all others.
        (ANTONIO, "phone", 0),
    ]);
    let mut server = serving(&daemon, &[HOST], json!({}));
    // The notice that is due for longer comes first.
    let mut told = |name: &str, left: &str| {
        let (account, text) = server.notice();
        assert_eq!(account, HAMLET);
        let words = [format!("\"{name}\""), left.to_owned()];
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    told("laptop", "(in 20 days)");
    told("phone", "(in 5 days)");
    // The next account is asked about when those before it are marked as told.
    while server.any_question()["params"]["account"] != ANTONIO {}
    drop(server);
    // Hosts come in the order of their names: Hamlet would be first.
    daemon.restart();
    let mut server = serving(&daemon, &[HOST, OTHER], json!({}));
    let (account, text) = server.notice();
    assert_eq!(account, ROMEO);
    assert!(text.contains("(in less than a day)"), "{text}");
}

#[test]
fn what_nobody_took_is_told_again() {
    let mut daemon = with_certificates(&[(HAMLET, "phone", 5), (HAMLET, "laptop", 20)]);
    let mut server = serving(&daemon, &[HOST], json!({}));
    server.notice();
    // The second one: the connection ends before it is answered.
    let lost = server.unanswered_notice();
    drop(server);
    daemon.restart();
    let (_, text) = serving(&daemon, &[HOST], json!({})).notice();
    assert_eq!(lost["params"]["text"], text);
}

#[test]
fn hosts_say_how_many_days_before() {
    let daemon = with_certificates(&[
        (HAMLET, "phone", 5),
        (HAMLET, "laptop", 20),
        (ROMEO, "watch", 5),
    ]);
    // On the first host nobody wants to hear of it.
    let _first = serving(
        &daemon,
        &[HOST],
        json!({"saslcertd_expiry_notice_days": []}),
    );
    let mut second = serving(
        &daemon,
        &[OTHER],
        json!({"saslcertd_expiry_notice_days": [14]}),
    );
    assert_eq!(second.notice().0, ROMEO);
    assert!(!daemon.log().contains("account=hamlet"), "{}", daemon.log());
}
