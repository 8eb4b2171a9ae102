//! The values that stand in the fields of questions: certificates, chains, bytes, texts that are wiped, how a session logged in.
//!
//! Must not know: what they are asked for.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::limits::{MAX_CERTIFICATE_BASE64_BYTES, MAX_CHAIN, MAX_CHAIN_BASE64_BYTES};
use crate::identity::certificate::Finding;
use crate::identity::{ClientCert, Fingerprint, Jid, KeyId};

/// DER, as base64 that may be folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(pub Vec<u8>);

impl Certificate {
    /// The bytes that `text` encodes; white space in it is ignored (XEP-0257's own example has line breaks).
    ///
    /// Errors: it is too long, or no base64.
    pub fn from_base64(text: &str) -> Result<Self, NotDecoded> {
        let is_short = text.len() <= MAX_CERTIFICATE_BASE64_BYTES;
        // Most are not folded.
        if let Some(Ok(der)) = is_short.then(|| BASE64.decode(text)) {
            return Ok(Self(der));
        }
        let solid: String = text.split_ascii_whitespace().collect();
        if solid.len() > MAX_CERTIFICATE_BASE64_BYTES {
            return Err(NotDecoded::TooLong);
        }
        let decoded = BASE64.decode(solid);
        decoded.map(Self).map_err(|_| NotDecoded::NotBase64)
    }
}

/// Why a text is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecoded {
    /// More than any has.
    #[error("is longer than {MAX_CERTIFICATE_BASE64_BYTES} bytes of base64")]
    TooLong,
    /// Other letters, or not whole.
    #[error("is not base64")]
    NotBase64,
}

/// As it goes out: base64 without line breaks.
#[must_use]
pub fn base64_of(der: &[u8]) -> String {
    BASE64.encode(der)
}

/// A chain as the client presented it: up to [`MAX_CHAIN`] certificates, leaf first; none, if its own is too long for a question.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    ders: Vec<Vec<u8>>,
    /// The hash of the client's own, once it was asked for.
    fingerprint: OnceLock<Fingerprint>,
    /// The client's own, once it was read.
    cert: OnceLock<Result<ClientCert, Finding>>,
}

/// Why texts are no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChain {
    /// There are too many.
    #[error("a chain has at most 6 certificates and 65536 bytes of base64")]
    Size,
    /// One of them is no certificate.
    #[error("a certificate of the chain {0}")]
    Certificate(#[from] NotDecoded),
}

impl Chain {
    /// The chain of these certificates, each as base64.
    ///
    /// Errors: see [`NotChain`].
    pub fn from_base64<T: AsRef<str>>(texts: &[T]) -> Result<Self, NotChain> {
        let total: usize = texts.iter().map(|text| text.as_ref().len()).sum();
        if texts.len() > MAX_CHAIN || total > MAX_CHAIN_BASE64_BYTES {
            return Err(NotChain::Size);
        }
        let decoded = texts
            .iter()
            .map(|text| Certificate::from_base64(text.as_ref()));
        let chain: Result<_, _> = decoded.map(|cert| cert.map(|cert| cert.0)).collect();
        Ok(Self {
            ders: chain?,
            fingerprint: OnceLock::new(),
            cert: OnceLock::new(),
        })
    }

    /// The chain that consists of this certificate alone.
    #[must_use]
    pub fn of_one(der: Vec<u8>) -> Self {
        Self {
            ders: vec![der],
            fingerprint: OnceLock::new(),
            cert: OnceLock::new(),
        }
    }

    /// The client's own certificate; empty, if that is too long.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        self.ders.first().map_or(&[], Vec::as_slice)
    }

    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        let hashed = || Fingerprint::of(self.leaf());
        self.fingerprint.get_or_init(hashed)
    }

    /// The client's own certificate, parsed; however often it is asked for, only once.
    ///
    /// Errors: what speaks against it.
    pub fn cert(&self) -> Result<&ClientCert, Finding> {
        self.cert_or(None)
    }

    /// The same; not parsed if somebody knows already what stands in these bytes.
    ///
    /// Errors: what speaks against it.
    pub fn cert_or(&self, known: Option<ClientCert>) -> Result<&ClientCert, Finding> {
        let known = known.filter(|cert| cert.der == self.leaf());
        let read = || match (known, self.ders.first()) {
            (Some(known), _) => Ok(known),
            (None, Some(leaf)) => ClientCert::from_der(leaf),
            (None, None) => Err(Finding::TooLarge),
        };
        let cert = self.cert.get_or_init(read).as_ref();
        cert.map_err(|finding| *finding)
    }

    /// The client's own certificate, if it was parsed before.
    #[must_use]
    pub fn parsed(&self) -> Option<&ClientCert> {
        self.cert.get()?.as_ref().ok()
    }

    /// The name of this very chain, and of no other: the SHA-256 of all of it.
    #[must_use]
    pub fn name(&self) -> Fingerprint {
        match self.ders.as_slice() {
            [_] => *self.fingerprint(),
            all => {
                let hashes = all.iter().map(|der| Fingerprint::of(der));
                Fingerprint::of(&hashes.flat_map(|hash| hash.bytes()).collect::<Vec<u8>>())
            }
        }
    }

    /// How many bytes its certificates have.
    #[must_use]
    pub fn size(&self) -> usize {
        self.ders.iter().map(Vec::len).sum()
    }

    /// The certificates that the client presented beside its own, to show who issued it.
    #[must_use]
    pub fn intermediates(&self) -> Vec<&[u8]> {
        self.ders.iter().skip(1).map(Vec::as_slice).collect()
    }
}

