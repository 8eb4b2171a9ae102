//! The connected servers: they are asked, told, and asked to close sessions.
//!
//! Must not know: why.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::connection::Connection;
use crate::identity::{BareJid, Host, ScramHash};
use crate::protocol::{
    self, AccountChanged, Away, Close, CloseSessions, Fault, NotifyAccount, ScramChanged,
    ServerRequest,
};
use crate::system::lock::Lock;

/// Every open connection, and what is expected from it.
#[derive(Default)]
pub(super) struct Servers {
    connections: Lock<HashMap<u64, Arc<Connection>>>,
    /// The handlers that wait for an answer, by connection and id.
    expected: Lock<Expected>,
}

type Expected = HashMap<(u64, String), mpsc::Sender<Result<Value, String>>>;

impl Servers {
    pub(super) fn connected(&self, connection: &Arc<Connection>) {
        self.connections
            .lock()
            .insert(connection.id, Arc::clone(connection));
    }

    pub(super) fn disconnected(&self, connection: &Connection) {
        self.connections.lock().remove(&connection.id);
        // A handler that waits for its answer hears at once that none comes.
        self.expected
            .lock()
            .retain(|(of, _), _| *of != connection.id);
    }

    /// Every open connection.
    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        self.connections.lock().values().cloned().collect()
    }

    /// Waits until the kernel has all lines queued by now that let somebody in or have sessions closed; of a connection that does not
    /// read, at most so long.
    /// Blocks.
    pub(super) fn wait_until_written(&self, patience: Duration) {
        let until = Instant::now() + patience;
        for connection in self.all() {
            connection.wait_until_written(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Asks a server of `host`, and waits for its answer. Blocks.
    ///
    /// Errors: there is none, or it does not answer.
    pub(super) fn ask<Q: ServerRequest>(
        &self,
        host: &Host,
        question: &Q,
    ) -> Result<Q::Answer, Fault> {
        let away = |problem| Fault::ServerAway { problem };
        let connection = newest_of(&self.connections.lock(), host);
        let connection = connection.ok_or(away(Away::NotConnected))?;
        let id = connection.question_id();
        let (answer, answered) = mpsc::channel();
        let key = (connection.id, id);
        self.expected.lock().insert(key.clone(), answer);
        connection.push(&protocol::question(&key.1, question));
        let result = answered.recv_timeout(SERVER_DEADLINE);
        self.expected.lock().remove(&key);
        match result {
            Ok(Ok(result)) => serde_json::from_value(result).map_err(|_| away(Away::Unreadable)),
            Ok(Err(_)) => Err(away(Away::Refusing)),
            Err(_) => Err(away(Away::Silent)),
        }
    }

    /// A server has answered the question `id` of ours.
    pub(super) fn answered(&self, connection: u64, id: String, result: Result<Value, String>) {
        let waits = self.expected.lock().remove(&(connection, id));
        // The handler that waited may have given up.
        waits.map(|waits| waits.send(result));
    }

    /// Sends the account a message. False: no server of its host is connected.
    #[must_use]
    pub(super) fn tell(&self, account: &BareJid, text: &str) -> bool {
        let connection = newest_of(&self.connections.lock(), account.host());
        if let Some(connection) = &connection {
            connection.ask(&NotifyAccount {
                account: account.clone(),
                text: text.to_owned(),
            });
        }
        connection.is_some()
    }

    /// Is a server of the host connected?
    pub(super) fn serve(&self, host: &Host) -> bool {
        newest_of(&self.connections.lock(), host).is_some()
    }

    /// Tells every server of `host` but `asker` what has become of an account; how many there are.
    pub(super) fn tell_changed(
        &self,
        asker: Option<u64>,
        host: &Host,
        changed: &AccountChanged,
    ) -> usize {
        let all = self.connections.lock();
        let others = all
            .values()
            .filter(|one| Some(one.id) != asker && one.serves(host));
        others.map(|other| other.ask(changed)).count()
    }

    /// Tells every server of the host which SCRAM hashes all of its accounts have.
    pub(super) fn tell_scram(&self, host: &Host, scram: &[ScramHash]) {
        let line = protocol::notice(&ScramChanged {
            host: host.clone(),
            scram: scram.to_vec(),
        });
        for connection in self
            .connections
            .lock()
            .values()
            .filter(|one| one.serves(host))
        {
            connection.push(&line);
        }
    }

    /// Has every server but `asker` close `sessions`.
    pub(super) fn close(&self, asker: Option<u64>, sessions: &[Close]) {
        if sessions.is_empty() {
            return;
        }
        for connection in self
            .connections
            .lock()
            .values()
            .filter(|one| Some(one.id) != asker)
        {
            connection.push_awaited(&closing_lines(connection, sessions));
        }
    }
}

/// The questions that have `sessions` closed; nothing for who keeps none.
pub(super) fn closing_lines(connection: &Connection, sessions: &[Close]) -> String {
    let asked = sessions
        .chunks(MAX_CLOSINGS)
        .filter(|_| connection.keeps_sessions());
    asked
        .map(|some| {
            let close = some.to_vec();
            protocol::question(&connection.question_id(), &CloseSessions { close })
        })
        .collect()
}

/// The newest: an older one of the same server may be about to be noticed as gone.
fn newest_of(all: &HashMap<u64, Arc<Connection>>, host: &Host) -> Option<Arc<Connection>> {
    let serving = all.values().filter(|connection| connection.serves(host));
    serving.max_by_key(|connection| connection.id).cloned()
}

/// Most sessions in one line: far below what an asker reads.
const MAX_CLOSINGS: usize = 1000;
/// The longest that a server's answer may take.
const SERVER_DEADLINE: Duration = Duration::from_secs(5);
