//! `link.…`: links by which devices get keys.

use std::collections::BTreeSet;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use saslcertd::identity::{
    BareJid, Incarnation, Link, LinkKind, LinkMaker, LinkToken, UnixSeconds,
};
use saslcertd::store::Harmless;
use serde_json::{Value, json};

use crate::passwords::{self, BRUTUS, ROME};
use crate::power::some_microseconds;
use crate::support::{
    Daemon, HAMLET, HOST, Made, ONE, Peer, append, by_certificate, by_password, hello, kills, list,
    login, named, with,
};

const NOWHERE: &str = "-_v7-_v7-_v7-_v7-_v7-w";

/// `link.create` by an administrator.
fn link(account: &str, kind: &str) -> Value {
    json!({"account": account, "kind": kind})
}

/// The same by a session of Hamlet's.
fn own_link(session: Value) -> Value {
    json!({"account": HAMLET, "incarnation": ONE, "session": session, "kind": "add"})
}

/// Makes one where accounts live in the daemon: its answer, and its token.
fn made(server: &mut Peer, question: Value) -> (Value, String) {
    let made = server.ask("link.create", question);
    let token = token_of(&made);
    (made, token)
}

fn token_of(made: &Value) -> String {
    let (_, token) = made["url"].as_str().unwrap().split_once('#').unwrap();
    assert_eq!(token.len(), 22);
    token.to_owned()
}

fn look(host: &str, token: &str) -> Value {
    json!({"host": host, "token": token, "address": null})
}

fn redeem(host: &str, token: &str, name: &str, cert: &Made) -> Value {
    json!({"host": host, "token": token, "address": null, "name": name, "certificate": cert.base64()})
}

fn denial(error: &Value) -> &str {
    error["data"]["denial"]
        .as_str()
        .unwrap_or_else(|| panic!("{error}"))
}

/// A server of Rome, whose accounts live in the daemon, and in it Brutus.
fn rome(daemon: &Daemon, options: Value) -> Peer {
    let mut rome = passwords::server(daemon, options);
    rome.ask("account.create", passwords::create(BRUTUS, "et tu?"));
    rome
}

/// Asks what may make the daemon ask back about accounts in Prosody; each question of its is answered with this.
fn ask_with(server: &mut Peer, method: &str, params: Value, there: &Value) -> Result<Value, Value> {
    let id = server.send(method, params);
    loop {
        let line = server.line().expect("the connection ended");
        match line["method"].as_str() {
            Some("account.incarnation" | "account.register") => {
                let answer = json!({"jsonrpc": "2.0", "id": line["id"], "result": there});
                server.write(format!("{answer}\n").as_bytes());
                server.asked.push(line);
            }
            Some(_) => server.asked.push(line),
            None if line["id"] == id => {
                return match line.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(line["result"].clone()),
                };
            }
            None => {}
        }
    }
}

fn present() -> Value {
    json!({"exists": true, "enabled": true, "incarnation": ONE})
}

fn names(server: &mut Peer) -> Vec<String> {
    let listed = server.ask("certificate.list", list());
    let rows = listed["certificates"].as_array().unwrap();
    let name = |row: &Value| row["name"].as_str().unwrap().to_owned();
    rows.iter().map(name).collect()
}

fn names_of(daemon: &Daemon, jid: &str) -> Vec<String> {
    let listed = daemon
        .command("cert")
        .args(["list", jid, "--json"])
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let rows = listed["certificates"].as_array().unwrap();
    rows.iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

fn login_of(host: &str, cert: &Made) -> Value {
    json!({"host": host, "chain": [cert.base64()], "authzid": null, "address": "192.0.2.7", "accounts": []})
}

fn links(server: &mut Peer) -> Vec<Value> {
    let page = server.ask("link.list", json!({}));
    assert_eq!(page["next"], Value::Null);
    page["links"].as_array().unwrap().clone()
}

#[test]
fn a_link_adds_a_certificate_once_and_says_before_what_it_does() {
    let mut daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    let wish = with(link(BRUTUS, "add"), "name", json!("tablet"));
    let (made, token) = made(&mut rome, wish);
    let url = made["url"].as_str().unwrap();
    assert!(url.starts_with("https://rome.lit:5281/devices#"), "{url}");
    assert_eq!(made["is_served"], false);
    assert_eq!(made["uses"], 1);
    for _ in 0..2 {
        let seen = rome.ask("link.look", look(ROME, &token));
        let verify = json!({"account": BRUTUS, "password": "et tu?", "address": null});
        let incarnation = rome.ask("account.verify", verify)["incarnation"].clone();
        let expected = json!({
            "account": BRUTUS, "incarnation": incarnation, "kind": "add", "name": "tablet", "expires": made["expires"],
        });
        assert_eq!(seen, expected);
    }
    let listed = links(&mut rome);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], made["id"]);
    assert!(listed[0].get("url").is_none());
    daemon.restart();
    let mut rome = passwords::server(&daemon, json!({}));
    let cert = Made::of(BRUTUS);
    let redeemed = rome.ask("link.redeem", redeem(ROME, &token, "my phone", &cert));
    assert_eq!(
        redeemed,
        json!({"account": BRUTUS, "kind": "add", "name": "my phone"})
    );
    let told = rome.question("account.notify");
    assert_eq!(told["account"], BRUTUS);
    let text = told["text"].as_str().unwrap();
    assert!(
        text.contains("made by the server's administrator (user 0)"),
        "{text}"
    );
    assert!(text.contains("\"my phone\""), "{text}");
    assert_eq!(
        rome.ask("external.login", login_of(ROME, &cert))["username"],
        "brutus"
    );
    // Another one, the same one, and after a restart.
    for cert in [Made::of(BRUTUS), cert] {
        let refused = rome.refused("link.redeem", redeem(ROME, &token, "again", &cert));
        assert_eq!(denial(&refused), "link-unknown");
    }
    daemon.restart();
    let mut rome = passwords::server(&daemon, json!({}));
    let refused = rome.refused("link.look", look(ROME, &token));
    assert_eq!(denial(&refused), "link-unknown");
    assert_eq!(links(&mut rome), Vec::<Value>::new());
    assert_eq!(names_of(&daemon, BRUTUS), ["my phone"]);
}

#[test]
fn whatever_is_no_link_gets_the_same_answer() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    let mut server = daemon.server(json!({}));
    let (used, used_token) = made(&mut rome, link(BRUTUS, "add"));
    rome.ask(
        "link.redeem",
        redeem(ROME, &used_token, "one", &Made::of(BRUTUS)),
    );
    let (revoked, revoked_token) = made(&mut rome, link(BRUTUS, "add"));
    assert_ne!(used["id"], revoked["id"]);
    let id = json!({"id": revoked["id"]});
    let gone = rome.ask("link.revoke", id.clone());
    assert_eq!(
        (&gone["account"], &gone["id"]),
        (&json!(BRUTUS), &revoked["id"])
    );
    assert_eq!(denial(&rome.refused("link.revoke", id)), "link-missing");
    let (_, good) = made(&mut rome, link(BRUTUS, "add"));
    let mut answers = BTreeSet::new();
    for token in [
        NOWHERE,
        &used_token,
        &revoked_token,
        "",
        "x",
        &"y".repeat(5000),
    ] {
        for (method, question) in [
            ("link.look", look(ROME, token)),
            ("link.redeem", redeem(ROME, token, "two", &Made::of(BRUTUS))),
        ] {
            answers.insert(rome.refused(method, question).to_string());
        }
    }
    // A link of another host is none there.
    answers.insert(server.refused("link.look", look(HOST, &good)).to_string());
    // While they are off all of them are.
    let mut off = passwords::server(&daemon, json!({"saslcertd_links": "off"}));
    answers.insert(off.refused("link.look", look(ROME, &good)).to_string());
    let cert = Made::of(BRUTUS);
    answers.insert(
        off.refused("link.redeem", redeem(ROME, &good, "two", &cert))
            .to_string(),
    );
    assert_eq!(
        denial(&off.refused("link.create", link(BRUTUS, "add"))),
        "links-off"
    );
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers.first().unwrap().contains("link-unknown"));
    let mut rome = passwords::server(&daemon, json!({}));
    rome.ask("link.look", look(ROME, &good));
    assert_eq!(names_of(&daemon, BRUTUS), ["one"]);
}

