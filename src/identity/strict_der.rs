//! Strict DER: does a value have the one encoding that X.690 allows? x509-parser and the crate der are more lenient,
//! and a certificate with two readings has two fingerprints.
//!
//! Must not know: what a certificate is for. Of X.509 it knows where a default value or a bit that has a name may stand.

/// A rule of X.690 that the bytes break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerFault {
    /// It ends in the middle of a value, or is empty.
    #[error("it is cut short")]
    Truncated,
    /// Bytes after the value.
    #[error("there are bytes behind it")]
    Trailing,
    /// More than [`MAX_DEPTH`] values in each other.
    #[error("it is nested too deeply")]
    TooDeep,
    /// 8.1.2: a tag that does not exist, is written in more bytes than needed, or is cut into parts.
    #[error("a tag is not one of DER")]
    Tag,
    /// 10.1: the indefinite form.
    #[error("a length is indefinite")]
    IndefiniteLength,
    /// 10.1: more bytes than needed.
    #[error("a length is not minimal")]
    Length,
    /// 8.2, 11.1: neither 00 nor FF.
    #[error("a BOOLEAN is neither 00 nor FF")]
    Boolean,
    /// 8.3.2: empty, or with bytes in front that say nothing.
    #[error("an INTEGER is empty or not minimal")]
    Integer,
    /// 8.6, 11.2: bits that do not count are not zero, or zeros are written that have names.
    #[error("a BIT STRING is padded wrongly")]
    BitString,
    /// 8.8.
    #[error("a NULL is not empty")]
    Null,
    /// 8.19.2: empty, cut short, or with bytes in front that say nothing.
    #[error("an OBJECT IDENTIFIER is malformed")]
    Oid,
    /// 8.23: not UTF-8, or not whole letters.
    #[error("a string is not of its type")]
    Text,
    /// 11.7, 11.8 and RFC 5280 4.1.2.5: without seconds, with parts of them, with an offset.
    #[error("a time is not written with seconds, in UTC, with a Z")]
    Time,
    /// 11.6: the members of a SET OF are not in order.
    #[error("a SET is not in order")]
    SetOrder,
    /// 11.5.
    #[error("a default value is written down")]
    Default,
}

/// Is it one value in strict DER, with nothing behind it?
///
/// Shape: at most [`MAX_DEPTH`] values in each other.
/// Source: X.690 8 to 11. Strings may be of any type that exists (8.23); which letters theirs has is not looked at.
pub fn check(bytes: &[u8]) -> Result<(), DerFault> {
    check_value(&whole(bytes)?, MAX_DEPTH)
}

/// As [`check`], and no default value of a certificate is written down (X.690 11.5): version 1, `critical` and the
/// parts that x509-parser does not look into.
///
/// The parameters of RSASSA-PSS may repeat their default (RFC 4055 3.1).
pub fn check_certificate(bytes: &[u8]) -> Result<(), DerFault> {
    check(bytes)?;
    let tbs = Values(whole(bytes)?.content).flatten().next();
    let Some(tbs) = tbs.filter(|tbs| tbs.tag == SEQUENCE) else {
        return Ok(());
    };
    for part in Values(tbs.content) {
        let part = part?;
        match part.tag {
            // Version ::= INTEGER, DEFAULT v1.
            EXPLICIT_0 if part.content == [INTEGER, 1, 0] => return Err(DerFault::Default),
            // UniqueIdentifier ::= BIT STRING, IMPLICIT.
            0x81 | 0x82 => check_bits(part.content)?,
            0xa1 | 0xa2 => return Err(DerFault::Tag),
            _ => {}
        }
    }
    Ok(())
}

