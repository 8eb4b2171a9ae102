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
    for line in whole.into_iter().flatten() {
        let Ok(Incoming::Question { params, .. }) = parse(&line) else {
            continue;
        };
        let _ = fields::<Hello>(params);
        let _ = fields::<Login>(params);
        let _ = fields::<Append>(params);
        let _ = fields::<Import>(params);
        let _ = fields::<ImportAccount>(params);
        let _ = fields::<Opened>(params);
    }
});

/// The lines that come in pieces of that size; `None`: one that was too long.
fn cut(bytes: &[u8], size: usize) -> Vec<Option<Vec<u8>>> {
    let mut lines = Lines::default();
    let mut found = Vec::new();
    for mut piece in bytes.chunks(size) {
        while !piece.is_empty() {
            let room = lines.room();
            let (now, later) = piece.split_at(piece.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            piece = later;
            lines.read(now.len());
            while let Some(line) = lines.take() {
                found.push(match line {
                    Line::Whole(line) => Some(line.to_vec()),
                    Line::TooLong => None,
                });
            }
        }
    }
    found
}
