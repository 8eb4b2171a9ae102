//! Messages to accounts: a server that is connected here delivers them, or else one that is connected to another daemon of the same store.
//!
//! Must not know: the words of a message, why there is one.

use std::collections::HashSet;

use super::super::hosts::Hosts;
use super::super::servers::Servers;
use super::super::storage;
use super::super::waiting_messages::WaitingMessages;
use super::incarnations::present_incarnation;
use crate::identity::UnixSeconds;
use crate::policy::manage;
use crate::protocol::Refusal;
use crate::store::{Message, Store, StoreError, WaitingMessage};

/// Delivers what other daemons have left.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Messages<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) servers: &'a Servers,
    pub(in crate::daemon) waiting: &'a WaitingMessages,
}

/// Sends a message, if a server of its host is connected; else it is left for the daemon to which one is. Blocks in that case.
pub(super) fn send(servers: &Servers, store: &Store, message: Message) {
    if servers.tell(&message.account, &message.text) {
        return;
    }
    let account = message.account.clone();
    match store.leave_message(message) {
        Ok(true) => tracing::info!(%account, "no server of its host is here: a message is left"),
        // As it is without other daemons.
        Ok(false) => {}
        Err(error) => {
            storage::log(&error);
            tracing::warn!(%account, "the account does not hear what has become of its certificates");
        }
    }
}

impl Messages<'_> {
    /// Delivers those that wait for the hosts whose servers are connected here, if there may be some. Blocks.
    pub(in crate::daemon) fn deliver(&self) {
        if !self.waiting.look() {
            return;
        }
        let mut failed = HashSet::new();
        for waiting in self.store.waiting_messages() {
            let waiting = match waiting {
                Ok(waiting) => waiting,
                Err(error) => {
                    storage::log(&error);
                    return self.waiting.note_for_later();
                }
            };
            let host = waiting.message.account.host().clone();
            if failed.contains(&host) || !self.servers.serve(&host) {
                continue;
            }
            if let Err(refusal) = self.deliver_one(waiting) {
                tracing::warn!(%host, ?refusal, "messages to its accounts come later");
                failed.insert(host);
            }
        }
        if !failed.is_empty() {
            self.waiting.note_for_later();
        }
    }

    /// Once for all daemons: by whichever has taken it out.
    ///
    /// Errors: it may wait still. If nobody can say whether it was taken out, nobody delivers it.
    fn deliver_one(&self, waiting: WaitingMessage) -> Result<(), Refusal> {
        let Message {
            account, to, text, ..
        } = waiting.message.clone();
        let lives = self.hosts.of(account.host())?.0;
        let present = present_incarnation(self.store, self.servers, lives, &account)?;
        if !self.store.take_message(waiting)? {
            return Ok(());
        }
        // A later account of the name must not read it.
        let is_told = present.is_some_and(|present| to.contains(&present))
            && self.servers.tell(&account, &text);
        tracing::info!(%account, is_told, "a message that was left");
        Ok(())
    }

    /// Takes out those that nobody could deliver for long. Blocks.
    pub(in crate::daemon) fn forget_old(&self, now: UnixSeconds) {
        let forget = || -> Result<(), StoreError> {
            for waiting in self.store.waiting_messages() {
                let waiting = waiting?;
                if manage::is_old_news(waiting.message.written, now) {
                    self.store.take_message(waiting)?;
                }
            }
            Ok(())
        };
        if let Err(error) = forget() {
            storage::log(&error);
        }
    }
}
