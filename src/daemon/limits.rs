//! How long the daemon takes to stop.

use std::time::Duration;

/// How long what is in flight may take when the daemon stops.
pub(super) const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
