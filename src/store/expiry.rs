//! Which certificates expire when: the tree `expiry`, so that those which expire soon are found without reading the others.
//!
//! Must not know: what soon is, and who hears of it.

use std::ops::RangeInclusive;

use crate::identity::{BareJid, Enrolment, Host, UnixSeconds};

use super::edit::{Row, Table};
use super::error::StoreError;
use super::record;
use super::tables::{Tables, readable};

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
        let mut rows = readable(self.range(Table::Expiry, &start, Some(&end)));
        let some = move || {
            let (mut keys, mut failed) = (Vec::new(), None);
            for row in rows.by_ref().take(AT_A_TIME) {
                match row.map(|(key, _)| record_key(&key)) {
                    Ok(Some(key)) => keys.push(key),
                    // It is counted.
                    Ok(None) => drop(self.corrupt(Table::Expiry, &"its key is damaged")),
                    Err(error) => failed = Some(error),
                }
            }
            if keys.is_empty() && failed.is_none() {
                return None;
            }
            let (found, failed) = match self.present_records(&keys) {
                Ok(found) => (found, failed),
                Err(error) => (Vec::new(), Some(error)),
            };
            let found = found.into_iter().map(Ok);
            Some(found.chain(failed.map(Err)))
        };
        std::iter::from_fn(some).flatten()
    }

    /// The records of these keys that are there by now, of accounts that were not replaced; without those that can't be read, which are
    /// counted.
    fn present_records(&self, keys: &[Vec<u8>]) -> Result<Vec<Enrolment>, StoreError> {
        let values = self.read_each(Table::Certificates, keys)?;
        let mut list = Vec::new();
        for (key, value) in keys.iter().zip(values) {
            let held = value.and_then(|value| {
                let held = value.map(|value| self.enrolment(key, &value));
                held.transpose()
            });
            match held {
                Ok(held) => list.extend(held),
                Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let account = |held: &Enrolment| record::account_key(&held.account, &[]);
        let accounts: Vec<Vec<u8>> = list.iter().map(account).collect();
        let marks = self.read_each(Table::Accounts, &accounts)?;
        let mut present = Vec::new();
        for (held, mark) in list.into_iter().zip(marks) {
            match mark.and_then(|value| self.incarnation_in(value)) {
                Ok(Some((of, _))) if of != held.incarnation => {}
                Ok(_) | Err(StoreError::Corrupt { .. }) => present.push(held),
                Err(error) => return Err(error),
            }
        }
        Ok(present)
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

/// So many are read together.
const AT_A_TIME: usize = 64;
const SECONDS_BYTES: usize = 8;
/// Of the rows, which say nothing beside their keys.
const VERSION: u8 = 1;
