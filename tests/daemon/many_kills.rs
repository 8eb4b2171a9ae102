//! SIGKILL of daemons and of PostgreSQL at random, under load: what was acknowledged is there, and no yes follows the answer to a revocation.
//! With a server of the test's own, which keeps what it has acknowledged.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::own_server::OwnServer;
use crate::power::{chance, some_microseconds};
use crate::support::{Daemon, HAMLET, HOST, Made, PATIENCE, Peer, append, hello, login, named};

/// How often somebody is killed, unless `SASLCERTD_TEST_KILLS` says it (`make test-kills`).
const KILLS: usize = 8;
/// In so many of them all revocations are answered before the next one.
const PAUSE_EVERY: usize = 4;

/// A certificate, and what is known of it.
struct Device {
    name: String,
    cert: Made,
    /// The last change of it was acknowledged; otherwise it may be so or not.
    is_known: AtomicBool,
    is_revoked: AtomicBool,
}

#[derive(Default)]
struct Load {
    devices: Mutex<Vec<&'static Device>>,
    acknowledged: AtomicUsize,
    revocations: AtomicUsize,
    /// Revocations that are asked for, and not answered.
    pending: AtomicUsize,
    is_over: AtomicBool,
    /// Nobody asks for anything new.
    is_paused: AtomicBool,
}

impl Load {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// One of those that there are.
    fn any(&self) -> Option<&'static Device> {
        let devices = self.devices.lock().unwrap();
        let at = chance(devices.len().max(1).try_into().unwrap());
        devices.get(usize::try_from(at).unwrap()).copied()
    }

    /// Enrols and revokes at the daemon of that socket, which ends now and then.
    fn change(&self, socket: &Path, who: &str) {
        let mut number = 0;
        while let Some(mut peer) = self.connected(socket) {
            let mut sent: HashMap<u64, &'static Device> = HashMap::new();
            'connection: while !self.is_over() {
                if self.is_paused.load(Ordering::SeqCst) && sent.is_empty() {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                number += 1;
                let name = format!("{who}{number}");
                let cert = Made::of(HAMLET);
                let enrolled = peer.try_send("certificate.append", append(&name, &cert));
                let Some(enrolled) = enrolled else { break };
                // Of each a revocation may still be under way when the next one is enrolled.
                let mut is_enrolled = None;
                while is_enrolled.is_none()
                    || (self.is_paused.load(Ordering::SeqCst) && !sent.is_empty())
                    || sent.len() > 8
                {
                    let Some(line) = peer.line() else {
                        break 'connection;
                    };
                    if line["id"] == enrolled {
                        is_enrolled = Some(line.get("result").is_some());
                    } else if let Some(device) = line["id"].as_u64().and_then(|id| sent.remove(&id))
                    {
                        self.note_revoked(device, line.get("result").is_some());
                    }
                }
                if is_enrolled != Some(true) {
                    some_microseconds(20_000);
                    continue;
                }
                self.acknowledged.fetch_add(1, Ordering::SeqCst);
                // It is of use until the process of this test ends.
                let device: &'static Device = Box::leak(Box::new(Device {
                    name,
                    cert,
                    is_known: AtomicBool::new(true),
                    is_revoked: AtomicBool::new(false),
                }));
                self.devices.lock().unwrap().push(device);
                if number % 2 == 0 {
                    device.is_known.store(false, Ordering::SeqCst);
                    self.pending.fetch_add(1, Ordering::SeqCst);
                    let id = peer.try_send("certificate.revoke", named(&device.name));
                    let Some(id) = id else {
                        self.pending.fetch_sub(1, Ordering::SeqCst);
                        break;
                    };
                    sent.insert(id, device);
                }
            }
            // Nobody knows of these.
            self.pending.fetch_sub(sent.len(), Ordering::SeqCst);
        }
    }

    fn note_revoked(&self, device: &Device, is_answered: bool) {
        if is_answered {
            device.is_revoked.store(true, Ordering::SeqCst);
            device.is_known.store(true, Ordering::SeqCst);
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
            self.revocations.fetch_add(1, Ordering::SeqCst);
        }
        self.pending.fetch_sub(1, Ordering::SeqCst);
    }

    /// Logs in at the daemon of that socket, again and again.
    fn log_in(&self, socket: &Path) {
        while let Some(mut peer) = self.connected(socket) {
            while !self.is_over() {
                some_microseconds(4_000);
                let Some(device) = self.any() else { continue };
                let was_revoked = device.is_revoked.load(Ordering::SeqCst);
                let answer = peer.try_ask("external.login", login(&device.cert));
                let Some(answer) = answer else { break };
                let is_yes = answer.get("result").is_some();
                assert!(
                    !(is_yes && was_revoked),
                    "a yes behind the answer: {answer}"
                );
            }
        }
    }

    /// A server that has said hello; `None` when all is over.
    fn connected(&self, socket: &Path) -> Option<Peer> {
        while !self.is_over() {
            if let Ok(stream) = UnixStream::connect(socket) {
                let mut peer = Peer::of(stream);
                let hello = hello(HOST, json!({"saslcertd_max_certs": 100_000}));
                let answer = peer.try_ask("session.hello", hello);
                if answer.is_some_and(|answer| answer.get("result").is_some()) {
                    return Some(peer);
                }
            }
            some_microseconds(10_000);
        }
        None
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE * 2, "no {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends the load also when the test fails: its threads are waited for.
struct Ending<'a>(&'a Load);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// What the daemon says once it can be asked.
fn said(daemon: &mut Daemon, peer: &mut Peer, cert: &Made) -> Value {
    let mut said = Value::Null;
    daemon.wait_for("an answer", |_| {
        let id = peer.send("external.login", login(cert));
        said = peer.answer(id);
        said["error"]["code"] != -32001
    });
    said
}

