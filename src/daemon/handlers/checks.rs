//! `store.check`: an administrator has the whole store checked, and hears how far that has come.
//!
//! Must not know: what is checked.

use std::sync::Arc;

use super::super::reply::Answered;
use super::super::store_checks::Checks;
use crate::identity::UnixSeconds;
use crate::protocol::{ChecksState, StoreCheck};
use crate::store::{Store, StoreError};

/// Begins a check, if that is wanted and none runs; it goes on in a thread of its own.
pub(in crate::daemon) fn check(
    checks: &Arc<Checks>,
    store: &Arc<Store>,
    question: &StoreCheck,
    now: UnixSeconds,
) -> Answered<ChecksState> {
    if question.start
        && let Some(number) = checks.begin(true)
    {
        let (running, of) = (Arc::clone(checks), Arc::clone(store));
        let spawned = std::thread::Builder::new()
            .name("check".to_owned())
            .spawn(move || running.run(&of, number, now));
        if let Err(source) = spawned {
            checks.give_up();
            return Err(StoreError::File {
                action: "cannot start a thread to check",
                path: store.place(),
                source,
            }
            .into());
        }
    }
    Ok(checks.answered(store))
}
