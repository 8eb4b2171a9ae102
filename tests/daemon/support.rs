//! A daemon of the test's own, peers that ask it, and certificates.
//!
//! With `SASLCERTD_TEST_POSTGRESQL` (`tests/with-postgresql` sets it) the daemon's store is in a database of its own, else in a folder.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use saslcertd::daemon::state::State;
use saslcertd::store::{OnLoss, Store, StoreError};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;

/// The longest that anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The incarnation that tests give an account.
pub const ONE: &str = "one";
pub const HOST: &str = "shakespeare.lit";
pub const HAMLET: &str = "hamlet@shakespeare.lit";

/// A running daemon, with its folder; both end with it.
pub struct Daemon {
    child: Option<Child>,
    pub folder: TempDir,
    /// Whose database it serves, if not its own.
    shares: Option<String>,
    /// The server of its database, if it is not that of all tests.
    server: Option<PostgreSql>,
    /// Where it meets that server, if somebody stands between.
    meets: Option<PostgreSql>,
    /// How it names its database, if not by the server's socket.
    pub words: Option<String>,
    /// Its store is in its folder, wherever those of the others are.
    is_in_folder: bool,
}

impl Daemon {
    /// A daemon with an empty store.
    pub fn start() -> Self {
        let mut daemon = Self::prepared();
        daemon.serve();
        daemon
    }

    /// A daemon with an empty store in its folder, wherever those of the others are.
    pub fn start_in_folder() -> Self {
        let mut daemon = Self::without_store();
        daemon.is_in_folder = true;
        daemon.prepare();
        daemon.serve();
        daemon
    }

    /// A store, and nobody who serves it.
    pub fn prepared() -> Self {
        let daemon = Self::without_store();
        daemon.prepare();
        daemon
    }

