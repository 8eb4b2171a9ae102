//! The sums that stand for a certificate and for a key.
//!
//! Must not know: what a certificate says.

use sha2::{Digest, Sha256};

use super::hash::hash_as_hex;

/// SHA-256 of a certificate's DER; as text 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

/// SHA-256 of the DER of a SubjectPublicKeyInfo: which key, whatever certificate it stands in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

impl Fingerprint {
    /// The fingerprint of whatever certificate `der` is.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl KeyId {
    /// The id of the key in this DER of a SubjectPublicKeyInfo.
    pub(super) fn of(info: &[u8]) -> Self {
        Self(Sha256::digest(info).into())
    }
}

hash_as_hex!(Fingerprint);
hash_as_hex!(KeyId);
