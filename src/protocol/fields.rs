//! Reads the fields of a question, and says which of them is wrong.
//!
//! Must not know: which fields there are.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fault::Fault;
use crate::identity::visible::visible;

/// Reads a question's fields as they came, a JSON object.
pub fn fields<T: DeserializeOwned>(params: &str) -> Result<T, Fault> {
    // Most are right. The second reading says which of them is wrong, and why.
    serde_json::from_str(params).or_else(|_| {
        let params = serde_json::from_str::<Value>(params);
        fields_of(params.map_err(|error| wrong(&error.to_string()))?)
    })
}

/// The same of fields that were made here.
pub fn fields_of<T: DeserializeOwned>(params: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(params).map_err(|error| {
        match error.path().to_string().as_str() {
            "." => wrong(&error.inner().to_string()),
            path => wrong(&format!("{path}: {}", error.inner())),
        }
    })
}

fn wrong(problem: &str) -> Fault {
    let problem: String = problem.chars().take(200).collect();
    // Types and names of variants are the asker's own words.
    let problem = visible(&problem).into_owned();
    Fault::WrongParams { problem }
}
