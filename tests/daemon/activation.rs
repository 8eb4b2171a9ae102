//! A service manager that hands over the socket, and wants to hear from us. The tests stand in for systemd.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use saslcertd::identity::BareJid;
use saslcertd::store::StoreError;
use serde_json::json;

use crate::support::{Daemon, HAMLET, Made, PATIENCE};

/// A daemon that was handed a socket; ends with the test.
struct Activated {
    child: Child,
}

impl Activated {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `command`, which finds `socket` at its descriptor 3, as a service manager starts it.
fn handing_over(command: &Command, socket: impl Into<OwnedFd>) -> Command {
    handing_over_as(command, socket, "LISTEN_FDS=1 LISTEN_PID=$$")
}

fn handing_over_as(command: &Command, socket: impl Into<OwnedFd>, variables: &str) -> Command {
    let mut run = Command::new("/bin/sh");
    // Without a fork the shell's number becomes the daemon's.
    let script = format!("exec 3<&0 </dev/null; export {variables}; exec \"$@\"");
    run.env_clear().args(["-c", &script, "sh"]);
    run.arg(command.get_program()).args(command.get_args());
    run.stdin(Stdio::from(socket.into()));
    run
}

fn spawn(daemon: &Daemon, command: &mut Command) -> Activated {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(daemon.folder.path().join("log"))
        .unwrap();
    Activated {
        child: command.stderr(log).spawn().unwrap(),
    }
}

fn serve(daemon: &Daemon, listener: &UnixListener) -> Activated {
    let command = daemon.command("serve");
    spawn(
        daemon,
        &mut handing_over(&command, listener.try_clone().unwrap()),
    )
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Waits for a line of the log; the daemon writes it a little after the fact.
fn wait_for_log(daemon: &Daemon, text: &str) {
    let start = Instant::now();
    while !daemon.log().contains(text) {
        assert!(start.elapsed() < PATIENCE, "no {text}: {}", daemon.log());
        std::thread::yield_now();
    }
}

#[test]
fn a_socket_that_was_handed_over_is_served_and_left_as_it_is() {
    let daemon = Daemon::prepared();
    let listener = UnixListener::bind(daemon.socket()).unwrap();
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o606)).unwrap();
    let found = || {
        let found = fs::symlink_metadata(daemon.socket()).unwrap();
        (found.ino(), found.mode(), found.uid(), found.gid())
    };
    let before = found();
    let running = serve(&daemon, &listener);
    daemon.peer().ask("status", json!({}));
    running.stop();
    assert_eq!(found(), before);
    let names: Vec<_> = fs::read_dir(daemon.folder.path().join("run"))
        .unwrap()
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn who_asks_while_nobody_serves_is_answered_by_the_next() {
    let daemon = Daemon::prepared();
    let listener = UnixListener::bind(daemon.socket()).unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGTERM] {
        let mut peer = daemon.peer();
        let asked = peer.send("status", json!({}));
        let mut running = serve(&daemon, &listener);
        let answer = peer.answer(asked);
        assert!(answer["result"]["healthy"].as_bool().unwrap(), "{answer}");
        running.signal(signal);
        running.child.wait().unwrap();
        // Told at once, so that it may ask the next.
        assert!(peer.line().is_none());
    }
}

#[test]
fn a_socket_for_another_process_is_none_of_ours() {
    let mut daemon = Daemon::prepared();
    let elsewhere = daemon.folder.path().join("run/elsewhere");
    let listener = UnixListener::bind(&elsewhere).unwrap();
    for variables in ["LISTEN_FDS=1 LISTEN_PID=1", "LISTEN_FDS=1"] {
        let listener = listener.try_clone().unwrap();
        let mut command = handing_over_as(&daemon.command("serve"), listener, variables);
        let running = spawn(&daemon, &mut command);
        daemon.wait_for("an answer", |daemon| {
            UnixStream::connect(daemon.socket()).is_ok()
        });
        running.stop();
        assert!(!daemon.socket().exists());
    }
}

