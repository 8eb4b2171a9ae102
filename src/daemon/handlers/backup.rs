//! `export`: everything that is remembered, page by page.
//!
//! Must not know: the form of a record.

mod import;
mod record;

use super::super::disk_room::DiskRoom;
use super::super::gate::Gate;
use super::super::hosts::Hosts;
use super::super::reply::Answered;
use crate::identity::Host;
use crate::protocol::{BackupRecord, Export, ExportPage, Exported, Misuse};
use crate::store::{AccountRows, Cursor, ReadLimits, Stop, Store, StoreError};
use record::Record;

/// Hands out what is remembered, and takes it back.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Backup<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) gate: &'a Gate,
    pub(in crate::daemon) disk_room: &'a DiskRoom,
}

impl Backup<'_> {
    pub(in crate::daemon) fn export(&self, question: Export) -> Answered<ExportPage> {
        let Export { after } = question;
        let mut page = Page::default();
        let hosts_behind = match &after {
            None => {
                let secret = self.store.secret().to_vec();
                page.add(&Record::Secret { secret });
                Some(None)
            }
            Some(Exported::Host { host }) => Some(Some(host)),
            Some(Exported::Account(_) | Exported::Inside { .. }) => None,
        };
        if let Some(behind) = hosts_behind
            && let Some(next) = self.export_hosts(&mut page, behind)
        {
            return Ok(page.into_answer(Some(next)));
        }
        let behind = match after {
            None | Some(Exported::Host { .. }) => None,
            Some(Exported::Account(account)) => Some(Stop {
                account,
                inside: None,
            }),
            Some(Exported::Inside { account, place }) => {
                let place = Cursor::from_bytes(&place).ok_or(Misuse::NoSuchPlace)?;
                let inside = Some(place);
                Some(Stop { account, inside })
            }
        };
        let (accounts, stop) = self.store.accounts_behind(behind, LIMITS)?;
        for rows in accounts {
            page.records.extend(readable_records(self.store, &rows)?);
        }
        Ok(
            page.into_answer(stop.map(|Stop { account, inside }| match inside {
                None => Exported::Account(account),
                Some(place) => Exported::Inside {
                    account,
                    place: place.to_bytes(),
                },
            })),
        )
    }

    /// Adds the hosts behind this one; up to where, if there are more.
    fn export_hosts(&self, page: &mut Page, behind: Option<&Host>) -> Option<Exported> {
        let mut hosts = self.hosts.behind(behind).into_iter().peekable();
        while let Some((host, known)) = hosts.next() {
            page.add(&Record::Host {
                host: host.clone(),
                accounts: known.accounts,
                options: known.options.clone(),
            });
            if page.is_full() && hosts.peek().is_some() {
                return Some(Exported::Host { host });
            }
        }
        None
    }
}

/// A page of an export.
#[derive(Default)]
struct Page {
    records: Vec<BackupRecord>,
    bytes: usize,
}

impl Page {
    fn add(&mut self, record: &Record) {
        let record = record.to_backup();
        self.bytes += record.as_str().len();
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.bytes > LIMITS.page_bytes
    }

    fn into_answer(self, next: Option<Exported>) -> ExportPage {
        tracing::info!(records = self.records.len(), "export: yes");
        let records = self.records;
        ExportPage { records, next }
    }
}

/// The records of an account, or the one that says why there are none.
fn readable_records(store: &Store, rows: &AccountRows) -> Result<Vec<BackupRecord>, StoreError> {
    match records(store, rows) {
        Err(error @ StoreError::Corrupt { .. }) => {
            let unreadable = Record::Unreadable {
                account: rows.account().clone(),
                problem: error.to_string(),
            };
            Ok(vec![unreadable.to_backup()])
        }
        read => read,
    }
}

fn records(store: &Store, rows: &AccountRows) -> Result<Vec<BackupRecord>, StoreError> {
    let mut found = Vec::new();
    for thing in store.things(rows) {
        if let Some(record) = Record::of(rows.account(), thing?) {
            found.push(record.to_backup());
        }
    }
    Ok(found)
}

/// An account that is larger goes on on the next page: with a page of others, well below what an answer holds.
const LIMITS: ReadLimits = ReadLimits {
    page_bytes: 256 * 1024,
    account_bytes: 2 * 1024 * 1024,
};
