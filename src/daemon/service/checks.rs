//! Checks of the whole store: asked for by an administrator, and by the clock. One at a time; one that somebody waits for hurries.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::store_checks::{Ended, Running, State, described};
use super::{Answered, Service};
use crate::identity::UnixSeconds;
use crate::protocol::StoreCheck;
use crate::store::{StoreError, TableCheck};

impl Service {
    /// What the opening of the store, at `now`, has found, and its log lines. If every row was read then, that was a check.
    pub fn note_opening(&self, now: UnixSeconds) {
        let found = self.store.found();
        if let Some(loss) = &found.accepted {
            tracing::error!(
                folder = %self.store.folder().display(),
                missing_changes = loss.commits,
                damaged_tables = ?loss.tables,
                "--accept-rollback: a store is served that is not whole. What was revoked, disabled or deleted in what is \
                 missing is let in again. Start it without the flag now"
            );
        }
        if found.is_checked {
            let mut state = self.checks.state();
            state.begun += 1;
            // What was accepted is counted as it is from now on.
            let tables = found.checked.iter().map(|check| match &found.accepted {
                Some(_) => TableCheck {
                    written: check.rows,
                    problem: None,
                    ..check.clone()
                },
                None => check.clone(),
            });
            state.last = Some(Ended {
                number: state.begun,
                at: now,
                tables: tables.collect(),
            });
        }
    }

    /// Checks the whole store if the last check is a day old or there was none, slowly unless somebody asks for it meanwhile.
    /// Blocks. Returns whether it was due; if a check runs already, no other one is.
    pub fn check_store_if_due(&self, now: UnixSeconds) -> bool {
        let is_due = {
            let state = self.checks.state();
            // The clock may have been set back meanwhile, too.
            let is_old = |last: &Ended| last.at.0.abs_diff(now.0) >= CHECKED_EVERY_SECONDS;
            state.last.as_ref().is_none_or(is_old)
        };
        let begun = is_due.then(|| self.begin_check(false)).flatten();
        if let Some(number) = begun {
            self.finish_check(number, now);
        }
        begun.is_some()
    }

    pub(in crate::daemon) fn store_check(
        self: &Arc<Self>,
        question: &StoreCheck,
        now: UnixSeconds,
    ) -> Answered {
        let StoreCheck { start } = *question;
        if start && let Some(number) = self.begin_check(true) {
            let service = Arc::clone(self);
            let spawned = std::thread::Builder::new()
                .name("check".to_owned())
                .spawn(move || service.finish_check(number, now));
            if let Err(source) = spawned {
                self.checks.state().running = None;
                return Err(StoreError::File {
                    action: "cannot start a thread to check",
                    path: self.store.folder().display().to_string(),
                    source,
                }
                .into());
            }
        }
        let state = self.checks.state();
        let running = state.running.as_ref();
        Ok(json!({
            "begun": state.begun,
            "running": running.map(|running| json!({"rows": running.rows, "of": self.store.rows()})),
            "last": described(state.last.as_ref()),
        }))
    }

    /// The number of the check that begins; `None`: one runs, and hurries now if this one would.
    fn begin_check(&self, is_hurried: bool) -> Option<u64> {
        let mut state = self.checks.state();
        if let Some(running) = &mut state.running {
            running.is_hurried |= is_hurried;
            self.checks.hurried.notify_all();
            return None;
        }
        state.begun += 1;
        state.running = Some(Running {
            rows: 0,
            is_hurried,
        });
        Some(state.begun)
    }

    fn finish_check(&self, number: u64, now: UnixSeconds) {
        let checked = self.store.check(|rows| self.pause(rows));
        let mut state = self.checks.state();
        state.running = None;
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
        state.last = Some(ended);
    }

    /// Between two pages: changes and logins come first, unless somebody waits for the check.
    fn pause(&self, rows: u64) {
        let mut state = self.checks.state();
        if let Some(running) = &mut state.running {
            running.rows = rows;
        }
        let is_slow = |state: &mut State| {
            let running = state.running.as_ref();
            running.is_some_and(|running| !running.is_hurried)
        };
        drop(
            self.checks
                .hurried
                .wait_timeout_while(state, PAUSE, is_slow),
        );
    }
}

const CHECKED_EVERY_SECONDS: u64 = 24 * 3600;
/// With pages of 128 rows: some 6,000 rows a second.
const PAUSE: Duration = Duration::from_millis(20);
