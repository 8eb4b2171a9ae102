//! Does Prosody run, and has it declared the hosts that it is configured with?
//!
//! Must not know: how Prosody was asked.

use super::super::commands::Commands;
use super::super::facts::{Facts, ModuleCopy};
use super::super::finding::{Finding, Level, Mend, one_line};
use super::super::prosody::{listed, replacing};
use super::seen::{Daemon, Server, connections, state_of, stranger};
use crate::protocol::PROTOCOL_VERSION;

pub(super) fn running(server: &Server, facts: Option<&Facts>, commands: &Commands) -> Finding {
    match facts {
        _ if server.is_running => Finding::ok(
            "running",
            format!("Prosody runs as {}", one_line(&server.user)),
        ),
        None => Finding::not_checked("running", "prosodyctl didn't tell"),
        Some(_) => Finding::problem(
            "running",
            "Prosody isn't running",
            Mend::Run(commands.start_prosody()),
        ),
    }
}

/// Is each host that shall have EXTERNAL declared, by a connection that lives?
///
/// `is_hindered`: something that was found already keeps Prosody from connecting.
pub(super) fn hosts(
    daemon: &Daemon,
    server: &Server,
    facts: Option<&Facts>,
    is_hindered: bool,
    commands: &Commands,
) -> Vec<Finding> {
    let Some(facts) = facts else {
        return vec![Finding::not_checked(
            "hosts",
            "only prosodyctl knows the hosts",
        )];
    };
    let Some(status) = daemon.status() else {
        return vec![Finding::not_checked("hosts", "the daemon doesn't answer")];
    };
    if !server.is_running {
        return vec![Finding::not_checked("hosts", "Prosody isn't running")];
    }
    if facts.enabled().next().is_none() {
        return vec![Finding::not_checked(
            "hosts",
            "mod_saslcertd is enabled for no host",
        )];
    }
    let restart = || Mend::Run(commands.restart_prosody());
    if let Some(stranger) = of_other_version(daemon, server, facts, commands) {
        return vec![stranger];
    }
    if connections(daemon).next().is_none() {
        let message = "Prosody isn't connected to the daemon";
        return vec![if is_hindered {
            Finding::not_checked("hosts", format!("{message}, see above"))
        } else {
            let why = "it wasn't restarted since mod_saslcertd was enabled";
            Finding::problem("hosts", format!("{message}: {why}"), restart())
        }];
    }
    let mut ready = Vec::new();
    let mut all = Vec::new();
    for host in facts.enabled() {
        let state = state_of(status, host);
        let is_attached = state.is_some_and(|state| state.attached);
        let is_ready = state.is_some_and(|state| state.ready);
        let is_as_configured = state.is_some_and(|state| state.options == host.options);
        let name = one_line(&host.name);
        if host.client_certs && !is_attached {
            all.push(Finding::not_checked(
                "hosts",
                format!("{name}: mod_client_certs is in the way"),
            ));
        } else if !is_attached {
            let message = format!(
                "{name} wasn't declared by the Prosody that is connected: it runs with an older configuration"
            );
            all.push(Finding::problem("hosts", message, restart()));
        } else if !is_ready && is_as_configured {
            let why = format!("{name} gets no EXTERNAL until its options are mended");
            all.push(Finding::not_checked("hosts", why));
        } else if !is_as_configured {
            let message = format!("{name} was declared with other options than are configured now");
            let reload = Mend::Run(commands.reload_prosody());
            all.push(if is_ready {
                Finding::warning("hosts", message, reload)
            } else {
                Finding::problem("hosts", message, reload)
            });
        } else {
            ready.push(host.name.as_str());
        }
    }
    if !ready.is_empty() {
        all.push(Finding::ok("hosts", format!("ready: {}", listed(&ready))));
    }
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level == Level::Problem));
    all
}

/// Which copy of the module it runs, and what has to change.
fn of_other_version(
    daemon: &Daemon,
    server: &Server,
    facts: &Facts,
    commands: &Commands,
) -> Option<Finding> {
    let stranger = stranger(daemon, server)?;
    let module = stranger.module.clone().unwrap_or_default();
    let loaded = ModuleCopy {
        version: module.version,
        path: module.path.into(),
        protocol: stranger.protocol,
    };
    let message = format!(
        "Prosody runs {}, which speaks version {} of the protocol; the daemon speaks {PROTOCOL_VERSION}",
        loaded.shown(),
        loaded.protocol,
    );
    // The copy that it would load now may be the right one.
    let mend = if facts.module.protocol == PROTOCOL_VERSION {
        Some(Mend::Run(commands.restart_prosody()))
    } else {
        replacing(facts, commands)
    };
    Some(Finding::new("hosts", Level::Problem, message, mend))
}
