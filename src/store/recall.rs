//! What the lists have said of certificates, for as long as nothing changes: a login reads what its offer has read.
//!
//! A commit ends what was read of the certificates whose rows in `known` it changes: what is remembered follows from these rows alone. The count
//! of a place goes up behind the moment from which the tables say something new, and before anybody hears that it is written. In between it tells what was so before: never behind the answer to a change, and of one that takes something
//! back never behind its closing.
//!
//! Must not know: what a record means for a login.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::edit::Table;
use super::rows::Changed;
use crate::identity::{BareJid, Fingerprint, Holder, Host, Incarnation};
use crate::system::lock::Lock;

/// As many certificates as there are places; the last one that was read has the place.
pub(super) struct Recall {
    doubts: AtomicU64,
    places: Box<[Place]>,
}

#[derive(Default)]
struct Place {
    changes: AtomicU64,
    entry: Lock<Option<Entry>>,
}

/// How far the certificates of a place had come when one was read, or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AsOf {
    doubts: u64,
    changes: u64,
}

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
            doubts: AtomicU64::new(0),
            places: (0..PLACES).map(|_| Place::default()).collect(),
        }
    }
}

impl Recall {
    /// Must be asked before the tables are read.
    pub(super) fn now(&self, fingerprint: &Fingerprint) -> AsOf {
        AsOf {
            doubts: self.doubts.load(Ordering::Acquire),
            changes: self.place(fingerprint).changes.load(Ordering::Acquire),
        }
    }

    /// The tables say this by now.
    pub(super) fn changed(&self, changes: &[Changed]) {
        for changed in changes.iter().filter(|one| one.table == Table::Known) {
            match changed.key.first_chunk() {
                Some(fingerprint) => {
                    let place = self.place(&Fingerprint::from_bytes(*fingerprint));
                    place.changes.fetch_add(1, Ordering::Release);
                }
                // There is no such row.
                None => self.in_doubt(),
            }
        }
    }

    /// The tables may say something new, and nobody can tell of which certificate.
    pub(super) fn in_doubt(&self) {
        self.doubts.fetch_add(1, Ordering::Release);
    }

    /// In which lists of `host` a certificate stands, if that was read since the last change.
    pub(super) fn get(
        &self,
        fingerprint: &Fingerprint,
        host: &Host,
        as_of: AsOf,
    ) -> Option<Arc<Holding>> {
        let place = self.place(fingerprint).entry.lock();
        let entry = place.as_ref()?;
        let is_meant = entry.as_of == as_of && entry.fingerprint == *fingerprint;
        (is_meant && is_of(&entry.holding, host)).then(|| Arc::clone(&entry.holding))
    }

    /// A certificate that nobody holds takes nobody's place.
    pub(super) fn keep(&self, fingerprint: &Fingerprint, holding: &Arc<Holding>, as_of: AsOf) {
        if holding.holders.is_empty() {
            return;
        }
        *self.place(fingerprint).entry.lock() = Some(Entry {
            as_of,
            fingerprint: *fingerprint,
            holding: Arc::clone(holding),
        });
    }

    fn place(&self, fingerprint: &Fingerprint) -> &Place {
        let [first, second, ..] = *fingerprint.as_bytes();
        let number = usize::from(u16::from_le_bytes([first, second]));
        #[allow(clippy::indexing_slicing)]
        // There are PLACES.
        &self.places[number % PLACES]
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

    /// Somebody's row of a certificate is another one now.
    fn change_of(certificate: &Fingerprint) -> Changed {
        Changed {
            table: Table::Known,
            key: [certificate.as_bytes(), &b"a.lit\0juliet"[..]].concat(),
            before: None,
            after: None,
        }
    }

    #[test]
    fn it_lasts_until_a_row_of_the_certificate_changes_and_is_of_one_host() {
        let (recall, cert, other) = (
            Recall::default(),
            Fingerprint::of(b"a"),
            Fingerprint::of(b"b"),
        );
        let (here, there) = (Host::parse("a.lit").unwrap(), Host::parse("b.lit").unwrap());
        let holding = held_by("juliet@a.lit");
        let get = |host, as_of| recall.get(&cert, host, as_of);
        let as_of = recall.now(&cert);
        recall.keep(&cert, &holding, as_of);
        assert_eq!(get(&here, as_of), Some(holding.clone()));
        assert_eq!(get(&there, as_of), None);
        assert_eq!(recall.get(&other, &here, as_of), None);
        let elsewhere = Changed {
            table: Table::Certificates,
            ..change_of(&cert)
        };
        recall.changed(&[change_of(&other), elsewhere]);
        assert_eq!(get(&here, recall.now(&cert)), Some(holding.clone()));
        recall.changed(&[change_of(&other), change_of(&cert)]);
        assert_eq!(get(&here, recall.now(&cert)), None);
        // It was read before the change, and kept behind it.
        recall.keep(&cert, &holding, as_of);
        assert_eq!(get(&here, recall.now(&cert)), None);
        recall.keep(&cert, &holding, recall.now(&cert));
        assert_eq!(get(&here, recall.now(&cert)), Some(holding));
        recall.in_doubt();
        assert_eq!(get(&here, recall.now(&cert)), None);
    }

    #[test]
    fn a_stranger_takes_nobodys_place() {
        let (recall, cert) = (Recall::default(), Fingerprint::of(b"a"));
        let holding = held_by("juliet@a.lit");
        recall.keep(&cert, &holding, recall.now(&cert));
        let mut beside = *cert.as_bytes();
        beside[31] ^= 1;
        let beside = Fingerprint::from_bytes(beside);
        recall.keep(&beside, &Arc::default(), recall.now(&beside));
        let here = Host::parse("a.lit").unwrap();
        assert_eq!(
            recall.get(&cert, &here, recall.now(&cert)),
            Some(holding.clone())
        );
        recall.keep(&beside, &holding, recall.now(&cert));
        assert_eq!(recall.get(&cert, &here, recall.now(&cert)), None);
        assert_eq!(recall.get(&beside, &here, recall.now(&cert)), Some(holding));
    }
}
