//! Rows, as they are asked for on a connection.
//!
//! Each question names the last change that is applied here. A server that has not got it lags behind, or has lost it: what it says
//! would be older than what was said before, so it is no answer.
//!
//! Must not know: what stands in a row, which connection it is.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::super::edit::Table;
use super::super::error::StoreError;
use super::super::health::Health;
use super::super::rows::{Bytes, Fetched, InOrder, OfEach, Range, RowBytes, Rows};
use super::connect::{Session, Unanswered, wait};
use super::followed::Followed;
use super::numbers::Place;

/// The rows that a connection shows.
pub(super) struct Seen {
    pub(super) on: Box<dyn Fn() -> Result<On, StoreError> + Send + Sync>,
    pub(super) followed: Arc<Followed>,
    pub(super) health: Arc<Health>,
}

/// On which connection it is asked, and which change the server has to have.
pub(super) type On = (Arc<Session>, Place);

impl Rows for Seen {
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let (session, Place { seq, name }) = (self.on)()?;
        let asked = wait(session.client().query_one(
            &session.statements.row,
            &[&(table as i16), &key, &seq, &&name[..]],
        ));
        let read = || {
            let row = asked?;
            let is_there: bool = row.try_get(0)?;
            Ok::<_, Unanswered>((is_there, row.try_get::<_, Option<Vec<u8>>>(1)?))
        };
        let (is_there, value) = read().map_err(|error| self.failed(&session, table, &error))?;
        if is_there {
            Ok(value.map(Bytes::Own))
        } else {
            Err(self.lags(&session))
        }
    }

    fn row_of_each(&self, table: Table, keys: &[Vec<u8>]) -> Result<OfEach, StoreError> {
        let (session, Place { seq, name }) = (self.on)()?;
        let asked = wait(session.client().query(
            &session.statements.row_of_each,
            &[&(table as i16), &keys, &seq, &&name[..]],
        ));
        let read = || {
            let mut values = Vec::with_capacity(keys.len());
            for row in asked? {
                let is_there: bool = row.try_get(0)?;
                if !is_there {
                    return Ok(None);
                }
                values.push(Ok(row.try_get::<_, Option<Vec<u8>>>(1)?.map(Bytes::Own)));
            }
            Ok::<_, Unanswered>(Some(values))
        };
        match read().map_err(|error| self.failed(&session, table, &error)) {
            Ok(Some(values)) => Ok(values),
            Ok(None) => Err(self.lags(&session)),
            // Which of them is damaged shows when each is asked for.
            Err(StoreError::Corrupt { .. }) => {
                Ok(keys.iter().map(|key| self.row(table, key)).collect())
            }
            Err(error) => Err(error),
        }
    }

    fn range(&self, table: Table, from: &[u8], before: Option<&[u8]>) -> InOrder<'_> {
        Box::new(Pages {
            seen: self,
            table,
            from: from.to_vec(),
            before: before.map(<[u8]>::to_vec),
            page: Vec::new().into_iter(),
            rows: FIRST_PAGE_ROWS,
            is_last: false,
        })
    }

    fn fetch(&self, ranges: &[Range]) -> Result<Option<Vec<Fetched>>, StoreError> {
        let Some(first) = ranges.first() else {
            return Ok(None);
        };
        let (session, Place { seq, name }) = (self.on)()?;
        let kinds: Vec<i16> = ranges.iter().map(|range| range.table as i16).collect();
        let begins: Vec<&[u8]> = ranges.iter().map(|range| &*range.from).collect();
        let ends: Vec<&[u8]> = ranges.iter().map(|range| &*range.before).collect();
        let asked = wait(session.client().query(
            &session.statements.ranges,
            &[
                &kinds,
                &begins,
                &ends,
                &(MAX_FETCHED_ROWS + 1),
                &seq,
                &&name[..],
            ],
        ));
        let fetched = asked.and_then(|rows| fetched_of(ranges, &rows));
        match fetched.map_err(|error| self.failed(&session, first.table, &error)) {
            Ok(Some(fetched)) => Ok(Some(fetched)),
            Ok(None) => Err(self.lags(&session)),
            // Which of them is damaged shows when each is asked for.
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[cfg(test)]
    fn scribble(&self, table: Table, key: &[u8], value: Option<&[u8]>) {
        #![allow(clippy::unwrap_used)]
        let (session, _) = (self.on)().unwrap();
        let kind = table as i16;
        let put = "INSERT INTO saslcertd.rows VALUES ($1, $2, $3) ON CONFLICT (kind, key) DO UPDATE SET value = $3";
        let take = "DELETE FROM saslcertd.rows WHERE kind = $1 AND key = $2";
        let client = session.client();
        match value {
            Some(value) => wait(client.execute(put, &[&kind, &key, &value])),
            None => wait(client.execute(take, &[&kind, &key])),
        }
        .unwrap();
    }
}

impl Seen {
    /// Those of a snapshot on this connection, in which the change that is applied now is the last that can be asked for.
    pub(super) fn of_moment(
        session: &Arc<Session>,
        followed: &Arc<Followed>,
        health: &Arc<Health>,
    ) -> Self {
        let on = (Arc::clone(session), followed.place());
        Self {
            on: Box::new(move || Ok(on.clone())),
            followed: Arc::clone(followed),
            health: Arc::clone(health),
        }
    }

    fn failed(&self, session: &Session, table: Table, error: &Unanswered) -> StoreError {
        let damage = [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED];
        if error.code().is_some_and(|code| damage.contains(code)) {
            return self.health.corrupt(table, &error.problem());
        }
        if error.is_end() {
            self.followed.lost(session.era, &error.problem());
        }
        error.away()
    }

    /// It is another server than the one whose changes are followed, or has lost some: nothing more is asked there.
    fn lags(&self, session: &Session) -> StoreError {
        let problem =
            "this server lacks changes that were applied here: it lags behind, or has lost them";
        self.followed.lost(session.era, problem);
        StoreError::Away {
            problem: problem.to_owned(),
        }
    }
}

/// Rows in their order, some at a time: the first ones are few, since most lists are short.
struct Pages<'a> {
    seen: &'a Seen,
    table: Table,
    from: Vec<u8>,
    before: Option<Vec<u8>>,
    page: std::vec::IntoIter<RowBytes>,
    rows: i64,
    is_last: bool,
}

