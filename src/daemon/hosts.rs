//! The hosts as they were declared last, where the store remembers them, and the asker whose version was refused.
//!
//! Must not know: who declares, and what is answered.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard};

use serde_json::{Map, Value};

use super::connection::Peer;
use super::declared_host::{DeclaredHost, json_of};
use crate::identity::Host;
use crate::policy::host::room::{self, NoRoom};
use crate::policy::{HostPolicy, access, links};
use crate::protocol::{Accounts, Fault, Stranger};
use crate::store::{HostRecord, Store, StoreError};
use crate::system::lock::{Lock, SharedLock};

/// Every host that was ever declared, but for those that were forgotten since.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Never held while something is written: every offer and every login reads it.
    declared: SharedLock<HashMap<Host, Arc<DeclaredHost>>>,
    /// Those that were declared here, and are not written yet. Changed only while `declared` is held for writing.
    unwritten: Lock<HashSet<Host>>,
    /// One at a time writes of hosts.
    remembering: Lock<()>,
    stranger: Lock<Option<Stranger>>,
    /// The addresses of the pages for devices, as the servers that are connected have told them.
    pages: Lock<HashMap<Host, String>>,
}

impl Hosts {
    /// Takes the hosts that the store remembers, each as it was declared last. Whoever else declares one meanwhile is heard behind that.
    pub(super) fn load(&self, store: &Store) -> Result<(), StoreError> {
        let mut declared = self.declared.write();
        for (host, record) in store.hosts()? {
            match DeclaredHost::from_record(&record) {
                Ok(known) => drop(declared.insert(host, Arc::new(known))),
                // Never with other options than its own: it waits for its next declaration.
                Err(error) => tracing::error!(%host, %error, "the host's options are not readable"),
            }
        }
        Ok(())
    }

    /// Another process has declared the host, or has forgotten it. What was declared here and is not written yet is newer; and a host
    /// that somebody declares who is connected here stays.
    pub(super) fn follow(
        &self,
        host: &Host,
        record: Option<&HostRecord>,
        is_declared: impl FnOnce() -> bool,
    ) {
        let known = record.map(DeclaredHost::from_record).transpose();
        let mut declared = self.declared.write();
        if self.unwritten.lock().contains(host) {
            return;
        }
        match known {
            Ok(Some(known)) => {
                tracing::info!(%host, options = json_of(&known.options), "host declared elsewhere");
                declared.insert(host.clone(), Arc::new(known));
            }
            Ok(None) if is_declared() => {}
            Ok(None) => drop(declared.remove(host)),
            Err(error) => {
                tracing::error!(%host, %error, "the host's options are not readable");
                declared.remove(host);
            }
        }
    }

    /// The host as it was declared last, be it ready or not.
    #[must_use]
    pub(super) fn declaration(&self, host: &Host) -> Option<Arc<DeclaredHost>> {
        self.declared.read().get(host).cloned()
    }

    /// Where the accounts of `host` live, and by which rules.
    ///
    /// Errors: nobody has declared it, or its options are in error.
    pub(super) fn of(&self, host: &Host) -> Result<(Accounts, Arc<HostPolicy>), Fault> {
        let declared = self.declared.read();
        match declared.get(host) {
            None => Err(Fault::HostUndeclared),
            Some(known) if !known.meaning.errors.is_empty() => Err(Fault::HostNotReady),
            Some(known) => Ok((known.accounts, Arc::clone(&known.meaning.policy))),
        }
    }

    /// As [`Self::of`].
    pub(super) fn policy(&self, host: &Host) -> Result<Arc<HostPolicy>, Fault> {
        self.of(host).map(|(_, policy)| policy)
    }

    /// The rules for passwords of `host`, if this peer may ask about them.
    pub(super) fn passwords_of(&self, host: &Host, peer: Peer) -> Result<Arc<HostPolicy>, Fault> {
        let (accounts, policy) = self.of(host)?;
        if !access::may_ask_about_passwords(peer.role, accounts == Accounts::Daemon) {
            return Err(Fault::AccountsInProsody);
        }
        Ok(policy)
    }

    /// Those behind `after`, in order; `None`: all of them.
    #[must_use]
    pub(super) fn behind(&self, after: Option<&Host>) -> Vec<(Host, Arc<DeclaredHost>)> {
        let declared = self.declared.read();
        let behind = declared
            .iter()
            .filter(|(host, _)| after.is_none_or(|after| *host > after));
        let mut behind: Vec<_> = behind
            .map(|(host, known)| (host.clone(), Arc::clone(known)))
            .collect();
        drop(declared);
        behind.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        behind
    }