/// The chain that a client presented, itself; or, after an offer, the name that the offer's answer gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// Itself.
    Chain(Arc<Chain>),
    /// By [`Chain::name`].
    Named(Fingerprint),
}

impl<'de> Deserialize<'de> for Presented {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Presented;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a chain, or the name of one")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Presented, A::Error> {
                let chain = Chain::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(Presented::Chain(Arc::new(chain)))
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Presented, E> {
                Fingerprint::deserialize(name.into_deserializer()).map(Presented::Named)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Serialize for Presented {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Chain(chain) => chain.serialize(serializer),
            Self::Named(name) => name.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// As it stands in the line, where nothing in it is escaped.
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        impl AsRef<str> for Text<'_> {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        let texts = Vec::<Text<'de>>::deserialize(deserializer)?;
        Self::from_base64(&texts).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ders.iter().map(|der| base64_of(der)))
    }
}

/// Bytes as base64, both ways.
pub mod in_base64 {
    use super::{BASE64, Engine};
    use serde::{Deserializer, Serializer};

    /// As base64.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    /// Out of base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        super::bytes(deserializer)
    }
}

/// Bytes as base64, both ways; there may be none.
pub mod in_optional_base64 {
    use super::{BASE64, Engine};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// As base64.
    pub fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = bytes.as_ref().map(|bytes| BASE64.encode(bytes));
        text.serialize(serializer)
    }

    /// Out of base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| BASE64.decode(text).map_err(serde::de::Error::custom))
            .transpose()
    }
}

pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64.decode(text).map_err(serde::de::Error::custom)
}

/// How the asking session logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its stream is encrypted.
    pub secure: bool,
    /// By what it logged in.
    pub by: SessionBy,
    /// The SASL mechanism, if it is not known what that proves; none if there was none.
    pub mechanism: Option<String>,
    /// Its certificate, if that is how it logged in.
    pub fingerprint: Option<Fingerprint>,
    /// The key of that.
    pub key_id: Option<KeyId>,
    /// Its full JID.
    pub jid: Option<Jid>,
    /// Its client's address.
    pub address: Option<String>,
}

/// By what a session logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionBy {
    /// By this `mechanism`.
    Sasl,
    /// By a password, as the asker knows.
    Password,
    /// EXTERNAL.
    Certificate,
    /// By nothing: an administrator of the server asks, in its shell or with `prosodyctl`.
    Admin,
}

/// Text that is wiped when it is dropped.
pub struct Text(pub Zeroizing<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own words would say what stands there instead: a password that is a number, say.
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(Zeroizing::new(text))),
            _ => Err(serde::de::Error::custom("a string is wanted")),
        }
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text(…)")
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn certificates_may_be_folded_but_not_too_long() {
        assert_eq!(
            Certificate::from_base64(" AQ\r\n ID\t"),
            Ok(Certificate(vec![1, 2, 3]))
        );
        for text in ["A", "A===", "AQ==AQ==", "@@@@"] {
            assert_eq!(Certificate::from_base64(text), Err(NotDecoded::NotBase64));
        }
        let long = "A".repeat(24 * 1024 + 4);
        assert_eq!(Certificate::from_base64(&long), Err(NotDecoded::TooLong));
    }

    #[test]
    fn a_chain_that_is_too_long_is_not_said_to_be_no_base64() {
        let long = "A".repeat(24 * 1024 + 4);
        for (chain, wanted) in [
            (vec!["AQID", &long], "is longer than 24576 bytes of base64"),
            (vec!["AQID", "@"], "is not base64"),
            (vec!["AQID"; 7], "a chain has at most 6 certificates"),
        ] {
            let refused = serde_json::from_value::<Chain>(serde_json::json!(chain));
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(wanted), "{refused}");
        }
    }

    #[test]
    fn a_chain_of_nothing_is_one_whose_own_certificate_is_too_long() {
        let chain = Chain::from_base64::<String>(&[]).unwrap();
        assert_eq!(chain.cert(), Err(Finding::TooLarge));
        assert!(chain.leaf().is_empty() && chain.intermediates().is_empty());
    }
}