#[test]
fn no_certificate_and_no_number_of_guesses_tells_links_apart_that_can_not_be_redeemed() {
    let mut daemon = Daemon::start();
    let [expired] = written(&mut daemon, HAMLET, [-1]);
    let options = json!({"saslcertd_links": "self", "saslcertd_guess_delay_max": 60});
    let mut server = daemon.server(options);
    let phone = Made::of(HAMLET);
    server.append("phone", &phone);
    let login = server.login(&phone);
    let own = server.ask("link.create", own_link(by_certificate(&login)));
    server.ask("certificate.revoke", named("phone"));
    let [used, gone] = [(); 2].map(|()| {
        let made = ask_with(&mut server, "link.create", link(HAMLET, "add"), &present());
        token_of(&made.unwrap())
    });
    let question = redeem(HOST, &used, "x", &Made::of(HAMLET));
    ask_with(&mut server, "link.redeem", question, &present()).unwrap();

    let nobody = json!({"exists": false, "enabled": false, "incarnation": null});
    let another = json!({"exists": true, "enabled": true, "incarnation": "two"});
    let cert = Made::of(HAMLET);
    let (mut unknown, mut early) = (BTreeSet::new(), BTreeSet::new());
    for (number, (token, there)) in [
        (NOWHERE, present()),
        (&used, present()),
        (&expired, present()),
        (&gone, nobody),
        (&gone, another),
        (&token_of(&own), present()),
    ]
    .into_iter()
    .enumerate()
    {
        let address = format!("192.0.2.{number}");
        let question = redeem(HOST, token, "y", &cert);
        let good = with(question, "address", json!(address));
        let bad = with(good.clone(), "certificate", json!("AAAA"));
        let nameless = with(good.clone(), "name", json!("\u{1}"));
        let tried = |server: &mut Peer, question: &Value| {
            let refused = ask_with(server, "link.redeem", question.clone(), &there);
            refused.unwrap_err().to_string()
        };
        for question in [&good, &bad, &nameless].into_iter().cycle().take(9) {
            unknown.insert(tried(&mut server, question));
        }
        // Together with these they are more than are free, however fast this runs: the next ones come within a minute.
        for _ in 0..8 {
            server.ask(
                "account.failed",
                json!({"account": HAMLET, "address": address}),
            );
        }
        for question in [&good, &bad, &nameless] {
            early.insert(tried(&mut server, question));
        }
    }
    for (answers, expected) in [(unknown, "link-unknown"), (early, "too-many-guesses")] {
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert!(answers.first().unwrap().contains(expected), "{answers:?}");
    }
    assert_eq!(names(&mut server), ["x"]);
}

#[test]
fn the_log_never_holds_a_token() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    let (first, token) = made(&mut rome, link(BRUTUS, "add"));
    rome.ask("link.look", look(ROME, &token));
    // Nor is one in the words about fields that can't be read.
    let wrong = json!({"host": ROME, "token": [token], "address": null});
    let refused = rome.refused("link.look", wrong);
    assert!(!refused.to_string().contains(&token), "{refused}");
    rome.ask(
        "link.redeem",
        redeem(ROME, &token, "one", &Made::of(BRUTUS)),
    );
    rome.refused(
        "link.redeem",
        redeem(ROME, &token, "two", &Made::of(BRUTUS)),
    );
    let mut daemon = daemon;
    let id = first["id"].as_str().unwrap();
    daemon.wait_for("the last line", |daemon| {
        daemon.log().contains("a link was tried: no")
    });
    let log = daemon.log();
    assert!(
        log.contains(id) && log.contains("link.redeem: yes"),
        "{log}"
    );
    assert!(!log.contains(&token), "{log}");
    assert!(daemon.stop().success());
    let kept = daemon.kept();
    let has = |bytes: &[u8]| kept.windows(bytes.len()).any(|some| some == bytes);
    assert!(has(b"rome.lit"));
    assert!(!has(token.as_bytes()));
}

#[test]
fn a_thousand_redeem_one_link_at_once_and_one_succeeds() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({"saslcertd_max_certs": 2000}));
    for round in 0..3 {
        let (_, token) = made(&mut rome, link(BRUTUS, "add"));
        let asked: Vec<thread::JoinHandle<Vec<Value>>> = (0..20)
            .map(|number| {
                let (mut peer, token) = (daemon.peer(), token.clone());
                thread::spawn(move || {
                    let certs: Vec<Made> = (0..50).map(|_| Made::of(BRUTUS)).collect();
                    let ids: Vec<u64> = certs
                        .iter()
                        .enumerate()
                        .map(|(at, cert)| {
                            let name = format!("{round} {number} {at}");
                            peer.send("link.redeem", redeem(ROME, &token, &name, cert))
                        })
                        .collect();
                    ids.iter().map(|_| peer.line().unwrap()).collect()
                })
            })
            .collect();
        let answers: Vec<Value> = asked
            .into_iter()
            .flat_map(|asked| asked.join().unwrap())
            .collect();
        assert_eq!(answers.len(), 1000);
        let (yes, no): (Vec<_>, Vec<_>) = answers
            .iter()
            .partition(|answer| answer.get("result").is_some());
        assert_eq!(yes.len(), 1, "{yes:?}");
        let refused = no
            .iter()
            .filter(|no| no["error"]["data"]["denial"] == "link-unknown");
        let busy = no
            .iter()
            .filter(|no| no["error"]["data"]["fault"] == "overload");
        let (refused, busy) = (refused.count(), busy.count());
        assert_eq!(refused + busy, 999, "{no:?}");
        // The test would show nothing if all had been turned away.
        assert!(refused > 300, "{refused}");
        let listed = names_of(&daemon, BRUTUS);
        assert_eq!(listed.len(), round + 1);
        assert_eq!(listed[round], yes[0]["result"]["name"]);
    }
}

