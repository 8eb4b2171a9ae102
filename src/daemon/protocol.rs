//! The protocol's words: lines with limits, answers and errors; `questions` has the fields of each question. docs/protocol.md is its reference.
//!
//! Must not know: what a question means, sockets.

mod each;
mod questions;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::identity::visible::visible;
use crate::policy::Denial;

use super::connection::Role;
pub use each::{Bad, Each};
pub use questions::*;

/// The version that `session.hello` must ask for.
pub const PROTOCOL_VERSION: u32 = 1;
/// Longest question, newline included.
pub const MAX_QUESTION_BYTES: usize = 128 * 1024;
/// Longest answer, newline included.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// A page of a list is closed when it is larger than this.
pub const PAGE_BYTES: usize = 64 * 1024;
/// Most certificates in a chain.
pub const MAX_CHAIN: usize = 6;
/// Most base64 in a chain, all certificates together.
pub const MAX_CHAIN_BASE64_BYTES: usize = 64 * 1024;
/// Most base64 of one certificate.
pub const MAX_CERTIFICATE_BASE64_BYTES: usize = 24 * 1024;
/// Longest id of a question.
const MAX_ID_BYTES: usize = 64;

/// Cuts a stream of bytes into lines; what is longer than a question is skipped, not kept.
#[derive(Debug, Default)]
pub struct Lines {
    unfinished: Vec<u8>,
    is_skipping: bool,
}

/// A line, or what stands for one that was too long.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its newline.
    Whole(Vec<u8>),
    /// A line of more than [`MAX_QUESTION_BYTES`] was skipped.
    TooLong,
}

impl Lines {
    /// Takes the next bytes of the stream and hands each line that they complete to `take`.
    ///
    /// Keeps at most [`MAX_QUESTION_BYTES`].
    pub fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(Line)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.keep(line);
            if std::mem::take(&mut self.is_skipping) {
                self.unfinished.clear();
                take(Line::TooLong);
            } else {
                take(Line::Whole(std::mem::take(&mut self.unfinished)));
            }
        }
        self.keep(bytes);
    }

    /// Is a line begun and not finished?
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.is_skipping || !self.unfinished.is_empty()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.is_skipping {
            return;
        }
        // Less the newline, which is not kept.
        if self.unfinished.len() + bytes.len() >= MAX_QUESTION_BYTES {
            self.unfinished = Vec::new();
            self.is_skipping = true;
            return;
        }
        self.unfinished.extend_from_slice(bytes);
    }
}

/// What a peer's line may be.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    /// A question; without an id it is a notification.
    Question {
        /// Echoed in the answer.
        id: Option<Id>,
        /// Which question.
        method: String,
        /// Its fields; an empty object when there are none.
        params: Value,
    },
    /// The answer to a question of ours.
    Answer {
        /// Our id.
        id: String,
        /// The result, or the error's message.
        result: Result<Value, String>,
    },
}

/// A question's id: a number or a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A number, as it came.
    Number(serde_json::Number),
    /// A string of at most 64 bytes.
    Text(String),
}

/// Reads one line.
///
/// Errors: the answer to send instead, with the question's id where one could be read.
pub fn parse(line: &[u8]) -> Result<Incoming, (Option<Id>, Fault)> {
    let text = std::str::from_utf8(line).map_err(|_| (None, Fault::NotUtf8))?;
    let mut object = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err((None, Fault::NotQuestion("one JSON object is wanted"))),
        Err(error) => {
            return Err((
                None,
                Fault::NotJson {
                    column: error.column(),
                },
            ));
        }
    };
    let id = match object.remove("id") {
        None => None,
        Some(Value::Number(number)) => Some(Id::Number(number)),
        Some(Value::String(text)) if text.len() <= MAX_ID_BYTES => Some(Id::Text(text)),
        Some(_) => {
            return Err((
                None,
                Fault::NotQuestion("the id must be a number or a string of at most 64 bytes"),
            ));
        }
    };
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err((id, Fault::NotQuestion("\"jsonrpc\":\"2.0\" is missing")));
    }
    let method = match object.remove("method") {
        Some(Value::String(method)) => method,
        Some(_) => return Err((id, Fault::NotQuestion("the method must be a string"))),
        None => return answer(id, &mut object),
    };
    let params = match object.remove("params") {
        None => Value::Object(Map::new()),
        Some(params @ Value::Object(_)) => params,
        Some(_) => return Err((id, Fault::NotQuestion("the params must be an object"))),
    };
    Ok(Incoming::Question { id, method, params })
}

