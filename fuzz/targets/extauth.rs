//! The bytes that a server writes to `saslcertd extauth`: the same requests in whatever pieces they come.
#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use saslcertd::extauth::{BadRequest, Frames, Protocol, Request};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    for protocol in [Protocol::Prosody, Protocol::Ejabberd] {
        let whole = cut(protocol, bytes, bytes.len().max(1));
        assert_eq!(cut(protocol, bytes, usize::from(size).max(1)), whole);
        for frame in whole.into_iter().flatten() {
            let _ = Request::parse(protocol, &frame);
        }
    }
});

fn cut(protocol: Protocol, bytes: &[u8], size: usize) -> Vec<Result<Vec<u8>, BadRequest>> {
    let mut frames = Frames::new(protocol);
    let mut found = Vec::new();
    for piece in bytes.chunks(size) {
        let Ok(()) = frames.feed(piece, |frame, _| {
            found.push(frame.map(<[u8]>::to_vec));
            Ok::<_, Infallible>(())
        });
    }
    found
}
