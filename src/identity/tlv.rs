//! The values of DER, one by one: for what x509-parser reads over.
//!
//! Must not know: what they mean.

/// One value: its tag, what is in it, and all of its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
}

impl<'a> Value<'a> {
    /// The values in it, if it has `tag`.
    pub(super) fn values(&self, tag: u8) -> Option<Values<'a>> {
        (self.tag == tag).then_some(Values(self.content))
    }

    /// Its content, if it has `tag`.
    pub(super) fn of(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }

    /// A number of at most 31 bits.
    pub(super) fn small(&self, tag: u8) -> Option<u32> {
        match self.of(tag)? {
            [] => None,
            [0, next, ..] if next & 0x80 == 0 => None,
            [first, ..] if first & 0x80 != 0 => None,
            bytes => {
                let digits = bytes.strip_prefix(&[0]).unwrap_or(bytes);
                // Larger ones say "any number", as far as anybody counts.
                let folded =
                    |sum: u32, byte: &u8| sum.saturating_mul(256).saturating_add((*byte).into());
                Some(digits.iter().fold(0, folded).min(u32::MAX >> 1))
            }
        }
    }
}

/// Values that stand behind each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    pub(super) fn is_finished(self) -> bool {
        self.0.is_empty()
    }

    /// The next one; `None` where none can be read.
    pub(super) fn take(&mut self) -> Option<Value<'a>> {
        let (value, rest) = first(self.0)?;
        self.0 = rest;
        Some(value)
    }

    /// The next one if it has `tag`.
    pub(super) fn take_if(&mut self, tag: u8) -> Option<Value<'a>> {
        if self.0.first() == Some(&tag) {
            self.take()
        } else {
            None
        }
    }

    /// All that are left; `None` where something else stands among them.
    pub(super) fn all(mut self) -> Option<Vec<Value<'a>>> {
        let mut all = Vec::new();
        while !self.is_finished() {
            all.push(self.take()?);
        }
        Some(all)
    }
}

/// The values that `bytes` are.
pub(super) fn values(bytes: &[u8]) -> Values<'_> {
    Values(bytes)
}

/// The one value that `bytes` are.
pub(super) fn only(bytes: &[u8]) -> Option<Value<'_>> {
    match first(bytes)? {
        (value, []) => Some(value),
        _ => None,
    }
}

/// Which bits of a BIT STRING's content are set, most significant first; at most 16 of them.
pub(super) fn bits(content: &[u8]) -> Option<u16> {
    let (unused, bytes) = content.split_first()?;
    if *unused > 7 || (bytes.is_empty() && *unused != 0) {
        return None;
    }
    let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or_default());
    Some(byte(0) << 8 | byte(1))
}

fn first(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    // Tags of more than one byte stand nowhere in a certificate.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (short, rest) = rest.split_first()?;
    let (length, rest) = if *short < 0x80 {
        (usize::from(*short), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
        let is_minimal = matches!(digits, [first, ..] if *first != 0) && digits.len() <= 4;
        let length = digits
            .iter()
            .fold(0, |sum: usize, byte| sum << 8 | usize::from(*byte));
        if !is_minimal || length < 0x80 {
            return None;
        }
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let (whole, _) = bytes.split_at_checked(bytes.len() - rest.len())?;
    let tag = *tag;
    Some((
        Value {
            tag,
            content,
            whole,
        },
        rest,
    ))
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_encoding() {
        for (bytes, is_one) in [
            (&b"\x02\x01\x07"[..], true),
            (b"\x02\x01", false),
            (b"\x02\x01\x07\x00", false),
            (b"\x02\x81\x01\x07", false),
            (b"\x02\x80\x07\x00\x00", false),
            (b"\x1f\x81\x01\x00", false),
            (b"", false),
        ] {
            assert_eq!(only(bytes).is_some(), is_one, "{bytes:?}");
        }
    }

    #[test]
    fn small_numbers_are_not_negative_and_not_padded() {
        for (bytes, expected) in [
            (&b"\x02\x01\x07"[..], Some(7)),
            (b"\x02\x02\x00\x80", Some(128)),
            (b"\x02\x01\xff", None),
            (b"\x02\x02\x00\x07", None),
            (b"\x02\x00", None),
            (
                b"\x02\x09\x01\x00\x00\x00\x00\x00\x00\x00\x00",
                Some(u32::MAX >> 1),
            ),
        ] {
            let value = only(bytes);
            assert_eq!(value.and_then(|value| value.small(INTEGER)), expected);
        }
    }
}
