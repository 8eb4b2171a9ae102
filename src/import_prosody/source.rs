//! Where accounts come from: what the importer asks of Prosody's data folder and of its database.
//!
//! Must not know: how either keeps it.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use super::lua_table::Table;
use crate::identity::{BareJid, Host};

/// A place where Prosody's storage keeps a table for each host, user and [`ProsodyStore`].
pub(super) trait Source {
    /// The hosts of which one of `stores` is there.
    fn hosts(
        &self,
        stores: &[ProsodyStore],
        problems: &mut Vec<Problem>,
    ) -> Result<BTreeSet<Host>, SourceError>;

    /// The users of `host` who have something in `store`.
    fn users(
        &self,
        host: &Host,
        store: ProsodyStore,
        problems: &mut Vec<Problem>,
    ) -> Result<BTreeSet<BareJid>, SourceError>;

    /// Where `store` of `user` is, for people.
    fn place(&self, user: &BareJid, store: ProsodyStore) -> String;

    /// The data of `user` in `store`; a problem when it is no table.
    fn read(
        &self,
        user: &BareJid,
        store: ProsodyStore,
    ) -> Result<Result<Option<Table>, Problem>, SourceError>;
}

/// Why a place can't be read at all. The admin's, all of them: nothing that is read further on would be whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// A folder that was named is a file.
    #[error("{0} is not a folder")]
    NotFolder(String),
    /// A database file that was named is not there.
    #[cfg(feature = "sql")]
    #[error("there is no file {0}")]
    NoFile(String),
    /// A database of something else.
    #[cfg(feature = "sql")]
    #[error("{0} is not a database of mod_storage_sql: it has no table prosody")]
    NoTable(String),
    /// It is there, and its rights, the disk or its form stand against it.
    #[error("cannot read {place}")]
    Unreadable {
        /// A folder or a file.
        place: String,
        /// Why not.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
}

impl SourceError {
    /// Makes a problem of an error of the system, or of the database.
    pub(super) fn reading<E: Error + Send + Sync + 'static>(
        place: &Path,
    ) -> impl FnOnce(E) -> Self {
        let place = place.display().to_string();
        move |cause| Self::Unreadable {
            place,
            cause: cause.into(),
        }
    }
}

/// A store that Prosody or one of its modules keeps for each user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProsodyStore {
    /// Of `internal_hashed` and `internal_plain`.
    Accounts,
    /// Of `mod_client_certs`.
    ClientCerts,
    /// Of our own module.
    Saslcertd,
}

/// Something that a person must look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where it is: a path, or what to look for in the database.
    pub(super) place: String,
    /// Whether it stands for an account.
    pub(super) is_account: bool,
    pub(super) text: String,
}

impl ProsodyStore {
    /// How Prosody calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::ClientCerts => "client_certs",
            Self::Saslcertd => "saslcertd",
        }
    }
}

/// The account `username` of `host`, if somebody can log in under this name as it stands.
pub(super) fn account_named(username: &str, host: &Host) -> Option<BareJid> {
    let account = BareJid::of(username, host).ok()?;
    (account.username() == username).then_some(account)
}

/// The host `name`, if it is prepared as it stands.
pub(super) fn host_named(name: &str) -> Option<Host> {
    let host = Host::parse(name).ok()?;
    (host.as_str() == name).then_some(host)
}

/// The words for a user's name that no login can have.
pub(super) const NOBODYS_NAME: &str = "nobody can log in under its name";
/// The same of a host's.
pub(super) const NO_HOSTS_NAME: &str = "its name is not a host's";
