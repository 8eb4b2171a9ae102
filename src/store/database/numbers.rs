//! The number and the name of a change, by which two histories of one database are told apart.
//!
//! Must not know: what a change is of, who deals numbers.

use super::super::error::StoreError;

/// The name of a change: no other has it, on whatever server it is made.
pub(super) type Name = [u8; 16];

/// A place in the list of changes: the last one that is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: i64,
    pub(super) name: Name,
}

impl Place {
    /// In the first two columns of a row.
    pub(super) fn of(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        let name: Vec<u8> = row.try_get(1)?;
        Ok(Self {
            seq: row.try_get(0)?,
            // One of another length is no name of ours, and never equal to one.
            name: name.try_into().unwrap_or_default(),
        })
    }
}

/// A name that no other change has, on whatever server it is made.
pub(super) fn change_name() -> Result<Name, StoreError> {
    let mut name = [0; 16];
    getrandom::fill(&mut name).map_err(StoreError::Random)?;
    Ok(name)
}
