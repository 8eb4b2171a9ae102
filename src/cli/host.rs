//! `saslcertd host`: lists the hosts that were ever declared, and forgets one that no connected server declares.
//!
//! Must not know: whether a host may be forgotten: the daemon says.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::global::Global;
use super::hosts::{host, of_host};
use super::say::{say, say_json};
use crate::identity::{Host, counted};
use crate::protocol::client::Asker;
use crate::protocol::{ForgetHost, HeldOfHost, ListHosts, ListedHost};

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
    let (json, said) = match command {
        HostCommand::List => {
            let hosts = all(&mut daemon)?;
            (json!({"hosts": hosts}), listed(&hosts))
        }
        HostCommand::Forget(Which { host }) => {
            let question = ForgetHost { host: host.clone() };
            let asked = daemon.ask(&question);
            let counts = asked.map_err(|error| of_host(error, host))?;
            let said = format!(
                "{host} is forgotten; {} of it stay in the store",
                in_words(&counts)
            );
            (json!(counts), said)
        }
    };
    if global.json {
        say_json(&json.to_string())?;
    } else {
        say(said.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every page of the list.
fn all(daemon: &mut Asker) -> anyhow::Result<Vec<ListedHost>> {
    let mut found = Vec::new();
    let mut question = ListHosts { after: None };
    loop {
        let page = daemon.ask(&question)?;
        found.extend(page.hosts);
        if page.next.is_none() {
            return Ok(found);
        }
        question.after = page.next;
    }
}

fn listed(hosts: &[ListedHost]) -> String {
    if hosts.is_empty() {
        return "no host is declared".to_owned();
    }
    let line = |row: &ListedHost| {
        let declared = if row.declared {
            "declared"
        } else {
            "declared by nobody who is connected"
        };
        format!("{}: {declared}; {}", row.host, in_words(&row.held))
    };
    hosts.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn in_words(held: &HeldOfHost) -> String {
    format!(
        "{}, {} and {}",
        counted(held.accounts, "password", "passwords"),
        counted(held.certificates, "certificate", "certificates"),
        counted(held.revoked_keys, "revoked key", "revoked keys"),
    )
}
