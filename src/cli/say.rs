//! Prints: to standard output, and complaints to standard error.
//!
//! Must not know: what is said.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

use crate::identity::visible;
use crate::wording::sharing::silent;

/// Prints `text` and the end of a line. A reader that has read enough, like `head`, changes no exit status.
///
/// Errors: it could not be written, to a full disk say.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    print(&visible::lines(text))
}

/// Prints a JSON text, as [`say`] does.
pub(super) fn say_json(text: &str) -> anyhow::Result<()> {
    print(&visible::json(text))
}

/// Prints a complaint to standard error, if that can be written.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "saslcertd: {}", visible::lines(text));
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("can't print what was found out")
        }
        _ => Ok(()),
    }
}

/// Says which daemons could not be told of what is done.
pub(super) fn complain_of_silent(daemons: &[String]) {
    if let Some(words) = silent(daemons) {
        complain(&words);
    }
}
