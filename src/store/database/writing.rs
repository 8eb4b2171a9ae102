//! Jobs become transactions: the locks of what they are about, the decisions, the rows that follow, the next number, the commit.
//!
//! Locks are taken in one order by everybody: the claims, in the order of their numbers, and then `head`. Who has locked `head` is alone:
//! nobody commits before it has ended, and its own memory has heard of all that is committed. So what follows from a change (counts, the
//! looks of decoys) is worked out there, from memory, as it is where one process writes alone. What the jobs are about is read behind the locks, in one question for
//! all of them: nobody changes it before the transaction has ended.
//!
//! Must not know: what a job decides, which rows there are.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_postgres::error::SqlState;

use super::super::ahead::ranges_of;
use super::super::edit::Row;
use super::super::error::StoreError;
use super::super::health::Health;
use super::super::heed::{Concern, Hear};
use super::super::job::{About, Acknowledge, Claim, Silent};
use super::super::memory::Memory;
use super::super::queue::{Waiting, Writer};
use super::super::rows::{Bytes, Changed, last_of_each, require_short};
use super::super::tables::Tables;
use super::connect::{Committed, Session, Unanswered, wait};
use super::connections::Connections;
use super::followed::{Expected, Followed};
use super::line::Line;
use super::numbers::{Name, Place, change_name};
use super::rows::{On, Seen};
use super::statements::SEQ;
use crate::system::lock::Lock;

/// The writer of a database.
pub(super) struct DatabaseWriter {
    connections: Arc<Connections>,
    /// The connection of the transaction that is open, on which decisions read.
    open: Arc<Lock<Option<On>>>,
    tables: Tables,
    followed: Arc<Followed>,
    memory: Arc<Memory>,
}

/// What a job writes, and for whom.
struct Asked {
    rows: Vec<Row>,
    acknowledge: Acknowledge,
    asker: Option<Arc<dyn Hear>>,
}

/// What a transaction writes, and for whom.
#[derive(Default)]
struct Written {
    changes: Vec<Changed>,
    concerns: Vec<Concern>,
    waiting: Vec<Acknowledge>,
}

impl DatabaseWriter {
    pub(super) fn of(
        connections: Arc<Connections>,
        followed: Arc<Followed>,
        memory: Arc<Memory>,
        health: &Arc<Health>,
    ) -> Self {
        let open: Arc<Lock<Option<On>>> = Arc::default();
        let on = Arc::clone(&open);
        let seen = Seen {
            on: Box::new(move || {
                let open = on.lock().clone();
                open.ok_or_else(|| StoreError::Away {
                    problem: "no transaction could be begun".to_owned(),
                })
            }),
            followed: Arc::clone(&followed),
            health: Arc::clone(health),
        };
        Self {
            connections,
            open,
            tables: Tables::of(Arc::new(seen), Arc::clone(health)),
            followed,
            memory,
        }
    }
}

impl Writer for DatabaseWriter {
    fn write(&mut self, group: Vec<Waiting>) {
        let open = self.begin(&group);
        *self.open.lock() = open.as_ref().ok().cloned();
        // Without it each reads by itself, and finds out why.
        let ahead = self.tables.ahead(&ranges_of(claims_of(&group)));
        let tables = ahead.unwrap_or_else(|_| self.tables.clone());
        let (mut asked, mut idle) = (Vec::new(), Vec::new());
        for Waiting { job, is_probe } in group {
            let is_snapshot = matches!(job.about, About::Nothing);
            let Some((rows, acknowledge)) = (job.plan)(&tables) else {
                continue;
            };
            let planned = match &open {
                Ok(_) => require_short(&rows),
                Err(error) => Err(again(error)),
            };
            match planned {
                Err(error) => acknowledge(Err(error)),
                Ok(()) if !rows.is_empty() || is_probe => asked.push(Asked {
                    rows: last_of_each(rows),
                    acknowledge,
                    asker: job.asker,
                }),
                Ok(()) if is_snapshot => acknowledge(Ok(Silent::new())),
                Ok(()) => idle.push(acknowledge),
            }
        }
        if let Ok((session, _)) = open {
            if !idle.is_empty() {
                self.acknowledge_idle(&session, idle);
            }
            let planned = self.written_by(&session, &tables, asked);
            self.finish(&session, &tables, planned);
        }
        *self.open.lock() = None;
    }