/// The value of an extension that x509-parser understands: strict DER, and what only who knows the extension can see.
pub fn check_extension(oid: &str, value: &[u8]) -> Result<(), DerFault> {
    check(value)?;
    let value = whole(value)?;
    match oid {
        KEY_USAGE | NETSCAPE_CERT_TYPE => check_named_bits(&value),
        BASIC_CONSTRAINTS => match Values(value.content).flatten().next() {
            Some(first) if first.tag == BOOLEAN && first.content == [0] => Err(DerFault::Default),
            _ => Ok(()),
        },
        SUBJECT_ALT_NAME | ISSUER_ALT_NAME => check_general_names(value.content),
        AUTHORITY_KEY_ID => {
            for part in Values(value.content) {
                let part = part?;
                match part.tag {
                    0x82 => check_integer(part.content)?,
                    0xa1 => check_general_names(part.content)?,
                    0xa0 | 0xa2 => return Err(DerFault::Tag),
                    _ => {}
                }
            }
            Ok(())
        }
        NAME_CONSTRAINTS => {
            let subtrees = Values(value.content).flatten();
            let mut bounds = subtrees.flat_map(|trees| Values(trees.content).flatten());
            let is_default = |tree: Value<'_>| {
                let mut bounds = Values(tree.content).flatten().skip(1);
                bounds.any(|bound| bound.tag == 0x80 && bound.content == [0])
            };
            if bounds.any(is_default) {
                return Err(DerFault::Default);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[derive(Clone, Copy)]
struct Value<'a> {
    /// The first byte of the tag.
    tag: u8,
    /// Its number, where that byte has no room for it.
    long_number: u32,
    content: &'a [u8],
    /// Tag, length and content.
    whole: &'a [u8],
}

impl Value<'_> {
    fn is_constructed(&self) -> bool {
        self.tag & CONSTRUCTED != 0
    }
}

/// The values that stand in a row. Ends after the first fault.
struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = Result<Value<'a>, DerFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        match split(self.0) {
            Ok((value, rest)) => {
                self.0 = rest;
                Some(Ok(value))
            }
            Err(fault) => {
                self.0 = &[];
                Some(Err(fault))
            }
        }
    }
}

fn whole(bytes: &[u8]) -> Result<Value<'_>, DerFault> {
    match split(bytes)? {
        (value, []) => Ok(value),
        _ => Err(DerFault::Trailing),
    }
}

/// The first value, and what stands behind it.
fn split(bytes: &[u8]) -> Result<(Value<'_>, &[u8]), DerFault> {
    let (tag, rest) = bytes.split_first().ok_or(DerFault::Truncated)?;
    let (long_number, rest) = if tag & LONG_NUMBER == LONG_NUMBER {
        split_number(rest)?
    } else {
        (0, rest)
    };
    let (length, rest) = split_length(rest)?;
    let (content, rest) = rest.split_at_checked(length).ok_or(DerFault::Truncated)?;
    // The rest is a part of the bytes.
    let whole = bytes
        .get(..bytes.len() - rest.len())
        .ok_or(DerFault::Truncated)?;
    let value = Value {
        tag: *tag,
        long_number,
        content,
        whole,
    };
    Ok((value, rest))
}

/// A tag's number from 31, seven bits a byte (8.1.2.4).
fn split_number(bytes: &[u8]) -> Result<(u32, &[u8]), DerFault> {
    let mut number = 0_u32;
    for (at, byte) in bytes.iter().enumerate() {
        if (at == 0 && *byte == 0x80) || at == MAX_NUMBER_BYTES {
            return Err(DerFault::Tag);
        }
        number = number << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if number < 31 {
                return Err(DerFault::Tag);
            }
            return Ok((number, bytes.get(at + 1..).unwrap_or_default()));
        }
    }
    Err(DerFault::Truncated)
}

