//! Makes salts, and names that nobody can guess, of random bytes.
//!
//! Must not know: what for.

use crate::identity::{Incarnation, LinkToken, ScramHash, ScramVerifier, Secret};
use crate::policy::passwords::NEW_SALT_BYTES;
use crate::store::StoreError;

/// One verifier for each of `hashes`, with a salt of its own.
pub(super) fn new_verifiers(
    hashes: &[ScramHash],
    secret: &Secret,
    iterations: u32,
) -> Result<Vec<ScramVerifier>, StoreError> {
    let derive = |hash: &ScramHash| {
        let mut salt = [0; NEW_SALT_BYTES];
        getrandom::fill(&mut salt).map_err(StoreError::Random)?;
        Ok(ScramVerifier::derive(*hash, secret, &salt, iterations))
    };
    hashes.iter().map(derive).collect()
}

/// Which account of a name a new one is.
pub(super) fn new_incarnation() -> Result<Incarnation, StoreError> {
    let text = new_token()?;
    // Proof: 32 hex digits are an incarnation.
    #[allow(clippy::expect_used)]
    Ok(Incarnation::parse(&text).expect("hex digits are an incarnation"))
}

/// The secret of a new link.
pub(super) fn new_link_token() -> Result<LinkToken, StoreError> {
    noise().map(|noise| LinkToken::of(&noise))
}

/// Sixteen random bytes, in hex.
pub(super) fn new_token() -> Result<String, StoreError> {
    let noise = noise()?;
    let hex = |text, byte: &u8| format!("{text}{byte:02x}");
    Ok(noise.iter().fold(String::new(), hex))
}

fn noise() -> Result<[u8; 16], StoreError> {
    let mut noise = [0; 16];
    getrandom::fill(&mut noise).map_err(StoreError::Random)?;
    Ok(noise)
}
