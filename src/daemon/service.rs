//! One method for each question: parse, fetch the facts, let `policy` decide, write, answer, log.
//!
//! **No yes after a revocation.** Deciding a login and queuing its answer holds `revocations` for reading; a
//! revocation holds it for writing from before its commit until its `sessions.close` is queued on every
//! connection. So a login either loses, or its session is closed.
//!
//! Must not know: sockets, the clock.

mod accounts;
mod admission;
mod authorities;
mod backup;
mod certificates;
mod checks;
mod command;
mod console;
mod declared;
mod explain;
mod external;
mod hosts;
mod incarnations;
mod live;
mod moving_in;
mod notices;
mod status;

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, RwLock, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use crate::identity::{BareJid, Host, ScramHash, UnixSeconds};
use crate::store::{Store, StoreError};
use crate::system::lock::{Lock, SharedLock};

use super::authorities::AuthorityFiles;
use super::connection::Connection;
use super::declared_host::{DeclaredHost, Stranger};
use super::derivations::{Purpose, Queued};
use super::disk_room::DiskRoom;
use super::guesses::Guesses;
use super::lanes::Lanes;
use super::last_uses::LastUses;
use super::reply::{Answer, Answered, ask, unreadable};
use super::reservations::Reservations;
use super::sessions::Sessions;
use super::storage::refusal as storage;
use super::store_checks::Checks;
use crate::protocol::{self, Fault, Refusal};

/// Everything that questions are answered from.
pub struct Service {
    store: Store,
    /// Never held while something is written: every offer and every login reads it.
    hosts: SharedLock<HashMap<Host, DeclaredHost>>,
    /// Whose turn it is to write of hosts.
    remembering: Lock<()>,
    connections: Lock<HashMap<u64, Arc<Connection>>>,
    pub(super) sessions: Sessions,
    authorities: AuthorityFiles,
    /// Whose turn it is to read the files of authorities.
    reading: Lock<()>,
    revocations: RwLock<()>,
    last_uses: LastUses,
    lanes: Lanes,
    disk_room: DiskRoom,
    guesses: Guesses,
    reservations: Reservations,
    /// Answers that somebody here waits for, by connection and id.
    expected: Lock<Expected>,
    /// When it was last looked who is to hear that something expires.
    noticed: Lock<HashMap<Host, UnixSeconds>>,
    /// The SCRAM hashes of each host as its servers know them.
    scram_told: Lock<HashMap<Host, Vec<ScramHash>>>,
    stranger: Lock<Option<Stranger>>,
    checks: Checks,
}

type Expected = HashMap<(u64, String), mpsc::Sender<Result<Value, String>>>;