    fn end(&mut self) {}
}

impl DatabaseWriter {
    /// A transaction that has locked what the jobs are about.
    fn begin(&self, group: &[Waiting]) -> Result<On, StoreError> {
        self.tables.require_sound()?;
        let place = self.followed.place();
        let session = Arc::clone(&self.connections.now()?.writing);
        let begin = begin(group);
        match wait(session.client().batch_execute(&begin)) {
            Ok(()) => Ok((session, place)),
            Err(error) => {
                let error = self.failed(&session, &error);
                self.roll_back(&session);
                Err(error)
            }
        }
    }

    /// Nothing had to be written: what is wanted may be so by a change that is not seen by all yet. Then this is answered when that is.
    fn acknowledge_idle(&self, session: &Session, waiting: Vec<Acknowledge>) {
        let seq = wait(session.client().query_one(SEQ, &[]));
        let seq = seq.and_then(|row| row.try_get(0).map_err(Unanswered::Said));
        match seq {
            Ok(seq) => self.followed.after(seq, waiting),
            Err(error) => tell(waiting, &Err(self.failed(session, &error))),
        }
    }

    /// The changes that the rows of these jobs make, and what of them concerns who has logged in before. Whose rows can't be read is told.
    fn written_by(&self, session: &Session, tables: &Tables, asked: Vec<Asked>) -> Written {
        let mut written = Written::default();
        let rows: Vec<&Row> = asked.iter().flat_map(|one| &one.rows).collect();
        let mut before = match before(session, &rows) {
            Ok(before) => before.into_iter(),
            Err(error) => {
                let outcome = Err(self.failed(session, &error));
                tell(asked.into_iter().map(|one| one.acknowledge), &outcome);
                return written;
            }
        };
        for one in asked {
            let changed = changed_of(one.rows, before.by_ref());
            match Concern::of(tables, &changed, one.asker) {
                Ok(concern) => {
                    written.changes.extend(changed);
                    written.concerns.extend(concern);
                    written.waiting.push(one.acknowledge);
                }
                Err(error) => (one.acknowledge)(Err(error)),
            }
        }
        written
    }

    /// Writes what was planned, or ends the transaction without it; whoever waits is told, now or when the change is applied here.
    fn finish(&self, session: &Session, tables: &Tables, planned: Written) {
        let Written {
            changes,
            concerns,
            waiting,
        } = planned;
        if waiting.is_empty() {
            return self.roll_back(session);
        }
        if changes.is_empty() {
            let probed = wait(session.client().batch_execute(PROBE));
            let probed = probed.map_err(|error| self.failed(session, &error));
            if probed.is_err() {
                self.roll_back(session);
            }
            tell(waiting, &probed);
            return;
        }
        let written = change_name().and_then(|name| {
            self.write_rows(session, tables, changes, name)?;
            Ok(name)
        });
        let name = match written {
            Ok(name) => name,
            Err(error) => {
                self.roll_back(session);
                tell(waiting, &Err(error));
                return;
            }
        };
        // It may be heard of in the list before the answer is here, and also if that never comes.
        let expected = Expected::of(concerns, waiting);
        let commit = Arc::clone(&expected.commit);
        self.followed.expect(name, expected);
        match session.commit(|client| wait(client.batch_execute(COMMIT))) {
            Ok(committed) => self.followed.answered(&name, &commit, committed),
            Err(error) if error.is_end() => {
                self.followed.answered(&name, &commit, Committed::Doubtful);
                self.followed.lost(session.era, &error.problem());
            }
            // The server says that it is not made.
            Err(error) => {
                let error = self.failed(session, &error);
                self.roll_back(session);
                if let Some(Expected { waiting, .. }) = self.followed.forget(&name) {
                    tell(waiting, &Err(error));
                }
            }
        }
    }

