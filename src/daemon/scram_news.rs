//! The SCRAM hashes that every account of a host has, as the host's servers were told last: only those may be offered.
//!
//! Must not know: who changes an account, and why.

use std::collections::HashMap;
use std::sync::MutexGuard;

use super::servers::Servers;
use crate::identity::{Host, ScramHash};
use crate::system::lock::Lock;

/// The hashes that the servers of each host have heard of.
#[derive(Debug, Default)]
pub(super) struct ScramNews(Lock<HashMap<Host, Vec<ScramHash>>>);

impl ScramNews {
    /// Held while somebody is told something else of a host, so that no news gets in front of it.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Host, Vec<ScramHash>>> {
        self.0.lock()
    }

    /// Tells every server of the host which SCRAM hashes may be offered, if that has changed. To be called in the order of the changes.
    pub(super) fn tell(&self, servers: &Servers, host: &Host, common: Vec<ScramHash>) {
        let mut announced = self.0.lock();
        if announced.get(host).unwrap_or(&ScramHash::ALL.to_vec()) == &common {
            return;
        }
        servers.tell_scram(host, &common);
        announced.insert(host.clone(), common);
    }
}
