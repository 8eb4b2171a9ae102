//! A private PostgreSQL, as Debian's is set up: each commit is on the disk when it is answered.
//!
//! It refuses root, so the user of Debian's package runs it then. Its folder is in /var/tmp, which is on a disk, and where that user may go.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::processes::{Server, dying_with_us};

/// A running server.
pub(crate) struct PostgreSql {
    server: Server,
    /// Behind the server, which ends first.
    folder: TempDir,
}

impl PostgreSql {
    pub(crate) fn start() -> Result<PostgreSql> {
        let programs = programs()?;
        let folder = tempfile::Builder::new()
            .prefix("saslcertd-bench-")
            .tempdir_in("/var/tmp")?;
        let path = folder.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        let user = nix::unistd::geteuid()
            .is_root()
            .then(|| nix::unistd::User::from_name("postgres"))
            .transpose()?
            .flatten();
        let mut words = Vec::new();
        if let Some(user) = &user {
            let (user, group) = (user.uid.as_raw(), user.gid.as_raw());
            std::os::unix::fs::chown(path, Some(user), Some(group))?;
            let (user, group) = (user.to_string(), group.to_string());
            let as_user = ["--reuid", &user, "--regid", &group, "--init-groups"];
            words.extend(as_user.map(str::to_owned));
        }
        let program = |name: &str| {
            let mut command = dying_with_us(&words, &programs.join(name));
            command.current_dir(path);
            command
        };
        let mut initdb = program("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "--pgdata=data"]);
        finish(&mut initdb, "initdb")?;
        let mut postgres = program("postgres");
        postgres.args(["-D", "data", "-c", "listen_addresses=", "-k"]);
        let socket = path.join(".s.PGSQL.5432");
        let server = Server::start("PostgreSQL", postgres.arg(path), socket)?;
        let started = PostgreSql { server, folder };
        let deadline = Instant::now() + PATIENCE;
        // It accepts connections before it is ready.
        while let Err(problem) = started.run("postgres", "SELECT 1") {
            ensure!(Instant::now() < deadline, "{problem}");
            std::thread::sleep(Duration::from_millis(10));
        }
        started.run("postgres", "CREATE ROLE saslcertd LOGIN")?;
        Ok(started)
    }

    /// How saslcertd is told of a database of this server.
    pub(crate) fn database(&self, name: &str, user: &str) -> String {
        let folder = self.folder.path().display();
        format!("host={folder} dbname={name} user={user}")
    }

    /// As its administrator; what it says.
    pub(crate) fn run(&self, database: &str, statement: &str) -> Result<String> {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        psql.args(["--command", statement, &self.database(database, "postgres")]);
        finish(&mut psql, "psql")
    }

    /// A database's space on the disk, in MiB.
    pub(crate) fn disk_mib(&self, name: &str) -> Result<f64> {
        let bytes = self.run(name, "SELECT pg_database_size(current_database())")?;
        let bytes: f64 = bytes.trim().parse()?;
        Ok(bytes / f64::from(1 << 20))
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.server.stop()
    }
}

/// Its version, in words.
pub(crate) fn version() -> String {
    let said = programs().and_then(|programs| {
        let mut postgres = Command::new(programs.join("postgres"));
        finish(postgres.arg("--version"), "postgres")
    });
    let said = said.unwrap_or_default();
    let version = said.split_whitespace().nth(2).unwrap_or("?");
    version.to_owned()
}

/// The folder of Debian's newest.
fn programs() -> Result<PathBuf> {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter();
    let found = found.flatten().flatten().filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let programs = entry.path().join("bin");
        programs
            .join("postgres")
            .exists()
            .then_some((version, programs))
    });
    let (_, programs) = found
        .max()
        .context("PostgreSQL is missing: run tests/prosody/fetch.sh bench")?;
    Ok(programs)
}

fn finish(command: &mut Command, what: &str) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting {what}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what} failed: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A slow machine is not a broken one.
const PATIENCE: Duration = Duration::from_mins(1);
