//! The facts that a login needs of each certificate, in one compact record that its fingerprint finds: the tree `known`.
//!
//! Nobody edits these records: they follow from those in `certs` and `revoked_keys`, and are written in the same commit. The
//! content of a certificate is read from its bytes by the same strict parser that reads what a client shows, and the record says by
//! which version of it: what an older one has read is read anew (docs/decisions/0008-the-store-by-fingerprint.md).
//!
//! Must not know: who may log in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::identity::certificate::READING;
use crate::identity::{
    BareJid, CertificateName, ClientCert, Enrolment, Fingerprint, Host, Incarnation, KeyId, LastUse,
};

use super::edit::{Edit, Row, Table};
use super::error::StoreError;
use super::expiry;
use super::recall::{Holding, Recall};
use super::record::{self, KnownRow};
use super::rows::Bytes;
use super::tables::Tables;
use super::view::View;

/// A certificate that somebody shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its bytes.
    pub der: &'a [u8],
    /// SHA-256 of them.
    pub fingerprint: &'a Fingerprint,
    /// The same, if it is parsed already.
    pub cert: Option<&'a ClientCert>,
}

/// The facts about a certificate by the lists that it stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The certificate, as the strict parser has read it; `None`: it stands in nobody's list, or it is none, or it was parsed already.
    pub cert: Option<ClientCert>,
    /// In whose lists it stands.
    pub holding: Arc<Holding>,
}

impl Tables {
    /// The facts about a certificate on `host`; those that `recall` remembers are not read.
    pub(super) fn known(
        &self,
        recall: &Recall,
        shown: Shown<'_>,
        host: &Host,
    ) -> Result<Known, StoreError> {
        self.require_sound()?;
        let Shown {
            der, fingerprint, ..
        } = shown;
        let is_proven = self.health.is_known_proven();
        let as_of = recall.now(fingerprint);
        if is_proven
            && shown.cert.is_some()
            && let Some(holding) = recall.get(fingerprint, host, as_of)
        {
            return Ok(Known {
                cert: None,
                holding,
            });
        }
        let mut read = None;
        let mut holding = Holding::default();
        let mut is_all_sure = true;
        for row in self.known_rows(fingerprint, host) {
            let (account, mut row) = row?;
            let reading = row.reading.take().filter(|read| read.version == READING);
            // A certificate that an older version has read, or could not read, is as good as unread. And until `known` was held
            // against what was written, a row of it may be an older one.
            let is_sure = is_proven && reading.is_some();
            is_all_sure &= is_sure;
            if shown.cert.is_none() && read.is_none() {
                read = match reading {
                    Some(reading) => Some(reading.cert(der, *fingerprint)),
                    None => ClientCert::from_der(der).ok(),
                };
            }
            let Some(cert) = shown.cert.or(read.as_ref()) else {
                continue;
            };
            if !is_sure && !self.is_held(&account, &row.name, der)? {
                continue;
            }
            // `revoked_keys` was read before the first answer.
            let is_revoked = row.is_revoked
                || !is_sure && self.is_revoked(&account, &cert.key_id, &row.incarnation)?;
            if is_revoked {
                let revoked = (account.clone(), row.incarnation.clone());
                holding.revoked_for.push(revoked);
            }
            holding.holders.push(row.holder(account));
        }
        let holding = Arc::new(holding);
        if is_all_sure {
            recall.keep(fingerprint, &holding, as_of);
        }
        Ok(Known {
            cert: read,
            holding,
        })
    }

    /// Does the record of that name hold this very certificate, byte for byte?
    fn is_held(
        &self,
        account: &BareJid,
        name: &CertificateName,
        der: &[u8],
    ) -> Result<bool, StoreError> {
        let key = record::account_key(account, name.as_str().as_bytes());
        let Some(value) = self.read(Table::Certificates, &key)? else {
            return Ok(false);
        };
        Ok(self.enrolment(&key, &value)?.der == der)
    }

    /// Has this account of the name revoked the key?
    fn is_revoked(
        &self,
        account: &BareJid,
        key_id: &KeyId,
        incarnation: &Incarnation,
    ) -> Result<bool, StoreError> {
        let key = record::mark_key(account, key_id.as_bytes(), incarnation);
        Ok(self.read(Table::RevokedKeys, &key)?.is_some())
    }

