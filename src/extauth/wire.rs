//! The two old protocols of servers that start a script to check passwords: what the server asks, and how it is
//! answered.
//!
//! | | [`Protocol::Prosody`] | [`Protocol::Ejabberd`] |
//! |---|---|---|
//! | request | a line of at most 8 KiB | two bytes of length, highest first, and so many bytes |
//! | answer | `1` or `0` and a newline | `00 02 00 01` or `00 02 00 00` |
//! | commands | `auth`, `isuser`, `setpass` | these, `tryregister`, `removeuser`, `removeuser3` |
//!
//! A request is `command:user:host`, for all but `isuser` and `removeuser` with `:password`, whose own colons count for
//! nothing. Every request gets one answer, in its order. A request that cannot be read is answered with no, an empty
//! request like any other, and costs nothing but itself.
//!
//! Must not know: where the bytes come from, who decides.
//!
//! Source: ejabberd's developer guide, "External Authentication"; Prosody's `mod_auth_external_insecure`.

use zeroize::{Zeroize, Zeroizing};

use crate::identity::jid::JidError;
use crate::identity::{BareJid, Host};

/// How requests and answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Lines.
    Prosody,
    /// A length before each request and each answer.
    Ejabberd,
}

/// A question of the server's. Not `Debug`: it holds passwords.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// `auth`: is this the account's password?
    Authenticate {
        /// Whose.
        account: BareJid,
        /// As it was sent.
        password: Password,
    },
    /// `isuser`: is there such an account?
    Exists {
        /// The account.
        account: BareJid,
    },
    /// `setpass`: give an account that exists another password.
    SetPassword {
        /// The account.
        account: BareJid,
        /// As it was sent.
        password: Password,
    },
    /// `tryregister`: make an account that does not exist yet.
    Create {
        /// The account.
        account: BareJid,
        /// As it was sent.
        password: Password,
    },
    /// `removeuser`: remove an account.
    Delete {
        /// The account.
        account: BareJid,
    },
    /// `removeuser3`: remove an account if this is its password.
    DeleteWithPassword {
        /// The account.
        account: BareJid,
        /// As it was sent.
        password: Password,
    },
}

/// A password as it was sent, wiped when it is dropped.
pub type Password = Zeroizing<String>;

/// Why a request is not put to whoever decides. The server's fault, or that of who guesses; the text holds nothing of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A line of more than [`MAX_LINE_BYTES`].
    #[error("a line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not one of the protocol's commands.
    #[error("an unknown command")]
    Command,
    /// Fields are missing, or there is one too many.
    #[error("too few fields, or too many")]
    Fields,
    /// User and host are not an account's address.
    #[error("not an account's address: {0}")]
    Account(JidError),
    /// A line that sets a password, with others before or behind it that were not waited for.
    #[error("several requests at once, or a line break in a password")]
    NotAlone,
}

impl Request {
    /// Reads one request, without its length or newline.
    ///
    /// Errors: [`BadRequest`], the first that applies, never [`BadRequest::TooLong`] or
    /// [`BadRequest::NotAlone`].
    pub fn parse(protocol: Protocol, frame: &[u8]) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(frame).map_err(|_| BadRequest::NotUtf8)?;
        let (command, fields) = text.split_once(':').ok_or(BadRequest::Command)?;
        // Prosody never asks for more. A newline in a password makes a second line of the server's one, which must
        // not remove accounts.
        let knows_all = protocol == Protocol::Ejabberd;
        Ok(match command {
            "isuser" => Self::Exists {
                account: account_alone(fields)?,
            },
            "auth" => {
                let (account, password) = account_and_password(fields)?;
                Self::Authenticate { account, password }
            }
            "setpass" => {
                let (account, password) = account_and_password(fields)?;
                Self::SetPassword { account, password }
            }
            "tryregister" if knows_all => {
                let (account, password) = account_and_password(fields)?;
                Self::Create { account, password }
            }
            "removeuser" if knows_all => Self::Delete {
                account: account_alone(fields)?,
            },
            "removeuser3" if knows_all => {
                let (account, password) = account_and_password(fields)?;
                Self::DeleteWithPassword { account, password }
            }
            _ => return Err(BadRequest::Command),
        })
    }

    /// The account that it is about.
    #[must_use]
    pub fn account(&self) -> &BareJid {
        match self {
            Self::Authenticate { account, .. }
            | Self::Exists { account }
            | Self::SetPassword { account, .. }
            | Self::Create { account, .. }
            | Self::Delete { account }
            | Self::DeleteWithPassword { account, .. } => account,
        }
    }
}

