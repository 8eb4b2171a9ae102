//! The records of hosts: how each was declared, and how much the store holds of its accounts.
//!
//! Must not know: which hosts are served, what their options mean.

use std::ops::RangeInclusive;

use crate::identity::{Enrolment, Host, UnixSeconds};

use super::Store;
use super::counts::HostCounts;
use super::edit::{Row, Table};
use super::error::StoreError;
use super::job::{About, Claim, Planned};
use super::record::{self, HostRecord};
use super::tables::Tables;

impl Store {
    /// Remembers how these hosts were declared. Blocks until it is on the disk.
    pub fn remember_hosts(&self, declared: Vec<(Host, HostRecord)>) -> Result<(), StoreError> {
        let hosts = declared.iter().map(|(host, _)| Claim::Host(host.clone()));
        let about = About::These(hosts.collect());
        self.writer()?.commit(about, move |_| {
            let row = |(host, record): &(Host, HostRecord)| Row {
                table: Table::Hosts,
                key: host.as_str().as_bytes().to_vec(),
                value: Some(record::encode(record)),
            };
            Ok(Planned {
                rows: declared.iter().map(row).collect(),
                outcome: (),
            })
        })
    }

    /// Every host that was ever declared.
    pub fn hosts(&self) -> Result<Vec<(Host, HostRecord)>, StoreError> {
        let mut hosts = Vec::new();
        for row in self.tables.scan(Table::Hosts, &[]) {
            let (key, value) = row?;
            let name = String::from_utf8_lossy(&key);
            let host =
                Host::parse(&name).map_err(|error| self.tables.corrupt(Table::Hosts, &error))?;
            hosts.push((host, self.tables.decoded(Table::Hosts, &value)?));
        }
        Ok(hosts)
    }

    /// Forgets that the host was declared; the records of its accounts stay. Blocks until it is on the disk.
    pub fn forget_host(&self, host: &Host) -> Result<(), StoreError> {
        let key = host.as_str().as_bytes().to_vec();
        self.writer()?.commit(of_host(host), move |_| {
            Ok(Planned {
                rows: vec![Row {
                    table: Table::Hosts,
                    key,
                    value: None,
                }],
                outcome: (),
            })
        })
    }

    /// How much of the host's accounts there is. From memory.
    pub fn counts_of(&self, host: &Host) -> Result<HostCounts, StoreError> {
        self.tables.require_sound()?;
        Ok(self.memory.counts.lock().of(host.as_str().as_bytes()))
    }

    /// The certificates of `host` that expire within `when`, the first to expire first, without those of accounts that were
    /// replaced. Blocks. A damaged row is passed over, and counted as such.
    ///
    /// Errors: the rows are those of the store; more may come behind one.
    pub fn expiring(
        &self,
        host: &Host,
        when: &RangeInclusive<UnixSeconds>,
    ) -> impl Iterator<Item = Result<Enrolment, StoreError>> {
        self.tables.expiring(host, when)
    }

    /// Up to when the accounts of `host` have heard of what expires.
    pub fn noticed_until(&self, host: &Host) -> Result<Option<UnixSeconds>, StoreError> {
        noticed(&self.tables, &noticed_key(host))
    }

    /// Remembers up to when they have, if that is still what it was; is it? Blocks until it is on the disk.
    pub fn set_noticed_until(
        &self,
        host: &Host,
        before: Option<UnixSeconds>,
        until: UnixSeconds,
    ) -> Result<bool, StoreError> {
        let key = noticed_key(host);
        self.writer()?.commit(of_host(host), move |tables| {
            if noticed(tables, &key)? != before {
                return Ok(Planned::nothing(false));
            }
            Ok(Planned {
                rows: vec![Row {
                    table: Table::Meta,
                    key,
                    value: Some(record::encode(&until)),
                }],
                outcome: true,
            })
        })
    }
}

/// A change of what is remembered of a host.
fn of_host(host: &Host) -> About {
    About::These([Claim::Host(host.clone())].into())
}

fn noticed(tables: &Tables, key: &[u8]) -> Result<Option<UnixSeconds>, StoreError> {
    let value = tables.read(Table::Meta, key)?;
    value
        .map(|value| tables.decoded(Table::Meta, &value))
        .transpose()
}

fn noticed_key(host: &Host) -> Vec<u8> {
    [NOTICED_ROW, host.as_str().as_bytes()].concat()
}

const NOTICED_ROW: &[u8] = b"noticed ";
