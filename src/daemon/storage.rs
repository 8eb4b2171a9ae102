//! A store that could not be asked: a fault to the asker, and a line in the log.
//!
//! Must not know: what was asked for.

use crate::protocol::{Fault, Refusal};
use crate::store::StoreError;

impl From<StoreError> for Refusal {
    /// Logs why; the asker is only told that the store could not be asked.
    fn from(error: StoreError) -> Self {
        log(&error);
        match error {
            StoreError::Busy => Fault::Overload.into(),
            _ => Fault::Storage.into(),
        }
    }
}

/// Logs why the store could not be asked, where nobody waits for an answer.
pub(super) fn log(error: &StoreError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "the store could not be asked");
}