/// Yes or no, as the server reads it.
#[must_use]
pub fn answer(protocol: Protocol, is_yes: bool) -> &'static [u8] {
    match (protocol, is_yes) {
        (Protocol::Prosody, true) => b"1\n",
        (Protocol::Prosody, false) => b"0\n",
        (Protocol::Ejabberd, true) => &[0, 2, 0, 1],
        (Protocol::Ejabberd, false) => &[0, 2, 0, 0],
    }
}

/// Cuts a stream of bytes into requests, however it comes in pieces. Its bytes are wiped.
pub struct Frames {
    protocol: Protocol,
    unfinished: Zeroizing<Vec<u8>>,
    is_skipping: bool,
}

impl Frames {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        let most = match protocol {
            Protocol::Prosody => MAX_LINE_BYTES,
            Protocol::Ejabberd => LENGTH_BYTES + usize::from(u16::MAX),
        };
        Self {
            protocol,
            // All at once: a buffer that grows leaves copies behind.
            unfinished: Zeroizing::new(Vec::with_capacity(most)),
            is_skipping: false,
        }
    }

    /// Takes the next bytes of the stream and hands each request that they complete to `take`: its bytes, or
    /// [`BadRequest::TooLong`] in place of a line that was skipped; and whether `bytes` end with it.
    ///
    /// Errors: the first of `take`; the rest of `bytes` is lost.
    pub fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Result<&[u8], BadRequest>, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            let (part, is_complete) = match self.protocol {
                Protocol::Prosody => self.keep_of_line(&mut bytes),
                Protocol::Ejabberd => self.keep_of_counted(&mut bytes),
            };
            if !is_complete {
                continue;
            }
            let frame = self.unfinished.get(part..).unwrap_or_default();
            let taken = if std::mem::take(&mut self.is_skipping) {
                take(Err(BadRequest::TooLong), bytes.is_empty())
            } else {
                take(Ok(frame), bytes.is_empty())
            };
            self.forget();
            taken?;
        }
        Ok(())
    }

    /// Keeps what `bytes` begins with, as far as it belongs to the line. Where the request begins in what is kept, and
    /// whether it is complete.
    fn keep_of_line(&mut self, bytes: &mut &[u8]) -> (usize, bool) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        *bytes = rest.get(1..).unwrap_or_default();
        if self.unfinished.len() + part.len() > MAX_LINE_BYTES {
            self.forget();
            self.is_skipping = true;
        }
        if !self.is_skipping {
            self.unfinished.extend_from_slice(part);
        }
        (0, end.is_some())
    }

    /// The same for a request behind its length.
    fn keep_of_counted(&mut self, bytes: &mut &[u8]) -> (usize, bool) {
        let wanted = match self.unfinished.first_chunk::<LENGTH_BYTES>() {
            Some(length) => LENGTH_BYTES + usize::from(u16::from_be_bytes(*length)),
            None => LENGTH_BYTES,
        };
        let missing = wanted.saturating_sub(self.unfinished.len());
        let (part, rest) = bytes.split_at(missing.min(bytes.len()));
        self.unfinished.extend_from_slice(part);
        *bytes = rest;
        // Two bytes are a whole request only if they are zero.
        let is_complete = match self.unfinished.first_chunk::<LENGTH_BYTES>() {
            Some(length) => {
                let length = usize::from(u16::from_be_bytes(*length));
                self.unfinished.len() == LENGTH_BYTES + length
            }
            None => false,
        };
        (LENGTH_BYTES, is_complete)
    }

    fn forget(&mut self) {
        // Only what was written, not all that there is room for.
        self.unfinished.as_mut_slice().zeroize();
        self.unfinished.clear();
    }
}

