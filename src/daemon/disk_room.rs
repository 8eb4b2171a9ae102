//! Whether all that is left of the disk is kept for what frees or protects.
//!
//! Must not know: how the disk is asked, how much is kept.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::protocol::Fault;

/// Is there room for what makes the store grow?
#[derive(Debug, Default)]
pub(super) struct DiskRoom {
    is_nearly_full: AtomicBool,
}

impl DiskRoom {
    /// Refuses, or takes again, what makes the store in `folder` grow.
    pub(super) fn set_nearly_full(&self, is_full: bool, folder: &Path) {
        if self.is_nearly_full.swap(is_full, Ordering::Relaxed) != is_full {
            if is_full {
                tracing::error!(
                    folder = %folder.display(),
                    "the disk is nearly full: nothing is added until there is room again"
                );
            } else {
                tracing::info!("there is room on the disk again");
            }
        }
    }

    /// Errors: a change that makes the store grow is refused for lack of room.
    pub(super) fn require(&self) -> Result<(), Fault> {
        if self.is_nearly_full() {
            return Err(Fault::DiskFull);
        }
        Ok(())
    }

    #[must_use]
    pub(super) fn is_nearly_full(&self) -> bool {
        self.is_nearly_full.load(Ordering::Relaxed)
    }
}
