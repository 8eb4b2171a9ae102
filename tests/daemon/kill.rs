//! SIGKILL under load: what was acknowledged is there, and nothing is half there.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::migration;
use crate::passwords;
use crate::power::some_microseconds;
use crate::support::{Daemon, HAMLET, Made, append, kills, list, login, with};

#[test]
fn nothing_acknowledged_is_lost_in_25_kills() {
    let mut daemon = Daemon::start();
    let mut acknowledged: HashMap<String, Made> = HashMap::new();
    let mut number = 0;
    for round in 0..kills(25) {
        let mut server = daemon.server(json!({"saslcertd_max_certs": 100_000}));
        let mut sent = HashMap::new();
        for _ in 0..60 {
            number += 1;
            let name = format!("n{number}");
            let cert = Made::of(HAMLET);
            let id = server.send("certificate.append", append(&name, &cert));
            sent.insert(id, (name, cert));
        }
        // Killed after so many answers that commits are under way.
        let mut answers = 0;
        while answers < 1 + round * 2 {
            let line = server.line().unwrap();
            answers += usize::from(note(&line, &mut sent, &mut acknowledged));
        }
        daemon.kill();
        // The lines that it had written before its end count, too.
        for line in server.rest().lines() {
            if let Ok(line) = serde_json::from_str(line) {
                note(&line, &mut sent, &mut acknowledged);
            }
        }
        daemon.serve();
    }
    let mut server = daemon.server(json!({"saslcertd_max_certs": 100_000}));
    let mut listed = HashMap::new();
    let mut after = Value::Null;
    loop {
        let page = server.ask("certificate.list", with(list(), "after", after));
        for row in page["certificates"].as_array().unwrap() {
            listed.insert(
                row["name"].as_str().unwrap().to_owned(),
                row["fingerprint"].clone(),
            );
        }
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    // At least one in each round; how many more depends on the disk.
    assert!(
        acknowledged.len() >= 25,
        "{} acknowledged",
        acknowledged.len()
    );
    for (name, cert) in &acknowledged {
        assert!(
            listed.contains_key(name),
            "{name} was acknowledged and is lost"
        );
        // Both rows of a record are there: it is found by its fingerprint, too.
        assert_eq!(server.ask("external.login", login(cert))["name"], *name);
    }
}

fn note(
    line: &Value,
    sent: &mut HashMap<u64, (String, Made)>,
    acknowledged: &mut HashMap<String, Made>,
) -> bool {
    let Some((name, cert)) = line["id"].as_u64().and_then(|id| sent.remove(&id)) else {
        return false;
    };
    if line.get("result").is_some() {
        acknowledged.insert(name, cert);
    }
    true
}

#[test]
fn a_revocation_that_was_acknowledged_stands_after_a_kill() {
    let mut daemon = Daemon::start();
    for _ in 0..kills(10) {
        let cert = Made::of(HAMLET);
        let mut server = daemon.server(json!({}));
        server.append("phone", &cert);
        server.ask("certificate.revoke", crate::support::named("phone"));
        daemon.kill();
        daemon.serve();
        let mut server = daemon.server(json!({}));
        assert_eq!(server.login_refused(&cert)["data"]["denial"], "key-revoked");
    }
}

#[test]
fn a_migration_that_is_killed_25_times_loses_nothing() {
    let (mut daemon, before) = migration::former(migration::FORMAT_2);
    let look = |daemon: &mut Daemon| {
        daemon.serve();
        assert!(migration::is_all_there(
            &before,
            &migration::exported(daemon)
        ));
        migration::assert_answers_as_before(daemon);
        daemon.kill();
    };
    let mut finished = 0;
    for round in 0..25 {
        daemon.begin();
        let data = daemon.data_dir();
        let is_done = || {
            let format = std::fs::read_to_string(data.join("FORMAT"));
            format.unwrap() != "saslcertd 2\n"
        };
        // Once it has begun, and on its way to the end; or at any time.
        if round % 5 > 0 {
            daemon.wait_for("the new folder", |_| {
                data.join("sled.new").exists() || is_done()
            });
        }
        some_microseconds(1 + round * 4_000);
        daemon.kill();
        if is_done() {
            finished += 1;
            look(&mut daemon);
            std::fs::remove_dir_all(&data).unwrap();
            migration::unpack(migration::FORMAT_2, daemon.folder.path());
        }
    }
    eprintln!("{finished} of 25 kills came when the new store was in its place");
    assert!(finished < 25);
    look(&mut daemon);
}

#[test]
fn half_written_snapshots_do_not_keep_the_store_from_opening() {
    let mut daemon = Daemon::start();
    let cert = Made::of(HAMLET);
    daemon.server(json!({})).append("phone", &cert);
    daemon.kill();
    let left = daemon
        .data_dir()
        .join("sled/snap.0000000000000FFF.generating");
    std::fs::write(&left, b"half").unwrap();
    daemon.serve();
    assert!(!left.exists());
    daemon.server(json!({})).login(&cert);
}

#[test]
fn no_acknowledged_change_of_an_account_is_lost_in_10_kills() {
    let mut daemon = Daemon::start();
    // The last change of each account that was acknowledged; the change that a kill cut off may have been made or not.
    let mut enabled: HashMap<String, bool> = HashMap::new();
    for round in 0..kills(10) {
        let mut rome = passwords::server(&daemon, json!({}));
        let mut sent = HashMap::new();
        for number in 0..16 {
            let account = format!("r{round}n{number}@rome.lit");
            let id = rome.send("account.create", passwords::create(&account, "et tu?"));
            sent.insert(id, (account, "create"));
        }
        let old: Vec<String> = enabled.keys().take(4).cloned().collect();
        for (number, account) in old.into_iter().enumerate() {
            let change = if number % 3 == 0 { "delete" } else { "disable" };
            let id = rome.send(&format!("account.{change}"), json!({"account": account}));
            sent.insert(id, (account, change));
        }
        let mut note = |line: &Value| {
            let change = line["id"].as_u64().and_then(|id| sent.remove(&id));
            let Some((account, change)) = change.filter(|_| line.get("result").is_some()) else {
                return;
            };
            match change {
                "create" => drop(enabled.insert(account, true)),
                "disable" => drop(enabled.insert(account, false)),
                _ => drop(enabled.remove(&account)),
            }
        };
        // How much is done by then depends on the disk; two of them at least.
        let (mut answers, mut done) = (0, 0);
        while answers < 8 + round || done < 2 {
            let line = rome.line().unwrap();
            answers += 1;
            done += usize::from(line.get("result").is_some());
            note(&line);
        }
        daemon.kill();
        for line in rome.rest().lines() {
            if let Ok(line) = serde_json::from_str(line) {
                note(&line);
            }
        }
        // The state of an account is not known any more if its change was cut off.
        for (account, _) in sent.into_values() {
            enabled.remove(&account);
        }
        daemon.serve();
    }
    let mut rome = passwords::server(&daemon, json!({}));
    assert!(!enabled.is_empty());
    for (account, is_enabled) in enabled {
        let known = rome.ask("account.exists", json!({"account": account}));
        assert_eq!(
            (&known["exists"], &known["enabled"]),
            (&json!(true), &json!(is_enabled)),
            "{account}"
        );
        let params = json!({"account": account, "password": "et tu?", "address": null});
        let id = rome.send("account.verify", params);
        assert_eq!(
            rome.answer(id).get("result").is_some(),
            is_enabled,
            "{account}"
        );
    }
}
