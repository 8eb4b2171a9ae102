//! Names in certificates: of subjects and issuers, alternative ones, and which of them a constraint covers.
//!
//! Must not know: whose they are.

use sha2::{Digest, Sha256};

use super::tlv::{self, SEQUENCE, SET, Value};

/// A distinguished name. Two that differ in the type of a string, in case, or in inner spaces only are the same.
///
/// Source: RFC 5280 7.1; RFC 4518.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Each a set of attributes, in one order.
    parts: Vec<Vec<Attribute>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Attribute {
    kind: Vec<u8>,
    value: Comparable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Comparable {
    Text(String),
    Other(Vec<u8>),
}

impl Name {
    /// The name in `der`; `None` if it is none.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let sets = tlv::only(der)?.values(SEQUENCE)?.all()?;
        let parts = sets.iter().map(part).collect::<Option<_>>()?;
        Some(Self { parts })
    }

    /// Does it name nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Is it `above` itself, or below it in the directory?
    #[must_use]
    pub fn is_within(&self, above: &Self) -> bool {
        self.parts.starts_with(&above.parts)
    }

    /// The name below it, with one more set of attributes.
    pub(super) fn below(&self, attributes: &[u8]) -> Option<Self> {
        let mut parts = self.parts.clone();
        parts.push(attributes_of(attributes)?);
        Some(Self { parts })
    }

    /// SHA-256 of it: the same for names that are the same.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for part in &self.parts {
            add(b"p");
            for Attribute { kind, value } in part {
                add(kind);
                match value {
                    Comparable::Text(text) => add(&[b"t", text.as_bytes()].concat()),
                    Comparable::Other(bytes) => add(&[b"o", bytes.as_slice()].concat()),
                }
            }
        }
        hash.finalize().into()
    }
}

fn part(set: &Value<'_>) -> Option<Vec<Attribute>> {
    attributes_of(set.of(SET)?)
}

fn attributes_of(content: &[u8]) -> Option<Vec<Attribute>> {
    let mut attributes = Vec::new();
    let mut left = tlv::values(content);
    while !left.is_finished() {
        let mut pair = left.take()?.values(SEQUENCE)?;
        let (kind, value) = (pair.take()?, pair.take()?);
        if kind.tag != tlv::OBJECT_IDENTIFIER || !pair.is_finished() {
            return None;
        }
        attributes.push(Attribute {
            kind: kind.content.to_vec(),
            value: comparable(&value),
        });
    }
    attributes.sort();
    (!attributes.is_empty()).then_some(attributes)
}

fn comparable(value: &Value<'_>) -> Comparable {
    let prepared = text_of(value).and_then(|text| {
        let prepared = stringprep::x520prep(&text, true).ok()?;
        let words: Vec<&str> = prepared
            .split(' ')
            .filter(|word| !word.is_empty())
            .collect();
        Some(words.join(" "))
    });
    prepared.map_or_else(|| Comparable::Other(value.whole.to_vec()), Comparable::Text)
}

/// The text of a string; `None` for what is none, or whose letters nobody agrees on.
fn text_of(value: &Value<'_>) -> Option<String> {
    const UTF8: u8 = 0x0c;
    const UNIVERSAL: u8 = 0x1c;
    const BMP: u8 = 0x1e;
    let bytes = value.content;
    match value.tag {
        UTF8 => String::from_utf8(bytes.to_vec()).ok(),
        // Numeric, Printable, Teletex, IA5, Visible.
        0x12..=0x14 | 0x16 | 0x1a if bytes.is_ascii() => String::from_utf8(bytes.to_vec()).ok(),
        BMP => {
            let units = bytes.chunks_exact(2);
            let is_whole = units.remainder().is_empty();
            let units: Vec<u16> = units
                .filter_map(|unit| Some(u16::from_be_bytes(unit.try_into().ok()?)))
                .collect();
            is_whole.then(|| String::from_utf16(&units).ok())?
        }
        UNIVERSAL => {
            let units = bytes.chunks_exact(4);
            let is_whole = units.remainder().is_empty();
            let letters =
                units.map(|unit| char::from_u32(u32::from_be_bytes(unit.try_into().ok()?)));
            is_whole.then(|| letters.collect::<Option<String>>())?
        }
        _ => None,
    }
}

/// The addresses of e-mail in a distinguished name.
///
/// Source: RFC 5280 4.1.2.6.
pub(super) fn emails_in(der: &[u8]) -> Vec<String> {
    // 1.2.840.113549.1.9.1
    const EMAIL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];
    let mut emails = Vec::new();
    let sets = tlv::only(der).and_then(|value| value.values(SEQUENCE)?.all());
    for set in sets.unwrap_or_default() {
        for pair in set
            .values(SET)
            .and_then(tlv::Values::all)
            .unwrap_or_default()
        {
            let Some(mut pair) = pair.values(SEQUENCE) else {
                continue;
            };
            let (kind, value) = (pair.take(), pair.take());
            if kind.is_some_and(|kind| kind.content == EMAIL) {
                // One that can't be read is within no tree.
                let text = value.and_then(|value| text_of(&value));
                emails.push(text.unwrap_or_default());
            }
        }
    }
    emails
}

