//! `status`: what the daemon is doing.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::declared_host::DeclaredHost;
use super::hosts::remarks;
use super::{Answered, Service};
use crate::identity::{Host, ScramHash};
use crate::protocol::{PROTOCOL_VERSION, Status};
use crate::store::StoreError;

impl Service {
    /// How many accounts of the host live here, and how many of them hold a SCRAM hash back.
    fn passwords(&self, host: &Host) -> Value {
        let census = self.store.census(host);
        let without = |hash| census.without(hash);
        json!({
            "accounts": census.accounts,
            "scram": census.common(),
            "without": {
                "SHA-1": without(ScramHash::Sha1),
                "SHA-256": without(ScramHash::Sha256),
            },
        })
    }

    pub(in crate::daemon) fn status(&self, question: Status, uptime: Duration) -> Answered {
        let Status { after } = question;
        let figures = self.store.figures()?;
        let connections = self.servers.all();
        let is_served = |host: &Host| connections.iter().any(|one| one.serves(host));
        // Those of a host that was given up are nobody's problem.
        let is_unasked = {
            let hosts = self.hosts.behind(None);
            let mut served = hosts.iter().filter(|(host, _)| is_served(host));
            served.any(|(_, known)| !self.problems_of(&known.declared.policy).is_empty())
        };
        let (hosts, next) = {
            let behind = self.hosts.behind(after.as_ref());
            let status = |(host, known): (&Host, &DeclaredHost)| {
                json!({
                    "host": host,
                    "accounts": known.accounts,
                    "ready": known.declared.errors.is_empty(),
                    "attached": is_served(host),
                    "passwords": self.passwords(host),
                    "options": known.options,
                    "trust": known.declared.policy.trust.name(),
                    "authorities": known.declared.policy.trust.ca().map(|files| self.authorities.described(files)),
                    "errors": remarks(&known.declared.errors),
                })
            };
            let mut behind = behind.iter().peekable();
            let (mut page, mut bytes, mut next) = (Vec::new(), 0, None);
            while let Some((host, known)) = behind.next() {
                let row = status((host, known));
                bytes += row.to_string().len();
                page.push(row);
                if bytes > STATUS_PAGE_BYTES && behind.peek().is_some() {
                    next = Some(host.clone());
                    break;
                }
            }
            (page, next)
        };
        let mut rows: Vec<Value> = connections
            .iter()
            .map(|connection| {
                let hello = connection.introduction();
                let protocol = hello.as_ref().map(|_| PROTOCOL_VERSION);
                let (software, module) = hello.map(|hello| (hello.software, hello.module)).unzip();
                json!({
                    "id": connection.id,
                    "uid": connection.peer.uid,
                    "pid": connection.peer.pid,
                    "role": connection.peer.role.name(),
                    "protocol": protocol,
                    "software": software,
                    "module": module,
                    "sessions": self.sessions.count(connection.id),
                })
            })
            .collect();
        rows.sort_by_key(|row| row.get("id").and_then(Value::as_u64));
        let is_disk_nearly_full = self.disk_room.is_nearly_full();
        let (is_whole, check) = self.checks.described();
        let loss = match self.store.accepted_loss() {
            Ok(loss) => loss,
            // Counted with the others that could not be read.
            Err(StoreError::Corrupt { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let is_loss_new = self.store.found().accepted.is_some();
        let sequence_problem = self.store.sequence_problem();
        let is_store_well = figures.corrupt_reads == 0
            && is_whole
            && !is_loss_new
            && sequence_problem.is_none()
            && !is_disk_nearly_full;
        Ok(json!({
            "healthy": is_store_well && !is_unasked,
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": PROTOCOL_VERSION,
            "uptime_seconds": uptime.as_secs(),
            "store": {
                "path": self.store.folder(),
                "certificates": figures.certificates,
                "accounts": figures.accounts,
                "revoked_keys": figures.revoked_keys,
                "bytes_on_disk": figures.bytes_on_disk,
                "corrupt_reads": figures.corrupt_reads,
                "disk_nearly_full": is_disk_nearly_full,
                "changes": self.store.commits(),
                "sequence_problem": sequence_problem,
                "check": check,
                "accepted_loss": loss.map(|loss| json!({
                    "at": loss.at,
                    "changes": loss.commits,
                    "tables": loss.tables,
                    "new": is_loss_new,
                })),
            },
            "connections": rows,
            "stranger": *self.hosts.stranger(),
            "hosts": hosts,
            "next": next,
        }))
    }
}

/// A page of hosts is closed when it is larger than this.
const STATUS_PAGE_BYTES: usize = 1024 * 1024;
