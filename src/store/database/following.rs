//! The list of changes is followed: every change, this process's own and those of others, comes to the memory in the order in which they
//! were committed, and only then its asker hears of it.
//!
//! What is read counts as long as the lease (`lease`), and not behind the end of a connection: whoever is cut off refuses, therefore. A change
//! that takes something back is answered when every daemon has seen it (`settling`).
//!
//! Must not know: what is remembered of a change.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::super::edit::Table;
use super::super::error::StoreError;
use super::super::follow::Maker;
use super::super::health::Health;
use super::super::heed::Concern;
use super::super::memory::{Memory, SECRET_ROW};
use super::super::rows::{Changed, Rows};
use super::super::tables::Tables;
use super::applied::AppliedFile;
use super::belief::Believed;
use super::connect::{Heard, Session, Unanswered, wait};
use super::connections::Connections;
use super::followed::{Followed, PATIENCE};
use super::line::Line;
use super::numbers::Place;
use super::rows::Seen;
use super::settling::{Asked, Settling, Worth};
use crate::system::clock::since_boot;

/// The thread that follows.
pub(super) struct Follower {
    pub(super) connections: Arc<Connections>,
    pub(super) followed: Arc<Followed>,
    pub(super) memory: Arc<Memory>,
    pub(super) tables: Tables,
    pub(super) health: Arc<Health>,
    pub(super) believed: Arc<Believed>,
    pub(super) heard: Receiver<Heard>,
    pub(super) applied: AppliedFile,
    pub(super) tended: Option<Instant>,
    pub(super) settling: Settling,
}

impl Follower {
    /// Until it is told to stop, or the history of the database has gone back.
    pub(super) fn run(mut self) {
        let mut was_away = false;
        loop {
            let mut heard = self.heard.recv_timeout(self.rest());
            // One look is enough for all that was heard by now.
            while heard == Ok(Heard::Change)
                && let Ok(later) = self.heard.try_recv()
            {
                heard = Ok(later);
            }
            match heard {
                Ok(Heard::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Heard::Lost { era }) => {
                    if self.connections.end(era) {
                        self.believed.doubt(CUT);
                        tracing::warn!("{CUT}");
                        was_away = true;
                    } else if !self.connections.are_there() {
                        // One that came to nothing: the next try has its time.
                        continue;
                    }
                }
                Ok(Heard::Change) | Err(RecvTimeoutError::Timeout) => {}
            }
            match self.go_on() {
                Ok(()) if was_away => {
                    was_away = false;
                    tracing::info!("the database is back");
                }
                Ok(()) => {}
                Err(StoreError::Away { problem } | StoreError::Database { problem, .. }) => {
                    self.believed.doubt(&problem);
                    self.settling.look_when_back();
                    if !was_away {
                        tracing::error!(%problem, "the database cannot be asked: nobody logs in until it can");
                    }
                    was_away = true;
                }
                Err(error) => {
                    self.health.fail(&error);
                    break;
                }
            }
            self.give_up(Instant::now());
            self.settling.give_up_late(since_boot());
        }
        self.finish();
    }

    /// Whoever still waits is told, if that is possible.
    fn finish(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.is_anybody_waiting() && Instant::now() < until {
            if self.look().is_err() {
                break;
            }
            let _ = self.heard.recv_timeout(self.rest().min(FINISHED_EVERY));
        }
        self.settling.give_up();
        self.applied.write(self.followed.place());
        self.give_up(until + PATIENCE);
    }

    fn is_anybody_waiting(&self) -> bool {
        self.followed.is_anything_expected() || self.settling.is_anybody_waiting()
    }

    /// How long nothing has to be looked at, unless something is heard.
    fn rest(&self) -> Duration {
        let rest = self.settling.rest();
        rest.map_or(LOOK_EVERY, |rest| rest.min(LOOK_EVERY))
    }

    /// Whoever has waited too long hears that its change may be made or not.
    fn give_up(&self, now: Instant) {
        for expected in self.followed.overdue(now) {
            for acknowledge in expected.waiting {
                acknowledge(Err(StoreError::OutcomeUnknown {
                    problem: "it was not heard of in the database's list of changes".to_owned(),
                }));
            }
        }
        for acknowledge in self.followed.overdue_idle(now) {
            acknowledge(Err(StoreError::Away {
                problem: "what it has committed last was not heard of here".to_owned(),
            }));
        }
    }

    fn go_on(&mut self) -> Result<(), StoreError> {
        if !self.connections.are_there() {
            let sessions = self.connections.open()?;
            self.settling.goes_on(sessions.new_timeline.clone());
            // Nobody else may ask before all is heard that was missed. And who can't hear must not renew its lease: it would be waited for.
            self.look_on(&sessions.following)?;
            self.renew_and_look(&sessions.following)?;
            self.connections.set(sessions);
        }
        self.look()
    }

    pub(super) fn look(&mut self) -> Result<(), StoreError> {
        let sessions = self.connections.now()?;
        let session = &sessions.following;
        let looked = self.renew_and_look(session);
        if looked.is_err() {
            let _ = self.connections.end(session.era);
            return looked;
        }
        let is_time = |last: Instant| last.elapsed() >= TENDED_EVERY;
        if self.tended.is_none_or(is_time) {
            // While lines are left that should go, soon again.
            let is_rest = trim(session);
            self.tended = (!is_rest).then(Instant::now);
            self.look_at_sizes(session);
            self.settling.forget_silent(session);
        }
        Ok(())
    }

