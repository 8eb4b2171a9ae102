//! The database file of `mod_storage_sql`: which hosts and users it has, and what it holds for them. It is opened for
//! reading, and no statement of ours or of its schema changes it.
//!
//! Must not know: what an account or a certificate is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::lua_table::{Key, Table, Value};
use super::source::{
    NO_HOSTS_NAME, NOBODYS_NAME, Problem, ProsodyStore, Source, SourceError, account_named,
    host_named,
};
use crate::identity::{BareJid, Host};

/// The database.
#[derive(Debug)]
pub(super) struct Database {
    file: PathBuf,
    connection: Connection,
}

impl Database {
    /// The database in `file`.
    pub(super) fn open(file: &Path) -> Result<Self, SourceError> {
        let shown = || file.display().to_string();
        // Else a missing file would be said to be no database.
        if !file.exists() {
            return Err(SourceError::NoFile(shown()));
        }
        let open = || -> rusqlite::Result<(Connection, bool)> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(file, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)?;
            // A view by this name could compute anything.
            let query =
                "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'prosody'";
            let tables: i64 = connection.query_row(query, [], |row| row.get(0))?;
            Ok((connection, tables == 1))
        };
        let (connection, has_table) = open().map_err(SourceError::reading(file))?;
        if !has_table {
            return Err(SourceError::NoTable(shown()));
        }
        Ok(Self {
            file: file.to_owned(),
            connection,
        })
    }

    /// The first column of what `query` finds.
    fn names(&self, query: &str, parameters: &[&str]) -> Result<BTreeSet<String>, SourceError> {
        let read = || -> rusqlite::Result<BTreeSet<String>> {
            let mut statement = self.connection.prepare(query)?;
            let parameters = rusqlite::params_from_iter(parameters);
            let name = |row: &Row<'_>| Ok(String::from_utf8_lossy(&bytes(row, 0)?).into_owned());
            statement.query_map(parameters, name)?.collect()
        };
        read().map_err(SourceError::reading(&self.file))
    }

    /// The rows of `user` in `store`, in the order in which they were written.
    fn rows(&self, user: &BareJid, store: ProsodyStore) -> rusqlite::Result<Vec<StoredRow>> {
        let query = "SELECT key, type, value FROM prosody WHERE host = ?1 AND user = ?2 AND store = ?3 ORDER BY rowid";
        let mut statement = self.connection.prepare(query)?;
        let names = [user.host().as_str(), user.username(), store.name()];
        let row = |row: &Row<'_>| {
            Ok(StoredRow {
                key: bytes(row, 0)?,
                kind: bytes(row, 1)?,
                value: bytes(row, 2)?,
            })
        };
        statement.query_map(names, row)?.collect()
    }
}

/// One key of a user's table, as it stands there.
struct StoredRow {
    key: Vec<u8>,
    kind: Vec<u8>,
    value: Vec<u8>,
}

impl Source for Database {
    fn hosts(
        &self,
        stores: &[ProsodyStore],
        problems: &mut Vec<Problem>,
    ) -> Result<BTreeSet<Host>, SourceError> {
        let query = "SELECT DISTINCT host FROM prosody WHERE store = ?1 AND user <> ''";
        let mut names = BTreeSet::new();
        for store in stores {
            names.extend(self.names(query, &[store.name()])?);
        }
        let mut hosts = BTreeSet::new();
        for name in names {
            match host_named(&name) {
                Some(host) => {
                    hosts.insert(host);
                }
                None => problems.push(Problem {
                    place: format!("{}: host {name}", self.file.display()),
                    is_account: false,
                    text: NO_HOSTS_NAME.to_owned(),
                }),
            }
        }
        Ok(hosts)
    }

    fn users(
        &self,
        host: &Host,
        store: ProsodyStore,
        problems: &mut Vec<Problem>,
    ) -> Result<BTreeSet<BareJid>, SourceError> {
        let query =
            "SELECT DISTINCT user FROM prosody WHERE host = ?1 AND store = ?2 AND user <> ''";
        let mut users = BTreeSet::new();
        for name in self.names(query, &[host.as_str(), store.name()])? {
            match account_named(&name, host) {
                Some(user) => {
                    users.insert(user);
                }
                None => problems.push(Problem {
                    place: format!("{}: user {name} of host {host}", self.file.display()),
                    is_account: store == ProsodyStore::Accounts,
                    text: NOBODYS_NAME.to_owned(),
                }),
            }
        }
        Ok(users)
    }

