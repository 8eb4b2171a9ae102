//! Lines: a stream of bytes is cut at its newlines, within a limit.
//!
//! Must not know: what stands in a line, sockets.

use zeroize::{Zeroize, Zeroizing};

use super::limits::MAX_QUESTION_BYTES;

/// Cuts a stream of bytes into lines, where they were read to; what is longer than a question is skipped, not kept.
///
/// There may be passwords in it: no copy of a line stays behind unwiped, but that of a line that was taken, which is its reader's to
/// wipe.
#[derive(Debug)]
pub struct Lines {
    /// All of it can be read into; of the line that is not finished what has come stands in `begun..filled`.
    buffer: Zeroizing<Vec<u8>>,
    begun: usize,
    filled: usize,
    /// Up to here there is no newline.
    searched: usize,
    is_skipping: bool,
}

/// A line, or what stands for one that was too long.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its newline.
    Whole(&'a mut [u8]),
    /// A line of more than [`MAX_QUESTION_BYTES`] was skipped.
    TooLong,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            buffer: Zeroizing::new(vec![0; FIRST_BYTES]),
            begun: 0,
            filled: 0,
            searched: 0,
            is_skipping: false,
        }
    }
}

impl Lines {
    /// Where the next bytes of the stream belong. Never empty, once all lines are taken.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// So many bytes of the room were read.
    pub fn read(&mut self, count: usize) {
        self.filled = self.buffer.len().min(self.filled + count);
    }

    /// The next line that has come whole. `None`: there is room for more of it.
    pub fn take(&mut self) -> Option<Line<'_>> {
        let unread = self.buffer.get(self.searched..self.filled);
        let newline = unread.and_then(|bytes| memchr::memchr(b'\n', bytes));
        let Some(newline) = newline else {
            self.searched = self.filled;
            self.make_room();
            return None;
        };
        let end = self.searched + newline;
        let line = self.begun..end;
        (self.begun, self.searched) = (end + 1, end + 1);
        let is_too_long = std::mem::take(&mut self.is_skipping) || line.len() >= MAX_QUESTION_BYTES;
        let line = self.buffer.get_mut(line).unwrap_or_default();
        if is_too_long {
            line.zeroize();
            return Some(Line::TooLong);
        }
        Some(Line::Whole(line))
    }

    /// Is a line begun and not finished?
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.is_skipping || self.begun < self.filled
    }

    /// Moves the unfinished line to the front; with no end in sight it is skipped.
    fn make_room(&mut self) {
        let unfinished = self.filled - self.begun;
        if self.is_skipping || unfinished >= MAX_QUESTION_BYTES {
            self.is_skipping = true;
            self.wipe(self.begun..self.filled);
            (self.begun, self.filled) = (0, 0);
        } else if self.filled == self.buffer.len() {
            if self.begun > 0 {
                self.buffer.copy_within(self.begun..self.filled, 0);
                self.wipe(unfinished.max(self.begun)..self.filled);
            } else {
                let mut larger = Zeroizing::new(vec![0; MAX_QUESTION_BYTES]);
                larger
                    .iter_mut()
                    .zip(self.buffer.iter())
                    .for_each(|(to, from)| *to = *from);
                self.buffer = larger;
            }
            (self.begun, self.filled) = (0, unfinished);
        } else if unfinished == 0 {
            (self.begun, self.filled) = (0, 0);
        }
        self.searched = self.filled;
    }

    fn wipe(&mut self, bytes: std::ops::Range<usize>) {
        self.buffer.get_mut(bytes).unwrap_or_default().zeroize();
    }
}

/// Most questions are shorter.
const FIRST_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TOO_LONG: &str = "too long";

    /// The lines that these pieces make, however much room there is.
    fn fed(lines: &mut Lines, pieces: &[&[u8]]) -> Vec<String> {
        let mut out = Vec::new();
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                let room = lines.room();
                assert!(!room.is_empty());
                let (now, later) = piece.split_at(piece.len().min(room.len()));
                room.get_mut(..now.len()).unwrap().copy_from_slice(now);
                piece = later;
                lines.read(now.len());
                while let Some(line) = lines.take() {
                    out.push(match line {
                        Line::Whole(line) => {
                            let text = String::from_utf8(line.to_vec()).unwrap();
                            line.zeroize();
                            text
                        }
                        Line::TooLong => TOO_LONG.to_owned(),
                    });
                }
            }
        }
        out
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let out = fed(&mut Lines::default(), &[b"a\nb\n"]);
        assert_eq!(out, ["a", "b"]);
        let mut lines = Lines::default();
        let out = fed(&mut lines, &[b"a", b"b\n", b"\nc"]);
        assert_eq!(out, ["ab", ""]);
        assert!(lines.is_unfinished());
        assert_eq!(fed(&mut lines, &[b"\n"]), ["c"]);
        assert!(!lines.is_unfinished());
        // Of lengths that fit neither the buffer nor each other.
        let texts: Vec<String> = (0..400).map(|n| "x".repeat(n * 37 % 4099)).collect();
        let stream = texts.join("\n") + "\n";
        for size in [1_000, 4_096, 70_001] {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let out = fed(&mut Lines::default(), &pieces);
            assert_eq!(out, texts);
        }
    }

    #[test]
    fn a_line_that_is_too_long_costs_nothing_but_itself() {
        let longest = "x".repeat(MAX_QUESTION_BYTES - 1);
        let longest = longest.as_bytes();
        let out = fed(&mut Lines::default(), &[longest, b"\n"]);
        assert_eq!(out, [String::from_utf8_lossy(longest)]);
        let longer = vec![b'x'; MAX_QUESTION_BYTES];
        let out = fed(&mut Lines::default(), &[&longer, &longer, b"yy\na\n"]);
        assert_eq!(out, [TOO_LONG, "a"]);
        let mut lines = Lines::default();
        fed(&mut lines, &[b"a\n", longest]);
        for _ in 0..100 {
            fed(&mut lines, &[&longer]);
        }
        assert!(lines.is_unfinished());
        assert!(lines.buffer.capacity() <= MAX_QUESTION_BYTES);
        assert_eq!(fed(&mut lines, &[b"\nb\n"]), [TOO_LONG, "b"]);
    }

    #[test]
    fn nothing_stays_behind_of_lines_that_were_wiped() {
        let mut lines = Lines::default();
        let secret = "secret ".repeat(3_000);
        for size in [10_000, 30_000, 100_000] {
            for piece in format!("{secret}\n{secret}\n{secret}\n")
                .as_bytes()
                .chunks(size)
            {
                fed(&mut lines, &[piece]);
            }
        }
        let longer = "secret ".repeat(MAX_QUESTION_BYTES / 4);
        fed(&mut lines, &[longer.as_bytes(), b"\n"]);
        assert!(!lines.is_unfinished());
        assert!(lines.buffer.windows(6).all(|bytes| bytes != b"secret"));
    }
}
