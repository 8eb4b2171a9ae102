//! One line as a message: a question, an answer, an error; read and written.
//!
//! Must not know: what a question means, sockets.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::fault::{Fault, Refusal};
use super::limits::{MAX_ANSWER_BYTES, MAX_ID_BYTES};
use super::servers::{ServerNotice, ServerRequest};

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
/// A line with the answer yes.
pub fn success(id: &Id, result: &impl Serialize) -> String {
    let answer = Success {
        jsonrpc: "2.0",
        id,
        result,
    };
    match serde_json::to_string(&answer) {
        Ok(line) if line.len() < MAX_ANSWER_BYTES => line + "\n",
        // No answer's type can't be written; were there one, it would be no yes.
        Ok(_) | Err(_) => failure(Some(id), &Fault::AnswerTooLong.into()),
    }
}

#[derive(Serialize)]
struct Success<'a, T> {
    jsonrpc: &'static str,
    id: &'a Id,
    result: &'a T,
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
                    "fault": fault.name(),
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
pub fn question<Q: ServerRequest>(id: &str, question: &Q) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": Q::METHOD, "params": question}).to_string() + "\n"
}

/// A line with what we tell.
pub fn notice<N: ServerNotice>(notice: &N) -> String {
    json!({"jsonrpc": "2.0", "method": N::METHOD, "params": notice}).to_string() + "\n"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

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
