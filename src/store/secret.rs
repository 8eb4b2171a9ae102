//! The store's own secret, a row of `meta`: decoys are made from it, so that nobody can tell them from accounts.
//!
//! Must not know: how a decoy is made.

use super::error::StoreError;

/// The secret in `meta`, made at the first start; to be synced by who calls.
pub(super) fn own_secret(meta: &sled::Tree) -> Result<[u8; 32], StoreError> {
    let found = meta.get(SECRET_ROW).map_err(StoreError::Engine)?;
    if let Some(secret) = found.and_then(|row| row.first_chunk::<32>().copied()) {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(StoreError::Random)?;
    meta.insert(SECRET_ROW, &secret)
        .map_err(StoreError::Engine)?;
    meta.flush().map_err(StoreError::Engine)?;
    Ok(secret)
}

/// Under which key it stands.
pub(super) const SECRET_ROW: &[u8] = b"secret";