    /// Writes the changes, what follows from them, and the line that says them; to be committed.
    fn write_rows(
        &self,
        session: &Session,
        tables: &Tables,
        mut changes: Vec<Changed>,
        name: Name,
    ) -> Result<(), StoreError> {
        let failed = |error: Unanswered| self.failed(session, &error);
        let head = wait(session.client().query_one(&session.statements.head, &[]));
        let head = head.and_then(|row| Ok(Place::of(&row)?));
        // From here on nobody else commits.
        let head = head.map_err(failed)?;
        self.followed.wait_for(head).inspect_err(|error| {
            // It may be another server than the one that is followed.
            self.followed.lost(session.era, &error.to_string());
        })?;
        let following = self.memory.following(&changes);
        changes.extend(changed_by(session, following).map_err(failed)?);
        let counts = {
            let counts = self.memory.counts.lock();
            counts.following(tables, &changes)?
        };
        changes.extend(changed_by(session, counts).map_err(failed)?);
        write(session, &changes, name).map_err(failed)
    }

    fn roll_back(&self, session: &Session) {
        if let Err(error) = wait(session.client().batch_execute("ROLLBACK")) {
            self.followed.lost(session.era, &error.problem());
        }
    }

    fn failed(&self, session: &Session, error: &Unanswered) -> StoreError {
        if error.is_end() {
            self.followed.lost(session.era, &error.problem());
        }
        let busy = [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        if error.code().is_some_and(|code| busy.contains(code)) {
            return StoreError::Busy;
        }
        error.away()
    }
}

/// The changes that these rows make. Of several with one key the last one stands.
fn changed_by(session: &Session, rows: Vec<Row>) -> Result<Vec<Changed>, Unanswered> {
    let rows = last_of_each(rows);
    let before = before(session, &rows.iter().collect::<Vec<_>>())?;
    Ok(changed_of(rows, before.into_iter()))
}

/// The values that these rows have now.
fn before(session: &Session, rows: &[&Row]) -> Result<Vec<Option<Bytes>>, Unanswered> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let kinds: Vec<i16> = rows.iter().map(|row| row.table as i16).collect();
    let keys: Vec<&[u8]> = rows.iter().map(|row| &*row.key).collect();
    let found = wait(
        session
            .client()
            .query(&session.statements.before, &[&kinds, &keys]),
    )?;
    let value = |row: &tokio_postgres::Row| row.try_get::<_, Option<Vec<u8>>>(0);
    let values = found.iter().map(value);
    let values = values.collect::<Result<Vec<_>, _>>()?;
    Ok(values.into_iter().map(|one| one.map(Bytes::Own)).collect())
}

/// The changes that rows make of what was there before, which comes in the same order.
fn changed_of(rows: Vec<Row>, before: impl Iterator<Item = Option<Bytes>>) -> Vec<Changed> {
    let changed = |(row, before): (Row, Option<Bytes>)| Changed {
        table: row.table,
        key: row.key,
        before,
        after: row.value,
    };
    rows.into_iter().zip(before).map(changed).collect()
}

/// Writes the rows, deals the number, and says it in the list.
fn write(session: &Session, changes: &[Changed], name: Name) -> Result<(), Unanswered> {
    let (mut kinds, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut gone_kinds, mut gone_keys) = (Vec::new(), Vec::new());
    for changed in changes {
        if let Some(value) = &changed.after {
            kinds.push(changed.table as i16);
            keys.push(&*changed.key);
            values.push(&**value);
        } else {
            gone_kinds.push(changed.table as i16);
            gone_keys.push(&*changed.key);
        }
    }
    let Line {
        tables,
        keys: of_line,
        before,
        after,
    } = Line::of(changes);
    let written = wait(session.client().execute(
        &session.statements.write,
        &[
            &kinds,
            &keys,
            &values,
            &gone_kinds,
            &gone_keys,
            &&name[..],
            &tables,
            &of_line,
            &before,
            &after,
        ],
    ))?;
    // One line: whoever has locked `head` finds it there.
    debug_assert_eq!(written, 1);
    Ok(())
}

fn tell(waiting: impl IntoIterator<Item = Acknowledge>, outcome: &Result<(), StoreError>) {
    for acknowledge in waiting {
        acknowledge(match outcome {
            Ok(()) => Ok(Silent::new()),
            Err(error) => Err(again(error)),
        });
    }
}

