//! `saslcertd doctor`: prints the findings, and ends with a code for the worst of them.
//!
//! Must not know: how an installation is examined.

use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(feature = "client")]
use anyhow::Context;
use serde_json::json;

use super::global::Global;
use super::say::{say, say_json};
#[cfg(feature = "client")]
use crate::client::resolve::Route;
use crate::doctor::{Finding, Installation, Level, examine};
use crate::system::places::DEFAULT_DATA_DIR;

/// What `doctor` needs to know.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Run it as root. Exit status: 0 all is well; 1 there are warnings; 2 there are problems. What could not be \
                  checked doesn't count."
)]
pub(super) struct DoctorArgs {
    /// The store's folder; only needed while the daemon doesn't answer
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// The database that the store is in, as serve has it; only needed while the daemon doesn't run
    #[cfg(feature = "postgres")]
    #[arg(long, value_name = "WORDS", env = "SASLCERTD_DATABASE")]
    database: Option<String>,
    /// Prosody's control program
    #[arg(long, value_name = "PATH", default_value = "prosodyctl")]
    prosodyctl: PathBuf,
    /// Prosody's configuration, if prosodyctl doesn't find it by itself
    #[arg(long, value_name = "FILE")]
    prosody_config: Option<PathBuf>,
    /// Where clients connect to, if not where the DNS says
    #[cfg(feature = "client")]
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// There, they use TLS from the first byte
    #[cfg(feature = "client")]
    #[arg(long, requires = "server")]
    direct_tls: bool,
}

impl DoctorArgs {
    // The XMPP client's flags may be wrong.
    #[cfg_attr(not(feature = "client"), allow(clippy::unnecessary_wraps))]
    fn installation(&self, global: &Global) -> anyhow::Result<Installation> {
        #[cfg(feature = "client")]
        let server = self.server.as_deref().map(str::parse).transpose();
        Ok(Installation {
            socket: global.socket.clone(),
            data_dir: self.data_dir.clone(),
            #[cfg(feature = "postgres")]
            database: self.database.clone(),
            prosodyctl: self.prosodyctl.clone(),
            prosody_config: self.prosody_config.clone(),
            #[cfg(feature = "client")]
            route: Route {
                server: server.context("--server")?,
                direct_tls: self.direct_tls,
            },
        })
    }
}

/// Runs the command; prints everything itself.
pub(super) fn run(args: &DoctorArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let found = examine(&args.installation(global)?)?;
    let worst = found.iter().map(|finding| finding.level).max();
    let worst = worst
        .filter(|level| *level > Level::NotChecked)
        .unwrap_or(Level::Ok);
    if global.json {
        say_json(&json!({"worst": worst, "findings": found}).to_string())?;
    } else {
        for finding in &found {
            say(&finding.to_string())?;
        }
        say(&summary(&found))?;
    }
    Ok(match worst {
        Level::Ok | Level::NotChecked => ExitCode::SUCCESS,
        Level::Warning => ExitCode::from(1),
        Level::Problem => ExitCode::from(2),
    })
}

fn summary(found: &[Finding]) -> String {
    let count = |level| {
        found
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    match (count(Level::Problem), count(Level::Warning)) {
        (0, 0) => "no problem was found".to_owned(),
        (0, warnings) => format!("no problem, warnings: {warnings}"),
        (problems, warnings) => {
            format!("problems: {problems}, warnings: {warnings}; mend the first one first")
        }
    }
}
