//! How the store is: how much there is, whether all of it is there, and who serves it.
//!
//! Must not know: who asks, the words about a damage.

use super::Store;
use super::counts::HostCounts;
use super::edit::Table;
use super::error::StoreError;
use super::sharing::Sharing;
use super::wholeness::{Found, LOSS_ROW, Loss, TableCheck};

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Records of certificates.
    pub certificates: u64,
    /// Accounts with at least one.
    pub accounts: u64,
    /// Revoked keys.
    pub revoked_keys: u64,
    /// Bytes of it on the disk.
    pub bytes_on_disk: u64,
    /// Reads that failed because of a damaged record, since the start.
    pub corrupt_reads: u64,
}

impl Store {
    /// How much there is. From memory, but for the sizes of files.
    pub fn figures(&self) -> Result<Figures, StoreError> {
        self.tables.require_sound()?;
        let HostCounts {
            certificates,
            accounts,
            revoked_keys,
        } = self.memory.counts.lock().total();
        Ok(Figures {
            certificates,
            accounts,
            revoked_keys,
            bytes_on_disk: self.bytes_on_disk(),
            corrupt_reads: self.tables.health.corrupt_reads(),
        })
    }

    /// Goes the way of a change, to the disk and back, and changes nothing.
    ///
    /// Blocks for as long as that takes, behind everything that was given to the store before.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.writer()?.probe()
    }

    /// Bytes of it on the disk.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        self.backend.bytes_on_disk()
    }

    /// Reads every row, and holds them against what was written. Changes go on meanwhile.
    ///
    /// Blocks for as long as it takes; now and then `pause` is called with how many rows were read by then. There must be one check
    /// at a time.
    pub fn check(&self, mut pause: impl FnMut(u64)) -> Result<Vec<TableCheck>, StoreError> {
        self.writer()?.check(&mut pause)
    }

    /// Why a store that has gone back to an older state might not be noticed at the next start, in words; `None`: it would be.
    #[must_use]
    pub fn sequence_problem(&self) -> Option<String> {
        self.backend.condition().sequence_problem
    }

    /// How many commits the store has seen.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.backend.condition().commits
    }

    /// How many rows there are to be checked.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.backend.condition().rows
    }

    /// Who serves the same rows; `None`: nobody else can. Blocks for as long as it takes to ask.
    ///
    /// Errors: nobody can be asked for now.
    pub fn sharing(&self) -> Result<Option<Sharing>, StoreError> {
        self.tables.require_sound()?;
        self.backend.sharing()
    }

    /// How it was found when it was opened.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The loss that was last accepted, at this opening or an earlier one.
    pub fn accepted_loss(&self) -> Result<Option<Loss>, StoreError> {
        let value = self.tables.read(Table::Meta, LOSS_ROW)?;
        value
            .map(|value| self.tables.decoded(Table::Meta, &value))
            .transpose()
    }
}
