//! What is remembered. The only user of sled.
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
mod committer;
mod engine;
mod hosts;
mod lost;
mod migration;
mod ownership;
mod reached;
mod record;
pub mod refusal;
mod tables;
mod tally;
mod view;
mod whole;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, RwLock};

use crate::identity::{
    Account, BareJid, CertificateName, Disabled, Enrolment, Fingerprint, Host, Incarnation, KeyId,
    LastUse, UnixSeconds, counted,
};

pub use census::Census;
use census::Censuses;
use committer::{Committer, Planned, Table};
pub use hosts::Held;
use reached::{Reached, Said};
pub use record::HostRecord;
use tables::Tables;
pub use view::{Place, View};
use whole::Ledger;
pub use whole::{Found, Loss, OnLoss, TableCheck};

/// The open store. One for each data folder and process.
pub struct Store {
    tables: Tables,
    committer: Committer,
    censuses: Arc<Censuses>,
    ledger: Arc<Mutex<Ledger>>,
    reached: Arc<Reached>,
    found: Found,
    secret: RwLock<[u8; 32]>,
    folder: PathBuf,
    // Held for as long as the store is open.
    _lock: File,
}

/// What went wrong with the store. Never means "no" and never "not found".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The admin's: there is no store in the folder.
    #[error("there is no store in {folder}; create one with: saslcertd init --data-dir {folder}")]
    Missing {
        /// The data folder.
        folder: String,
    },
    /// The admin's: a file in it is not of the user who serves, who can't read it then.
    #[error("{path} belongs to {owner}, and saslcertd runs as {own}; mend it with: {mend}")]
    ForeignFile {
        /// Which file.
        path: String,
        /// Whose it is.
        owner: String,
        /// Who serves.
        own: String,
        /// The command that makes the store theirs.
        mend: String,
    },
    /// The admin's: it is served by the wrong user.
    #[error(
        "the store in {folder} belongs to {owner}, and saslcertd was started as {own}; start it as {owner}, or as root, who serves as {owner} then"
    )]
    OtherUser {
        /// The data folder.
        folder: String,
        /// Whose it is.
        owner: String,
        /// Who was to serve.
        own: String,
    },
    /// The admin's: a process has the folder open.
    #[error("{folder} is in use by {owner}")]
    Locked {
        /// The data folder.
        folder: String,
        /// Who has it.
        owner: String,
    },
    /// The folder was written by a version of saslcertd that this one does not know.
    #[error(
        "{folder} was written by a newer saslcertd (format {found}; this one knows {known}); install that version again"
    )]
    Newer {
        /// The data folder.
        folder: String,
        /// What its FORMAT says.
        found: u32,
        /// What this binary writes.
        known: u32,
    },
    /// The folder is not what FORMAT says: something was deleted or exchanged in it.
    #[error("the store in {folder} is damaged: {problem}; restore it from a backup")]
    Damaged {
        /// The data folder.
        folder: String,
        /// What was found.
        problem: String,
    },
    /// The store has gone back to an older state: sled's files are older than the last commit that was on the disk, or were
    /// damaged so that sled has cut them. What was revoked meanwhile would be let in.
    #[error(
        "the store in {folder} has gone back to an older state: its last {} missing. It had come to change {had_come_to}; the \
         disk has damaged sled/db, or an old copy was put in its place. What was revoked, disabled or deleted in what is \
         missing would be let in again, so it is not served. {WHAT_TO_DO}",
        counted(*missing, "change is", "changes are")
    )]
    RolledBack {
        /// The data folder.
        folder: String,
        /// So many commits are missing at the end.
        missing: u64,
        /// So many there were.
        had_come_to: u64,
    },
    /// Rows are missing, or are not those that were written; the last commit is there.
    #[error(
        "the store in {folder} is damaged: {problem}. What was revoked, disabled or deleted in what is missing would be let in \
         again, so it is not served. {WHAT_TO_DO}"
    )]
    Incomplete {
        /// The data folder.
        folder: String,
        /// What was found, table by table.
        problem: String,
    },
    /// A record cannot be read. A fault for the question that needed it; others go on.
    #[error("a record in {table} cannot be read: {problem}")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// Why.
        problem: String,
    },
    /// Too many changes wait. Asking again later helps.
    #[error("too many changes are waiting to be written")]
    Busy,
    /// A write or the disk failed earlier: nothing is answered any more until the process starts anew.
    #[error("the store has failed and answers nothing until saslcertd is started again")]
    Failed,
    /// The data folder's files.
    #[error("{action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The admin's: the disk is too full to write an older store anew. Nothing was written.
    #[error(
        "{folder} is written anew by this version of saslcertd, and has no room for it: {} needed, {free_bytes} are free; make room, or install the version before again",
        counted(*needed_bytes, "byte is", "bytes are")
    )]
    NoRoom {
        /// The data folder.
        folder: String,
        /// How much it takes, for a while.
        needed_bytes: u64,
        /// How much there is.
        free_bytes: u64,
    },
    /// The asker's: a row would be longer than any that is kept. Nothing was written.
    #[error("a record in {table} would be too long")]
    TooLong {
        /// Which table.
        table: &'static str,
    },
    /// sled, or the disk under it. Ends the process.
    #[error("the store's file sled/db: {}", engine::words(.0))]
    Engine(sled::Error),
    /// The machine gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Called once, when the store can no longer be trusted: the process has to end.
