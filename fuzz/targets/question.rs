//! What a peer writes to the socket: the same lines in whatever pieces it comes, and each of them is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use saslcertd::daemon::protocol::{Line, Lines, parse};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = cut(bytes, bytes.len().max(1));
    assert_eq!(cut(bytes, usize::from(size).max(1)), whole);
    for line in whole {
        if let Line::Whole(line) = line {
            let _ = parse(&line);
        }
    }
});

fn cut(bytes: &[u8], size: usize) -> Vec<Line> {
    let mut lines = Lines::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(size) {
        lines.feed(piece, |line| found.push(line));
    }
    found
}
