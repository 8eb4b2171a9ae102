//! How long the daemon takes to stop.
//!
//! Must not know: what is in flight.

use std::time::Duration;

/// How long the answers in flight may take when the daemon stops.
pub(super) const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
