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
    /// Where the last line ends that lets somebody in, or has sessions closed; in bytes, as `taken`.
    awaited: u64,
    stage: Stage,
    /// The writer looks here of its own accord.
    is_attended: bool,
}

/// How near a connection is to its end; later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Open,
    /// Nothing is asked any more: it takes lines until all are written.
    Ending,
    /// It takes no more lines.
    Closed,
    /// The socket is gone.
    Gone,
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

    /// Queues lines that let somebody in, or have sessions closed: those that [`Self::wait_until_written`] waits for. Never waits.
    pub(super) fn push_awaited(&self, lines: &str) {
        self.queue_awaited(|bytes| bytes.extend_from_slice(lines.as_bytes()));
    }

    /// Queues what `write` appends: lines, each with its newline. Never waits, and must not either.
    pub fn queue(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.append(write, false);
    }

    /// The same, for lines as those of [`Self::push_awaited`].
    pub(super) fn queue_awaited(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.append(write, true);
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>), is_awaited: bool) {
        let mut outbox = self.outbox.lock();
        if outbox.stage >= Stage::Closed {
            return;
        }
        let before = outbox.bytes.len();
        write(&mut outbox.bytes);
        if is_awaited && outbox.bytes.len() > before {
            outbox.awaited = outbox.taken + outbox.bytes.len() as u64;
        }
        if outbox.bytes.len() > MAX_UNREAD_BYTES {
            tracing::warn!(
                connection = self.id,
                "cut off: it leaves its answers unread"
            );
            // What the writer has taken may still be written, until it is gone.
            outbox.bytes = Vec::new();
            outbox.stage = Stage::Closed;
            self.signals.cut_off.notify_one();
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

    /// Puts what is queued in the place of `written`, which is empty: the kernel has all that was taken before. `false`: the peer gets no
    /// more lines than these.
    pub fn take_queued(&self, written: &mut Vec<u8>) -> bool {
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
        outbox.stage < Stage::Closed
    }

    /// Waits until the kernel has each line queued by now that lets somebody in or has sessions closed, nothing is written any more,
    /// or this time has passed. Blocks.
    pub(super) fn wait_until_written(&self, patience: Duration) {
        let outbox = self.outbox.lock();
        let awaited = outbox.awaited;
        let is_waiting =
            |outbox: &mut Outbox| outbox.written < awaited && outbox.stage < Stage::Gone;
        let waited = self
            .signals
            .written
            .wait_timeout_while(outbox, patience, is_waiting);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until something is queued; `false` when the connection is to end and nothing is. Then it takes no more.
    pub async fn queued(&self) -> bool {
        loop {
            {
                let mut outbox = self.outbox.lock();
                if !outbox.bytes.is_empty() {
                    return true;
                }
                if outbox.stage >= Stage::Ending {
                    outbox.stage = outbox.stage.max(Stage::Closed);
                    return false;
                }
            }
            self.signals.more.notified().await;
        }
    }

    /// Does it still take lines?
    pub(super) fn takes_lines(&self) -> bool {
        self.outbox.lock().stage < Stage::Closed
    }

    /// Returns when the peer has left too much unread.
    pub async fn cut_off(&self) {
        self.signals.cut_off.notified().await;
    }

    /// Nothing is asked any more: the writer ends when everything is written. A line that closes a session comes behind the yes still.
    pub fn finish(&self) {
        let mut outbox = self.outbox.lock();
        outbox.stage = outbox.stage.max(Stage::Ending);
        drop(outbox);
        self.signals.more.notify_one();
    }

    /// The socket is gone: nothing is written any more.
    pub fn is_gone(&self) {
        self.outbox.lock().stage = Stage::Gone;
        self.signals.written.notify_all();
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
        connection.finish();
        connection.push("d\n");
        assert!(connection.queued().await);
        assert_eq!(taken(), b"c\nd\n");
        assert!(!connection.queued().await);
        connection.push("e\n");
        assert!(!connection.queued().await);
    }

    /// Is it written, as far as somebody waits for it?
    fn is_written(connection: &Connection) -> bool {
        connection.wait_until_written(Duration::ZERO);
        let outbox = connection.outbox.lock();
        outbox.written >= outbox.awaited || outbox.stage == Stage::Gone
    }

    #[test]
    fn what_was_taken_is_written_when_more_is_taken() {
        let connection = connection();
        let mut taken = Vec::new();
        connection.push_awaited("a\n");
        connection.take_queued(&mut taken);
        assert!(!is_written(&connection));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| connection.wait_until_written(Duration::from_mins(1)));
            taken.clear();
            connection.take_queued(&mut taken);
            waits.join().unwrap();
        });
        assert!(is_written(&connection));
    }

    #[test]
    fn nobody_waits_for_lines_that_let_nobody_in() {
        let connection = connection();
        connection.push("a row of an export\n");
        connection.push_awaited("");
        connection.take_queued(&mut Vec::new());
        assert!(is_written(&connection));
        connection.push_awaited("a yes\n");
        connection.push("a row\n");
        assert!(!is_written(&connection));
        let mut taken = Vec::new();
        connection.take_queued(&mut taken);
        connection.push("another row\n");
        taken.clear();
        connection.take_queued(&mut taken);
        assert!(is_written(&connection));
    }

    #[test]
    fn what_the_writer_has_taken_is_waited_for_until_the_socket_is_gone() {
        let connection = connection();
        let mut taken = Vec::new();
        connection.push_awaited("a yes\n");
        connection.take_queued(&mut taken);
        // It asks nothing any more, and then leaves too much unread.
        connection.finish();
        assert!(!is_written(&connection));
        for _ in 0..9 {
            connection.push(&"x".repeat(1024 * 1024));
        }
        assert!(!is_written(&connection));
        connection.is_gone();
        assert!(is_written(&connection));
        connection.wait_until_written(Duration::from_mins(1));
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
