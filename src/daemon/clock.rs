//! What time it is. The only reader of the wall clock in the daemon: everybody else is told.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::identity::UnixSeconds;

/// Now; zero before 1970.
pub(super) fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}
