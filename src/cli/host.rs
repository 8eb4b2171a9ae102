//! `saslcertd host`: the hosts that are declared, those that nobody who is connected declares any more among them.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::global::Global;
use super::hosts::{host, of_host};
use super::say::{say, say_json};
use crate::identity::{Host, counted};
use crate::protocol::client::Asker;

/// `saslcertd host`.
#[derive(Debug, Subcommand)]
pub(super) enum HostCommand {
    /// List the hosts that were declared and are not forgotten, and what the store holds of each.
    List,
    /// Take away a host that no server declares any more. Its accounts and certificates stay in the store, and count
    /// again if it is declared again.
    Forget(Which),
}

/// A host.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its name.
    #[arg(value_parser = host)]
    host: Host,
}

pub(super) fn run(command: &HostCommand, global: &Global) -> anyhow::Result<ExitCode> {
    let mut daemon = Asker::connect(&global.socket)?;
    let (result, said) = match command {
        HostCommand::List => list(&mut daemon)?,
        HostCommand::Forget(Which { host }) => {
            let asked = daemon.ask("host.forget", &json!({"host": host}));
            let result = asked.map_err(|error| of_host(error, host))?;
            let held = Held::deserialize(&result)?;
            let said = format!("{host} is forgotten; {held} of it stay in the store");
            (result, said)
        }
    };
    if global.json {
        say_json(&result.to_string())?;
    } else {
        say(said.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(daemon: &mut Asker) -> anyhow::Result<(Value, String)> {
    let mut rows = Vec::new();
    let mut after = Value::Null;
    loop {
        let mut page = daemon.ask("host.list", &json!({"after": after}))?;
        if let Some(Value::Array(more)) = page.get_mut("hosts").map(Value::take) {
            rows.extend(more);
        }
        after = page.get("next").cloned().unwrap_or_default();
        if after.is_null() {
            break;
        }
    }
    let mut lines = Vec::new();
    for row in &rows {
        let row = Row::deserialize(row)?;
        let declared = if row.declared {
            "declared"
        } else {
            "declared by nobody who is connected"
        };
        lines.push(format!("{}: {declared}; {}", row.host, row.held));
    }
    if rows.is_empty() {
        lines.push("no host is declared".to_owned());
    }
    Ok((json!({"hosts": rows}), lines.join("\n")))
}

#[derive(Deserialize)]
struct Row {
    host: String,
    declared: bool,
    #[serde(flatten)]
    held: Held,
}

/// How much the store holds of a host.
#[derive(Deserialize)]
struct Held {
    accounts: u64,
    certificates: u64,
    revoked_keys: u64,
}

impl std::fmt::Display for Held {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{}, {} and {}",
            counted(self.accounts, "password", "passwords"),
            counted(self.certificates, "certificate", "certificates"),
            counted(self.revoked_keys, "revoked key", "revoked keys"),
        )
    }
}
