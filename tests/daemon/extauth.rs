//! `saslcertd extauth`, driven as servers drive it.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use crate::support::{Daemon, PATIENCE, Peer};

const ROME: &str = "rome.lit";

/// Passwords that accounts have.
fn odd_passwords() -> Vec<String> {
    [
        "et tu?",
        ":",
        "::a:b::",
        " ",
        "0",
        "1\\n\\0",
        "auth:brutus:rome.lit:x",
        "\"}{\\u0000",
        "pässwörd",
        "密码",
        "🔑🗝",
        "%s%n%x",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["x".repeat(1024), "é".repeat(512), ":".repeat(1001)])
    .collect()
}

/// Passwords that no account has, some of them because none can.
fn wrong_passwords() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "",
        "et tu",
        "et tu? ",
        "\t",
        "\0",
        "et tu?\0",
        "et tu?\r",
        ":",
        "密码密码",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    all.extend([
        b"\xff\xfe".to_vec(),
        b"et tu?\xc3".to_vec(),
        vec![b'x'; 1025],
        vec![b':'; 7000],
    ]);
    all
}

/// Passwords that only a request behind its length can hold.
fn wrong_passwords_with_newlines() -> Vec<Vec<u8>> {
    vec![
        b"et tu?\n".to_vec(),
        b"\nauth:p0:rome.lit:et tu?\n".to_vec(),
        vec![b'\n'; 60_000],
        vec![0; 65_000],
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Prosody,
    Ejabberd,
}
use Protocol::{Ejabberd, Prosody};

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Prosody => "prosody",
            Ejabberd => "ejabberd",
        }
    }

    fn written(self, request: &[u8]) -> Vec<u8> {
        match self {
            Prosody => [request, b"\n"].concat(),
            Ejabberd => {
                let length = u16::try_from(request.len()).unwrap();
                [&length.to_be_bytes(), request].concat()
            }
        }
    }
}

/// A running `saslcertd extauth`, and the server that started it.
struct Script {
    child: Child,
    to: Option<ChildStdin>,
    from: ChildStdout,
    protocol: Protocol,
    log: std::path::PathBuf,
}

