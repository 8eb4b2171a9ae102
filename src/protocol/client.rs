//! Asks the daemon questions over its socket, one after the other.
//!
//! Must not know: which questions there are, what an answer means.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::error_object::{ErrorObject, REFUSED};
use super::fault::Fault;
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

/// The program that asks: how long it waits, and which right it lacks when the daemon does not listen to it.
#[derive(Debug)]
struct Who {
    answer_timeout: Duration,
    /// In order to open the socket.
    to_open: &'static str,
    /// In order to be talked to.
    to_talk: &'static str,
}

/// Why a question has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// **No**: the question was decided, and refused.
    #[error("{message}")]
    Refused {
        /// Fixed text that may be shown to anybody.
        message: String,
        /// The denial, by the names of docs/protocol.md.
        denial: Option<String>,
    },
    /// It could not be decided: nothing is known about the answer. The connection goes on.
    #[error("{message}")]
    Fault {
        /// The error's code, see docs/protocol.md.
        code: i64,
        /// Its name: see [`Fault::name`].
        name: Option<String>,
        /// Fixed text that may be shown to anybody.
        message: String,
    },
    /// The connection is of no more use. Whether a change that was asked for has happened is not known.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl From<ErrorObject<'_>> for AskError {
    fn from(error: ErrorObject<'_>) -> Self {
        let ErrorObject {
            code,
            message,
            data,
        } = error;
        let message = message.into_owned();
        if code == REFUSED {
            return Self::Refused {
                message,
                denial: data.denial.map(Cow::into_owned),
            };
        }
        Self::Fault {
            code,
            name: data.fault.map(Cow::into_owned),
            message,
        }
    }
}

impl AskError {
    /// Is it this fault?
    pub(crate) fn is(&self, fault: &Fault) -> bool {
        matches!(self, Self::Fault { name: Some(name), .. } if name == fault.name())
    }
}

/// Why the daemon can't be talked to, in words for an admin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// There is no socket.
    #[error(
        "saslcertd is not running: there is no socket {} (as root, start it with: {}; or name its socket with --socket)",
        .0.display(),
        start_line(.0)
    )]
    NoSocket(PathBuf),
    /// A socket, and nobody behind it.
    #[error(
        "saslcertd is not running: nobody answers at {} (as root, start it with: {})",
        .0.display(),
        start_line(.0)
    )]
    NobodyThere(PathBuf),
    /// The socket is closed to this user.
    #[error("{} may not be opened by this user; {remedy}", .socket.display())]
    MayNotOpen {
        /// The socket.
        socket: PathBuf,
        /// The remedy, in words.
        remedy: &'static str,
    },
    /// The socket can't be opened.
    #[error("cannot connect to {}", .socket.display())]
    CannotConnect {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The daemon hangs up on strangers without a word.
    #[error("saslcertd at {} does not talk to this user; {remedy}", .socket.display())]
    NotTalkedTo {
        /// The socket.
        socket: PathBuf,
        /// The remedy, in words.
        remedy: &'static str,
    },
    /// It hung up.
    #[error("saslcertd at {} has closed the connection; was it stopped?", .0.display())]
    Closed(PathBuf),
    /// It says nothing.
    #[error("saslcertd at {} does not answer; is it stopped, or its disk stuck?", .0.display())]
    Silent(PathBuf),
    /// It can't be read from.
    #[error("no answer from {}", .socket.display())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else answers.
    #[error("what answers at {} is not saslcertd", .0.display())]
    Stranger(PathBuf),
    /// It answers with something else than was asked for.
    #[error("the answer of saslcertd at {} is not readable; is it of another version?", .socket.display())]
    OtherAnswer {
        /// The socket.
        socket: PathBuf,
        /// The problem with it.
        source: serde_json::Error,
    },
}

