//! What a database looks like from here, for whoever has to say what is wrong with it: nothing is opened, and nothing written.
//!
//! Must not know: what is well.

use std::time::{Duration, Instant, SystemTime};

use super::super::error::StoreError;
use super::super::seen::{DatabaseSeen, Encryption, Tables};
use super::connect::{Connector, Unanswered, init, wait};
use super::place::Place;
use super::schema;
use super::sharing::{STANDBYS, standbys};
use tokio_postgres::Client;
use tokio_postgres::config::Host;

/// Looks at the database, as whoever calls this.
///
/// Errors: the server can't be reached, does not let us in, or would lose what it has acknowledged.
pub(in crate::store) fn look(place: Place) -> Result<DatabaseSeen, StoreError> {
    let connector = Connector::of(place)?;
    let begun = Instant::now();
    let client = connector.reach(None)?.client;
    let connected_in = begun.elapsed();
    let unreachable = |error: Unanswered| connector.unreachable(&error);
    let version = schema::version(&client).map_err(unreachable)?;
    let tables = match version {
        Some(version) if version == schema::VERSION => Tables::Known {
            may_serve: flag(&client, schema::MAY).map_err(unreachable)?,
        },
        Some(version) => Tables::Other {
            version,
            known: schema::VERSION,
        },
        None => Tables::Missing,
    };
    let row = wait(client.query_one(ROLE, &[])).map_err(unreachable)?;
    let read = || {
        Ok::<_, Unanswered>(DatabaseSeen {
            place: connector.place().to_string(),
            init: init(connector.place()),
            server: row.try_get(0)?,
            encryption: encryption(connector.place()),
            connected_in,
            tables,
            role: row.try_get(1)?,
            may_change_tables: row.try_get(2)?,
            ahead_ms: ahead_ms(&client)?,
            machines: machines(&client, tables)?,
            standbys: standbys(&wait(client.query_one(STANDBYS, &[]))?)?,
        })
    };
    read().map_err(unreachable)
}

fn encryption(place: &Place) -> Encryption {
    let is_remote = |host: &Host| matches!(host, Host::Tcp(_));
    if place.tls.is_some() {
        Encryption::Tls
    } else if place.config.get_hosts().iter().any(is_remote) {
        Encryption::None
    } else {
        Encryption::Socket
    }
}

fn flag(client: &Client, question: &str) -> Result<bool, Unanswered> {
    Ok(wait(client.query_one(question, &[]))?.try_get(0)?)
}

/// How far its clock is ahead of this machine's, in milliseconds; by as much as the way there and back takes, it may be less.
fn ahead_ms(client: &Client) -> Result<i64, Unanswered> {
    let asked = SystemTime::now();
    let row = wait(client.query_one(CLOCK, &[]))?;
    let heard = SystemTime::now();
    let there: i64 = row.try_get(0)?;
    Ok(if there < milliseconds(asked) {
        there.saturating_sub(milliseconds(asked))
    } else {
        there.saturating_sub(milliseconds(heard)).max(0)
    })
}

/// Since the epoch; 0 for a clock that stands before it.
fn milliseconds(time: SystemTime) -> i64 {
    let since: Duration = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn machines(client: &Client, tables: Tables) -> Result<u64, Unanswered> {
    if tables != (Tables::Known { may_serve: true }) {
        return Ok(0);
    }
    let count: i64 = wait(client.query_one(MACHINES, &[]))?.try_get(0)?;
    Ok(count.unsigned_abs())
}

const ROLE: &str = "
SELECT current_setting('server_version'), quote_ident(current_user),
       coalesce(has_schema_privilege(to_regnamespace('saslcertd')::oid, 'CREATE'), false)
    OR coalesce((SELECT bool_or(pg_has_role(relowner, 'USAGE')) FROM pg_class WHERE relnamespace = to_regnamespace('saslcertd')::oid), false)";

const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Those from which the store is served, or was within the last hour that somebody has served it.
const MACHINES: &str = "SELECT count(DISTINCT machine) FROM saslcertd.leases";
