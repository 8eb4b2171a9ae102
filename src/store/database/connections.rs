//! The connections of an open store: they come and go together. When one of them has ended, all are made anew, and who follows the list of
//! changes hears what was missed before anybody reads on them.
//!
//! Must not know: what is asked on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use tokio_postgres::Client;

use super::super::error::StoreError;
use super::connect::{Connector, Heard, Session, Unanswered, refused, wait};
use super::schema;
use crate::system::lock::{Lock, SharedLock};

/// The connections, if there are some.
pub(super) struct Connections {
    connector: Connector,
    now: SharedLock<Option<Arc<Sessions>>>,
    eras: AtomicU64,
    heard: Lock<Sender<Heard>>,
    pub(super) sizes: Sizes,
}

/// Those of one era.
pub(super) struct Sessions {
    reading: [Arc<Session>; READERS],
    next: AtomicUsize,
    pub(super) writing: Arc<Session>,
    pub(super) following: Arc<Session>,
    /// Where the database's history goes on since a failover, until somebody has noted that nothing of before it matters any more.
    pub(super) new_timeline: Option<String>,
}

/// How much there is, as PostgreSQL has counted last.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    rows: AtomicI64,
    bytes: AtomicI64,
}

impl Connections {
    pub(super) fn of(connector: Connector, heard: Sender<Heard>) -> Self {
        Self {
            connector,
            now: SharedLock::new(None),
            eras: AtomicU64::new(0),
            heard: Lock::new(heard),
            sizes: Sizes::default(),
        }
    }

    /// Errors: there are none for now.
    pub(super) fn now(&self) -> Result<Arc<Sessions>, StoreError> {
        let now = self.now.read().clone();
        now.ok_or_else(|| StoreError::Away {
            problem: "there is no connection to it".to_owned(),
        })
    }

    pub(super) fn are_there(&self) -> bool {
        self.now.read().is_some()
    }

    pub(super) fn set(&self, sessions: Sessions) {
        *self.now.write() = Some(Arc::new(sessions));
    }

    /// Those of this era are of no use any more; were they still in use?
    pub(super) fn end(&self, era: u64) -> bool {
        let mut now = self.now.write();
        let is_now = now.as_ref().is_some_and(|now| now.following.era == era);
        if is_now {
            *now = None;
        }
        is_now
    }

    /// New ones.
    ///
    /// Errors: the server can't be reached, or the store in it can't be served.
    pub(super) fn open(&self) -> Result<Sessions, StoreError> {
        let era = self.eras.fetch_add(1, Ordering::Relaxed) + 1;
        let heard = self.heard.lock().clone();
        let reached = self.connector.reach(Some((heard.clone(), era)))?;
        schema::require(&reached.client, &self.connector)?;
        let new_timeline = self.new_timeline(&reached.client)?;
        let listening = wait(reached.client.batch_execute("LISTEN saslcertd"));
        listening.map_err(|error| self.connector.unreachable(&error))?;
        let following = Arc::new(self.connector.prepared(reached, era)?);
        let session = || {
            let reached = self.connector.reach(Some((heard.clone(), era)))?;
            Ok::<_, StoreError>(Arc::new(self.connector.prepared(reached, era)?))
        };
        Ok(Sessions {
            reading: [session()?, session()?],
            next: AtomicUsize::new(0),
            writing: session()?,
            following,
            new_timeline,
        })
    }

    /// Errors: the server takes no changes.
    fn new_timeline(&self, client: &Client) -> Result<Option<String>, StoreError> {
        let row = wait(client.query_one(TIMELINES, &[]));
        let row = row.map_err(|error| self.connector.unreachable(&error))?;
        let read = row.try_get(0).and_then(|now| Ok((now, row.try_get(1)?)));
        let (now, noted): (Option<String>, String) =
            read.map_err(|error| Unanswered::Said(error).away())?;
        let now = now.ok_or_else(|| StoreError::Away {
            problem: "this server is a standby, which takes no changes".to_owned(),
        })?;
        Ok((now != noted).then_some(now))
    }

    /// One that nobody else asks on, and that the others do not end with.
    pub(super) fn another(&self) -> Result<Arc<Session>, StoreError> {
        let reached = self.connector.reach(None)?;
        Ok(Arc::new(self.connector.prepared(reached, 0)?))
    }

    /// The admin's: the database is not as it has to be.
    pub(super) fn refused(&self, problem: String) -> StoreError {
        refused(self.connector.place(), problem)
    }

    /// What was applied here is not there any more.
    pub(super) fn went_back(&self, seq: i64, problem: String) -> StoreError {
        StoreError::DatabaseWentBack {
            place: self.connector.place().to_string(),
            seq,
            problem,
        }
    }

    /// The database, in words.
    pub(super) fn place(&self) -> String {
        self.connector.place().to_string()
    }
}

impl Sessions {
    /// One of those for reading, in turn.
    pub(super) fn reading(&self) -> Arc<Session> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % READERS;
        let [first, second] = &self.reading;
        Arc::clone(if next == 0 { first } else { second })
    }
}

impl Sizes {
    pub(super) fn set(&self, rows: i64, bytes: i64) {
        self.rows.store(rows, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// About so many.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed).unsigned_abs()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed).unsigned_abs()
    }
}

/// That on which the server writes, and that which is noted. A failover begins a new one.
const TIMELINES: &str = "
SELECT CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END, timeline FROM saslcertd.head";

/// Questions on one connection are answered one after the other.
const READERS: usize = 2;