#[test]
fn nothing_acknowledged_is_lost_and_no_yes_follows_an_answer_whoever_is_killed() {
    let kills = std::env::var("SASLCERTD_TEST_KILLS");
    let kills = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let mut postgresql = OwnServer::start();
    let first = Daemon::start_at(&postgresql.at());
    let second = first.beside();
    let mut daemons = [first, second];
    let sockets = [0, 1].map(|at: usize| daemons[at].socket());
    let load = Load::default();
    let mut killed = [0, 0, 0];
    std::thread::scope(|scope| {
        let load = &load;
        let _ending = Ending(load);
        for (socket, who) in sockets.iter().zip(["a", "b"]) {
            scope.spawn(move || load.change(socket, who));
            scope.spawn(move || load.log_in(socket));
            scope.spawn(move || load.log_in(socket));
        }
        for round in 1..=kills {
            let before = load.acknowledged.load(Ordering::SeqCst);
            wait_for("acknowledgement", || {
                load.acknowledged.load(Ordering::SeqCst) >= before + 5
            });
            if round % PAUSE_EVERY == 0 {
                load.is_paused.store(true, Ordering::SeqCst);
                wait_for("answers to revocations", || {
                    load.pending.load(Ordering::SeqCst) == 0
                });
                load.is_paused.store(false, Ordering::SeqCst);
            }
            some_microseconds(30_000);
            // All of them in the first rounds, whatever chance brings.
            let who = if round <= 3 {
                round - 1
            } else {
                usize::try_from(chance(3)).unwrap()
            };
            killed[who] += 1;
            if let Some(daemon) = daemons.get_mut(who) {
                daemon.kill();
                daemon.serve();
            } else {
                postgresql.kill();
                postgresql.begin();
            }
        }
        load.is_paused.store(true, Ordering::SeqCst);
        wait_for("answers to revocations", || {
            load.pending.load(Ordering::SeqCst) == 0
        });
    });
    let devices = load.devices.into_inner().unwrap();
    let revocations = load.revocations.into_inner();
    eprintln!(
        "killed: {killed:?}; {} certificates and {revocations} revocations were acknowledged",
        devices.len()
    );
    assert!(devices.len() >= kills && revocations >= kills / PAUSE_EVERY);
    for daemon in &mut daemons {
        let mut peer = daemon.server(json!({"saslcertd_max_certs": 100_000}));
        for device in &devices {
            let name = &device.name;
            let said = said(daemon, &mut peer, &device.cert);
            if device.is_revoked.load(Ordering::SeqCst) {
                assert_eq!(
                    said["error"]["data"]["denial"], "key-revoked",
                    "{name}: {said}"
                );
            } else if device.is_known.load(Ordering::SeqCst) {
                assert_eq!(said["result"]["name"], *name, "it is lost: {said}");
            }
        }
    }
}
