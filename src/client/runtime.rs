//! Makes the runtime that a client's tasks run on.
//!
//! Must not know: which tasks these are.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// One thread is enough: a client does one thing at a time.
///
/// Errors: the machine gives no more threads or files.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