impl Service {
    /// A service that knows the hosts that the store remembers, and their authorities.
    ///
    /// Errors: the store.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let mut hosts = HashMap::new();
        for (host, record) in store.hosts()? {
            match DeclaredHost::remembered(&record) {
                Ok(known) => drop(hosts.insert(host, known)),
                // Never with other options than its own: it waits for its next declaration.
                Err(error) => tracing::error!(%host, %error, "the host's options are not readable"),
            }
        }
        let service = Self {
            store,
            hosts: SharedLock::new(hosts),
            remembering: Lock::default(),
            connections: Lock::default(),
            sessions: Sessions::default(),
            authorities: AuthorityFiles::default(),
            reading: Lock::default(),
            revocations: RwLock::new(()),
            last_uses: LastUses::default(),
            lanes: Lanes::default(),
            disk_room: DiskRoom::default(),
            guesses: Guesses::default(),
            reservations: Reservations::default(),
            expected: Lock::default(),
            noticed: Lock::default(),
            scram_told: Lock::default(),
            stranger: Lock::default(),
            checks: Checks::default(),
        };
        service.read_authorities(false);
        Ok(service)
    }

    /// A connection was accepted.
    pub fn connected(&self, connection: &Arc<Connection>) {
        let mut all = self.connections.lock();
        all.insert(connection.id, Arc::clone(connection));
    }

    /// A connection has ended.
    pub fn disconnected(&self, connection: &Connection) {
        let mut all = self.connections.lock();
        all.remove(&connection.id);
        drop(all);
        self.sessions.forget(connection.id);
        // Who waits for it hears at once that nothing comes.
        self.expected().retain(|(of, _), _| *of != connection.id);
    }

    /// Runs `work` where it may block. Its answer, or a fault, is sent within the deadline.
    pub(super) fn task(
        self: &Arc<Self>,
        answer: Answer,
        work: impl FnOnce(&Arc<Self>, &Answer) + Send + 'static,
    ) {
        let service = Arc::clone(self);
        self.lanes
            .task(answer, move |answer| work(&service, answer));
    }

    /// Runs `work`, which derives keys, when its turn has come.
    pub(super) fn derivation(
        self: &Arc<Self>,
        purpose: Purpose,
        answer: Answer,
        work: impl FnOnce(&Arc<Self>, &Answer) + Send + 'static,
    ) {
        let service = Arc::clone(self);
        self.lanes
            .derivation(purpose, answer, move |answer| work(&service, answer));
    }

    /// Runs `work` when its turn has come.
    fn in_turn(
        self: &Arc<Self>,
        queued: Option<Queued>,
        answer: Answer,
        work: impl FnOnce(&Arc<Self>, &Answer) + Send + 'static,
    ) {
        let service = Arc::clone(self);
        self.lanes
            .in_turn(queued, answer, move |answer| work(&service, answer));
    }

    /// Waits until nothing is being answered any more, or until `limit` has passed.
    pub async fn finish(&self, limit: Duration) {
        self.lanes.finish(limit).await;
    }

    /// Bytes of the store's files, for the reserve of free space.
    #[must_use]
    pub fn store_bytes(&self) -> u64 {
        self.store.bytes_on_disk()
    }

    /// Returns when the store's writer has answered. Blocks.
    pub fn probe_store(&self) -> Result<(), StoreError> {
        self.store.probe()
    }

    /// Refuses, or takes again, what makes the store grow.
    pub fn set_disk_nearly_full(&self, is_full: bool) {
        self.disk_room.set_nearly_full(is_full, self.store.folder());
    }

    /// Writes the last uses that were noted since the last time. Blocks.
    pub fn write_last_uses(&self) {
        self.last_uses.write(&self.store, &self.disk_room);
    }

    /// Writes everything that waits and lets nothing more in. Blocks.
    pub fn close(&self) {
        self.write_last_uses();
        self.store.close();
    }

    /// Has `doomed` sessions closed by every server, and answers the question that made it so.
    ///
    /// By the others first, so that who reads the answer finds them gone. On the asking connection the answer
    /// stands first, in one write: the session that asks may be the first to be closed.
    fn close_and_answer(&self, answer: &Answer, result: Value, doomed: &[Value]) {
        let all = self.connections.lock();
        let lines = |connection: &Connection| -> String {
            let asked = doomed.iter().filter(|_| connection.keeps_sessions());
            asked
                .map(|session| {
                    let id = connection.question_id();
                    protocol::question(&id, "sessions.close", session)
                })
                .collect()
        };
        for connection in all
            .values()
            .filter(|other| other.id != answer.connection.id)
        {
            connection.push(&lines(connection));
        }
        drop(all);
        answer.send_before(Ok(result), &lines(&answer.connection));
    }

    pub(super) fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock()
    }

    /// Asks a server of `host`, and waits for its answer. Blocks.
    fn ask_server(&self, host: &Host, method: &str, params: &Value) -> Result<Value, Fault> {
        let away = |problem| Fault::ServerAway { problem };
        let connection = {
            let all = self.connections.lock();
            let serving = all.values().filter(|connection| connection.serves(host));
            serving.max_by_key(|connection| connection.id).cloned()
        };
        let connection = connection.ok_or(away("none of this host is connected"))?;
        let id = connection.question_id();
        let (answer, answered) = mpsc::channel();
        let key = (connection.id, id);
        self.expected().insert(key.clone(), answer);
        connection.push(&protocol::question(&key.1, method, params));
        let result = answered.recv_timeout(SERVER_DEADLINE);
        self.expected().remove(&key);
        match result {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(away("it refuses the question; is its module older?")),
            Err(_) => Err(away("it does not answer")),
        }
    }

    /// Sends the account a message, if a server of its host is connected.
    fn tell(&self, account: &BareJid, text: &str) {
        let all = self.connections.lock();
        let serving = all
            .values()
            .filter(|connection| connection.serves(account.host()));
        // The newest: an older one of the same server may be about to be noticed as gone.
        if let Some(connection) = serving.max_by_key(|connection| connection.id) {
            let params = json!({"account": account, "text": text});
            ask(connection, "account.notify", &params);
        }
    }
}

/// The fields of `sessions.close` for the sessions of an account and key.
fn closing(mut session: Value) -> Value {
    if let Value::Object(fields) = &mut session {
        fields.insert("condition".to_owned(), "not-authorized".into());
        fields.insert("text".to_owned(), REVOKED.into());
    }
    session
}

/// What a session hears at its end.
const REVOKED: &str = "This client certificate has been revoked";

/// The longest that a server's answer may take.
const SERVER_DEADLINE: Duration = Duration::from_secs(5);
