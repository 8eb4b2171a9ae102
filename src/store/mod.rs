//! The store: it remembers everything that outlives a restart. The only user of sled.
//!
//! A data folder holds `FORMAT` (which layout; written last by `create`), `LOCK` (its one owner), `SEQUENCE` (how far the
//! store had come), `sled/`, and `REFUSED` (why it was not opened the last time). One of an older layout is written anew when it is opened (`migration`).
//! Reads block for microseconds and may be made anywhere; changes go through one writer thread
//! (`committer`) and return when they are on the disk.
//!
//! Must not know: rules, the protocol, the time.

mod accounts;
mod all;
mod census;
mod counts;
mod edit;
mod error;
mod expiry;
mod folder;
mod harmless;
mod hosts;
mod known;
mod link_index;
mod links;
mod recall;
mod record;
pub mod refusal;
mod secret;
mod tables;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::identity::{
    Account, AccountName, BareJid, CertificateName, Enrolment, Fingerprint, Holder, Host, LastUse,
};
use crate::system::lock::{Lock, SharedLock};

pub use all::{AccountRows, Cursor, ReadLimits, Stop};
pub use census::Census;
pub use counts::HostCounts;
pub use edit::Edit;
pub use error::{OnFailure, StoreError};
pub use folder::Created;
pub use folder::committer::Pending;
pub use folder::whole::{Found, Loss, OnLoss, TableCheck};
pub use harmless::{Change, Harmless, NoYes};
pub use known::{Known, Shown};
pub use record::HostRecord;
pub use view::View;

use census::Censuses;
use edit::{Planned, Table};
use folder::committer::Committer;
use folder::layout::{SLED_FOLDER, folder_bytes};
use folder::ledger::Ledger;
use folder::lock::FolderLock;
use folder::reached::Reached;
use link_index::LinkIndex;
use tables::Tables;

/// The open store. One for each data folder and process.
pub struct Store {
    tables: Tables,
    committer: Committer,
    censuses: Arc<Censuses>,
    links: Arc<LinkIndex>,
    ledger: Arc<Lock<Ledger>>,
    reached: Arc<Reached>,
    found: Found,
    secret: SharedLock<[u8; 32]>,
    folder: PathBuf,
    // Held for as long as the store is open.
    _lock: FolderLock,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Records of certificates.
    pub certificates: u64,
    /// Accounts with at least one.
    pub accounts: u64,
    /// Revoked keys.
    pub revoked_keys: u64,
    /// Bytes of sled's files.
    pub bytes_on_disk: u64,
    /// Reads that failed because of a damaged record, since the start.
    pub corrupt_reads: u64,
}

impl Store {
    /// The records of `host` with this fingerprint, any account, any incarnation.
    pub fn enrolments_of(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
    ) -> Result<Vec<Enrolment>, StoreError> {
        self.tables.enrolments_of(fingerprint, host)
    }

    /// The bytes with this fingerprint that stand in a list of `host`; `None`: nowhere, or in damaged records only.
    pub fn certificate(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.tables.certificate(fingerprint, host)
    }

    /// The facts about a certificate on `host`. One look-up.
    pub fn known(&self, shown: Shown<'_>, host: &Host) -> Result<Known, StoreError> {
        self.tables.known(shown, host)
    }

    /// The accounts of `host` in whose lists a certificate with this fingerprint stands, any incarnation.
    pub fn holders_of(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
    ) -> Result<Vec<Holder>, StoreError> {
        let rows = self.tables.known_rows(fingerprint, host);
        rows.map(|row| row.map(|(account, row)| row.holder(account)))
            .collect()
    }

    /// The view of the store's records of `account`.
    #[must_use]
    pub fn view<'a>(&'a self, account: &'a BareJid) -> View<'a> {
        View {
            tables: &self.tables,
            account,
        }
    }

    /// The account of this name whose password lives here, if there is one.
    pub fn account_named(&self, name: &AccountName) -> Result<Option<Account>, StoreError> {
        match name.account() {
            Some(account) => self.view(account).account(),
            None => Ok(None),
        }
    }

    /// Decides a change from the account's present state, writes it and returns when it is on the disk.
    ///
    /// Blocks. `decide` runs in the writer thread, where no other change of any account can come between
    /// its view and its edits; it must be quick.
    ///
    /// Errors: the outer ones are faults, and nothing or everything was written (never half of it); the
    /// inner ones are those of `decide`, and nothing was written.
    pub fn change<T, E>(
        &self,
        account: &BareJid,
        decide: impl FnOnce(&View<'_>) -> Decided<Harmless, T, E> + Send + 'static,
    ) -> Result<Result<T, E>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let plan = self.planned(account, decide);
        self.committer.commit(Some(about(account)), plan)
    }

    /// As [`Store::change`], with any edits: what is revoked, and every change of an account itself. No yes may come between what
    /// the store says before and after it; `closing` keeps it back, and hears what was written.
    pub fn take_back<T, E>(
        &self,
        closing: &impl NoYes,
        account: &BareJid,
        decide: impl FnOnce(&View<'_>) -> Decided<Edit, T, E> + Send + 'static,
    ) -> Result<Result<T, E>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let plan = self.planned(account, with_changes(decide));
        let written = self.committer.commit(Some(about(account)), plan)?;
        Ok(written.map(|written| heard(written, closing, account)))
    }

    /// As [`Store::change`], for one of many changes: it waits for its place among those that wait for the writer, and not for
    /// the disk. A caller that begins many has to bound them.
    pub fn begin_change<T, E>(
        &self,
        account: &BareJid,
        decide: impl FnOnce(&View<'_>) -> Decided<Harmless, T, E> + Send + 'static,
    ) -> Result<Pending<'_, Result<T, E>>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let plan = self.planned(account, decide);
        self.committer.begin_in_turn(Some(about(account)), plan)
    }

