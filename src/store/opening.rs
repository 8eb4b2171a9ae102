//! A store is made, looked at and opened, whatever is to keep its rows.
//!
//! Must not know: how that is made and opened.

use std::path::Path;

use super::backend::Backend;
#[cfg(feature = "postgres")]
use super::database;
use super::error::{OnFailure, StoreError};
use super::folder::opening::{Created, Opened};
use super::follow::Listeners;
#[cfg(feature = "postgres")]
use super::seen::DatabaseSeen;
use super::wholeness::OnLoss;
use super::{Store, folder, refusal};

impl Store {
    /// Creates the store in `folder`, which is made if need be (mode 0700). An existing store is left alone.
    ///
    /// Errors: the folder is in use, holds a newer store or one that has lost its `FORMAT`, or cannot be written.
    pub fn create(folder: &Path) -> Result<Created, StoreError> {
        folder::opening::create(folder)
    }

    /// The user and the group that the store in `folder` belongs to; none where there is no folder.
    #[must_use]
    pub fn owner(folder: &Path) -> Option<(u32, u32)> {
        folder::ownership::owner(folder)
    }

    /// Looks whether a process of user `own` can open the store in `folder`, of what can be seen from outside.
    ///
    /// Errors: missing, newer, somebody else's, on a disk that is read-only; each says what to do.
    pub fn look(folder: &Path, own: u32) -> Result<(), StoreError> {
        folder::ownership::look(folder, own)
    }

    /// Opens the store in `folder`, which must exist and be whole, for a tool or a test: nobody logs in beside it. One of an older format is
    /// written anew first, which may take minutes.
    ///
    /// Units: `cache_bytes` of sled's page cache (not a cap on memory).
    /// Errors: missing, in use, newer, damaged, gone back to an older state, no room to write it anew; each says what to do.
    pub fn open(
        folder: &Path,
        cache_bytes: u64,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        let listeners = Listeners::nobody();
        Self::open_with(folder, cache_bytes, OnLoss::Refuse, listeners, on_failure)
    }

    /// The same for a test of a store that is not whole.
    #[cfg(test)]
    pub(super) fn open_in_test(folder: &Path, on_loss: OnLoss) -> Result<Self, StoreError> {
        let listeners = Listeners::nobody();
        Self::open_with(folder, 8 << 20, on_loss, listeners, Box::new(|_| {}))
    }

    /// The same, as if its rows were far away.
    #[cfg(test)]
    pub(crate) fn open_far(folder: &Path, listeners: Listeners) -> Result<Self, StoreError> {
        Ok(Self {
            reads_block: true,
            ..Self::open_heard(folder, listeners)?
        })
    }

    /// The same for a test in which somebody logs in.
    #[cfg(test)]
    pub(crate) fn open_heard(folder: &Path, listeners: Listeners) -> Result<Self, StoreError> {
        Self::open_with(folder, 1 << 20, OnLoss::Refuse, listeners, Box::new(|_| {}))
    }

    /// The same for whoever lets somebody in, as `listeners` say; and says what is done with a store that is not whole.
    pub fn open_with(
        at: &Path,
        cache_bytes: u64,
        on_loss: OnLoss,
        listeners: Listeners,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        let opened = folder::opening::open(at, cache_bytes, on_loss, listeners, on_failure);
        match &opened {
            Ok(_) => refusal::clear(at),
            Err(error) => refusal::note_error(at, error),
        }
        let Opened {
            folder,
            tables,
            memory,
            found,
        } = opened?;
        Ok(Self {
            tables,
            reads_block: folder.reads_block(),
            backend: Box::new(folder),
            memory,
            found,
            folder: at.to_owned(),
            database: None,
        })
    }
}

/// A store in a database. Which one, and where its server is, is written as libpq reads it: `host=/run/postgresql dbname=saslcertd`.
#[cfg(feature = "postgres")]
impl Store {
    /// Creates the store in a database that is there, and gives `role` the rights that a daemon needs. An existing store is left alone.
    ///
    /// Errors: the words name no database; it can't be reached, or has tables of another version; each says what to do.
    pub fn create_in_database(database: &str, role: Option<&str>) -> Result<Created, StoreError> {
        database::schema::create(place(database)?, role)
    }

    /// The same words as they may be shown.
    ///
    /// Errors: they name no database.
    pub fn database_in_words(database: &str) -> Result<String, StoreError> {
        Ok(place(database)?.to_string())
    }

    /// Looks at a database, as the user of this thread, and with what `environment` says; nothing is opened, and nothing written.
    ///
    /// Errors: the words name no database; it can't be reached, or would lose what it has acknowledged; each says what to do.
    pub fn look_at_database(
        database: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<DatabaseSeen, StoreError> {
        database::looking::look(place_by(database, environment)?)
    }

    /// Opens the store in a database for a tool or a test: nobody logs in beside it. In `folder`, which is made if need be, stands how far it
    /// had come.
    ///
    /// Errors: the words name no database; it can't be reached, has no store or one of another version, is served by another daemon,
    /// or has gone back to an older state unless `on_loss` accepts that; each says what to do.
    pub fn open_database(
        database: &str,
        folder: &Path,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        let nobody = Listeners::nobody();
        Self::open_database_with(database, folder, OnLoss::Refuse, nobody, on_failure)
    }

    /// The same for whoever lets somebody in, as `listeners` say; and says what is done with a database that has gone back.
    pub fn open_database_with(
        database: &str,
        folder: &Path,
        on_loss: OnLoss,
        listeners: Listeners,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        let opened = place(database).and_then(|place| {
            database::opening::open(place, folder, on_loss, listeners, on_failure)
        });
        match &opened {
            Ok(_) => refusal::clear(folder),
            Err(error) => refusal::note_error(folder, error),
        }
        let database::opening::Opened {
            database,
            tables,
            memory,
            found,
        } = opened?;
        let place = database.place();
        Ok(Self {
            tables,
            reads_block: database.reads_block(),
            backend: Box::new(database),
            memory,
            found,
            folder: folder.to_owned(),
            database: Some(place),
        })
    }
}

#[cfg(feature = "postgres")]
fn place(words: &str) -> Result<database::place::Place, StoreError> {
    place_by(words, |name| std::env::var(name).ok())
}

#[cfg(feature = "postgres")]
fn place_by(
    words: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<database::place::Place, StoreError> {
    database::place::Place::of(words, environment).map_err(|error| StoreError::Database {
        place: "--database".to_owned(),
        problem: error.to_string(),
    })
}
