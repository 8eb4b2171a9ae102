//! The records of one account: each question reads those that it needs, and no others.
//!
//! Must not know: what a record means for a login.

use crate::identity::{
    Account, AccountList, BareJid, CertificateName, Disabled, Enrolment, Fingerprint, Incarnation,
    KeyId, Link, LinkHash, UnixSeconds,
};

use super::edit::Table;
use super::error::StoreError;
use super::record;
use super::tables::Tables;

/// The store's records of one account. Each question reads what it needs, and nothing else.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) tables: &'a Tables,
    pub(super) account: &'a BareJid,
}

impl View<'_> {
    /// The account that the view is of.
    #[must_use]
    pub fn jid(&self) -> &BareJid {
        self.account
    }

    /// The account itself, if its password lives here.
    pub fn account(&self) -> Result<Option<Account>, StoreError> {
        let key = record::account_key(self.account, &[]);
        let value = self.tables.read(Table::Passwords, &key)?;
        value
            .map(|value| {
                record::account(self.account.clone(), &value)
                    .map_err(|error| self.tables.corrupt(Table::Passwords, &error))
            })
            .transpose()
    }

    /// Its certificates as they were written: a later last use is not looked up.
    pub fn list(&self) -> Result<AccountList, StoreError> {
        let prefix = record::account_key(self.account, &[]);
        let rows = self.tables.scan(Table::Certificates, &prefix).map(|row| {
            let (key, value) = row?;
            self.tables.enrolment(&key, &value)
        });
        Ok(AccountList {
            enrolments: rows.collect::<Result<_, _>>()?,
            incarnation: self.incarnation()?,
        })
    }

    /// Its certificates, each with its last use.
    pub fn list_with_last_uses(&self) -> Result<AccountList, StoreError> {
        let AccountList {
            enrolments,
            incarnation,
        } = self.list()?;
        Ok(AccountList {
            enrolments: self.tables.with_last_uses(enrolments)?,
            incarnation,
        })
    }

    /// Its certificate of that name, of any account of the name, as it was written.
    pub fn named(&self, name: &CertificateName) -> Result<Option<Enrolment>, StoreError> {
        let key = record::account_key(self.account, name.as_str().as_bytes());
        let value = self.tables.read(Table::Certificates, &key)?;
        let read = value.map(|value| self.tables.enrolment(&key, &value));
        read.transpose()
    }

    /// The marks of one certificate that was taken out of the list.
    pub fn disabled_as(&self, fingerprint: &Fingerprint) -> Result<Vec<Disabled>, StoreError> {
        let account = record::account_key(self.account, &[]);
        let prefix = record::account_key(self.account, fingerprint.as_bytes());
        let rows = self.tables.scan(Table::Disabled, &prefix);
        rows.map(|row| {
            let (key, value) = row?;
            let rest = key.get(account.len()..).unwrap_or_default();
            record::disabled(rest, &value)
                .map_err(|error| self.tables.corrupt(Table::Disabled, &error))
        })
        .collect()
    }

    /// Which account of the name has enrolled a certificate last, and since when that is known.
    pub fn incarnation(&self) -> Result<Option<(Incarnation, UnixSeconds)>, StoreError> {
        let key = record::account_key(self.account, &[]);
        let value = self.tables.read(Table::Accounts, &key)?;
        self.tables.incarnation_in(value)
    }

    /// For which accounts of the name the key is revoked.
    pub fn revoked_for(&self, key_id: &KeyId) -> Result<Vec<Incarnation>, StoreError> {
        let prefix = record::account_key(self.account, key_id.as_bytes());
        let rows = self.tables.scan(Table::RevokedKeys, &prefix);
        rows.map(|row| {
            let (_, value) = row?;
            let mark: record::Mark = self.tables.decoded(Table::RevokedKeys, &value)?;
            Ok(mark.incarnation)
        })
        .collect()
    }

    /// Every revoked key, with the account of the name that it is revoked for.
    pub fn revoked_keys(&self) -> Result<Vec<(KeyId, Incarnation)>, StoreError> {
        let revocations = self.revocations()?.into_iter();
        Ok(revocations.map(|(key, of, _)| (key, of)).collect())
    }

    /// The same, and when each was revoked.
    pub fn revocations(&self) -> Result<Vec<(KeyId, Incarnation, UnixSeconds)>, StoreError> {
        let prefix = record::account_key(self.account, &[]);
        let rows = self.tables.scan(Table::RevokedKeys, &prefix);
        rows.map(|row| {
            let (key, value) = row?;
            let key_id = key.get(prefix.len()..).and_then(<[u8]>::first_chunk::<32>);
            let key_id = key_id.ok_or_else(|| {
                self.tables
                    .corrupt(Table::RevokedKeys, &"its key is damaged")
            })?;
            let mark: record::Mark = self.tables.decoded(Table::RevokedKeys, &value)?;
            Ok((KeyId::from_bytes(*key_id), mark.incarnation, mark.at))
        })
        .collect()
    }

    /// Was the certificate taken out of the list of any account of the name?
    pub fn is_disabled(&self, fingerprint: &Fingerprint) -> Result<bool, StoreError> {
        let prefix = record::account_key(self.account, fingerprint.as_bytes());
        let found = self.tables.scan(Table::Disabled, &prefix).next();
        Ok(found.transpose()?.is_some())
    }

    /// Was a certificate of that key taken out of the list of any account of the name?
    pub fn is_key_disabled(&self, key_id: &KeyId) -> Result<bool, StoreError> {
        Ok(self.disabled()?.iter().any(|mark| mark.key_id == *key_id))
    }

    /// The certificates that were taken out of the list.
    pub fn disabled(&self) -> Result<Vec<Disabled>, StoreError> {
        let prefix = record::account_key(self.account, &[]);
        let rows = self.tables.scan(Table::Disabled, &prefix);
        rows.map(|row| {
            let (key, value) = row?;
            let rest = key.get(prefix.len()..).unwrap_or_default();
            record::disabled(rest, &value)
                .map_err(|error| self.tables.corrupt(Table::Disabled, &error))
        })
        .collect()
    }

    /// Are more than `limit` keys revoked and certificates disabled for this account of the name?
    pub fn has_more_marks_than(
        &self,
        limit: usize,
        incarnation: &Incarnation,
    ) -> Result<bool, StoreError> {
        let prefix = record::account_key(self.account, &[]);
        let revoked = self.tables.scan(Table::RevokedKeys, &prefix);
        let disabled = self.tables.scan(Table::Disabled, &prefix);
        let mut count = 0;
        for row in revoked.chain(disabled) {
            let (key, _) = row?;
            let rest = key.get(prefix.len()..).unwrap_or_default();
            count += usize::from(record::is_mark_of(rest, incarnation));
            if count > limit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Its link with this hash, be it good or not.
    pub fn link(&self, hash: &LinkHash) -> Result<Option<Link>, StoreError> {
        let key = record::account_key(self.account, hash.as_bytes());
        let value = self.tables.read(Table::Links, &key)?;
        value
            .map(|value| self.read_link(hash.as_bytes(), &value))
            .transpose()
    }

    /// Its links, the expired ones too.
    pub fn links(&self) -> Result<Vec<Link>, StoreError> {
        let prefix = record::account_key(self.account, &[]);
        let rows = self.tables.scan(Table::Links, &prefix);
        rows.map(|row| {
            let (key, value) = row?;
            self.read_link(key.get(prefix.len()..).unwrap_or_default(), &value)
        })
        .collect()
    }

    fn read_link(&self, rest: &[u8], value: &[u8]) -> Result<Link, StoreError> {
        record::link(self.account.clone(), rest, value)
            .map_err(|error| self.tables.corrupt(Table::Links, &error))
    }

    /// The records on the account's host with this fingerprint, any account. In a change, those of other accounts are sure only if its
    /// [`Subject`](super::Subject) names the certificate.
    pub fn holders(&self, fingerprint: &Fingerprint) -> Result<Vec<Enrolment>, StoreError> {
        self.tables.enrolments_of(fingerprint, self.account.host())
    }
}
