//! Exports and imports of many records: there are bounds at both ends, and whatever ends one half way, it can be repeated.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::backup::{exported, fine, records, refused, run};
use crate::passwords::{self, BRUTUS};
use crate::support::{Daemon, HAMLET, Made};

/// Stands between a command and its daemon, and looks at what they say.
struct Relay {
    socket: PathBuf,
    looking: JoinHandle<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    questions: usize,
    most_in_flight: usize,
    longest_question: usize,
    longest_answer: usize,
}

impl Relay {
    /// `passes` hears of each question before the daemon does, counted from 1. If it says no, the relay hangs up on both.
    fn before(daemon: &Daemon, mut passes: impl FnMut(usize) -> bool + Send + 'static) -> Self {
        let (real, socket) = (daemon.socket(), daemon.folder.path().join("relay"));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let looking = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut server = UnixStream::connect(real).unwrap();
            let answered = Arc::new(AtomicUsize::new(0));
            let answering = {
                let (server, mut client) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                let answered = Arc::clone(&answered);
                std::thread::spawn(move || {
                    let mut longest = 0;
                    for line in BufReader::new(server).split(b'\n').map_while(Result::ok) {
                        longest = longest.max(line.len() + 1);
                        // Before it is: the asker may have read it when the next line is counted.
                        answered.fetch_add(1, Ordering::AcqRel);
                        let _ = client.write_all(&[&line, &b"\n"[..]].concat());
                    }
                    let _ = client.shutdown(Shutdown::Both);
                    longest
                })
            };
            let mut seen = Seen::default();
            let questions = BufReader::new(client.try_clone().unwrap());
            for line in questions.split(b'\n').map_while(Result::ok) {
                seen.questions += 1;
                let in_flight = seen.questions - answered.load(Ordering::Acquire);
                seen.most_in_flight = seen.most_in_flight.max(in_flight);
                seen.longest_question = seen.longest_question.max(line.len() + 1);
                if !passes(seen.questions) {
                    let _ = client.shutdown(Shutdown::Both);
                    break;
                }
                let _ = server.write_all(&[&line, &b"\n"[..]].concat());
            }
            let _ = client.flush();
            let _ = server.shutdown(Shutdown::Both);
            seen.longest_answer = answering.join().unwrap();
            seen
        });
        Self { socket, looking }
    }

    fn run(self, daemon: &Daemon, command: &str, arguments: &[&str]) -> (Output, Seen) {
        let mut command = daemon.command_at(command, &self.socket);
        let output = command.args(arguments).output().unwrap();
        (output, self.looking.join().unwrap())
    }
}

/// A backup of a store with `count` accounts, each with a password, and its file.
fn backup_of_many(count: usize) -> (Daemon, PathBuf, String) {
    let daemon = Daemon::start();
    let mut rome = passwords::server(&daemon, json!({}));
    rome.ask("account.create", passwords::create(BRUTUS, "et tu?"));
    let (path, text) = exported(&daemon);
    let is_account = |line: &&str| line.contains("\"type\":\"account\"");
    let account = text.lines().find(is_account).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let end = lines.pop().unwrap();
    let more = count - 1;
    lines.extend(
        (0..more).map(|number| account.replace(BRUTUS, &format!("legionary-{number}@rome.lit"))),
    );
    let mut end: Value = serde_json::from_str(&end).unwrap();
    end["records"] = json!(lines.len() - 1);
    let text = lines.join("\n") + "\n" + &end.to_string() + "\n";
    std::fs::write(&path, &text).unwrap();
    (daemon, path, text)
}

fn count_of_accounts(daemon: &Daemon) -> usize {
    exported(daemon).1.matches("\"type\":\"account\"").count()
}

#[test]
fn an_import_has_four_questions_in_flight_at_most_and_an_export_one() {
    let (_daemon, path, text) = backup_of_many(2000);
    let copy = Daemon::start();
    let relay = Relay::before(&copy, |_| true);
    let (output, seen) = relay.run(&copy, "import", &[path.to_str().unwrap()]);
    fine(&output);
    assert!((1..=4).contains(&seen.most_in_flight), "{seen:?}");
    assert!(seen.longest_question <= 128 * 1024, "{seen:?}");
    // Twice: to look, and to write.
    assert!(seen.questions > 2 * text.len() / (128 * 1024), "{seen:?}");
    let other = copy.folder.path().join("other");
    let relay = Relay::before(&copy, |_| true);
    let (output, seen) = relay.run(&copy, "export", &[other.to_str().unwrap()]);
    fine(&output);
    assert_eq!(seen.most_in_flight, 1, "{seen:?}");
    assert!(seen.questions > 2, "{seen:?}");
    assert!(seen.longest_answer <= 300 * 1024, "{seen:?}");
    let again = std::fs::read_to_string(other).unwrap();
    assert_eq!(records(&again), records(&text));
}

