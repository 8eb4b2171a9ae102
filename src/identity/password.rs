//! Passwords, and what is kept in their place: SCRAM verifiers.
//!
//! Must not know: whose password it is, how verifiers are stored.

use std::fmt;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::counted::counted;
use super::jid::is_ambiguous;

/// A password, prepared by SASLprep: 1 to 1024 bytes, no control characters. Wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// Why a text cannot be a password. Never holds any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing, or nothing but characters that SASLprep drops.
    #[error("the password is empty")]
    Empty,
    /// More than [`MAX_PASSWORD_BYTES`], before or after SASLprep.
    #[error("the password is longer than 1024 bytes")]
    TooLong,
    /// A control character, or another one that SASLprep refuses.
    #[error("the password has a character that may not stand in one")]
    Character,
}

impl Secret {
    /// Prepares `text` as Prosody does (SASLprep; code points that Unicode 3.2 does not know stay as they are).
    ///
    /// Errors: [`PasswordError`].
    /// Source: RFC 4013; RFC 3454 7 (query strings).
    pub fn prepare(text: &str) -> Result<Self, PasswordError> {
        if text.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong);
        }
        let mut prepared = Zeroizing::new(String::with_capacity(2 * text.len()));
        // The crate refuses what Unicode 3.2 does not know, emoji among it; Prosody lets it pass unchanged.
        let mut known = text;
        while let Some((at, unknown)) = known.char_indices().find(|(_, c)| is_ambiguous(*c)) {
            let is_unassigned = stringprep::tables::unassigned_code_point(unknown);
            if !is_unassigned || is_reserved_for_right_to_left(unknown) {
                return Err(PasswordError::Character);
            }
            let (before, after) = known.split_at(at);
            push_prepared(before, &mut prepared)?;
            prepared.push(unknown);
            known = after.get(unknown.len_utf8()..).unwrap_or_default();
        }
        push_prepared(known, &mut prepared)?;
        // Which way a code point runs that Unicode 3.2 does not know, Prosody takes from a newer Unicode.
        let is_unclear = known.len() < text.len() && prepared.chars().any(is_right_to_left);
        if is_unclear || is_bidirectional_mixture(&prepared) {
            return Err(PasswordError::Character);
        }
        match prepared.len() {
            0 => Err(PasswordError::Empty),
            1..=MAX_PASSWORD_BYTES => Ok(Self(prepared)),
            _ => Err(PasswordError::TooLong),
        }
    }

    /// The prepared bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn push_prepared(text: &str, out: &mut String) -> Result<(), PasswordError> {
    match stringprep::saslprep(text) {
        Ok(std::borrow::Cow::Borrowed(same)) => out.push_str(same),
        Ok(std::borrow::Cow::Owned(other)) => out.push_str(&Zeroizing::new(other)),
        Err(_) => return Err(PasswordError::Character),
    }
    Ok(())
}

/// Source: RFC 3454 6.
fn is_bidirectional_mixture(text: &str) -> bool {
    text.chars().any(is_right_to_left)
        && (text.chars().any(stringprep::tables::bidi_l)
            || !text.starts_with(is_right_to_left)
            || !text.ends_with(is_right_to_left))
}

fn is_right_to_left(c: char) -> bool {
    stringprep::tables::bidi_r_or_al(c)
}

/// Every character that is or will be assigned there runs from right to left.
///
/// Source: Unicode's `DerivedBidiClass.txt`, the classes of unassigned code points.
fn is_reserved_for_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The hash function of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ScramHash {
    /// SCRAM-SHA-1, RFC 5802.
    #[serde(rename = "SHA-1")]
    Sha1,
    /// SCRAM-SHA-256, RFC 7677.
    #[serde(rename = "SHA-256")]
    Sha256,
}

impl ScramHash {
    /// Both, the weaker first.
    pub const ALL: [Self; 2] = [Self::Sha1, Self::Sha256];

