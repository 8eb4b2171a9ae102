//! `status`: the state of the store, of the hosts, and of the asker's connection, for an administrator.
//!
//! Must not know: how it is shown, what should be done about it.

use std::time::Duration;

use serde_json::json;

use super::super::authorities::AuthorityFiles;
use super::super::connection::Connection;
use super::super::declared_host::{DeclaredHost, remarks};
use super::super::disk_room::DiskRoom;
use super::super::hosts::Hosts;
use super::super::reply::Answered;
use super::super::servers::Servers;
use super::super::sessions::Sessions;
use super::super::store_checks::Checks;
use crate::identity::{Host, ScramHash};
use crate::policy::health::{self, Accepted, AuthorityWord, HealthFacts};
use crate::policy::standby::{StandbyFacts, standby};
use crate::protocol::{
    AcceptedLoss, ConnectionState, DaemonState, HostState, PROTOCOL_VERSION, PasswordCensus,
    SharedState, SharerState, StandbyState, Status, StoreState,
};
use crate::store::{Sharer, Sharing, Standbys, Store, StoreError};
use crate::wording::sharing as wording;

/// The parts that an administrator looks at.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Overview<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) servers: &'a Servers,
    pub(in crate::daemon) sessions: &'a Sessions,
    pub(in crate::daemon) authorities: &'a AuthorityFiles,
    pub(in crate::daemon) checks: &'a Checks,
    pub(in crate::daemon) disk_room: &'a DiskRoom,
}

