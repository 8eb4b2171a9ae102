//! The servers that are measured: how they start and end, and what the kernel says of them. The kernel ends them with the bench.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::postgresql::PostgreSql;

/// A running server on a Unix socket.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Server {
    /// Returns when it accepts connections. Its output goes to a file beside its socket.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        socket: PathBuf,
    ) -> Result<Server> {
        let log = socket.with_extension("log");
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let mut server = Server {
            name,
            child,
            socket,
        };
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&server.socket).is_err() {
            let ended = server.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("{name} does not start: {said}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(server)
    }

    /// An echo: this program once more.
    pub(crate) fn echo(run: &Path) -> Result<Server> {
        let socket = run.join("echo.sock");
        let mut command = dying_with_us(&[], &std::env::current_exe()?);
        command.arg("echo").arg(&socket);
        Server::start("the echo", &mut command, socket)
    }

    /// A redis that keeps nothing on the disk, and knows no other configuration than this.
    pub(crate) fn redis(run: &Path) -> Result<Server> {
        let binary = Path::new(REPOSITORY).join("target/redis/usr/bin/redis-server");
        ensure!(
            binary.exists(),
            "{} is missing: run tests/prosody/fetch.sh bench",
            binary.display()
        );
        let socket = run.join("redis.sock");
        let mut command = dying_with_us(&[], &binary);
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(run);
        Server::start("redis", &mut command, socket)
    }

    /// Its memory, in MiB: pages of its own and of files, as the kernel counts them.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: f64 = kib.context("VmRSS in /proc")?.trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        let kill = format!("kill -TERM {}", self.child.id());
        Command::new("sh").arg("-c").arg(kill).status()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store, and how a daemon is started on it.
pub(crate) struct Store {
    pub(crate) data: PathBuf,
    socket: PathBuf,
    /// The words of a database, if it is in one: then the folder only says how far that had come.
    database: Option<String>,
}

impl Store {
    /// An empty one, in `work`, which is on a disk; its daemon's socket is in `run`, whose path is short.
    pub(crate) fn create(work: &Path, run: &Path, name: &str) -> Result<Store> {
        let data = work.join(name);
        let socket = run.join(format!("{name}.sock"));
        let mut init = saslcertd()?;
        done(init.arg("init").arg("--data-dir").arg(&data), "init")?;
        Ok(Store {
            data,
            socket,
            database: None,
        })
    }

    /// An empty one in a database of its own; the folders as before.
    pub(crate) fn in_database(
        server: &PostgreSql,
        work: &Path,
        run: &Path,
        name: &str,
    ) -> Result<Store> {
        server.run("postgres", &format!("CREATE DATABASE {name}"))?;
        let mut init = saslcertd()?;
        let owner = server.database(name, "postgres");
        init.args(["init", "--role", "saslcertd", "--database", &owner]);
        done(&mut init, "init")?;
        Ok(Store {
            data: work.join(name),
            socket: run.join(format!("{name}.sock")),
            database: Some(server.database(name, "saslcertd")),
        })
    }

    /// The same store for one more daemon, if it is in a database.
    pub(crate) fn beside(&self, number: usize) -> Store {
        Store {
            data: self.data.with_extension(number.to_string()),
            socket: self.socket.with_extension(format!("{number}.sock")),
            database: self.database.clone(),
        }
    }

    pub(crate) fn serve(&self) -> Result<Server> {
        let mut command = dying_with_us(&[], &binary()?);
        command
            .args(["serve", "--log", "error", "--server-user"])
            .arg(nix::unistd::geteuid().to_string())
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--socket")
            .arg(&self.socket);
        if let Some(database) = &self.database {
            command.arg("--database").arg(database);
        }
        Server::start("saslcertd", &mut command, self.socket.clone())
    }

    /// How long `saslcertd WORDS` takes against its daemon.
    pub(crate) fn command(&self, words: &[&str]) -> Result<Duration> {
        let mut command = saslcertd()?;
        command.arg("--socket").arg(&self.socket).args(words);
        let start = Instant::now();
        done(&mut command, words.first().copied().unwrap_or_default())?;
        Ok(start.elapsed())
    }

    /// Its space on the disk, in MiB.
    pub(crate) fn disk_mib(&self) -> Result<f64> {
        Ok(blocks_below(&self.data)? as f64 * 512.0 / f64::from(1 << 20))
    }
}

fn blocks_below(folder: &Path) -> Result<u64> {
    let mut blocks = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        blocks += metadata.blocks();
        if metadata.is_dir() {
            blocks += blocks_below(&entry.path())?;
        }
    }
    Ok(blocks)
}

/// The saslcertd that is measured: the one that was built beside this program.
pub(crate) fn binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("saslcertd");
    ensure!(
        binary.exists(),
        "{} is missing: run make bench",
        binary.display()
    );
    Ok(binary)
}

fn saslcertd() -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SASLCERTD_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// `options`: more of what setpriv takes.
pub(crate) fn dying_with_us(options: &[String], program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args(options)
        .arg(program);
    command
}

fn done(command: &mut Command, what: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "saslcertd {what} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Where the sources are, and what the tests' scripts have fetched.
pub(crate) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A slow machine is not a broken one.
const PATIENCE: Duration = Duration::from_mins(1);
