//! The key of a client's certificate: of a kind that TLS clients prove, in its one usual form.
//!
//! Must not know: who has the key, which keys are long enough.

use der::asn1::{AnyRef, UintRef};
use der::{Decode, Reader, SliceReader, Tagged};
use x509_parser::prelude::SubjectPublicKeyInfo;

use super::strict_der;

/// The kind of the certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// RSA with a modulus of that many bits.
    Rsa {
        /// Bits of the modulus.
        bits: usize,
    },
    /// An elliptic curve that TLS stacks support: P-256, P-384, P-521, Ed25519 or Ed448.
    Curve,
}

/// The key, if it is of a kind that TLS clients prove, and written in the one usual form.
///
/// A key must have one encoding only: the revocation of a key is remembered by the hash of it.
pub(super) fn read(info: &SubjectPublicKeyInfo<'_>) -> Option<Key> {
    let bits = &info.subject_public_key;
    if bits.unused_bits != 0 {
        return None;
    }
    let point = &bits.data;
    let parameters = info.algorithm.parameters.as_ref();
    match info.algorithm.algorithm.to_id_string().as_str() {
        RSA => {
            let is_null =
                parameters.is_some_and(|any| any.tag().0 == 5 && any.as_bytes().is_empty());
            if !is_null || strict_der::check(point).is_err() {
                return None;
            }
            rsa_modulus_bits(point).map(|bits| Key::Rsa { bits })
        }
        EC => {
            let curve = parameters?.as_oid().ok()?.to_id_string();
            let point_bytes = match curve.as_str() {
                P256 => 65,
                P384 => 97,
                P521 => 133,
                _ => return None,
            };
            (point.len() == point_bytes && point.first() == Some(&4)).then_some(Key::Curve)
        }
        ED25519 => (parameters.is_none() && point.len() == 32).then_some(Key::Curve),
        ED448 => (parameters.is_none() && point.len() == 57).then_some(Key::Curve),
        _ => None,
    }
}

fn rsa_modulus_bits(key: &[u8]) -> Option<usize> {
    let sequence = AnyRef::from_der(key).ok()?;
    if sequence.tag() != der::Tag::Sequence {
        return None;
    }
    let mut reader = SliceReader::new(sequence.value()).ok()?;
    let modulus = UintRef::decode(&mut reader).ok()?;
    let exponent = UintRef::decode(&mut reader).ok()?;
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let is_one = exponent.as_bytes() == [1];
    if !reader.is_finished()
        || !is_odd(exponent.as_bytes())
        || !is_odd(modulus.as_bytes())
        || is_one
    {
        return None;
    }
    let modulus = modulus.as_bytes();
    let leading_zeros = modulus.first()?.leading_zeros() as usize;
    Some(modulus.len() * 8 - leading_zeros)
}

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";
const ED25519: &str = "1.3.101.112";
const ED448: &str = "1.3.101.113";
