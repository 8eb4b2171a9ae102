//! A store in a database is opened.
//!
//! Must not know: what is asked of the store once it is open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Sender};
use std::thread;

use super::super::counts::Counts;
use super::super::edit::Table;
use super::super::error::{OnFailure, StoreError};
use super::super::follow::Listeners;
use super::super::health::Health;
use super::super::memory::{Memory, SECRET_ROW};
use super::super::queue::Queue;
use super::super::tables::Tables;
use super::super::wholeness::{Found, OnLoss};
use super::Database;
use super::applied::AppliedFile;
use super::belief::Believed;
use super::connect::{Connector, Heard, Session, Unanswered, wait};
use super::connections::Connections;
use super::followed::Followed;
use super::following::Follower;
use super::lease::{OwnLease, Telling};
use super::numbers::Place;
use super::place::Place as Where;
use super::rows::Seen;
use super::settling::Settling;
use super::writing::DatabaseWriter;
use crate::system::lock::Lock;

/// A database that is open, and what reads in it.
pub(in crate::store) struct Opened {
    pub(in crate::store) database: Database,
    pub(in crate::store) tables: Tables,
    pub(in crate::store) memory: Arc<Memory>,
    pub(in crate::store) found: Found,
}

/// Opens the store in a database; `folder` is this daemon's own, which says over a restart how far it had come.
///
/// Errors: it can't be reached, has no store, or one of another version; it has gone back to an older
/// state unless `on_loss` accepts that.
pub(in crate::store) fn open(
    place: Where,
    folder: &Path,
    on_loss: OnLoss,
    listeners: Listeners,
    on_failure: OnFailure,
) -> Result<Opened, StoreError> {
    let (says, hearing) = mpsc::channel();
    let connections = Arc::new(Connections::of(Connector::of(place)?, says.clone()));
    let sessions = connections.open()?;
    let applied = AppliedFile::of(folder);
    if let (Some(before), OnLoss::Refuse) = (applied.before(), on_loss) {
        require_not_older(&connections, &sessions.following, before, applied.path())?;
    }
    let believed = Believed::at_opening();
    let health = Arc::new(Health::of(believed.belief(), on_failure));
    // A row of it is written with the one that it follows from, or not at all.
    health.set_known_proven(true);
    let (followed, memory) = {
        let reading = Reading {
            connections: &connections,
            session: &sessions.following,
            health: &health,
            believed: &believed,
        };
        reading.memory(says.clone(), listeners)?
    };
    let new_timeline = sessions.new_timeline.clone();
    connections.set(sessions);
    let (readers, reached) = (Arc::clone(&connections), Arc::clone(&followed));
    let seen = Seen {
        on: Box::new(move || Ok((readers.now()?.reading(), reached.place()))),
        followed: Arc::clone(&followed),
        health: Arc::clone(&health),
    };
    let tables = Tables::of(Arc::new(seen), Arc::clone(&health));
    let own = Arc::new(OwnLease::new(followed.place().seq)?);
    let leases = Arc::default();
    let heed = Arc::clone(&memory.listeners.heed);
    let telling = Telling::start(Arc::clone(&own), heed, Arc::clone(&connections))?;
    let mut following = Follower {
        connections: Arc::clone(&connections),
        followed: Arc::clone(&followed),
        memory: Arc::clone(&memory),
        tables: tables.clone(),
        health: Arc::clone(&health),
        believed,
        heard: hearing,
        applied,
        tended: None,
        settling: Settling::of(Arc::clone(&own), Arc::clone(&leases), telling),
    };
    following.settling.goes_on(new_timeline);
    // From the first answer on there is something to be believed.
    following.look()?;
    let thread = thread::Builder::new()
        .name("follower".to_owned())
        .spawn(move || following.run())
        .map_err(|source| StoreError::File {
            action: "cannot start the thread that follows",
            path: connections.place(),
            source,
        })?;
    let queue = Queue::start(DatabaseWriter::of(
        Arc::clone(&connections),
        Arc::clone(&followed),
        Arc::clone(&memory),
        &health,
    ));
    let database = Database {
        connections,
        followed,
        lease: own,
        leases,
        queue: queue?,
        heard: Lock::new(says),
        thread: Lock::new(Some(thread)),
        is_stopped: AtomicBool::new(false),
    };
    Ok(Opened {
        database,
        tables,
        memory,
        found: Found::default(),
    })
}

/// What the memory of a new process is read by.
struct Reading<'a> {
    connections: &'a Connections,
    session: &'a Arc<Session>,
    health: &'a Arc<Health>,
    believed: &'a Arc<Believed>,
}

impl Reading<'_> {
    /// All of one moment: what is remembered, and the place in the list from which it goes on.
    fn memory(
        &self,
        says: Sender<Heard>,
        listeners: Listeners,
    ) -> Result<(Arc<Followed>, Arc<Memory>), StoreError> {
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let asked = "SELECT seq, name FROM saslcertd.head";
        let asked = wait(self.session.client().query_one(asked, &[]));
        let place = asked.and_then(|row| Ok(Place::of(&row)?));
        let place = place.map_err(|error| error.away())?;
        let followed = Arc::new(Followed::from(place, Arc::clone(self.believed), says));
        let moment = Seen::of_moment(self.session, &followed, self.health);
        let moment = Tables::of(Arc::new(moment), Arc::clone(self.health));
        let secret = moment.read(Table::Meta, SECRET_ROW)?;
        let secret = secret.and_then(|secret| secret.first_chunk::<32>().copied());
        let secret = secret.ok_or_else(|| {
            let problem = "its secret is missing: restore it from a backup";
            self.connections.refused(problem.to_owned())
        })?;
        let memory = Memory::of_all(&moment, Counts::read(&moment)?, secret, listeners)?;
        self.run("COMMIT")?;
        Ok((followed, Arc::new(memory)))
    }

    fn run(&self, text: &str) -> Result<(), StoreError> {
        let run = wait(self.session.client().batch_execute(text));
        run.map_err(|error| self.connections.refused(error.problem()))
    }
}

/// Errors: the last change that was applied here is not there.
fn require_not_older(
    connections: &Connections,
    session: &Session,
    before: Place,
    file: &Path,
) -> Result<(), StoreError> {
    let Place { seq, name } = before;
    let asked = wait(session.client().query_one(HAS, &[&seq, &&name[..]]));
    let asked = asked.and_then(|row| row.try_get(0).map_err(Unanswered::Said));
    let has: bool = asked.map_err(|error| error.away())?;
    if has {
        return Ok(());
    }
    Err(connections.went_back(
        seq,
        format!(
            "it has not got that change (noted in {}), or is another database",
            file.display()
        ),
    ))
}

/// The very change; or it is older than all that stand in the list, which comes further.
const HAS: &str = "
SELECT EXISTS (SELECT FROM saslcertd.changes WHERE seq = $1 AND name = $2)
    OR $1 < (SELECT min(seq) FROM saslcertd.changes)";
