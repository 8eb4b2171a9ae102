//! The errors of the store, in words for an admin.
//!
//! Must not know: what the rows mean, who asks.

use std::io;
use std::path::Path;

use crate::identity::counted;

/// A fault of the store. It never means "no" and never "not found".
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
        /// The user who owns it.
        owner: String,
        /// The user who serves.
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
        /// The user who owns it.
        owner: String,
        /// The user who was to serve.
        own: String,
    },
    /// The admin's: a process has the folder open.
    #[error("{folder} is in use by {owner}")]
    Locked {
        /// The data folder.
        folder: String,
        /// The process that has it open.
        owner: String,
    },
    /// The folder was written by a version of saslcertd that this one does not know.
    #[error(
        "{folder} was written by a newer saslcertd (format {found}; this one knows {known}); install that version again"
    )]
    Newer {
        /// The data folder.
        folder: String,
        /// The format that its FORMAT names.
        found: u32,
        /// The format that this binary writes.
        known: u32,
    },
    /// The folder is not what FORMAT says: something was deleted or exchanged in it.
    #[error("the store in {folder} is damaged: {problem}; restore it from a backup")]
    Damaged {
        /// The data folder.
        folder: String,
        /// The problem that was found.
        problem: String,
    },
    /// The store has gone back to an older state: sled's files are older than the last commit that was on the disk, or were
    /// damaged so that sled has cut them. A certificate that was revoked meanwhile would be let in.
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
        /// The problems that were found, table by table.
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
    /// The place of the rows can't be asked, or can't be believed, for now. It passes: asking again later helps. Nothing was written.
    #[error("the store can't be asked for now: {problem}")]
    Away {
        /// Why not.
        problem: String,
    },
    /// The place of the rows was lost while a change was on its way: it may be made, and may not be.
    #[error("a change may or may not have been made: {problem}")]
    OutcomeUnknown {
        /// Why nobody knows.
        problem: String,
    },
    /// A fault in saslcertd: whoever asked for a change keeps back what that change may have to wait for. Nothing was written.
    #[error("a change was asked for by who says yes meanwhile; this is an error in saslcertd")]
    Entangled,
    /// The admin's: the database, or what is said of it, is not as it has to be.
    #[error("{place}: {problem}")]
    Database {
        /// Which database; or the words that name none.
        place: String,
        /// The problem, and what to do.
        problem: String,
    },
    /// The database lacks a change that was applied here. Ends the process: what was revoked in what is missing would be let in again.
    #[error(
        "{place} has gone back to an older state, or has gone on without this daemon: {problem}. It had come to change {seq}. If an \
         old copy was put in its place, or a standby that had not got all was promoted: make again what was revoked since, and \
         serve it once with --accept-rollback"
    )]
    DatabaseWentBack {
        /// Which database.
        place: String,
        /// The number of the last change that was applied here.
        seq: i64,
        /// The problem, in words.
        problem: String,
    },
    /// A write or the disk failed earlier: nothing is answered any more until the process starts anew.
    #[error("the store has failed and answers nothing until saslcertd is started again")]
    Failed,
    /// The data folder's files.
    #[error("{action} {path}")]
    File {
        /// The action that failed.
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
    #[error("the store's file sled/db: {problem}")]
    Engine {
        /// The problem, in words.
        problem: String,
    },
    /// The machine gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Called once, when the store can no longer be trusted: the process has to end.
pub type OnFailure = Box<dyn Fn(&StoreError) + Send + Sync>;

pub(super) fn damaged(folder: &Path, problem: &str) -> StoreError {
    StoreError::Damaged {
        folder: folder.display().to_string(),
        problem: problem.to_owned(),
    }
}

pub(super) fn file_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StoreError {
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