pub type OnFailure = Box<dyn Fn(&StoreError) + Send + Sync>;

/// One step of a change to an account's list.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Write a record; one of the same account and name is replaced.
    Put(Box<Enrolment>),
    /// Remove a record.
    Remove(Box<Enrolment>),
    /// Remember that a key was revoked for this account.
    RevokeKey {
        /// Which key.
        key_id: KeyId,
        /// For which account of the name.
        incarnation: Incarnation,
        /// When.
        at: UnixSeconds,
    },
    /// Forget that.
    UnrevokeKey {
        /// Which key.
        key_id: KeyId,
        /// For which account of the name.
        incarnation: Incarnation,
    },
    /// Remember that a certificate was taken out of the list.
    MarkDisabled(Box<Disabled>),
    /// Forget that.
    ClearDisabled(Box<Disabled>),
    /// Remember which account of the name is the present one.
    SetIncarnation {
        /// Its id.
        incarnation: Incarnation,
        /// Since when it is known.
        since: UnixSeconds,
    },
    /// Forget that.
    ForgetIncarnation,
    /// Write the account itself; one that exists is replaced.
    PutAccount(Box<Account>),
    /// Remove the account itself, and nothing that belongs to it.
    RemoveAccount,
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

/// What `create` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// A new store was made.
    New,
    /// There was one already; nothing was touched.
    Existing,
}