    /// A folder, and nothing in it.
    pub fn without_store() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("saslcertd")
            .tempdir()
            .unwrap();
        Self {
            child: None,
            folder,
            shares: None,
            server: None,
            meets: None,
            words: None,
            is_in_folder: false,
        }
    }

    /// A daemon with an empty store at this server.
    pub fn start_at(server: &PostgreSql) -> Self {
        let mut daemon = Self::without_store();
        daemon.server = Some(server.clone());
        daemon.prepare();
        daemon.serve();
        daemon
    }

    /// The server of its database, if its store is in one.
    fn server_of_database(&self) -> Option<PostgreSql> {
        let server = self.server.clone().or_else(postgresql);
        server.filter(|_| !self.is_in_folder)
    }

    /// Another daemon with a folder of its own, on the database of this one.
    pub fn beside(&self) -> Self {
        self.beside_by(None)
    }

    /// The same, which meets the server of the database there.
    pub fn beside_by(&self, meets: Option<PostgreSql>) -> Self {
        let mut daemon = Self::without_store();
        daemon.shares = Some(self.database_name());
        daemon.server.clone_from(&self.server);
        daemon.meets = meets;
        daemon.words.clone_from(&self.words);
        daemon.make_socket_folder();
        daemon.serve();
        daemon
    }

    /// Makes what it needs in its folder.
    pub fn prepare(&self) {
        self.make_socket_folder();
        if let Some(server) = self.server_of_database() {
            server.run(&format!("CREATE DATABASE {}", self.database_name()));
        }
        let made = self.command("init").output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    fn make_socket_folder(&self) {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(self.folder.path().join("run"))
            .unwrap();
    }

    /// Of its own, as the folder is, unless it shares one.
    pub fn database_name(&self) -> String {
        if let Some(shared) = &self.shares {
            return shared.clone();
        }
        let name = self.folder.path().file_name().unwrap();
        format!("\"{}\"", name.to_str().unwrap())
    }

    /// The database as `user` names it.
    pub fn database(&self, server: &PostgreSql, user: &str) -> String {
        let name = self.database_name().replace('"', "");
        format!("host={} dbname={name} user={user}", server.0)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The parts of a daemon in this process, on the store of one that has ended.
    pub fn state(&self) -> State {
        let open = |listeners| {
            let folder = self.data_dir();
            let on_failure = Box::new(|_: &StoreError| {});
            let Some(server) = self.server_of_database() else {
                return Store::open_with(&folder, 8 << 20, OnLoss::Refuse, listeners, on_failure);
            };
            let database = self.database(&server, "saslcertd");
            Store::open_database_with(&database, &folder, OnLoss::Refuse, listeners, on_failure)
        };
        State::new(open).unwrap()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run").join("socket")
    }

    /// Its store, while nobody serves it.
    pub fn store(&self) -> Store {
        match self.server_of_database() {
            Some(server) => {
                let database = self.database(&server, "saslcertd");
                Store::open_database(&database, &self.data_dir(), Box::new(|_| {}))
            }
            None => Store::open(&self.data_dir(), 8 << 20, Box::new(|_| {})),
        }
        .unwrap()
    }

    /// Every byte that it keeps, while nobody serves it.
    pub fn kept(&self) -> Vec<u8> {
        if let Some(server) = self.server_of_database() {
            let kept = "SELECT encode(key, 'escape'), encode(value, 'escape') FROM saslcertd.rows";
            let said = "SELECT encode(unnest(keys), 'escape'), encode(unnest(after), 'escape') FROM saslcertd.changes";
            return [kept, said]
                .map(|of| PostgreSql::asked(&self.database(&server, "postgres"), of))
                .concat();
        }
        let files = std::fs::read_dir(self.data_dir().join("sled")).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file());
        files
            .flat_map(|path| std::fs::read(path).unwrap())
            .collect()
    }

    /// sled's files, while nobody serves them.
    pub fn engine(&self) -> sled::Db {
        let sled = sled::Config::new().path(self.data_dir().join("sled"));
        sled.segment_size(4 << 20).open().unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Why it does not start.
    pub fn refusal(&self) -> String {
        let child = self.command("serve").stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > PATIENCE || UnixStream::connect(self.socket()).is_ok() {
                let _ = child.kill();
                panic!("it starts: {:?}", child.wait_with_output());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// `saslcertd COMMAND` with this daemon's folder, socket and users.
    pub fn command(&self, command: &str) -> Command {
        self.command_at(command, &self.socket())
    }

    /// The same with another socket.
    pub fn command_at(&self, command: &str, socket: &Path) -> Command {
        // Another one can be looked at, to see that a test fails with it.
        let tried = std::env::var_os("SASLCERTD_TRIED");
        let mut run = Command::new(tried.unwrap_or(env!("CARGO_BIN_EXE_saslcertd").into()));
        run.env_clear().arg(command).arg("--socket").arg(socket);
        match (command, self.server_of_database()) {
            ("init", Some(server)) => {
                run.arg("--database")
                    .arg(self.database(&server, "postgres"));
                run.args(["--role", "saslcertd"]);
            }
            ("serve", Some(server)) => {
                let server = self.meets.clone().unwrap_or(server);
                let words = self.words.clone();
                run.arg("--database")
                    .arg(words.unwrap_or_else(|| self.database(&server, "saslcertd")));
                run.arg("--data-dir").arg(self.data_dir());
            }
            ("init" | "serve", None) => {
                run.arg("--data-dir").arg(self.data_dir());
            }
            _ => {}
        }
        if command == "serve" {
            run.args(["--server-user", "0"]);
        }
        run
    }

    /// Starts the daemon and waits until it answers.
    pub fn serve(&mut self) {
        self.serve_with(&[]);
    }

    /// The same with more flags.
    pub fn serve_with(&mut self, flags: &[&str]) {
        self.begin_with(flags);
        self.wait_for("an answer", |daemon| {
            UnixStream::connect(daemon.socket()).is_ok()
        });
    }

    /// Starts the daemon.
    pub fn begin(&mut self) {
        self.begin_with(&[]);
    }

    fn begin_with(&mut self, flags: &[&str]) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let child = self
            .command("serve")
            .args(flags)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    pub fn wait_for(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().unwrap());
            assert!(
                ended.is_none(),
                "the daemon ended: {ended:?}\n{}",
                self.log()
            );
            assert!(start.elapsed() < PATIENCE, "no {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// Stops the daemon, and waits until none of its threads runs any more: the signal alone says nothing of when.
    pub fn freeze(&mut self) {
        self.signal(Signal::SIGSTOP);
        let threads = format!("/proc/{}/task", self.pid());
        self.wait_for("standstill", |_| {
            let mut threads = std::fs::read_dir(&threads).unwrap();
            threads.all(|thread| {
                // proc(5): the state stands behind the name, which may hold parentheses.
                std::fs::read_to_string(thread.unwrap().path().join("stat"))
                    .is_ok_and(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'))
            })
        });
    }

    pub fn ended(&mut self) -> ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Stopped, and started again.
    pub fn restart(&mut self) {
        assert!(self.stop().success());
        self.serve();
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended();
    }

    pub fn peer(&self) -> Peer {
        Peer::connect(&self.socket())
    }

    /// A peer that has declared [`HOST`] with these options.
    pub fn server(&self, options: Value) -> Peer {
        let mut peer = self.peer();
        let answer = peer.ask("session.hello", hello(HOST, options));
        assert_eq!(answer["hosts"][0]["ready"], true, "{answer}");
        peer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let keeps_database =
            self.shares.is_some() || self.server.is_some() || std::thread::panicking();
        if let (Some(server), false) = (self.server_of_database(), keeps_database) {
            let name = self.database_name();
            server.run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}

/// So many rounds in which a daemon is killed; fewer where what is taken back waits for its lease to run out, for 5 s each time.
pub fn kills(rounds: usize) -> usize {
    if postgresql().is_some() {
        rounds.div_ceil(5)
    } else {
        rounds
    }
}

/// A server, by the folder of its socket.
#[derive(Clone)]
pub struct PostgreSql(pub String);

/// That of the tests.
pub fn postgresql() -> Option<PostgreSql> {
    std::env::var("SASLCERTD_TEST_POSTGRESQL")
        .ok()
        .map(PostgreSql)
}

impl PostgreSql {
    /// As its administrator.
    pub fn run(&self, statement: &str) {
        Self::asked(&format!("host={} user=postgres", self.0), statement);
    }

    /// That folder.
    pub fn folder(&self) -> &Path {
        Path::new(&self.0)
    }

    /// What it says.
    pub fn asked(database: &str, statement: &str) -> Vec<u8> {
        let ran = Self::tried(database, statement);
        assert!(ran.status.success(), "{statement}: {ran:?}");
        ran.stdout
    }

    /// Does it let its administrator in?
    pub fn answers(&self) -> bool {
        let administrator = format!("host={} user=postgres", self.0);
        Self::tried(&administrator, "SELECT 1").status.success()
    }

    fn tried(database: &str, statement: &str) -> Output {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        psql.args(["--command", statement, database]);
        psql.output().unwrap()
    }
}

pub fn hello(host: &str, options: Value) -> Value {
    json!({
        "protocol": 2,
        "software": "test",
        // With several daemons a revocation waits for as long behind the end of one.
        "waits_ms": 100,
        "hosts": [{"host": host, "accounts": "prosody", "options": options}],
    })
}

/// One connection to a daemon.
pub struct Peer {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    last_id: u64,
    /// The daemon's own questions, in order.
    pub asked: Vec<Value>,
    /// Entries of the `sessions.close` that was read last.
    closings: Vec<Value>,
}

impl Peer {
    pub fn connect(socket: &Path) -> Self {
        Self::of(UnixStream::connect(socket).unwrap())
    }

    pub fn of(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        Self {
            stream,
            lines,
            last_id: 0,
            asked: Vec::new(),
            closings: Vec::new(),
        }
    }

    /// From now on nobody reads the daemon's lines.
    pub fn stop_reading(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Read).unwrap();
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next line, whatever it is; `None` at the end of the stream.
    pub fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            // At the end of a daemon that was killed there may be half of one.
            Ok(_) if !line.ends_with('\n') => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line: {error}"),
        }
    }

    /// Writes a question and returns its id.
    pub fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let question = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.write(format!("{question}\n").as_bytes());
        id
    }

    pub fn notify(&mut self, method: &str, params: Value) {
        let line = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.write(format!("{line}\n").as_bytes());
    }

    /// The whole answer to the question with that id; what the daemon asks meanwhile is kept.
    pub fn answer(&mut self, id: u64) -> Value {
        loop {
            let line = self.line().expect("the connection ended");
            if line.get("method").is_some() {
                self.asked.push(line);
            } else if line["id"] == id {
                return line;
            }
        }
    }

    /// Asks and returns the result.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let answer = self.answer(id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Asks and returns the error.
    pub fn refused(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let answer = self.answer(id);
        assert!(answer.get("result").is_none(), "{method}: {answer}");
        answer["error"].clone()
    }

    /// The next question of the daemon's, whatever its method.
    pub fn any_question(&mut self) -> Value {
        while self.asked.is_empty() {
            let line = self.line().expect("the connection ended");
            if line.get("method").is_some() {
                self.asked.push(line);
            }
        }
        self.asked.remove(0)
    }

    /// The params of the daemon's next question with that method. Of `sessions.close`: its next entry.
    pub fn question(&mut self, method: &str) -> Value {
        if method != "sessions.close" {
            return self.whole_question(method)["params"].clone();
        }
        if self.closings.is_empty() {
            let question = self.whole_question(method);
            let entries = question["params"]["close"].as_array().unwrap();
            self.closings.extend(entries.iter().cloned());
        }
        self.closings.remove(0)
    }

    /// That question, with its id.
    pub fn whole_question(&mut self, method: &str) -> Value {
        loop {
            if let Some(at) = self.asked.iter().position(|line| line["method"] == method) {
                return self.asked.remove(at);
            }
            let line = self.line().expect("the connection ended");
            self.asked.push(line);
        }
    }

    /// The lines that are there already.
    pub fn waiting(&mut self) -> Vec<Value> {
        self.stream.set_nonblocking(true).unwrap();
        let mut bytes = Vec::new();
        // Ends with an error when there is no more.
        let _ = self.lines.read_to_end(&mut bytes);
        self.stream.set_nonblocking(false).unwrap();
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }

    /// Nothing more will be written; what is left to read is returned.
    pub fn rest(mut self) -> String {
        self.stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        let _ = self.lines.read_to_string(&mut rest);
        rest
    }

    pub fn append(&mut self, name: &str, cert: &Made) -> Value {
        self.ask("certificate.append", append(name, cert))
    }

    pub fn login(&mut self, cert: &Made) -> Value {
        self.ask("external.login", login(cert))
    }

    pub fn login_refused(&mut self, cert: &Made) -> Value {
        self.refused("external.login", login(cert))
    }
}

/// A certificate and its key.
pub struct Made {
    pub der: Vec<u8>,
    pub key: KeyPair,
}

impl Made {
    /// A certificate of `jid`, valid from 2026 to 2096.
    pub fn of(jid: &str) -> Self {
        Self::with_key(jid, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    /// A certificate of `jid`, valid from 2026 to that moment.
    pub fn valid_until(jid: &str, not_after: OffsetDateTime) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self::with(key, |params| {
            params.subject_alt_names = vec![address(jid)];
            params.not_after = not_after;
        })
    }

    pub fn with_key(jid: &str, key: KeyPair) -> Self {
        Self::with(key, |params| {
            params.subject_alt_names = vec![address(jid)];
        })
    }

    pub fn with(key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2096, 1, 1);
        change(&mut params);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, key }
    }

    /// A certificate of `jid` of about so many bytes.
    pub fn long(jid: &str, bytes: usize) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self::with(key, |params| {
            params.subject_alt_names = vec![address(jid)];
            let private = [1, 3, 6, 1, 4, 1, 32473, 1];
            let padding = CustomExtension::from_oid_content(&private, vec![0; bytes]);
            params.custom_extensions.push(padding);
        })
    }

    pub fn base64(&self) -> String {
        BASE64.encode(&self.der)
    }
}

/// An xmppAddr.
fn address(jid: &str) -> SanType {
    SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 5], jid.into()))
}