#[test]
fn of_a_link_for_several_devices_so_many_are_added() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    let (_, token) = made(&mut rome, with(link(BRUTUS, "add"), "uses", json!(3)));
    let asked: Vec<thread::JoinHandle<Value>> = (0..12)
        .map(|_| {
            let (mut peer, token) = (daemon.peer(), token.clone());
            thread::spawn(move || {
                let id = peer.send(
                    "link.redeem",
                    redeem(ROME, &token, "Phone", &Made::of(BRUTUS)),
                );
                peer.answer(id)
            })
        })
        .collect();
    let answers: Vec<Value> = asked
        .into_iter()
        .map(|asked| asked.join().unwrap())
        .collect();
    let yes = answers
        .iter()
        .filter(|answer| answer.get("result").is_some());
    let named: BTreeSet<&str> = yes
        .map(|yes| yes["result"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(named, BTreeSet::from(["Phone", "Phone 2", "Phone 3"]));
    assert_eq!(names_of(&daemon, BRUTUS), ["Phone", "Phone 2", "Phone 3"]);
}

#[test]
fn a_kill_leaves_no_used_link_without_its_certificate_nor_the_other_way_round() {
    let mut daemon = Daemon::start();
    drop(rome(&daemon, json!({})));
    let (mut used, mut unused) = (0, 0);
    for round in (0_u64..).take(kills(25)) {
        let mut rome = passwords::server(&daemon, json!({"saslcertd_max_certs": 100_000}));
        // One of each kind, in turn.
        let kinds: Vec<(String, &str, String)> = (0..12)
            .map(|number| match number % 3 {
                0 => (BRUTUS.to_owned(), "add"),
                1 => (format!("n{round}-{number}@rome.lit"), "new"),
                _ => (format!("r{round}-{number}@rome.lit"), "replace"),
            })
            .map(|(account, kind)| {
                if kind == "replace" {
                    rome.ask("account.create", passwords::create(&account, "x"));
                }
                let (_, token) = made(&mut rome, link(&account, kind));
                (account, kind, token)
            })
            .collect();
        let mut sent = Vec::new();
        for (account, kind, token) in kinds {
            let cert = Made::of(&account);
            let name = format!("{round} {}", sent.len());
            rome.send("link.redeem", redeem(ROME, &token, &name, &cert));
            sent.push((account, kind, token, cert));
        }
        // While they are being written: after so many answers, or some time into the first of them.
        if round % 2 == 0 {
            for _ in 0..=round / 3 {
                rome.line().unwrap();
            }
        } else {
            some_microseconds(round * 300);
        }
        daemon.kill();
        daemon.serve();
        let mut rome = passwords::server(&daemon, json!({"saslcertd_max_certs": 100_000}));
        for (account, kind, token, cert) in sent {
            let id = rome.send("link.look", look(ROME, &token));
            let is_there = rome.answer(id).get("result").is_some();
            let id = rome.send("external.login", login_of(ROME, &cert));
            let logs_in = rome.answer(id).get("result").is_some();
            assert_ne!(
                is_there, logs_in,
                "{account} {kind}: the link is there: {is_there}"
            );
            let exists = rome.ask("account.exists", json!({"account": account}));
            assert_eq!(
                exists["exists"],
                kind != "new" || logs_in,
                "{account} {kind}"
            );
            if is_there {
                unused += 1;
                // It still counts.
                let question = redeem(ROME, &token, "later", &cert);
                rome.ask("link.redeem", question);
            } else {
                used += 1;
            }
        }
    }
    eprintln!("{used} links were used when the kill came, {unused} were not");
    assert!(used > 0 && unused > 0, "{used} {unused}");
    let checked = daemon.command("check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn guesses_are_limited_by_address() {
    let mut daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({"saslcertd_guess_delay_max": 60}));
    let (_, token) = made(&mut rome, link(BRUTUS, "add"));
    let from = |address: &str, token: &str| with(look(ROME, token), "address", json!(address));
    for _ in 0..10 {
        let refused = rome.refused("link.look", from("192.0.2.7", NOWHERE));
        assert_eq!(denial(&refused), "link-unknown");
    }
    // More of them make it longer, however fast this runs: the next ones come within a minute.
    for _ in 0..7 {
        let id = rome.send("link.look", from("192.0.2.7", NOWHERE));
        let _ = rome.answer(id);
        rome.ask(
            "account.failed",
            json!({"account": BRUTUS, "address": "192.0.2.7"}),
        );
    }
    let refused = rome.refused("link.look", from("192.0.2.7", NOWHERE));
    assert_eq!(denial(&refused), "too-many-guesses");
    let by = |token: &str, cert: &Made| {
        with(
            redeem(ROME, token, "x", cert),
            "address",
            json!("192.0.2.7"),
        )
    };
    let cert = Made::of(BRUTUS);
    let refused = rome.refused("link.redeem", by(NOWHERE, &cert));
    assert_eq!(denial(&refused), "too-many-guesses");
    // Who has a link does not guess, and may be another one behind the same address.
    rome.ask("link.look", from("192.0.2.7", &token));
    rome.ask("link.redeem", by(&token, &cert));
    let refused = rome.refused("link.look", from("192.0.2.7", &token));
    assert_eq!(denial(&refused), "too-many-guesses");
    let refused = rome.refused("link.look", from("192.0.2.8", &token));
    assert_eq!(denial(&refused), "link-unknown");
    // Where passwords are not limited, links are not.
    let mut free = passwords::server(&daemon, json!({"saslcertd_guess_delay_max": 0}));
    let refused = free.refused("link.look", from("192.0.2.7", NOWHERE));
    assert_eq!(denial(&refused), "link-unknown");
    // The guesses that came too early fill no log.
    daemon.wait_for("the last line", |daemon| {
        let log = daemon.log();
        log.matches("a link was tried: no").count() >= 12
    });
    assert!(
        !daemon.log().contains("too-many-guesses"),
        "{}",
        daemon.log()
    );
}

#[test]
fn a_link_has_its_terms_and_only_so_many_wait() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    for (seconds, uses, kind, expected) in [
        (59, 1, "add", "link-terms"),
        (2_592_001, 1, "add", "link-terms"),
        (60, 101, "add", "link-terms"),
        (60, 2, "replace", "link-terms"),
    ] {
        let wish = json!({"account": BRUTUS, "kind": kind, "seconds": seconds, "uses": uses});
        assert_eq!(denial(&rome.refused("link.create", wish)), expected);
    }
    for _ in 0..20 {
        made(&mut rome, link(BRUTUS, "add"));
    }
    let refused = rome.refused("link.create", link(BRUTUS, "add"));
    assert_eq!(denial(&refused), "too-many-links");
    assert_eq!(links(&mut rome).len(), 20);
    rome.ask(
        "account.create",
        passwords::create("cinna@rome.lit", "poet"),
    );
    made(&mut rome, link("cinna@rome.lit", "add"));
}

/// Links that have so many seconds left, written while nobody serves: their tokens.
fn written<const N: usize>(daemon: &mut Daemon, jid: &str, left: [i64; N]) -> [String; N] {
    assert!(daemon.stop().success());
    let now = UnixSeconds(time::OffsetDateTime::now_utc().unix_timestamp());
    let account = BareJid::parse(jid).unwrap();
    let store = daemon.store();
    let here = store.view(&account).account().unwrap();
    let in_prosody = || Incarnation::parse(ONE).unwrap();
    let incarnation = here.map_or_else(in_prosody, |here| here.incarnation);
    let mut number = 0;
    let tokens = left.map(|left| {
        number += 1;
        let token = LinkToken::of(&[number; 16]);
        let link = Link {
            hash: token.hash(),
            account: account.clone(),
            incarnation: incarnation.clone(),
            kind: LinkKind::Add,
            name: None,
            created: now.plus(-7200),
            maker: LinkMaker::Admin,
            by: "somebody".to_owned(),
            expires: now.plus(left),
            uses: 1,
        };
        let put = vec![Harmless::put_link(link)];
        let written = store.change(&account, move |_| Ok(Ok::<_, ()>((put, ()))));
        written.unwrap().unwrap();
        token.reveal().to_owned()
    });
    store.close();
    drop(store);
    daemon.serve();
    tokens
}

#[test]
fn what_expired_while_nobody_served_is_none() {
    let mut daemon = Daemon::start();
    drop(rome(&daemon, json!({})));
    let tokens = written(&mut daemon, BRUTUS, [-1, 3600]);
    let mut rome = passwords::server(&daemon, json!({}));
    let cert = Made::of(BRUTUS);
    for question in ["link.look", "link.redeem"] {
        let refused = rome.refused(question, redeem(ROME, &tokens[0], "x", &cert));
        assert_eq!(denial(&refused), "link-unknown");
    }
    assert_eq!(links(&mut rome).len(), 1);
    rome.ask("link.redeem", redeem(ROME, &tokens[1], "x", &cert));
    assert_eq!(names_of(&daemon, BRUTUS), ["x"]);
}

