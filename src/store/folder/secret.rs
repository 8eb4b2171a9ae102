//! The store's own secret is made.
//!
//! Must not know: how a decoy is made.

use super::super::error::StoreError;
use super::super::memory::SECRET_ROW;
use super::engine;

/// The secret in `meta`, made at the first start; to be synced by who calls.
pub(super) fn own_secret(meta: &sled::Tree) -> Result<[u8; 32], StoreError> {
    let found = meta.get(SECRET_ROW).map_err(engine::failed)?;
    if let Some(secret) = found.and_then(|row| row.first_chunk::<32>().copied()) {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(StoreError::Random)?;
    meta.insert(SECRET_ROW, &secret).map_err(engine::failed)?;
    meta.flush().map_err(engine::failed)?;
    Ok(secret)
}
