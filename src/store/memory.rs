//! What is kept in memory of the rows, so that it need not be read: one place that hears of every change, and passes it on to
//! whoever has to hear of it.
//!
//! Must not know: who has changed something, where the rows are.

use super::census::Censuses;
use super::counts::Counts;
use super::edit::{Row, Table};
use super::error::StoreError;
use super::follow::{Listeners, Maker, News};
use super::heed::Concern;
use super::link_index::LinkIndex;
use super::recall::Recall;
use super::rows::Changed;
use super::tables::Tables;
use crate::system::lock::{Lock, SharedLock};

/// Each part follows from the rows of some tables.
pub(super) struct Memory {
    pub(super) recall: Recall,
    pub(super) censuses: Censuses,
    pub(super) links: LinkIndex,
    pub(super) counts: Lock<Counts>,
    pub(super) secret: SharedLock<[u8; 32]>,
    pub(super) listeners: Listeners,
}

impl Memory {
    /// What follows from the rows as they are. Damaged ones are left out.
    pub(super) fn of_all(
        tables: &Tables,
        counts: Counts,
        secret: [u8; 32],
        listeners: Listeners,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            recall: Recall::default(),
            censuses: Censuses::of_all(tables)?,
            links: LinkIndex::of_all(tables)?,
            counts: Lock::new(counts),
            secret: SharedLock::new(secret),
            listeners,
        })
    }

    /// The rows that have to be written with these changes, which are not made yet, so that another memory of the same rows comes
    /// to the same.
    pub(super) fn following(&self, changes: &[Changed]) -> Vec<Row> {
        self.censuses.following(changes)
    }

    /// The tables say this from now on, and go on to say it behind a power cut. To be called before anybody hears that it is written; the
    /// changes of one row in the order in which they were made. `concerns`: what of them concerns who has logged in before. `by`: who has made them.
    ///
    /// No yes to a login by what was so before comes behind it: whoever begins one from here on reads the rows, and this memory, as they
    /// are now.
    pub(super) fn applied(&self, changes: &[Changed], concerns: &[Concern], by: Maker) {
        self.applied_and(changes, concerns, by, &|| ());
    }

    /// The same; `also` belongs to it, and is called where this memory follows.
    pub(super) fn applied_and(
        &self,
        changes: &[Changed],
        concerns: &[Concern],
        by: Maker,
        also: &dyn Fn(),
    ) {
        self.heeded(changes, concerns, also);
        let news = News::of(changes, by, &self.censuses);
        if !news.is_empty() {
            self.listeners.follow.follow(news);
        }
    }

    fn heeded(&self, changes: &[Changed], concerns: &[Concern], also: &dyn Fn()) {
        if concerns.is_empty() {
            self.follow(changes);
            also();
            return;
        }
        let heed = &*self.listeners.heed;
        heed.under_closing(&mut || {
            self.follow(changes);
            also();
            for concern in concerns {
                concern.tell(heed);
            }
        });
    }

    fn follow(&self, changes: &[Changed]) {
        self.counts.lock().applied(changes);
        self.censuses.applied(changes);
        self.links.applied(changes);
        let secrets = changes
            .iter()
            .filter(|changed| changed.table == Table::Meta && changed.key == SECRET_ROW);
        for changed in secrets {
            let secret = changed.after.as_deref().and_then(<[u8]>::first_chunk::<32>);
            if let Some(secret) = secret {
                *self.secret.write() = *secret;
            }
        }
        self.recall.changed(changes);
    }

    /// The tables may say something new, and nobody can tell what.
    pub(super) fn in_doubt(&self) {
        self.recall.in_doubt();
    }
}

/// Under which key the store's own secret stands in `meta`: decoys are made from it, so that nobody can tell them from accounts.
pub(super) const SECRET_ROW: &[u8] = b"secret";