impl Store {
    /// Creates the store in `folder`, which is made if need be (mode 0700). An existing store is left alone.
    ///
    /// Errors: the folder is in use, holds a newer store or one that has lost its `FORMAT`, or cannot be written.
    pub fn create(folder: &Path) -> Result<Created, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(file_error("cannot create", folder))?;
        if folder.join(FORMAT_FILE).exists() {
            known_format(folder)?;
            return Ok(Created::Existing);
        }
        let _lock = lock(folder)?;
        let sled = folder.join(SLED_FOLDER);
        let db = lost::open_unused(folder, SMALL_CACHE_BYTES)?;
        let meta = db.open_tree("meta").map_err(StoreError::Engine)?;
        meta.insert(FORMAT_ROW, &FORMAT.to_be_bytes())
            .map_err(StoreError::Engine)?;
        // Of a making that was interrupted.
        reached::forget(folder)?;
        let tally = whole::count(&db)?;
        db.flush().map_err(StoreError::Engine)?;
        drop((meta, db));
        engine::sync(&sled)?;
        Reached::open(folder)?.0.note_firmly(tally.commits)?;
        // Last: a folder without it is not a store, whatever else was written before a crash.
        write_format(folder)?;
        // Its own entry: it may be new. Who may not read the folder above did not make it.
        if let Some(above) = folder.parent().filter(|above| File::open(above).is_ok()) {
            sync_file(above)?;
        }
        Ok(Created::New)
    }

    /// Whether there is a store in `folder`, good or damaged.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FORMAT_FILE).exists()
    }

    /// The user and the group that the store in `folder` belongs to; none where there is no folder.
    #[must_use]
    pub fn owner(folder: &Path) -> Option<(u32, u32)> {
        ownership::owner(folder)
    }

    /// Looks whether a process of user `own` can open the store in `folder`, of what can be seen from outside.
    ///
    /// Errors: missing, newer, somebody else's, on a disk that is read-only; each says what to do.
    pub fn look(folder: &Path, own: u32) -> Result<(), StoreError> {
        ownership::look(folder, own)
    }

    /// Opens the store in `folder`, which must exist and be whole. One of an older format is written anew first, which may
    /// take minutes.
    ///
    /// Units: `cache_bytes` of sled's page cache (not a cap on memory).
    /// Errors: missing, in use, newer, damaged, gone back to an older state, no room to write it anew; each says what to do.
    pub fn open(
        folder: &Path,
        cache_bytes: u64,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        Self::open_with(folder, cache_bytes, OnLoss::Refuse, on_failure)
    }

    /// The same, and says what is done with a store that is not whole.
    pub fn open_with(
        folder: &Path,
        cache_bytes: u64,
        on_loss: OnLoss,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        let opened = Self::opened(folder, cache_bytes, on_loss, on_failure);
        match &opened {
            Ok(_) => refusal::clear(folder),
            Err(error) => refusal::note_error(folder, error),
        }
        opened
    }

    fn opened(
        folder: &Path,
        cache_bytes: u64,
        on_loss: OnLoss,
        on_failure: OnFailure,
    ) -> Result<Self, StoreError> {
        if !folder.join(FORMAT_FILE).exists() {
            return Err(lost::without_format(folder));
        }
        let found = known_format(folder)?;
        let lock = lock(folder)?;
        if found == FORMAT {
            migration::finish(folder)?;
        }
        let sled = folder.join(SLED_FOLDER);
        // sled would create an empty store in the place of a lost one, without a word.
        if !engine::db_file(&sled).exists() {
            return Err(damaged(folder, "sled/db is missing"));
        }
        if found != FORMAT {
            migration::migrate(folder, cache_bytes / 2)?;
        }
        let (reached, said) = Reached::open(folder)?;
        let db = engine::open(&sled, engine::SEGMENT_BYTES, cache_bytes)?;
        let meta = db.open_tree("meta").map_err(StoreError::Engine)?;
        let row = meta.get(FORMAT_ROW).map_err(StoreError::Engine)?;
        if row.as_deref() != Some(&FORMAT.to_be_bytes()[..]) {
            return Err(damaged(folder, "sled's files are not those of this store"));
        }
        let tables = Tables::open(&db, on_failure)?;
        let mut proof = whole::prove(folder, &tables, said, on_loss)?;
        // In a store that is whole there is one.
        let secret = accounts::own_secret(&meta)?;
        if proof.is_new {
            proof.count_again(&tables, Table::Meta)?;
            tables.write_tally(&proof.tally)?;
        }
        // What it wrote while it was opened, too.
        db.flush().map_err(StoreError::Engine)?;
        engine::sync(&sled)?;
        if !proof.is_new && found == FORMAT && !matches!(said, Said::Commits(_)) {
            tracing::warn!(
                file = %folder.join("SEQUENCE").display(),
                ?said,
                "the file is lost or damaged, and is made anew; had the store gone back to an older state, nobody would know"
            );
        }
        reached.note_firmly(proof.tally.commits)?;
        let censuses = Arc::new(tables.censuses()?);
        let durable = engine::Durable::of(&sled)?;
        let ledger = Ledger::of(proof.tally);
        let reached = Arc::new(reached);
        let committer = Committer::start(
            db,
            tables.clone(),
            durable,
            Arc::clone(&reached),
            Arc::clone(&ledger),
        )?;
        let store = Self {
            tables,
            committer,
            censuses,
            ledger,
            reached,
            found: proof.found,
            secret: RwLock::new(secret),
            folder: folder.to_owned(),
            _lock: lock,
        };
        store.remember_loss()?;
        Ok(store)
    }

    /// The records of `host` with this fingerprint, any account, any incarnation.
    pub fn enrolments_of(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
    ) -> Result<Vec<Enrolment>, StoreError> {
        self.tables.enrolments_of(fingerprint, host)
    }

    /// What is remembered of `account`.
    #[must_use]
    pub fn view<'a>(&'a self, account: &'a BareJid) -> View<'a> {
        View {
            tables: &self.tables,
            account,
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
        decide: impl FnOnce(&View<'_>) -> Result<Result<(Vec<Edit>, T), E>, StoreError> + Send + 'static,
    ) -> Result<Result<T, E>, StoreError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let account = account.clone();
        let about = record::account_key(&account, &[]);
        let censuses = Arc::clone(&self.censuses);
        self.committer.commit(Some(about), move |tables| {
            let view = View {
                tables,
                account: &account,
            };
            Ok(match decide(&view)? {
                Ok((edits, outcome)) => {
                    let looks = accounts::count(&censuses, &view, &edits)?;
                    let edits = edits.into_iter();
                    let rows = edits.flat_map(|edit| record::rows(&account, edit));
                    Planned {
                        rows: rows.chain(looks).collect(),
                        outcome: Ok(outcome),
                    }
                }
                Err(denied) => Planned {
                    rows: Vec::new(),
                    outcome: Err(denied),
                },
            })
        })
    }

    /// Writes when certificates were last used, all in one go. What is no longer in its list is passed over. Blocks.
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
                let key = record::account_key(&account, name.as_str().as_bytes());
                let Some(value) = tables.read(Table::Certificates, &key)? else {
                    continue;
                };
                // A damaged one is counted; the others are written all the same.
                let Ok(held) = tables.enrolment(&key, &value) else {
                    continue;
                };
                if held.fingerprint == fingerprint {
                    let put = Edit::Put(Box::new(Enrolment {
                        last_use: Some(last_use),
                        ..held
                    }));
                    rows.extend(record::rows(&account, put));
                }
            }
            Ok(Planned { rows, outcome: () })
        })
    }

    /// Every account that has certificates, or had some disabled or revoked. Blocks for as long as it takes.
    pub fn accounts(&self) -> Result<Vec<BareJid>, StoreError> {
        let mut accounts = Vec::new();
        let mut last: Vec<u8> = Vec::new();
        for table in [Table::Certificates, Table::Disabled, Table::RevokedKeys] {
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

    /// How much there is. Blocks: it counts. Damaged records are counted as such, not as what they were.
    pub fn figures(&self) -> Result<Figures, StoreError> {
        let mut certificates = 0;
        let mut accounts = 0;
        let mut last: Vec<u8> = Vec::new();
        for (key, _) in self.tables.sound_rows(Table::Certificates) {
            certificates += 1;
            let account = record::account_part(&key);
            if account != last {
                accounts += 1;
                last = account.to_vec();
            }
        }
        let revoked_keys = self.tables.sound_rows(Table::RevokedKeys).count();
        self.tables.require_sound()?;
        Ok(Figures {
            certificates,
            accounts,
            revoked_keys: revoked_keys as u64,
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

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("LOCK");
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(file_error("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Whoever it is, the folder is in use: an unreadable name changes nothing.
            let _ = (&mut file).take(100).read_to_string(&mut owner);
            return Err(StoreError::Locked {
                folder: folder.display().to_string(),
                owner: match owner.trim() {
                    "" => "another process".to_owned(),
                    owner => owner.to_owned(),
                },
            });
        }
        Err(fs::TryLockError::Error(source)) => {
            return Err(file_error("cannot lock", &path)(source));
        }
    }
    let owner = format!("saslcertd, process {}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(owner.as_bytes()))
        .map_err(file_error("cannot write", &path))?;
    Ok(file)
}

/// The format that `FORMAT` names, if it can be opened.
fn known_format(folder: &Path) -> Result<u32, StoreError> {
    let path = folder.join(FORMAT_FILE);
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(100).read_to_string(&mut text))
        .map_err(file_error("cannot read", &path))?;
    let number = text.trim().strip_prefix("saslcertd ");
    match number.and_then(|number| number.parse::<u32>().ok()) {
        Some(found @ (FORMER_FORMAT | FORMAT)) => Ok(found),
        Some(found) if found > FORMAT => Err(StoreError::Newer {
            folder: folder.display().to_string(),
            found,
            known: FORMAT,
        }),
        _ => Err(damaged(folder, "its FORMAT file is not one of saslcertd")),
    }
}

/// Says, in one step, that the store in `folder` is whole and of the present format.
fn write_format(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(FORMAT_FILE);
    let fresh = folder.join("FORMAT.new");
    let text = format!("saslcertd {FORMAT}\n");
    // The folder first: what FORMAT vouches for must be found there.
    sync_file(folder)?;
    fs::write(&fresh, text).map_err(file_error("cannot write", &fresh))?;
    sync_file(&fresh)?;
    fs::rename(&fresh, &path).map_err(file_error("cannot write", &path))?;
    sync_file(folder)
}

fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(file_error("cannot sync", path))
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(|entry| {
            entry
                .and_then(|entry| Ok((entry.path(), entry.metadata()?)))
                .ok()
        })
        .map(|(path, metadata)| {
            if metadata.is_dir() {
                folder_bytes(&path)
            } else {
                metadata.len()
            }
        })
        .sum()
}

fn damaged(folder: &Path, problem: &str) -> StoreError {
    StoreError::Damaged {
        folder: folder.display().to_string(),
        problem: problem.to_owned(),
    }
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |source| StoreError::File {
        action,
        path,
        source,
    }
}

/// For whoever finds a store that is not whole.
const WHAT_TO_DO: &str = "Restore a backup, or serve what is left once with --accept-rollback: docs/operations.md, \"A store that \
                          lost something\", has the lines for both";
/// Layout of the folder and of every record in it.
const FORMAT: u32 = 2;
/// The one before: with shorter segments, and with certificates in files that were never synced.
const FORMER_FORMAT: u32 = 1;
const FORMAT_FILE: &str = "FORMAT";
const FORMAT_ROW: &str = "format";
const SLED_FOLDER: &str = "sled";
const SMALL_CACHE_BYTES: u64 = 8 << 20;