fn account_alone(fields: &str) -> Result<BareJid, BadRequest> {
    let (user, host) = fields.split_once(':').ok_or(BadRequest::Fields)?;
    account(user, host)
}

fn account_and_password(fields: &str) -> Result<(BareJid, Password), BadRequest> {
    let (user, rest) = fields.split_once(':').ok_or(BadRequest::Fields)?;
    let (host, password) = rest.split_once(':').ok_or(BadRequest::Fields)?;
    Ok((account(user, host)?, Password::new(password.to_owned())))
}

fn account(user: &str, host: &str) -> Result<BareJid, BadRequest> {
    // An IPv6 literal may hold colons where it stands alone, but not before a password.
    if host.contains(':') {
        return Err(BadRequest::Fields);
    }
    let host = Host::parse(host).map_err(BadRequest::Account)?;
    BareJid::of(user, &host).map_err(BadRequest::Account)
}

/// Longest line, without its newline.
pub const MAX_LINE_BYTES: usize = 8 * 1024;
/// The length that stands before a request of ejabberd's.
const LENGTH_BYTES: usize = 2;

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::Protocol::{Ejabberd, Prosody};
    use super::*;

    pub(in crate::extauth) const BOTH: [Protocol; 2] = [Prosody, Ejabberd];

    fn brutus() -> BareJid {
        BareJid::parse("brutus@rome.lit").unwrap()
    }

    fn secret(password: &str) -> Password {
        Password::new(password.to_owned())
    }

    /// `requests` as a server writes them.
    pub(in crate::extauth) fn written(protocol: Protocol, requests: &[&[u8]]) -> Vec<u8> {
        let mut stream = Vec::new();
        for request in requests {
            if protocol == Ejabberd {
                stream.extend_from_slice(&u16::try_from(request.len()).unwrap().to_be_bytes());
            }
            stream.extend_from_slice(request);
            if protocol == Prosody {
                stream.push(b'\n');
            }
        }
        stream
    }

    /// The requests that a stream is cut into, fed in pieces of `size`.
    fn cut(protocol: Protocol, stream: &[u8], size: usize) -> Vec<Result<Vec<u8>, BadRequest>> {
        let mut all = Vec::new();
        let mut frames = Frames::new(protocol);
        for piece in stream.chunks(size) {
            let fed: Result<(), ()> = frames.feed(piece, |frame, _| {
                all.push(frame.map(<[u8]>::to_vec));
                Ok(())
            });
            fed.unwrap();
        }
        all
    }

    #[test]
    fn each_command_has_its_fields_and_a_password_keeps_its_colons() {
        let password = || secret("a:b::c ");
        for (line, expected) in [
            (
                "isuser:brutus:rome.lit",
                Request::Exists { account: brutus() },
            ),
            (
                "auth:brutus:rome.lit:a:b::c ",
                Request::Authenticate {
                    account: brutus(),
                    password: password(),
                },
            ),
            (
                "setpass:BRUTUS:Rome.LIT:a:b::c ",
                Request::SetPassword {
                    account: brutus(),
                    password: password(),
                },
            ),
            (
                "tryregister:brutus:rome.lit:a:b::c ",
                Request::Create {
                    account: brutus(),
                    password: password(),
                },
            ),
            (
                "removeuser:brutus:rome.lit",
                Request::Delete { account: brutus() },
            ),
            (
                "removeuser3:brutus:rome.lit:a:b::c ",
                Request::DeleteWithPassword {
                    account: brutus(),
                    password: password(),
                },
            ),
            (
                "auth:brutus:rome.lit:",
                Request::Authenticate {
                    account: brutus(),
                    password: secret(""),
                },
            ),
            (
                "auth:brutus:rome.lit:λ\0\r\n\u{7f}",
                Request::Authenticate {
                    account: brutus(),
                    password: secret("λ\0\r\n\u{7f}"),
                },
            ),
        ] {
            assert!(
                Request::parse(Ejabberd, line.as_bytes()).is_ok_and(|found| found == expected),
                "{line}"
            );
            assert_eq!(expected.account(), &brutus());
        }
    }

    #[test]
    fn what_is_not_a_request_is_refused_by_its_reason() {
        use BadRequest::{Account, Command, Fields, NotUtf8};
        for (line, expected) in [
            (b"".as_slice(), Command),
            (b"auth", Command),
            (b"AUTH:brutus:rome.lit:x", Command),
            (b" auth:brutus:rome.lit:x", Command),
            (b"login:brutus:rome.lit:x", Command),
            (b":::", Command),
            (b"auth:", Fields),
            (b"auth:brutus", Fields),
            (b"auth:brutus:rome.lit", Fields),
            (b"isuser:brutus", Fields),
            (b"isuser:brutus:rome.lit:x", Fields),
            (b"removeuser:brutus:rome.lit:x", Fields),
            (b"auth:brutus:rome.lit:\xff", NotUtf8),
            (b"auth:\xc3:rome.lit:x", NotUtf8),
            (b"auth::rome.lit:x", Account(JidError::Empty)),
            (b"auth:brutus::x", Account(JidError::Empty)),
            (b"auth:bru@tus:rome.lit:x", Account(JidError::Shape)),
            (b"auth:bru/tus:rome.lit:x", Account(JidError::Shape)),
            (b"auth:brutus:rome.lit/x:x", Account(JidError::Shape)),
            (b"auth:bru tus:rome.lit:x", Account(JidError::Character)),
            (b"auth:brutus:rome.lit\r:x", Account(JidError::Character)),
            (b"isuser:brutus:rome.lit\r", Account(JidError::Character)),
        ] {
            let found = Request::parse(Ejabberd, line).err();
            assert_eq!(found, Some(expected), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn lines_neither_make_nor_remove_accounts() {
        for line in [
            "tryregister:brutus:rome.lit:x",
            "removeuser:brutus:rome.lit",
            "removeuser3:brutus:rome.lit:x",
        ] {
            let found = Request::parse(Prosody, line.as_bytes()).err();
            assert_eq!(found, Some(BadRequest::Command), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_costs_only_itself() {
        let (fits, too_long) = ("x".repeat(MAX_LINE_BYTES), "x".repeat(MAX_LINE_BYTES + 1));
        let huge = "y".repeat(1_000_000);
        let stream = format!("{fits}\n{too_long}\n{huge}\n\nisuser:a:b\n");
        for size in [1, 7, MAX_LINE_BYTES, stream.len()] {
            let expected = [
                Ok(fits.clone().into_bytes()),
                Err(BadRequest::TooLong),
                Err(BadRequest::TooLong),
                Ok(Vec::new()),
                Ok(b"isuser:a:b".to_vec()),
            ];
            assert_eq!(cut(Prosody, stream.as_bytes(), size), expected, "{size}");
        }
    }

    #[test]
    fn a_request_behind_its_length_may_have_any_length() {
        for length in [0, 1, 255, 256, 8192, 8193, 65_534, 65_535] {
            let request = vec![b'\n'; length];
            let stream = written(Ejabberd, &[&request, b"isuser:a:b"]);
            for size in [1, 2, 3, 8192, stream.len()] {
                let expected = [Ok(request.clone()), Ok(b"isuser:a:b".to_vec())];
                assert_eq!(cut(Ejabberd, &stream, size), expected, "{length} by {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_the_same_in_any_pieces(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b':'), Just(0), any::<u8>()], 0..600),
            size in 1_usize..600,
        ) {
            for protocol in BOTH {
                prop_assert_eq!(cut(protocol, &stream, size), cut(protocol, &stream, 1));
            }
        }

        #[test]
        fn a_request_is_what_it_says_or_refused(text in "(auth|isuser|setpass|x)?[:a.é\\PC]{0,40}") {
            for protocol in BOTH {
                if let Ok(Request::Authenticate { account, password }) = Request::parse(protocol, text.as_bytes()) {
                    let fields: Vec<_> = text.splitn(4, ':').collect();
                    prop_assert_eq!(fields[3], password.as_str());
                    let host = Host::parse(fields[2]).unwrap();
                    prop_assert_eq!(BareJid::of(fields[1], &host).unwrap(), account);
                }
            }
        }

        #[test]
        fn any_bytes_are_a_request_or_refused(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            for protocol in BOTH {
                let _ = Request::parse(protocol, &frame);
            }
        }
    }
}
