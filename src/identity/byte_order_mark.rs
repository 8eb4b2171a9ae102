//! Byte order marks: some editors put one in front of a text, where nobody sees it.
//!
//! Must not know: what the text is.

/// The mark at the beginning of a file; readers of plain text don't expect it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ByteOrderMark {
    /// Of UTF-8: the rest can be read.
    #[error(
        "begins with a byte order mark, three bytes that nobody sees; this takes them away: sed -i '1s/^\\xEF\\xBB\\xBF//' FILE"
    )]
    Utf8,
    /// Of UTF-16, in either order: nothing of it is what it looks like.
    #[error("is UTF-16 text; UTF-8 is wanted: iconv -f UTF-16 -t UTF-8 FILE > NEW")]
    Utf16,
}

impl ByteOrderMark {
    /// The mark that the bytes begin with. No DER begins like that.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xef, 0xbb, 0xbf, ..] => Some(Self::Utf8),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Self::Utf16),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_known_by_its_first_bytes() {
        for (bytes, wanted) in [
            ("\u{feff}-----BEGIN".as_bytes(), Some(ByteOrderMark::Utf8)),
            (b"\xff\xfe-\0", Some(ByteOrderMark::Utf16)),
            (b"\xfe\xff\0-", Some(ByteOrderMark::Utf16)),
            (b"-----BEGIN", None),
            (b"\x30\x82\xff\xfe", None),
            (b"\xef\xbb", None),
            (b"", None),
        ] {
            assert_eq!(ByteOrderMark::of(bytes), wanted);
        }
    }
}