#[test]
fn a_link_is_void_when_its_account_was_made_anew_or_is_disabled() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    let (_, token) = made(&mut rome, link(BRUTUS, "add"));
    rome.ask("account.disable", json!({"account": BRUTUS}));
    let cert = Made::of(BRUTUS);
    let question = redeem(ROME, &token, "x", &cert);
    for tried in ["link.look", "link.redeem"] {
        let refused = rome.refused(tried, question.clone());
        assert_eq!(denial(&refused), "account-disabled", "{tried}");
    }
    rome.ask("account.enable", json!({"account": BRUTUS}));
    rome.ask("account.delete", json!({"account": BRUTUS}));
    rome.ask("account.create", passwords::create(BRUTUS, "again"));
    assert_eq!(
        denial(&rome.refused("link.redeem", question)),
        "link-unknown"
    );
    assert_eq!(links(&mut rome), Vec::<Value>::new());
    assert_eq!(names_of(&daemon, BRUTUS), Vec::<String>::new());

    // In Prosody nobody tells: the incarnation does.
    let mut server = daemon.server(json!({}));
    let made = ask_with(&mut server, "link.create", link(HAMLET, "add"), &present()).unwrap();
    let token = token_of(&made);
    let question = || redeem(HOST, &token, "x", &Made::of(HAMLET));
    for (there, expected) in [
        (
            json!({"exists": false, "enabled": false, "incarnation": null}),
            "link-unknown",
        ),
        (
            json!({"exists": true, "enabled": true, "incarnation": null}),
            "link-unknown",
        ),
        (
            json!({"exists": true, "enabled": true, "incarnation": "two"}),
            "link-unknown",
        ),
        (
            json!({"exists": true, "enabled": false, "incarnation": ONE}),
            "account-disabled",
        ),
        // A module that does not say it.
        (
            json!({"exists": true, "incarnation": ONE}),
            "account-disabled",
        ),
    ] {
        let none = server.refused("link.look", look(HOST, NOWHERE));
        for (tried, question) in [
            ("link.look", look(HOST, &token)),
            ("link.redeem", question()),
        ] {
            let refused = ask_with(&mut server, tried, question, &there).unwrap_err();
            assert_eq!(denial(&refused), expected, "{tried}: {there}");
            // Nothing tells it from a link that there never was.
            assert_eq!(refused == none, expected == "link-unknown", "{refused}");
        }
    }
    // What can't be asked is no "no", and costs nothing.
    for (tried, question) in [
        ("link.look", look(HOST, &token)),
        ("link.redeem", question()),
    ] {
        let refused = ask_with(&mut server, tried, question, &json!("x")).unwrap_err();
        assert_eq!(refused["code"], -32001, "{refused}");
    }
    ask_with(&mut server, "link.look", look(HOST, &token), &present()).unwrap();
    assert_eq!(names(&mut server), Vec::<String>::new());
    ask_with(&mut server, "link.redeem", question(), &present()).unwrap();
    assert_eq!(names(&mut server), ["x"]);
}

#[test]
fn a_link_that_replaces_revokes_all_others_and_closes_their_sessions() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_links": "self"}));
    let (phone, laptop) = (Made::of(HAMLET), Made::of(HAMLET));
    server.append("phone", &phone);
    server.append("laptop", &laptop);
    let (on_phone, on_laptop) = (server.login(&phone), server.login(&laptop));
    let thief = server.ask("link.create", own_link(by_password()));
    // The lost phone may have been sent these.
    let mut sent = |kind| {
        let wish = link(HAMLET, kind);
        ask_with(&mut server, "link.create", wish, &present()).unwrap()
    };
    let (yesterdays, other) = (sent("add"), sent("replace"));
    let made = sent("replace");
    server.asked.clear();
    let token = token_of(&made);
    // The lost device's own key is no other one.
    let again = redeem(HOST, &token, "phone", &phone);
    let refused = ask_with(&mut server, "link.redeem", again, &present()).unwrap_err();
    assert_eq!(denial(&refused), "key-revoked");
    server.login(&laptop);
    server.asked.clear();
    let fresh = Made::of(HAMLET);
    let question = redeem(HOST, &token, "phone", &fresh);
    let redeemed = ask_with(&mut server, "link.redeem", question, &present()).unwrap();
    assert_eq!(
        redeemed,
        json!({"account": HAMLET, "kind": "replace", "name": "phone"})
    );
    let closed: BTreeSet<String> = (0..2)
        .map(|_| {
            server.question("sessions.close")["key_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let keys = [on_phone, on_laptop].map(|login| login["key_id"].as_str().unwrap().to_owned());
    assert_eq!(closed, BTreeSet::from(keys));
    let told = server.question("account.notify")["text"].clone();
    assert!(
        told.as_str()
            .unwrap()
            .contains("It has replaced \"phone\", \"laptop\""),
        "{told}"
    );
    for cert in [&phone, &laptop] {
        assert_eq!(denial(&server.login_refused(cert)), "key-revoked");
    }
    assert_eq!(server.login(&fresh)["name"], "phone");
    assert_eq!(names(&mut server), ["phone"]);
    // What the thief has made is over, too, and what an administrator had made before.
    for made in [thief, yesterdays, other] {
        let refused = server.refused("link.look", look(HOST, &token_of(&made)));
        assert_eq!(denial(&refused), "link-unknown");
    }
    assert_eq!(links(&mut server), Vec::<Value>::new());
}

#[test]
fn whoever_has_the_lost_device_can_not_fill_up_the_way_back() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let phone = Made::of(HAMLET);
    server.append("phone", &phone);
    let key = Made::of(HAMLET);
    let refused = (0..).find_map(|number| {
        let name = format!("device{number}");
        let id = server.send("certificate.append", append(&name, &Made::of(HAMLET)));
        let answer = server.answer(id);
        if answer.get("result").is_none() {
            return Some(answer["error"].clone());
        }
        server.ask("certificate.revoke", named(&name));
        None
    });
    assert_eq!(denial(&refused.unwrap()), "too-many-marks");
    let made = ask_with(
        &mut server,
        "link.create",
        link(HAMLET, "replace"),
        &present(),
    )
    .unwrap();
    let question = redeem(HOST, &token_of(&made), "new phone", &key);
    ask_with(&mut server, "link.redeem", question, &present()).unwrap();
    assert_eq!(names(&mut server), ["new phone"]);
    server.login_refused(&phone);
    server.login(&key);
}

#[test]
fn a_link_makes_an_account_without_a_password() {
    let mut daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    let cinna = "cinna@rome.lit";
    assert_eq!(
        denial(&rome.refused("link.create", link(BRUTUS, "new"))),
        "account-exists"
    );
    let (_, token) = made(&mut rome, link(cinna, "new"));
    let exists =
        |rome: &mut Peer| rome.ask("account.exists", json!({"account": cinna}))["exists"].clone();
    // A certificate that can't be one makes no account.
    let foreign = redeem(ROME, &token, "phone", &Made::of(BRUTUS));
    assert_eq!(
        denial(&rome.refused("link.redeem", foreign)),
        "address-foreign"
    );
    assert_eq!(exists(&mut rome), false);
    let scram = |rome: &mut Peer, account: &str| {
        rome.ask(
            "account.scram",
            json!({"account": account, "hash": "SHA-256"}),
        )
    };
    let before = scram(&mut rome, cinna);
    let cert = Made::of(cinna);
    let redeemed = rome.ask("link.redeem", redeem(ROME, &token, "phone", &cert));
    assert_eq!(
        redeemed,
        json!({"account": cinna, "kind": "new", "name": "phone"})
    );
    // Whoever has heard that there is none hears of it.
    let changed = rome.question("account.changed");
    assert_eq!(
        (&changed["account"], &changed["change"]),
        (&json!(cinna), &json!("created"))
    );
    assert_eq!(exists(&mut rome), true);
    assert_eq!(
        rome.ask("external.login", login_of(ROME, &cert))["username"],
        "cinna"
    );
    for password in ["", "phone", "wrong"] {
        let refused = rome.refused("account.verify", passwords::verify(cinna, password));
        assert_eq!(denial(&refused), "password-wrong");
    }
    // A stranger sees what was there before, and all others go on with SCRAM.
    assert_eq!(scram(&mut rome, cinna), before);
    daemon.restart();
    let mut rome = passwords::server(&daemon, json!({}));
    assert_eq!(scram(&mut rome, cinna), before);
    let real = scram(&mut rome, BRUTUS);
    let wrong_key = BASE64.encode([7; 32]);
    for key in [before["stored_key"].as_str().unwrap(), &wrong_key] {
        let proof =
            json!({"account": cinna, "hash": "SHA-256", "stored_key": key, "address": null});
        assert_eq!(
            denial(&rome.refused("account.succeeded", proof)),
            "password-wrong"
        );
    }
    assert_eq!(real["iterations"], 4096);
    let listed = rome.ask("account.list", json!({"host": ROME, "after": null}));
    assert_eq!(listed["accounts"][1]["scram"], json!([]));
    // A password may come later.
    rome.ask(
        "account.set_password",
        json!({"account": cinna, "password": "poet"}),
    );
    rome.ask("account.verify", passwords::verify(cinna, "poet"));
}

#[test]
fn two_links_that_make_one_account_make_it_once() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    let cinna = "cinna@rome.lit";
    let tokens: Vec<String> = (0..2)
        .map(|_| made(&mut rome, link(cinna, "new")).1)
        .collect();
    rome.ask(
        "link.redeem",
        redeem(ROME, &tokens[0], "phone", &Made::of(cinna)),
    );
    let refused = rome.refused(
        "link.redeem",
        redeem(ROME, &tokens[1], "thief", &Made::of(cinna)),
    );
    assert_eq!(denial(&refused), "account-exists");
    assert_eq!(names_of(&daemon, cinna), ["phone"]);
    // A name that somebody is about to get is not free either.
    let reserve = json!({"account": "casca@rome.lit", "password": null, "caller": "server"});
    let (_, token) = made(&mut rome, link("casca@rome.lit", "new"));
    rome.ask("account.create", reserve);
    let question = redeem(ROME, &token, "phone", &Made::of("casca@rome.lit"));
    assert_eq!(
        denial(&rome.refused("link.redeem", question)),
        "account-exists"
    );
}

