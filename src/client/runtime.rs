//! What a client runs on.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// One thread is enough: a client does one thing at a time.
///
/// Errors: the machine gives no more threads or files.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
