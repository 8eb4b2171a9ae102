//! Asks the daemon questions over its socket, one after the other.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::limits::MAX_ANSWER_BYTES;
use super::request::Request;
use super::status::{DaemonState, Status};
use crate::system::services::start_line;

/// A connection to the daemon.
#[derive(Debug)]
pub(crate) struct Asker {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
    questions: u64,
    who: Who,
}

/// Who asks: how long for, and what it lacks when it is not listened to.
#[derive(Debug)]
struct Who {
    answer_timeout: Duration,
    /// In order to open the socket.
    to_open: &'static str,
    /// In order to be talked to.
    to_talk: &'static str,
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
        let admin = Who {
            answer_timeout: ANSWER_TIMEOUT,
            to_open: "ask as root",
            to_talk: "ask as root, or start it with --admin-user",
        };
        Self::connect_as(admin, socket)
    }

    /// The same for a server, which waits `answer_timeout` for each answer.
    ///
    /// Errors: as of [`Asker::connect`].
    pub(crate) fn connect_as_server(
        socket: &Path,
        answer_timeout: Duration,
    ) -> anyhow::Result<Self> {
        let server = Who {
            answer_timeout,
            to_open: "let its group into the folder of the socket",
            to_talk: "start it with --server-user and this user's name",
        };
        Self::connect_as(server, socket)
    }

    fn connect_as(who: Who, socket: &Path) -> anyhow::Result<Self> {
        let shown = socket.display();
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!(
                "saslcertd is not running: there is no socket {shown} (as root, start it with: {}; or name its socket \
                 with --socket)",
                start_line(socket)
            ),
            ErrorKind::ConnectionRefused => anyhow!(
                "saslcertd is not running: nobody answers at {shown} (as root, start it with: {})",
                start_line(socket)
            ),
            ErrorKind::PermissionDenied => {
                anyhow!("{shown} may not be opened by this user; {}", who.to_open)
            }
            _ => anyhow::Error::new(error).context(format!("cannot connect to {shown}")),
        })?;
        stream.set_read_timeout(Some(who.answer_timeout))?;
        stream.set_write_timeout(Some(who.answer_timeout))?;
        Ok(Self {
            socket: socket.to_owned(),
            stream: BufReader::new(stream),
            questions: 0,
            who,
        })
    }

    /// The answer to a question. See [`Asker::ask`].
    pub(crate) fn put<Q: Request + Serialize>(
        &mut self,
        question: &Q,
    ) -> Result<Q::Answer, AskError> {
        let answer = self.ask(Q::METHOD, question)?;
        let read = serde_json::from_value(answer);
        read.map_err(|_| AskError::Lost(anyhow!(self.stranger())))
    }

    /// The result of `method`, asked with `params`. What the daemon asks meanwhile stays unanswered: who says
    /// hello with it, says `"sessions":false`. The question's line is wiped: passwords stand in some.
    pub(crate) fn ask(&mut self, method: &str, params: &impl Serialize) -> Result<Value, AskError> {
        self.questions += 1;
        let id = self.questions;
        let question = Question {
            jsonrpc: "2.0",
            id,
            method,
            params,
        };
        // Room for every question with a password: a buffer that grows leaves copies behind.
        let mut line = Zeroizing::new(Vec::with_capacity(16 * 1024));
        serde_json::to_writer(&mut *line, &question).map_err(|e| AskError::Lost(e.into()))?;
        line.push(b'\n');
        let written = self.stream.get_mut().write_all(&line);
        drop(line);
        if let Err(error) = written {
            // Who is not listened to may have been told why.
            return match self.read_line() {
                Ok(mut answer) if answer.get("error").is_some() => self.result_of(&mut answer),
                _ => Err(AskError::Lost(self.lost(error))),
            };
        }
        let deadline = Instant::now() + self.who.answer_timeout;
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

    /// What the daemon says of itself, with all its hosts, however many pages they are.
    pub(crate) fn status(&mut self) -> Result<DaemonState, AskError> {
        let mut whole = self.put(&Status::default())?;
        while let Some(after) = whole.next.take() {
            let page = self.put(&Status { after: Some(after) })?;
            whole.hosts.extend(page.hosts);
            whole.next = page.next;
        }
        Ok(whole)
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
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe if self.questions <= 1 => {
                anyhow!(
                    "saslcertd at {shown} does not talk to this user; {}",
                    self.who.to_talk
                )
            }
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

#[derive(Serialize)]
struct Question<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a P,
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
