//! The store: it remembers everything that outlives a restart.
//!
//! What can be asked of it stands here and in the files beside it, and is the same whatever keeps the rows. That is a `Backend`
//! (backend.rs): `folder/`, with sled, and `database/`, with PostgreSQL. Between the two there are rows (rows.rs, read as `Tables`), changes on their way (job.rs), and
//! what is kept in memory of the rows, which hears of every change (memory.rs).
//! Reads block for microseconds, or for as long as a database needs, and may be made anywhere; changes return when they are on the disk.
//!
//! Must not know: rules, the protocol, the time.

mod accounts;
mod ahead;
mod all;
mod backend;
mod census;
mod counts;
#[cfg(feature = "postgres")]
mod database;
mod edit;
mod error;
mod expiry;
mod figures;
mod folder;
mod follow;
mod harmless;
mod health;
mod heed;
mod hosts;
mod job;
mod known;
mod link_index;
mod links;
mod memory;
mod messages;
mod opening;
mod queue;
mod recall;
mod record;
pub mod refusal;
mod rows;
#[cfg(feature = "postgres")]
mod seen;
mod sharing;
mod subject;
mod tables;
mod view;
mod wholeness;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::identity::{
    Account, AccountName, BareJid, CertificateName, Enrolment, Fingerprint, Holder, Host, LastUse,
};

pub use ahead::ReadAhead;
pub use all::{AccountRows, Cursor, ReadLimits, Stop};
pub use census::Census;
pub use counts::HostCounts;
pub use edit::Edit;
pub use error::{OnFailure, StoreError};
pub use figures::Figures;
pub use folder::opening::Created;
pub use follow::{Follow, Listeners, News};
pub use harmless::Harmless;
pub use heed::{Change, Hear, Heed};
pub use job::Pending;
pub use known::{Known, Shown};
pub use messages::{Message, WaitingMessage};
pub use recall::Holding;
pub use record::HostRecord;
#[cfg(feature = "postgres")]
pub use seen::{DatabaseSeen, Encryption, Tables as DatabaseTables};
pub use sharing::{Sharer, Sharing, Standbys};
pub use subject::Subject;
pub use view::View;
pub use wholeness::{Found, Loss, OnLoss, TableCheck};

use backend::{Backend, WhenFull};
use edit::Table;
use job::{About, Claim, Job, Planned};
use memory::Memory;
use tables::Tables;

