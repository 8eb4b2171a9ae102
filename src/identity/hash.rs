//! SHA-256 sums as types of their own, and as text: 64 lower-case hex digits.
//!
//! Must not know: what is summed.

/// Not 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lower-case hex digits")]
pub struct HashError;

macro_rules! hash_as_hex {
    ($name:ident) => {
        impl $name {
            /// The 32 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The hash with these 32 bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::identity::HashError;

            fn from_str(text: &str) -> Result<Self, $crate::identity::HashError> {
                let mut bytes = [0; 32];
                let is_hex = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
                if text.len() != 64 || !text.as_bytes().iter().all(is_hex) {
                    return Err($crate::identity::HashError);
                }
                for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
                    let digits = std::str::from_utf8(digits).map_err(|_| $crate::identity::HashError)?;
                    *byte = u8::from_str_radix(digits, 16).map_err(|_| $crate::identity::HashError)?;
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::identity::HashError;
            fn try_from(text: String) -> Result<Self, $crate::identity::HashError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(hash: $name) -> Self {
                hash.to_string()
            }
        }
    };
}

pub(super) use hash_as_hex;
