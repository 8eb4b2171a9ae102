//! The error of an answer, as JSON-RPC has it: the daemon writes it, and whoever has asked reads it.
//!
//! Must not know: what was asked.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::fault::Refusal;
use crate::policy::denial::Words;

/// The code of a decided no.
pub(super) const REFUSED: i64 = -32_000;

/// Why an answer has no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ErrorObject<'a> {
    /// [`REFUSED`], or that of a fault.
    pub(super) code: i64,
    /// Fixed text that may be shown to anybody.
    #[serde(default)]
    pub(super) message: Cow<'a, str>,
    #[serde(default)]
    pub(super) data: ErrorData<'a>,
}

/// The reason, and its conditions in XMPP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ErrorData<'a> {
    /// Of a refusal: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) denial: Option<Cow<'a, str>>,
    /// Of a fault: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<Cow<'a, str>>,
    /// The condition of SASL.
    #[serde(default)]
    sasl: Cow<'a, str>,
    /// The condition of a stanza error.
    #[serde(default)]
    stanza: Stanza<'a>,
    /// How long a client waits that has tried a password, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay: Option<f64>,
}

/// RFC 6120, 8.3.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stanza<'a> {
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    condition: Cow<'a, str>,
}

impl Stanza<'static> {
    fn of((kind, condition): (&'static str, &'static str)) -> Self {
        Self {
            kind: kind.into(),
            condition: condition.into(),
        }
    }
}

impl From<&Refusal> for ErrorObject<'static> {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Login(denial) => {
                let words = denial.words();
                denied(&words, words.sasl_text.into(), None)
            }
            Refusal::Management(denial) => {
                let words = denial.words();
                let text = words.stanza_text.clone();
                denied(&words, text.into(), None)
            }
            Refusal::Password { denial, delay } => {
                let words = denial.words();
                denied(&words, words.sasl_text.into(), Some(*delay))
            }
            Refusal::Fault(fault) => Self {
                code: fault.code().into(),
                message: fault.to_string().into(),
                data: ErrorData {
                    fault: Some(fault.name().into()),
                    sasl: "temporary-auth-failure".into(),
                    stanza: Stanza::of(fault.stanza()),
                    ..ErrorData::default()
                },
            },
        }
    }
}

fn denied(words: &Words, message: Cow<'static, str>, delay: Option<f64>) -> ErrorObject<'static> {
    ErrorObject {
        code: REFUSED,
        message,
        data: ErrorData {
            denial: Some(words.code.into()),
            sasl: words.sasl.into(),
            stanza: Stanza::of((words.stanza_type, words.stanza)),
            delay,
            ..ErrorData::default()
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::policy::Denial;
    use crate::protocol::Fault;
    use serde_json::{Value, json};

    #[test]
    fn what_the_daemon_writes_is_read_again_by_who_asks() {
        for refusal in [
            Refusal::Login(Denial::KeyRevoked),
            Refusal::Management(Denial::NameTaken),
            Refusal::Password {
                denial: Denial::PasswordWrong,
                delay: 0.5,
            },
            Refusal::Fault(Fault::Storage),
        ] {
            let written = ErrorObject::from(&refusal);
            let read: ErrorObject<'_> = serde_json::from_value(json!(written)).unwrap();
            assert_eq!(read, written);
        }
    }

    #[test]
    fn every_error_on_the_page_is_one() {
        let page = include_str!("../../docs/protocol.md");
        let blocks = page.split("```json\n").skip(1);
        let blocks = blocks.map(|block| block.split("```").next().unwrap());
        let examples = blocks.map(|block| serde_json::from_str::<Value>(block).unwrap());
        let mut tried = 0;
        for mut example in examples {
            let Some(error) = example.get_mut("error").map(Value::take) else {
                continue;
            };
            let read: ErrorObject<'_> = serde_json::from_value(error.clone()).unwrap();
            let again = json!(read);
            assert_eq!(again.get("code"), error.get("code"));
            let fields = |of: &Value| {
                let data = of.get("data").and_then(Value::as_object).unwrap();
                data.keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(fields(&again), fields(&error));
            tried += 1;
        }
        assert!(tried > 1);
    }
}