#[test]
fn an_account_in_prosody_is_made_before_the_link_is_used_and_found_again_after_an_end_in_between() {
    let mut daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let nobody = json!({"exists": false, "enabled": false, "incarnation": null});
    let wish = link(HAMLET, "new");
    let refused = ask_with(&mut server, "link.create", wish.clone(), &present()).unwrap_err();
    assert_eq!(denial(&refused), "account-exists");
    let made = ask_with(&mut server, "link.create", wish, &nobody).unwrap();
    let token = token_of(&made);
    let cert = Made::of(HAMLET);
    let question = || redeem(HOST, &token, "phone", &cert);
    // Prosody makes none, or another one has the name.
    for (there, expected) in [
        (nobody.clone(), None),
        (json!("no"), None),
        (present(), Some("account-exists")),
    ] {
        let refused = ask_with(&mut server, "link.redeem", question(), &there).unwrap_err();
        let found = refused["data"]["denial"].as_str();
        assert_eq!(found, expected, "{refused}");
    }
    server.ask("link.look", look(HOST, &token));
    // It is killed when Prosody has been asked, and has made it.
    server.send("link.redeem", question());
    let asked = server.question("account.register");
    assert_eq!(asked["account"], HAMLET);
    let incarnation = asked["incarnation"].clone();
    daemon.kill();
    daemon.serve();
    let mut server = daemon.server(json!({}));
    assert_eq!(names(&mut server), Vec::<String>::new());
    let there = json!({"exists": true, "enabled": true, "incarnation": incarnation});
    ask_with(&mut server, "link.redeem", question(), &there).unwrap();
    let asked = server
        .asked
        .iter()
        .find(|line| line["method"] == "account.register");
    assert_eq!(asked.unwrap()["params"]["incarnation"], incarnation);
    let mut facts = login(&cert);
    facts["accounts"][0]["incarnation"] = incarnation;
    assert_eq!(server.ask("external.login", facts)["username"], "hamlet");
    assert_eq!(
        denial(&server.refused("link.look", look(HOST, &token))),
        "link-unknown"
    );
}

#[test]
fn users_make_links_for_their_own_account_where_that_is_wanted() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let refused = server.refused("link.create", own_link(by_password()));
    assert_eq!(denial(&refused), "link-forbidden");
    let mut server = daemon.server(json!({"saslcertd_links": "self"}));
    for kind in ["new", "replace"] {
        let wish = with(own_link(by_password()), "kind", json!(kind));
        assert_eq!(
            denial(&server.refused("link.create", wish)),
            "link-forbidden"
        );
    }
    let long = with(own_link(by_password()), "seconds", json!(86_401));
    assert_eq!(denial(&server.refused("link.create", long)), "link-terms");
    let mut token = by_password();
    token["by"] = json!("sasl");
    token["mechanism"] = json!("HT-SHA-256-EXPR");
    let refused = server.refused("link.create", own_link(token));
    assert_eq!(denial(&refused), "management-forbidden");

    let phone = Made::of(HAMLET);
    server.append("phone", &phone);
    let login = server.login(&phone);
    let by_phone = server.ask("link.create", own_link(by_certificate(&login)));
    let for_later = server.ask("link.create", own_link(by_certificate(&login)));
    let cert = Made::of(HAMLET);
    let question = redeem(HOST, &token_of(&by_phone), "tablet", &cert);
    ask_with(&mut server, "link.redeem", question, &present()).unwrap();
    let listed = server.ask("certificate.list", list());
    assert_eq!(listed["certificates"][1]["added"]["by"], "certificate");
    assert_eq!(
        listed["certificates"][1]["added"]["fingerprint"],
        login["fingerprint"]
    );
    // Who has the phone no more must not come back by what was made with it.
    server.ask("certificate.revoke", named("phone"));
    let seen = look(HOST, &token_of(&for_later));
    let refused = ask_with(&mut server, "link.look", seen, &present()).unwrap_err();
    assert_eq!(denial(&refused), "link-unknown");
    let question = redeem(HOST, &token_of(&for_later), "thief", &Made::of(HAMLET));
    let refused = ask_with(&mut server, "link.redeem", question, &present()).unwrap_err();
    assert_eq!(denial(&refused), "link-unknown");
    assert_eq!(names(&mut server), ["tablet"]);
    // Nor by what a session with a password has made, nor an administrator, if all others are cut off.
    let made = server.ask("link.create", own_link(by_password()));
    let sent = ask_with(&mut server, "link.create", link(HAMLET, "add"), &present()).unwrap();
    server.append("laptop", &Made::of(HAMLET));
    let tablet = server.login(&cert);
    let all_others = json!({
        "account": HAMLET, "incarnation": ONE, "session": by_certificate(&tablet), "presented": null,
        "step": "revoke-others", "action": "complete", "fields": {},
    });
    assert_eq!(
        server.ask("command.step", all_others)["status"],
        "completed"
    );
    for made in [made, sent] {
        let refused = server.refused("link.look", look(HOST, &token_of(&made)));
        assert_eq!(denial(&refused), "link-unknown");
    }
    // And when users may make none any more, theirs are none.
    let made = server.ask("link.create", own_link(by_password()));
    let mut server = daemon.server(json!({}));
    let refused = server.refused("link.look", look(HOST, &token_of(&made)));
    assert_eq!(denial(&refused), "link-unknown");
}

