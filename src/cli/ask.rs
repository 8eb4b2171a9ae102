//! Asks the daemon one question over its socket.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::daemon::protocol::MAX_ANSWER_BYTES;

/// The result of `method`, asked with `params`.
///
/// Errors: in words for an admin: who could not be reached and what to do, or what the daemon refused.
pub(super) fn ask(socket: &Path, method: &str, params: &Value) -> anyhow::Result<Value> {
    let shown = socket.display();
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow::anyhow!(
            "saslcertd is not running: there is no socket {shown} (start it with: saslcertd serve; or name \
             its socket with --socket)"
        ),
        ErrorKind::ConnectionRefused => anyhow::anyhow!(
            "saslcertd is not running: nobody answers at {shown} (start it with: saslcertd serve)"
        ),
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{shown} may not be opened by this user; ask as root")
        }
        _ => anyhow::Error::new(error).context(format!("cannot connect to {shown}")),
    })?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    stream
        .write_all(format!("{question}\n").as_bytes())
        .with_context(|| format!("saslcertd at {shown} takes no question"))?;
    let mut line = String::new();
    let limit = MAX_ANSWER_BYTES as u64;
    let read = BufReader::new(stream.take(limit)).read_line(&mut line);
    match read {
        Ok(0) => bail!(
            "saslcertd at {shown} does not talk to this user; ask as root, or start it with --admin-user"
        ),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            bail!("saslcertd at {shown} does not answer; is it stopped, or its disk stuck?")
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {
            bail!(
                "saslcertd at {shown} does not talk to this user; ask as root, or start it with --admin-user"
            )
        }
        Err(error) => return Err(error).context(format!("no answer from {shown}")),
    }
    let mut answer: Value = serde_json::from_str(&line)
        .with_context(|| format!("what answers at {shown} is not saslcertd"))?;
    if let Some(message) = answer.pointer("/error/message").and_then(Value::as_str) {
        bail!("{message}");
    }
    match answer.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => bail!("what answers at {shown} is not saslcertd"),
    }
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
