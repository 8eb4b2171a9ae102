//! Reads the wall clock, and is the only one in the daemon that does: everybody else is handed `now`.
//!
//! Must not know: why anybody asks.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::identity::UnixSeconds;

/// Now; zero before 1970.
pub(super) fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