#[test]
fn anything_but_one_listening_unix_socket_with_a_path_is_refused() {
    let daemon = Daemon::prepared();
    let path = |name: &str| daemon.folder.path().join("run").join(name);
    let connected = {
        let listener = UnixListener::bind(path("connected")).unwrap();
        let _client = UnixStream::connect(path("connected")).unwrap();
        listener.accept().unwrap().0
    };
    let name = SocketAddr::from_abstract_name(path("abstract").as_os_str().as_encoded_bytes());
    let wrong: [(OwnedFd, &str); 4] = [
        (connected.into(), "it does not listen"),
        (
            UnixListener::bind_addr(&name.unwrap()).unwrap().into(),
            "it has no path",
        ),
        (
            TcpListener::bind("127.0.0.1:0").unwrap().into(),
            "not a valid unix stream socket",
        ),
        (
            UnixDatagram::bind(path("datagram")).unwrap().into(),
            "not a valid unix stream socket",
        ),
    ];
    let command = daemon.command("serve");
    for (socket, problem) in wrong {
        let said = refusal(&handing_over(&command, socket).output().unwrap());
        assert!(
            said.contains("must hand over one") && said.contains(problem),
            "{said}"
        );
    }
    let listener = UnixListener::bind(path("two")).unwrap();
    let two = "LISTEN_FDS=2 LISTEN_PID=$$; exec 4<&3";
    let said = refusal(&handing_over_as(&command, listener, two).output().unwrap());
    assert!(said.contains("there are 2"), "{said}");
}

#[test]
fn the_folder_of_a_socket_that_was_handed_over_must_be_closed_too() {
    let daemon = Daemon::prepared();
    let listener = UnixListener::bind(daemon.socket()).unwrap();
    let run = daemon.folder.path().join("run");
    fs::set_permissions(run, fs::Permissions::from_mode(0o770)).unwrap();
    let command = daemon.command("serve");
    let said = refusal(&handing_over(&command, listener).output().unwrap());
    assert!(said.contains("chmod go-w"), "{said}");
}

#[test]
fn a_socket_other_than_that_of_the_flag_is_named_in_the_log() {
    let daemon = Daemon::prepared();
    let listener = UnixListener::bind(daemon.socket()).unwrap();
    let other = daemon.folder.path().join("run/other");
    let command = daemon.command_at("serve", &other);
    let running = spawn(&daemon, &mut handing_over(&command, listener));
    daemon.peer().ask("status", json!({}));
    let served = format!("handed_over={}", daemon.socket().display());
    wait_for_log(&daemon, &served);
    wait_for_log(&daemon, "not that of --socket");
    running.stop();
    assert!(!other.exists());
}

#[test]
fn systemd_socket_activate_starts_it_at_the_first_question() {
    let mut daemon = Daemon::prepared();
    let serve = daemon.command("serve");
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--listen").arg(daemon.socket()).arg("--");
    command.arg(serve.get_program()).args(serve.get_args());
    let running = spawn(&daemon, command.stdin(Stdio::null()));
    daemon.wait_for("socket", |daemon| {
        UnixStream::connect(daemon.socket()).is_ok()
    });
    daemon.peer().ask("status", json!({}));
    wait_for_log(&daemon, "is_handed_over=true");
    running.stop();
    assert!(daemon.socket().exists());
}

/// A daemon that speaks to us instead of systemd, with these variables beside `NOTIFY_SOCKET`.
fn heard(daemon: &Daemon, variables: &[(&str, &str)]) -> (Activated, UnixDatagram) {
    let path = daemon.folder.path().join("notify");
    let ear = UnixDatagram::bind(&path).unwrap();
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = daemon.command("serve");
    command.env("NOTIFY_SOCKET", path);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    (spawn(daemon, &mut command), ear)
}

