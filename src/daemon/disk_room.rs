//! How much of the disk is kept free for what frees or protects, and whether that is all there is.
//!
//! Must not know: how the disk is asked.

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

    /// Errors: what makes the store grow is refused for lack of room.
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

/// The free space that a store of this size keeps for revocations: below it, nothing is added.
pub(crate) fn reserve_bytes(store_bytes: u64) -> u64 {
    (store_bytes / 10).max(FREE_BYTES)
}

/// However small the store is.
const FREE_BYTES: u64 = 64 * 1024 * 1024;
