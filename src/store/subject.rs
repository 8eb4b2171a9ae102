//! What a change is about, as its asker says it before anything is read.
//!
//! Must not know: what is decided.

use std::collections::BTreeSet;

use super::job::{About, Claim};
use crate::identity::{BareJid, Fingerprint};

/// The account whose rows a change is of, and the certificates that no other account may come to hold, or cease to hold, while it is
/// decided and written. A decision that asks who else holds one has to name it here.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    account: &'a BareJid,
    certificates: Vec<Fingerprint>,
}

impl<'a> Subject<'a> {
    /// The account, and these certificates.
    pub fn with(account: &'a BareJid, certificates: impl Iterator<Item = Fingerprint>) -> Self {
        Self {
            account,
            certificates: certificates.collect(),
        }
    }

    /// The account.
    pub(super) const fn account(&self) -> &'a BareJid {
        self.account
    }

    pub(super) fn about(&self) -> About {
        About::These(self.claims())
    }

    pub(super) fn claims(&self) -> BTreeSet<Claim> {
        let account = Claim::Account(self.account.clone());
        let claim = |of: &Fingerprint| Claim::Certificate(self.account.host().clone(), *of);
        let certificates = self.certificates.iter().map(claim);
        [account].into_iter().chain(certificates).collect()
    }
}

/// The account alone.
impl<'a> From<&'a BareJid> for Subject<'a> {
    fn from(account: &'a BareJid) -> Self {
        Self::with(account, [].into_iter())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use super::*;
    use crate::identity::{AddedBy, CertificateName, Enrolment, Incarnation, KeyId, UnixSeconds};
    use crate::store::{Edit, Store, View};

    fn held_by(account: &BareJid, fingerprint: Fingerprint) -> Edit {
        Edit::put(Enrolment {
            account: account.clone(),
            incarnation: Incarnation::parse("one").unwrap(),
            name: CertificateName::parse("phone").unwrap(),
            der: b"none".to_vec(),
            fingerprint,
            key_id: KeyId::from_bytes([1; 32]),
            addresses: Vec::new(),
            not_before: UnixSeconds(0),
            not_after: UnixSeconds(1),
            may_manage: true,
            order: 1,
            added_at: UnixSeconds(0),
            added_by: AddedBy {
                certificate: None,
                jid: None,
            },
            last_use: None,
        })
    }

    /// Three changes that are asked while the writer is busy, so that all of them wait together.
    #[test]
    fn of_changes_about_one_certificate_each_sees_who_holds_it_by_the_ones_before() {
        let folder = tempfile::tempdir().unwrap();
        Store::create(folder.path()).unwrap();
        let store = Store::open(folder.path(), 1 << 20, Box::new(|_| {})).unwrap();
        let [busy, accounts @ ..] =
            ["busy@a.lit", "x@a.lit", "y@a.lit", "z@a.lit"].map(|jid| BareJid::parse(jid).unwrap());
        let (go_on, wait) = mpsc::sync_channel::<()>(0);
        let blocking = store.begin_taking_back(&busy, move |_: &View<'_>| {
            wait.recv().unwrap();
            Ok(Ok::<_, ()>((Vec::new(), ())))
        });
        let blocking = blocking.unwrap();
        let one = Fingerprint::of(b"one");
        // Each puts it into its list, and says how many held it before.
        let begun = accounts.each_ref().map(|account| {
            let edit = held_by(account, one);
            let subject = Subject::with(account, [one].into_iter());
            let begun = store.begin_taking_back(subject, move |view: &View<'_>| {
                let holders = view.holders(&one)?.len();
                Ok(Ok::<_, ()>((vec![edit], holders)))
            });
            begun.unwrap()
        });
        go_on.send(()).unwrap();
        blocking.wait().unwrap().unwrap();
        let mut found = begun.map(|change| change.wait().unwrap().unwrap());
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2]);
    }
}
