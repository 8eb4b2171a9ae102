//! How much of the disk is kept free for what frees or protects.

/// The free space that a store of this size keeps for revocations: below it, nothing is added.
pub(crate) fn reserve_bytes(store_bytes: u64) -> u64 {
    (store_bytes / 10).max(FREE_BYTES)
}

/// However small the store is.
const FREE_BYTES: u64 = 64 * 1024 * 1024;
