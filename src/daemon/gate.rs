//! No yes behind a no.
//!
//! A yes needs a [`Pass`], held from before the facts are read until the answer is queued. A revocation needs a [`Closing`], and so does
//! the change of an account: held from before it is written until the servers' lines about it are queued. The closing hears from
//! the store what is written, and queues those lines itself. Nobody holds a pass beside a closing: so a login finds the revocation
//! in the store, or its session is among those that are closed.
//!
//! Must not know: what is decided.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::connection::Connection;
use super::servers::{Servers, closing_lines};
use crate::identity::{BareJid, KeyId};
use crate::policy::live::Ending;
use crate::protocol::{AccountChange, AccountChanged, Close};
use crate::store::{Change, NoYes};
use crate::system::lock::Lock;

/// Where yes and no can't meet.
///
/// A closing that waits is let in before later passes: logins that never pause hold no revocation up. There is one, the state's: behind
/// another one nothing would be taken back.
pub struct Gate(RwLock<()>);

/// While it is held nothing is taken back: its holder may say yes.
pub struct Pass<'a>(#[allow(dead_code)] RwLockReadGuard<'a, ()>);

/// While it is held nobody says yes: its holder may take something back. At its end the servers hear which accounts have changed, and
/// which sessions are over.
#[must_use = "at its end logins go on"]
pub struct Closing<'a> {
    servers: &'a Servers,
    /// The connection that asks: the answer tells it of a changed account.
    asker: Option<u64>,
    news: Lock<News>,
    _guard: RwLockWriteGuard<'a, ()>,
}

/// Lines for the servers.
#[derive(Default)]
struct News {
    /// Accounts and keys that sessions are over of.
    doomed: BTreeSet<(BareJid, KeyId)>,
    changed: Vec<(BareJid, AccountChange)>,
}

impl News {
    fn take_doomed(&mut self) -> Vec<Close> {
        let doomed = std::mem::take(&mut self.doomed).into_iter();
        doomed
            .map(|(account, key_id)| Close::of(&account, &key_id, Ending::Revoked))
            .collect()
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        Self(RwLock::default())
    }

    /// Waits while something is taken back. Blocks.
    pub fn pass(&self) -> Pass<'_> {
        Pass(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// `None` while something is taken back, or waits for it.
    pub fn try_pass(&self) -> Option<Pass<'_>> {
        match self.0.try_read() {
            Ok(guard) => Some(Pass(guard)),
            Err(TryLockError::Poisoned(guard)) => Some(Pass(guard.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Waits until nobody says yes any more. Blocks. `asker`: the connection that asks for it, if one does.
    pub(super) fn close<'a>(
        &'a self,
        servers: &'a Servers,
        asker: Option<&Connection>,
    ) -> Closing<'a> {
        Closing {
            servers,
            asker: asker.map(|asker| asker.id),
            news: Lock::default(),
            _guard: self.0.write().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Closing<'_> {
    /// Every server closes the sessions of `account` that logged in with this key, though the store has said nothing of it.
    pub(super) fn end_sessions(&self, account: &BareJid, key_id: &KeyId) {
        self.news.lock().doomed.insert((account.clone(), *key_id));
    }

    /// Tells the other servers now which accounts have changed; how many lines that were.
    pub(super) fn tell_changed(&self) -> usize {
        let changed = std::mem::take(&mut self.news.lock().changed);
        let counts = changed.into_iter().map(|(account, change)| {
            let changed = AccountChanged::of(account.to_string(), change);
            self.servers
                .tell_changed(self.asker, account.host(), &changed)
        });
        counts.sum()
    }

    /// Has the sessions closed that are over. `answer` answers the question that took something back; it is given the lines that
    /// belong behind the answer.
    ///
    /// The other servers come first: a client that reads the answer finds the sessions gone there. To the asker the answer goes first, in one
    /// write with the closings: the session that asks may be the first to be closed.
    pub(super) fn end(self, asker: &Connection, answer: impl FnOnce(&str)) {
        let doomed = self.news.lock().take_doomed();
        self.servers.close(Some(asker.id), &doomed);
        answer(&closing_lines(asker, &doomed));
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.tell_changed();
        let doomed = self.news.lock().take_doomed();
        if !doomed.is_empty() {
            self.servers.close(None, &doomed);
        }
    }
}

impl NoYes for Closing<'_> {
    fn hear(&self, account: &BareJid, change: &Change) {
        let mut news = self.news.lock();
        match change {
            Change::Revoked(key_id) => drop(news.doomed.insert((account.clone(), *key_id))),
            Change::Account { before, after } => {
                let change = AccountChange::between(before.as_deref(), after.as_deref());
                news.changed
                    .extend(change.map(|change| (account.clone(), change)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::{self, TryRecvError};
    use std::thread;

    use serde_json::{Value, json};

    use super::super::connection::{Introduction, Peer};
    use super::*;
    use crate::identity::UnixSeconds;
    use crate::protocol::Role;

    #[test]
    fn a_closing_waits_for_the_passes_and_goes_before_those_that_come_later() {
        let (gate, servers) = (Gate::new(), Servers::default());
        let first = gate.pass();
        // Beside it others are given.
        let second = gate.try_pass().unwrap();
        thread::scope(|scope| {
            let (has_closed, closed) = mpsc::channel();
            let (may_open, opens) = mpsc::channel::<()>();
            let (gate, servers) = (&gate, &servers);
            scope.spawn(move || {
                let closing = gate.close(servers, None);
                has_closed.send(()).unwrap();
                opens.recv().unwrap();
                drop(closing);
            });
            // From the moment that it waits, no pass is given.
            while gate.try_pass().is_some() {
                thread::yield_now();
            }
            drop(first);
            assert_eq!(closed.try_recv(), Err(TryRecvError::Empty));
            drop(second);
            closed.recv().unwrap();
            assert!(gate.try_pass().is_none());
            may_open.send(()).unwrap();
        });
        assert!(gate.try_pass().is_some());
    }

    #[tokio::test]
    async fn at_its_end_every_server_hears_which_sessions_are_over() {
        let peer = Peer {
            uid: 0,
            pid: None,
            role: Role::Server,
        };
        let connection = std::sync::Arc::new(Connection::new(1, peer));
        connection.introduce(Introduction {
            software: String::new(),
            hosts: std::collections::HashSet::new(),
            keeps_sessions: true,
            since: UnixSeconds(0),
            module: None,
        });
        let (gate, servers) = (Gate::new(), Servers::default());
        servers.connected(&connection);
        let account = BareJid::parse("hamlet@shakespeare.lit").unwrap();
        let key_id: KeyId = serde_json::from_value(json!("0".repeat(64))).unwrap();
        let closing = gate.close(&servers, None);
        closing.hear(&account, &Change::Revoked(key_id));
        drop(closing);
        assert!(connection.queued().await);
        let mut line = Vec::new();
        connection.take_queued(&mut line);
        let question: Value = serde_json::from_slice(&line).unwrap();
        let method = question.get("method").and_then(Value::as_str);
        assert_eq!(method, Some("sessions.close"));
        let close = Close::of(&account, &key_id, Ending::Revoked);
        assert_eq!(question.get("params"), Some(&json!({"close": [close]})));
    }
}