fn answer(
    id: Option<Id>,
    object: &mut Map<String, Value>,
) -> Result<Incoming, (Option<Id>, Fault)> {
    let result = match (object.remove("result"), object.remove("error")) {
        (Some(result), None) => Ok(result),
        (None, Some(error)) => Err(error
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("no message")
            .to_owned()),
        _ => return Err((id, Fault::NotQuestion("the method is missing"))),
    };
    match id {
        Some(Id::Text(id)) => Ok(Incoming::Answer { id, result }),
        id => Err((
            id,
            Fault::NotQuestion("an answer to nothing that was asked"),
        )),
    }
}

/// Every reason why a question has no decision. Never means "no".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The asker's: bytes that are not text.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// The asker's: not JSON, or nested too deeply.
    #[error("the line is not JSON (at column {column})")]
    NotJson {
        /// Where it stops being JSON.
        column: usize,
    },
    /// The asker's: longer than [`MAX_QUESTION_BYTES`].
    #[error("the line is longer than 131072 bytes")]
    TooLong,
    /// The asker's: JSON, but not a question.
    #[error("{0}")]
    NotQuestion(&'static str),
    /// The asker's: unknown, or not for its role.
    #[error("there is no method {method}{}", for_admins(*.uid, *.role))]
    UnknownMethod {
        /// What was asked for; shortened.
        method: String,
        /// Who asks.
        uid: u32,
        /// What else it may ask.
        role: Role,
    },
    /// The asker's: a field is missing or wrong.
    #[error("{problem}")]
    WrongParams {
        /// Which, and what it must be.
        problem: String,
    },
    /// The asker's: nobody declared the host.
    #[error("the host was not declared")]
    HostUndeclared,
    /// The admin's: a host can't be forgotten that somebody who is connected declares.
    #[error("a server that is connected declares the host; take it out of its configuration first")]
    HostDeclared,
    /// The admin's: the host's options are in error.
    #[error("the host's options are in error")]
    HostNotReady,
    /// The asker's: a question about passwords, for a host whose accounts live in Prosody.
    #[error("the host's accounts live in Prosody")]
    AccountsInProsody,
    /// The admin's: only Prosody knows, and it cannot be asked.
    #[error("the accounts of this host live in Prosody, and Prosody can't be asked: {problem}")]
    ServerAway {
        /// Why not.
        problem: &'static str,
    },
    /// The admin's: a file of the host's authorities or revocation lists can't be used.
    #[error("the authorities could not be asked")]
    AuthoritiesUnreadable,
    /// The asker's: `session.hello` comes first.
    #[error(
        "session.hello comes first, since user {uid} is a server's (--server-user); an administrator (--admin-user {uid}) \
         needs none"
    )]
    NoHello {
        /// Who asks.
        uid: u32,
    },
    /// The asker's: no flag admits its user.
    #[error(
        "user {uid} may not ask: start saslcertd with --server-user {uid} if Prosody runs as that user, or with \
         --admin-user {uid}"
    )]
    NotAdmitted {
        /// Who asks.
        uid: u32,
    },
    /// The asker's: another version of the protocol.
    #[error("this saslcertd speaks version {PROTOCOL_VERSION} of the protocol")]
    OtherVersion,
    /// Ours: too much is going on.
    #[error("too many questions are waiting")]
    Overload,
    /// Ours: it took too long. What was to be changed may be changed later.
    #[error("the answer took too long")]
    Deadline,
    /// The admin's: the disk is nearly full. Whatever frees or protects goes on.
    #[error("the server's disk is nearly full")]
    DiskFull,
    /// Ours: the store.
    #[error("the store could not be asked")]
    Storage,
    /// Ours: an answer that is longer than the protocol allows.
    #[error("the answer is too long")]
    AnswerTooLong,
}

