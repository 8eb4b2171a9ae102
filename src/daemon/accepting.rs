//! Connections: accept, find out who it is, read lines within limits and deadlines.
//!
//! Must not know: what a question means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::clock::now;
use super::connection::{Connection, Peer};
use super::dispatch;
use super::limits::SHUTDOWN_LIMIT;
use super::listening::Listening;
use super::roles::Roles;
use super::state::State;
use crate::protocol::{self, Fault, Lines};

/// Who lets connections in, and what they need.
pub(super) struct Acceptor {
    state: Arc<State>,
    roles: Roles,
    started: Instant,
    stopping: watch::Receiver<bool>,
    free: Arc<Semaphore>,
    last_id: u64,
    pub(super) open: JoinSet<()>,
}

impl Acceptor {
    /// Nobody has come yet; `stopping` turns true when nobody is to be read any more.
    pub(super) fn new(state: Arc<State>, roles: Roles, stopping: watch::Receiver<bool>) -> Self {
        Self {
            state,
            roles,
            started: Instant::now(),
            stopping,
            free: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            last_id: 0,
            open: JoinSet::new(),
        }
    }

    /// Lets connections in, and serves each until it ends. Never returns by itself.
    pub(super) async fn run(&mut self, listening: &Listening) {
        loop {
            // Finished ones are let go of as new ones come.
            while self.open.try_join_next().is_some() {}
            match listening.accept().await {
                Ok(stream) => self.accept(stream),
                Err(error) => {
                    // Out of file descriptors, for one: they come back as connections end.
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accept(&mut self, stream: UnixStream) {
        let peer = match stream.peer_cred() {
            Ok(peer) => peer,
            Err(error) => {
                tracing::error!(%error, "a connection whose user is unknown is refused");
                return;
            }
        };
        let Some(role) = self.roles.role(peer.uid()) else {
            tracing::warn!(
                uid = peer.uid(),
                pid = peer.pid(),
                "refused: neither --server-user nor --admin-user"
            );
            // For its log. Nothing is waited for: a line fits into what a new socket takes.
            let fault = Fault::NotAdmitted { uid: peer.uid() };
            let _ = stream.try_write(protocol::failure(None, &fault.into()).as_bytes());
            return;
        };
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            tracing::error!(
                uid = peer.uid(),
                "refused: {MAX_CONNECTIONS} connections are open"
            );
            return;
        };
        self.last_id += 1;
        let peer = Peer {
            uid: peer.uid(),
            pid: peer.pid(),
            role,
        };
        tracing::debug!(connection = self.last_id, uid = peer.uid, "connected");
        let connection = Arc::new(Connection::new(self.last_id, peer));
        let state = Arc::clone(&self.state);
        let stopping = self.stopping.clone();
        let started = self.started;
        self.open.spawn(async move {
            let (read, write) = stream.into_split();
            state.connected(&connection);
            let mut writer = tokio::spawn(write_lines(Arc::clone(&connection), write));
            let end = read_lines(&state, &connection, read, stopping, started).await;
            if matches!(end, End::Said) {
                // It may have asked and closed its half: what is in flight is still answered.
                let _ = tokio::time::timeout(SHUTDOWN_LIMIT, connection.idle()).await;
            }
            state.disconnected(&connection);
            connection.close();
            let unread = tokio::time::timeout(SHUTDOWN_LIMIT, &mut writer);
            if matches!(end, End::CutOff) || unread.await.is_err() {
                writer.abort();
            }
            tracing::debug!(connection = connection.id, "disconnected");
            drop(permit);
        });
    }
}

/// Why no more lines of a peer are read.
enum End {
    /// It has said what it had to say, or the server stops.
    Said,
    /// It broke a limit.
    CutOff,
}

/// Reads until the peer ends, a line stays unfinished, or the server stops.
async fn read_lines(
    state: &Arc<State>,
    connection: &Arc<Connection>,
    mut read: OwnedReadHalf,
    mut stopping: watch::Receiver<bool>,
    started: Instant,
) -> End {
    let mut lines = Lines::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut unfinished_since = None;
    loop {
        let deadline = unfinished_since.map(|since: tokio::time::Instant| since + LINE_DEADLINE);
        let count = tokio::select! {
            biased;
            _ = stopping.changed() => return End::Said,
            () = connection.cut_off() => return End::CutOff,
            read = read.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return End::Said,
                Ok(count) => count,
            },
            // Behind the read: after a pause of our own, what came meanwhile counts.
            () = expired(deadline) => {
                tracing::warn!(connection = connection.id, "cut off: a line stayed unfinished");
                return End::CutOff;
            }
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        let now = now();
        lines.feed(bytes, |line| {
            unfinished_since = None;
            dispatch::line(state, connection, line, now, started.elapsed());
        });
        if lines.is_unfinished() {
            let since = *unfinished_since.get_or_insert_with(tokio::time::Instant::now);
            // A peer that always has more of its line to say is never waited for above.
            if since.elapsed() > LINE_DEADLINE {
                tracing::warn!(
                    connection = connection.id,
                    "cut off: a line stayed unfinished"
                );
                return End::CutOff;
            }
        }
    }
}

async fn expired(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn write_lines(connection: Arc<Connection>, mut write: OwnedWriteHalf) {
    while let Some(lines) = connection.queued().await {
        if write.write_all(&lines).await.is_err() {
            // The reader sees the same end.
            return;
        }
    }
}

const MAX_CONNECTIONS: usize = 256;
const READ_BYTES: usize = 64 * 1024;
const LINE_DEADLINE: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
