//! What the lists have said of certificates, for as long as nothing changes: a login reads what its offer has read.
//!
//! Each commit ends all of it. The count of commits goes up behind the moment from which the tables say something new, and before anybody
//! hears that it is written. In between it tells what was so before: never behind the answer to a change, and of one that takes something
//! back never behind its closing.
//!
//! Must not know: what a record means for a login.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::identity::{BareJid, Fingerprint, Holder, Host, Incarnation};
use crate::system::lock::Lock;

/// As many certificates as there are places; the last one that was read has the place.
pub(super) struct Recall {
    changes: AtomicU64,
    places: Box<[Lock<Option<Entry>>]>,
}

/// How far the store had come when something was read, or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AsOf(u64);

/// In which lists of one host a certificate stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// In whose lists: any account of the host, any incarnation, any order.
    pub holders: Vec<Holder>,
    /// Those of the holders that have revoked its key.
    pub revoked_for: Vec<(BareJid, Incarnation)>,
}

struct Entry {
    as_of: AsOf,
    fingerprint: Fingerprint,
    holding: Arc<Holding>,
}

impl Default for Recall {
    fn default() -> Self {
        Self {
            changes: AtomicU64::new(0),
            places: (0..PLACES).map(|_| Lock::new(None)).collect(),
        }
    }
}

impl Recall {
    /// Must be asked before the tables are read.
    pub(super) fn now(&self) -> AsOf {
        AsOf(self.changes.load(Ordering::Acquire))
    }

    /// The tables say something new by now, or may.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// In which lists of `host` a certificate stands, if that was read since the last change.
    pub(super) fn get(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
        as_of: AsOf,
    ) -> Option<Arc<Holding>> {
        let place = self.place(fingerprint)?.lock();
        let entry = place.as_ref()?;
        let is_meant = entry.as_of == as_of && entry.fingerprint == *fingerprint;
        (is_meant && is_of(&entry.holding, host)).then(|| Arc::clone(&entry.holding))
    }

    /// A certificate that nobody holds takes nobody's place.
    pub(super) fn keep(&self, fingerprint: &Fingerprint, holding: &Arc<Holding>, as_of: AsOf) {
        let (Some(place), false) = (self.place(fingerprint), holding.holders.is_empty()) else {
            return;
        };
        *place.lock() = Some(Entry {
            as_of,
            fingerprint: *fingerprint,
            holding: Arc::clone(holding),
        });
    }

    fn place(&self, fingerprint: &Fingerprint) -> Option<&Lock<Option<Entry>>> {
        let [first, second, ..] = *fingerprint.as_bytes();
        let number = usize::from(u16::from_le_bytes([first, second]));
        self.places.get(number % PLACES)
    }
}

/// All holders are accounts of one host.
fn is_of(holding: &Holding, host: &Host) -> bool {
    let holder = holding.holders.first();
    holder.is_some_and(|holder| holder.account.host() == host)
}

/// Some 3 MiB, when all are taken.
const PLACES: usize = 8192;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::CertificateName;

    fn held_by(account: &str) -> Arc<Holding> {
        Arc::new(Holding {
            holders: vec![Holder {
                account: BareJid::parse(account).unwrap(),
                incarnation: Incarnation::parse("one").unwrap(),
                name: CertificateName::parse("laptop").unwrap(),
                may_manage: true,
            }],
            revoked_for: Vec::new(),
        })
    }

    #[test]
    fn it_lasts_until_something_changes_and_is_of_one_host() {
        let (recall, cert) = (Recall::default(), Fingerprint::of(b"a"));
        let (here, there) = (Host::parse("a.lit").unwrap(), Host::parse("b.lit").unwrap());
        let holding = held_by("juliet@a.lit");
        let as_of = recall.now();
        recall.keep(&cert, &holding, as_of);
        assert_eq!(recall.get(&cert, &here, as_of), Some(holding.clone()));
        assert_eq!(recall.get(&cert, &there, as_of), None);
        assert_eq!(recall.get(&Fingerprint::of(b"b"), &here, as_of), None);
        recall.changed();
        assert_eq!(recall.get(&cert, &here, recall.now()), None);
        // It was read before the change, and kept behind it.
        recall.keep(&cert, &holding, as_of);
        assert_eq!(recall.get(&cert, &here, recall.now()), None);
    }

    #[test]
    fn a_stranger_takes_nobodys_place() {
        let (recall, cert) = (Recall::default(), Fingerprint::of(b"a"));
        let holding = held_by("juliet@a.lit");
        recall.keep(&cert, &holding, recall.now());
        let mut beside = *cert.as_bytes();
        beside[31] ^= 1;
        let beside = Fingerprint::from_bytes(beside);
        recall.keep(&beside, &Arc::default(), recall.now());
        let here = Host::parse("a.lit").unwrap();
        assert_eq!(
            recall.get(&cert, &here, recall.now()),
            Some(holding.clone())
        );
        recall.keep(&beside, &holding, recall.now());
        assert_eq!(recall.get(&cert, &here, recall.now()), None);
        assert_eq!(recall.get(&beside, &here, recall.now()), Some(holding));
    }
}
