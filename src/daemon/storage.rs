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
            StoreError::OutcomeUnknown { .. } => Fault::OutcomeUnknown.into(),
            _ => Fault::Storage.into(),
        }
    }
}

/// Logs why the store could not be asked, where nobody waits for an answer.
pub(super) fn log(error: &StoreError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "the store could not be asked");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_a_change_was_made_is_said_only_if_it_is_known() {
        let problem = || "the connection was lost".to_owned();
        for (error, fault) in [
            (StoreError::Busy, Fault::Overload),
            (StoreError::Failed, Fault::Storage),
            (StoreError::Away { problem: problem() }, Fault::Storage),
            (
                StoreError::OutcomeUnknown { problem: problem() },
                Fault::OutcomeUnknown,
            ),
        ] {
            assert_eq!(Refusal::from(error), Refusal::Fault(fault));
        }
    }
}
