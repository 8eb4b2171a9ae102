//! The bridge between a server's script and the daemon.
//!
//! The server waits for each answer, so one question is asked at a time. "No" and "could not ask" are the same to it:
//! the latter gets a line on standard error, too.
//!
//! Must not know: how a server's requests are cut from its stream, rules for passwords.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::input::{StandardInput, serve};
use super::wire::{BadRequest, Password, Protocol, Request};
use crate::identity::password::MAX_PASSWORD_BYTES;
use crate::identity::visible::visible;
use crate::identity::{BareJid, Host, Incarnation};
use crate::protocol::client::{AskError, Asker};
use crate::protocol::declaring::declare_unknown;
use crate::protocol::{
    self, AccountExists, Admission, Create, CreateCaller, Delete, SetPassword, Text, Verify,
};

/// Answers the server's requests on standard input, for `hosts` only unless there are none, until it ends. The server waits for an answer for
/// `waits` at most.
///
/// Errors: of standard input and output.
pub(crate) fn run(
    protocol: Protocol,
    hosts: &[Host],
    waits: Duration,
    socket: &Path,
) -> io::Result<()> {
    let mut bridge = Bridge {
        socket,
        hosts,
        // Proof: u32 has room for 49 days.
        waits_ms: u32::try_from(waits.as_millis()).unwrap_or(u32::MAX),
        daemon: None,
        said: HashMap::new(),
    };
    // Early, so that whoever sets this up reads at once what is wrong.
    if let Err(error) = bridge.connected().map(drop) {
        bridge.say(Trouble::Lost, &error.to_string());
    }
    let input = StandardInput::open()?;
    serve(protocol, input, io::stdout().lock(), |request| {
        bridge.decide(request)
    })
}

/// The daemon, as the server's script sees it.
struct Bridge<'a> {
    socket: &'a Path,
    hosts: &'a [Host],
    waits_ms: u32,
    daemon: Option<Asker>,
    /// When each was said last.
    said: HashMap<Trouble, Instant>,
}

/// A message on standard error; each comes at most once in [`SILENCE`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Trouble {
    /// The daemon is away.
    Lost,
    /// The daemon could not answer, by the code of its error.
    Fault(i64),
    /// A host that is not answered for.
    OtherHost,
    /// The server wrote what is no request.
    NoRequest,
    /// The server did not write the change of a password alone.
    NotAlone,
}

