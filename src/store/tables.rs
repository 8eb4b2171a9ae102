//! Reads in the tables, whatever keeps their rows.
//!
//! Must not know: what stands in a row, what keeps it.

use std::sync::Arc;

use crate::identity::{Enrolment, Fingerprint, Host, Incarnation, UnixSeconds};

use super::edit::{Row, Table};
use super::error::StoreError;
use super::health::Health;
use super::record;
use super::rows::{Bytes, Changed, OfEach, RowBytes, Rows, end_of, last_of_each};

/// The rows that somebody reads, and what is said of those that can't be. A reader has those of now; a change has those that it
/// decides on.
#[derive(Clone)]
pub(super) struct Tables {
    rows: Arc<dyn Rows>,
    pub(super) health: Arc<Health>,
}

impl Tables {
    pub(super) fn of(rows: Arc<dyn Rows>, health: Arc<Health>) -> Self {
        Self { rows, health }
    }

    pub(super) fn read(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.health.require_sound()?;
        self.rows.row(table, key)
    }

    /// See [`Rows::row_of_each`].
    pub(super) fn read_each(&self, table: Table, keys: &[Vec<u8>]) -> Result<OfEach, StoreError> {
        self.health.require_sound()?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.rows.row_of_each(table, keys)
    }

    pub(super) fn rows(&self) -> &Arc<dyn Rows> {
        &self.rows
    }

