//! A line in the list of changes: what others who share the database remember of the rows of a change, and nothing else.
//!
//! What a password can be tried by does not stand there, nor the store's secret: of an account it says how it looks.
//!
//! Must not know: how lines are written and read.

use super::super::edit::Table;
use super::super::memory::SECRET_ROW;
use super::super::record;
use super::super::rows::{Bytes, Changed};

/// The rows of a change, as columns: a line has as many in each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tables: Vec<i16>,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) before: Vec<Option<Vec<u8>>>,
    pub(super) after: Vec<Option<Vec<u8>>>,
}

impl Line {
    /// The line that says it of these changes.
    pub(super) fn of(changes: &[Changed]) -> Self {
        let mut line = Self::default();
        for changed in changes {
            let said = |value: &[u8]| match changed.table {
                Table::Passwords => Some(record::without_passwords(value)),
                Table::Counts | Table::Links | Table::RevokedKeys | Table::Hosts => {
                    Some(value.to_vec())
                }
                Table::Meta if changed.key == SECRET_ROW => Some(Vec::new()),
                Table::Meta => Some(value.to_vec()),
                // That there was one is all that is wanted.
                Table::Known => Some(Vec::new()),
                Table::Certificates
                | Table::Accounts
                | Table::Disabled
                | Table::Expiry
                | Table::Tally => None,
            };
            let before = changed.before.as_deref().map(said);
            let after = changed.after.as_deref().map(said);
            // Not of a table that nobody follows.
            if [&before, &after].into_iter().flatten().any(Option::is_none) {
                continue;
            }
            line.tables.push(changed.table as i16);
            line.keys.push(changed.key.clone());
            line.before.push(before.flatten());
            line.after.push(after.flatten());
        }
        line
    }

    /// The changes that it says; `None`: it is none.
    ///
    /// `secret` is asked for the store's secret where that has changed.
    pub(super) fn changes<E>(
        self,
        mut secret: impl FnMut() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Vec<Changed>>, E> {
        let Self {
            tables,
            keys,
            before,
            after,
        } = self;
        let lengths = [keys.len(), before.len(), after.len()];
        if lengths != [tables.len(); 3] {
            return Ok(None);
        }
        let mut changes = Vec::with_capacity(keys.len());
        for (((table, key), before), mut after) in
            tables.into_iter().zip(keys).zip(before).zip(after)
        {
            let Some(table) = Table::ALL.into_iter().find(|of| *of as i16 == table) else {
                return Ok(None);
            };
            if table == Table::Meta && key == SECRET_ROW {
                after = secret()?;
            }
            changes.push(Changed {
                table,
                key,
                before: before.map(Bytes::Own),
                after,
            });
        }
        Ok(Some(changes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::{Account, BareJid, Incarnation, ScramHash, ScramVerifier, UnixSeconds};
    use crate::store::Edit;

    fn account(salt: &[u8]) -> Account {
        let key = |byte: u8| vec![byte; ScramHash::Sha256.key_bytes()];
        let verifier =
            ScramVerifier::from_parts(ScramHash::Sha256, salt.to_vec(), 4096, key(0xa5), key(0x5a));
        Account {
            jid: BareJid::parse("juliet@a.lit").unwrap(),
            incarnation: Incarnation::parse("one").unwrap(),
            enabled: true,
            created: UnixSeconds(1),
            password_changed: UnixSeconds(2),
            verifiers: vec![verifier.unwrap()],
        }
    }

    #[test]
    fn an_account_looks_the_same_and_nothing_of_its_password_is_said() {
        for salt in [
            &b"saltsaltsalt"[..],
            b"01234567-89ab-cdef-0123-456789abcdef",
        ] {
            let account = account(salt);
            let put = Edit::PutAccount(Box::new(account.clone()));
            let row = record::rows(&account.jid, put).remove(0);
            let said = Line::of(&[Changed {
                table: row.table,
                key: row.key,
                before: None,
                after: row.value,
            }]);
            let value = said.after.first().unwrap().clone().unwrap();
            for secret in [salt, &[0xa5; 8], &[0x5a; 8]] {
                let is_there = value.windows(secret.len()).any(|part| part == secret);
                assert!(!is_there, "{secret:?}");
            }
            let heard = record::account(account.jid.clone(), &value).unwrap();
            assert_eq!(heard.looks(), account.looks());
            let facts = |account: &Account| {
                (
                    account.incarnation.clone(),
                    account.enabled,
                    account.created,
                    account.password_changed,
                )
            };
            assert_eq!(facts(&heard), facts(&account));
        }
    }

    #[test]
    fn the_secret_is_asked_for_and_a_line_that_is_none_is_told() {
        let changed = |table, key: &[u8], after: &[u8]| Changed {
            table,
            key: key.to_vec(),
            before: None,
            after: Some(after.to_vec()),
        };
        let line = Line::of(&[
            changed(Table::Meta, SECRET_ROW, b"hidden"),
            changed(Table::Certificates, b"k", b"not followed"),
            changed(Table::Counts, b"a.lit", b"counts"),
        ]);
        assert_eq!(line.keys, [SECRET_ROW, b"a.lit"]);
        assert_eq!(line.after, [Some(Vec::new()), Some(b"counts".to_vec())]);
        let heard = line
            .changes(|| Ok::<_, ()>(Some(b"asked".to_vec())))
            .unwrap();
        let heard: Vec<_> = heard.unwrap().into_iter().map(|one| one.after).collect();
        assert_eq!(heard, [Some(b"asked".to_vec()), Some(b"counts".to_vec())]);
        for other in [
            Line {
                tables: vec![1],
                ..Line::default()
            },
            Line {
                tables: vec![99],
                keys: vec![Vec::new()],
                before: vec![None],
                after: vec![None],
            },
        ] {
            assert!(other.changes(|| Ok::<_, ()>(None)).unwrap().is_none());
        }
    }
}