fn split_length(bytes: &[u8]) -> Result<(usize, &[u8]), DerFault> {
    let (first, rest) = bytes.split_first().ok_or(DerFault::Truncated)?;
    let count = match *first {
        short @ 0..=0x7f => return Ok((usize::from(short), rest)),
        0x80 => return Err(DerFault::IndefiniteLength),
        0xff => return Err(DerFault::Length),
        long => usize::from(long & 0x7f),
    };
    let (bytes, rest) = rest.split_at_checked(count).ok_or(DerFault::Truncated)?;
    if bytes.first() == Some(&0) {
        return Err(DerFault::Length);
    }
    if count > MAX_LENGTH_BYTES {
        return Err(DerFault::Truncated);
    }
    let length = bytes
        .iter()
        .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    if length < 0x80 {
        return Err(DerFault::Length);
    }
    Ok((length, rest))
}

fn check_value(value: &Value<'_>, depth: usize) -> Result<(), DerFault> {
    if value.tag & CLASS == 0 {
        check_universal(value)?;
    }
    if value.is_constructed() {
        let depth = depth.checked_sub(1).ok_or(DerFault::TooDeep)?;
        for inner in Values(value.content) {
            check_value(&inner?, depth)?;
        }
    }
    match value.tag {
        SET => check_order(value.content),
        SEQUENCE => check_critical(value.content),
        _ => Ok(()),
    }
}

/// A type that ASN.1 defines, in the form that DER wants of it (8.2 to 8.25, 10.2).
fn check_universal(value: &Value<'_>) -> Result<(), DerFault> {
    let content = value.content;
    match value.tag {
        BOOLEAN => match content {
            [0 | 0xff] => Ok(()),
            _ => Err(DerFault::Boolean),
        },
        INTEGER | ENUMERATED => check_integer(content),
        BIT_STRING => check_bits(content),
        NULL if content.is_empty() => Ok(()),
        NULL => Err(DerFault::Null),
        OID => check_oid(content),
        UTF8_STRING if std::str::from_utf8(content).is_err() => Err(DerFault::Text),
        BMP_STRING if !content.len().is_multiple_of(2) => Err(DerFault::Text),
        UNIVERSAL_STRING if !is_utf32(content) => Err(DerFault::Text),
        UTC_TIME => check_time(content, 2),
        GENERALIZED_TIME => check_time(content, 4),
        // OCTET STRING, ObjectDescriptor, and every type of string: Numeric, Printable, Teletex, Videotex, IA5, Graphic,
        // Visible, General.
        0x04 | 0x07 | UTF8_STRING | 0x12..=0x16 | 0x19..=0x1b | UNIVERSAL_STRING | BMP_STRING => {
            Ok(())
        }
        // EXTERNAL and EMBEDDED PDV, SEQUENCE, SET, CHARACTER STRING.
        0x28 | 0x2b | SEQUENCE | SET | 0x3d => Ok(()),
        // TIME and its kin: DATE, TIME-OF-DAY, DATE-TIME, DURATION; OID-IRI.
        LONG_NUMBER if (31..=36).contains(&value.long_number) => Ok(()),
        // Strings in parts, sequences without any, types that nobody has defined; RELATIVE-OID and REAL, which no part of
        // X.509 has.
        _ => Err(DerFault::Tag),
    }
}

fn check_integer(content: &[u8]) -> Result<(), DerFault> {
    match content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(DerFault::Integer),
        _ => Ok(()),
    }
}

fn check_bits(content: &[u8]) -> Result<(), DerFault> {
    match content {
        [0, ..] => Ok(()),
        [unused @ 1..=7, .., last] if last.trailing_zeros() >= u32::from(*unused) => Ok(()),
        _ => Err(DerFault::BitString),
    }
}

/// Of bits with names those at the end that are zero are left out (11.2.2).
fn check_named_bits(value: &Value<'_>) -> Result<(), DerFault> {
    match value.content {
        _ if value.tag != BIT_STRING => Ok(()),
        [0] => Ok(()),
        [unused, .., last] if last.trailing_zeros() == u32::from(*unused) => Ok(()),
        _ => Err(DerFault::BitString),
    }
}