impl Bridge<'_> {
    /// Yes or no. A question that could not be asked is a no.
    fn decide(&mut self, request: Result<&Request, BadRequest>) -> bool {
        let request = match request {
            Ok(request) => request,
            Err(error @ BadRequest::NotAlone) => {
                self.say(
                    Trouble::NotAlone,
                    &format!("the server wrote {error}: no password was set"),
                );
                return false;
            }
            Err(error) => {
                self.say(
                    Trouble::NoRequest,
                    &format!("the server wrote what is no request: {error}"),
                );
                return false;
            }
        };
        let host = request.account().host();
        if !self.hosts.is_empty() && !self.hosts.contains(host) {
            self.say(
                Trouble::OtherHost,
                &format!("{host} is none of the hosts that --host names"),
            );
            return false;
        }
        match self.answer(request) {
            Ok(is_yes) => is_yes,
            Err(AskError::Refused { .. }) => false,
            Err(AskError::Fault { code, message, .. }) => {
                self.say(Trouble::Fault(code), &format!("{host}: {message}"));
                false
            }
            Err(AskError::Lost(error)) => {
                self.say(Trouble::Lost, &error.to_string());
                false
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Result<bool, AskError> {
        match request {
            Request::Authenticate { account, password } => {
                Ok(self.verify(account, password)?.is_some())
            }
            Request::Exists { account } => self.exists(account),
            Request::SetPassword { account, password } => {
                let Some(password) = sendable(password) else {
                    return Ok(false);
                };
                let question = SetPassword {
                    account: account.clone().into(),
                    password,
                };
                self.change(account, &question)
            }
            Request::Create { account, password } => {
                let Some(password) = sendable(password) else {
                    return Ok(false);
                };
                let question = Create {
                    account: account.clone().into(),
                    password: Some(password),
                    reservation: None,
                    caller: CreateCaller::Server,
                };
                self.change(account, &question)
            }
            Request::Delete { account } => self.delete(account, None),
            Request::DeleteWithPassword { account, password } => {
                let Some(admitted) = self.verify(account, password)? else {
                    return Ok(false);
                };
                // The account whose password it was, and not whichever has the name by now.
                self.delete(account, Some(admitted.incarnation))
            }
        }
    }

    /// The daemon's yes; `None` where it is no without asking.
    fn verify(
        &mut self,
        account: &BareJid,
        password: &Password,
    ) -> Result<Option<Admission>, AskError> {
        let Some(password) = sendable(password) else {
            return Ok(None);
        };
        let question = Verify {
            account: account.clone().into(),
            password,
            // The server's script never hears of the client's.
            address: None,
        };
        self.ask(&question).map(Some)
    }

    fn exists(&mut self, account: &BareJid) -> Result<bool, AskError> {
        let account = account.clone().into();
        Ok(self.ask(&AccountExists { account })?.exists)
    }

    fn delete(
        &mut self,
        account: &BareJid,
        incarnation: Option<Incarnation>,
    ) -> Result<bool, AskError> {
        let question = Delete {
            account: account.clone().into(),
            incarnation,
            reservation: None,
        };
        self.change(account, &question)
    }

    fn change<Q: protocol::Request + Serialize>(
        &mut self,
        account: &BareJid,
        question: &Q,
    ) -> Result<bool, AskError> {
        // A change is never repeated. So first something that is: it notices that the daemon was started anew.
        self.exists(account)?;
        self.ask_once(question).map(|_| true)
    }

    /// Asks, over a new connection once more if the old one is found dead.
    fn ask<Q: protocol::Request + Serialize>(
        &mut self,
        question: &Q,
    ) -> Result<Q::Answer, AskError> {
        let was_connected = self.daemon.is_some();
        let begun = Instant::now();
        match self.ask_once(question) {
            // Not after a daemon that was waited for in vain: the server waits, too.
            Err(AskError::Lost(_)) if was_connected && begun.elapsed() < ANSWER_TIMEOUT / 4 => {
                self.ask_once(question)
            }
            other => other,
        }
    }

    fn ask_once<Q: protocol::Request + Serialize>(
        &mut self,
        question: &Q,
    ) -> Result<Q::Answer, AskError> {
        let asked = self.connected()?.ask(question);
        if let Err(AskError::Lost(_)) = asked {
            // A late answer on this connection would be taken for that of the next question.
            self.daemon = None;
        }
        asked
    }

    fn connected(&mut self) -> Result<&mut Asker, AskError> {
        let daemon = match self.daemon.take() {
            Some(daemon) => daemon,
            None => self.connect()?,
        };
        Ok(self.daemon.insert(daemon))
    }

    fn connect(&mut self) -> Result<Asker, AskError> {
        let mut daemon = Asker::connect_as_server(self.socket, ANSWER_TIMEOUT)?;
        declare_unknown(
            &mut daemon,
            "saslcertd extauth",
            self.hosts,
            Some(self.waits_ms),
        )?;
        if self.said.remove(&Trouble::Lost).is_some() {
            report("saslcertd answers again");
        }
        Ok(daemon)
    }

    fn say(&mut self, trouble: Trouble, text: &str) {
        let now = Instant::now();
        let before = self.said.get(&trouble);
        if before.is_none_or(|before| now.duration_since(*before) >= SILENCE) {
            self.said.insert(trouble, now);
            report(&format!("answering no: {text}"));
        }
    }
}

/// The password, if any account may have it: no account has a longer one, and it might not fit into a question.
fn sendable(password: &Password) -> Option<Text> {
    (password.len() <= MAX_PASSWORD_BYTES).then(|| Text(password.clone()))
}

/// Says something to whoever reads standard error, if anybody does.
fn report(text: &str) {
    let _ = writeln!(io::stderr(), "saslcertd extauth: {}", visible(text));
}

/// Prosody's module waits 5 s, and takes an answer that comes later for that to its next question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long what was said is not said again.
const SILENCE: Duration = Duration::from_mins(1);
