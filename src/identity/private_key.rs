//! Finds a private key where none belongs: in a text that somebody hands in as a certificate.
//!
//! Must not know: what is said about it.

/// Is there a private key in it, as PEM or DER (PKCS#8, PKCS#1, SEC 1)?
#[must_use]
pub fn holds_private_key(bytes: &[u8]) -> bool {
    if bytes
        .windows(PRIVATE_KEY.len())
        .any(|part| part == PRIVATE_KEY)
    {
        return true;
    }
    // Version, and then what a public structure never has behind it.
    let Some(rest) = bytes.strip_prefix(&[0x30]) else {
        return false;
    };
    let Some((first, rest)) = rest.split_first() else {
        return false;
    };
    let length_bytes = usize::from(first.saturating_sub(0x80));
    let rest = rest.get(length_bytes..).unwrap_or_default();
    match rest {
        // PKCS#8: the algorithm. PKCS#1: the modulus.
        // SEC 1: the key.
        [2, 1, 0 | 1, 0x30, ..] | [2, 1, 0, 2, ..] | [2, 1, 1, 4, ..] => true,
        _ => false,
    }
}

const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";
