//! One line as a message: a question, an answer, an error; read and written.
//!
//! Must not know: what a question means, sockets.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::error_object::ErrorObject;
use super::fault::{Fault, Refusal};
use super::limits::{MAX_ANSWER_BYTES, MAX_ID_BYTES, MAX_NESTING};
use super::servers::{ServerNotice, ServerRequest};

/// A peer's line, of one of the kinds that there are.
#[derive(Debug, PartialEq)]
pub enum Incoming<'a> {
    /// A question; without an id it is a notification.
    Question {
        /// Echoed in the answer.
        id: Option<Id>,
        /// Which question.
        method: Cow<'a, str>,
        /// Its fields, a JSON object as it came; an empty one when there are none.
        params: &'a str,
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

/// A line's fields as they came: what they mean is found out one after the other.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A null is there, too.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// The text that stands there; `None` if it is none.
fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let behind_quote = raw.get().strip_prefix('"')?;
    // It was read as JSON already, so without a backslash it stands there as it is.
    match behind_quote.strip_suffix('"') {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => {
            let text = serde_json::from_str::<Text<'_>>(raw.get());
            text.ok().map(|Text(text)| text)
        }
    }
}

/// Reads one line.
///
/// Errors: the answer to send instead, with the question's id where one could be read.
pub fn parse(line: &[u8]) -> Result<Incoming<'_>, (Option<Id>, Fault)> {
    let line = std::str::from_utf8(line).map_err(|_| (None, Fault::NotUtf8))?;
    let object = envelope(line).map_err(|fault| (None, fault))?;
    let id = object
        .id
        .map(id)
        .transpose()
        .map_err(|fault| (None, fault))?;
    let not_question = |id, what| Err((id, Fault::NotQuestion(what)));
    if object.jsonrpc.and_then(text).as_deref() != Some("2.0") {
        return not_question(id, "\"jsonrpc\":\"2.0\" is missing");
    }
    let Some(method) = object.method else {
        return answer(id, &object);
    };
    let Some(method) = text(method) else {
        return not_question(id, "the method must be a string");
    };
    let params = object.params.map_or("{}", RawValue::get);
    if !params.starts_with('{') {
        return not_question(id, "the params must be an object");
    }
    Ok(Incoming::Question { id, method, params })
}

/// Where a line is nested too deeply: its column.
fn too_deep(line: &str) -> Option<usize> {
    let opens = |byte: &u8| matches!(byte, b'[' | b'{');
    // Hardly any line has as many.
    if line.bytes().filter(|byte| opens(byte)).count() <= MAX_NESTING {
        return None;
    }
    let (mut depth, mut is_text, mut is_escaped) = (0, false, false);
    for (at, byte) in line.bytes().enumerate() {
        if is_text {
            is_text = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => is_text = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = usize::saturating_sub(depth, 1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Some(at + 1);
        }
    }
    None
}

fn envelope(line: &str) -> Result<Envelope<'_>, Fault> {
    if let Some(column) = too_deep(line) {
        return Err(Fault::NotJson { column });
    }
    let not_json = |error: &serde_json::Error| Fault::NotJson {
        column: error.column(),
    };
    // serde would take a list for the fields in their order.
    if !line.trim_start().starts_with('{') {
        let json = serde_json::from_str::<IgnoredAny>(line);
        return Err(match json {
            Ok(_) => Fault::NotQuestion("one JSON object is wanted"),
            Err(error) => not_json(&error),
        });
    }
    serde_json::from_str(line).map_err(|error| match error.classify() {
        Category::Data => Fault::NotQuestion("a field stands there twice"),
        _ => not_json(&error),
    })
}

fn id(raw: &RawValue) -> Result<Id, Fault> {
    let read = match text(raw) {
        Some(text) => (text.len() <= MAX_ID_BYTES).then(|| Id::Text(text.into_owned())),
        None => serde_json::from_str(raw.get()).ok().map(Id::Number),
    };
    read.ok_or(Fault::NotQuestion(
        "the id must be a number or a string of at most 64 bytes",
    ))
}

fn answer<'a>(id: Option<Id>, object: &Envelope<'a>) -> Result<Incoming<'a>, (Option<Id>, Fault)> {
    let read = |raw: &RawValue| serde_json::from_str::<Value>(raw.get());
    let result = match (object.result.map(read), object.error.map(read)) {
        (Some(Ok(result)), None) => Ok(result),
        (None, Some(Ok(error))) => Err(error
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("no message")
            .to_owned()),
        (None, None) => return Err((id, Fault::NotQuestion("the method is missing"))),
        _ => return Err((id, Fault::NotQuestion("an answer has a result or an error"))),
    };
    match id {
        Some(Id::Text(id)) => Ok(Incoming::Answer { id, result }),
        id => Err((
            id,
            Fault::NotQuestion("an answer to nothing that was asked"),
        )),
    }
}

/// Appends a line with the answer yes to `lines`.
pub fn success(lines: &mut Vec<u8>, id: &Id, result: &impl Serialize) {
    let answer = Success {
        jsonrpc: "2.0",
        id,
        result,
    };
    let before = lines.len();
    let written = serde_json::to_writer(&mut *lines, &answer);
    if written.is_ok() && lines.len() - before < MAX_ANSWER_BYTES {
        lines.push(b'\n');
    } else {
        // No answer's type can't be written; were there one, it would be no yes.
        lines.truncate(before);
        lines.extend_from_slice(failure(Some(id), &Fault::AnswerTooLong.into()).as_bytes());
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
    let error = ErrorObject::from(refusal);
    json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string() + "\n"
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
    use crate::policy::access::Before;
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
                b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"a\"}",
                -32600,
                None,
            ),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":[]}",
                -32600,
                Some("1"),
            ),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":null}",
                -32600,
                Some("1"),
            ),
            (
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"a\"}",
                -32600,
                None,
            ),
            (b"[\"2.0\",1,\"a\",{}]", -32600, None),
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
    fn a_question_is_read_as_it_stands_in_the_line() {
        let line = br#" {"method":"a\u002eb","params": {"x":[ "{", 1]} ,"jsonrpc":"2.0","id":"7","more":{}} "#;
        let question = Incoming::Question {
            id: Some(Id::Text("7".to_owned())),
            method: "a.b".into(),
            params: r#"{"x":[ "{", 1]}"#,
        };
        assert_eq!(parse(line).unwrap(), question);
        let notice = Incoming::Question {
            id: None,
            method: "a".into(),
            params: "{}",
        };
        let line = br#"{"jsonrpc":"2.0","method":"a"}"#;
        assert_eq!(parse(line).unwrap(), notice);
    }

    #[test]
    fn brackets_count_as_nesting_where_they_are_no_text() {
        let question = |value: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{{"x":{value}}}}}"#)
        };
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        let text = format!(r#""\"{}""#, "[".repeat(1_000));
        let wide = format!("[{}0]", "[],".repeat(1_000));
        for fine in [nested(MAX_NESTING - 2), text, wide] {
            assert!(parse(question(&fine).as_bytes()).is_ok());
        }
        let deep = question(&nested(MAX_NESTING - 1));
        let (id, fault) = parse(deep.as_bytes()).unwrap_err();
        assert_eq!((id, fault.code()), (None, -32700));
    }

    #[test]
    fn a_fault_never_reads_as_a_decision() {
        for fault in [
            Fault::Storage,
            Fault::OutcomeUnknown,
            Fault::Deadline,
            Fault::HostUndeclared,
            Fault::NoHello {
                before: Before::Hello,
                uid: 7,
            },
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
