//! Checks of the whole store, one at a time: the one that runs, and the last one that has ended.
//!
//! Must not know: who asks for one.

use std::sync::{Condvar, MutexGuard};
use std::time::Duration;

use crate::identity::UnixSeconds;
use crate::protocol::{CheckedTable, ChecksState, EndedCheck, RunningCheck};
use crate::store::{Store, StoreError, TableCheck};
use crate::system::lock::Lock;

/// The check that runs, and the last one that has ended.
#[derive(Debug, Default)]
pub(super) struct Checks {
    runs: Lock<Runs>,
    hurried: Condvar,
}

#[derive(Debug, Default)]
struct Runs {
    /// How many have begun since the start.
    begun: u64,
    running: Option<Running>,
    last: Option<Ended>,
}

#[derive(Debug)]
struct Running {
    rows: u64,
    is_hurried: bool,
}

#[derive(Debug)]
struct Ended {
    number: u64,
    at: UnixSeconds,
    tables: Vec<TableCheck>,
}

impl Ended {
    fn is_whole(&self) -> bool {
        self.tables.iter().all(|table| table.problem.is_none())
    }

    fn described(&self) -> EndedCheck {
        let table = |check: &TableCheck| CheckedTable {
            table: check.table.to_owned(),
            rows: check.rows,
            written: check.written,
            problem: check.problem.clone(),
        };
        EndedCheck {
            number: self.number,
            at: self.at,
            whole: self.is_whole(),
            tables: self.tables.iter().map(table).collect(),
        }
    }
}

impl Checks {
    /// Notes the findings of the opening of the store, at `now`, and logs them. If every row was read then, that was a check.
    pub(super) fn note_opening(&self, store: &Store, now: UnixSeconds) {
        let found = store.found();
        if let Some(loss) = &found.accepted {
            tracing::error!(
                store = %store.place(),
                missing_changes = loss.commits,
                damaged_tables = ?loss.tables,
                "--accept-rollback: a store is served that is not whole. What was revoked, disabled or deleted in what is \
                 missing is let in again. Start it without the flag now"
            );
        }
        if found.is_checked {
            let mut runs = self.runs();
            runs.begun += 1;
            // A loss that was accepted is no loss from now on: the rows are counted as they are.
            let tables = found.checked.iter().map(|check| match &found.accepted {
                Some(_) => TableCheck {
                    written: check.rows,
                    problem: None,
                    ..check.clone()
                },
                None => check.clone(),
            });
            runs.last = Some(Ended {
                number: runs.begun,
                at: now,
                tables: tables.collect(),
            });
        }
    }

    /// Checks the whole store if the last check is a day old or there was none, slowly unless somebody asks for it meanwhile.
    /// Blocks. Returns whether it was due; if a check runs already, no other one is.
    pub(super) fn run_if_due(&self, store: &Store, now: UnixSeconds) -> bool {
        let is_due = {
            let runs = self.runs();
            // The clock may have been set back meanwhile, too.
            let is_old = |last: &Ended| last.at.0.abs_diff(now.0) >= CHECKED_EVERY_SECONDS;
            runs.last.as_ref().is_none_or(is_old)
        };
        let begun = is_due.then(|| self.begin(false)).flatten();
        if let Some(number) = begun {
            self.run(store, number, now);
        }
        begun.is_some()
    }

    /// The number of the check that begins; `None`: one runs, and hurries now if this one would.
    pub(super) fn begin(&self, is_hurried: bool) -> Option<u64> {
        let mut runs = self.runs();
        if let Some(running) = &mut runs.running {
            running.is_hurried |= is_hurried;
            self.hurried.notify_all();
            return None;
        }
        runs.begun += 1;
        runs.running = Some(Running {
            rows: 0,
            is_hurried,
        });
        Some(runs.begun)
    }

    /// Makes the check that has begun. Blocks.
    pub(super) fn run(&self, store: &Store, number: u64, now: UnixSeconds) {
        let checked = store.check(|rows| self.pause(rows));
        let mut runs = self.runs();
        runs.running = None;
        let tables = match checked {
            Ok(tables) => tables,
            // It is being stopped, or has said so itself.
            Err(StoreError::Failed) => return,
            Err(error) => {
                tracing::error!(%error, "the store could not be checked");
                return;
            }
        };
        let ended = Ended {
            number,
            at: now,
            tables,
        };
        if ended.is_whole() {
            let rows: u64 = ended.tables.iter().map(|table| table.rows).sum();
            tracing::info!(rows, "the store was checked: it is whole");
        }
        for check in &ended.tables {
            if let Some(problem) = &check.problem {
                tracing::error!(
                    table = check.table,
                    %problem,
                    "the store is damaged; restore it from a backup"
                );
            }
        }
        runs.last = Some(ended);
    }

    /// The check that has begun is not made.
    pub(super) fn give_up(&self) {
        self.runs().running = None;
    }

    /// Between two pages: changes and logins come first, unless somebody waits for the check.
    fn pause(&self, rows: u64) {
        let mut runs = self.runs();
        if let Some(running) = &mut runs.running {
            running.rows = rows;
        }
        let is_slow = |runs: &mut Runs| {
            let running = runs.running.as_ref();
            running.is_some_and(|running| !running.is_hurried)
        };
        drop(self.hurried.wait_timeout_while(runs, PAUSE, is_slow));
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock()
    }

    /// The last one that has ended, for `status`.
    pub(super) fn last(&self) -> Option<EndedCheck> {
        self.runs().last.as_ref().map(Ended::described)
    }

    /// The answer to `store.check`.
    pub(super) fn answered(&self, store: &Store) -> ChecksState {
        let runs = self.runs();
        let running = runs.running.as_ref();
        ChecksState {
            begun: runs.begun,
            running: running.map(|running| RunningCheck {
                rows: running.rows,
                of: store.rows(),
            }),
            last: runs.last.as_ref().map(Ended::described),
        }
    }
}

const CHECKED_EVERY_SECONDS: u64 = 24 * 3600;
/// With pages of 128 rows: some 6,000 rows a second.
const PAUSE: Duration = Duration::from_millis(20);
