//! Power cuts: what was acknowledged is there, and the store opens.
//!
//! The daemon's folder is an ext4 in a file. It is stopped at some moment, the file is copied, and the copy is mounted:
//! what the kernel had not written to the file by then is what a power cut loses.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::migration;
use crate::passwords;
use crate::support::{Daemon, HAMLET, Made, Peer, append, list, named, with};

/// A daemon on a disk of its own.
struct Machine {
    daemon: Daemon,
    disk: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let disk = Daemon::without_store();
        let image = disk.folder.path().with_extension("disk");
        run("truncate", &["-s", "128M"], &image);
        run("mkfs.ext4", &["-q", "-m", "0", "-J", "size=4"], &image);
        Self::with(disk, image)
    }

    fn with(daemon: Daemon, disk: PathBuf) -> Self {
        let mount = Command::new("mount")
            .args(["-o", "loop"])
            .args([disk.as_path(), daemon.folder.path()])
            .output()
            .unwrap();
        assert!(
            mount.status.success(),
            "tests of power cuts need root, a loop device and ext4, and there is none to be had here: {}",
            String::from_utf8_lossy(&mount.stderr)
        );
        Self { daemon, disk }
    }

    /// One with what a power cut leaves at this moment.
    fn cut(&self) -> Self {
        let daemon = Daemon::without_store();
        let copy = daemon.folder.path().with_extension("disk");
        let mut cp = Command::new("cp");
        cp.arg("--sparse=always").args([&self.disk, &copy]);
        assert!(cp.status().unwrap().success());
        Self::with(daemon, copy)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.daemon.is_running() {
            self.daemon.kill();
        }
        let _ = Command::new("umount")
            .arg(self.daemon.folder.path())
            .status();
        let _ = fs::remove_file(&self.disk);
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let done = Command::new(program).args(arguments).arg(path).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(done.status.success(), "{done:?}");
}

/// Cuts and what became of them.
#[derive(Default)]
struct Cuts {
    made: usize,
    lost: Vec<String>,
}

impl Cuts {
    /// Stops the daemon, lets `look` see what is left by a cut now, and lets it go on.
    fn cut(&mut self, machine: &mut Machine, look: impl FnOnce(&mut Daemon)) {
        machine.daemon.freeze();
        self.cut_frozen(machine, look);
        machine.daemon.signal(Signal::SIGCONT);
    }

    fn cut_frozen(&mut self, machine: &Machine, look: impl FnOnce(&mut Daemon)) {
        self.made += 1;
        let mut after = machine.cut();
        let seen = catch_unwind(AssertUnwindSafe(|| {
            after.daemon.serve();
            look(&mut after.daemon);
        }));
        if let Err(problem) = seen {
            let text = problem
                .downcast::<String>()
                .map_or_else(|_| "?".to_owned(), |text| *text);
            let last = text.lines().last().unwrap_or_default();
            self.lost.push(format!("cut {}: {last}", self.made));
        }
    }
}

impl Drop for Cuts {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(
                self.lost.is_empty(),
                "{} of {} cuts lost something: {:#?}",
                self.lost.len(),
                self.made,
                self.lost
            );
        }
    }
}

/// A number below `below` that is another one each time; that the moment is by chance is the purpose.
fn chance(below: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos() / 7) % below
}

fn some_microseconds(below: u64) {
    std::thread::sleep(Duration::from_micros(chance(below)));
}

/// Asks so many questions, and one more during which the power is cut. `note` is told of each that was answered, and
/// with `false` of the one that was not, whose id is returned.
fn ask_until_the_cut(
    peer: &mut Peer,
    machine: &mut Machine,
    questions: Vec<(&'static str, Value)>,
    mut note: impl FnMut(usize, bool),
) -> Option<u64> {
    let last = questions.len() - 1;
    for (at, (method, params)) in questions.into_iter().enumerate() {
        if at < last {
            peer.ask(method, params);
            note(at, true);
            continue;
        }
        let id = peer.send(method, params);
        some_microseconds(6000);
        machine.daemon.freeze();
        let answered = peer.waiting();
        let answer = answered.iter().find(|line| line["id"] == id);
        if let Some(answer) = answer {
            assert!(answer.get("result").is_some(), "{answer}");
        }
        note(at, answer.is_some());
        return answer.is_none().then_some(id);
    }
    None
}

fn listed(peer: &mut Peer) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut after = Value::Null;
    loop {
        let page = peer.ask("certificate.list", with(list(), "after", after));
        for row in page["certificates"].as_array().unwrap() {
            found.insert(
                row["name"].as_str().unwrap().to_owned(),
                row["fingerprint"].clone(),
            );
        }
        after = page["next"].clone();
        if after.is_null() {
            return found;
        }
    }
}