    /// As it stands in the mechanism's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Bytes of a key.
    #[must_use]
    pub fn key_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// The substitute that is kept for a password: with it a password can be tried, and a client's proof checked.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    hash: ScramHash,
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

/// A property that no verifier has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// Its salt.
    #[error("its salt has {}; 1 to {MAX_SALT_BYTES} are wanted", counted(*.bytes, "byte", "bytes"))]
    Salt {
        /// So long it is.
        bytes: usize,
    },
    /// Its count.
    #[error("its iteration count is {count}; 1 to {MAX_ITERATIONS} is wanted")]
    Iterations {
        /// As it was given.
        count: u32,
    },
    /// Its keys.
    #[error("its keys are not as long as those of SCRAM-{}", .hash.name())]
    Keys {
        /// The hash whose keys they should be.
        hash: ScramHash,
    },
}

impl ScramVerifier {
    /// The verifier of a password. Slow on purpose: about a microsecond for every ten iterations.
    ///
    /// Shape: `salt` of 1 to [`MAX_SALT_BYTES`] bytes; `iterations` from 1 to [`MAX_ITERATIONS`]; what is beyond is cut off.
    /// Source: RFC 5802 3; RFC 7677.
    #[must_use]
    pub fn derive(hash: ScramHash, secret: &Secret, salt: &[u8], iterations: u32) -> Self {
        let salt = salt.get(..MAX_SALT_BYTES).unwrap_or(salt);
        let iterations = iterations.clamp(1, MAX_ITERATIONS);
        let password = secret.as_bytes();
        let (stored_key, server_key) = match hash {
            ScramHash::Sha1 => {
                let mut salted = Zeroizing::new([0; 20]);
                pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, salted.as_mut_slice());
                let mut client_key = mac::<Hmac<Sha1>>(salted.as_slice(), b"Client Key");
                let stored_key = Sha1::digest(&client_key).to_vec();
                client_key.zeroize();
                (
                    stored_key,
                    mac::<Hmac<Sha1>>(salted.as_slice(), b"Server Key"),
                )
            }
            ScramHash::Sha256 => {
                let mut salted = Zeroizing::new([0; 32]);
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, salted.as_mut_slice());
                let mut client_key = mac::<Hmac<Sha256>>(salted.as_slice(), b"Client Key");
                let stored_key = Sha256::digest(&client_key).to_vec();
                client_key.zeroize();
                (
                    stored_key,
                    mac::<Hmac<Sha256>>(salted.as_slice(), b"Server Key"),
                )
            }
        };
        Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            stored_key,
            server_key,
        }
    }

    /// A verifier that was made elsewhere.
    ///
    /// Errors: it cannot be one.
    pub fn from_parts(
        hash: ScramHash,
        salt: Vec<u8>,
        iterations: u32,
        stored_key: Vec<u8>,
        server_key: Vec<u8>,
    ) -> Result<Self, VerifierError> {
        if !(1..=MAX_SALT_BYTES).contains(&salt.len()) {
            return Err(VerifierError::Salt { bytes: salt.len() });
        }
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return Err(VerifierError::Iterations { count: iterations });
        }
        if [&stored_key, &server_key].map(Vec::len) != [hash.key_bytes(); 2] {
            return Err(VerifierError::Keys { hash });
        }
        Ok(Self {
            hash,
            salt,
            iterations,
            stored_key,
            server_key,
        })
    }

    /// Is this its password? Takes the same time whatever the answer.
    #[must_use]
    pub fn admits(&self, secret: &Secret) -> bool {
        let tried = Self::derive(self.hash, secret, &self.salt, self.iterations);
        let stored = self.stored_key.ct_eq(&tried.stored_key);
        bool::from(stored & self.server_key.ct_eq(&tried.server_key))
    }

    /// Has it this StoredKey? In constant time.
    #[must_use]
    pub fn has_stored_key(&self, stored_key: &[u8]) -> bool {
        self.stored_key.ct_eq(stored_key).into()
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// Its salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Its iteration count.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// H(ClientKey): who has it can check a client's proof, and make none.
    #[must_use]
    pub fn stored_key(&self) -> &[u8] {
        &self.stored_key
    }

    /// By which the server proves that it knows the account.
    #[must_use]
    pub fn server_key(&self) -> &[u8] {
        &self.server_key
    }

    /// How it looks to who has proved nothing yet.
    #[must_use]
    pub fn look(&self) -> Look {
        Look {
            iterations: self.iterations,
            salt_bytes: self.salt.len(),
            is_uuid: is_uuid(&self.salt),
        }
    }
}

