//! `status`: what the daemon says of itself. Its asker may be of another version, and tells by it which one the daemon is of: what it
//! does not find counts as nothing.
//!
//! Must not know: what is well, and what is not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::admin::EndedCheck;
use super::request::{Lane, Request};
use super::sessions::{Accounts, HostRemark, Module};
use crate::identity::{Host, ScramHash, UnixSeconds};
use crate::policy::access::Role;
use crate::wording::sharing::Sharer;

/// `status`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The last page's `next`.
    pub after: Option<Host>,
}

impl Request for Status {
    const METHOD: &'static str = "status";
    type Answer = DaemonState;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// The daemon's state, with a page of its hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DaemonState {
    /// Is all well?
    pub healthy: bool,
    /// Its own version.
    pub version: String,
    /// That of the protocol which it speaks.
    pub protocol: u32,
    /// How long it has run, in seconds.
    pub uptime_seconds: u64,
    /// Its store.
    pub store: StoreState,
    /// The connections, in the order in which they came.
    pub connections: Vec<ConnectionState>,
    /// The server that was refused last for its version of the protocol.
    pub stranger: Option<Stranger>,
    /// Its hosts, in the order of their names.
    pub hosts: Vec<HostState>,
    /// To be asked for next; none behind the last page.
    pub next: Option<Host>,
}

/// The daemon's store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreState {
    /// Its folder.
    pub path: PathBuf,
    /// Records of certificates.
    pub certificates: u64,
    /// Accounts with at least one.
    pub accounts: u64,
    /// Revoked keys.
    pub revoked_keys: u64,
    /// Bytes of its files.
    pub bytes_on_disk: u64,
    /// Reads that failed because of a damaged record, since the start.
    pub corrupt_reads: u64,
    /// Is nothing added for lack of room?
    pub disk_nearly_full: bool,
    /// How many commits it has seen.
    pub changes: u64,
    /// Why `SEQUENCE` can't be written, in words.
    pub sequence_problem: Option<String>,
    /// The last check that has ended.
    pub check: Option<EndedCheck>,
    /// The loss that was accepted last.
    pub accepted_loss: Option<AcceptedLoss>,
    /// Who else serves it; none where nobody can.
    pub shared: Option<SharedState>,
}

/// A store that several daemons may serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharedState {
    /// The number of the last change.
    pub head: u64,
    /// Those that serve it, this one first, and those that did so within the last hour.
    pub daemons: Vec<SharerState>,
    /// What has the store when its machine is lost.
    pub standbys: StandbyState,
}

/// A daemon that serves a store of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharerState {
    /// The name of its machine.
    pub machine: String,
    /// Its process there.
    pub pid: u32,
    /// Is it the one that answers?
    pub this: bool,
    /// For how long nothing was heard of it, in seconds, if its lease has run out; as long as this daemon has watched.
    pub silent_seconds: Option<u64>,
    /// So many of the last changes it has not seen yet.
    pub behind: u64,
    /// How long its askers wait for an answer at most, in milliseconds.
    pub waits_ms: u64,
}

impl SharerState {
    /// For people.
    #[must_use]
    pub fn in_words(&self) -> Sharer {
        Sharer {
            machine: self.machine.clone(),
            pid: self.pid,
            is_this: self.this,
            silent_seconds: self.silent_seconds,
            behind: self.behind,
            waits_ms: self.waits_ms,
        }
    }
}

/// The standbys of a database that its commits wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StandbyState {
    /// Which they are, as the database's server is told; empty: none.
    pub names: String,
    /// How many of them are there; none if the daemon's role may not see that.
    pub there: Option<u64>,
    /// Why an answered revocation may be lost all the same, or that this can't be seen, in words with the line that mends it.
    pub problem: Option<String>,
}

/// A loss that an admin has accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AcceptedLoss {
    /// When it was accepted.
    pub at: UnixSeconds,
    /// So many commits are missing at the end.
    pub changes: u64,
    /// These tables are not as they were written.
    pub tables: Vec<String>,
    /// Was it accepted at this start?
    pub new: bool,
}

