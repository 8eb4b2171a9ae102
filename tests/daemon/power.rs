//! Power cuts: what was acknowledged is there, and the store opens.
//!
//! The daemon's folder is an ext4 in a file. It is stopped at some moment, the file is copied, and the copy is mounted:
//! what the kernel had not written to the file by then is what a power cut loses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::migration;
use crate::passwords;
use crate::support::{Daemon, HAMLET, Made, Peer, append, list, named, with};

const OPHELIA: &str = "ophelia@shakespeare.lit";

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
pub fn chance(below: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos() / 7) % below
}

pub fn some_microseconds(below: u64) {
    std::thread::sleep(Duration::from_micros(chance(below)));
}

/// A method and its parameters.
type Question = (&'static str, Value);

/// Asks so many questions, and one more during which the power is cut. `note` is told of each that was answered, and
/// with `false` of the one that was not, whose id is returned.
fn ask_until_the_cut(
    peer: &mut Peer,
    machine: &mut Machine,
    questions: Vec<Question>,
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

/// Names and fingerprints of Hamlet's certificates.
fn listed(peer: &mut Peer) -> BTreeMap<String, Value> {
    listed_of(HAMLET, peer)
}

fn listed_of(account: &str, peer: &mut Peer) -> BTreeMap<String, Value> {
    let list = with(list(), "account", json!(account));
    let mut found = BTreeMap::new();
    let mut after = Value::Null;
    loop {
        let page = peer.ask("certificate.list", with(list.clone(), "after", after));
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

/// The state of an account that was last acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Login {
    password: String,
    is_enabled: bool,
}

/// Is the account as one of these say? Enables it, to see its password.
fn is_as_one_of(rome: &mut Peer, account: &str, logins: &[&Login]) -> bool {
    let of = json!({ "account": account });
    let found = rome.ask("account.exists", of.clone());
    if found["exists"] != true {
        return false;
    }
    if found["enabled"] == false {
        rome.ask("account.enable", of);
    }
    logins.iter().any(|login| {
        let params = json!({"account": account, "password": login.password, "address": null});
        let id = rome.send("account.verify", params);
        let is_admitted = rome.answer(id).get("result").is_some();
        is_admitted && found["enabled"] == login.is_enabled
    })
}

/// Questions about accounts of that round, and how each account is when its question is answered.
fn passwords_of_a_round(round: u64) -> Vec<(Question, (String, Login))> {
    let account = |number: u64| format!("r{round}n{number}@rome.lit");
    let mut steps = Vec::new();
    let mut logins = Vec::new();
    for number in 0..3 + chance(3) {
        let login = Login {
            password: "et tu?".to_owned(),
            is_enabled: true,
        };
        let params = passwords::create(&account(number), &login.password);
        logins.push(login.clone());
        steps.push((("account.create", params), (account(number), login)));
    }
    // The last one is in flight when the power goes: each kind has its turn.
    for turn in 0..4 {
        let number = chance(logins.len() as u64);
        let login = &mut logins[usize::try_from(number).unwrap()];
        let account = account(number);
        let question = if (turn + round).is_multiple_of(3) {
            login.is_enabled = !login.is_enabled;
            let methods = ["account.disable", "account.enable"];
            let method = methods[usize::from(login.is_enabled)];
            (method, json!({ "account": account }))
        } else {
            login.password = format!("number {turn} of round {round}");
            let params = json!({"account": account, "password": login.password});
            ("account.set_password", params)
        };
        steps.push((question, (account, login.clone())));
    }
    steps
}

#[test]
fn eight_cuts_lose_no_password_and_bring_no_older_one_back() {
    let mut machine = Machine::new();
    machine.daemon.prepare();
    machine.daemon.serve();
    let mut rome = passwords::server(&machine.daemon, json!({}));
    let mut known: BTreeMap<String, Login> = BTreeMap::new();
    let mut all = Cuts::default();
    for round in 0..8 {
        let (questions, steps): (Vec<_>, Vec<_>) = passwords_of_a_round(round).into_iter().unzip();
        let mut uncertain = None;
        let pending =
            ask_until_the_cut(&mut rome, &mut machine, questions, |at, is_acknowledged| {
                let (account, login) = steps[at].clone();
                let before = known.insert(account.clone(), login);
                if !is_acknowledged {
                    uncertain = Some((account, before));
                }
            });
        all.cut_frozen(&machine, |daemon| {
            let mut rome = passwords::server(daemon, json!({}));
            for (account, login) in &known {
                let mut logins = vec![login];
                if let Some((of, Some(before))) = &uncertain
                    && of == account
                {
                    logins.push(before);
                }
                let is_right = is_as_one_of(&mut rome, account, &logins);
                assert!(is_right, "{account} is none of {logins:?}");
            }
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

/// A machine with thirty certificates, and who has appended them.
fn thirty_certificates() -> (Machine, Peer) {
    let mut machine = Machine::new();
    machine.daemon.prepare();
    machine.daemon.serve();
    let mut server = machine.daemon.server(options());
    for number in 0..30 {
        server.append(&format!("n{number}"), &Made::long(HAMLET, 8_000));
    }
    (machine, server)
}

#[test]
fn two_cuts_behind_an_export_and_two_behind_an_import_lose_nothing() {
    let (mut machine, _server) = thirty_certificates();
    let mut all = Cuts::default();
    let mut text = String::new();
    for _ in 0..2 {
        text = migration::exported(&machine.daemon);
        all.cut(&mut machine, |daemon| {
            let found = fs::read_to_string(daemon.folder.path().join("exported"));
            assert!(found.unwrap() == text, "the export is another one");
        });
    }
    for _ in 0..2 {
        let mut other = Machine::new();
        other.daemon.prepare();
        other.daemon.serve();
        let done = importing(&other.daemon, &text).wait_with_output().unwrap();
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
fn four_cuts_during_an_export_leave_the_backup_of_before_or_the_new_one() {
    let (mut machine, mut server) = thirty_certificates();
    let folder = machine.daemon.folder.path().to_owned();
    let mut all = Cuts::default();
    let mut before = None;
    let mut inside = 0;
    for round in 0..4 {
        let cert = Made::long(HAMLET, 8_000);
        server.append(&format!("r{round}"), &cert);
        let whole = migration::exported(&machine.daemon);
        let mut export = machine.daemon.command("export");
        let mut export = export.arg(folder.join("backup")).spawn().unwrap();
        let unfinished = folder.join(format!("backup.{}.unfinished", export.id()));
        machine.daemon.wait_for("export", |_| {
            unfinished.exists() || export.try_wait().unwrap().is_some()
        });
        some_microseconds(25_000);
        let is_acknowledged = export.try_wait().unwrap().is_some();
        let pid = Pid::from_raw(export.id().try_into().unwrap());
        if !is_acknowledged {
            kill(pid, Signal::SIGSTOP).unwrap();
        }
        all.cut(&mut machine, |daemon| {
            let found = fs::read_to_string(daemon.folder.path().join("backup")).ok();
            let is_whole = found.as_ref() == Some(&whole);
            inside += usize::from(!is_whole);
            assert!(
                is_whole || (!is_acknowledged && found == before),
                "the backup is neither"
            );
            // Before the login: the last use that it leaves behind may be written at once.
            assert!(migration::exported(daemon) == whole, "something is lost");
            daemon.server(options()).login(&cert);
        });
        if !is_acknowledged {
            kill(pid, Signal::SIGCONT).unwrap();
        }
        assert!(export.wait().unwrap().success());
        before = Some(fs::read_to_string(folder.join("backup")).unwrap());
        assert!(before.as_ref() == Some(&whole), "the backup is not whole");
    }
    eprintln!(
        "{inside} of {} cuts came before the backup was whole",
        all.made
    );
}

fn importing(daemon: &Daemon, text: &str) -> Child {
    let backup = daemon.folder.path().join("backup");
    fs::write(&backup, text).unwrap();
    let mut import = daemon.command("import");
    import.arg(&backup).stdout(Stdio::piped()).spawn().unwrap()
}

/// The records of an export but for the secret, which an import replaces.
fn records(text: &str) -> BTreeSet<&str> {
    let is_record = |line: &&str| line.contains("\"type\":") && !line.contains("\"secret\"");
    text.lines().filter(is_record).collect()
}

#[test]
fn four_cuts_during_an_import_lose_nothing_else_and_it_can_be_repeated() {
    let (machine, _server) = thirty_certificates();
    let text = migration::exported(&machine.daemon);
    let mut all = Cuts::default();
    let mut inside = 0;
    for _ in 0..4 {
        let mut other = Machine::new();
        other.daemon.prepare();
        other.daemon.serve();
        let mut server = other.daemon.server(options());
        let mut import = importing(&other.daemon, &text);
        let mut appended: BTreeMap<String, Value> = BTreeMap::new();
        // Others go on meanwhile.
        other.daemon.wait_for("the import", |_| {
            let name = format!("n{}", appended.len());
            let params = append(&name, &Made::of(OPHELIA));
            let answer = server.ask(
                "certificate.append",
                with(params, "account", json!(OPHELIA)),
            );
            appended.insert(name, answer["fingerprint"].clone());
            let held = server.ask("status", json!({}))["store"]["certificates"].clone();
            held.as_u64() > Some(appended.len() as u64)
        });
        some_microseconds(25_000);
        let is_acknowledged = import.try_wait().unwrap().is_some();
        all.cut(&mut other, |daemon| {
            assert_eq!(listed_of(OPHELIA, &mut daemon.server(options())), appended);
            let wanted = records(&text);
            let found = migration::exported(daemon);
            let missing = wanted.difference(&records(&found)).count();
            inside += usize::from(missing > 0);
            assert!(
                missing == 0 || !is_acknowledged,
                "the import is not whole: {missing} records are missing"
            );
            let mut imported = records(&found);
            imported.retain(|record| !record.contains(OPHELIA));
            assert!(imported.is_subset(&wanted), "half a record was imported");
            let repeated = importing(daemon, &text).wait_with_output().unwrap();
            assert!(repeated.status.success(), "{repeated:?}");
            assert!(records(&migration::exported(daemon)).is_superset(&wanted));
        });
        let done = import.wait_with_output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    eprintln!(
        "{inside} of {} cuts came before the import was whole",
        all.made
    );
}

#[test]
fn six_cuts_during_a_migration_lose_nothing() {
    let formats = [migration::FORMAT_1, migration::FORMAT_2];
    let mut all = Cuts::default();
    for round in 0..6 {
        let archive = formats[usize::try_from(round % 2).unwrap()];
        let (_former, before) = migration::former(archive);
        let mut machine = Machine::new();
        machine.daemon.prepare();
        let folder = machine.daemon.folder.path().to_owned();
        fs::remove_dir_all(machine.daemon.data_dir()).unwrap();
        migration::unpack(archive, &folder);
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
