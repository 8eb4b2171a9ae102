//! When it was last looked who of a host is to hear that something expires.
//!
//! Must not know: who hears what.

use std::collections::HashMap;

use crate::identity::{Host, UnixSeconds};
use crate::system::lock::Lock;

/// The last look at each host since the start.
#[derive(Debug, Default)]
pub(super) struct NoticeTimes {
    looked_at: Lock<HashMap<Host, UnixSeconds>>,
}

impl NoticeTimes {
    /// Is it time to look again? If so, that is what happens now.
    pub(super) fn is_due(&self, host: &Host, now: UnixSeconds) -> bool {
        let mut looked_at = self.looked_at.lock();
        let last = looked_at.get(host);
        // A clock that was set back is no reason to wait.
        let is_due = last.is_none_or(|last| now < *last || *last <= now.plus(-LOOK_EVERY_SECONDS));
        if is_due {
            looked_at.insert(host.clone(), now);
        }
        is_due
    }

    /// The host is not known any more.
    pub(super) fn forget(&self, host: &Host) {
        self.looked_at.lock().remove(host);
    }
}

const LOOK_EVERY_SECONDS: i64 = 3600;