/// The open store. One for each place where rows are kept, and process.
pub struct Store {
    tables: Tables,
    backend: Box<dyn Backend>,
    memory: Arc<Memory>,
    found: Found,
    folder: PathBuf,
    reads_block: bool,
    /// `None`: in that folder.
    database: Option<String>,
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
        self.tables.known(&self.memory.recall, shown, host)
    }

    /// Is what the lists of `host` say of a certificate in memory, so that nothing is read?
    #[must_use]
    pub fn remembers(&self, fingerprint: &Fingerprint, host: &Host) -> bool {
        let recall = &self.memory.recall;
        let is_proven = self.tables.health.is_known_proven();
        is_proven
            && recall
                .get(fingerprint, host, recall.now(fingerprint))
                .is_some()
    }

    /// Do reads wait for anything but the processor and a disk? Then no thread may read that others wait for.
    #[must_use]
    pub fn reads_block(&self) -> bool {
        self.reads_block
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

    /// The store's records of what these changes are about, read together where that saves time. Others may change them meanwhile.
    pub fn read_ahead<'a>(
        &self,
        subjects: impl Iterator<Item = Subject<'a>>,
    ) -> Result<ReadAhead, StoreError> {
        let claims: BTreeSet<Claim> = subjects.flat_map(|one| one.claims()).collect();
        let ranges = ahead::ranges_of(claims.iter());
        Ok(ReadAhead::of(self.tables.ahead(&ranges)?))
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
    /// Blocks. `decide` runs where the change is written, and no other change of the account, or about a certificate that `subject`
    /// names, can come between its view and its edits; it must be quick.
    ///
    /// Errors: the outer ones are faults, and nothing or everything was written (never half of it); the
    /// inner ones are those of `decide`, and nothing was written.
    pub fn change<'a, T, E>(
        &self,
        subject: impl Into<Subject<'a>>,
        decide: impl FnOnce(&View<'_>) -> Decided<Harmless, T, E> + Send + 'static,
    ) -> Result<Result<T, E>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let subject = subject.into();
        let plan = planned(subject.account(), decide);
        self.writer()?.commit(subject.about(), plan)
    }

    /// As [`Store::change`], with any edits: what is revoked, and every change of an account itself. No yes by what was so before comes
    /// behind it: it is applied under a closing ([`Heed`]). `asker` hears then what has changed, and which daemons
    /// were silent; without one the heeder does.
    pub fn take_back<'a, T, E>(
        &self,
        asker: Option<Arc<dyn Hear>>,
        subject: impl Into<Subject<'a>>,
        decide: impl FnOnce(&View<'_>) -> Decided<Edit, T, E> + Send + 'static,
    ) -> Result<Result<T, E>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let subject = subject.into();
        let (job, pending) = Job::of(subject.about(), planned(subject.account(), decide));
        let hears = asker.clone();
        let job = Job { asker, ..job };
        self.writer()?.take(job, WhenFull::Refuse)?;
        let (outcome, silent) = pending.wait_with_silent()?;
        if let Some(hears) = hears
            && !silent.is_empty()
        {
            hears.were_silent(&silent);
        }
        Ok(outcome)
    }

    /// As [`Store::change`], for one of many changes: it waits for its place among those that wait for the writer, and not for
    /// the disk. A caller that begins many has to bound them.
    pub fn begin_change<'a, T, E>(
        &self,
        subject: impl Into<Subject<'a>>,
        decide: impl FnOnce(&View<'_>) -> Decided<Harmless, T, E> + Send + 'static,
    ) -> Result<Pending<Result<T, E>>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let subject = subject.into();
        let plan = planned(subject.account(), decide);
        self.writer()?.begin(subject.about(), plan)
    }

    /// The same of [`Store::take_back`].
    pub fn begin_taking_back<'a, T, E>(
        &self,
        subject: impl Into<Subject<'a>>,
        decide: impl FnOnce(&View<'_>) -> Decided<Edit, T, E> + Send + 'static,
    ) -> Result<Pending<Result<T, E>>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let subject = subject.into();
        let plan = planned(subject.account(), decide);
        self.writer()?.begin(subject.about(), plan)
    }

    /// Writes when certificates were last used, all in one go. A certificate that is no longer in its list is passed over. Blocks.
    pub fn note_uses(&self, uses: Vec<Use>) -> Result<(), StoreError> {
        let accounts = uses.iter().map(|used| Claim::Account(used.account.clone()));
        let about = About::These(accounts.collect());
        self.writer()?.commit(about, move |tables| {
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
            for row in self.tables.sound_rows(table) {
                let (key, _) = row?;
                let account = record::account_part(&key);
                if account != last {
                    last = account.to_vec();
                    accounts.extend(record::account_of(account));
                }
            }
        }
        accounts.sort();
        accounts.dedup();
        Ok(accounts)
    }

    /// Where changes are written, for who may wait for one.
    ///
    /// Errors: the caller keeps back what a change may have to wait for.
    fn writer(&self) -> Result<&(dyn Backend + 'static), StoreError> {
        if self.memory.listeners.heed.is_held_here() {
            return Err(StoreError::Entangled);
        }
        Ok(&*self.backend)
    }

    /// Can other processes share these rows?
    fn is_shared(&self) -> bool {
        self.database.is_some()
    }

    /// The data folder on whose disk the rows are; `None`: they are not in one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.database.is_none().then_some(&*self.folder)
    }

    /// Where the rows are, in words.
    #[must_use]
    pub fn place(&self) -> String {
        let folder = || self.folder.display().to_string();
        self.database.clone().unwrap_or_else(folder)
    }

    /// There may be askers who wait so long for a yes. Where others share the rows, blocks until it is sure that they know.
    ///
    /// Errors: they can't be told.
    pub fn asked_with(&self, patience: Duration) -> Result<(), StoreError> {
        self.backend.asked_with(patience)
    }

    /// Waits until everything that was given to the writer is on the disk, and lets nothing more in.
    pub fn close(&self) {
        self.backend.stop();
    }
}

/// As if another process had made these changes: the rows are there, and this one hears of it.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
impl Store {
    pub(crate) fn edited_elsewhere(&self, account: &BareJid, edits: Vec<Edit>) {
        let plan = planned(account, move |_| Ok(Ok::<_, ()>((edits, ()))));
        let Planned { rows, outcome } = plan(&self.tables).unwrap();
        outcome.unwrap();
        self.written_elsewhere(rows);
    }

    pub(crate) fn declared_elsewhere(&self, host: &Host, record: Option<&HostRecord>) {
        self.written_elsewhere(vec![edit::Row {
            table: Table::Hosts,
            key: host.as_str().as_bytes().to_vec(),
            value: record.map(record::encode),
        }]);
    }

    fn written_elsewhere(&self, rows: Vec<edit::Row>) {
        let changes = self.tables.changed_by(rows).unwrap();
        for row in &changes {
            self.tables
                .scribble(row.table, &row.key, row.after.as_deref());
        }
        let concern = heed::Concern::of(&self.tables, &changes, None).unwrap();
        let concerns: Vec<_> = concern.into_iter().collect();
        self.memory
            .applied(&changes, &concerns, follow::Maker::Another);
    }
}

/// The outcome of a change: its edits and its asker's answer, or why not; the outer error is the store's.
pub type Decided<S, T, E> = Result<Result<(Vec<S>, T), E>, StoreError>;

/// The plan of a change, as whoever writes it takes it.
fn planned<D, S, T, E>(
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
    move |tables: &Tables| {
        let view = View {
            tables,
            account: &account,
        };
        Ok(match decide(&view)? {
            Ok((edits, outcome)) => {
                let edits: Vec<Edit> = edits.into_iter().map(Into::into).collect();
                let following = known::following(&view, &edits)?;
                let edits = edits.into_iter();
                let rows = edits.flat_map(|edit| record::rows(&account, edit));
                Planned {
                    rows: rows.chain(following).collect(),
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
