//! This process's lease: a row of its own, which it renews every second. Without one nobody is let in (docs/decisions/0014-several-machines.md).
//!
//! Behind a renewal the list of changes is looked at, and only then it counts: from the moment before it was sent, for a fifth less than it
//! lasts. The row also says which change this process has seen: its servers have all lines about it, of the kernel.
//!
//! Must not know: what is changed, who waits for it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, PoisonError};
use std::thread;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::error::StoreError;
use super::super::heed::Heed;
use super::connect::{Committed, Session, Unanswered, blocking, wait};
use super::connections::Connections;
use super::leases::{COUNTS_FOR, Lease, Process};
use super::numbers::change_name;
use crate::system::clock::since_boot;
use crate::system::lock::Lock;

/// The row of this process, as whoever has its name shares it.
pub(super) struct OwnLease {
    process: Process,
    machine: String,
    /// The change up to which everything is seen, and told.
    told: AtomicI64,
    /// The longest that an asker of this process waits for its answer, in milliseconds.
    patience_ms: AtomicU64,
    /// What of it stands in the row, and a change of it.
    written: Lock<Duration>,
    is_written: Condvar,
}

impl OwnLease {
    /// Errors: no random name.
    pub(super) fn new(seen: i64) -> Result<Self, StoreError> {
        Ok(Self {
            process: change_name()?,
            machine: machine(),
            told: AtomicI64::new(seen),
            patience_ms: AtomicU64::new(milliseconds(USUAL_PATIENCE)),
            written: Lock::new(Duration::ZERO),
            is_written: Condvar::new(),
        })
    }

    /// The name of its machine.
    pub(super) fn machine(&self) -> &str {
        &self.machine
    }

    /// The longest that an asker of this process waits.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms.load(Ordering::Acquire))
    }

    /// There may be an asker who waits so long; was there none before?
    pub(super) fn raise_patience(&self, patience: Duration) -> bool {
        let patience = milliseconds(patience);
        self.patience_ms.fetch_max(patience, Ordering::AcqRel) < patience
    }

    /// Waits until the row says that an asker may wait so long. Blocks.
    ///
    /// Errors: it does not say so in time.
    pub(super) fn wait_until_written(&self, patience: Duration) -> Result<(), StoreError> {
        let is_missing = |written: &mut Duration| *written < patience;
        if !is_missing(&mut self.written.lock()) {
            return Ok(());
        }
        let is_written = blocking(|| {
            let written = self.written.lock();
            let waited = self
                .is_written
                .wait_timeout_while(written, WRITTEN_WITHIN, is_missing);
            let (mut written, _) = waited.unwrap_or_else(PoisonError::into_inner);
            !is_missing(&mut written)
        });
        if is_written {
            return Ok(());
        }
        Err(StoreError::Away {
            problem: "how long its askers wait could not be written there".to_owned(),
        })
    }

    /// Nothing up to this change has to be told to anybody any more.
    pub(super) fn has_told(&self, seq: i64) {
        self.told.fetch_max(seq, Ordering::AcqRel);
    }

    pub(super) fn told(&self) -> i64 {
        self.told.load(Ordering::Acquire)
    }

    /// Writes that everything is seen that is told.
    fn write_seen(&self, session: &Session) -> Result<(), Unanswered> {
        let process = &self.process[..];
        wait(session.client().query(SEEN, &[&process, &self.told()])).map(drop)
    }

    /// Rows of the other processes.
    pub(super) fn others(&self, session: &Session) -> Result<Vec<Lease>, Unanswered> {
        let rows = wait(session.client().query(OTHERS, &[&&self.process[..]]))?;
        let others = rows.iter().map(lease).collect::<Result<_, _>>();
        others.map_err(Unanswered::Said)
    }
}

/// A row that is renewed again and again.
pub(super) struct Renewing {
    own: Arc<OwnLease>,
    renewal: i64,
    /// The last renewal that is committed for good, and everything before it.
    firm: i64,
    is_wanted: bool,
    /// When that was sent.
    sent: Option<Duration>,
}

impl Renewing {
    pub(super) const fn of(own: Arc<OwnLease>) -> Self {
        Self {
            own,
            renewal: 0,
            firm: 0,
            is_wanted: false,
            sent: None,
        }
    }

    /// Renews it, if it is time. What was committed before the renewal is found by whoever looks behind it.
    pub(super) fn renew(&mut self, session: &Session) -> Result<(), Unanswered> {
        let patience = self.own.patience();
        let is_due = |sent: Duration| since_boot().saturating_sub(sent) >= RENEWED_EVERY;
        let is_due = self.is_wanted || self.sent.is_none_or(is_due);
        if !is_due && *self.own.written.lock() >= patience {
            return Ok(());
        }
        self.is_wanted = false;
        let sent = since_boot();
        self.renewal += 1;
        let process = &self.own.process[..];
        // A bound of the protocol's: it is far below.
        let patience_ms = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
        let told = self.own.told();
        let machine = &self.own.machine;
        let pid = i64::from(std::process::id());
        let values: [&(dyn ToSql + Sync); 6] =
            [&process, &self.renewal, &told, &patience_ms, machine, &pid];
        let committed = session.commit(|client| wait(client.execute(RENEW, &values)))?;
        if committed == Committed::Doubtful {
            // A deposed server could go on with such renewals, and its daemons with it.
            return Ok(());
        }
        self.firm = self.renewal;
        self.sent = Some(sent);
        *self.own.written.lock() = patience;
        self.own.is_written.notify_all();
        Ok(())
    }