/// Somebody who is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionState {
    /// Which connection.
    pub id: u64,
    /// As which user.
    pub uid: u32,
    /// In which process, if the kernel says so.
    pub pid: Option<i32>,
    /// Its role.
    pub role: Role,
    /// The version of the protocol that it speaks; none before it has said hello.
    pub protocol: Option<u32>,
    /// Its own name and version.
    pub software: Option<String>,
    /// The module that asks, if it is one.
    pub module: Option<Module>,
    /// How long it waits for a yes at most, in milliseconds: the longest that it has said.
    pub waits_ms: Option<u32>,
    /// How many sessions it reports.
    pub sessions: usize,
}

/// The server that was refused last for its version of the protocol, and has not come back with ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stranger {
    /// As which user.
    pub uid: u32,
    /// In which process.
    pub pid: Option<i32>,
    /// Its own name and version.
    pub software: String,
    /// The version of the protocol that it speaks.
    pub protocol: u32,
    /// The module that asks, if it is one.
    pub module: Option<Module>,
}

/// A host as it was declared last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// The host.
    pub host: Host,
    /// Where its accounts live.
    #[serde(default)]
    pub accounts: Accounts,
    /// Does it get EXTERNAL?
    #[serde(default)]
    pub ready: bool,
    /// Has a connection declared it that is open now?
    #[serde(default)]
    pub attached: bool,
    /// Those of its accounts that live here.
    #[serde(default)]
    pub passwords: PasswordCensus,
    /// Its options.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// The value of `saslcertd_trust`.
    #[serde(default)]
    pub trust: String,
    /// The files of its authorities, where one has a say.
    #[serde(default)]
    pub authorities: Option<AuthorityFilesState>,
    /// The problems with its options.
    #[serde(default)]
    pub errors: Vec<HostRemark>,
}

/// The accounts of a host that live here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PasswordCensus {
    /// How many there are.
    pub accounts: u64,
    /// The SCRAM hashes that all of them have.
    pub scram: Vec<ScramHash>,
    /// How many lack which.
    pub without: BTreeMap<ScramHash, u64>,
}

/// The files of a host's authorities, as the daemon has read them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthorityFilesState {
    /// The authorities themselves.
    pub ca_file: CaFileState,
    /// The file of their revocation lists.
    pub crl_file: Option<CrlFileState>,
}

/// A file of authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct CaFileState {
    /// The file itself.
    #[serde(flatten)]
    pub file: FileState,
    /// The authorities in it; none if it can't be used.
    pub authorities: Option<Vec<AuthorityState>>,
}

/// A file of revocation lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct CrlFileState {
    /// The file itself.
    #[serde(flatten)]
    pub file: FileState,
    /// The lists in it; none if it can't be used.
    pub lists: Option<Vec<ListState>>,
    /// The authorities that none of the lists is from, by their names.
    pub without_list: Vec<String>,
    /// Does a list that is older than it promised refuse what its authority issued?
    pub refuses_expired: bool,
}

/// A file that an option names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct FileState {
    /// Where it is.
    pub path: PathBuf,
    /// Why it can't be used, in words.
    pub problem: Option<String>,
    /// Is that because the daemon may not read it, or can't?
    pub unreadable: bool,
    /// Does a private key stand in it?
    pub private_key: bool,
}

/// An authority.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AuthorityState {
    /// Its name.
    pub subject: String,
    /// First second of its validity.
    pub not_before: UnixSeconds,
    /// Last second of its validity.
    pub not_after: UnixSeconds,
    /// Why it can vouch for nobody, in words.
    #[serde(default)]
    pub problem: Option<String>,
}

/// A revocation list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListState {
    /// The name of the authority that it is from.
    pub issuer: String,
    /// Until when a newer one is promised.
    pub next_update: UnixSeconds,
    /// How many certificates it lists.
    #[serde(default)]
    pub revoked: usize,
    /// Why it does not count, in words.
    #[serde(default)]
    pub problem: Option<String>,
}