impl Script {
    fn start(daemon: &Daemon, protocol: Protocol, hosts: &[&str]) -> Self {
        let log = daemon
            .folder
            .path()
            .join(format!("extauth.{}", protocol.name()));
        let mut command = extauth(daemon, protocol);
        for host in hosts {
            command.arg("--host").arg(host);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self {
            to: child.stdin.take(),
            from: child.stdout.take().unwrap(),
            child,
            protocol,
            log,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let to = self.to.as_mut().unwrap();
        to.write_all(bytes).unwrap();
        to.flush().unwrap();
    }

    fn answer(&mut self) -> bool {
        let (yes, no): (&[u8], &[u8]) = match self.protocol {
            Prosody => (b"1\n", b"0\n"),
            Ejabberd => (&[0, 2, 0, 1], &[0, 2, 0, 0]),
        };
        let mut answer = vec![0; yes.len()];
        self.from.read_exact(&mut answer).unwrap();
        assert!(answer == yes || answer == no, "{answer:?}\n{}", self.said());
        answer == yes
    }

    /// Writes a request and waits for its answer.
    fn ask(&mut self, request: impl AsRef<[u8]>) -> bool {
        let written = self.protocol.written(request.as_ref());
        self.write(&written);
        self.answer()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The server ends; whatever was not read yet, how the script ends, and what it said.
    fn end(mut self) -> (Vec<u8>, ExitStatus, String) {
        drop(self.to.take());
        let mut rest = Vec::new();
        self.from.read_to_end(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        (rest, status, self.said())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn extauth(daemon: &Daemon, protocol: Protocol) -> Command {
    let mut command = daemon.command("extauth");
    command.args(["--protocol", protocol.name()]);
    command
}

/// The server that keeps the accounts of Rome; derivation is as quick as it may be.
fn owner(daemon: &Daemon) -> Peer {
    let mut peer = daemon.peer();
    let rome = json!({"host": ROME, "accounts": "daemon", "options": {"saslcertd_scram_iterations": 4096}});
    let hello = json!({"protocol": 2, "software": "test", "sessions": false, "hosts": [rome]});
    let answer = peer.ask("session.hello", hello);
    assert_eq!(answer["hosts"][0]["ready"], true, "{answer}");
    peer
}

fn create(peer: &mut Peer, name: &str, password: &str) {
    let account = format!("{name}@{ROME}");
    peer.ask(
        "account.create",
        json!({"account": account, "password": password, "caller": "server"}),
    );
}

fn verifies(peer: &mut Peer, name: &str, password: &str) -> bool {
    let account = format!("{name}@{ROME}");
    let id = peer.send(
        "account.verify",
        json!({"account": account, "password": password, "address": null}),
    );
    peer.answer(id).get("result").is_some()
}

fn exists(peer: &mut Peer, name: &str) -> bool {
    let account = format!("{name}@{ROME}");
    peer.ask("account.exists", json!({"account": account}))["exists"] == true
}

fn ten_thousand_requests(protocol: Protocol) {
    let daemon = Daemon::start();
    let mut peer = owner(&daemon);
    let right = odd_passwords();
    for (number, password) in right.iter().enumerate() {
        create(&mut peer, &format!("p{number}"), password);
    }
    let mut wrong = wrong_passwords();
    let mut garbage: Vec<Vec<u8>> = [
        "",
        "auth",
        "auth:p0",
        "auth:p0:rome.lit",
        "isuser:p0",
        "quit:p0:rome.lit",
        "::::",
        "isuser::rome.lit",
        "auth:p0::et tu?",
        "isuser:p 0:rome.lit",
        "isuser:p0:rome.lit:x",
        "isuser:p0:verona.lit",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    garbage.push(vec![0xff; 300]);
    match protocol {
        Ejabberd => {
            wrong.extend(wrong_passwords_with_newlines());
            garbage.extend([vec![b'\n'; 65_535], b"isuser:p0:rome.lit\n".to_vec()]);
        }
        Prosody => garbage.extend([
            vec![b'x'; 8193],
            vec![b':'; 100_000],
            b"removeuser:p0:rome.lit".to_vec(),
            b"tryregister:new:rome.lit:secret".to_vec(),
        ]),
    }
    let auth = |user: usize, password: &[u8]| {
        let user = user % right.len();
        [format!("auth:p{user}:{ROME}:").as_bytes(), password].concat()
    };
    let begun = Instant::now();
    let mut script = Script::start(&daemon, protocol, &[ROME]);
    for number in 0..10_000 {
        let turn = number / 40;
        let (user, odd) = (turn % right.len(), &right[(turn + number) % right.len()]);
        // A derivation takes long: four of forty, and odd passwords that nobody tries.
        let (request, expected) = match (number % 40, number % 5) {
            (0, _) => (auth(user, right[user].as_bytes()), true),
            // Also to whom another one of the odd passwords belongs.
            (10, _) => (auth(user, odd.as_bytes()), right[user] == *odd),
            (20, _) => {
                let password = &wrong[turn % wrong.len()];
                (auth(user, password), right[user].as_bytes() == password)
            }
            (30, _) => (
                format!("auth:nobody{turn}:{ROME}:{odd}").into_bytes(),
                false,
            ),
            (_, 0 | 1) => {
                let request = format!("auth:p{user}:verona.lit:{odd}");
                (request.into_bytes(), false)
            }
            (_, 2) => (format!("isuser:P{user}:Rome.LIT").into_bytes(), true),
            (_, 3) => (format!("isuser:nobody{turn}:{ROME}").into_bytes(), false),
            _ => (garbage[(turn + number) % garbage.len()].clone(), false),
        };
        assert_eq!(
            script.ask(&request),
            expected,
            "{number}: {}",
            request[..request.len().min(200)].escape_ascii()
        );
    }
    let (rest, status, said) = script.end();
    assert_eq!(rest, b"");
    assert!(status.success(), "{status}");
    // Each kind of trouble once a minute, and nothing of what was written.
    let minutes = begun.elapsed().as_secs() / 60 + 1;
    assert!(
        (2..=2 * minutes).contains(&(said.lines().count() as u64)),
        "{said}"
    );
    for secret in ["et tu", "密", "xxx", "p0", "pässwörd"] {
        assert!(!said.contains(secret), "{said}");
        assert!(!daemon.log().contains(&format!("{secret}?")), "{said}");
    }
    assert!(exists(&mut peer, "p0") && !exists(&mut peer, "new"));
}

#[test]
fn ten_thousand_lines_of_prosodys_are_answered_each_in_its_place() {
    ten_thousand_requests(Prosody);
}

#[test]
fn ten_thousand_requests_of_ejabberds_are_answered_each_in_its_place() {
    ten_thousand_requests(Ejabberd);
}

#[test]
fn requests_that_come_at_once_or_in_pieces_are_answered_in_order() {
    let daemon = Daemon::start();
    let mut peer = owner(&daemon);
    create(&mut peer, "brutus", "a:b");
    for protocol in [Prosody, Ejabberd] {
        let requests: Vec<(Vec<u8>, bool)> = (0..200)
            .map(|number| match number % 4 {
                0 => (b"auth:brutus:rome.lit:a:b".to_vec(), true),
                1 => (b"auth:brutus:rome.lit:a:c".to_vec(), false),
                2 => (b"isuser:brutus:rome.lit".to_vec(), true),
                _ => (vec![b'x'; 9000], false),
            })
            .collect();
        let stream: Vec<u8> = requests
            .iter()
            .flat_map(|(request, _)| protocol.written(request))
            .collect();
        for piece in [3, 4099, stream.len()] {
            // Bytes of their own only at the beginning: a write for each takes long.
            let (first, rest) = stream.split_at(if piece < 100 { 300 } else { 0 });
            let mut script = Script::start(&daemon, protocol, &[]);
            let mut to = script.to.take().unwrap();
            let pieces: Vec<Vec<u8>> = first
                .chunks(piece)
                .chain(rest.chunks(piece.max(4099)))
                .map(<[u8]>::to_vec)
                .collect();
            let writer = thread::spawn(move || {
                for piece in pieces {
                    to.write_all(&piece).unwrap();
                }
                // A request that the server no longer finishes.
                to.write_all(b"\x01\x00auth:brutus:rome.lit:a:b").unwrap();
            });
            for (number, (_, expected)) in requests.iter().enumerate() {
                assert_eq!(
                    script.answer(),
                    *expected,
                    "{} {piece}: {number}",
                    protocol.name()
                );
            }
            writer.join().unwrap();
            let (rest, status, _) = script.end();
            assert_eq!((rest.as_slice(), status.success()), (b"".as_slice(), true));
        }
    }
}

#[test]
fn ejabberd_changes_makes_and_removes_accounts() {
    let daemon = Daemon::start();
    let mut peer = owner(&daemon);
    let mut script = Script::start(&daemon, Ejabberd, &[ROME]);
    let long = "x".repeat(1025);

    assert!(script.ask("tryregister:portia:rome.lit:swallowed:fire"));
    assert!(verifies(&mut peer, "portia", "swallowed:fire"));
    assert!(!script.ask("tryregister:portia:rome.lit:another"));
    assert!(!script.ask(format!("tryregister:cinna:rome.lit:{long}")));
    assert!(!script.ask("tryregister:cinna:rome.lit:"));
    assert!(!script.ask("tryregister:cinna:rome.lit:a\nb"));
    assert!(!exists(&mut peer, "cinna"));
    assert!(verifies(&mut peer, "portia", "swallowed:fire"));

    assert!(script.ask("setpass:portia:rome.lit::coals:"));
    assert!(verifies(&mut peer, "portia", ":coals:"));
    assert!(!script.ask("setpass:nobody:rome.lit:x"));
    assert!(!script.ask(format!("setpass:portia:rome.lit:{long}")));
    assert!(!script.ask("setpass:portia:rome.lit:\0"));
    assert!(verifies(&mut peer, "portia", ":coals:"));

    assert!(!script.ask("removeuser3:portia:rome.lit:coals"));
    assert!(exists(&mut peer, "portia"));
    assert!(script.ask("removeuser3:portia:rome.lit::coals:"));
    assert!(!exists(&mut peer, "portia"));
    assert!(!script.ask("removeuser3:portia:rome.lit::coals:"));

    create(&mut peer, "cinna", "the poet");
    assert!(script.ask("removeuser:cinna:rome.lit"));
    assert!(!script.ask("removeuser:cinna:rome.lit"));
    assert!(!exists(&mut peer, "cinna"));
    assert_eq!(script.end().2, "");
}

#[test]
fn prosody_changes_passwords_and_neither_makes_nor_removes_accounts() {
    let daemon = Daemon::start();
    let mut peer = owner(&daemon);
    create(&mut peer, "brutus", "et tu?");
    let mut script = Script::start(&daemon, Prosody, &[ROME]);
    assert!(script.ask("setpass:brutus:rome.lit:not:Caesar"));
    assert!(verifies(&mut peer, "brutus", "not:Caesar"));
    assert!(!script.ask("tryregister:cinna:rome.lit:x"));
    assert!(!script.ask("removeuser:brutus:rome.lit"));
    assert!(!script.ask("removeuser3:brutus:rome.lit:not:Caesar"));
    assert!(exists(&mut peer, "brutus") && !exists(&mut peer, "cinna"));
}

#[test]
fn a_line_break_in_a_password_sets_nobodys() {
    let daemon = Daemon::start();
    let mut peer = owner(&daemon);
    for name in ["mallory", "victim"] {
        create(&mut peer, name, "old");
    }
    let victims = format!("setpass:victim:{ROME}:owned\n");
    let keeps = |peer: &mut Peer| verifies(peer, "victim", "old");
    let mut script = Script::start(&daemon, Prosody, &[ROME]);

    script.write(format!("setpass:mallory:{ROME}:m2\n{victims}").as_bytes());
    assert!(!script.answer() && !script.answer());
    assert!(keeps(&mut peer) && verifies(&mut peer, "mallory", "old"));
    script.write(format!("auth:mallory:{ROME}:old\n{victims}").as_bytes());
    assert!(script.answer() && !script.answer());
    // At the end of a read, and behind what fills the pipe.
    for length in [8192, 65_536, 1_000_000] {
        let first = format!("setpass:mallory:{ROME}:");
        let filling = "x".repeat(length - first.len() - 1);
        script.write(format!("{first}{filling}\n{victims}").as_bytes());
        assert!(!script.answer() && !script.answer(), "{length}");
    }
    assert!(keeps(&mut peer));
    let said = script.said();
    assert_eq!(
        said.matches("several requests at once, or a line break")
            .count(),
        1,
        "{said}"
    );
    assert!(
        !said.contains("victim") && !said.contains("owned"),
        "{said}"
    );

    // Logins in any number, and the change of a password that is waited for.
    script.write(
        format!("auth:mallory:{ROME}:old\nauth:mallory:{ROME}:m2\nisuser:victim:{ROME}\n")
            .as_bytes(),
    );
    assert_eq!(
        [script.answer(), script.answer(), script.answer()],
        [true, false, true]
    );
    assert!(script.ask(format!("setpass:mallory:{ROME}:m2")));
    assert!(script.ask(format!("setpass:mallory:{ROME}:m3")));
    assert!(verifies(&mut peer, "mallory", "m3"));
    assert_eq!(script.end().0, b"");
}

#[test]
fn a_terminal_neither_edits_lines_nor_hides_what_is_behind_them() {
    let daemon = Daemon::start();
    let mut peer = owner(&daemon);
    for name in ["mallory", "victim"] {
        create(&mut peer, name, "old");
    }
    // As Prosody's module starts it: no echo, all else as it comes.
    let pty = openpty(None, None).unwrap();
    let mut settings = tcgetattr(&pty.slave).unwrap();
    settings.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&pty.slave, SetArg::TCSANOW, &settings).unwrap();
    let mut child = extauth(&daemon, Prosody)
        .stdin(pty.slave.try_clone().unwrap())
        .stdout(pty.slave)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = std::fs::File::from(pty.master);
    let mut ask = |text: &str, answers: usize| {
        server.write_all(format!("{text}\n").as_bytes()).unwrap();
        let mut read = vec![0; 3 * answers];
        server.read_exact(&mut read).unwrap();
        String::from_utf8(read).unwrap().replace("\r\n", "")
    };

    assert_eq!(ask("isuser:victim:rome.lit", 1), "1");
    assert_eq!(ask("setpass:mallory:rome.lit:m2", 1), "1");
    let victims = "setpass:victim:rome.lit:owned";
    // Ctrl-U, Ctrl-C, Ctrl-D, a carriage return.
    for byte in ["\x15", "\x03", "\x04", "\r"] {
        assert_eq!(
            ask(&format!("setpass:mallory:rome.lit:{byte}{victims}"), 1),
            "0",
            "{byte:?}"
        );
    }
    assert_eq!(
        ask(&format!("setpass:mallory:rome.lit:m3\n{victims}"), 2),
        "00"
    );
    assert_eq!(
        ask(&format!("auth:mallory:rome.lit:m2\n{victims}"), 2),
        "10"
    );
    assert!(verifies(&mut peer, "victim", "old") && verifies(&mut peer, "mallory", "m2"));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_disabled_account_is_a_user_and_cannot_log_in() {
    let daemon = Daemon::start();
    let mut peer = owner(&daemon);
    create(&mut peer, "brutus", "et tu?");
    peer.ask("account.disable", json!({"account": "brutus@rome.lit"}));
    let mut script = Script::start(&daemon, Ejabberd, &[]);
    assert!(script.ask("isuser:brutus:rome.lit"));
    assert!(!script.ask("auth:brutus:rome.lit:et tu?"));
}

#[test]
fn while_the_daemon_is_away_the_answer_is_no_with_one_word_and_then_all_is_well_again() {
    let mut daemon = Daemon::prepared();
    for protocol in [Prosody, Ejabberd] {
        let mut script = Script::start(&daemon, protocol, &[ROME]);
        for _ in 0..50 {
            assert!(!script.ask("isuser:brutus:rome.lit"));
        }
        assert_eq!(script.said().lines().count(), 1, "{}", script.said());
        assert!(script.said().contains("not running"), "{}", script.said());

        daemon.serve();
        let mut peer = owner(&daemon);
        if protocol == Prosody {
            create(&mut peer, "brutus", "et tu?");
        }
        assert!(script.ask("auth:brutus:rome.lit:et tu?"));
        for round in 0..5 {
            // Between two requests: the first that comes finds the old connection dead.
            daemon.kill();
            daemon.serve();
            let request = [
                "auth:brutus:rome.lit:et tu?",
                "setpass:brutus:rome.lit:et tu?",
                "isuser:brutus:rome.lit",
            ];
            assert!(script.ask(request[round % 3]), "{round}: {}", script.said());
        }
        daemon.kill();
        assert!(!script.ask("auth:brutus:rome.lit:et tu?"));
        assert!(!script.ask("setpass:brutus:rome.lit:new"));
        daemon.serve();
        assert!(script.ask("auth:brutus:rome.lit:et tu?"));
        let said = script.said();
        assert_eq!(said.matches("answers again").count(), 2, "{said}");
        assert_eq!(said.lines().count(), 4, "{said}");
        daemon.stop();
    }
}

#[test]
fn a_daemon_that_does_not_answer_costs_a_server_no_more_than_a_deadline() {
    let mut daemon = Daemon::start();
    let mut peer = owner(&daemon);
    create(&mut peer, "brutus", "et tu?");
    let mut script = Script::start(&daemon, Prosody, &[ROME]);
    assert!(script.ask("isuser:brutus:rome.lit"));
    daemon.freeze();
    assert!(!script.ask("auth:brutus:rome.lit:et tu?"));
    daemon.signal(Signal::SIGCONT);
    // The late answer is nobody's.
    assert!(!script.ask("auth:brutus:rome.lit:wrong"));
    // Who has slept looks at a database again, before it says yes by it.
    daemon.wait_for("a store that counts again", |daemon| {
        let mut peer = daemon.peer();
        let id = peer.send("status", json!({}));
        peer.answer(id).get("result").is_some()
    });
    assert!(script.ask("auth:brutus:rome.lit:et tu?"));
}

#[test]
fn a_host_that_was_declared_keeps_its_options_and_another_is_declared_by_name() {
    let daemon = Daemon::start();
    let mut peer = owner(&daemon);
    create(&mut peer, "brutus", "et tu?");
    let host = |peer: &mut Peer, name: &str| -> Value {
        let status = peer.ask("status", json!({}));
        let mut hosts = status["hosts"].as_array().unwrap().iter();
        hosts
            .find(|row| row["host"] == name)
            .cloned()
            .unwrap_or_default()
    };

    let mut script = Script::start(&daemon, Ejabberd, &[ROME, "Philippi.lit"]);
    assert!(script.ask("auth:brutus:rome.lit:et tu?"));
    assert!(script.ask("tryregister:brutus:philippi.lit:the ghost"));
    assert!(script.ask("auth:brutus:PHILIPPI.lit:the ghost"));
    assert_eq!(
        host(&mut peer, ROME)["options"],
        json!({"saslcertd_scram_iterations": 4096})
    );
    let declared = host(&mut peer, "philippi.lit");
    assert_eq!(
        (&declared["accounts"], &declared["options"]),
        (&json!("daemon"), &json!({}))
    );

    // One that it was not started for, even if the daemon knows it.
    let mut narrow = Script::start(&daemon, Ejabberd, &["philippi.lit"]);
    assert!(!narrow.ask("auth:brutus:rome.lit:et tu?"));
    assert!(
        narrow.said().contains("rome.lit is none of the hosts"),
        "{}",
        narrow.said()
    );
    // And one that nobody declared.
    let mut wide = Script::start(&daemon, Ejabberd, &[]);
    assert!(wide.ask("auth:brutus:rome.lit:et tu?"));
    assert!(!wide.ask("tryregister:brutus:sardis.lit:x"));
    assert_eq!(host(&mut peer, "sardis.lit"), Value::Null);
}

#[test]
fn the_end_of_the_server_is_the_scripts_end() {
    let daemon = Daemon::start();
    owner(&daemon);
    for protocol in [Prosody, Ejabberd] {
        let (rest, status, said) = Script::start(&daemon, protocol, &[ROME]).end();
        assert_eq!(
            (rest, status.code(), said),
            (Vec::new(), Some(0), String::new())
        );

        // Nobody reads any more.
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = extauth(&daemon, protocol)
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(reader);
        let mut to = child.stdin.take().unwrap();
        to.write_all(&protocol.written(b"isuser:brutus:rome.lit"))
            .unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(2));
        }
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
    }
}

#[test]
fn a_server_that_waits_for_more_than_five_minutes_is_refused() {
    let daemon = Daemon::start();
    let output = extauth(&daemon, Ejabberd)
        .args(["--wait", "301"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("301 is not in 1..=300"), "{said}");
}

#[test]
fn the_daemon_hears_how_long_the_server_waits() {
    let mut daemon = Daemon::start();
    for (flags, waits_ms) in [(&[][..], 30_000), (&["--wait", "7"], 7_000)] {
        let mut child = extauth(&daemon, Ejabberd)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let waits = |daemon: &Daemon| {
            let status = daemon.peer().ask("status", json!({}));
            let connections = status["connections"].as_array().unwrap().clone();
            let script = |one: &Value| one["software"] == "saslcertd extauth";
            let script = connections.into_iter().find(script);
            script.map(|script| script["waits_ms"].clone())
        };
        daemon.wait_for("the script says hello", |daemon| waits(daemon).is_some());
        assert_eq!(waits(&daemon), Some(json!(waits_ms)));
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        daemon.wait_for("the script is gone", |daemon| waits(daemon).is_none());
    }
}