    /// The number of the renewal that comes next: what is committed by now is firm when that is.
    pub(super) const fn next(&self) -> i64 {
        self.renewal + 1
    }

    /// Is everything firm that was committed before this renewal?
    pub(super) const fn is_firm(&self, renewal: i64) -> bool {
        self.firm >= renewal
    }

    /// Somebody waits for this renewal: it is not put off. `true`: it is yet to be tried.
    pub(super) const fn want(&mut self, renewal: i64) -> bool {
        let is_next = self.renewal < renewal;
        self.is_wanted |= is_next;
        is_next
    }

    /// Until when it counts, once all changes are applied that were committed before the last renewal.
    pub(super) fn counts_until(&self) -> Duration {
        self.sent.map_or(Duration::ZERO, |sent| sent + COUNTS_FOR)
    }
}

/// A thread that writes which change is seen, when the servers have been told.
pub(super) struct Telling(Sender<i64>);

impl Telling {
    /// Errors: no thread.
    pub(super) fn start(
        own: Arc<OwnLease>,
        heed: Arc<dyn Heed>,
        connections: Arc<Connections>,
    ) -> Result<Self, StoreError> {
        let (applied, hears) = mpsc::channel();
        let place = connections.place();
        thread::Builder::new()
            .name("telling".to_owned())
            .spawn(move || tell(&own, &*heed, &connections, &hears))
            .map_err(|source| StoreError::File {
                action: "cannot start a thread for",
                path: place,
                source,
            })?;
        Ok(Self(applied))
    }

    /// A thread that has ended.
    #[cfg(test)]
    pub(super) fn ended() -> Self {
        Self(mpsc::channel().0)
    }

    /// Everything up to this change is applied, and the lines about it are queued.
    pub(super) fn applied(&self, seq: i64) {
        // The thread ends with this.
        let _ = self.0.send(seq);
    }
}

fn tell(own: &OwnLease, heed: &dyn Heed, connections: &Connections, hears: &Receiver<i64>) {
    while let Ok(mut seq) = hears.recv() {
        while let Ok(later) = hears.try_recv() {
            seq = later;
        }
        // Of a server that does not read, all yeses are late by then.
        heed.wait_until_told(own.patience());
        own.has_told(seq);
        // The next renewal says it, too.
        if let Ok(sessions) = connections.now() {
            let _ = own.write_seen(&sessions.reading());
        }
    }
}

fn lease(row: &Row) -> Result<Lease, tokio_postgres::Error> {
    let process: Vec<u8> = row.try_get(0)?;
    let patience: i64 = row.try_get(3)?;
    let pid: i64 = row.try_get(5)?;
    Ok(Lease {
        // One of another length is nobody's: it is never renewed.
        process: process.try_into().unwrap_or_default(),
        renewal: row.try_get(1)?,
        seen: row.try_get(2)?,
        patience: Duration::from_millis(patience.unsigned_abs()),
        machine: row.try_get(4)?,
        pid: u32::try_from(pid).unwrap_or_default(),
    })
}

/// The name of this machine, for people to read.
fn machine() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

fn milliseconds(duration: Duration) -> u64 {
    // Some 500 million years.
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const RENEW: &str = "
INSERT INTO saslcertd.leases (process, renewal, seen, patience_ms, machine, pid) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (process) DO UPDATE
   SET renewal = excluded.renewal, seen = greatest(leases.seen, excluded.seen), patience_ms = greatest(leases.patience_ms, excluded.patience_ms)";

/// Whoever waits for it hears that there is something new.
const SEEN: &str = "
WITH seen AS (UPDATE saslcertd.leases SET seen = greatest(seen, $2) WHERE process = $1)
SELECT pg_notify('saslcertd', '')";

const OTHERS: &str = "SELECT process, renewal, seen, patience_ms, machine, pid FROM saslcertd.leases WHERE process <> $1";

/// Takes a row out that nobody has renewed for long, unless somebody has just done so.
pub(super) const FORGET: &str = "DELETE FROM saslcertd.leases WHERE process = $1 AND renewal = $2";

/// Two in a row may be lost.
const RENEWED_EVERY: Duration = Duration::from_secs(1);
/// `saslcertd_timeout`, where nobody has set it.
const USUAL_PATIENCE: Duration = Duration::from_secs(2);
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
