//! `saslcertd check`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::global::Global;
use super::say::{say, say_json};
use crate::identity::counted;
use crate::identity::visible::visible;
use crate::protocol::client::Asker;

pub(super) fn run(global: &Global) -> anyhow::Result<ExitCode> {
    let mut daemon = Asker::connect(&global.socket)?;
    let mut state = daemon.ask("store.check", &json!({"start": true}))?;
    let number = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_u64);
    // One that runs already is as good: it is waited for.
    let begun = number(&state, "/begun");
    let ended = loop {
        if number(&state, "/last/number") >= begun {
            break state.get("last").cloned().unwrap_or_default();
        }
        if state.get("running").is_none_or(Value::is_null) {
            return Err(anyhow!(
                "the check was not finished; the daemon's log says why"
            ));
        }
        std::thread::sleep(ASK_EVERY);
        state = daemon.ask("store.check", &json!({"start": false}))?;
    };
    if global.json {
        say_json(&ended.to_string())?;
    } else {
        say(for_people(&ended).trim_end())?;
    }
    Ok(if ended.get("whole") == Some(&Value::Bool(true)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn for_people(ended: &Value) -> String {
    use std::fmt::Write;
    let tables = ended.get("tables").and_then(Value::as_array);
    let mut out = String::new();
    for table in tables.into_iter().flatten() {
        let name = table.get("table").and_then(Value::as_str).unwrap_or("?");
        let rows = table.get("rows").and_then(Value::as_u64).unwrap_or(0);
        let said = match table.get("problem").and_then(Value::as_str) {
            None => "ok".to_owned(),
            Some(problem) => format!("DAMAGED: {}", visible(problem)),
        };
        let rows = counted(rows, "row", "rows");
        // Proof: writing to a String never fails.
        let _ = writeln!(out, "{name}: {rows}, {said}");
    }
    out += if ended.get("whole") == Some(&Value::Bool(true)) {
        "the store is whole"
    } else {
        "the store is DAMAGED; restore it from a backup"
    };
    out
}

const ASK_EVERY: Duration = Duration::from_millis(50);