    /// The host is declared: as what it is known from here on, and whether that is another thing than before.
    ///
    /// Errors: why it can't be remembered.
    pub(super) fn declare(
        &self,
        host: &Host,
        accounts: Accounts,
        options: Map<String, Value>,
    ) -> Result<(Arc<DeclaredHost>, bool), NoRoom> {
        let mut declared = self.declared.write();
        let before = declared.get(host);
        let bytes = json_of(&options).len();
        room::require(bytes, before.is_some(), declared.len())?;
        let is_other =
            before.is_none_or(|before| before.options != options || before.accounts != accounts);
        // The last try to write it may have failed.
        let is_new = is_other || self.unwritten.lock().contains(host);
        let fresh = Arc::new(DeclaredHost::new(accounts, options));
        if is_new {
            self.unwritten.lock().insert(host.clone());
        }
        if is_other {
            tracing::info!(
                %host,
                before = before.map(|before| json_of(&before.options)),
                options = json_of(&fresh.options),
                errors = fresh.meaning.errors.len(),
                "host declared"
            );
        }
        declared.insert(host.clone(), Arc::clone(&fresh));
        Ok((fresh, is_new))
    }

    /// Is there room for a host that nobody has declared?
    ///
    /// Errors: why not.
    pub(super) fn room_for(&self, options: &Map<String, Value>) -> Result<(), NoRoom> {
        room::require(json_of(options).len(), false, self.declared.read().len())
    }

    /// Takes the host out of memory, if it is not `declared` by somebody who is connected: from here on it is undeclared.
    pub(super) fn take_out(
        &self,
        host: &Host,
        is_declared: impl FnOnce() -> bool,
    ) -> Result<Arc<DeclaredHost>, Fault> {
        let mut declared = self.declared.write();
        let Entry::Occupied(known) = declared.entry(host.clone()) else {
            return Err(Fault::HostUndeclared);
        };
        if is_declared() {
            return Err(Fault::HostDeclared);
        }
        self.unwritten.lock().remove(host);
        Ok(known.remove())
    }

    /// Puts a host into memory. One that was declared meanwhile is newer, and stays.
    pub(super) fn put_in(&self, host: Host, known: Arc<DeclaredHost>) {
        self.declared.write().entry(host).or_insert(known);
    }

    /// Held from the look at the hosts until the outcome is written: the last one written counts.
    pub(super) fn turn_to_remember(&self) -> MutexGuard<'_, ()> {
        self.remembering.lock()
    }

    /// Writes what was declared, but for hosts that were declared anew or forgotten since. Blocks.
    pub(super) fn remember(
        &self,
        store: &Store,
        mut changed: Vec<(Host, HostRecord)>,
    ) -> Result<(), StoreError> {
        let _turn = self.turn_to_remember();
        changed.retain(|(host, record)| {
            let latest = self.declaration(host);
            latest.is_some_and(|latest| latest.record() == *record)
        });
        store.remember_hosts(changed.clone())?;
        let declared = self.declared.write();
        for (host, record) in &changed {
            let latest = declared.get(host);
            if latest.is_none_or(|latest| latest.record() == *record) {
                self.unwritten.lock().remove(host);
            }
        }
        Ok(())
    }

    /// A server has told where the host's page for devices is; `None`: it serves none.
    pub(super) fn note_page(&self, host: &Host, page: Option<String>) {
        let mut pages = self.pages.lock();
        match page.filter(|page| links::is_page(page)) {
            Some(page) => drop(pages.insert(host.clone(), page)),
            None => drop(pages.remove(host)),
        }
    }

    /// The address of the host's page for devices, if it is known.
    pub(super) fn page(&self, host: &Host) -> Option<String> {
        self.pages.lock().get(host).cloned()
    }

    /// The server that was refused last, for its version of the protocol, and has not come back with ours.
    pub(super) fn stranger(&self) -> MutexGuard<'_, Option<Stranger>> {
        self.stranger.lock()
    }

    /// Does somebody read or write of the hosts in memory, or on the disk?
    #[cfg(test)]
    pub(super) fn are_held(&self) -> (bool, bool) {
        (self.declared.is_held(), self.remembering.is_held())
    }
}
