//! `saslcertd serve`: the flags of the daemon, its log, its user, and its exit code.
//!
//! Must not know: what is asked of the daemon, and how it answers.

use std::fmt::{self, Debug};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::daemon::listening::SocketSource;
use crate::daemon::{owner, server, socket_folder};
use crate::identity::visible;
use crate::system::places::DEFAULT_DATA_DIR;

/// `saslcertd serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The store's folder, made by `saslcertd init`. Root serves as its owner.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// The store is in this PostgreSQL database, made by `saslcertd init --database`: "host=/run/postgresql dbname=NAME". The folder
    /// holds how far it had come.
    #[cfg(feature = "postgres")]
    #[arg(long, value_name = "WORDS", env = "SASLCERTD_DATABASE")]
    database: Option<String>,
    /// A user (name or number) that Prosody runs as. May be given several times.
    #[arg(long, value_name = "USER", default_value = "prosody")]
    server_user: Vec<String>,
    /// A user (name or number) that may administer, beside root and the daemon's own.
    #[arg(long, value_name = "USER")]
    admin_user: Vec<String>,
    /// Page cache of the store, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(8..=65536))]
    cache_mib: u64,
    /// Serve what is left of a store that has gone back to an older state or lost rows. What was revoked, disabled or
    /// deleted in what is missing is let in again.
    #[arg(long)]
    accept_rollback: bool,
    /// What to log: error, warn, info or debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LogLevel,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogLevel {
    /// Faults.
    Error,
    /// And what an admin should look at.
    Warn,
    /// And every decision.
    Info,
    /// And every connection.
    Debug,
}

pub(super) fn run(args: ServeArgs, socket: &Path) -> anyhow::Result<ExitCode> {
    let level = match args.log {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    super::init::keep_from_others();
    // First: it changes the environment, which no thread may see.
    let place = SocketSource::from_environment(socket)?;
    // Then, before any file is touched, the socket is made, or a thread runs.
    let owner = owner::become_for_serve(&args.data_dir, place.path(), &args.server_user)
        .with_context(|| format!("cannot serve as the owner of {}", args.data_dir.display()))?;
    // A reader of the log that hangs must not hang the daemon: what it does not take in time is dropped.
    let (writer, _flushed_at_the_end) = tracing_appender::non_blocking(std::io::stderr());
    tracing_subscriber::fmt()
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level)
        .with_target(false)
        .init();
    if let Some(owner) = owner {
        tracing::info!(
            user = socket_folder::user(owner.uid),
            "started by root; serves as the owner of the store"
        );
    }
    if place.path() != socket {
        tracing::warn!(
            handed_over = %place.path().display(),
            socket = %socket.display(),
            "the service manager's socket is served, not that of --socket"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Twice as many as there are tasks: when all of these wait, the runtime's own threads need others in their place.
        .max_blocking_threads(1024)
        .build()
        .context("cannot start")?;
    let options = server::Options {
        data_dir: args.data_dir,
        #[cfg(feature = "postgres")]
        database: args.database,
        #[cfg(not(feature = "postgres"))]
        database: None,
        server_users: args.server_user,
        admin_users: args.admin_user,
        cache_bytes: args.cache_mib << 20,
        accept_rollback: args.accept_rollback,
    };
    let served = runtime.block_on(server::serve(options, place));
    // A disk that hangs must not keep a process that has nothing more to say.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served?;
    Ok(ExitCode::SUCCESS)
}

/// A part of a line of the log. Whoever asks chooses many of the values: none of them ends the line, or steers the
/// terminal that it is read in.
fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = visible::line(&value);
    match field.name() {
        "message" => out.write_str(&value),
        name => write!(out, "{name}={value}"),
    }
}
