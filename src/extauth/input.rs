//! Reads the server's stream, cuts it into requests and has each answered in its turn; and the standard input that it comes from.
//!
//! A line has no way to hold a newline, and not every server keeps them out of passwords: what is behind one would be a
//! request of whoever chose the password. Servers that speak in lines write one and wait for its answer, so a
//! `setpass` is carried out only where it was written like that; the other commands change nothing.
//!
//! Must not know: what a request says, who decides.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, cfmakeraw, tcgetattr, tcsetattr};
use zeroize::{Zeroize, Zeroizing};

use super::wire::{BadRequest, Frames, Protocol, Request, answer};

/// Where requests come from.
pub trait Input: Read {
    /// Is there more to read right now, without waiting?
    ///
    /// Errors: of whom it asks.
    fn has_more(&mut self) -> io::Result<bool>;
}

/// Answers each request on `input` with what `decide` says of it, until the input ends or nobody reads `output`.
///
/// `decide` also hears of requests that are refused already; these are answered with no whatever it says. A request that
/// the input's end cuts off gets no answer: half a password is none.
///
/// Errors: of `input` and `output`.
pub fn serve(
    protocol: Protocol,
    mut input: impl Input,
    mut output: impl Write,
    mut decide: impl FnMut(Result<&Request, BadRequest>) -> bool,
) -> io::Result<()> {
    let mut frames = Frames::new(protocol);
    let mut pace = Pace::first();
    let mut chunk = Zeroizing::new(vec![0; CHUNK_BYTES]);
    loop {
        let length = match input.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let read = chunk.get_mut(..length).unwrap_or_default();
        pace.bytes = pace.bytes.saturating_add(length);
        let fed = frames.feed(read, |frame, is_last| {
            let mut request = frame.and_then(|frame| Request::parse(protocol, frame));
            if protocol == Protocol::Prosody
                && matches!(request, Ok(Request::SetPassword { .. }))
                && !pace.is_alone(is_last, &mut input)?
            {
                request = Err(BadRequest::NotAlone);
            }
            let is_yes = decide(request.as_ref().map_err(|error| *error)) && request.is_ok();
            if protocol == Protocol::Prosody {
                pace.end(is_last, &mut input)?;
            }
            output.write_all(answer(protocol, is_yes))?;
            output.flush()
        });
        read.zeroize();
        match fed {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
}

/// Whether the server waits for its answers.
struct Pace {
    /// The line began only after the line before it was answered.
    is_begun_in_turn: bool,
    /// The bytes that were read since there was nothing to read.
    bytes: usize,
}

impl Pace {
    fn first() -> Self {
        Self {
            is_begun_in_turn: true,
            bytes: 0,
        }
    }

    /// Is the line all that the server wrote? `is_last`: nothing behind it was read yet.
    fn is_alone(&self, is_last: bool, input: &mut impl Input) -> io::Result<bool> {
        Ok(self.is_begun_in_turn && is_last && !input.has_more()?)
    }

    /// To be called right before an answer is written: whoever waits for it has not written anything more.
    ///
    /// One read does not show that: it ends where there is no more room, and a terminal may give one line to each.
    fn end(&mut self, is_last: bool, input: &mut impl Input) -> io::Result<()> {
        if !is_last || input.has_more()? {
            self.is_begun_in_turn = false;
        } else {
            // The rest of a long write may only be on its way.
            self.is_begun_in_turn = self.bytes < LONG_WRITE_BYTES;
            self.bytes = 0;
        }
        Ok(())
    }
}

/// Standard input. Not Rust's own reader, whose buffer is never wiped.
pub(super) struct StandardInput(File);

impl StandardInput {
    /// Opens it, and makes a terminal one that changes nothing of what is written.
    pub(super) fn open() -> io::Result<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        if file.is_terminal() {
            let mut settings = tcgetattr(&file)?;
            // A server's, like that of Prosody's module: with an echo it would read its own requests. It would edit
            // them, and a password that holds its "erase the line" would choose who gets it.
            if !settings.local_flags.contains(LocalFlags::ECHO) {
                let output_flags = settings.output_flags;
                cfmakeraw(&mut settings);
                settings.output_flags = output_flags;
                tcsetattr(&file, SetArg::TCSANOW, &settings)?;
            }
        }
        Ok(Self(file))
    }
}

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Input for StandardInput {
    fn has_more(&mut self) -> io::Result<bool> {
        let mut asked = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO)?;
        let [found] = asked.map(|one| one.revents().unwrap_or(PollFlags::empty()));
        Ok(found.contains(PollFlags::POLLIN))
    }
}

