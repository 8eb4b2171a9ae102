//! Lines: a stream of bytes is cut at its newlines, within a limit.
//!
//! Must not know: what stands in a line, sockets.

use super::limits::MAX_QUESTION_BYTES;

/// Cuts a stream of bytes into lines; what is longer than a question is skipped, not kept.
#[derive(Debug, Default)]
pub struct Lines {
    unfinished: Vec<u8>,
    is_skipping: bool,
}

/// A line, or what stands for one that was too long.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its newline.
    Whole(Vec<u8>),
    /// A line of more than [`MAX_QUESTION_BYTES`] was skipped.
    TooLong,
}

impl Lines {
    /// Takes the next bytes of the stream and hands each line that they complete to `take`.
    ///
    /// Keeps at most [`MAX_QUESTION_BYTES`].
    pub fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(Line)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.keep(line);
            if std::mem::take(&mut self.is_skipping) {
                self.unfinished.clear();
                take(Line::TooLong);
            } else {
                take(Line::Whole(std::mem::take(&mut self.unfinished)));
            }
        }
        self.keep(bytes);
    }

    /// Is a line begun and not finished?
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.is_skipping || !self.unfinished.is_empty()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.is_skipping {
            return;
        }
        // Less the newline, which is not kept.
        if self.unfinished.len() + bytes.len() >= MAX_QUESTION_BYTES {
            self.unfinished = Vec::new();
            self.is_skipping = true;
            return;
        }
        self.unfinished.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(chunks: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |line| out.push(line));
        }
        out
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(fed(&[b"a\nb\n"]), [whole("a"), whole("b")]);
        assert_eq!(fed(&[b"a", b"b\n", b"\nc"]), [whole("ab"), whole("")]);
    }

    #[test]
    fn a_line_that_is_too_long_costs_nothing_but_itself() {
        let longest = vec![b'x'; MAX_QUESTION_BYTES - 1];
        assert_eq!(fed(&[&longest, b"\n"]), [Line::Whole(longest.clone())]);
        let longer = vec![b'x'; MAX_QUESTION_BYTES];
        let after = Line::Whole(b"a".to_vec());
        assert_eq!(fed(&[&longer, &longer, b"yy\na\n"]), [Line::TooLong, after]);
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.feed(&longer, |_| {});
        }
        assert!(lines.is_unfinished());
        assert!(lines.unfinished.capacity() <= MAX_QUESTION_BYTES);
    }
}