    /// Behind the renewal everything is looked at that was committed before it.
    fn renew_and_look(&mut self, session: &Arc<Session>) -> Result<(), StoreError> {
        let renewed = self.settling.renewing.renew(session);
        renewed.map_err(|error| error.away())?;
        self.look_on(session)?;
        self.believed.until(self.settling.renewing.counts_until());
        let here = self.followed.place().seq;
        let idle = self.followed.take_idle();
        let settled = self.settling.settle(session, here, idle);
        settled.map_err(|error| error.away())
    }

    /// Applies whatever is new.
    fn look_on(&mut self, session: &Arc<Session>) -> Result<(), StoreError> {
        loop {
            let here = self.followed.place();
            let rows = wait(
                session
                    .client()
                    .query(&session.statements.changes, &[&here.seq]),
            );
            let rows = rows.map_err(|error| error.away())?;
            let count = rows.len();
            let mut at = None;
            for row in rows {
                let (place, line) = line_of(&row).map_err(|error| error.away())?;
                match at {
                    None if place == here => {}
                    Some(seq) if place.seq == seq + 1 => self.apply(session, place, line)?,
                    None | Some(_) => return Err(self.went_back(here, place)),
                }
                at = Some(place.seq);
            }
            if at.is_none() {
                return Err(self.lost_place(here));
            }
            if count < LINES_AT_A_TIME {
                self.applied.note(self.followed.place());
                return Ok(());
            }
        }
    }

    fn apply(
        &mut self,
        session: &Arc<Session>,
        place: Place,
        line: Line,
    ) -> Result<(), StoreError> {
        let secret = || {
            let seen = Seen::of_moment(session, &self.followed, &self.health);
            let secret = seen.row(Table::Meta, SECRET_ROW)?;
            Ok::<_, StoreError>(secret.map(|secret| secret.to_vec()))
        };
        let changes = line.changes(secret)?;
        let changes = changes.ok_or_else(|| {
            self.connections.refused(format!(
                "change {} is written in a way that this saslcertd does not know",
                place.seq
            ))
        })?;
        // What nobody here has asked for concerns them as well.
        let (concerns, asked, maker) = match self.followed.forget(&place.name) {
            Some(own) => {
                let asked = Asked {
                    waiting: own.waiting,
                    worth: Worth::AsAnswered(own.commit),
                };
                (own.concerns, asked, Maker::Here)
            }
            None => (
                self.concerns(&changes)?,
                Asked::by_another(),
                Maker::Another,
            ),
        };
        // Whoever reads behind the closing names this place.
        let applied = || self.followed.applied(place);
        self.memory
            .applied_and(&changes, &concerns, maker, &applied);
        // A certificate that went out of its list lets nobody in any more, either.
        let is_out = |one: &Changed| one.table == Table::Known && one.after.is_none();
        let takes_back = concerns.iter().any(Concern::takes_back) || changes.iter().any(is_out);
        if takes_back {
            // Before anybody hears that it is seen here.
            self.applied.write(place);
        }
        self.settling.applied(place.seq, takes_back, asked);
        Ok(())
    }

    fn concerns(&self, changes: &[Changed]) -> Result<Vec<Concern>, StoreError> {
        let concern = Concern::of(&self.tables, changes, None)?;
        Ok(concern.into_iter().collect())
    }

    fn went_back(&self, here: Place, found: Place) -> StoreError {
        let problem = if found.seq > here.seq && found.seq != here.seq + 1 {
            format!(
                "it has come to change {} while it was not heard of, and change {} is not in its list any more",
                found.seq, here.seq
            )
        } else {
            format!("change {} is another one there", found.seq)
        };
        self.connections.went_back(here.seq, problem)
    }

    fn lost_place(&self, here: Place) -> StoreError {
        self.connections
            .went_back(here.seq, format!("it has no change {} any more", here.seq))
    }

    /// How much there is. It does not matter when that fails.
    fn look_at_sizes(&self, session: &Session) {
        if let Ok(row) = wait(session.client().query_one(SIZES, &[])) {
            let sizes = (row.try_get::<_, i64>(0), row.try_get::<_, i64>(1));
            if let (Ok(rows), Ok(bytes)) = sizes {
                self.connections.sizes.set(rows, bytes);
            }
        }
    }
}

/// Old lines go, some at a time: the lease has to be renewed meanwhile. Are there more? It does not matter when that fails.
fn trim(session: &Session) -> bool {
    let trimmed = wait(session.client().execute(TRIM, &[&TRIMMED_AT_A_TIME]));
    // Some of those that were looked at may stay, or may have gone before.
    trimmed.is_ok_and(|gone| gone >= TRIMMED_AT_A_TIME.unsigned_abs() / 2)
}

/// A line, and its place.
fn line_of(row: &tokio_postgres::Row) -> Result<(Place, Line), Unanswered> {
    let place = Place::of(row)?;
    let line = Line {
        tables: row.try_get(2)?,
        keys: row.try_get(3)?,
        before: row.try_get(4)?,
        after: row.try_get(5)?,
    };
    Ok((place, line))
}

const CUT: &str =
    "a connection to the database has ended: nothing is answered until there are new ones";

const LINES_AT_A_TIME: usize = 256;

/// Whoever was away for longer starts anew. The last line stays, however old it is. Only the first lines are looked at.
const TRIM: &str = "
DELETE FROM saslcertd.changes
 WHERE seq < (SELECT min(seq) FROM saslcertd.changes) + $1
   AND at < now() - interval '1 day' AND seq < (SELECT seq FROM saslcertd.head) - 1000";
const TRIMMED_AT_A_TIME: i64 = 10_000;

const SIZES: &str = "
SELECT greatest(reltuples, 0)::bigint, pg_total_relation_size(oid) FROM pg_class WHERE oid = 'saslcertd.rows'::regclass";

/// A notice may be lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const FINISHED_EVERY: Duration = Duration::from_millis(20);
const TENDED_EVERY: Duration = Duration::from_mins(5);