/// One name of whatever form.
///
/// Source: RFC 5280 4.2.1.6.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GeneralName {
    /// rfc822Name; in a constraint an address, a host, or `.` and a domain.
    Email(String),
    /// dNSName.
    Dns(String),
    /// uniformResourceIdentifier; in a constraint a host, or `.` and a domain.
    Uri(String),
    /// directoryName.
    Directory(Name),
    /// iPAddress; in a constraint followed by a mask.
    Address(Vec<u8>),
    /// otherName, of that kind: xmppAddr is one.
    Other {
        /// Its object identifier.
        kind: Vec<u8>,
        /// Its bytes.
        value: Vec<u8>,
    },
    /// x400Address, ediPartyName, registeredID.
    Rare {
        /// Its tag.
        tag: u8,
        /// Its bytes.
        value: Vec<u8>,
    },
}

impl GeneralName {
    pub(super) fn from_value(value: &Value<'_>) -> Option<Self> {
        let bytes = value.content;
        let ascii = || {
            let text = String::from_utf8(bytes.to_vec()).ok();
            text.filter(|text| text.is_ascii())
        };
        Some(match value.tag {
            0xa0 => {
                let mut parts = tlv::values(bytes);
                let (kind, rest) = (parts.take()?, parts.take()?);
                if !parts.is_finished() {
                    return None;
                }
                Self::Other {
                    kind: kind.of(tlv::OBJECT_IDENTIFIER)?.to_vec(),
                    value: rest.whole.to_vec(),
                }
            }
            0x81 => Self::Email(ascii()?),
            0x82 => Self::Dns(ascii()?),
            0x86 => Self::Uri(ascii()?),
            0xa4 => Self::Directory(Name::from_der(bytes)?),
            0x87 => Self::Address(bytes.to_vec()),
            tag @ (0xa3 | 0xa5 | 0x88) => Self::Rare {
                tag,
                value: bytes.to_vec(),
            },
            _ => return None,
        })
    }

    /// Are both of one form, so that a constraint in one says something about the other?
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Other { kind: one, .. }, Self::Other { kind: other, .. }) => one == other,
            (Self::Rare { tag: one, .. }, Self::Rare { tag: other, .. }) => one == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }

    /// Does the name lie in the tree that `constraint` names? `None` where nobody can tell: it is of a form for which
    /// there are no rules, or malformed.
    ///
    /// Source: RFC 5280 4.2.1.10.
    #[must_use]
    pub fn is_within(&self, constraint: &Self) -> Option<bool> {
        match (self, constraint) {
            (Self::Email(name), Self::Email(tree)) => email_is_within(name, tree),
            (Self::Dns(name), Self::Dns(tree)) => {
                let (name, tree) = (name.to_ascii_lowercase(), tree.to_ascii_lowercase());
                let tree = tree.strip_prefix('.').unwrap_or(&tree);
                Some(tree.is_empty() || name == *tree || is_below(&name, tree))
            }
            (Self::Uri(name), Self::Uri(tree)) => host_is_within(&host_of(name)?, tree),
            (Self::Directory(name), Self::Directory(tree)) => Some(name.is_within(tree)),
            (Self::Address(name), Self::Address(tree)) => address_is_within(name, tree),
            _ => None,
        }
    }
}

fn email_is_within(name: &str, tree: &str) -> Option<bool> {
    let (local, host) = name.rsplit_once('@')?;
    if local.is_empty() || host.is_empty() {
        return None;
    }
    match tree.rsplit_once('@') {
        Some((of, at)) => Some(of == local && at.eq_ignore_ascii_case(host)),
        None => host_is_within(host, tree),
    }
}

/// `.example.org` is what is below it, `example.org` that host only.
fn host_is_within(host: &str, tree: &str) -> Option<bool> {
    let (host, tree) = (host.to_ascii_lowercase(), tree.to_ascii_lowercase());
    Some(match tree.strip_prefix('.') {
        Some("") => return None,
        Some(domain) => is_below(&host, domain),
        None => host == tree,
    })
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|before| before.len() > 1 && before.ends_with('.'))
}

/// The host's name in a URI; `None` if it has none: an address is none, and neither is what has no authority.
fn host_of(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let is_number = host
        .rsplit('.')
        .next()?
        .bytes()
        .all(|byte| byte.is_ascii_digit());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_name = !host.is_empty() && !is_number && host.bytes().all(is_plain);
    (is_name && port.bytes().all(|byte| byte.is_ascii_digit())).then(|| host.to_owned())
}

