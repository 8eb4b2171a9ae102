//! When each certificate was last used, until that is written: a login must not wait for the disk.
//!
//! Must not know: who may log in.

use std::collections::HashMap;

use super::disk_room::DiskRoom;
use super::storage;
use crate::identity::{
    BareJid, CertificateName, Enrolment, Fingerprint, Holder, LastUse, UnixSeconds,
};
use crate::store::{Store, Use};
use crate::system::lock::Lock;

/// Logins that the store does not know of yet, the last of each certificate.
#[derive(Debug, Default)]
pub(super) struct LastUses {
    unwritten: Lock<HashMap<(BareJid, CertificateName), (Fingerprint, LastUse)>>,
}

impl LastUses {
    /// Somebody has logged in with the certificate.
    pub(super) fn note(
        &self,
        holder: Holder,
        fingerprint: Fingerprint,
        address: Option<String>,
        at: UnixSeconds,
    ) {
        let address = address.map(shortened);
        let mut uses = self.unwritten.lock();
        if uses.len() < MAX_UNWRITTEN_USES {
            let noted = (fingerprint, LastUse { at, address });
            uses.insert((holder.account, holder.name), noted);
        }
    }

    /// The last login with the certificate.
    #[must_use]
    pub(super) fn of(&self, held: &Enrolment) -> Option<LastUse> {
        let key = (held.account.clone(), held.name.clone());
        let uses = self.unwritten.lock();
        let unwritten = uses.get(&key).filter(|(with, _)| *with == held.fingerprint);
        unwritten
            .map(|(_, last)| last.clone())
            .or_else(|| held.last_use.clone())
    }

    /// Writes those that were noted since the last time. Blocks.
    pub(super) fn write(&self, store: &Store, disk_room: &DiskRoom) {
        // Each is a whole record: not from the reserve that revocations need.
        if disk_room.is_nearly_full() {
            return;
        }
        let uses = std::mem::take(&mut *self.unwritten.lock());
        let uses: Vec<Use> = uses
            .into_iter()
            .map(|((account, name), (fingerprint, last_use))| Use {
                account,
                name,
                fingerprint,
                last_use,
            })
            .collect();
        for uses in uses.chunks(USES_IN_ONE_WRITE) {
            if let Err(error) = store.note_uses(uses.to_vec()) {
                storage::log(&error);
                return;
            }
        }
    }
}

/// What is longer is no address.
fn shortened(mut address: String) -> String {
    if let Some((end, _)) = address.char_indices().nth(MAX_ADDRESS_LETTERS) {
        address.truncate(end);
    }
    address
}

/// An address with a zone has fewer.
const MAX_ADDRESS_LETTERS: usize = 64;
/// Most last uses that wait to be written; beyond it some are forgotten.
const MAX_UNWRITTEN_USES: usize = 100_000;
/// Few enough that a change which waits behind them hardly notices.
const USES_IN_ONE_WRITE: usize = 500;