    fn place(&self, user: &BareJid, store: ProsodyStore) -> String {
        format!("{}: {} of {user}", self.file.display(), store.name())
    }

    // One row for each key, as `deserialize` and `keyval_store_get` of mod_storage_sql have it.
    fn read(
        &self,
        user: &BareJid,
        store: ProsodyStore,
    ) -> Result<Result<Option<Table>, Problem>, SourceError> {
        let rows = self.rows(user, store);
        let mut table = None;
        for row in rows.map_err(SourceError::reading(&self.file))? {
            let table = table.get_or_insert_with(Table::default);
            let StoredRow { key, kind, value } = row;
            let value = match value_of(&kind, value) {
                Ok(value) => value,
                Err(text) => {
                    let key = String::from_utf8_lossy(&key);
                    return Ok(Err(Problem {
                        place: format!("{}, key {key}", self.place(user, store)),
                        is_account: store == ProsodyStore::Accounts,
                        text: text.to_owned(),
                    }));
                }
            };
            match value {
                None => {}
                // Keys that are not names stand together.
                Some(Value::Table(more)) if key.is_empty() => {
                    for (key, value) in more.iter() {
                        table.insert(key.clone(), value.clone());
                    }
                }
                Some(value) => {
                    table.insert(Key::String(key), value);
                }
            }
        }
        Ok(Ok(table))
    }
}

/// The value of a row; `None` for a stanza, which nothing that we read has.
fn value_of(kind: &[u8], value: Vec<u8>) -> Result<Option<Value>, &'static str> {
    let text = || std::str::from_utf8(&value).unwrap_or_default();
    Ok(Some(match kind {
        b"string" => Value::String(value),
        b"boolean" => Value::Boolean(match text() {
            "true" => true,
            "false" => false,
            _ => return Err("it is not a boolean"),
        }),
        b"number" => match (text().parse::<i64>(), text().parse::<f64>()) {
            (Ok(integer), _) => Value::Integer(integer),
            (_, Ok(float)) => Value::Float(float),
            _ => return Err("it is not a number"),
        },
        b"json" => from_json(serde_json::from_slice(&value).map_err(|_| "it is not JSON")?),
        b"xml" => return Ok(None),
        _ => return Err("it has a type that Prosody does not write"),
    }))
}

fn from_json(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Nil,
        Json::Bool(boolean) => Value::Boolean(boolean),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, float) => Value::Float(float.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(text.into_bytes()),
        Json::Array(values) => {
            let mut table = Table::default();
            for (position, value) in (1..).zip(values) {
                table.insert(Key::Integer(position), from_json(value));
            }
            Value::Table(table)
        }
        Json::Object(fields) => {
            let mut table = Table::default();
            for (name, value) in fields {
                table.insert(Key::String(name.into_bytes()), from_json(value));
            }
            Value::Table(table)
        }
    }
}

/// A column as bytes: a text may be anything, and any type may stand where Prosody writes a text.
fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        ValueRef::Integer(integer) => integer.to_string().into_bytes(),
        ValueRef::Real(float) => float.to_string().into_bytes(),
        ValueRef::Null => Vec::new(),
    })
}