/// A write that is shorter arrives whole: 4096 bytes in a pipe, half of that in a terminal.
const LONG_WRITE_BYTES: usize = 2048;
/// Read at a time.
const CHUNK_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::extauth::wire::MAX_LINE_BYTES;
    use crate::extauth::wire::Protocol::{Ejabberd, Prosody};
    use crate::extauth::wire::tests::{BOTH, written};

    impl Input for &[u8] {
        fn has_more(&mut self) -> io::Result<bool> {
            Ok(!self.is_empty())
        }
    }

    /// A server's writing, part by part.
    struct Written<'a>(VecDeque<Part<'a>>);

    #[derive(Clone, Copy)]
    enum Part<'a> {
        /// Already there.
        Behind(&'a str),
        /// Only when what was before it is answered.
        Late(&'a str),
    }
    use Part::{Behind, Late};

    impl Read for Written<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(Behind(text) | Late(text)) = self.0.pop_front() else {
                return Ok(0);
            };
            let (now, later) = text.split_at(text.len().min(buffer.len()));
            if !later.is_empty() {
                self.0.push_front(Behind(later));
            }
            buffer[..now.len()].copy_from_slice(now.as_bytes());
            Ok(now.len())
        }
    }

    impl Input for Written<'_> {
        fn has_more(&mut self) -> io::Result<bool> {
            Ok(matches!(self.0.front(), Some(Behind(_))))
        }
    }

    /// The answers to lines that are written in `parts`, where whoever is asked says yes to all, and how many were
    /// refused because they did not stand alone.
    fn answered(parts: &[Part<'_>]) -> (String, usize) {
        let (input, mut output) = (Written(parts.iter().copied().collect()), Vec::new());
        let mut refused = 0;
        serve(Prosody, input, &mut output, |request| {
            refused += usize::from(matches!(request, Err(BadRequest::NotAlone)));
            true
        })
        .unwrap();
        (
            String::from_utf8(output).unwrap().replace('\n', ""),
            refused,
        )
    }

    /// The answers to a stream, where whoever is asked says yes to `auth` with the password "right".
    fn served(protocol: Protocol, stream: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        serve(protocol, stream, &mut output, |request| match request {
            Ok(Request::Authenticate { password, .. }) => **password == "right",
            // A yes here changes nothing: these are answered with no.
            Err(_) => true,
            Ok(_) => false,
        })
        .unwrap();
        output
    }

    #[test]
    fn each_request_gets_its_answer_in_its_place() {
        let requests: [&[u8]; 6] = [
            b"auth:brutus:rome.lit:right",
            b"auth:brutus:rome.lit:wrong",
            b"",
            b"\xff\xfe",
            b"auth:brutus:rome.lit:right",
            b"quit",
        ];
        assert_eq!(
            served(Prosody, &written(Prosody, &requests)),
            b"1\n0\n0\n0\n1\n0\n"
        );
        let yes_or_no = [1, 0, 0, 0, 1, 0].map(|bit| [0, 2, 0, bit]).concat();
        assert_eq!(served(Ejabberd, &written(Ejabberd, &requests)), yes_or_no);
    }

    #[test]
    fn a_line_sets_a_password_only_if_it_was_written_alone() {
        let set = |user: &str| format!("setpass:{user}:rome.lit:x\n");
        let (first, second) = (set("brutus"), set("cinna"));
        let both = format!("{first}{second}");
        // Ends where a read does, or a piece of a long write.
        let long = format!("auth:brutus:rome.lit:{}\n", "x".repeat(CHUNK_BYTES - 22));
        assert_eq!(long.len(), CHUNK_BYTES);
        let long_and_second = format!("{long}{second}");
        let auth = "auth:brutus:rome.lit:x\n";
        let (auth_and_set, set_and_auth) = (format!("{auth}{first}"), format!("{first}{auth}"));
        let logins = auth.repeat(3);
        for (what, parts, answers, refused) in [
            ("alone", vec![Behind(&first)], "1", 0),
            (
                "in pieces",
                vec![Behind(&first[..9]), Behind(&first[9..])],
                "1",
                0,
            ),
            ("two in one read", vec![Behind(&both)], "00", 2),
            (
                "two in a read each",
                vec![Behind(&first), Behind(&second)],
                "00",
                2,
            ),
            ("behind a login", vec![Behind(&auth_and_set)], "10", 1),
            ("before a login", vec![Behind(&set_and_auth)], "01", 1),
            ("before a part", vec![Behind(&first), Behind("a")], "0", 1),
            (
                "behind a full read",
                vec![Behind(&long_and_second)],
                "10",
                1,
            ),
            (
                "two answers awaited",
                vec![Behind(auth), Late(&first), Late(auth)],
                "111",
                0,
            ),
            (
                "late in a long write",
                vec![Behind(&long), Late(&second)],
                "10",
                1,
            ),
            ("in turn again", vec![Behind(&both), Late(&first)], "001", 2),
            ("logins at once", vec![Behind(&logins)], "111", 0),
        ] {
            assert_eq!(answered(&parts), (answers.to_owned(), refused), "{what}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_answered_with_no() {
        let (fits, too_long) = ("x".repeat(MAX_LINE_BYTES), "x".repeat(MAX_LINE_BYTES + 1));
        let huge = "y".repeat(1_000_000);
        let stream = format!("{fits}\n{too_long}\n{huge}\n\nisuser:a:b\n");
        assert_eq!(served(Prosody, stream.as_bytes()), b"0\n0\n0\n0\n0\n");
    }

    #[test]
    fn a_request_that_is_cut_off_gets_no_answer() {
        for protocol in BOTH {
            let stream = written(protocol, &[b"auth:brutus:rome.lit:right"]);
            for end in 0..stream.len() {
                assert_eq!(served(protocol, &stream[..end]), b"", "{protocol:?} {end}");
            }
        }
    }

    #[test]
    fn a_reader_that_left_ends_the_loop_quietly() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut asked = 0;
        serve(
            Prosody,
            b"isuser:a:b\nisuser:a:b\n".as_slice(),
            Gone,
            |_| {
                asked += 1;
                true
            },
        )
        .unwrap();
        assert_eq!(asked, 1);
    }

    proptest! {
        #[test]
        fn each_line_of_any_bytes_is_answered(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b':'), Just(0), any::<u8>()], 0..600),
        ) {
            let lines = stream.split(|byte| *byte == b'\n').count() - 1;
            prop_assert_eq!(served(Prosody, &stream).len(), 2 * lines);
        }
    }
}
