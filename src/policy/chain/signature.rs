//! Which signatures can be checked, and in plain words which can't.
//!
//! Must not know: what follows from one that fits.

use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::ALL_VERIFICATION_ALGS;

use crate::identity::PublicKey;
use crate::identity::issued::{Signed, dotted};

/// Has `key` signed it? Costs time.
pub(super) fn fits(signed: &Signed, key: &PublicKey) -> bool {
    let algorithm = ALL_VERIFICATION_ALGS
        .iter()
        .find(|known| known.signature_alg_id().as_ref() == signed.algorithm && is_of(**known, key));
    algorithm.is_some_and(|known| {
        known
            .verify_signature(&key.bits, &signed.content, &signed.signature)
            .is_ok()
    })
}

/// Can what `key` has signed in that way be checked at all? Costs nothing.
pub(super) fn is_known(signed: &Signed, key: &PublicKey) -> bool {
    ALL_VERIFICATION_ALGS
        .iter()
        .any(|known| known.signature_alg_id().as_ref() == signed.algorithm && is_of(*known, key))
}

fn is_of(known: &dyn SignatureVerificationAlgorithm, key: &PublicKey) -> bool {
    known.public_key_alg_id().as_ref() == key.algorithm
}

/// Why nothing that `key` signs can be checked; `None` if it can.
pub(super) fn unusable_key(key: &PublicKey) -> Option<String> {
    if ALL_VERIFICATION_ALGS.iter().any(|known| is_of(*known, key)) {
        return match modulus_bits(key) {
            Some(bits) if bits < MIN_RSA_BITS => Some(format!(
                "its RSA key has {bits} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are wanted"
            )),
            Some(bits) if bits > MAX_RSA_BITS => Some(format!(
                "its RSA key has {bits} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are wanted"
            )),
            _ => None,
        };
    }
    let named = KEYS.iter().find(|(id, _)| contains(&key.algorithm, id));
    let what = named.map_or_else(
        || {
            format!(
                "is of a kind that is not known ({})",
                first_id(&key.algorithm)
            )
        },
        |(_, name)| format!("is {name}"),
    );
    Some(format!("its key {what}; {WANTED}"))
}

/// Why a signature can't be checked, in plain words.
pub(super) fn unusable_signature(signed: &Signed) -> String {
    let named = SIGNATURES.iter().find(|(id, _)| {
        signed
            .algorithm
            .get(2..)
            .is_some_and(|rest| rest.starts_with(id))
    });
    let what = named.map_or_else(
        || {
            format!(
                "in a way that is not known ({})",
                first_id(&signed.algorithm)
            )
        },
        |(_, name)| format!("with {name}"),
    );
    format!("is signed {what}, which is not accepted")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The object identifier that an `AlgorithmIdentifier` begins with.
fn first_id(algorithm: &[u8]) -> String {
    let id = match algorithm {
        [0x06, length, rest @ ..] => rest.get(..usize::from(*length)),
        _ => None,
    };
    dotted(id.unwrap_or_default())
}

/// Bits of an RSA key's modulus.
fn modulus_bits(key: &PublicKey) -> Option<usize> {
    // 1.2.840.113549.1.1.1
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    use der::asn1::{AnyRef, UintRef};
    use der::{Decode, Reader, SliceReader};
    if !contains(&key.algorithm, RSA) {
        return None;
    }
    let sequence = AnyRef::from_der(&key.bits).ok()?;
    let mut reader = SliceReader::new(sequence.value()).ok()?;
    let modulus = UintRef::decode(&mut reader).ok()?;
    let _: UintRef<'_> = reader.decode().ok()?;
    let bytes = modulus.as_bytes();
    let zeros = usize::try_from(bytes.first()?.leading_zeros()).ok()?;
    Some(bytes.len() * 8 - zeros)
}

const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;
const WANTED: &str = "RSA, P-256, P-384 or Ed25519 is wanted";

/// Object identifiers of keys or of curves, and what people call them.
const KEYS: &[(&[u8], &str)] = &[
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "P-521"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "secp256k1"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (
        &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01],
        "a brainpool curve",
    ),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "DSA"),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
        "RSA for PSS only",
    ),
    (
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01],
        "an elliptic curve that is not known",
    ),
];

/// Object identifiers of signatures, and what people call them.
const SIGNATURES: &[(&[u8], &str)] = &[
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04],
        "MD5",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05],
        "SHA-1",
    ),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], "SHA-1"),
    (
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04],
        "ECDSA and SHA-512",
    ),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03], "DSA"),
    (
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x02],
        "DSA",
    ),
    (&[0x2b, 0x65, 0x71], "Ed448"),
];