fn check_oid(content: &[u8]) -> Result<(), DerFault> {
    let mut is_first = true;
    for byte in content {
        if is_first && *byte == 0x80 {
            return Err(DerFault::Oid);
        }
        is_first = byte & 0x80 == 0;
    }
    if content.is_empty() || !is_first {
        return Err(DerFault::Oid);
    }
    Ok(())
}

fn is_utf32(content: &[u8]) -> bool {
    let (letters, rest) = content.as_chunks::<4>();
    let is_letter = |letter: &[u8; 4]| char::from_u32(u32::from_be_bytes(*letter)).is_some();
    rest.is_empty() && letters.iter().all(is_letter)
}

/// `YYMMDDHHMMSSZ`, with so many digits of the year. Whether there is such a day is for who reads it.
fn check_time(content: &[u8], year_digits: usize) -> Result<(), DerFault> {
    match content.split_last() {
        Some((b'Z', digits))
            if digits.len() == year_digits + 10 && digits.iter().all(u8::is_ascii_digit) =>
        {
            Ok(())
        }
        _ => Err(DerFault::Time),
    }
}

fn check_order(content: &[u8]) -> Result<(), DerFault> {
    let mut before: &[u8] = &[];
    for value in Values(content) {
        let value = value?;
        if value.whole < before {
            return Err(DerFault::SetOrder);
        }
        before = value.whole;
    }
    Ok(())
}

/// `Extension ::= SEQUENCE { OBJECT IDENTIFIER, BOOLEAN DEFAULT FALSE, OCTET STRING }`: no other part of a certificate or
/// of a revocation list looks so.
fn check_critical(content: &[u8]) -> Result<(), DerFault> {
    let mut parts = Values(content).flatten();
    let first = [parts.next(), parts.next(), parts.next(), parts.next()];
    if let [Some(oid), Some(critical), Some(value), None] = first
        && (oid.tag, critical.tag, value.tag) == (OID, BOOLEAN, OCTET_STRING)
        && critical.content == [0]
    {
        return Err(DerFault::Default);
    }
    Ok(())
}

/// `GeneralNames`: their tags hide that three of them are strings, one an OBJECT IDENTIFIER and one bytes.
fn check_general_names(names: &[u8]) -> Result<(), DerFault> {
    for name in Values(names) {
        let name = name?;
        match name.tag {
            0x88 => check_oid(name.content)?,
            0xa1 | 0xa2 | 0xa6 | 0xa7 | 0xa8 => return Err(DerFault::Tag),
            _ => {}
        }
    }
    Ok(())
}

const MAX_DEPTH: usize = 16;
const MAX_NUMBER_BYTES: usize = 4;
/// Nothing that is read has 4 GiB.
const MAX_LENGTH_BYTES: usize = 4;

const CLASS: u8 = 0xc0;
const CONSTRUCTED: u8 = 0x20;
const LONG_NUMBER: u8 = 0x1f;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xa0;