/// Is the salt the text of a UUID, as Prosody makes them?
pub(crate) fn is_uuid(salt: &[u8]) -> bool {
    let is_of_uuid = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    salt.len() == 36 && salt.iter().enumerate().all(is_of_uuid)
}

/// The part of a verifier that a client sees before it has proved anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look {
    /// The iteration count.
    pub iterations: u32,
    /// Bytes of the salt.
    pub salt_bytes: usize,
    /// Is the salt the text of a UUID, as Prosody makes them?
    pub is_uuid: bool,
}

impl Look {
    /// Can a verifier look so?
    #[must_use]
    pub fn is_possible(&self) -> bool {
        (1..=MAX_SALT_BYTES).contains(&self.salt_bytes)
            && (1..=MAX_ITERATIONS).contains(&self.iterations)
            && (!self.is_uuid || self.salt_bytes == 36)
    }
}

/// Keys stay out of logs.
impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ScramVerifier({}, {})",
            self.hash.name(),
            self.iterations
        )
    }
}

fn mac<M: Mac + hmac::digest::KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    // Proof: HMAC takes keys of every length (RFC 2104 2).
    #[allow(clippy::expect_used)]
    let mut mac = <M as Mac>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// Derives bytes from the daemon's own secret for a question: always the same ones, and nobody else can make them.
#[must_use]
#[allow(clippy::missing_panics_doc)]
pub fn keyed(secret: &[u8; 32], words: &[&[u8]]) -> [u8; 32] {
    // Proof: HMAC takes keys of every length (RFC 2104 2).
    #[allow(clippy::expect_used)]
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).expect("HMAC takes any key");
    for word in words {
        // Their lengths too, so that no two lists of words are the same bytes.
        mac.update(&(word.len() as u64).to_be_bytes());
        mac.update(word);
    }
    mac.finalize().into_bytes().into()
}

