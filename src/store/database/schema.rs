//! The tables that a database has for the store: how they are made, and whether they are those that this version knows.
//!
//! Must not know: what a row means.

use tokio_postgres::Client;

use super::super::edit::Table;
use super::super::error::StoreError;
use super::super::folder::opening::Created;
use super::super::memory::SECRET_ROW;
use super::connect::{Connector, Unanswered, init, refused, wait};
use super::numbers::change_name;
use super::place::Place;

/// Makes the store in the database, if there is none, and gives `role` the rights to read and write it, but not to change how it is.
///
/// Errors: the database can't be reached; the tables are those of another version; the user may not make them; there is no such role.
pub(in crate::store) fn create(place: Place, role: Option<&str>) -> Result<Created, StoreError> {
    let connector = Connector::of(place)?;
    let client = connector.reach(None)?.client;
    let run = |text: &str| {
        let run = wait(client.batch_execute(text));
        run.map_err(|error| connector.unreachable(&error))
    };
    // Two at a time would make them twice; the second finds them.
    run("BEGIN; SELECT pg_advisory_xact_lock(7234017283807667300)")?;
    let found = version(&client).map_err(|error| connector.unreachable(&error))?;
    let created = match found {
        Some(VERSION) => Created::Existing,
        Some(found) => return Err(other_version(connector.place(), found)),
        None => {
            run(SCHEMA)?;
            first_rows(&client, &connector)?;
            Created::New
        }
    };
    if let Some(role) = role {
        let quoted = wait(client.query_one("SELECT quote_ident($1)", &[&role]));
        let quoted: String = quoted
            .and_then(|row| row.try_get(0).map_err(Unanswered::Said))
            .map_err(|error| connector.unreachable(&error))?;
        run(&RIGHTS.replace("ROLE", &quoted))?;
    }
    run("COMMIT")?;
    Ok(created)
}

/// Looks whether the store is there, in a version that this one knows, and whether we may read and write it.
pub(super) fn require(client: &Client, connector: &Connector) -> Result<(), StoreError> {
    let place = connector.place();
    let found = version(client).map_err(|error| connector.unreachable(&error))?;
    match found {
        Some(VERSION) => {}
        Some(found) => return Err(other_version(place, found)),
        None => {
            let problem = format!("there is no store in it; make one with: {}", init(place));
            return Err(refused(place, problem));
        }
    }
    let may = wait(client.query_one(MAY, &[]));
    let may: bool = may
        .and_then(|row| row.try_get(0).map_err(Unanswered::Said))
        .map_err(|error| connector.unreachable(&error))?;
    if may {
        return Ok(());
    }
    let user = place.config.get_user().unwrap_or("NAME");
    let problem = format!(
        "the user that saslcertd connects as may not read and write the store's tables. Whoever owns them gives the rights with: {} \
         --role {user}",
        init(place)
    );
    Err(refused(place, problem))
}

/// That of the tables; `None`: there is no store.
pub(super) fn version(client: &Client) -> Result<Option<i32>, Unanswered> {
    let there = "SELECT to_regclass('saslcertd.version') IS NOT NULL";
    let is_there: bool = wait(client.query_one(there, &[]))?.try_get(0)?;
    if !is_there {
        return Ok(None);
    }
    let row = wait(client.query_one("SELECT version FROM saslcertd.version", &[]))?;
    Ok(Some(row.try_get(0)?))
}

fn other_version(place: &Place, found: i32) -> StoreError {
    let what = if found > VERSION {
        "it was made by a newer saslcertd: install that version again"
    } else {
        "it was made by an older saslcertd: export it with that version, and import it into a new one"
    };
    refused(
        place,
        format!("its tables have version {found}, and this saslcertd knows {VERSION}. {what}"),
    )
}

/// The secret, and a change before the first one.
fn first_rows(client: &Client, connector: &Connector) -> Result<(), StoreError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(StoreError::Random)?;
    let name = change_name()?;
    let put = async {
        let put = "INSERT INTO saslcertd.rows VALUES ($1, $2, $3)";
        let kind = Table::Meta as i16;
        client
            .execute(put, &[&kind, &SECRET_ROW, &&secret[..]])
            .await?;
        let put = "INSERT INTO saslcertd.changes (seq, name, tables, keys, before, after) VALUES (0, $1, '{}', '{}', '{}', '{}')";
        client.execute(put, &[&&name[..]]).await?;
        let put = "INSERT INTO saslcertd.head (seq, name, timeline) VALUES (0, $1, left(pg_walfile_name(pg_current_wal_lsn()), 8))";
        client.execute(put, &[&&name[..]]).await
    };
    let put = wait(put);
    put.map(drop).map_err(|error| connector.unreachable(&error))
}

pub(super) const VERSION: i32 = 1;

/// Keys are in the order of their bytes, as everywhere. `head` is one row: who has locked it deals the next number, and commits before
/// the next one does. `leases` has a row for each process that serves the store, or has done so. `changes` says of the last changes what other processes remember, and has nothing of any password.
const SCHEMA: &str = "
CREATE SCHEMA saslcertd;
CREATE TABLE saslcertd.version (version integer NOT NULL);
INSERT INTO saslcertd.version VALUES (1);
CREATE TABLE saslcertd.rows (
    kind smallint NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE TABLE saslcertd.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL,
    name bytea NOT NULL,
    timeline text NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE saslcertd.changes (
    seq bigint PRIMARY KEY,
    name bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    tables smallint[] NOT NULL,
    keys bytea[] NOT NULL,
    before bytea[] NOT NULL,
    after bytea[] NOT NULL
);
CREATE TABLE saslcertd.leases (
    process bytea PRIMARY KEY,
    renewal bigint NOT NULL,
    seen bigint NOT NULL,
    patience_ms bigint NOT NULL,
    machine text NOT NULL,
    pid bigint NOT NULL
);
REVOKE ALL ON ALL TABLES IN SCHEMA saslcertd FROM PUBLIC;
";

const RIGHTS: &str = "
GRANT USAGE ON SCHEMA saslcertd TO ROLE;
GRANT SELECT ON saslcertd.version TO ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON saslcertd.rows TO ROLE;
GRANT SELECT, UPDATE ON saslcertd.head TO ROLE;
GRANT SELECT, INSERT, DELETE ON saslcertd.changes TO ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON saslcertd.leases TO ROLE;
";

pub(super) const MAY: &str = "
SELECT has_table_privilege('saslcertd.rows', 'SELECT') AND has_table_privilege('saslcertd.rows', 'INSERT')
   AND has_table_privilege('saslcertd.rows', 'UPDATE') AND has_table_privilege('saslcertd.rows', 'DELETE')
   AND has_table_privilege('saslcertd.head', 'SELECT') AND has_table_privilege('saslcertd.head', 'UPDATE')
   AND has_table_privilege('saslcertd.changes', 'SELECT') AND has_table_privilege('saslcertd.changes', 'INSERT')
   AND has_table_privilege('saslcertd.changes', 'DELETE') AND has_table_privilege('saslcertd.leases', 'SELECT')
   AND has_table_privilege('saslcertd.leases', 'INSERT') AND has_table_privilege('saslcertd.leases', 'UPDATE')
   AND has_table_privilege('saslcertd.leases', 'DELETE')";