const KEY_USAGE: &str = "2.5.29.15";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";
const ISSUER_ALT_NAME: &str = "2.5.29.18";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const NAME_CONSTRAINTS: &str = "2.5.29.30";
const AUTHORITY_KEY_ID: &str = "2.5.29.35";
const NETSCAPE_CERT_TYPE: &str = "2.16.840.1.113730.1.1";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, u8::try_from(content.len()).unwrap()];
        out.extend_from_slice(content);
        out
    }

    /// `(what, its bytes in hexadecimal, what is wrong)`.
    const CASES: &[(&str, &str, Option<DerFault>)] = &[
        ("nothing", "", Some(DerFault::Truncated)),
        ("half a value", "04 02 00", Some(DerFault::Truncated)),
        ("no length", "04", Some(DerFault::Truncated)),
        ("two values", "05 00 05 00", Some(DerFault::Trailing)),
        ("end of contents", "00 00", Some(DerFault::Tag)),
        (
            "a low number in the long form",
            "1f 02 01 00",
            Some(DerFault::Tag),
        ),
        ("a padded number", "9f 80 1f 00", Some(DerFault::Tag)),
        (
            "a number without end",
            "9f ff ff ff ff ff 7f 00",
            Some(DerFault::Tag),
        ),
        ("a long number", "9f 1f 00", None),
        ("DATE", "1f 1f 0a 32 30 32 36 2d 30 31 2d 30 31", None),
        (
            "a type that does not exist",
            "1f 25 00",
            Some(DerFault::Tag),
        ),
        ("the reserved type", "0f 00", Some(DerFault::Tag)),
        (
            "an indefinite length",
            "30 80 05 00 00 00",
            Some(DerFault::IndefiniteLength),
        ),
        (
            "an indefinite length within",
            "30 04 24 80 00 00",
            Some(DerFault::IndefiniteLength),
        ),
        (
            "a short length in long form",
            "04 81 01 00",
            Some(DerFault::Length),
        ),
        (
            "a length with a zero in front",
            "04 82 00 80",
            Some(DerFault::Length),
        ),
        ("the reserved length", "04 ff 00", Some(DerFault::Length)),
        (
            "a length of nine bytes",
            "04 89 01 01 01 01 01 01 01 01 01",
            Some(DerFault::Truncated),
        ),
        ("true", "01 01 ff", None),
        ("false", "01 01 00", None),
        ("true as 01", "01 01 01", Some(DerFault::Boolean)),
        ("true as 80", "01 01 80", Some(DerFault::Boolean)),
        ("an empty BOOLEAN", "01 00", Some(DerFault::Boolean)),
        ("a long BOOLEAN", "01 02 ff ff", Some(DerFault::Boolean)),
        ("zero", "02 01 00", None),
        ("one", "02 01 01", None),
        ("128", "02 02 00 80", None),
        ("-128", "02 01 80", None),
        ("an empty INTEGER", "02 00", Some(DerFault::Integer)),
        (
            "one in three bytes",
            "02 03 00 00 01",
            Some(DerFault::Integer),
        ),
        ("one in two bytes", "02 02 00 01", Some(DerFault::Integer)),
        ("-1 in two bytes", "02 02 ff ff", Some(DerFault::Integer)),
        ("-128 in two bytes", "02 02 ff 80", Some(DerFault::Integer)),
        ("-129", "02 02 ff 7f", None),
        (
            "an ENUMERATED in two bytes",
            "0a 02 00 01",
            Some(DerFault::Integer),
        ),
        ("no bits", "03 01 00", None),
        ("nine bits", "03 03 07 ff 80", None),
        (
            "a BIT STRING without its count",
            "03 00",
            Some(DerFault::BitString),
        ),
        ("no bits, one unused", "03 01 01", Some(DerFault::BitString)),
        (
            "eight unused bits",
            "03 02 08 00",
            Some(DerFault::BitString),
        ),
        (
            "an unused bit that is set",
            "03 02 01 03",
            Some(DerFault::BitString),
        ),
        ("bits in parts", "23 04 03 02 00 ff", Some(DerFault::Tag)),
        ("bytes in parts", "24 03 04 01 00", Some(DerFault::Tag)),
        ("text in parts", "2c 03 0c 01 61", Some(DerFault::Tag)),
        ("a time in parts", "37 02 17 00", Some(DerFault::Tag)),
        ("a SEQUENCE without parts", "10 00", Some(DerFault::Tag)),
        ("a SET without parts", "11 00", Some(DerFault::Tag)),
        ("NULL", "05 00", None),
        ("NULL with a byte", "05 01 00", Some(DerFault::Null)),
        ("NULL in parts", "25 00", Some(DerFault::Tag)),
        ("2.5.29.17", "06 03 55 1d 11", None),
        ("an empty OBJECT IDENTIFIER", "06 00", Some(DerFault::Oid)),
        (
            "a padded OBJECT IDENTIFIER",
            "06 03 55 80 11",
            Some(DerFault::Oid),
        ),
        (
            "an OBJECT IDENTIFIER cut short",
            "06 02 55 9d",
            Some(DerFault::Oid),
        ),
        ("ObjectDescriptor", "07 01 61", None),
        ("UTF8String", "0c 02 c3 a9", None),
        ("UTF8String in Latin-1", "0c 01 e9", Some(DerFault::Text)),
        ("an overlong letter", "0c 02 c1 a1", Some(DerFault::Text)),
        ("NumericString", "12 01 31", None),
        ("PrintableString", "13 01 61", None),
        (
            "PrintableString with an @, as openssl once made",
            "13 03 61 40 62",
            None,
        ),
        ("TeletexString", "14 01 e9", None),
        ("VideotexString", "15 01 61", None),
        ("IA5String", "16 01 61", None),
        ("GraphicString", "19 01 61", None),
        ("VisibleString", "1a 01 61", None),
        ("GeneralString", "1b 01 61", None),
        ("UniversalString", "1c 04 00 00 00 61", None),
        (
            "UniversalString, half a letter",
            "1c 02 00 61",
            Some(DerFault::Text),
        ),
        (
            "UniversalString, no letter",
            "1c 04 00 11 00 00",
            Some(DerFault::Text),
        ),
        ("BMPString", "1e 02 00 61", None),
        ("BMPString, half a letter", "1e 01 61", Some(DerFault::Text)),
        (
            "UTCTime",
            "17 0d 32 36 30 31 30 31 30 30 30 30 30 30 5a",
            None,
        ),
        (
            "UTCTime without seconds",
            "17 0b 32 36 30 31 30 31 30 30 30 30 5a",
            Some(DerFault::Time),
        ),
        (
            "UTCTime with an offset",
            "17 11 32 36 30 31 30 31 30 30 30 30 30 30 2b 30 31 30 30",
            Some(DerFault::Time),
        ),
        (
            "UTCTime without Z",
            "17 0c 32 36 30 31 30 31 30 30 30 30 30 30",
            Some(DerFault::Time),
        ),
        (
            "GeneralizedTime",
            "18 0f 32 30 35 30 30 31 30 31 30 30 30 30 30 30 5a",
            None,
        ),
        (
            "GeneralizedTime with a fraction",
            "18 11 32 30 35 30 30 31 30 31 30 30 30 30 30 30 2e 35 5a",
            Some(DerFault::Time),
        ),
        (
            "GeneralizedTime, local",
            "18 0e 32 30 35 30 30 31 30 31 30 30 30 30 30 30",
            Some(DerFault::Time),
        ),
        (
            "GeneralizedTime without seconds",
            "18 0d 32 30 35 30 30 31 30 31 30 30 30 30 5a",
            Some(DerFault::Time),
        ),
        ("a SET in order", "31 06 02 01 01 02 01 02", None),
        (
            "a SET of shorter and longer",
            "31 07 04 01 62 04 02 61 61",
            None,
        ),
        (
            "a SET out of order",
            "31 06 02 01 02 02 01 01",
            Some(DerFault::SetOrder),
        ),
        (
            "critical, written down",
            "30 0a 06 03 55 1d 0f 01 01 00 04 00",
            Some(DerFault::Default),
        ),
        ("critical", "30 0a 06 03 55 1d 0f 01 01 ff 04 00", None),
        (
            "a fault deep inside",
            "30 07 a0 05 30 03 01 01 02",
            Some(DerFault::Boolean),
        ),
    ];

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let bytes = hexadecimal.split_ascii_whitespace();
        bytes
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    #[test]
    fn only_what_x690_allows_is_strict() {
        for (name, hexadecimal, fault) in CASES {
            assert_eq!(check(&bytes(hexadecimal)).err(), *fault, "{name}");
        }
    }

    #[test]
    fn an_extension_is_known_by_more_than_its_tags() {
        for (name, oid, hexadecimal, fault) in [
            ("digitalSignature", KEY_USAGE, "03 02 07 80", None),
            ("no usage", KEY_USAGE, "03 01 00", None),
            ("decipherOnly", KEY_USAGE, "03 03 07 00 80", None),
            (
                "zeros at its end",
                KEY_USAGE,
                "03 02 00 80",
                Some(DerFault::BitString),
            ),
            (
                "zero bytes at its end",
                KEY_USAGE,
                "03 03 07 80 00",
                Some(DerFault::BitString),
            ),
            (
                "zeros only",
                KEY_USAGE,
                "03 02 07 00",
                Some(DerFault::BitString),
            ),
            (
                "of another kind",
                NETSCAPE_CERT_TYPE,
                "03 02 00 80",
                Some(DerFault::BitString),
            ),
            ("no authority", BASIC_CONSTRAINTS, "30 00", None),
            ("an authority", BASIC_CONSTRAINTS, "30 03 01 01 ff", None),
            (
                "no authority, written down",
                BASIC_CONSTRAINTS,
                "30 03 01 01 00",
                Some(DerFault::Default),
            ),
            ("a name", SUBJECT_ALT_NAME, "30 03 82 01 61", None),
            (
                "a name in parts",
                SUBJECT_ALT_NAME,
                "30 05 a2 03 16 01 61",
                Some(DerFault::Tag),
            ),
            ("a registered one", SUBJECT_ALT_NAME, "30 03 88 01 2a", None),
            (
                "a padded one",
                SUBJECT_ALT_NAME,
                "30 04 88 02 80 2a",
                Some(DerFault::Oid),
            ),
            (
                "of the issuer",
                ISSUER_ALT_NAME,
                "30 04 88 02 80 2a",
                Some(DerFault::Oid),
            ),
            ("a serial", AUTHORITY_KEY_ID, "30 03 82 01 01", None),
            (
                "a padded serial",
                AUTHORITY_KEY_ID,
                "30 04 82 02 00 01",
                Some(DerFault::Integer),
            ),
            (
                "a key id in parts",
                AUTHORITY_KEY_ID,
                "30 05 a0 03 04 01 00",
                Some(DerFault::Tag),
            ),
            (
                "an issuer in parts",
                AUTHORITY_KEY_ID,
                "30 07 a1 05 a1 03 16 01 61",
                Some(DerFault::Tag),
            ),
            (
                "a subtree",
                NAME_CONSTRAINTS,
                "30 07 a0 05 30 03 82 01 61",
                None,
            ),
            (
                "its minimum, written down",
                NAME_CONSTRAINTS,
                "30 0a a0 08 30 06 82 01 61 80 01 00",
                Some(DerFault::Default),
            ),
        ] {
            let got = check_extension(oid, &bytes(hexadecimal)).err();
            assert_eq!(got, fault, "{name}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| (0..depth).fold(vec![5, 0], |inner, _| tlv(SEQUENCE, &inner));
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(DerFault::TooDeep));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = check(&bytes);
            let _ = check_certificate(&bytes);
            for oid in [KEY_USAGE, BASIC_CONSTRAINTS, SUBJECT_ALT_NAME, AUTHORITY_KEY_ID, NAME_CONSTRAINTS] {
                let _ = check_extension(oid, &bytes);
            }
        }

        /// Strict bytes have no second encoding of their length.
        #[test]
        fn a_longer_length_is_never_strict(content in prop::collection::vec(any::<u8>(), 0..127)) {
            let strict = tlv(OCTET_STRING, &content);
            prop_assert_eq!(check(&strict), Ok(()));
            let mut longer = strict.clone();
            longer.splice(1..1, [0x81]);
            prop_assert_eq!(check(&longer), Err(DerFault::Length));
        }
    }
}