/// Longest password.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Longest salt; Prosody's own are 36 bytes long.
pub const MAX_SALT_BYTES: usize = 64;
/// Most iterations: about a second of work.
pub const MAX_ITERATIONS: u32 = 10_000_000;
/// Fewest that may be asked for (RFC 5802 5.1, RFC 7677 4).
pub const MIN_ITERATIONS: u32 = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    #[test]
    fn passwords_are_prepared_bounded_and_free_of_controls() {
        let longest = "p".repeat(1024);
        for (text, expected) in [
            ("pencil", Ok("pencil")),
            (" two words ", Ok(" two words ")),
            ("I\u{ad}X", Ok("IX")),
            ("\u{aa}", Ok("a")),
            ("\u{2168}", Ok("IX")),
            ("a\u{a0}b", Ok("a b")),
            ("Zoe\u{308}", Ok("Zo\u{eb}")),
            ("corre\u{1f40e}ct", Ok("corre\u{1f40e}ct")),
            ("\u{1d2c}", Ok("\u{1d2c}")),
            ("a:b", Ok("a:b")),
            (&longest, Ok(longest.as_str())),
            ("", Err(PasswordError::Empty)),
            ("\u{ad}", Err(PasswordError::Empty)),
            ("a\nb", Err(PasswordError::Character)),
            ("a\u{0}", Err(PasswordError::Character)),
            ("\u{7f}", Err(PasswordError::Character)),
            ("\u{85}", Err(PasswordError::Character)),
            ("\u{627}1", Err(PasswordError::Character)),
            ("\u{627}\u{1f40e}\u{627}", Err(PasswordError::Character)),
            ("a\u{897}", Err(PasswordError::Character)),
            ("\u{2f868}", Err(PasswordError::Character)),
            (&"p".repeat(1025), Err(PasswordError::TooLong)),
            // One character that SASLprep makes eighteen of.
            (&"\u{fdfa}".repeat(300), Err(PasswordError::TooLong)),
        ] {
            let got = Secret::prepare(text);
            let got = got.as_ref().map(|secret| secret.0.as_str());
            assert_eq!(got, expected.as_ref().copied(), "{text:?}");
        }
    }

    #[test]
    fn secrets_and_keys_stay_out_of_logs() {
        let secret = Secret::prepare("pencil").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        let verifier = ScramVerifier::derive(ScramHash::Sha1, &secret, b"salt", 4096);
        assert_eq!(format!("{verifier:?}"), "ScramVerifier(SHA-1, 4096)");
    }

    /// The exchanges of RFC 5802 5 and RFC 7677 3: the proof there must be that of our StoredKey.
    #[test]
    fn the_examples_of_the_specifications_come_out() {
        let secret = Secret::prepare("pencil").unwrap();
        let salt = STANDARD.decode("QSXCR+Q6sek8bf92").unwrap();
        let sha1 = ScramVerifier::derive(ScramHash::Sha1, &secret, &salt, 4096);
        let messages: &[u8] = b"n=user,r=fyko+d2lbbFgONRv9qkxdawL,\
r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,\
c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j";
        let signature = mac::<Hmac<Sha1>>(sha1.stored_key(), messages);
        let proof = STANDARD.decode("v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=").unwrap();
        let client_key: Vec<u8> = signature.iter().zip(&proof).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha1::digest(client_key).as_slice(), sha1.stored_key());
        let server = mac::<Hmac<Sha1>>(sha1.server_key(), messages);
        assert_eq!(STANDARD.encode(server), "rmF9pqV8S7suAoZWja4dJRkFsKQ=");

        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let sha256 = ScramVerifier::derive(ScramHash::Sha256, &secret, &salt, 4096);
        let messages: &[u8] = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server = mac::<Hmac<Sha256>>(sha256.server_key(), messages);
        assert_eq!(
            STANDARD.encode(server),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn a_verifier_admits_its_password_and_no_other() {
        let secret = Secret::prepare("pencil").unwrap();
        let other = Secret::prepare("Pencil").unwrap();
        for hash in ScramHash::ALL {
            let verifier = ScramVerifier::derive(hash, &secret, b"salt", 4096);
            assert!(verifier.admits(&secret));
            assert!(!verifier.admits(&other));
            assert!(verifier.has_stored_key(verifier.stored_key()));
            assert!(!verifier.has_stored_key(verifier.server_key()));
            assert!(!verifier.has_stored_key(b""));
        }
    }

    #[test]
    fn parts_that_cannot_be_a_verifier_are_refused() {
        let made = |hash, salt: usize, iterations, key: usize| {
            ScramVerifier::from_parts(hash, vec![1; salt], iterations, vec![2; key], vec![3; key])
        };
        assert!(made(ScramHash::Sha1, 36, 4096, 20).is_ok());
        assert!(made(ScramHash::Sha256, 16, 10_000, 32).is_ok());
        let keys = "its keys are not as long as those of SCRAM-";
        for (hash, salt, iterations, key, wanted) in [
            (ScramHash::Sha1, 0, 4096, 20, "its salt has 0 bytes"),
            (
                ScramHash::Sha1,
                65,
                4096,
                20,
                "its salt has 65 bytes; 1 to 64 are wanted",
            ),
            (ScramHash::Sha1, 16, 0, 20, "its iteration count is 0"),
            (
                ScramHash::Sha1,
                16,
                10_000_001,
                20,
                "its iteration count is 10000001; 1 to 10000000 is wanted",
            ),
            (ScramHash::Sha1, 16, 4096, 32, keys),
            (ScramHash::Sha256, 16, 4096, 20, keys),
        ] {
            let refused = made(hash, salt, iterations, key).unwrap_err().to_string();
            assert!(refused.starts_with(wanted), "{refused}");
        }
    }

    #[test]
    fn a_salt_that_prosody_made_is_known() {
        for (salt, is_uuid) in [
            ("6f1d2c3a-0b1c-4d2e-8f3a-000102030405", true),
            ("6f1d2c3a-0b1c-4d2e-8f3a-00010203040Z", false),
            ("6f1d2c3a00b1c04d2e08f3a0000102030405", false),
            ("salt", false),
        ] {
            let key = vec![1; 20];
            let salt = salt.as_bytes().to_vec();
            let verifier =
                ScramVerifier::from_parts(ScramHash::Sha1, salt, 4096, key.clone(), key).unwrap();
            assert_eq!(verifier.look().is_uuid, is_uuid);
        }
    }

    proptest! {
        #[test]
        fn preparing_never_panics_and_is_stable(text in "\\PC{0,40}") {
            if let Ok(secret) = Secret::prepare(&text) {
                let again = Secret::prepare(&secret.0);
                prop_assert_eq!(again.map(|again| again.0.to_string()), Ok(secret.0.to_string()));
            }
        }
    }
}
