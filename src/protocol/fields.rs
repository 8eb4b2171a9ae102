//! Reads the fields of a question, and says which of them is wrong.
//!
//! Must not know: which fields there are.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fault::Fault;
use crate::identity::visible::visible;

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
