//! `saslcertd check`: has the daemon compare every row of its store, and prints the result.
//!
//! Must not know: how a row is checked.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::global::Global;
use super::say::{say, say_json};
use crate::identity::counted;
use crate::identity::visible::visible;
use crate::protocol::client::Asker;
use crate::protocol::{EndedCheck, StoreCheck};

pub(super) fn run(global: &Global) -> anyhow::Result<ExitCode> {
    let mut daemon = Asker::connect(&global.socket)?;
    let mut state = daemon.ask(&StoreCheck { start: true })?;
    // One that runs already is as good: it is waited for.
    let begun = state.begun;
    let ended = loop {
        if let Some(last) = state.last.filter(|last| last.number >= begun) {
            break last;
        }
        ensure!(
            state.running.is_some(),
            "the check was not finished; the daemon's log says why"
        );
        std::thread::sleep(ASK_EVERY);
        state = daemon.ask(&StoreCheck { start: false })?;
    };
    if global.json {
        say_json(&json!(ended).to_string())?;
    } else {
        say(&for_people(&ended))?;
    }
    Ok(if ended.whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn for_people(ended: &EndedCheck) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for table in &ended.tables {
        let said = match &table.problem {
            None => "ok".to_owned(),
            Some(problem) => format!("DAMAGED: {}", visible(problem)),
        };
        let rows = counted(table.rows, "row", "rows");
        // Proof: writing to a String never fails.
        let _ = writeln!(out, "{}: {rows}, {said}", table.table);
    }
    out += if ended.whole {
        "the store is whole"
    } else {
        "the store is DAMAGED; restore it from a backup"
    };
    out
}

const ASK_EVERY: Duration = Duration::from_millis(50);