fn next(ear: &UnixDatagram) -> String {
    let mut buffer = [0; 200];
    let count = ear.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

/// While the store is opened, it asks for time.
fn wait_for_patience(ear: &UnixDatagram) {
    assert_eq!(next(ear), "EXTEND_TIMEOUT_USEC=90000000");
}

#[test]
fn it_says_that_it_is_ready_when_it_answers_and_when_it_stops() {
    let daemon = Daemon::prepared();
    let (running, ear) = heard(&daemon, &[]);
    wait_for_patience(&ear);
    assert_eq!(next(&ear), "READY=1");
    daemon.peer().ask("status", json!({}));
    running.stop();
    assert_eq!(next(&ear), "STOPPING=1");
    ear.set_nonblocking(true).unwrap();
    assert!(ear.recv(&mut [0]).is_err());
}

#[test]
fn it_is_not_ready_without_a_store() {
    let daemon = Daemon::prepared();
    fs::remove_dir_all(daemon.data_dir()).unwrap();
    let (mut running, ear) = heard(&daemon, &[]);
    assert_eq!(running.child.wait().unwrap().code(), Some(1));
    ear.set_nonblocking(true).unwrap();
    assert!(ear.recv(&mut [0]).is_err());
}

#[test]
fn a_service_manager_that_does_not_listen_keeps_nobody_from_being_served() {
    let daemon = Daemon::prepared();
    let (running, ear) = heard(&daemon, &[]);
    drop(ear);
    let start = Instant::now();
    while UnixStream::connect(daemon.socket()).is_err() {
        assert!(start.elapsed() < PATIENCE);
    }
    daemon.peer().ask("status", json!({}));
    running.stop();
}

#[test]
fn a_service_manager_that_hangs_holds_nothing_up() {
    let daemon = Daemon::prepared();
    let (running, ear) = heard(&daemon, &[("WATCHDOG_USEC", "3000")]);
    wait_for_patience(&ear);
    // The watchdog may be fed before all is ready.
    loop {
        match next(&ear).as_str() {
            "READY=1" => break,
            said => assert_eq!(said, "WATCHDOG=1"),
        }
    }
    // However long its queue is.
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    let notify = daemon.folder.path().join("notify");
    while other.send_to(b"", &notify).is_ok() {}
    wait_for_log(&daemon, "cannot be told");
    daemon.peer().ask("status", json!({}));
    running.stop();
    drop(ear);
}

#[test]
fn the_watchdog_is_fed_as_often_as_it_wants() {
    let daemon = Daemon::prepared();
    let (running, ear) = heard(&daemon, &[("WATCHDOG_USEC", "60000")]);
    wait_for_patience(&ear);
    let mut fed = 0;
    while fed < 10 {
        match next(&ear).as_str() {
            "WATCHDOG=1" => fed += 1,
            said => assert_eq!(said, "READY=1"),
        }
    }
    running.stop();
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let daemon = Daemon::prepared();
    let (running, ear) = heard(&daemon, &[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
    wait_for_patience(&ear);
    assert_eq!(next(&ear), "READY=1");
    for _ in 0..50 {
        daemon.peer().ask("status", json!({}));
    }
    running.stop();
    assert_eq!(next(&ear), "STOPPING=1");
}

#[test]
fn what_the_watchdog_asks_waits_for_the_writer() {
    let daemon = Daemon::prepared();
    let store = daemon.store();
    let account: BareJid = BareJid::parse(HAMLET).unwrap();
    let (resume, resumed) = mpsc::channel::<()>();
    let (begun, beginning) = mpsc::channel();
    std::thread::scope(|scope| {
        let store = &store;
        scope.spawn(move || {
            let stuck = store.change(&account, move |_| {
                begun.send(()).unwrap();
                resumed.recv().unwrap();
                Ok(Err::<(Vec<_>, ()), ()>(()))
            });
            assert!(stuck.unwrap().is_err());
        });
        beginning.recv().unwrap();
        let (answer, answered) = mpsc::channel();
        scope.spawn(move || answer.send(store.probe().is_ok()).unwrap());
        let while_stuck = answered.recv_timeout(std::time::Duration::from_millis(200));
        assert!(while_stuck.is_err(), "{while_stuck:?}");
        resume.send(()).unwrap();
        assert!(answered.recv().unwrap());
    });
    store.close();
    assert!(matches!(store.probe(), Err(StoreError::Failed)));
}

#[test]
fn what_the_watchdog_asks_leaves_nothing_on_the_disk() {
    let daemon = Daemon::prepared();
    let store = daemon.store();
    store.probe().unwrap();
    let before = store.bytes_on_disk();
    for _ in 0..500 {
        store.probe().unwrap();
    }
    assert_eq!(store.bytes_on_disk(), before);
}

#[test]
fn sighup_ends_nothing_and_is_logged() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let phone = Made::of(HAMLET);
    server.append("phone", &phone);
    daemon.signal(Signal::SIGHUP);
    wait_for_log(&daemon, "SIGHUP");
    server.login(&phone);
}