fn address_is_within(name: &[u8], tree: &[u8]) -> Option<bool> {
    if !matches!((name.len(), tree.len()), (4 | 16, 8 | 32)) {
        return None;
    }
    if tree.len() != 2 * name.len() {
        return Some(false);
    }
    let (network, mask) = tree.split_at_checked(name.len())?;
    let mut bytes = name.iter().zip(network).zip(mask);
    Some(bytes.all(|((name, network), mask)| name & mask == network & mask))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, u8::try_from(content.len()).unwrap()];
        out.extend_from_slice(content);
        out
    }

    /// A name of one common name in a string of that type.
    fn named(tag: u8, text: &[u8]) -> Name {
        let kind = tagged(0x06, &[0x55, 0x04, 0x03]);
        let pair = tagged(SEQUENCE, &[kind, tagged(tag, text)].concat());
        Name::from_der(&tagged(SEQUENCE, &tagged(SET, &pair))).unwrap()
    }

    #[test]
    fn names_are_the_same_whatever_the_type_the_case_and_the_spaces() {
        let plain = named(0x0c, b"Denmark Root");
        for (tag, text, is_same) in [
            (0x0c, &b"Denmark Root"[..], true),
            (0x13, b"Denmark Root", true),
            (0x13, b"  denmark   ROOT ", true),
            (0x1e, b"\0D\0e\0n\0m\0a\0r\0k\0 \0R\0o\0o\0t", true),
            (0x13, b"DenmarkRoot", false),
            (0x0c, b"Denmark Roots", false),
            // Not letters.
            (0x04, b"Denmark Root", false),
        ] {
            let other = named(tag, text);
            assert_eq!(other == plain, is_same, "{text:?}");
            assert_eq!(other.id() == plain.id(), is_same, "{text:?}");
        }
        assert!(plain.is_within(&Name { parts: vec![] }));
        assert!(!Name { parts: vec![] }.is_within(&plain));
    }

    #[test]
    fn a_tree_holds_what_is_in_it() {
        let email = |text: &str| GeneralName::Email(text.to_owned());
        let dns = |text: &str| GeneralName::Dns(text.to_owned());
        let uri = |text: &str| GeneralName::Uri(text.to_owned());
        let address = |bytes: &[u8]| GeneralName::Address(bytes.to_vec());
        let other = |kind: u8| GeneralName::Other {
            kind: vec![kind],
            value: vec![5, 0],
        };
        for (name, tree, expected) in [
            (
                email("hamlet@denmark.lit"),
                email("hamlet@Denmark.lit"),
                Some(true),
            ),
            (
                email("Hamlet@denmark.lit"),
                email("hamlet@denmark.lit"),
                Some(false),
            ),
            (
                email("hamlet@denmark.lit"),
                email("denmark.lit"),
                Some(true),
            ),
            (
                email("hamlet@denmark.lit"),
                email(".denmark.lit"),
                Some(false),
            ),
            (
                email("hamlet@court.denmark.lit"),
                email(".denmark.lit"),
                Some(true),
            ),
            (
                email("hamlet@court.denmark.lit"),
                email("denmark.lit"),
                Some(false),
            ),
            (email("hamlet"), email("denmark.lit"), None),
            (dns("denmark.lit"), dns("denmark.lit"), Some(true)),
            (dns("Court.Denmark.lit"), dns("denmark.lit"), Some(true)),
            (dns("mydenmark.lit"), dns("denmark.lit"), Some(false)),
            (
                uri("https://court.denmark.lit:443/a?b"),
                uri(".denmark.lit"),
                Some(true),
            ),
            (
                uri("https://denmark.lit/"),
                uri(".denmark.lit"),
                Some(false),
            ),
            (
                uri("https://me@denmark.lit/"),
                uri("denmark.lit"),
                Some(true),
            ),
            (
                uri("https://denmark.lit@norway.lit/"),
                uri("denmark.lit"),
                Some(false),
            ),
            (uri("https://192.0.2.1/"), uri("denmark.lit"), None),
            (uri("urn:denmark.lit"), uri("denmark.lit"), None),
            (
                address(&[192, 0, 2, 7]),
                address(&[192, 0, 2, 0, 255, 255, 255, 0]),
                Some(true),
            ),
            (
                address(&[192, 0, 3, 7]),
                address(&[192, 0, 2, 0, 255, 255, 255, 0]),
                Some(false),
            ),
            (
                address(&[192, 0, 2]),
                address(&[192, 0, 2, 0, 255, 255, 255, 0]),
                None,
            ),
            (other(1), other(1), None),
        ] {
            assert_eq!(name.is_within(&tree), expected, "{name:?} {tree:?}");
            assert!(name.is_like(&tree));
        }
        assert!(!other(1).is_like(&other(2)));
        assert!(!dns("denmark.lit").is_like(&uri("denmark.lit")));
    }
}