#[test]
fn a_file_that_is_larger_than_the_memory_is_read() {
    let daemon = Daemon::start();
    let path = daemon.folder.path().join("large");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    writeln!(file, "{}", json!({"saslcertd": "export", "version": 1})).unwrap();
    let record =
        json!({"type": "of a later version", "account": HAMLET, "filler": "x".repeat(64 * 1024)});
    let record = record.to_string();
    for _ in 0..1500 {
        writeln!(file, "{record}").unwrap();
    }
    drop(file);
    // It is read to its end before anything is asked. That is missing.
    let import = daemon.command("import");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -d 49152; exec \"$0\" \"$@\""]);
    limited.arg(import.get_program()).args(import.get_args());
    for (name, value) in import.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let output = limited.arg(&path).arg("--keep-existing").output().unwrap();
    refused(&output, "large is cut off behind line 1501");
    refused(&output, "nothing was imported");
}

/// Imports with a relay that hangs up before question 6, and does `then` to the daemon; it says how many records were answered for.
fn ended_half_way(copy: &Daemon, path: &Path, then: impl Fn(i32) + Send + 'static) -> usize {
    let pid = i32::try_from(copy.pid()).unwrap();
    let relay = Relay::before(copy, move |question| {
        let passes = question < 6;
        if !passes {
            then(pid);
        }
        passes
    });
    // Without looking first, so that each question writes.
    let (output, _) = relay.run(copy, "import", &[path.to_str().unwrap(), "--keep-existing"]);
    refused(&output, "the import has ended half way");
    refused(&output, "What is written stays");
    refused(&output, "has closed the connection");
    let said = String::from_utf8(output.stderr).unwrap();
    let count = said
        .split("half way, with ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    count.unwrap().parse().unwrap()
}

#[test]
fn an_import_that_ends_half_way_says_so_and_can_be_repeated() {
    let (_daemon, path, text) = backup_of_many(2000);
    for is_killed in [false, true] {
        let mut copy = Daemon::start();
        let answered = ended_half_way(&copy, &path, move |pid| {
            if is_killed {
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            }
        });
        if is_killed {
            copy.ended();
            copy.serve();
        }
        // Two records are of no account: the secret and the host.
        let written = count_of_accounts(&copy);
        assert!(
            (answered - 2..2000).contains(&written),
            "{answered}, {written}"
        );
        assert!(answered > 2, "{answered}");
        fine(&run(&copy, "import", &[path.to_str().unwrap()]));
        assert_eq!(records(&exported(&copy).1), records(&text));
    }
}

#[test]
fn one_bad_record_among_many_is_named_by_its_line_and_nothing_is_imported() {
    let (_daemon, path, text) = backup_of_many(1000);
    let copy = Daemon::start();
    let before = records(&exported(&copy).1);
    let lines: Vec<&str> = text.lines().collect();
    let with = |line: &str| {
        let mut lines = lines.clone();
        lines[599] = line;
        lines.join("\n") + "\n"
    };
    let other_kind = lines[599].replace("\"type\":\"account\"", "\"type\":\"tree\"");
    for (line, words) in [
        (&lines[599][..100], "line 600: not JSON"),
        (
            &other_kind,
            "line 600: legionary-595@rome.lit: the record is not one that is known here: type: unknown variant `tree`",
        ),
    ] {
        std::fs::write(&path, with(line)).unwrap();
        let output = run(&copy, "import", &[path.to_str().unwrap()]);
        refused(&output, words);
        refused(&output, "nothing was imported");
        assert_eq!(records(&exported(&copy).1), before, "{words}");
    }
    // The others can be brought without it.
    let output = run(
        &copy,
        "import",
        &[path.to_str().unwrap(), "--keep-existing"],
    );
    fine(&output);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("1 left out") && said.contains("line 600"),
        "{said}"
    );
    assert_eq!(count_of_accounts(&copy), 999);
}

#[test]
fn what_stands_in_records_is_no_part_of_the_file() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let end = r#"{"saslcertd":"end","records":0}"#;
    let host = json!({
        "type": "host", "host": "rome.lit", "accounts": "daemon",
        "options": {"saslcertd": "end", "records": 0, "saslcertd_unknown": [end, "\u{2028}\u{feff}\"\\", {"a": null}]},
    });
    let cert = Made::of(HAMLET);
    let names = [end, "q\"uo\\te", "שלום \u{1f98a} é", " {"].map(str::trim);
    let certificate = |name: &str, number: usize| {
        let mut der = cert.der.clone();
        let last = der.len() - 1;
        der[last] = u8::try_from(number).unwrap();
        json!({
            "type": "certificate", "account": "hämlet.\u{10400}@shakespeare.lit", "incarnation": "one", "name": name,
            "certificate": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der), "may_manage": true,
            "order": u64::MAX - number as u64, "added_at": 1, "added_with": "ab".repeat(32), "added_by": format!("{HAMLET}/\"\\"),
            "last_use": {"at": -1, "address": "\"\n"},
        })
    };
    let mut records: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(number, name)| certificate(name, number))
        .collect();
    for incarnation in ["one", "two", "THREE-3"] {
        records.push(json!({"type": "revoked_key", "account": HAMLET, "incarnation": incarnation, "key_id": "cd".repeat(32), "at": 3}));
    }
    records.push(host);
    let written = peer.ask("import", json!({"records": records, "apply": true}));
    assert_eq!(written["written"], records.len(), "{written}");
    let (path, text) = exported(&daemon);
    let copy = Daemon::start();
    fine(&run(&copy, "import", &[path.to_str().unwrap()]));
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&exported(&copy).1), sorted(&text));
    assert_eq!(
        text.matches("\"type\":\"certificate\"").count(),
        names.len()
    );
}