    /// The rows of a certificate on a host, with their accounts.
    pub(super) fn known_rows(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
    ) -> impl Iterator<Item = Result<(BareJid, KnownRow), StoreError>> {
        let prefix = record::fingerprint_prefix(fingerprint, host);
        self.scan(Table::Known, &prefix).map(move |row| {
            let (key, value) = row?;
            let user = key.get(prefix.len()..).unwrap_or_default();
            let account = std::str::from_utf8(user).ok();
            let account = account.and_then(|user| BareJid::of(user, host).ok());
            let account =
                account.ok_or_else(|| self.corrupt(Table::Known, &"its key is damaged"))?;
            Ok((account, self.decoded(Table::Known, &value)?))
        })
    }

    /// The row of a certificate in the list of `account`.
    fn known_row(
        &self,
        account: &BareJid,
        fingerprint: &Fingerprint,
    ) -> Result<Option<KnownRow>, StoreError> {
        let key = record::known_key(account, fingerprint);
        self.known_row_in(self.read(Table::Known, &key)?)
    }

    fn known_row_in(&self, value: Option<Bytes>) -> Result<Option<KnownRow>, StoreError> {
        value
            .map(|value| self.decoded(Table::Known, &value))
            .transpose()
    }

    /// The last login with a certificate; `None`: there was none, or the row that would say it can't be read, which is counted.
    pub(super) fn last_use(
        &self,
        account: &BareJid,
        name: &CertificateName,
        fingerprint: &Fingerprint,
    ) -> Result<Option<LastUse>, StoreError> {
        last_use_in(self.known_row(account, fingerprint), name)
    }
}

impl Tables {
    /// The records, each with the last use that `known` says.
    pub(super) fn with_last_uses(
        &self,
        list: Vec<Enrolment>,
    ) -> Result<Vec<Enrolment>, StoreError> {
        let key = |held: &Enrolment| record::known_key(&held.account, &held.fingerprint);
        let keys: Vec<Vec<u8>> = list.iter().map(key).collect();
        let rows = self.read_each(Table::Known, &keys)?;
        let with_last_use = |(held, row): (Enrolment, Result<Option<Bytes>, StoreError>)| {
            let row = row.and_then(|value| self.known_row_in(value));
            let told = last_use_in(row, &held.name)?;
            Ok(Enrolment {
                last_use: told.or(held.last_use),
                ..held
            })
        };
        list.into_iter().zip(rows).map(with_last_use).collect()
    }
}

