//! One peer: its user, its hello, and the lines that wait to be written to it.
//!
//! Lines are queued without waiting, so that an answer can be queued under a lock. A peer that does not read
//! is cut off when too much waits.
//!
//! Must not know: sockets, what a line says.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::identity::{Host, UnixSeconds};
use crate::policy::access::Standing;
use crate::protocol::{self, Module, Role, ServerRequest};
use crate::system::lock::Lock;

/// The process at the other end, as the kernel told at accept.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its process, for people to read only: numbers are used again.
    pub pid: Option<i32>,
    /// Its role: which questions it may ask.
    pub role: Role,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// Unique in this process.
    pub id: u64,
    /// The process at the other end.
    pub peer: Peer,
    hello: Lock<Option<Introduction>>,
    outbox: Lock<Outbox>,
    signals: Signals,
    in_flight: Questions,
    last_question: AtomicU64,
}

/// The peer's own words about itself, from its hello.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Its software and version.
    pub software: String,
    /// The hosts that it serves.
    pub hosts: HashSet<Host>,
    /// Has it sessions, which it can be asked to close?
    pub keeps_sessions: bool,
    /// How long it waits for a yes at most, in milliseconds: the longest that it has said. A question that was asked before may wait as long as was
    /// said then.
    pub waits_ms: Option<u32>,
    /// When it said hello for the first time.
    pub since: UnixSeconds,
    /// The module that asks, if it is one.
    pub module: Option<Module>,
}

/// How many questions of the peer are being answered.
#[derive(Debug, Default)]
struct Questions {
    count: AtomicUsize,
    idle: Notify,
}

/// What is waited for, of the outbox.
#[derive(Debug, Default)]
struct Signals {
    /// Something is queued, or nothing will be any more.
    more: Notify,
    /// Something more was written, or nothing will be any more.
    written: Condvar,
    /// Too much is left unread.
    cut_off: Notify,
}

#[derive(Debug, Default)]
struct Outbox {
    bytes: Vec<u8>,
    /// How many bytes the writer has taken so far, and how many of these the kernel has.
    taken: u64,
    written: u64,
    is_closed: bool,
    /// The writer looks here of its own accord.
    is_attended: bool,
}

impl Connection {
    /// A connection with nothing to say yet.
    #[must_use]
    pub fn new(id: u64, peer: Peer) -> Self {
        Self {
            id,
            peer,
            hello: Lock::default(),
            outbox: Lock::default(),
            signals: Signals::default(),
            in_flight: Questions::default(),
            last_question: AtomicU64::new(0),
        }
    }

    /// Queues lines, each with its newline. Never waits.
    pub fn push(&self, lines: &str) {
        self.queue(|bytes| bytes.extend_from_slice(lines.as_bytes()));
    }

    /// Queues what `write` appends: lines, each with its newline. Never waits, and must not either.
    pub fn queue(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut outbox = self.outbox.lock();
        if outbox.is_closed {
            return;
        }
        write(&mut outbox.bytes);
        if outbox.bytes.len() > MAX_UNREAD_BYTES {
            tracing::warn!(
                connection = self.id,
                "cut off: it leaves its answers unread"
            );
            *outbox = Outbox {
                is_closed: true,
                ..Outbox::default()
            };
            self.signals.cut_off.notify_one();
            self.signals.written.notify_all();
        }
        let is_attended = outbox.is_attended;
        drop(outbox);
        if !is_attended {
            self.signals.more.notify_one();
        }
    }

    /// Says that the writer is about to look: it takes the lines that are queued from now on without a wake-up, once.
    pub fn attend(&self) {
        self.outbox.lock().is_attended = true;
    }

    /// Puts what is queued in the place of `written`, which is empty: the kernel has all that was taken before.
    pub fn take_queued(&self, written: &mut Vec<u8>) {
        let mut outbox = self.outbox.lock();
        outbox.is_attended = false;
        std::mem::swap(&mut outbox.bytes, written);
        if outbox.written < outbox.taken {
            outbox.written = outbox.taken;
            self.signals.written.notify_all();
        }
        outbox.taken += written.len() as u64;
        // Not for longer than it is used.
        if outbox.bytes.capacity() > KEPT_BYTES {
            outbox.bytes = Vec::new();
        }
    }