impl Iterator for Pages<'_> {
    type Item = Result<RowBytes, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.page.next() {
            return Some(Ok(row));
        }
        if self.is_last {
            return None;
        }
        match self.read() {
            Ok(page) => {
                self.page = page.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => {
                // What is behind a place that can't be read is not asked for: the same would come again.
                self.is_last = true;
                Some(Err(error))
            }
        }
    }
}

impl Pages<'_> {
    fn read(&mut self) -> Result<Vec<RowBytes>, StoreError> {
        let (session, Place { seq, name }) = (self.seen.on)()?;
        let asked = wait(session.client().query(
            &session.statements.range,
            &[
                &(self.table as i16),
                &self.from,
                &self.before,
                &self.rows,
                &seq,
                &&name[..],
            ],
        ));
        let rows = asked.and_then(|rows| page_of(&rows));
        let rows = rows.map_err(|error| self.seen.failed(&session, self.table, &error))?;
        let rows = rows.ok_or_else(|| self.seen.lags(&session))?;
        let wanted = usize::try_from(self.rows).unwrap_or(usize::MAX);
        self.is_last = rows.len() < wanted;
        self.rows = (self.rows * 8).min(MAX_PAGE_ROWS);
        if let Some((key, _)) = rows.last() {
            self.from = [key, &[0][..]].concat();
        }
        Ok(rows)
    }
}

/// `None`: the server has not the change that is applied here.
fn page_of(rows: &[Row]) -> Result<Option<Vec<RowBytes>>, Unanswered> {
    let mut page = Vec::with_capacity(rows.len());
    for row in rows {
        let is_there: bool = row.try_get(0)?;
        if !is_there {
            return Ok(None);
        }
        // No row: the one that only says that the change is there.
        if let (Some(key), Some(value)) = (
            row.try_get::<_, Option<Vec<u8>>>(1)?,
            row.try_get::<_, Option<Vec<u8>>>(2)?,
        ) {
            page.push((Bytes::Own(key), Bytes::Own(value)));
        }
    }
    Ok(Some(page))
}

/// The rows of each range, but of those that have too many. `None`: the server has not the change that is applied here.
fn fetched_of(ranges: &[Range], rows: &[Row]) -> Result<Option<Vec<Fetched>>, Unanswered> {
    let mut fetched = Vec::with_capacity(ranges.len());
    let mut behind = rows;
    for (range, place) in ranges.iter().zip(1_i64..) {
        let mut count = 0;
        for row in behind {
            if row.try_get::<_, i64>(3)? != place {
                break;
            }
            count += 1;
        }
        let (of_range, rest) = behind.split_at_checked(count).unwrap_or((behind, &[]));
        behind = rest;
        let Some(rows) = page_of(of_range)? else {
            return Ok(None);
        };
        // Of each there is one row at least.
        let is_said = !of_range.is_empty();
        if is_said && i64::try_from(rows.len()).is_ok_and(|rows| rows <= MAX_FETCHED_ROWS) {
            let range = range.clone();
            fetched.push(Fetched { range, rows });
        }
    }
    Ok(Some(fetched))
}

/// Most lists are shorter.
const MAX_FETCHED_ROWS: i64 = 32;
const FIRST_PAGE_ROWS: i64 = 16;
const MAX_PAGE_ROWS: i64 = 1024;
