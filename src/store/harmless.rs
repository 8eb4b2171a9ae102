//! Which changes may come beside a yes to a login.
//!
//! Must not know: who decides a change; how the daemon keeps a yes back.

use std::sync::Arc;

use super::edit::Edit;
use super::error::StoreError;
use super::view::View;
use crate::identity::{
    Account, ClientCert, Disabled, Enrolment, Incarnation, KeyId, Link, LinkHash, UnixSeconds,
};

/// A step that makes no yes to a login wrong that was right before it.
#[derive(Clone, Debug)]
pub struct Harmless(Edit);

impl Harmless {
    /// Write the record of `cert`; one of the same account and name is replaced.
    #[must_use]
    pub fn put(held: Enrolment, cert: Arc<ClientCert>) -> Self {
        Self(Edit::Put {
            held: Box::new(held),
            cert: Some(cert),
        })
    }

    /// Remove a record: its sessions go on.
    #[must_use]
    pub fn remove(held: Enrolment) -> Self {
        Self(Edit::Remove(Box::new(held)))
    }

    /// Forget that a key was revoked.
    #[must_use]
    pub const fn unrevoke_key(key_id: KeyId, incarnation: Incarnation) -> Self {
        Self(Edit::UnrevokeKey {
            key_id,
            incarnation,
        })
    }

    /// Remember that a certificate was taken out of the list: its sessions go on.
    #[must_use]
    pub fn mark_disabled(mark: Disabled) -> Self {
        Self(Edit::MarkDisabled(Box::new(mark)))
    }

    /// Forget that a certificate was taken out of the list.
    #[must_use]
    pub fn clear_disabled(mark: Disabled) -> Self {
        Self(Edit::ClearDisabled(Box::new(mark)))
    }

    /// Write a link: by itself it lets nobody in.
    #[must_use]
    pub fn put_link(link: Link) -> Self {
        Self(Edit::PutLink(Box::new(link)))
    }

    /// Remove a link.
    #[must_use]
    pub const fn remove_link(hash: LinkHash) -> Self {
        Self(Edit::RemoveLink(hash))
    }

    /// Remember which account of the name is the present one.
    #[must_use]
    pub const fn set_incarnation(incarnation: Incarnation, since: UnixSeconds) -> Self {
        Self(Edit::SetIncarnation { incarnation, since })
    }

    /// Write an account that is new, or is still the one that `view` shows, with the same password. `None`: it is another one.
    ///
    /// A password is told by the time of its setting: the same one gets new verifiers when a host wants others.
    /// Errors: the account can't be read.
    pub fn put_account(view: &View<'_>, account: Account) -> Result<Option<Self>, StoreError> {
        let before = view.account()?;
        let is_same = before.is_none_or(|before| before.outline() == account.outline());
        let is_its_own = account.jid == *view.jid();
        Ok((is_same && is_its_own).then(|| Self(Edit::PutAccount(Box::new(account)))))
    }

    /// The edit of the account in `view`, if it is harmless. Every kind is named: with a new one this does not compile.
    ///
    /// Errors: the account can't be read.
    pub fn of(edit: Edit, view: &View<'_>) -> Result<Option<Self>, StoreError> {
        match edit {
            Edit::RevokeKey { .. } | Edit::RemoveAccount | Edit::ForgetIncarnation => Ok(None),
            Edit::PutAccount(account) => Self::put_account(view, *account),
            harmless @ (Edit::Put { .. }
            | Edit::Remove(_)
            | Edit::UnrevokeKey { .. }
            | Edit::MarkDisabled(_)
            | Edit::ClearDisabled(_)
            | Edit::SetIncarnation { .. }
            | Edit::PutLink(_)
            | Edit::RemoveLink(_)) => Ok(Some(Self(harmless))),
        }
    }
}

impl From<Harmless> for Edit {
    fn from(Harmless(edit): Harmless) -> Self {
        edit
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::BareJid;
    use crate::store::Store;

    #[test]
    fn only_an_account_that_is_new_or_the_same_is_written_beside_a_yes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("data");
        Store::create(&folder).unwrap();
        let store = Store::open(&folder, 1 << 20, Box::new(|_| {})).unwrap();
        let jid = BareJid::parse("h@a.lit").unwrap();
        let account = Account {
            jid: jid.clone(),
            incarnation: Incarnation::parse("one").unwrap(),
            enabled: true,
            created: UnixSeconds(1),
            password_changed: UnixSeconds(2),
            verifiers: Vec::new(),
        };
        let is_harmless = |account: &Account| {
            let put = Harmless::put_account(&store.view(&jid), account.clone());
            put.unwrap().is_some()
        };
        assert!(is_harmless(&account));
        let put = Edit::PutAccount(Box::new(account.clone()));
        let written = store.take_back(None, &jid, move |_| Ok(Ok::<_, ()>((vec![put], ()))));
        written.unwrap().unwrap();
        let other = |change: fn(&mut Account)| {
            let mut other = account.clone();
            change(&mut other);
            other
        };
        for (account, expected) in [
            (other(|_| {}), true),
            (other(|one| one.created = UnixSeconds(0)), true),
            (other(|one| one.enabled = false), false),
            (other(|one| one.password_changed = UnixSeconds(3)), false),
            (
                other(|one| one.incarnation = Incarnation::parse("two").unwrap()),
                false,
            ),
            (
                other(|one| one.jid = BareJid::parse("o@a.lit").unwrap()),
                false,
            ),
        ] {
            assert_eq!(is_harmless(&account), expected, "{account:?}");
        }
        for edit in [Edit::RemoveAccount, Edit::ForgetIncarnation] {
            assert!(Harmless::of(edit, &store.view(&jid)).unwrap().is_none());
        }
    }
}