/// The last use that a row of `known` says of the certificate of that name; `None`: none, or it can't be read, which is counted.
fn last_use_in(
    row: Result<Option<KnownRow>, StoreError>,
    name: &CertificateName,
) -> Result<Option<LastUse>, StoreError> {
    match row {
        Ok(row) => Ok(row
            .filter(|row| row.name == *name)
            .and_then(|row| row.last_use)),
        Err(StoreError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The row with a later last use; `None`: the certificate does not stand there any more.
pub(super) fn used(
    tables: &Tables,
    account: &BareJid,
    name: &CertificateName,
    fingerprint: &Fingerprint,
    last_use: LastUse,
) -> Result<Option<Row>, StoreError> {
    // A damaged one is counted; the others are written all the same.
    let row = match tables.known_row(account, fingerprint) {
        Err(StoreError::Corrupt { .. }) => return Ok(None),
        row => row?,
    };
    let row = row.filter(|row| row.name == *name);
    Ok(row.map(|row| {
        let row = KnownRow {
            last_use: Some(last_use),
            ..row
        };
        put(account, fingerprint, &row)
    }))
}

/// A record that is written, and its certificate if that is parsed already.
type Touched<'a> = (&'a Enrolment, Option<&'a ClientCert>);

/// The rows of `known` and `expiry` that follow from `edits` of the account in `view`; the edits are not made yet.
pub(super) fn following(view: &View<'_>, edits: &[Edit]) -> Result<Vec<Row>, StoreError> {
    let mut touched: BTreeMap<&CertificateName, Option<Touched<'_>>> = BTreeMap::new();
    let mut marks: HashMap<(KeyId, &Incarnation), bool> = HashMap::new();
    let mut leaving = Vec::new();
    for edit in edits {
        match edit {
            Edit::Put { held, cert } => {
                touched.insert(&held.name, Some((held, cert.as_deref())));
            }
            Edit::Remove(held) => {
                touched.insert(&held.name, None);
                leaving.push((held.fingerprint, &held.name));
            }
            Edit::RevokeKey {
                key_id,
                incarnation,
                ..
            } => drop(marks.insert((*key_id, incarnation), true)),
            Edit::UnrevokeKey {
                key_id,
                incarnation,
            } => drop(marks.insert((*key_id, incarnation), false)),
            Edit::MarkDisabled(_)
            | Edit::ClearDisabled(_)
            | Edit::SetIncarnation { .. }
            | Edit::ForgetIncarnation
            | Edit::PutAccount(_)
            | Edit::RemoveAccount
            | Edit::PutLink(_)
            | Edit::RemoveLink(_) => {}
        }
    }
    let account = view.account;
    let mut rows = Vec::new();
    for name in touched.keys() {
        if let Some(before) = view.named(name)? {
            leaving.push((before.fingerprint, name));
            rows.push(expiry::row(account, &before, false));
        }
    }
    for (fingerprint, name) in leaving {
        // Not if it stands there by another name, too.
        let is_its_own = match view.tables.known_row(account, &fingerprint) {
            Ok(row) => row.is_some_and(|row| row.name == *name),
            Err(StoreError::Corrupt { .. }) => true,
            Err(error) => return Err(error),
        };
        if is_its_own {
            rows.push(Row {
                table: Table::Known,
                key: record::known_key(account, &fingerprint),
                value: None,
            });
        }
    }
    // Behind what leaves: a certificate that gets another name only leaves the old one.
    for (held, cert) in touched.values().copied().flatten() {
        let is_revoked = match marks.get(&(held.key_id, &held.incarnation)) {
            Some(is_revoked) => *is_revoked,
            None => view
                .tables
                .is_revoked(account, &held.key_id, &held.incarnation)?,
        };
        let row = KnownRow::of(held, cert, is_revoked);
        rows.push(put(account, &held.fingerprint, &row));
        rows.push(expiry::row(account, held, true));
    }
    if !marks.is_empty() {
        rows.extend(remarked(view, &touched, &marks)?);
    }
    Ok(rows)
}

/// The rows of certificates that stay, and whose key is now revoked or no longer so.
fn remarked(
    view: &View<'_>,
    touched: &BTreeMap<&CertificateName, Option<Touched<'_>>>,
    marks: &HashMap<(KeyId, &Incarnation), bool>,
) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    for held in view.list()?.enrolments {
        let mark = marks.get(&(held.key_id, &held.incarnation));
        let Some(is_revoked) = mark.copied().filter(|_| !touched.contains_key(&held.name)) else {
            continue;
        };
        let row = view.tables.known_row(view.account, &held.fingerprint)?;
        if let Some(row) = row.filter(|row| row.name == held.name) {
            let row = KnownRow { is_revoked, ..row };
            rows.push(put(view.account, &held.fingerprint, &row));
        }
    }
    Ok(rows)
}

/// The rows of `known` and `expiry` that follow from a record which is there already.
pub(super) fn following_from(tables: &Tables, held: &Enrolment) -> Result<[Row; 2], StoreError> {
    let is_revoked = tables.is_revoked(&held.account, &held.key_id, &held.incarnation)?;
    Ok([
        put(
            &held.account,
            &held.fingerprint,
            &KnownRow::of(held, None, is_revoked),
        ),
        expiry::row(&held.account, held, true),
    ])
}

/// The key in `certs` of the record behind a row; `None`: the row can't be read.
pub(super) fn record_key(key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let (_, account) = key.split_first_chunk::<32>()?;
    let row: KnownRow = record::decode(value).ok()?;
    Some([account, b"\0", row.name.as_str().as_bytes()].concat())
}

fn put(account: &BareJid, fingerprint: &Fingerprint, row: &KnownRow) -> Row {
    Row {
        table: Table::Known,
        key: record::known_key(account, fingerprint),
        value: Some(record::encode(row)),
    }
}

#[cfg(test)]
mod tests;
