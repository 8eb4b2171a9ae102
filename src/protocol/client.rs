//! Asks the daemon questions over its socket: one after the other, or some at a time.
//!
//! Must not know: which questions there are, what an answer means.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
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
    /// Answers that came before they were wanted, by their questions.
    early: HashMap<u64, Result<Box<RawValue>, AskError>>,
    who: Who,
}

/// A question that was sent. Its answer is yet to be received.
#[derive(Debug)]
pub(crate) struct Sent<Q> {
    id: u64,
    question: PhantomData<fn() -> Q>,
}

impl<Q> Sent<Q> {
    fn into_id(self) -> u64 {
        self.id
    }
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
            early: HashMap::new(),
            who,
        })
    }

    /// The answer to a question. The daemon's own questions stay unanswered meanwhile: a caller that says hello with it says
    /// `"sessions":false`. The question's line is wiped: passwords stand in some.
    pub(crate) fn ask<Q: Request + Serialize>(
        &mut self,
        question: &Q,
    ) -> Result<Q::Answer, AskError> {
        let sent = self.send(question)?;
        self.receive(sent)
    }

    /// Sends a question; others can be sent before its answer is received. The caller bounds how many.
    pub(crate) fn send<Q: Request + Serialize>(
        &mut self,
        question: &Q,
    ) -> Result<Sent<Q>, AskError> {
        self.questions += 1;
        let id = self.questions;
        let question = Question {
            jsonrpc: "2.0",
            id,
            method: Q::METHOD,
            params: question,
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
            return Err(match self.read_line().map(|line| self.heard(&line)) {
                Ok(Heard::Answer {
                    answer: Err(why), ..
                }) => why,
                _ => self.lost(error).into(),
            });
        }
        Ok(Sent {
            id,
            question: PhantomData,
        })
    }

    /// The answer to a question that was sent, whatever order the answers come in.
    pub(crate) fn receive<Q: Request>(&mut self, sent: Sent<Q>) -> Result<Q::Answer, AskError> {
        let answer = self.answer(sent.into_id())?;
        let read = serde_json::from_str(answer.get());
        let socket = self.socket.clone();
        Ok(read.map_err(|source| Lost::OtherAnswer { socket, source })?)
    }

    fn answer(&mut self, wanted: u64) -> Result<Box<RawValue>, AskError> {
        if let Some(answer) = self.early.remove(&wanted) {
            return answer;
        }
        let deadline = Instant::now() + self.who.answer_timeout;
        loop {
            let line = self.read_line()?;
            match self.heard(&line) {
                // A line that the daemon could not read has no id. It was ours.
                Heard::Answer { id, answer } if id.is_none_or(|id| id == wanted) => return answer,
                Heard::Answer {
                    id: Some(id),
                    answer,
                } if id <= self.questions => drop(self.early.insert(id, answer)),
                Heard::Answer { .. } | Heard::Other => {}
                Heard::Nonsense => return Err(self.stranger().into()),
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

    fn read_line(&mut self) -> Result<String, Lost> {
        let mut line = String::new();
        let read = (&mut self.stream)
            .take(MAX_ANSWER_BYTES as u64)
            .read_line(&mut line);
        match read {
            Ok(0) => Err(self.lost(ErrorKind::ConnectionReset.into())),
            Ok(_) => Ok(line),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// What a line of the daemon says.
    fn heard(&self, line: &str) -> Heard {
        let Ok(line) = serde_json::from_str::<AnswerLine<'_>>(line) else {
            return Heard::Nonsense;
        };
        if line.method.is_some() {
            return Heard::Other;
        }
        let id = match line.id.map(|id| serde_json::from_str::<u64>(id.get())) {
            Some(Ok(id)) => Some(id),
            // An answer to nothing that was asked here.
            Some(Err(_)) => return Heard::Other,
            None => None,
        };
        let answer = match (line.error, line.result) {
            (Some(error), _) => Err(self.why(error)),
            (None, Some(result)) => Ok(result.to_owned()),
            (None, None) => Err(self.stranger().into()),
        };
        Heard::Answer { id, answer }
    }

    fn why(&self, error: Value) -> AskError {
        let read = serde_json::from_value::<ErrorObject<'_>>(error);
        read.map_or_else(|_| self.stranger().into(), AskError::from)
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

/// What a line of the daemon turns out to be.
enum Heard {
    /// The answer to a question of ours; without an id where it could not be read.
    Answer {
        id: Option<u64>,
        answer: Result<Box<RawValue>, AskError>,
    },
    /// A question of the daemon's, or a notice.
    Other,
    /// No line of a daemon.
    Nonsense,
}

/// A line of the daemon's as it came.
#[derive(Deserialize)]
struct AnswerLine<'a> {
    method: Option<IgnoredAny>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    error: Option<Value>,
}

/// A null is an answer, too.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

#[derive(Serialize)]
struct Question<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a P,
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
