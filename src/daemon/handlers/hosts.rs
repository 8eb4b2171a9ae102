//! `host.list` and `host.forget`: lists the hosts that were ever declared, and forgets one that no server declares any more.
//!
//! Must not know: what an option means, whose records a host has.

use std::sync::Arc;

use super::super::connection::Peer;
use super::super::declared_host::DeclaredHost;
use super::super::hosts::Hosts;
use super::super::notice_times::NoticeTimes;
use super::super::reply::Answered;
use super::super::scram_news::ScramNews;
use super::super::servers::Servers;
use crate::identity::Host;
use crate::protocol::{Fault, ForgetHost, HeldOfHost, HostPage, ListHosts, ListedHost};
use crate::store::Store;

/// Lists and forgets the hosts that were ever declared.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct KnownHosts<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) servers: &'a Servers,
    pub(in crate::daemon) scram_news: &'a ScramNews,
    pub(in crate::daemon) notice_times: &'a NoticeTimes,
}

impl KnownHosts<'_> {
    /// A page of the hosts that were ever declared, in order, with what the store holds of each. Blocks.
    pub(in crate::daemon) fn list_hosts(&self, question: ListHosts) -> Answered<HostPage> {
        let ListHosts { after } = question;
        let mut behind = self.hosts.behind(after.as_ref());
        let is_more = behind.len() > PAGE_HOSTS;
        behind.truncate(PAGE_HOSTS);
        let next = behind.last().map(|(host, _)| host.clone());
        let mut rows = Vec::new();
        for (host, known) in behind {
            rows.push(ListedHost {
                lives: known.accounts,
                declared: self.is_declared(&host),
                held: self.counts_of(&host)?,
                host,
            });
        }
        Ok(HostPage {
            hosts: rows,
            next: next.filter(|_| is_more),
        })
    }

    /// Forgets that the host was declared. The store's records of its accounts stay, and count again if it is declared
    /// again: no revocation is lost. Blocks until it is on the disk.
    ///
    /// Errors: a peer that is connected declares it.
    pub(in crate::daemon) fn forget_host(
        &self,
        question: ForgetHost,
        peer: Peer,
    ) -> Answered<HeldOfHost> {
        let ForgetHost { host } = question;
        let counts = self.counts_of(&host)?;
        // A declaration of the host from now on is remembered behind this.
        let _turn = self.hosts.turn_to_remember();
        let known = self.take_out(&host)?;
        if let Err(error) = self.store.forget_host(&host) {
            self.hosts.put_in(host, known);
            return Err(error.into());
        }
        self.notice_times.forget(&host);
        tracing::info!(%host, uid = peer.uid, "host.forget: yes");
        Ok(counts)
    }

    /// Takes the host out of memory: from here on it is undeclared.
    fn take_out(&self, host: &Host) -> Result<Arc<DeclaredHost>, Fault> {
        // Both at once: a server that says hello from now on is told of the SCRAM hashes anew.
        let mut told = self.scram_news.lock();
        let known = self.hosts.take_out(host, || self.is_declared(host))?;
        told.remove(host);
        Ok(known)
    }

    /// How much the store holds of a host.
    fn counts_of(&self, host: &Host) -> Answered<HeldOfHost> {
        let counts = self.store.counts_of(host)?;
        Ok(HeldOfHost {
            accounts: self.store.census(host).accounts,
            certificates: counts.certificates,
            revoked_keys: counts.revoked_keys,
        })
    }

    /// Does somebody who is connected declare the host?
    fn is_declared(&self, host: &Host) -> bool {
        self.servers.all().iter().any(|one| one.declares(host))
    }
}

/// So that no answer is too long.
const PAGE_HOSTS: usize = 100;