impl Asker {
    /// Connects to the daemon's socket.
    ///
    /// Errors: in words for an admin: who could not be reached and what to do.
    pub(crate) fn connect(socket: &Path) -> Result<Self, Lost> {
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
    pub(crate) fn connect_as_server(socket: &Path, answer_timeout: Duration) -> Result<Self, Lost> {
        let server = Who {
            answer_timeout,
            to_open: "let its group into the folder of the socket",
            to_talk: "start it with --server-user and this user's name",
        };
        Self::connect_as(server, socket)
    }

    fn connect_as(who: Who, socket: &Path) -> Result<Self, Lost> {
        let at = || socket.to_owned();
        let cannot = |source| Lost::CannotConnect {
            socket: at(),
            source,
        };
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Lost::NoSocket(at()),
            ErrorKind::ConnectionRefused => Lost::NobodyThere(at()),
            ErrorKind::PermissionDenied => Lost::MayNotOpen {
                socket: at(),
                remedy: who.to_open,
            },
            _ => cannot(error),
        })?;
        let limit = Some(who.answer_timeout);
        stream.set_read_timeout(limit).map_err(cannot)?;
        stream.set_write_timeout(limit).map_err(cannot)?;
        Ok(Self {
            socket: at(),
            stream: BufReader::new(stream),
            questions: 0,
            who,
        })
    }

    /// The answer to a question. The daemon's own questions stay unanswered meanwhile: a caller that says hello with it says
    /// `"sessions":false`. The question's line is wiped: passwords stand in some.
    pub(crate) fn ask<Q: Request + Serialize>(
        &mut self,
        question: &Q,
    ) -> Result<Q::Answer, AskError> {
        let answer = self.result(Q::METHOD, question)?;
        let read = serde_json::from_value(answer);
        let socket = self.socket.clone();
        Ok(read.map_err(|source| Lost::OtherAnswer { socket, source })?)
    }

    fn result(&mut self, method: &str, params: &impl Serialize) -> Result<Value, AskError> {
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
        // Proof: no question has a map with other keys than texts, or writes where that may fail.
        let written = serde_json::to_writer(&mut *line, &question);
        debug_assert!(written.is_ok(), "{written:?}");
        line.push(b'\n');
        let written = self.stream.get_mut().write_all(&line);
        drop(line);
        if let Err(error) = written {
            // A peer that the daemon does not listen to may have been told why.
            return match self.read_line() {
                Ok(mut answer) if answer.get("error").is_some() => self.result_of(&mut answer),
                _ => Err(self.lost(error).into()),
            };
        }
        let deadline = Instant::now() + self.who.answer_timeout;
        loop {
            let mut answer = self.read_line()?;
            if answer.get("method").is_none() {
                // A line that the daemon could not read has no id. There is only ours.
                let answered = answer.get("id").unwrap_or(&Value::Null);
                if answered.as_u64() == Some(id) || answered.is_null() {
                    return self.result_of(&mut answer);
                }
            }
            if Instant::now() > deadline {
                return Err(self.lost(ErrorKind::WouldBlock.into()).into());
            }
        }
    }

    /// The daemon's state, with all its hosts, however many pages they are.
    pub(crate) fn status(&mut self) -> Result<DaemonState, AskError> {
        let mut whole = self.ask(&Status::default())?;
        while let Some(after) = whole.next.take() {
            let page = self.ask(&Status { after: Some(after) })?;
            whole.hosts.extend(page.hosts);
            whole.next = page.next;
        }
        Ok(whole)
    }

    fn read_line(&mut self) -> Result<Value, Lost> {
        let mut line = String::new();
        let read = (&mut self.stream)
            .take(MAX_ANSWER_BYTES as u64)
            .read_line(&mut line);
        match read {
            Ok(0) => Err(self.lost(ErrorKind::ConnectionReset.into())),
            Ok(_) => serde_json::from_str(&line).map_err(|_| self.stranger()),
            Err(error) => Err(self.lost(error)),
        }
    }

    fn result_of(&self, answer: &mut Value) -> Result<Value, AskError> {
        if let Some(error) = answer.get_mut("error").map(Value::take) {
            let read = serde_json::from_value::<ErrorObject<'_>>(error);
            return Err(read.map_or_else(|_| self.stranger().into(), AskError::from));
        }
        let result = answer.get_mut("result").map(Value::take);
        result.ok_or_else(|| self.stranger().into())
    }

    fn lost(&self, source: io::Error) -> Lost {
        let socket = self.socket.clone();
        match source.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe if self.questions <= 1 => {
                let remedy = self.who.to_talk;
                Lost::NotTalkedTo { socket, remedy }
            }
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Lost::Closed(socket),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Lost::Silent(socket),
            _ => Lost::NoAnswer { socket, source },
        }
    }

    fn stranger(&self) -> Lost {
        Lost::Stranger(self.socket.clone())
    }
}

#[derive(Serialize)]
struct Question<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a P,
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
