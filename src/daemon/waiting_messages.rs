//! Whether messages may wait in the store that a server here could deliver: then somebody looks.
//!
//! Must not know: which messages, who delivers them.

use crate::system::lock::Lock;

/// After so many looks there may be some; `None`: there are none.
#[derive(Debug, Default)]
pub(super) struct WaitingMessages(Lock<Option<u32>>);

impl WaitingMessages {
    /// There may be some.
    pub(super) fn note(&self) {
        *self.0.lock() = Some(0);
    }

    /// Some could not be delivered: it is too early to try at the next look.
    pub(super) fn note_for_later(&self) {
        self.0.lock().get_or_insert(PAUSE);
    }

    /// A look: may there be some? If so, they are whoever asks's to deliver.
    pub(super) fn look(&self) -> bool {
        let mut left = self.0.lock();
        let is_time = *left == Some(0);
        *left = left.and_then(|left| left.checked_sub(1));
        is_time
    }
}

/// So many looks are left out.
const PAUSE: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_looked_for_once_and_what_failed_later() {
        let waiting = WaitingMessages::default();
        assert!(!waiting.look());
        waiting.note();
        assert!(waiting.look());
        assert!(!waiting.look());
        waiting.note_for_later();
        for _ in 0..PAUSE {
            assert!(!waiting.look());
        }
        assert!(waiting.look());
        // Something new does not wait for it, and is not put off by it.
        waiting.note_for_later();
        waiting.note();
        waiting.note_for_later();
        assert!(waiting.look());
        assert!(!waiting.look());
    }
}
