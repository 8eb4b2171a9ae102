//! What a command prints.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Prints `text` and the end of a line. Who reads it may have read enough, like `head`: that changes no exit status.
///
/// Errors: it could not be written, to a full disk say.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("can't print what was found out")
        }
        _ => Ok(()),
    }
}
