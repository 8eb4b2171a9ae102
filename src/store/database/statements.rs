//! The statements that are asked again and again, as each connection has them prepared.
//!
//! Must not know: what is made of their answers.

use tokio_postgres::{Client, Statement};

/// Those of one connection.
pub(super) struct Statements {
    pub(super) row: Statement,
    pub(super) row_of_each: Statement,
    pub(super) range: Statement,
    pub(super) ranges: Statement,
    pub(super) before: Statement,
    pub(super) head: Statement,
    pub(super) write: Statement,
    pub(super) changes: Statement,
}

impl Statements {
    /// Prepared on this connection.
    pub(super) async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            row: client.prepare(ROW).await?,
            row_of_each: client.prepare(ROW_OF_EACH).await?,
            range: client.prepare(RANGE).await?,
            ranges: client.prepare(RANGES).await?,
            before: client.prepare(BEFORE).await?,
            head: client.prepare(HEAD).await?,
            write: client.prepare(WRITE).await?,
            changes: client.prepare(CHANGES).await?,
        })
    }
}

/// A row, and whether the server has the change.
const ROW: &str = "
SELECT EXISTS (SELECT FROM saslcertd.changes WHERE seq = $3 AND name = $4),
       (SELECT value FROM saslcertd.rows WHERE kind = $1 AND key = $2)";

/// The values of rows, in the order in which they are named, and with each whether the server has the change.
const ROW_OF_EACH: &str = "
SELECT EXISTS (SELECT FROM saslcertd.changes WHERE seq = $3 AND name = $4), found.value
  FROM unnest($2::bytea[]) WITH ORDINALITY AS named (key, place)
  LEFT JOIN saslcertd.rows found ON found.kind = $1 AND found.key = named.key
 ORDER BY named.place";

/// Some rows in their order, one at least: it says whether the server has the change.
const RANGE: &str = "
SELECT has.it, found.key, found.value
  FROM (SELECT EXISTS (SELECT FROM saslcertd.changes WHERE seq = $5 AND name = $6) AS it) has
  LEFT JOIN LATERAL (
       SELECT key, value FROM saslcertd.rows
        WHERE kind = $1 AND key >= $2 AND ($3::bytea IS NULL OR key < $3)
        ORDER BY key LIMIT $4
  ) found ON true
 ORDER BY found.key";

/// Some rows of each range in their order, with the range's number; one at least of each: it says whether the server has the change.
const RANGES: &str = "
SELECT has.it, found.key, found.value, named.place
  FROM (SELECT EXISTS (SELECT FROM saslcertd.changes WHERE seq = $5 AND name = $6) AS it) has
 CROSS JOIN unnest($1::smallint[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS named (kind, begins, ends, place)
  LEFT JOIN LATERAL (
       SELECT key, value FROM saslcertd.rows
        WHERE kind = named.kind AND key >= named.begins AND key < named.ends
        ORDER BY key LIMIT $4
  ) found ON true
 ORDER BY named.place, found.key";

/// The values that rows have, in the order in which they are named.
const BEFORE: &str = "
SELECT found.value
  FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS named (kind, key, place)
  LEFT JOIN saslcertd.rows found ON found.kind = named.kind AND found.key = named.key
 ORDER BY named.place";

/// Locked until the transaction has ended.
const HEAD: &str = "SELECT seq, name FROM saslcertd.head FOR UPDATE";

/// All of a change in one statement.
const WRITE: &str = "
WITH put AS (
     INSERT INTO saslcertd.rows (kind, key, value)
     SELECT * FROM unnest($1::smallint[], $2::bytea[], $3::bytea[])
         ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value
), gone AS (
     DELETE FROM saslcertd.rows
      USING unnest($4::smallint[], $5::bytea[]) AS named (kind, key)
      WHERE rows.kind = named.kind AND rows.key = named.key
), dealt AS (
     UPDATE saslcertd.head SET seq = seq + 1, name = $6 RETURNING seq
)
INSERT INTO saslcertd.changes (seq, name, tables, keys, before, after)
SELECT seq, $6, $7, $8, $9, $10 FROM dealt";

/// The last change that is applied, which has to be there, and those behind it.
const CHANGES: &str = "
SELECT seq, name, tables, keys, before, after FROM saslcertd.changes
 WHERE seq >= $1 ORDER BY seq LIMIT 256";

/// The number of the last change that is committed.
pub(super) const SEQ: &str = "SELECT seq FROM saslcertd.head";
