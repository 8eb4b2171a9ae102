//! The check of the whole store that runs, and the last one that has ended.

use std::sync::{Condvar, MutexGuard};

use serde_json::{Value, json};

use crate::identity::UnixSeconds;
use crate::store::TableCheck;
use crate::system::lock::Lock;

/// The check that runs, and the last one that has ended.
#[derive(Debug, Default)]
pub(super) struct Checks {
    state: Lock<State>,
    pub(super) hurried: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// How many have begun since the start.
    pub(super) begun: u64,
    pub(super) running: Option<Running>,
    pub(super) last: Option<Ended>,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) rows: u64,
    pub(super) is_hurried: bool,
}

#[derive(Debug)]
pub(super) struct Ended {
    pub(super) number: u64,
    pub(super) at: UnixSeconds,
    pub(super) tables: Vec<TableCheck>,
}

impl Ended {
    pub(super) fn is_whole(&self) -> bool {
        self.tables.iter().all(|table| table.problem.is_none())
    }
}

impl Checks {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Has none found damage? And what `status` says.
    pub(super) fn described(&self) -> (bool, Value) {
        let state = self.state();
        let is_whole = state.last.as_ref().is_none_or(Ended::is_whole);
        (is_whole, described(state.last.as_ref()))
    }
}

pub(super) fn described(ended: Option<&Ended>) -> Value {
    let Some(ended) = ended else {
        return Value::Null;
    };
    let table = |check: &TableCheck| {
        json!({
            "table": check.table,
            "rows": check.rows,
            "written": check.written,
            "problem": check.problem,
        })
    };
    json!({
        "number": ended.number,
        "at": ended.at,
        "whole": ended.is_whole(),
        "tables": ended.tables.iter().map(table).collect::<Vec<_>>(),
    })
}
