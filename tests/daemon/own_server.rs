//! A PostgreSQL of a test's own, which may be set, killed and started again; and somebody between it and a daemon, who may fall silent.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, getuid};
use tempfile::TempDir;

use crate::support::{PATIENCE, PostgreSql};

/// A server that keeps what it has acknowledged over its end, unlike that of all tests.
pub struct OwnServer {
    folder: TempDir,
    child: Option<Child>,
}

impl OwnServer {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("saslcertd-postgresql")
            .tempdir()
            .unwrap();
        // PostgreSQL refuses root, so the user of Debian's package runs it then.
        if let Some(user) = other_user() {
            let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
            std::os::unix::fs::chown(folder.path(), uid, gid).unwrap();
        }
        let mut server = Self {
            folder,
            child: None,
        };
        let mut initdb = server.program("initdb");
        initdb.args([
            "--auth",
            "trust",
            "--username",
            "postgres",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--no-sync",
        ]);
        initdb.arg("--pgdata").arg(server.data());
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "{made:?}");
        server.begin();
        server.at().run("CREATE ROLE saslcertd LOGIN");
        server
    }

    /// Where it is met.
    pub fn at(&self) -> PostgreSql {
        PostgreSql(self.folder.path().display().to_string())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of PostgreSQL's, run as its user. It ends with this process.
    fn program(&self, name: &str) -> Command {
        let mut run = Command::new("setpriv");
        run.args(["--pdeathsig", "KILL"]);
        if other_user().is_some() {
            run.args([
                "--reuid",
                "postgres",
                "--regid",
                "postgres",
                "--init-groups",
            ]);
        }
        run.arg("--").arg(programs().join(name));
        run.current_dir(self.folder.path());
        run
    }

    /// Starts it, and waits until it answers.
    pub fn begin(&mut self) {
        let start = Instant::now();
        while self.child.is_none() {
            let log = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.folder.path().join("log"))
                .unwrap();
            let mut run = self.program("postgres");
            run.arg("-D")
                .arg(self.data())
                .arg("-k")
                .arg(self.folder.path());
            for set in ["listen_addresses=", "max_connections=100"] {
                run.args(["-c", set]);
            }
            let mut child = run.stdin(Stdio::null()).stderr(log).spawn().unwrap();
            loop {
                assert!(start.elapsed() < PATIENCE, "{}", self.log());
                if child.try_wait().unwrap().is_some() {
                    // Processes of the one before hold the memory that they have shared.
                    break;
                }
                if self.at().answers() {
                    self.child = Some(child);
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// All its processes at once.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pid = child.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let _ = child.kill();
        for one in children.split_whitespace() {
            let one = Pid::from_raw(one.parse().unwrap());
            // It may have ended by itself.
            let _ = kill(one, Signal::SIGKILL);
        }
        let _ = child.wait();
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn other_user() -> Option<User> {
    if !getuid().is_root() {
        return None;
    }
    let user = User::from_name("postgres").unwrap();
    Some(user.expect("PostgreSQL is missing: apt-get install postgresql"))
}

/// Debian's folder of the newest one.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let versions = versions.map(|version| version.unwrap().path().join("bin"));
    let newest = versions
        .filter(|folder| folder.join("initdb").exists())
        .max();
    newest.expect("PostgreSQL is missing: apt-get install postgresql")
}

/// Stands between daemons and a server: what the one side says, the other hears, until it is silenced.
pub struct Between {
    folder: TempDir,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
    /// Connections that came.
    came: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Nothing moves on the connections up to this one.
    silent_up_to: usize,
    /// Who comes is sent away at once.
    is_closed: bool,
    open: Vec<UnixStream>,
}

impl Between {
    pub fn of(server: &PostgreSql) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("saslcertd-between")
            .tempdir()
            .unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let shared = Arc::<Shared>::default();
        let (server, of_thread) = (Path::new(&server.0).join(SOCKET), Arc::clone(&shared));
        // Until the test ends.
        std::thread::spawn(move || {
            for comes in listener.incoming() {
                of_thread.admit(comes.unwrap(), &server);
            }
        });
        Self { folder, shared }
    }

    /// Where it is met in the place of the server.
    pub fn at(&self) -> PostgreSql {
        PostgreSql(self.folder.path().display().to_string())
    }

    /// How many connections came so far.
    pub fn came(&self) -> usize {
        self.shared.came.load(Ordering::SeqCst)
    }

    /// Nothing is moved any more on the first so many connections, and none is closed.
    pub fn silence(&self, up_to: usize) {
        self.shared.state.lock().unwrap().silent_up_to = up_to;
    }

    /// Goes on with all, and what was held comes.
    pub fn go_on(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.silent_up_to = 0;
        state.is_closed = false;
        self.shared.moved.notify_all();
    }

    /// Ends all connections, and lets nobody in.
    pub fn close(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.is_closed = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn admit(self: &Arc<Self>, comes: UnixStream, server: &Path) {
        let number = self.came.fetch_add(1, Ordering::SeqCst) + 1;
        let mut state = self.state.lock().unwrap();
        let Some(goes) = UnixStream::connect(server)
            .ok()
            .filter(|_| !state.is_closed)
        else {
            return;
        };
        for (from, to) in [(&comes, &goes), (&goes, &comes)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            state.open.push(from.try_clone().unwrap());
            let shared = Arc::clone(self);
            std::thread::spawn(move || shared.carry(number, from, to));
        }
    }

    fn carry(&self, number: usize, mut from: UnixStream, mut to: UnixStream) {
        let mut bytes = [0; 16384];
        loop {
            let count = from.read(&mut bytes).unwrap_or(0);
            let state = self.state.lock().unwrap();
            let is_silent = |state: &mut State| number <= state.silent_up_to;
            drop(self.moved.wait_while(state, is_silent).unwrap());
            if count == 0 || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// PostgreSQL's, by its usual port.
const SOCKET: &str = ".s.PGSQL.5432";