    /// Waits until the kernel has all that is queued by now, the connection has ended, or this time has passed. Blocks.
    pub(super) fn wait_until_written(&self, patience: Duration) {
        let outbox = self.outbox.lock();
        let all = outbox.taken + outbox.bytes.len() as u64;
        let is_waiting = |outbox: &mut Outbox| outbox.written < all && !outbox.is_closed;
        let waited = self
            .signals
            .written
            .wait_timeout_while(outbox, patience, is_waiting);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until something is queued; `false` when the connection is to end and nothing is.
    pub async fn queued(&self) -> bool {
        loop {
            {
                let outbox = self.outbox.lock();
                if !outbox.bytes.is_empty() {
                    return true;
                }
                if outbox.is_closed {
                    return false;
                }
            }
            self.signals.more.notified().await;
        }
    }

    /// Returns when the peer has left too much unread.
    pub async fn cut_off(&self) {
        self.signals.cut_off.notified().await;
    }

    /// Takes no more lines; the queued ones are still written.
    pub fn close(&self) {
        let mut outbox = self.outbox.lock();
        outbox.is_closed = true;
        drop(outbox);
        self.signals.written.notify_all();
        self.signals.more.notify_one();
    }

    /// Remembers who the peer says it is.
    pub fn introduce(&self, introduction: Introduction) {
        *self.hello.lock() = Some(introduction);
    }

    /// The peer's introduction; `None` before its hello.
    #[must_use]
    pub fn introduction(&self) -> Option<Introduction> {
        let hello = self.hello.lock();
        hello.clone()
    }

    /// Has the peer said hello, and keeps sessions of `host`?
    #[must_use]
    pub fn serves(&self, host: &Host) -> bool {
        let hello = self.hello.lock();
        hello
            .as_ref()
            .is_some_and(|hello| hello.keeps_sessions && hello.hosts.contains(host))
    }

    /// Has the peer said hello, for `host` among others? With or without sessions.
    #[must_use]
    pub fn declares(&self, host: &Host) -> bool {
        let hello = self.hello.lock();
        hello
            .as_ref()
            .is_some_and(|hello| hello.hosts.contains(host))
    }

    /// Has the peer said hello, and keeps sessions?
    #[must_use]
    pub fn keeps_sessions(&self) -> bool {
        let hello = self.hello.lock();
        hello.as_ref().is_some_and(|hello| hello.keeps_sessions)
    }

    /// How far the peer has introduced itself.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.hello.lock().as_ref() {
            None => Standing::Nothing,
            Some(hello) if hello.keeps_sessions => Standing::HelloWithSessions,
            Some(_) => Standing::Hello,
        }
    }

    /// Counts a question as in flight until the guard is dropped; `None` when too many are.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Option<InFlight> {
        let before = self.in_flight.count.fetch_add(1, Ordering::AcqRel);
        let guard = InFlight(Arc::clone(self));
        (before < MAX_IN_FLIGHT).then_some(guard)
    }

    /// Returns when nothing of this connection is being answered any more.
    pub async fn idle(&self) {
        while self.in_flight.count.load(Ordering::Acquire) > 0 {
            self.in_flight.idle.notified().await;
        }
    }

    /// Asks a question of ours. A caller that wants the answer asks by [`super::servers`].
    pub(super) fn ask(&self, question: &impl ServerRequest) {
        self.push(&protocol::question(&self.question_id(), question));
    }

    /// An id for a question of ours.
    #[must_use]
    pub fn question_id(&self) -> String {
        format!(
            "d{}",
            self.last_question.fetch_add(1, Ordering::Relaxed) + 1
        )
    }
}

/// A question in flight.
#[derive(Debug)]
pub struct InFlight(Arc<Connection>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.count.fetch_sub(1, Ordering::AcqRel);
        self.0.in_flight.idle.notify_one();
    }
}

/// Most questions of one connection that are being answered at a time.
pub const MAX_IN_FLIGHT: usize = 256;
/// Most bytes that wait for a peer to read them.
pub const MAX_UNREAD_BYTES: usize = 8 * 1024 * 1024;
/// Larger buffers are given back.
const KEPT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn connection() -> Arc<Connection> {
        let peer = Peer {
            uid: 0,
            pid: None,
            role: Role::Server,
        };
        Arc::new(Connection::new(1, peer))
    }

    #[tokio::test]
    async fn queued_lines_come_out_together_and_in_order() {
        let connection = connection();
        let taken = || {
            let mut taken = Vec::new();
            connection.take_queued(&mut taken);
            taken
        };
        connection.push("a\n");
        connection.push("b\n");
        assert!(connection.queued().await);
        assert_eq!(taken(), b"a\nb\n");
        connection.attend();
        connection.push("c\n");
        connection.close();
        connection.push("d\n");
        assert!(connection.queued().await);
        assert_eq!(taken(), b"c\n");
        assert!(!connection.queued().await);
    }

    #[test]
    fn what_was_taken_is_written_when_more_is_taken() {
        let connection = connection();
        let is_written = || {
            let outbox = connection.outbox.lock();
            outbox.written == outbox.taken + outbox.bytes.len() as u64
        };
        let mut taken = Vec::new();
        connection.push("a\n");
        connection.take_queued(&mut taken);
        connection.wait_until_written(Duration::ZERO);
        assert!(!is_written());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| connection.wait_until_written(Duration::from_mins(1)));
            taken.clear();
            connection.take_queued(&mut taken);
            waits.join().unwrap();
        });
        assert!(is_written());
        // Nobody writes any more.
        connection.push("b\n");
        connection.close();
        connection.wait_until_written(Duration::from_mins(1));
        assert!(!is_written());
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_cut_off() {
        let connection = connection();
        let line = "x".repeat(1024 * 1024);
        for _ in 0..9 {
            connection.push(&line);
        }
        assert!(!connection.queued().await);
    }

    #[test]
    fn questions_in_flight_are_bounded() {
        let connection = connection();
        let guards: Vec<_> = (0..MAX_IN_FLIGHT)
            .map(|_| connection.begin().unwrap())
            .collect();
        assert!(connection.begin().is_none());
        drop(guards);
        assert!(connection.begin().is_some());
    }
}