/// What may be missing.
fn for_admins(uid: u32, role: Role) -> String {
    match role {
        Role::Admin => String::new(),
        Role::Server => format!(
            ", or only for administrators: user {uid} is a server's (--server-user), --admin-user {uid} makes it one"
        ),
    }
}

impl Fault {
    fn code(&self) -> i32 {
        match self {
            Self::NotUtf8 | Self::NotJson { .. } | Self::TooLong => -32700,
            Self::NotQuestion(_) => -32600,
            Self::UnknownMethod { .. } => -32601,
            Self::WrongParams { .. } => -32602,
            Self::Overload
            | Self::Deadline
            | Self::DiskFull
            | Self::Storage
            | Self::ServerAway { .. }
            | Self::AuthoritiesUnreadable
            | Self::AnswerTooLong => -32001,
            Self::HostUndeclared
            | Self::HostDeclared
            | Self::HostNotReady
            | Self::AccountsInProsody => -32002,
            Self::NoHello { .. } | Self::NotAdmitted { .. } | Self::OtherVersion => -32003,
        }
    }

    fn stanza(&self) -> (&'static str, &'static str) {
        match self {
            Self::Overload
            | Self::Deadline
            | Self::ServerAway { .. }
            | Self::AuthoritiesUnreadable => ("wait", "remote-server-timeout"),
            Self::DiskFull => ("wait", "resource-constraint"),
            Self::HostUndeclared
            | Self::HostDeclared
            | Self::HostNotReady
            | Self::AccountsInProsody => ("cancel", "service-unavailable"),
            Self::WrongParams { .. } => ("modify", "bad-request"),
            Self::NotUtf8
            | Self::NotJson { .. }
            | Self::TooLong
            | Self::NotQuestion(_)
            | Self::UnknownMethod { .. }
            | Self::NoHello { .. }
            | Self::NotAdmitted { .. }
            | Self::OtherVersion
            | Self::Storage
            | Self::AnswerTooLong => ("wait", "internal-server-error"),
        }
    }
}