/// A session of Hamlet's that logged in with his password.
pub fn by_password() -> Value {
    json!({"secure": true, "by": "password", "jid": "hamlet@shakespeare.lit/castle", "address": "192.0.2.7"})
}

/// A session of Hamlet's that logged in with the certificate that `login` answered for.
pub fn by_certificate(login: &Value) -> Value {
    json!({
        "secure": true,
        "by": "certificate",
        "fingerprint": login["fingerprint"],
        "key_id": login["key_id"],
        "jid": "hamlet@shakespeare.lit/phone",
        "address": null,
    })
}

pub fn append(name: &str, cert: &Made) -> Value {
    json!({
        "account": HAMLET,
        "incarnation": ONE,
        "session": by_password(),
        "name": name,
        "certificate": cert.base64(),
        "may_manage": true,
    })
}

pub fn named(name: &str) -> Value {
    json!({"account": HAMLET, "incarnation": ONE, "session": by_password(), "name": name})
}

pub fn list() -> Value {
    json!({"account": HAMLET, "incarnation": ONE, "session": by_password(), "after": null})
}

pub fn offer(cert: &Made) -> Value {
    json!({"host": HOST, "chain": [cert.base64()]})
}

pub fn login(cert: &Made) -> Value {
    json!({
        "host": HOST,
        "chain": [cert.base64()],
        "authzid": null,
        "address": "192.0.2.7",
        "accounts": [{"username": "hamlet", "exists": true, "enabled": true, "incarnation": ONE}],
    })
}

/// A value of a JSON object, changed.
pub fn with(mut value: Value, field: &str, to: Value) -> Value {
    value[field] = to;
    value
}

impl Peer {
    /// Writes, unless the connection has ended.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Asks, and waits for the answer; what the daemon asks meanwhile is passed over. `None`: the connection has ended.
    pub fn try_ask(&mut self, method: &str, params: Value) -> Option<Value> {
        let id = self.try_send(method, params)?;
        loop {
            let line = self.line()?;
            if line["id"] == id && line.get("method").is_none() {
                return Some(line);
            }
        }
    }

    /// Writes a question, and returns its id, unless the connection has ended.
    pub fn try_send(&mut self, method: &str, params: Value) -> Option<u64> {
        self.last_id += 1;
        let id = self.last_id;
        let question = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.try_write(format!("{question}\n").as_bytes())
            .then_some(id)
    }

    /// Does the daemon talk to this peer?
    pub fn answers(&mut self) -> bool {
        self.try_write(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"status\"}\n")
            && self.line().is_some()
    }
}
