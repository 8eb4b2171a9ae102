//! Declares a host that no Prosody has declared, for a tool that asks about it.
//!
//! Must not know: what the tool asks.

use serde_json::Map;

use super::client::{AskError, Asker};
use super::limits::PROTOCOL_VERSION;
use super::sessions::{Accounts, AnyHello, Hello, HelloHost, HostWelcome, Welcome};
use crate::identity::Host;

/// Says hello, and declares those of `hosts` that nobody has declared yet, with their accounts in the daemon and without
/// options. A host that was declared stays as it is. `waits_ms`: see [`Hello`].
pub(crate) fn declare_unknown(
    daemon: &mut Asker,
    software: &str,
    hosts: &[Host],
    waits_ms: Option<u32>,
) -> Result<(), AskError> {
    let attached = hosts.iter().map(attach).collect();
    let Welcome { hosts: known, .. } = say_hello(daemon, software, attached, waits_ms)?;
    let is_unknown = |host: &Host| {
        let row = known.iter().find(|row| row.host == host.as_str());
        row.is_some_and(is_undeclared)
    };
    if !hosts.iter().any(is_unknown) {
        return Ok(());
    }
    let declare = |host: &Host| HelloHost {
        options: is_unknown(host).then(Map::new),
        ..attach(host)
    };
    let declared = hosts.iter().map(declare).collect();
    say_hello(daemon, software, declared, waits_ms)?;
    Ok(())
}

/// Declares a host, with its accounts in the daemon and without options.
pub(crate) fn declare(daemon: &mut Asker, software: &str, host: &Host) -> Result<(), AskError> {
    let row = HelloHost {
        options: Some(Map::new()),
        ..attach(host)
    };
    say_hello(daemon, software, vec![row], None)?;
    Ok(())
}

fn say_hello(
    daemon: &mut Asker,
    software: &str,
    hosts: Vec<HelloHost>,
    waits_ms: Option<u32>,
) -> Result<Welcome, AskError> {
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        software: software.to_owned(),
        hosts: hosts.into(),
        global: None,
        folder: None,
        continued: false,
        // It hears nothing that is asked of it.
        sessions: false,
        module: None,
        waits_ms,
    };
    daemon.ask(&AnyHello::Ours(hello))
}

fn attach(host: &Host) -> HelloHost {
    HelloHost {
        host: host.to_string(),
        accounts: Accounts::Daemon,
        options: None,
        page: None,
        web: None,
    }
}

/// A host that is declared, and not ready, has options to name.
fn is_undeclared(host: &HostWelcome) -> bool {
    !host.ready && host.errors.iter().all(|error| error.option.is_none())
}