/// The same error for another one who waits.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Away { problem } => StoreError::Away {
            problem: problem.clone(),
        },
        StoreError::OutcomeUnknown { problem } => StoreError::OutcomeUnknown {
            problem: problem.clone(),
        },
        StoreError::Corrupt { table, problem } => StoreError::Corrupt {
            table,
            problem: problem.clone(),
        },
        StoreError::Busy => StoreError::Busy,
        StoreError::Failed => StoreError::Failed,
        other => StoreError::Away {
            problem: other.to_string(),
        },
    }
}

/// All that these jobs are about.
fn claims_of(group: &[Waiting]) -> impl Iterator<Item = &Claim> {
    let claims = group
        .iter()
        .filter_map(|Waiting { job, .. }| match &job.about {
            About::These(claims) => Some(claims),
            About::Everything | About::Nothing => None,
        });
    claims.flatten()
}

/// Begins a transaction, and locks what the jobs are about, each by a number that follows from it. Two that share a number wait for each
/// other, and that is all.
fn begin(group: &[Waiting]) -> String {
    let mut numbers = BTreeSet::new();
    let mut is_everything = false;
    let mut is_snapshot = false;
    for Waiting { job, is_probe } in group {
        match &job.about {
            About::These(claims) => numbers.extend(claims.iter().map(number)),
            About::Everything => is_everything = true,
            About::Nothing => is_snapshot = !is_probe,
        }
    }
    if is_snapshot {
        return "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned();
    }
    let mut begin = "BEGIN".to_owned();
    // Proof, of all that is written here: writing to a String never fails.
    if is_everything {
        let _ = write!(begin, "; SELECT pg_advisory_xact_lock({EVERYTHING})");
    } else if !numbers.is_empty() {
        let _ = write!(begin, "; SELECT pg_advisory_xact_lock_shared({EVERYTHING})");
    }
    for number in numbers {
        let _ = write!(begin, "; SELECT pg_advisory_xact_lock({number})");
    }
    begin
}

fn number(claim: &Claim) -> i64 {
    let mut hash = Sha256::new();
    // A NUL stands in no host and no account.
    match claim {
        Claim::Host(host) => hash.update(format!("host\0{host}")),
        Claim::Account(account) => hash.update(format!("account\0{account}")),
        Claim::Certificate(host, fingerprint) => {
            hash.update(format!("certificate\0{host}\0"));
            hash.update(fingerprint.as_bytes());
        }
    }
    let hash = hash.finalize();
    let (first, _) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    i64::from_be_bytes(*first)
}

/// Whoever listens hears of it when it is committed.
const COMMIT: &str = "NOTIFY saslcertd; COMMIT";
/// To the disk and back.
const PROBE: &str = "UPDATE saslcertd.head SET seq = seq; COMMIT";
const EVERYTHING: i64 = 7_234_017_283_807_667_302;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::{BareJid, Fingerprint, Host};
    use crate::store::job::{Job, Planned};

    fn of(about: About) -> Waiting {
        let (job, pending) = Job::of(about, |_| Ok(Planned::nothing(())));
        // Nobody makes it, so nobody may wait for it.
        std::mem::forget(pending);
        let is_probe = false;
        Waiting { job, is_probe }
    }

    #[test]
    fn claims_are_locked_in_one_order_whoever_names_them() {
        let host = Host::parse("a.lit").unwrap();
        let account = |name: &str| Claim::Account(BareJid::parse(name).unwrap());
        let claims = [
            account("x@a.lit"),
            account("y@a.lit"),
            Claim::Host(host.clone()),
            Claim::Certificate(host, Fingerprint::of(b"one")),
        ];
        let together = begin(&[of(About::These(claims.clone().into()))]);
        let apart: Vec<_> = claims
            .into_iter()
            .rev()
            .map(|claim| of(About::These([claim].into())))
            .collect();
        assert_eq!(begin(&apart), together);
        let locks: Vec<i64> = together
            .split("lock(")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(locks.len(), 4, "{together}");
        assert!(locks.is_sorted(), "{together}");
        assert!(together.starts_with("BEGIN; SELECT pg_advisory_xact_lock_shared("));
        let all = begin(&[of(About::Everything)]);
        assert_eq!(
            all,
            format!("BEGIN; SELECT pg_advisory_xact_lock({EVERYTHING})")
        );
        assert!(begin(&[of(About::Nothing)]).contains("REPEATABLE READ"));
    }
}
