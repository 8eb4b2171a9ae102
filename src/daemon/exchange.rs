//! The two directions of one connection: lines are read, within limits and deadlines, and queued lines are written to the peer.
//!
//! All complete lines of a read are answered in one write, by the task that has read them.
//!
//! Must not know: what a question means.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::now;
use super::connection::Connection;
use super::dispatch;
use super::limits::SHUTDOWN_LIMIT;
use super::state::State;
use crate::protocol::Lines;

/// When the daemon began, and that it ends.
#[derive(Clone)]
pub(super) struct Lifetime {
    pub(super) started: Instant,
    /// Changes when nobody is to be read any more.
    pub(super) stopping: watch::Receiver<bool>,
}

/// Talks with the peer to the end.
pub(super) async fn talk(
    state: &Arc<State>,
    connection: &Arc<Connection>,
    stream: UnixStream,
    lifetime: Lifetime,
) {
    let (read, write) = stream.into_split();
    let mut answers = Answers {
        connection,
        write,
        unwritten: Vec::new(),
        written: 0,
        is_unread: false,
    };
    state.connected(connection);
    let end = listen(state, connection, read, &mut answers, lifetime).await;
    if matches!(end, End::Said) {
        // It may have asked and closed its half: its questions in flight are still answered.
        let finish = async {
            let _ = tokio::time::timeout(SHUTDOWN_LIMIT, connection.idle()).await;
            connection.finish();
        };
        let limit = SHUTDOWN_LIMIT * 2;
        let write = answers.write_rest();
        let _ = tokio::time::timeout(limit, async { tokio::join!(finish, write) }).await;
    }
    drop(answers);
    // Not before: a change that takes something back looks at the servers that may still be told a yes.
    connection.is_gone();
    state.disconnected(connection);
}

/// Why no more lines of a peer are read.
enum End {
    /// It has said what it had to say, or the server stops.
    Said,
    /// It broke a limit.
    CutOff,
}

/// Reads and answers until the peer ends, a line stays unfinished, or the server stops.
async fn listen(
    state: &Arc<State>,
    connection: &Arc<Connection>,
    mut read: OwnedReadHalf,
    answers: &mut Answers<'_>,
    Lifetime {
        started,
        mut stopping,
    }: Lifetime,
) -> End {
    let mut lines = Lines::default();
    let mut unfinished_since = None;
    let mut said = 0;
    let mut stop = pin!(stopping.changed());
    loop {
        if !answers.write_now() {
            return End::CutOff;
        }
        // A thread reads many peers: one that always has more to say waits for those that have said something meanwhile.
        if said >= LINES_IN_A_TURN {
            said = 0;
            tokio::task::yield_now().await;
        }
        let deadline = unfinished_since.map(|since: Instant| since + LINE_DEADLINE);
        let count = tokio::select! {
            biased;
            _ = &mut stop => return End::Said,
            read = read.read(lines.room()) => match read {
                Ok(0) | Err(_) => return End::Said,
                Ok(count) => count,
            },
            is_open = answers.more() => {
                if is_open {
                    continue;
                }
                return End::CutOff;
            }
            // Behind the read: after a pause of our own, a line that came meanwhile counts.
            () = expired(deadline) => return End::unfinished(connection),
        };
        lines.read(count);
        let (now, uptime) = (now(), started.elapsed());
        connection.attend();
        while let Some(line) = lines.take() {
            unfinished_since = None;
            said += 1;
            dispatch::line(state, connection, line, now, uptime);
        }
        if lines.is_unfinished() {
            let since = *unfinished_since.get_or_insert_with(Instant::now);
            // A peer that always has more of its line to say is never waited for above.
            if since.elapsed() > LINE_DEADLINE {
                return End::unfinished(connection);
            }
        }
    }
}

impl End {
    fn unfinished(connection: &Connection) -> Self {
        tracing::warn!(
            connection = connection.id,
            "cut off: a line stayed unfinished"
        );
        Self::CutOff
    }
}

async fn expired(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The lines that wait to be written, and the way to the peer.
struct Answers<'a> {
    connection: &'a Connection,
    write: OwnedWriteHalf,
    unwritten: Vec<u8>,
    /// So much of it is.
    written: usize,
    /// The peer reads no more. Its questions are heard all the same: there may be a revocation among them.
    is_unread: bool,
}

impl Answers<'_> {
    /// Writes what the kernel takes at once. `false`: the peer gets no more lines.
    fn write_now(&mut self) -> bool {
        loop {
            if self.is_written() {
                self.unwritten.clear();
                self.written = 0;
                let is_open = self.connection.take_queued(&mut self.unwritten);
                if self.unwritten.is_empty() {
                    return is_open;
                }
            }
            match self.unwritten.get(self.written..).unwrap_or_default() {
                rest if self.is_unread => self.written += rest.len(),
                rest => match self.write.try_write(rest) {
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return self.connection.takes_lines();
                    }
                    Err(_) => self.is_unread = true,
                },
            }
        }
    }

    /// Returns when there may be more to write. `false`: the peer gets no more lines.
    async fn more(&self) -> bool {
        if self.is_written() {
            return self.connection.queued().await;
        }
        tokio::select! {
            biased;
            () = self.connection.cut_off() => false,
            // An error here comes again at the next write.
            _ = self.write.writable() => true,
        }
    }

    /// Writes all that is queued until the connection is closed.
    async fn write_rest(&mut self) {
        loop {
            self.write_now();
            if self.is_written() && !self.connection.queued().await {
                return;
            }
            if !self.is_written() && self.write.writable().await.is_err() {
                return;
            }
        }
    }

    fn is_written(&self) -> bool {
        self.written >= self.unwritten.len()
    }
}

const LINE_DEADLINE: Duration = Duration::from_secs(10);
/// So many lines of one peer are answered while others wait, and those that came with the last of them.
const LINES_IN_A_TURN: usize = 64;
