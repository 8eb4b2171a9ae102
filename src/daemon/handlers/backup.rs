//! `export`: everything that is remembered, page by page.
//!
//! Must not know: the form of a record.

mod import;
mod record;

use serde_json::Value;

use super::super::disk_room::DiskRoom;
use super::super::gate::Gate;
use super::super::hosts::Hosts;
use super::super::reply::Answered;
use super::super::servers::Servers;
use crate::identity::{BareJid, Host};
use crate::protocol::{Export, ExportPage, Exported, Fault};
use crate::store::{Cursor, Store, StoreError, View};
use record::Record;

/// Hands out what is remembered, and takes it back.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Backup<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) servers: &'a Servers,
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
        let (behind, inside) = match after {
            None | Some(Exported::Host { .. }) => (None, None),
            Some(Exported::Account(account)) => (Some(account), None),
            Some(Exported::Inside { account, place }) => {
                let place = Cursor::from_bytes(&place).ok_or_else(|| Fault::WrongParams {
                    problem: "after.place: it is no place of an account".to_owned(),
                })?;
                (Some(account.clone()), Some((account, place)))
            }
        };
        if let Some((account, place)) = inside {
            let view = self.store.view(&account);
            let rest = readable_records(&view, Some(&place))?;
            let left = rest.add_to(&mut page, &account);
            if left.is_some() || page.is_full() {
                let next = left.unwrap_or(Exported::Account(account));
                return Ok(page.into_answer(Some(next)));
            }
        }
        // The whole page at once: each time waits for the change that is being made.
        let mut bytes = page.bytes;
        let read = self.store.accounts_behind(behind, move |view| {
            let records = readable_records(view, None)?;
            bytes += records.bytes;
            let wants_another = bytes <= EXPORT_PAGE_BYTES && records.left.is_none();
            Ok(((view.jid().clone(), records), wants_another))
        });
        let (read, last) = read?;
        let mut next = last.map(Exported::Account);
        for (account, records) in read {
            next = records.add_to(&mut page, &account).or(next);
        }
        Ok(page.into_answer(next))
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
    records: Vec<Value>,
    bytes: usize,
}

impl Page {
    fn add(&mut self, record: &Record) {
        self.add_value(record.value());
    }

    fn add_value(&mut self, record: Value) {
        self.bytes += record.to_string().len();
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.bytes > EXPORT_PAGE_BYTES
    }

    fn into_answer(self, next: Option<Exported>) -> ExportPage {
        tracing::info!(records = self.records.len(), "export: yes");
        let records = self.records;
        ExportPage { records, next }
    }
}

/// Records of an account.
#[derive(Default)]
struct OfAccount {
    records: Vec<Value>,
    bytes: usize,
    /// Up to where in the account, if it has more than fit into a page.
    left: Option<Cursor>,
}

impl OfAccount {
    fn add(&mut self, record: &Record) {
        let record = record.value();
        self.bytes += record.to_string().len();
        self.records.push(record);
    }

    /// Up to where in the account, if there is more of it.
    fn add_to(self, page: &mut Page, account: &BareJid) -> Option<Exported> {
        for record in self.records {
            page.add_value(record);
        }
        let account = account.clone();
        self.left.map(|place| Exported::Inside {
            account,
            place: place.to_bytes(),
        })
    }
}

/// The records of an account behind `behind`, or the one that says why there are none.
fn readable_records(view: &View<'_>, behind: Option<&Cursor>) -> Result<OfAccount, StoreError> {
    match records(view, behind) {
        Err(error @ StoreError::Corrupt { .. }) => {
            let mut unreadable = OfAccount::default();
            unreadable.add(&Record::Unreadable {
                account: view.jid().clone(),
                problem: error.to_string(),
            });
            Ok(unreadable)
        }
        read => read,
    }
}

fn records(view: &View<'_>, behind: Option<&Cursor>) -> Result<OfAccount, StoreError> {
    let mut found = OfAccount::default();
    for thing in view.things_behind(behind) {
        let (place, thing) = thing?;
        if let Some(record) = Record::of(view.jid(), thing) {
            found.add(&record);
        }
        // One page holds so much of one account, whatever else is on it.
        if found.bytes > MAX_ACCOUNT_BYTES {
            found.left = Some(place);
            break;
        }
    }
    Ok(found)
}

/// A page of an export is closed when it is larger than this.
const EXPORT_PAGE_BYTES: usize = 256 * 1024;
/// An account that is larger than this goes on on the next page: with what is on the page already, well below what an answer holds.
const MAX_ACCOUNT_BYTES: usize = 2 * 1024 * 1024;
