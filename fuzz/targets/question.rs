//! The bytes that a peer writes to the socket: the same lines in whatever pieces they come, and each of them is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use saslcertd::protocol::{
    Append, Hello, Import, ImportAccount, Incoming, Line, Lines, Login, Opened, fields, parse,
};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = cut(bytes, bytes.len().max(1));
    assert_eq!(cut(bytes, usize::from(size).max(1)), whole);
    for line in whole {
        let Line::Whole(line) = line else { continue };
        let Ok(Incoming::Question { params, .. }) = parse(&line) else {
            continue;
        };
        let _ = fields::<Hello>(params.clone());
        let _ = fields::<Login>(params.clone());
        let _ = fields::<Append>(params.clone());
        let _ = fields::<Import>(params.clone());
        let _ = fields::<ImportAccount>(params.clone());
        let _ = fields::<Opened>(params);
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
