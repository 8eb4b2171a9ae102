//! Reads a host's name from the command line, and words the error for a host that is not declared.
//!
//! Must not know: which hosts there are.

use crate::identity::{Host, JidError};
use crate::protocol::Fault;
use crate::protocol::client::AskError;
use anyhow::anyhow;

/// A host's name, as somebody typed it.
pub(super) fn host(text: &str) -> anyhow::Result<Host> {
    Host::parse(text).map_err(|error| match error {
        JidError::Shape | JidError::NotBare => {
            anyhow!("this is not a host: a name as shakespeare.lit is wanted, without @ and /")
        }
        other => anyhow!("this is not a host: {other}"),
    })
}

/// `error`; one about a host that is not declared names `host`, and says what to do.
pub(super) fn of_host(error: AskError, host: &Host) -> anyhow::Error {
    if is_undeclared(&error) {
        not_declared(host)
    } else {
        error.into()
    }
}

/// Is it about a host that is not declared?
pub(super) fn is_undeclared(error: &AskError) -> bool {
    error.is(&Fault::HostUndeclared)
}

/// That in words.
pub(super) fn not_declared(host: &Host) -> anyhow::Error {
    anyhow!(
        "the host {host} is not declared (saslcertd host list shows those that are): enable mod_saslcertd in Prosody \
         and restart it"
    )
}
