//! `saslcertd import-prosody`: the flags of the import, its exit code.
//!
//! Must not know: where Prosody keeps what, what becomes of it.

use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::global::Global;
use crate::identity::Host;
use crate::import_prosody::{Report, Selection, import};

/// `saslcertd import-prosody`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub(super) struct ImportProsodyArgs {
    /// Prosody's data folder (its option data_path), mostly /var/lib/prosody.
    #[allow(clippy::doc_markdown)]
    dir: PathBuf,
    /// Read the accounts from this SQLite file, too (Prosody's storage "sql").
    #[allow(clippy::doc_markdown)]
    #[cfg(feature = "sql")]
    #[arg(long, value_name = "FILE")]
    sql: Option<PathBuf>,
    /// Only this host. May be given more than once.
    #[arg(long = "host", value_name = "HOST", value_parser = Host::parse)]
    hosts: Vec<Host>,
    /// Leave the accounts where they are; bring only certificates.
    #[arg(long)]
    certs_only: bool,
    /// Do it. Without, nothing is changed, and the report says what would be.
    #[arg(long)]
    apply: bool,
    /// Declare hosts that no Prosody has declared yet.
    #[arg(long, requires = "apply")]
    new_host: bool,
}

pub(super) fn run(args: ImportProsodyArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let wanted = Selection {
        dir: args.dir,
        #[cfg(feature = "sql")]
        sql: args.sql,
        hosts: args.hosts,
        certs_only: args.certs_only,
        apply: args.apply,
        new_host: args.new_host,
    };
    let out = BufWriter::new(std::io::stdout().lock());
    let report = Report::new(out, global.json);
    Ok(if import(&wanted, &global.socket, report)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SOMETHING_IS_NOT_IN)
    })
}

const EXIT_STATUS: &str = "Exit status: 0 when all that was found is in the daemon (in a dry run: would be), \
    3 when something was refused, kept or unclear, 1 when it could not be done.";
/// A command that was mistyped has 2.
const SOMETHING_IS_NOT_IN: u8 = 3;