fn options() -> Value {
    json!({"saslcertd_max_certs": 100_000})
}

/// Certificates of about so many bytes are disabled and appended, `count` of them, by turns.
fn certificates_are_there(bytes: usize, count: usize, cuts: usize) {
    let mut machine = Machine::new();
    machine.daemon.prepare();
    machine.daemon.serve();
    let made: Vec<Made> = (0..count).map(|_| Made::long(HAMLET, bytes)).collect();
    let name = |number: usize| format!("n{number}");
    let mut server = machine.daemon.server(options());
    // By number: is it in the list?
    let mut known: BTreeMap<usize, bool> = BTreeMap::new();
    for (number, cert) in made.iter().enumerate() {
        server.append(&name(number), cert);
        known.insert(number, true);
    }
    let mut all = Cuts::default();
    for _ in 0..cuts {
        let numbers: Vec<usize> = (0..4 + chance(9))
            .map(|_| usize::try_from(chance(count as u64)).unwrap())
            .collect();
        let mut plan = known.clone();
        let mut steps = Vec::new();
        let mut questions = Vec::new();
        for number in numbers {
            let is_listed = plan[&number];
            plan.insert(number, !is_listed);
            steps.push((number, !is_listed));
            questions.push(if is_listed {
                ("certificate.disable", named(&name(number)))
            } else {
                ("certificate.append", append(&name(number), &made[number]))
            });
        }
        let mut uncertain = None;
        let pending = ask_until_the_cut(
            &mut server,
            &mut machine,
            questions,
            |at, is_acknowledged| {
                let (number, is_listed) = steps[at];
                known.insert(number, is_listed);
                if !is_acknowledged {
                    uncertain = Some(number);
                }
            },
        );
        all.cut_frozen(&machine, |daemon| {
            let mut server = daemon.server(options());
            let found = listed(&mut server);
            for (number, is_listed) in &known {
                if uncertain != Some(*number) {
                    assert_eq!(found.contains_key(&name(*number)), *is_listed, "{number}");
                    if *is_listed {
                        server.login(&made[*number]);
                    } else {
                        server.login_refused(&made[*number]);
                    }
                }
            }
        });
        machine.daemon.signal(Signal::SIGCONT);
        let _ = pending.map(|id| server.answer(id));
        let found = listed(&mut server);
        for (number, is_listed) in &mut known {
            *is_listed = found.contains_key(&name(*number));
        }
    }
}

#[test]
fn twenty_cuts_lose_no_large_certificate() {
    certificates_are_there(15_000, 20, 20);
}

#[test]
fn eight_cuts_lose_no_small_certificate() {
    certificates_are_there(10, 40, 8);
}

#[test]
fn six_cuts_lose_no_revocation() {
    let mut machine = Machine::new();
    machine.daemon.prepare();
    machine.daemon.serve();
    let mut server = machine.daemon.server(options());
    let mut revoked = Vec::new();
    let mut all = Cuts::default();
    for _ in 0..6 {
        let made: Vec<Made> = (0..5).map(|_| Made::of(HAMLET)).collect();
        for (number, cert) in made.iter().enumerate() {
            server.append(&format!("n{number}"), cert);
        }
        let questions =
            (0..made.len()).map(|number| ("certificate.revoke", named(&format!("n{number}"))));
        let mut acknowledged = 0;
        let pending = ask_until_the_cut(
            &mut server,
            &mut machine,
            questions.collect(),
            |_, is_acknowledged| {
                acknowledged += usize::from(is_acknowledged);
            },
        );
        let mut made = made;
        made.truncate(acknowledged);
        revoked.append(&mut made);
        all.cut_frozen(&machine, |daemon| {
            let mut server = daemon.server(options());
            for cert in &revoked {
                assert_eq!(server.login_refused(cert)["data"]["denial"], "key-revoked");
            }
        });
        machine.daemon.signal(Signal::SIGCONT);
        let _ = pending.map(|id| server.answer(id));
        for name in listed(&mut server).keys() {
            server.ask("certificate.disable", named(name));
        }
    }
}