    /// The rows whose keys begin with `prefix`.
    pub(super) fn scan<'a>(
        &'a self,
        table: Table,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<RowBytes, StoreError>> + use<'a> {
        self.range(table, prefix, end_of(prefix).as_deref())
    }

    /// The same, from the first one after `behind`.
    pub(super) fn rows_behind<'a>(
        &'a self,
        table: Table,
        prefix: &[u8],
        behind: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<RowBytes, StoreError>> + use<'a> {
        let next = behind.map(|behind| [behind, &[0]].concat());
        let from = next.as_deref().unwrap_or(prefix);
        self.range(table, from, end_of(prefix).as_deref())
    }

    /// See [`Rows::range`].
    pub(super) fn range<'a>(
        &'a self,
        table: Table,
        from: &[u8],
        before: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<RowBytes, StoreError>> + use<'a> {
        let sound = self.health.require_sound().err().map(Err);
        sound
            .into_iter()
            .chain(self.rows.range(table, from, before))
    }

    /// The changes that these rows make. Of several with one key the last one stands.
    pub(super) fn changed_by(&self, rows: Vec<Row>) -> Result<Vec<Changed>, StoreError> {
        let changed = |Row { table, key, value }| {
            Ok(Changed {
                before: self.read(table, &key)?,
                table,
                key,
                after: value,
            })
        };
        last_of_each(rows).into_iter().map(changed).collect()
    }

    pub(super) fn enrolments_of(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
    ) -> Result<Vec<Enrolment>, StoreError> {
        let mut found = Vec::new();
        for row in self.known_rows(fingerprint, host) {
            let (account, row) = row?;
            let key = record::account_key(&account, row.name.as_str().as_bytes());
            // A row may be gone by now: a change can come between the two reads.
            if let Some(value) = self.read(Table::Certificates, &key)? {
                let held = self.enrolment(&key, &value)?;
                found.push(Enrolment {
                    last_use: row.last_use.or(held.last_use),
                    ..held
                });
            }
        }
        Ok(found)
    }

    /// The bytes with this fingerprint that stand in a list of `host`; `None`: nowhere, or in damaged records only.
    pub(super) fn certificate(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        for row in self.known_rows(fingerprint, host).take(MAX_TRIED) {
            let read = row.and_then(|(account, row)| {
                let key = record::account_key(&account, row.name.as_str().as_bytes());
                let value = self.read(Table::Certificates, &key)?;
                value.map(|value| self.enrolment(&key, &value)).transpose()
            });
            match read {
                // A damaged record must not pass for the certificate that the client has shown.
                Ok(Some(held)) if Fingerprint::of(&held.der) == *fingerprint => {
                    return Ok(Some(held.der));
                }
                // It is counted.
                Ok(_) | Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// All rows that can be read. The unreadable ones are counted; after too many of them the rest is given up.
    ///
    /// Errors: what is no damage of a row, as the last one: more may have come behind it.
    pub(super) fn sound_rows(
        &self,
        table: Table,
    ) -> impl Iterator<Item = Result<RowBytes, StoreError>> {
        readable(self.scan(table, &[]))
            .take_while(|row| !matches!(row, Err(StoreError::Corrupt { .. })))
    }

    /// The record as it was written: `known` may say a later last use.
    pub(super) fn enrolment(&self, key: &[u8], value: &[u8]) -> Result<Enrolment, StoreError> {
        let held = record::enrolment(key, value);
        held.map_err(|error| self.corrupt(Table::Certificates, &error))
    }

    /// The account of a name that a row of `accounts` says, and since when it is known.
    pub(super) fn incarnation_in(
        &self,
        value: Option<Bytes>,
    ) -> Result<Option<(Incarnation, UnixSeconds)>, StoreError> {
        let Some(value) = value else {
            return Ok(None);
        };
        let mark: record::Mark = self.decoded(Table::Accounts, &value)?;
        Ok(Some((mark.incarnation, mark.at)))
    }

    /// The record with the last use that `known` says; its own one is that of the day when it was written.
    pub(super) fn with_last_use(&self, held: Enrolment) -> Result<Enrolment, StoreError> {
        let told = self.last_use(&held.account, &held.name, &held.fingerprint)?;
        Ok(Enrolment {
            last_use: told.or(held.last_use),
            ..held
        })
    }

    pub(super) fn decoded<T: record::Versioned>(
        &self,
        table: Table,
        value: &[u8],
    ) -> Result<T, StoreError> {
        record::decode(value).map_err(|error| self.corrupt(table, &error))
    }

    /// See [`Health::require_sound`].
    pub(super) fn require_sound(&self) -> Result<(), StoreError> {
        self.health.require_sound()
    }

    /// The error of a row that can't be read, which is counted.
    pub(super) fn corrupt(&self, table: Table, problem: &dyn std::fmt::Display) -> StoreError {
        self.health.corrupt(table, problem)
    }

    /// See [`Rows::scribble`].
    #[cfg(test)]
    pub(super) fn scribble(&self, table: Table, key: &[u8], value: Option<&[u8]>) {
        self.rows.scribble(table, key, value);
    }
}

/// These rows without the unreadable ones, which are counted. After too many of them, and after any other failure, that is the last one.
pub(super) fn readable(
    rows: impl Iterator<Item = Result<RowBytes, StoreError>>,
) -> impl Iterator<Item = Result<RowBytes, StoreError>> {
    let (mut damaged, mut is_over) = (0, false);
    rows.map_while(move |row| {
        if is_over {
            return None;
        }
        Some(match row {
            Err(StoreError::Corrupt { .. }) if damaged < MAX_DAMAGED_ROWS => {
                damaged += 1;
                None
            }
            row => {
                is_over = row.is_err();
                Some(row)
            }
        })
    })
    .flatten()
}

/// Most records that are tried for one certificate.
const MAX_TRIED: usize = 4;
/// sled may report the same damaged place again and again.
const MAX_DAMAGED_ROWS: usize = 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn damaged() -> Result<RowBytes, StoreError> {
        Err(StoreError::Corrupt {
            table: "certs",
            problem: "a page".to_owned(),
        })
    }

    fn row(key: u8) -> RowBytes {
        (Bytes::Own(vec![key]), Bytes::Own(Vec::new()))
    }

    #[test]
    fn a_place_that_is_damaged_for_ever_ends_the_rows() {
        let rows = [Ok(row(1)), damaged(), Ok(row(2))].into_iter();
        let mut rows = readable(rows.chain(std::iter::repeat_with(damaged)));
        let mut next = || rows.next().map(|row| row.map(|(key, _)| key.to_vec()));
        assert_eq!(next().unwrap().unwrap(), [1]);
        assert_eq!(next().unwrap().unwrap(), [2]);
        assert!(matches!(next(), Some(Err(StoreError::Corrupt { .. }))));
        assert!(next().is_none());
        let mut failed = readable([Err(StoreError::Failed), Ok(row(1))].into_iter());
        assert!(matches!(failed.next(), Some(Err(StoreError::Failed))));
        assert!(failed.next().is_none());
    }
}