#[test]
fn links_end_with_the_certificate_that_made_them_and_take_no_room_from_an_administrators() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_links": "self"}));
    let thief = Made::of(HAMLET);
    for (question, is_by_name) in [("certificate.revoke", true), ("certificate.disable", false)] {
        server.append("thief", &thief);
        let login = server.login(&thief);
        let mut make = || server.ask("link.create", own_link(by_certificate(&login)));
        let tokens: Vec<String> = (0..20).map(|_| token_of(&make())).collect();
        let refused = server.refused("link.create", own_link(by_certificate(&login)));
        assert_eq!(denial(&refused), "too-many-links");
        let cuts_off = link(HAMLET, "replace");
        ask_with(&mut server, "link.create", cuts_off, &present()).unwrap();
        assert_eq!(links(&mut server).len(), 21);
        server.ask(question, named("thief"));
        let left = links(&mut server);
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0]["kind"], "replace");
        // They end for good: the certificate may come back.
        if is_by_name {
            let question = json!({"account": HAMLET, "key_id": login["key_id"]});
            server.ask("certificate.unrevoke", question);
        }
        server.append("thief", &thief);
        server.login(&thief);
        for token in &tokens {
            let refused = server.refused("link.look", look(HOST, token));
            assert_eq!(denial(&refused), "link-unknown");
            let question = redeem(HOST, token, "again", &Made::of(HAMLET));
            assert_eq!(
                denial(&server.refused("link.redeem", question)),
                "link-unknown"
            );
        }
        server.ask("link.revoke", json!({"id": left[0]["id"]}));
        server.ask("certificate.disable", named("thief"));
    }
}

#[test]
fn links_that_can_not_be_used_are_not_listed_and_take_no_room() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({"saslcertd_links": "self"}));
    let session = with(by_password(), "jid", json!("brutus@rome.lit/x"));
    let own = json!({"account": BRUTUS, "session": session, "kind": "add"});
    for _ in 0..20 {
        made(&mut rome, own.clone());
    }
    assert_eq!(
        denial(&rome.refused("link.create", own.clone())),
        "too-many-links"
    );
    made(&mut rome, link(BRUTUS, "add"));
    let mut rome = passwords::server(&daemon, json!({}));
    assert_eq!(links(&mut rome).len(), 1);
}

#[test]
fn the_account_hears_of_a_link_that_a_session_makes_and_ends_it_with_no_other_certificate() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_links": "self"}));
    let revoke_others = |session: &Value| {
        json!({
            "account": HAMLET, "incarnation": ONE, "session": session, "presented": null,
            "step": "menu", "action": "next", "fields": {"subcmd": ["revoke-others"]},
        })
    };
    // Who has no certificate, the only one that a password has added, or logs in with it.
    let (phone, session) = (Made::of(HAMLET), by_password());
    for (number, nothing) in ["certificates", "other certificates", "other certificates"]
        .into_iter()
        .enumerate()
    {
        if number == 1 {
            server.append("phone", &phone);
            server.question("account.notify");
        }
        let made = server.ask("link.create", own_link(session.clone()));
        let told = server.question("account.notify");
        assert_eq!(told["account"], HAMLET);
        let text = told["text"].as_str().unwrap();
        let start = format!(
            "A link ({}) that gives a device a key for your account was made by ",
            made["id"].as_str().unwrap()
        );
        assert!(text.starts_with(&start), "{text}");
        assert!(text.contains("(logged in with a password"), "{text}");
        let session = if number == 2 {
            by_certificate(&server.login(&phone))
        } else {
            session.clone()
        };
        let nothing = format!("There are no {nothing} in your list");
        let ended = format!("{nothing}. The links that gave devices keys have ended");
        for expected in [ended, nothing] {
            let said = server.ask("command.step", revoke_others(&session));
            assert_eq!(said["notes"][0]["text"], expected, "{said}");
        }
        let refused = server.refused("link.look", look(HOST, &token_of(&made)));
        assert_eq!(denial(&refused), "link-unknown");
    }
    // An administrator's is told when it is used.
    server.asked.clear();
    ask_with(&mut server, "link.create", link(HAMLET, "add"), &present()).unwrap();
    let is_told = |line: &Value| line["method"] == "account.notify";
    assert!(!server.asked.iter().any(is_told), "{:?}", server.asked);
    // Who may not revoke ends none.
    let mut plain = daemon.server(json!({"saslcertd_manage_with": "password"}));
    let login = plain.login(&phone);
    let said = plain.ask("command.step", revoke_others(&by_certificate(&login)));
    assert_eq!(said["denial"], "management-forbidden", "{said}");
    assert_eq!(links(&mut plain).len(), 1);
}

#[test]
fn another_password_ends_the_links_that_add_devices_whoever_has_made_them() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({"saslcertd_links": "self"}));
    let session = with(by_password(), "jid", json!("brutus@rome.lit/x"));
    let own = json!({"account": BRUTUS, "session": session, "kind": "add"});
    let (_, own) = made(&mut rome, own);
    let (_, admins) = made(&mut rome, link(BRUTUS, "add"));
    let (_, cuts_off) = made(&mut rome, link(BRUTUS, "replace"));
    rome.ask(
        "account.set_password",
        json!({"account": BRUTUS, "password": "other"}),
    );
    for token in [&own, &admins] {
        assert_eq!(
            denial(&rome.refused("link.look", look(ROME, token))),
            "link-unknown"
        );
    }
    rome.ask("link.look", look(ROME, &cuts_off));
}

#[test]
fn the_rules_of_the_list_are_those_of_every_upload() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({"saslcertd_max_certs": 1}));
    let (_, token) = made(&mut rome, with(link(BRUTUS, "add"), "uses", json!(2)));
    let cert = Made::of(BRUTUS);
    for (certificate, expected) in [
        ("@@@@".to_owned(), "not-base64"),
        (BASE64.encode("x"), "cert-unacceptable"),
        (Made::of("x@rome.lit").base64(), "address-foreign"),
    ] {
        let question = with(
            redeem(ROME, &token, "x", &cert),
            "certificate",
            json!(certificate),
        );
        assert_eq!(denial(&rome.refused("link.redeem", question)), expected);
    }
    let refused = rome.refused("link.redeem", redeem(ROME, &token, "\u{7}", &cert));
    assert_eq!(denial(&refused), "name-invalid");
    rome.ask("link.redeem", redeem(ROME, &token, "x", &cert));
    for (cert, expected) in [
        (&Made::of(BRUTUS), "too-many-certificates"),
        (&cert, "already-enrolled"),
    ] {
        let refused = rome.refused("link.redeem", redeem(ROME, &token, "y", cert));
        assert_eq!(denial(&refused), expected);
    }
    // None of it has cost the second use.
    assert_eq!(links(&mut rome)[0]["uses"], 1);
}

