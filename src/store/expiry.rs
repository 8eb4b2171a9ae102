//! Which certificates expire when: the tree `expiry`, so that those which expire soon are found without reading the others.
//!
//! Must not know: what soon is, and who hears of it.

use std::ops::RangeInclusive;

use crate::identity::{BareJid, Enrolment, Host, UnixSeconds};

use super::edit::{Row, Table};
use super::error::StoreError;
use super::record;
use super::tables::{Tables, readable};
use super::view::View;

impl Tables {
    /// See [`Store::expiring`](super::Store::expiring).
    pub(super) fn expiring(
        &self,
        host: &Host,
        when: &RangeInclusive<UnixSeconds>,
    ) -> impl Iterator<Item = Result<Enrolment, StoreError>> {
        let prefix = record::host_prefix(host);
        let place = |at: UnixSeconds| [&prefix[..], &in_order(at)].concat();
        let start = place(*when.start());
        let end = match when.end().0.checked_add(1) {
            Some(next) => place(UnixSeconds(next)),
            None => [host.as_str().as_bytes(), b"\x01"].concat(),
        };
        let rows = readable(self.range(Table::Expiry, &start, Some(&end)));
        rows.filter_map(
            |row| match row.map(|(key, _)| self.present_record_at(&key)) {
                Ok(Err(StoreError::Corrupt { .. })) => None,
                Ok(held) => held.transpose(),
                Err(error) => Some(Err(error)),
            },
        )
    }

    /// The same as [`record_at`](Self::record_at), of an account that was not replaced.
    fn present_record_at(&self, key: &[u8]) -> Result<Option<Enrolment>, StoreError> {
        let Some(held) = self.record_at(key)? else {
            return Ok(None);
        };
        let view = View {
            tables: self,
            account: &held.account,
        };
        let present = match view.incarnation() {
            Err(StoreError::Corrupt { .. }) => None,
            present => present?,
        };
        let is_present = present.is_none_or(|(present, _)| present == held.incarnation);
        Ok(is_present.then_some(held))
    }

    /// The record that a key of `expiry` names; `None`: it is gone by now.
    fn record_at(&self, key: &[u8]) -> Result<Option<Enrolment>, StoreError> {
        let key = record_key(key);
        let key = key.ok_or_else(|| self.corrupt(Table::Expiry, &"its key is damaged"))?;
        let value = self.read(Table::Certificates, &key)?;
        value.map(|value| self.enrolment(&key, &value)).transpose()
    }
}

/// The row that says when `held`, a record of `account`, expires; or that takes it out.
pub(super) fn row(account: &BareJid, held: &Enrolment, is_there: bool) -> Row {
    Row {
        table: Table::Expiry,
        key: key(account, held),
        value: is_there.then(|| vec![VERSION]),
    }
}

/// `host NUL seconds user NUL name`.
fn key(account: &BareJid, held: &Enrolment) -> Vec<u8> {
    [
        &record::host_prefix(account.host())[..],
        &in_order(held.not_after),
        account.username().as_bytes(),
        b"\0",
        held.name.as_str().as_bytes(),
    ]
    .concat()
}

/// The key in `certs` of the record that a key of `expiry` names; `None`: it is damaged.
pub(super) fn record_key(key: &[u8]) -> Option<Vec<u8>> {
    let nul = key.iter().position(|byte| *byte == 0)?;
    let (host, rest) = key.split_at_checked(nul + 1)?;
    Some([host, rest.get(SECONDS_BYTES..)?].concat())
}

/// Bytes whose order is that of the seconds, those before 1970 included.
fn in_order(UnixSeconds(seconds): UnixSeconds) -> [u8; SECONDS_BYTES] {
    (seconds.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

const SECONDS_BYTES: usize = 8;
/// Of the rows, which say nothing beside their keys.
const VERSION: u8 = 1;
