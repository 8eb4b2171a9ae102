//! Hosts on the command line: declares those that no Prosody has declared, and says what to do about one that is not.

use anyhow::anyhow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{AskError, Asker};
use crate::daemon::protocol::{Fault, PROTOCOL_VERSION};
use crate::identity::{Host, JidError};

/// A host's name, as somebody typed it.
pub(super) fn host(text: &str) -> anyhow::Result<Host> {
    Host::parse(text).map_err(|error| match error {
        JidError::Shape | JidError::NotBare => {
            anyhow!("this is not a host: a name as shakespeare.lit is wanted, without @ and /")
        }
        other => anyhow!("this is not a host: {other}"),
    })
}

/// `error`; one about a host that is not declared names `host`, and says what to do.
pub(super) fn of_host(error: AskError, host: &Host) -> anyhow::Error {
    if is_undeclared(&error) {
        not_declared(host)
    } else {
        error.into()
    }
}

/// Is it about a host that is not declared?
pub(super) fn is_undeclared(error: &AskError) -> bool {
    matches!(error, AskError::Fault { message, .. } if *message == Fault::HostUndeclared.to_string())
}

/// That in words.
pub(super) fn not_declared(host: &Host) -> anyhow::Error {
    anyhow!(
        "the host {host} is not declared (saslcertd host list shows those that are): enable mod_saslcertd in Prosody \
         and restart it"
    )
}

/// Says hello, and declares those of `hosts` that nobody has declared yet, with their accounts in the daemon and without
/// options. What was declared stays as it is.
pub(super) fn declare_unknown(
    daemon: &mut Asker,
    software: &str,
    hosts: &[Host],
) -> Result<(), AskError> {
    let mut hello = |rows: &[Value]| {
        daemon.ask(
            "session.hello",
            &json!({"protocol": PROTOCOL_VERSION, "software": software, "sessions": false, "hosts": rows}),
        )
    };
    let attach = |host: &Host| json!({"host": host, "accounts": "daemon"});
    let answer = hello(&hosts.iter().map(attach).collect::<Vec<_>>())?;
    let answered = answer.get("hosts").map(Vec::<HelloHost>::deserialize);
    let answered = answered.and_then(Result::ok).unwrap_or_default();
    let is_unknown = |host: &Host| {
        let row = answered.iter().find(|row| row.host == host.as_str());
        row.is_some_and(|row| !row.ready && row.errors.iter().all(|error| error.option.is_none()))
    };
    if !hosts.iter().any(is_unknown) {
        return Ok(());
    }
    let declare = |host: &Host| {
        let mut row = attach(host);
        if is_unknown(host)
            && let Value::Object(row) = &mut row
        {
            row.insert("options".to_owned(), json!({}));
        }
        row
    };
    hello(&hosts.iter().map(declare).collect::<Vec<_>>())?;
    Ok(())
}

#[derive(Deserialize)]
struct HelloHost {
    host: String,
    ready: bool,
    errors: Vec<Remark>,
}

#[derive(Deserialize)]
struct Remark {
    /// `None`: it is not declared, or cannot be.
    option: Option<String>,
}
