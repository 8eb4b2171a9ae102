//! What is remembered of hosts.

use crate::identity::Host;

use super::committer::{Planned, Row, Table};
use super::record::{self, HostRecord};
use super::{Store, StoreError};

impl Store {
    /// Remembers how `host` was declared. Blocks until it is on the disk.
    pub fn remember_host(&self, host: &Host, declared: HostRecord) -> Result<(), StoreError> {
        let key = host.as_str().as_bytes().to_vec();
        self.committer.commit(Some(key.clone()), move |_| {
            Ok(Planned {
                rows: vec![Row {
                    table: Table::Hosts,
                    key,
                    value: Some(record::encode(&declared)),
                }],
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
}