#[test]
fn the_command_line_makes_lists_and_revokes_links() {
    let daemon = Daemon::start();
    drop(rome(&daemon, json!({})));
    let run = |arguments: &[&str]| {
        let done = daemon.command("link").args(arguments).output().unwrap();
        let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        (done.status.code(), said)
    };
    let (code, said) = run(&[
        "create",
        BRUTUS,
        "--name",
        "tablet",
        "--expires",
        "2h",
        "--uses",
        "2",
    ]);
    assert_eq!(code, Some(0), "{said}");
    let first = said.lines().next().unwrap();
    assert!(
        first.starts_with("https://rome.lit:5281/devices#"),
        "{said}"
    );
    assert!(
        said.contains("gives a device a key for brutus@rome.lit; 2 times, until "),
        "{said}"
    );
    assert!(said.contains("this is the usual address"), "{said}");
    let mut server = daemon.peer();
    let mut plain = hello(ROME, json!({}));
    plain["hosts"][0]["accounts"] = json!("daemon");
    plain["hosts"][0]["page"] = json!("http://rome.lit/devices");
    server.ask("session.hello", plain);
    let (_, unsafe_link) = run(&["create", BRUTUS]);
    assert!(
        unsafe_link.starts_with("http://rome.lit/devices#")
            && unsafe_link.contains("http_external_url = \"https://rome.lit/\""),
        "{unsafe_link}"
    );
    drop(server);
    // A file is no terminal.
    assert!(!said.contains('\u{2588}'), "{said}");
    let (_, json) = run(&["create", "cinna@rome.lit", "--kind", "new", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["kind"], &json["uses"]), (&json!("new"), &json!(1)));
    for of in [&[][..], &[ROME], &[BRUTUS]] {
        let (code, said) = run(&[&["list"], of].concat());
        assert!(
            code == Some(0) && said.contains("  add  brutus@rome.lit  \"tablet\"  until "),
            "{said}"
        );
        assert_eq!(said.contains("cinna"), of != [BRUTUS], "{said}");
        assert!(!said.contains("https://"), "{said}");
    }
    let (code, said) = run(&["list", "elsewhere.lit"]);
    assert_eq!((code, said.as_str()), (Some(0), "0 links can be used\n"));
    let id = json["id"].as_str().unwrap();
    let (code, said) = run(&["revoke", id]);
    assert_eq!(
        (code, said),
        (
            Some(0),
            format!("Revoked the link {id} for cinna@rome.lit\n")
        )
    );
    for (arguments, code, part) in [
        (&["revoke", id][..], 1, "There is no link with this id"),
        (&["revoke", "x"], 2, "8 hex digits"),
        (
            &["create", BRUTUS, "--kind", "old"],
            2,
            "add, new or replace",
        ),
        (
            &["create", BRUTUS, "--expires", "soon"],
            2,
            "a number with s, m, h or d",
        ),
        (&["create", BRUTUS, "--expires", "31d"], 1, "30 days"),
        (&["create", "nobody@rome.lit"], 1, "does not exist"),
        (&["create", "x@elsewhere.lit"], 1, "is not declared"),
    ] {
        let (found, said) = run(arguments);
        assert!(
            found == Some(code) && said.contains(part),
            "{arguments:?} {found:?} {said}"
        );
    }
}

#[test]
fn the_console_makes_lists_and_revokes_links() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    let hello = json!({
        "protocol": 2, "software": "test", "sessions": true,
        "hosts": [{"host": ROME, "accounts": "daemon", "options": {}, "page": "https://www.rome.lit/devices"}],
    });
    rome.ask("session.hello", hello);
    let mut run = |words: &[&str]| {
        rome.ask(
            "console.run",
            json!({"words": words, "socket": "/s", "sessions": 0, "withdrawn": []}),
        )
    };
    let made = run(&["link", BRUTUS]);
    assert_eq!(made["ok"], true, "{made}");
    let url = made["lines"][0].as_str().unwrap();
    assert!(url.starts_with("https://www.rome.lit/devices#"), "{made}");
    assert_eq!(made["lines"].as_array().unwrap().len(), 1);
    assert_eq!(run(&["link", BRUTUS, "replace", "", "30m", ""])["ok"], true);
    let listed = run(&["links"]);
    assert_eq!(listed["text"], "2 links can be used");
    assert_eq!(run(&["links", BRUTUS])["lines"], listed["lines"]);
    assert_eq!(run(&["links", "other.lit"])["text"], "0 links can be used");
    let id = listed["lines"][0]
        .as_str()
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let revoked = run(&["unlink", id]);
    assert_eq!(
        revoked["text"],
        format!("Revoked the link {id} for {BRUTUS}")
    );
    for (words, part) in [
        (&["unlink", id][..], "There is no link with this id"),
        (&["unlink"], "Its id of 8 letters and digits"),
        (&["link"], "Whose?"),
        (&["link", BRUTUS, "old"], "add, new or replace"),
        (&["link", BRUTUS, "add", "x", "soon"], "as 24h"),
        (&["link", BRUTUS, "add", "x", "2h", "often"], "is a number"),
        (&["link", BRUTUS, "new"], "already an account"),
        (&["links", "@"], "neither an account"),
    ] {
        let ran = run(words);
        assert!(
            ran["ok"] == false && ran["text"].as_str().unwrap().contains(part),
            "{words:?} {ran}"
        );
    }
    // A command that was typed says nothing of the page.
    daemon.server(json!({}));
    let mut typed = daemon.peer();
    let hello = json!({"protocol": 2, "software": "x", "sessions": false, "hosts": [{"host": ROME, "accounts": "daemon", "options": {}}]});
    typed.ask("session.hello", hello);
    let made = typed.ask("link.create", link(BRUTUS, "add"));
    assert_eq!(made["is_served"], true);
}

#[test]
fn a_form_makes_a_link_where_users_may() {
    let daemon = Daemon::start();
    let step = |step: Option<&str>, action: &str, fields: Value| {
        json!({
            "account": HAMLET, "incarnation": ONE, "session": by_password(), "presented": null,
            "step": step, "action": action, "fields": fields,
        })
    };
    let mut server = daemon.server(json!({}));
    let menu = server.ask("command.step", step(None, "execute", Value::Null));
    assert!(!menu.to_string().contains("another device"), "{menu}");
    let forced = step(Some("link"), "complete", json!({"name": ["x"]}));
    let refused = server.ask("command.step", forced.clone());
    assert_eq!(refused["denial"], "link-forbidden");
    let mut server = daemon.server(json!({"saslcertd_links": "self"}));
    let menu = server.ask("command.step", step(None, "execute", Value::Null));
    assert!(
        menu.to_string()
            .contains("Make a link for another device of mine"),
        "{menu}"
    );
    let form = server.ask(
        "command.step",
        step(Some("menu"), "next", json!({"subcmd": ["link"]})),
    );
    assert_eq!(
        (&form["step"], &form["status"]),
        (&json!("link"), &json!("executing"))
    );
    let shown = server.ask("command.step", forced);
    assert_eq!(shown["status"], "completed");
    let fields = shown["form"]["fields"].as_array().unwrap();
    let value = |name: &str| {
        let field = fields.iter().find(|field| field["name"] == name).unwrap();
        field["value"].as_str().unwrap().to_owned()
    };
    let url = value("link");
    let (page, token) = url.split_once('#').unwrap();
    assert_eq!(page, "https://shakespeare.lit:5281/devices");
    assert!(value("expires").ends_with('Z'), "{shown}");
    let seen = ask_with(&mut server, "link.look", look(HOST, token), &present()).unwrap();
    assert_eq!((&seen["name"], &seen["kind"]), (&json!("x"), &json!("add")));
}