#[test]
fn eight_cuts_lose_no_password() {
    let mut machine = Machine::new();
    machine.daemon.prepare();
    machine.daemon.serve();
    let mut rome = passwords::server(&machine.daemon, json!({}));
    // By account: may it log in?
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    let mut all = Cuts::default();
    for round in 0..8 {
        let mut steps = Vec::new();
        let mut questions = Vec::new();
        for number in 0..3 + chance(4) {
            let account = format!("r{round}n{number}@rome.lit");
            questions.push(("account.create", passwords::create(&account, "et tu?")));
            steps.push((account, true));
        }
        let account = steps[0].0.clone();
        questions.push(("account.disable", json!({ "account": account })));
        steps.push((account, false));
        let mut uncertain = None;
        let pending =
            ask_until_the_cut(&mut rome, &mut machine, questions, |at, is_acknowledged| {
                let (account, may) = steps[at].clone();
                if !is_acknowledged {
                    uncertain = Some(account.clone());
                }
                known.insert(account, may);
            });
        all.cut_frozen(&machine, |daemon| {
            let mut rome = passwords::server(daemon, json!({}));
            for (account, may) in &known {
                if uncertain.as_ref() != Some(account) {
                    let found = rome.ask("account.exists", json!({ "account": account }));
                    assert_eq!(
                        (&found["exists"], &found["enabled"]),
                        (&json!(true), &json!(may)),
                        "{account}"
                    );
                }
            }
            let sure = |(account, _): &(&String, &bool)| uncertain.as_ref() != Some(*account);
            let (account, may) = known.iter().find(sure).unwrap();
            let id = rome.send("account.verify", passwords::verify(account, "et tu?"));
            assert_eq!(rome.answer(id).get("result").is_some(), *may);
        });
        machine.daemon.signal(Signal::SIGCONT);
        let _ = pending.map(|id| rome.answer(id));
    }
}

#[test]
fn six_cuts_during_a_start_lose_nothing() {
    let mut machine = Machine::new();
    machine.daemon.prepare();
    machine.daemon.serve();
    let mut all = Cuts::default();
    let mut made = Vec::new();
    for round in 0..6 {
        let cert = Made::long(HAMLET, 10_000);
        machine
            .daemon
            .server(options())
            .append(&format!("n{round}"), &cert);
        made.push(cert);
        machine.daemon.kill();
        machine.daemon.begin();
        some_microseconds(60_000);
        all.cut(&mut machine, |daemon| {
            let mut server = daemon.server(options());
            for cert in &made {
                server.login(cert);
            }
        });
        machine.daemon.wait_for("an answer", |daemon| {
            std::os::unix::net::UnixStream::connect(daemon.socket()).is_ok()
        });
    }
}

#[test]
fn six_cuts_behind_an_export_or_an_import_lose_nothing() {
    let mut machine = Machine::new();
    machine.daemon.prepare();
    machine.daemon.serve();
    let mut server = machine.daemon.server(options());
    for number in 0..30 {
        server.append(&format!("n{number}"), &Made::long(HAMLET, 8_000));
    }
    let mut all = Cuts::default();
    let mut text = String::new();
    for _ in 0..3 {
        text = migration::exported(&machine.daemon);
        all.cut(&mut machine, |daemon| {
            let found = fs::read_to_string(daemon.folder.path().join("exported"));
            assert!(found.unwrap() == text, "the export is another one");
        });
    }
    for _ in 0..3 {
        let mut other = Machine::new();
        other.daemon.prepare();
        other.daemon.serve();
        let backup = other.daemon.folder.path().join("backup");
        fs::write(&backup, &text).unwrap();
        let done = other
            .daemon
            .command("import")
            .arg(&backup)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        all.cut(&mut other, |daemon| {
            assert!(
                migration::exported(daemon) == text,
                "the import is not whole"
            );
        });
    }
}

#[test]
fn six_cuts_during_a_migration_lose_nothing() {
    let (_former, before) = migration::former();
    let mut all = Cuts::default();
    for round in 0..6 {
        let mut machine = Machine::new();
        machine.daemon.prepare();
        let folder = machine.daemon.folder.path().to_owned();
        fs::remove_dir_all(machine.daemon.data_dir()).unwrap();
        migration::unpack(&folder);
        run("sync", &["-f"], &folder);
        machine.daemon.begin();
        some_microseconds(1 + round * 60_000);
        all.cut(&mut machine, |daemon| {
            let after = migration::exported(daemon);
            assert!(
                migration::is_all_there(&before, &after),
                "something is lost"
            );
        });
    }
}
