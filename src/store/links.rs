//! The links of all accounts: found by the hashes of their tokens, counted and listed.
//!
//! Must not know: who may redeem one.

use crate::identity::{BareJid, Host, Link, LinkHash, LinkId, UnixSeconds};

use super::Store;
use super::error::StoreError;

impl Store {
    /// The link with this hash for an account of `host`, be it good or not.
    pub fn link(&self, hash: &LinkHash, host: &Host) -> Result<Option<Link>, StoreError> {
        let account = self.memory.links.account_of(hash);
        match account.filter(|account| account.host() == host) {
            Some(account) => self.view(&account).link(hash),
            None => Ok(None),
        }
    }

    /// The account whose link has this id, and its hash. From memory.
    #[must_use]
    pub fn link_with_id(&self, id: LinkId) -> Option<(BareJid, LinkHash)> {
        self.memory.links.with_id(id)
    }

    /// The accounts for which `is_meant` that have links, and the hashes of these, in their order. From memory.
    #[must_use]
    pub fn links_of(&self, is_meant: impl Fn(&BareJid) -> bool) -> Vec<(BareJid, LinkHash)> {
        self.memory.links.of(is_meant)
    }

    /// How many links of `host` have not expired. From memory.
    #[must_use]
    pub fn live_links_on(&self, host: &Host, now: UnixSeconds) -> usize {
        self.memory.links.live_on(host, now)
    }
}