/// The labels and values of what can be chosen in a form.
fn choices(stepped: &Value) -> Vec<(String, String)> {
    let fields = stepped["form"]["fields"].as_array().unwrap();
    let options = fields
        .iter()
        .flat_map(|field| field["options"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    options
        .map(|option| (text(&option["label"]), text(&option["value"])))
        .collect()
}

#[test]
fn a_form_shows_the_links_of_the_accounts_own_sessions_and_takes_them_back() {
    let daemon = Daemon::start();
    let step = |step: Option<&str>, action: &str, fields: Value| {
        json!({
            "account": HAMLET, "incarnation": ONE, "session": by_password(), "presented": null,
            "step": step, "action": action, "fields": fields,
        })
    };
    let look = || {
        let chosen = json!({"subcmd": ["take-back-links"]});
        step(Some("menu"), "next", chosen)
    };
    let take = |which: &Value| {
        let step = step(
            Some("take-back-links"),
            "complete",
            json!({"link": [which]}),
        );
        move |server: &mut Peer| server.ask("command.step", step)
    };
    let note = |stepped: &Value| stepped["notes"][0]["text"].as_str().unwrap().to_owned();
    let mut server = daemon.server(json!({"saslcertd_links": "self"}));
    let nothing = server.ask("command.step", look());
    assert!(note(&nothing).starts_with("You have made no links"));
    let given = ask_with(&mut server, "link.create", link(HAMLET, "add"), &present()).unwrap();
    server.append("phone", &Made::of(HAMLET));
    let phone = Made::of(HAMLET);
    server.append("tablet", &phone);
    let login = server.login(&phone);
    let named = with(
        own_link(by_certificate(&login)),
        "name",
        json!("wa\u{202e}tch"),
    );
    let by_tablet = server.ask("link.create", named);
    let by_typing = server.ask("link.create", own_link(by_password()));
    let horatio = json!({"account": "horatio@shakespeare.lit", "incarnation": "two", "session": by_password(), "kind": "add"});
    let horatios = server.ask("link.create", horatio);

    let listed = server.ask("certificate.list", list());
    let mut rows = listed["links"].as_array().unwrap().clone();
    assert!(!listed["links"].to_string().contains(&token_of(&by_tablet)));
    rows.sort_by_key(|row| row["made"]["by"].to_string());
    let [with_tablet, typed] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!(typed["id"], by_typing["id"]);
    assert_eq!((&typed["name"], &typed["uses"]), (&Value::Null, &json!(1)));
    assert_eq!(with_tablet["expires"], by_tablet["expires"]);
    assert_eq!(with_tablet["shown"]["name"], "wa\\u{202e}tch");
    assert_eq!(with_tablet["made"]["fingerprint"], login["fingerprint"]);

    let form = server.ask("command.step", look());
    assert_eq!(form["step"], "take-back-links");
    let offered = choices(&form);
    let values: BTreeSet<&str> = offered.iter().map(|(_, value)| &**value).collect();
    let ids = [&by_tablet, &by_typing].map(|made| made["id"].as_str().unwrap());
    assert_eq!(values, BTreeSet::from([ids[0], ids[1], "all"]));
    let (label, _) = offered.iter().find(|(_, value)| value == ids[0]).unwrap();
    assert!(label.starts_with("\"wa\\u{202e}tch\", link"), "{label}");
    assert!(
        label.ends_with("logged in with the certificate \"tablet\""),
        "{label}"
    );

    // Whatever is none of the account's own is one and the same.
    let nowhere = json!("00000000");
    for none in [&given["id"], &horatios["id"], &nowhere, &json!("anything")] {
        let refused = take(none)(&mut server);
        assert_eq!(
            (&refused["denial"], &*note(&refused)),
            (&json!("link-missing"), "There is no link with this id")
        );
    }
    assert_eq!(
        note(&take(&json!(""))(&mut server)),
        "Link that is taken back: must be filled in"
    );
    let said = note(&take(&by_tablet["id"])(&mut server));
    assert_eq!(said, format!("The link {} does not count any more", ids[0]));
    let again = take(&by_tablet["id"])(&mut server);
    assert_eq!(again["denial"], "link-missing");
    // Where users make none any more, theirs are no links; but could be again, and can be taken back.
    let mut server = daemon.server(json!({}));
    let menu = server.ask("command.step", step(None, "execute", Value::Null));
    let offered = choices(&menu);
    let values: Vec<&str> = offered.iter().map(|(_, value)| &**value).collect();
    assert!(values.contains(&"take-back-links") && !values.contains(&"link"));
    let offered = choices(&server.ask("command.step", look()));
    let values: Vec<&str> = offered.iter().map(|(_, value)| &**value).collect();
    assert_eq!(values, [ids[1]]);
    let said = note(&take(&json!("all"))(&mut server));
    assert!(said.starts_with("The link that you have made"), "{said}");
    let menu = server.ask("command.step", step(None, "execute", Value::Null));
    assert!(!menu.to_string().contains("take-back-links"), "{menu}");
    let mut server = daemon.server(json!({"saslcertd_links": "self"}));
    let mut left: Vec<Value> = links(&mut server)
        .iter()
        .map(|link| link["id"].clone())
        .collect();
    left.sort_by_key(ToString::to_string);
    let mut stayed = [given["id"].clone(), horatios["id"].clone()];
    stayed.sort_by_key(ToString::to_string);
    assert_eq!(left, stayed);
}

#[test]
fn a_backup_has_the_accounts_that_links_have_made_and_no_links() {
    let daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    let (left, token) = made(&mut rome, link(BRUTUS, "add"));
    let cinna = "cinna@rome.lit";
    let (_, used) = made(&mut rome, link(cinna, "new"));
    let cert = Made::of(cinna);
    rome.ask("link.redeem", redeem(ROME, &used, "phone", &cert));
    let file = daemon.folder.path().join("backup");
    let done = daemon.command("export").arg(&file).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains(BRUTUS) && written.contains(cinna));
    for part in [left["id"].as_str().unwrap(), &token, &used, "link"] {
        assert!(!written.contains(part), "{part}");
    }
    let other = Daemon::start();
    let done = other.command("import").arg(&file).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let mut rome = passwords::server(&other, json!({}));
    let login = rome.ask("external.login", login_of(ROME, &cert));
    assert_eq!(login["username"], "cinna");
    let refused = rome.refused("account.verify", passwords::verify(cinna, ""));
    assert_eq!(denial(&refused), "password-wrong");
    let scram = json!({"account": BRUTUS, "hash": "SHA-256"});
    assert_eq!(rome.ask("account.scram", scram)["iterations"], 4096);
    for token in [&token, &used] {
        let refused = rome.refused("link.look", look(ROME, token));
        assert_eq!(denial(&refused), "link-unknown");
    }
}

#[test]
fn what_has_expired_is_swept_away() {
    let mut daemon = Daemon::start();
    let mut rome = rome(&daemon, json!({}));
    made(&mut rome, link(BRUTUS, "add"));
    made(
        &mut rome,
        with(link("cinna@rome.lit", "new"), "seconds", json!(60)),
    );
    assert!(daemon.stop().success());
    let state = daemon.state();
    let now = UnixSeconds(time::OffsetDateTime::now_utc().unix_timestamp());
    state.sweep(now.plus(3600));
    state.close();
    drop(state);
    let store = daemon.store();
    let left: Vec<BareJid> = store
        .links_of(|_| true)
        .into_iter()
        .map(|(of, _)| of)
        .collect();
    assert_eq!(left, [BareJid::parse(BRUTUS).unwrap()]);
    let checked = store.check(|_| {}).unwrap();
    let rows = checked.iter().find(|check| check.table == "links");
    assert_eq!(rows.unwrap().rows, 1);
}