    /// The same of [`Store::take_back`]: `closing` lasts until it is made.
    pub fn begin_taking_back<'a, T, E>(
        &self,
        closing: &'a impl NoYes,
        account: &BareJid,
        decide: impl FnOnce(&View<'_>) -> Decided<Edit, T, E> + Send + 'static,
    ) -> Result<Pending<'a, Result<T, E>>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let plan = self.planned(account, with_changes(decide));
        let pending = self.committer.begin_in_turn(Some(about(account)), plan)?;
        let account = account.clone();
        Ok(pending.then(move |written: Result<_, E>| {
            written.map(|written| heard(written, closing, &account))
        }))
    }

    /// The plan of a change, as the writer takes it.
    fn planned<D, S, T, E>(
        &self,
        account: &BareJid,
        decide: D,
    ) -> impl FnOnce(&Tables) -> Result<Planned<Result<T, E>>, StoreError> + Send + use<D, S, T, E>
    where
        D: FnOnce(&View<'_>) -> Decided<S, T, E> + Send + 'static,
        S: Into<Edit>,
        T: Send + 'static,
        E: Send + 'static,
    {
        let account = account.clone();
        let (censuses, links) = (Arc::clone(&self.censuses), Arc::clone(&self.links));
        move |tables: &Tables| {
            let view = View {
                tables,
                account: &account,
            };
            Ok(match decide(&view)? {
                Ok((edits, outcome)) => {
                    let edits: Vec<Edit> = edits.into_iter().map(Into::into).collect();
                    let following = known::following(&view, &edits)?;
                    let looks = censuses.note(&view, &edits)?;
                    links.note(&account, &edits);
                    let edits = edits.into_iter();
                    let rows = edits.flat_map(|edit| record::rows(&account, edit));
                    Planned {
                        rows: rows.chain(following).chain(looks).collect(),
                        outcome: Ok(outcome),
                    }
                }
                Err(denied) => Planned {
                    rows: Vec::new(),
                    outcome: Err(denied),
                },
            })
        }
    }

    /// Writes when certificates were last used, all in one go. A certificate that is no longer in its list is passed over. Blocks.
    pub fn note_uses(&self, uses: Vec<Use>) -> Result<(), StoreError> {
        self.committer.commit(None, move |tables| {
            let mut rows = Vec::new();
            for Use {
                account,
                name,
                fingerprint,
                last_use,
            } in uses
            {
                rows.extend(known::used(
                    tables,
                    &account,
                    &name,
                    &fingerprint,
                    last_use,
                )?);
            }
            Ok(Planned { rows, outcome: () })
        })
    }

    /// Every account that has certificates or links, or had certificates disabled or revoked. Blocks for as long as it takes.
    pub fn accounts(&self) -> Result<Vec<BareJid>, StoreError> {
        let mut accounts = Vec::new();
        let mut last: Vec<u8> = Vec::new();
        for table in [
            Table::Certificates,
            Table::Disabled,
            Table::RevokedKeys,
            Table::Links,
        ] {
            for (key, _) in self.tables.sound_rows(table) {
                let account = record::account_part(&key);
                if account != last {
                    last = account.to_vec();
                    accounts.extend(record::account_of(account));
                }
            }
        }
        self.tables.require_sound()?;
        accounts.sort();
        accounts.dedup();
        Ok(accounts)
    }

    /// How much there is. From memory, but for the sizes of files.
    pub fn figures(&self) -> Result<Figures, StoreError> {
        self.tables.require_sound()?;
        let HostCounts {
            certificates,
            accounts,
            revoked_keys,
        } = self.ledger.lock().counts().total();
        Ok(Figures {
            certificates,
            accounts,
            revoked_keys,
            bytes_on_disk: self.bytes_on_disk(),
            corrupt_reads: self.tables.corrupt_reads.load(Ordering::Relaxed),
        })
    }

    /// Goes the way of a change, through the writer thread to the disk and back, and changes nothing.
    ///
    /// Blocks for as long as the writer does, behind everything that was given to it before.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.committer.probe()
    }

    /// Bytes of sled's files.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        folder_bytes(&self.folder.join(SLED_FOLDER))
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until everything that was given to the writer is on the disk, and lets nothing more in.
    pub fn close(&self) {
        self.committer.stop();
    }
}

/// The outcome of a change: its edits and its asker's answer, or why not; the outer error is the store's.
pub type Decided<S, T, E> = Result<Result<(Vec<S>, T), E>, StoreError>;

/// What a change of `account` is about.
fn about(account: &BareJid) -> Vec<u8> {
    record::account_key(account, &[])
}

/// `decide`, which also says what whoever keeps back every yes must hear of.
fn with_changes<T, E>(
    decide: impl FnOnce(&View<'_>) -> Decided<Edit, T, E>,
) -> impl FnOnce(&View<'_>) -> Decided<Edit, (T, Vec<Change>), E> {
    move |view| {
        Ok(match decide(view)? {
            Ok((edits, outcome)) => {
                let changes = Change::of(&edits, view)?;
                Ok((edits, (outcome, changes)))
            }
            Err(denied) => Err(denied),
        })
    }
}

/// The outcome of what was written, of which `closing` hears.
fn heard<T>((outcome, changes): (T, Vec<Change>), closing: &impl NoYes, account: &BareJid) -> T {
    for change in &changes {
        closing.hear(account, change);
    }
    outcome
}

/// When a certificate was last used.
#[derive(Clone, Debug)]
pub struct Use {
    /// In whose list it stands.
    pub account: BareJid,
    /// Under which name.
    pub name: CertificateName,
    /// Which certificate.
    pub fingerprint: Fingerprint,
    /// When, and from where.
    pub last_use: LastUse,
}
