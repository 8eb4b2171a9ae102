//! Asks the daemon questions over its socket, one after the other.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use crate::daemon::protocol::MAX_ANSWER_BYTES;

/// The result of `method`, asked with `params` over a connection of its own.
///
/// Errors: in words for an admin: who could not be reached and what to do, or what the daemon refused.
pub(crate) fn ask(socket: &Path, method: &str, params: &Value) -> anyhow::Result<Value> {
    Ok(Asker::connect(socket)?.ask(method, params)?)
}

/// A connection to the daemon.
#[derive(Debug)]
pub(crate) struct Asker {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
    questions: u64,
}

/// Why a question has no result.
#[derive(Debug)]
pub(crate) enum AskError {
    /// **No**: the question was decided, and refused.
    Refused {
        /// Fixed text that may be shown to anybody.
        message: String,
        /// What was refused, by the names of docs/protocol.md.
        denial: Option<String>,
        /// How long whoever tried a password waits for this answer, in seconds.
        #[allow(dead_code)]
        delay: f64,
    },
    /// It could not be decided: nothing is known about the answer. The connection goes on.
    Fault {
        /// The error's code, see docs/protocol.md.
        code: i64,
        /// Fixed text that may be shown to anybody.
        message: String,
    },
    /// The connection is of no more use: the daemon went away, or is stuck. In words for an admin. Whether a change that
    /// was asked for has happened is not known.
    Lost(anyhow::Error),
}

impl Asker {
    /// Connects to the daemon's socket.
    ///
    /// Errors: in words for an admin: who could not be reached and what to do.
    pub(crate) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let shown = socket.display();
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!(
                "saslcertd is not running: there is no socket {shown} (start it with: saslcertd serve; or name \
                 its socket with --socket)"
            ),
            ErrorKind::ConnectionRefused => anyhow!(
                "saslcertd is not running: nobody answers at {shown} (start it with: saslcertd serve)"
            ),
            ErrorKind::PermissionDenied => {
                anyhow!("{shown} may not be opened by this user; ask as root")
            }
            _ => anyhow::Error::new(error).context(format!("cannot connect to {shown}")),
        })?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket: socket.to_owned(),
            stream: BufReader::new(stream),
            questions: 0,
        })
    }

    /// The result of `method`, asked with `params`. What the daemon asks meanwhile stays unanswered: who says
    /// hello with it, says `"sessions":false`.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Result<Value, AskError> {
        self.questions += 1;
        let id = self.questions;
        let question = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let written = self
            .stream
            .get_mut()
            .write_all(format!("{question}\n").as_bytes());
        if let Err(error) = written {
            return Err(AskError::Lost(self.lost(error)));
        }
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let mut answer = self.read_line().map_err(AskError::Lost)?;
            if answer.get("method").is_none() {
                // A line that the daemon could not read has no id. There is only ours.
                let answered = answer.get("id").unwrap_or(&Value::Null);
                if answered.as_u64() == Some(id) || answered.is_null() {
                    return self.result_of(&mut answer);
                }
            }
            if Instant::now() > deadline {
                return Err(AskError::Lost(self.lost(ErrorKind::WouldBlock.into())));
            }
        }
    }

    fn read_line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        let read = (&mut self.stream)
            .take(MAX_ANSWER_BYTES as u64)
            .read_line(&mut line);
        match read {
            Ok(0) => Err(self.lost(ErrorKind::ConnectionReset.into())),
            Ok(_) => serde_json::from_str(&line).with_context(|| self.stranger()),
            Err(error) => Err(self.lost(error)),
        }
    }

    fn result_of(&self, answer: &mut Value) -> Result<Value, AskError> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        if let Some(error) = answer.get("error") {
            let message = text(error.get("message")).unwrap_or_default();
            return Err(match error.get("code").and_then(Value::as_i64) {
                Some(REFUSED) => AskError::Refused {
                    message,
                    denial: text(error.pointer("/data/denial")),
                    delay: error
                        .pointer("/data/delay")
                        .and_then(Value::as_f64)
                        .unwrap_or(0.0),
                },
                Some(code) => AskError::Fault { code, message },
                None => AskError::Lost(anyhow!(self.stranger())),
            });
        }
        let result = answer.get_mut("result").map(Value::take);
        result.ok_or_else(|| AskError::Lost(anyhow!(self.stranger())))
    }

    fn lost(&self, error: std::io::Error) -> anyhow::Error {
        let shown = self.socket.display();
        match error.kind() {
            // The daemon hangs up on strangers without a word.
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe if self.questions <= 1 => anyhow!(
                "saslcertd at {shown} does not talk to this user; ask as root, or start it with --admin-user"
            ),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                anyhow!("saslcertd at {shown} has closed the connection; was it stopped?")
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                anyhow!("saslcertd at {shown} does not answer; is it stopped, or its disk stuck?")
            }
            _ => anyhow::Error::new(error).context(format!("no answer from {shown}")),
        }
    }

    fn stranger(&self) -> String {
        format!("what answers at {} is not saslcertd", self.socket.display())
    }
}

impl From<AskError> for anyhow::Error {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused { message, .. } | AskError::Fault { message, .. } => anyhow!(message),
            AskError::Lost(error) => error,
        }
    }
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Code of a decided no.
const REFUSED: i64 = -32_000;