impl Overview<'_> {
    pub(in crate::daemon) fn status(
        &self,
        question: Status,
        uptime: Duration,
    ) -> Answered<DaemonState> {
        let Status { after } = question;
        let connections = self.servers.all();
        let is_served = |host: &Host| connections.iter().any(|one| one.serves(host));
        let authorities = self.authority_word(is_served);
        let (hosts, next) = self.page_of_hosts(after.as_ref(), is_served);
        let mut connections: Vec<ConnectionState> =
            connections.iter().map(|one| self.connection(one)).collect();
        connections.sort_by_key(|one| one.id);
        let store = self.store_state()?;
        Ok(DaemonState {
            healthy: health::is_healthy(&self.health(&store, authorities)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL_VERSION,
            uptime_seconds: uptime.as_secs(),
            store,
            connections,
            stranger: self.hosts.stranger().clone(),
            hosts,
            next,
        })
    }

    /// Of the hosts that are served: those of one that was given up are nobody's problem.
    fn authority_word(&self, is_served: impl Fn(&Host) -> bool) -> AuthorityWord {
        let hosts = self.hosts.behind(None);
        let mut served = hosts.iter().filter(|(host, _)| is_served(host));
        let is_heard = served.all(|(_, known)| {
            let problems = self.authorities.problems_of(&known.meaning.policy);
            problems.is_empty()
        });
        if is_heard {
            AuthorityWord::Heard
        } else {
            AuthorityWord::Missing
        }
    }

    fn health(&self, store: &StoreState, authorities: AuthorityWord) -> HealthFacts {
        HealthFacts {
            corrupt_reads: store.corrupt_reads,
            was_whole: store.check.as_ref().map(|check| check.whole),
            lacks_sequence: store.sequence_problem.is_some(),
            is_disk_nearly_full: store.disk_nearly_full,
            accepted: match self.store.found().accepted {
                Some(_) => Accepted::Loss,
                None => Accepted::Nothing,
            },
            authorities,
        }
    }

    fn store_state(&self) -> Answered<StoreState> {
        let figures = self.store.figures()?;
        let loss = match self.store.accepted_loss() {
            Ok(loss) => loss,
            // Counted with the others that could not be read.
            Err(StoreError::Corrupt { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let is_loss_new = self.store.found().accepted.is_some();
        Ok(StoreState {
            path: self.store.place().into(),
            certificates: figures.certificates,
            accounts: figures.accounts,
            revoked_keys: figures.revoked_keys,
            bytes_on_disk: figures.bytes_on_disk,
            corrupt_reads: figures.corrupt_reads,
            disk_nearly_full: self.disk_room.is_nearly_full(),
            changes: self.store.commits(),
            sequence_problem: self.store.sequence_problem(),
            check: self.checks.last(),
            shared: self.store.sharing()?.map(shared),
            accepted_loss: loss.map(|loss| AcceptedLoss {
                at: loss.at,
                changes: loss.commits,
                tables: loss.tables,
                new: is_loss_new,
            }),
        })
    }

    fn connection(&self, connection: &Connection) -> ConnectionState {
        let hello = connection.introduction();
        let protocol = hello.as_ref().map(|_| PROTOCOL_VERSION);
        let waits_ms = hello.as_ref().and_then(|hello| hello.waits_ms);
        let (software, module) = hello.map(|hello| (hello.software, hello.module)).unzip();
        ConnectionState {
            id: connection.id,
            uid: connection.peer.uid,
            pid: connection.peer.pid,
            role: connection.peer.role,
            protocol,
            software,
            module: module.flatten(),
            waits_ms,
            sessions: self.sessions.count(connection.id),
        }
    }

    /// The hosts behind `after`, and behind which one there are more.
    fn page_of_hosts(
        &self,
        after: Option<&Host>,
        is_served: impl Fn(&Host) -> bool,
    ) -> (Vec<HostState>, Option<Host>) {
        let behind = self.hosts.behind(after);
        let mut behind = behind.iter().peekable();
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some((host, known)) = behind.next() {
            let row = self.host_state(host, known, is_served(host));
            bytes += json!(row).to_string().len();
            page.push(row);
            if bytes > STATUS_PAGE_BYTES && behind.peek().is_some() {
                return (page, Some(host.clone()));
            }
        }
        (page, None)
    }

    fn host_state(&self, host: &Host, known: &DeclaredHost, is_served: bool) -> HostState {
        let trust = &known.meaning.policy.trust;
        HostState {
            host: host.clone(),
            accounts: known.accounts,
            ready: known.meaning.errors.is_empty(),
            attached: is_served,
            passwords: self.passwords(host),
            options: known.options.clone(),
            trust: trust.name().to_owned(),
            authorities: trust.ca().map(|files| self.authorities.described(files)),
            errors: remarks(&known.meaning.errors),
        }
    }

    /// How many accounts of the host live here, and how many of them hold a SCRAM hash back.
    fn passwords(&self, host: &Host) -> PasswordCensus {
        let census = self.store.census(host);
        let without = |hash| (hash, census.without(hash));
        PasswordCensus {
            accounts: census.accounts,
            scram: census.common(),
            without: ScramHash::ALL.into_iter().map(without).collect(),
        }
    }
}

/// As the protocol says it.
fn shared(sharing: Sharing) -> SharedState {
    let Standbys { names, there, .. } = &sharing.standbys;
    SharedState {
        head: sharing.head,
        standbys: StandbyState {
            problem: standby_problem(&sharing),
            names: names.clone(),
            there: *there,
        },
        daemons: sharing.daemons.into_iter().map(sharer).collect(),
    }
}

/// A daemon, as the protocol says it.
pub(super) fn sharer(sharer: Sharer) -> SharerState {
    SharerState {
        machine: sharer.machine,
        pid: sharer.pid,
        this: sharer.is_this,
        silent_seconds: sharer.silent_for.map(|silent| silent.as_secs()),
        behind: sharer.behind,
        // Proof: it was milliseconds in 64 bits before.
        waits_ms: u64::try_from(sharer.patience.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Why an answered revocation may be lost, in words.
pub(super) fn standby_problem(sharing: &Sharing) -> Option<String> {
    let Standbys { names, there, role } = &sharing.standbys;
    let has_lease = |one: &&Sharer| one.silent_for.is_none();
    let word = standby(StandbyFacts {
        daemons: sharing.daemons.iter().filter(has_lease).count(),
        are_named: !names.is_empty(),
        there: *there,
    });
    wording::standby_problem(word, names, role)
}

/// A page of hosts is closed when it is larger than this.
const STATUS_PAGE_BYTES: usize = 1024 * 1024;
