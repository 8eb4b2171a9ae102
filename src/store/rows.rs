//! The rows of the tables: how they are read, whatever keeps them, and what a change makes of one.
//!
//! Must not know: what stands in a row, where it is kept.

use std::fmt;
use std::ops::{Bound, Deref};

use super::edit::Table;
use super::error::StoreError;
use super::folder::held::Held;

/// The rows as they are now; in a change, as they are for what it decides.
pub(super) trait Rows: Send + Sync {
    /// The value of a row; `None`: there is none with this key.
    ///
    /// Errors: `Corrupt`, which is counted, if this row can't be read; `Failed` if nothing can be any more, which is told.
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The rows between two keys in the order of their keys, read as they are asked for.
    ///
    /// Errors: as above; more may come behind one.
    fn range(&self, table: Table, start: Bound<&[u8]>, end: Bound<&[u8]>) -> InOrder<'_>;

    /// Writes a row, or takes it out, as nothing in the daemon does: a test makes damage with it.
    #[cfg(test)]
    fn scribble(&self, table: Table, key: &[u8], value: Option<&[u8]>);
}

/// Rows, one after the other.
pub(super) type InOrder<'a> = Box<dyn Iterator<Item = Result<RowBytes, StoreError>> + 'a>;

/// The key and the value of a row.
pub(super) type RowBytes = (Bytes, Bytes);

/// The bytes of a key or a value: without a copy where whatever keeps them has them in memory.
#[derive(Clone)]
pub(super) enum Bytes {
    /// In sled's cache.
    Held(Held),
    /// Of its own. Until something else than sled keeps rows, only tests have some.
    #[cfg_attr(not(test), allow(dead_code))]
    Own(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Held(held) => held,
            Self::Own(own) => own,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

/// A row as it was before a change, and as it is after it.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) before: Option<Bytes>,
    pub(super) after: Option<Vec<u8>>,
}