/// Prosody may be writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_VALUE_BYTES: i32 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// As Prosody makes it.
    const SCHEMA: &str = r#"CREATE TABLE "prosody" ("host" TEXT NOT NULL, "user" TEXT NOT NULL, "store" TEXT NOT NULL,
        "key" TEXT NOT NULL, "type" TEXT NOT NULL, "value" TEXT NOT NULL);
        CREATE UNIQUE INDEX "prosody_unique_index" ON "prosody" ("host", "user", "store", "key");"#;

    fn database(statements: &str) -> (tempfile::TempDir, Result<Database, SourceError>) {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("prosody.sqlite");
        Connection::open(&file)
            .unwrap()
            .execute_batch(statements)
            .unwrap();
        let database = Database::open(&file);
        (place, database)
    }

    fn jid(text: &str) -> BareJid {
        BareJid::parse(text).unwrap()
    }

    #[test]
    fn the_rows_of_a_user_are_one_table() {
        let (_place, database) = database(&format!(
            "{SCHEMA} INSERT INTO prosody VALUES
            ('rome.lit', 'brutus', 'accounts', 'salt', 'string', 'aü'),
            ('rome.lit', 'brutus', 'accounts', 'iteration_count', 'number', '10000'),
            ('rome.lit', 'brutus', 'accounts', 'updated', 'number', '1767225600.0'),
            ('rome.lit', 'brutus', 'accounts', 'disabled', 'boolean', 'true'),
            ('rome.lit', 'brutus', 'accounts', 'disabled_meta', 'json', '{{\"by\":[\"cassius\",null]}}'),
            ('rome.lit', 'brutus', 'accounts', 'stanza', 'xml', '<x/>'),
            ('rome.lit', 'brutus', 'accounts', '', 'json', '[\"one\"]'),
            ('rome.lit', 'brutus', 'saslcertd', 'incarnation', 'string', '6f1d2c'),
            ('rome.lit', 'cassius', 'accounts', 'password', 'string', CAST(x'ff00' AS TEXT)),
            ('rome.lit', 'Casca', 'accounts', 'password', 'string', 'x'),
            ('rome.lit', 'cinna', 'accounts', 'disabled', 'boolean', 'maybe'),
            ('rome.lit', 'portia', 'roster', 'a', 'string', 'x'),
            ('rome.lit', '', 'accounts', 'a', 'string', 'x'),
            ('Gaul', 'x', 'accounts', 'a', 'string', 'x');"
        ));
        let database = database.unwrap();
        let rome = Host::parse("rome.lit").unwrap();
        let mut problems = Vec::new();
        let hosts = database
            .hosts(&[ProsodyStore::Accounts], &mut problems)
            .unwrap();
        assert_eq!(hosts, BTreeSet::from([rome.clone()]));
        let users = database
            .users(&rome, ProsodyStore::Accounts, &mut problems)
            .unwrap();
        let expected = ["brutus", "cassius", "cinna"].map(|name| jid(&format!("{name}@rome.lit")));
        assert_eq!(users, BTreeSet::from(expected));
        let ends = |problem: &Problem, end| problem.place.ends_with(end);
        assert!(
            matches!(&problems[..], [host, user] if ends(host, "host Gaul") && !host.is_account
            && ends(user, "user Casca of host rome.lit") && user.is_account)
        );

        let read = |name| database.read(&jid(name), ProsodyStore::Accounts).unwrap();
        let brutus = read("brutus@rome.lit").unwrap().unwrap();
        assert_eq!(
            brutus.field("salt").unwrap().as_bytes(),
            Some("aü".as_bytes())
        );
        assert_eq!(
            brutus.field("iteration_count"),
            Some(&Value::Integer(10_000))
        );
        assert_eq!(
            brutus.field("updated").unwrap().as_integer(),
            Some(1_767_225_600)
        );
        assert_eq!(brutus.field("disabled"), Some(&Value::Boolean(true)));
        assert_eq!(brutus.field("stanza"), None);
        assert_eq!(brutus.iter().count(), 6);
        let cassius = read("cassius@rome.lit").unwrap().unwrap();
        assert_eq!(
            cassius.field("password").unwrap().as_bytes(),
            Some(&b"\xff\0"[..])
        );
        let cinna = read("cinna@rome.lit").unwrap_err();
        assert!(
            ends(&cinna, "accounts of cinna@rome.lit, key disabled"),
            "{cinna:?}"
        );
        assert_eq!(read("portia@rome.lit"), Ok(None));
        let ours = database
            .read(&jid("brutus@rome.lit"), ProsodyStore::Saslcertd)
            .unwrap();
        assert!(ours.unwrap().unwrap().field("incarnation").is_some());
    }

    #[test]
    fn what_is_not_such_a_database_is_refused_and_nothing_is_created() {
        let place = tempfile::tempdir().unwrap();
        let missing = place.path().join("missing.sqlite");
        assert!(Database::open(&missing).is_err());
        assert!(!missing.exists());
        let text = place.path().join("text");
        std::fs::write(&text, "return {};\n".repeat(1000)).unwrap();
        assert!(Database::open(&text).is_err());
        assert!(database("CREATE TABLE other (a);").1.is_err());
        let view = "CREATE VIEW prosody AS SELECT 'a' AS host, 'b' AS user";
        assert!(database(view).1.is_err());
    }

    #[test]
    fn it_cannot_be_written() {
        let (_place, database) = database(SCHEMA);
        let database = database.unwrap();
        let insert = "INSERT INTO prosody VALUES ('a', 'b', 'c', 'd', 'e', 'f')";
        assert!(database.connection.execute(insert, []).is_err());
    }
}
