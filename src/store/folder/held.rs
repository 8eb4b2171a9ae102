//! Bytes as sled holds them.

use std::ops::Deref;

/// The bytes of a key or a value, shared with sled's cache.
#[derive(Clone)]
pub(in crate::store) struct Held(sled::IVec);

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<sled::IVec> for Held {
    fn from(bytes: sled::IVec) -> Self {
        Self(bytes)
    }
}
