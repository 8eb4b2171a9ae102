//! Declares hosts that no Prosody has declared.

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{AskError, Asker};
use super::limits::PROTOCOL_VERSION;
use crate::identity::Host;

/// Says hello, and declares those of `hosts` that nobody has declared yet, with their accounts in the daemon and without
/// options. What was declared stays as it is.
pub(crate) fn declare_unknown(
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