/// A question that was not answered with yes.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// It was decided, and refused. Read by a stranger who wants to log in.
    Login(Denial),
    /// It was decided, and refused. Read by the account's owner.
    Management(Denial),
    /// A password was refused. Read by a stranger, after a delay.
    Password {
        /// Why.
        denial: Denial,
        /// In seconds.
        delay: f64,
    },
    /// It was not decided.
    Fault(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A line with the answer yes.
pub fn success(id: &Id, result: &impl Serialize) -> String {
    let line = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    if line.len() < MAX_ANSWER_BYTES {
        line + "\n"
    } else {
        failure(Some(id), &Fault::AnswerTooLong.into())
    }
}

/// A line with any other answer; without an id where none could be read.
#[must_use]
pub fn failure(id: Option<&Id>, refusal: &Refusal) -> String {
    let error = match refusal {
        Refusal::Login(denial) => {
            let words = denial.words();
            denied(&words, words.sasl_text)
        }
        Refusal::Management(denial) => {
            let words = denial.words();
            denied(&words, &words.stanza_text)
        }
        Refusal::Password { denial, delay } => {
            let words = denial.words();
            let mut error = denied(&words, words.sasl_text);
            if let Some(data) = error.get_mut("data").and_then(Value::as_object_mut) {
                data.insert("delay".to_owned(), json!(delay));
            }
            error
        }
        Refusal::Fault(fault) => {
            let (stanza_type, condition) = fault.stanza();
            json!({
                "code": fault.code(),
                "message": fault.to_string(),
                "data": {
                    "sasl": "temporary-auth-failure",
                    "stanza": {"type": stanza_type, "condition": condition},
                },
            })
        }
    };
    json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string() + "\n"
}

fn denied(words: &crate::policy::denial::Words, message: &str) -> Value {
    json!({
        "code": -32000,
        "message": message,
        "data": {
            "denial": words.code,
            "sasl": words.sasl,
            "stanza": {"type": words.stanza_type, "condition": words.stanza},
        },
    })
}

/// A line with a question of ours.
#[must_use]
pub fn question(id: &str, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string() + "\n"
}

/// Reads a question's fields.
pub fn fields<T: DeserializeOwned>(params: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(params).map_err(|error| {
        let problem = match error.path().to_string().as_str() {
            "." => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        };
        Fault::WrongParams {
            // Types and names of variants are the asker's own words.
            problem: visible(&problem.chars().take(200).collect::<String>()).into_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn fed(chunks: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |line| out.push(line));
        }
        out
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(fed(&[b"a\nb\n"]), [whole("a"), whole("b")]);
        assert_eq!(fed(&[b"a", b"b\n", b"\nc"]), [whole("ab"), whole("")]);
    }

    #[test]
    fn a_line_that_is_too_long_costs_nothing_but_itself() {
        let longest = vec![b'x'; MAX_QUESTION_BYTES - 1];
        assert_eq!(fed(&[&longest, b"\n"]), [Line::Whole(longest.clone())]);
        let longer = vec![b'x'; MAX_QUESTION_BYTES];
        let after = Line::Whole(b"a".to_vec());
        assert_eq!(fed(&[&longer, &longer, b"yy\na\n"]), [Line::TooLong, after]);
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.feed(&longer, |_| {});
        }
        assert!(lines.is_unfinished());
        assert!(lines.unfinished.capacity() <= MAX_QUESTION_BYTES);
    }

    #[test]
    fn what_is_not_a_question_is_answered_with_its_code_and_id() {
        let deep = "[".repeat(200);
        for (line, code, id) in [
            (&b"\xff"[..], -32700, None),
            (b"{", -32700, None),
            (deep.as_bytes(), -32700, None),
            (b"[]", -32600, None),
            (b"{\"id\":3}", -32600, Some("3")),
            (b"{\"jsonrpc\":\"2.0\",\"id\":\"x\"}", -32600, Some("\"x\"")),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"a\"}",
                -32600,
                None,
            ),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":1}",
                -32600,
                Some("1"),
            ),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":[]}",
                -32600,
                Some("1"),
            ),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
                -32600,
                Some("1"),
            ),
        ] {
            let shown = String::from_utf8_lossy(line);
            let (got, fault) = parse(line).unwrap_err();
            let got = got.map(|id| serde_json::to_string(&id).unwrap());
            assert_eq!(got.as_deref(), id, "{shown}");
            assert_eq!(fault.code(), code, "{shown}");
        }
    }

    #[test]
    fn a_fault_never_reads_as_a_decision() {
        for fault in [
            Fault::Storage,
            Fault::Deadline,
            Fault::HostUndeclared,
            Fault::NoHello { uid: 7 },
            Fault::NotAdmitted { uid: 7 },
        ] {
            let line: Value = serde_json::from_str(&failure(None, &fault.into())).unwrap();
            let data = line.pointer("/error/data").unwrap();
            assert_eq!(data.get("sasl").unwrap(), "temporary-auth-failure");
            assert_eq!(data.get("denial"), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn arbitrary_json_never_panics(text in "[\\[\\]{}\":,a-z0-9]{0,60}") {
            let _ = parse(text.as_bytes());
        }
    }
}
