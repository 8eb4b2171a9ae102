//! SHA-256 sums as types of their own, and as text: 64 lower-case hex digits.
//!
//! Must not know: what is summed.

use data_encoding::Encoding;

/// The digits of a hash: lower-case ones only, on either way.
pub(super) const HEX: Encoding = data_encoding::HEXLOWER;

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

        impl $name {
            /// Lets `read` read the text: 64 lower-case hex digits.
            fn with_text<T>(&self, read: impl FnOnce(&str) -> T) -> T {
                let mut digits = [0; 64];
                $crate::identity::hash::HEX.encode_mut(&self.0, &mut digits);
                // Hex digits are UTF-8.
                read(std::str::from_utf8(&digits).unwrap_or_default())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.with_text(|text| f.write_str(text))
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
                // It panics at a text of another length.
                if text.len() != 64 {
                    return Err($crate::identity::HashError);
                }
                $crate::identity::hash::HEX
                    .decode_mut(text.as_bytes(), &mut bytes)
                    .map_err(|_| $crate::identity::HashError)?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.with_text(|text| serializer.serialize_str(text))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::identity::as_text::read(deserializer, str::parse)
            }
        }
    };
}

pub(super) use hash_as_hex;
