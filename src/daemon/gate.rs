//! No yes behind a no.
//!
//! A yes needs a [`Pass`], held from before the facts are read until the answer is queued. A revocation needs a [`Closing`], held from
//! before it is written until the closing of its sessions is queued. Nobody holds a pass beside a closing: so a login finds the
//! revocation in the store, or its session is among those that are closed.
//!
//! Must not know: what is decided.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::connection::Connection;
use super::servers::{Servers, closing_lines};
use crate::identity::{BareJid, KeyId};
use crate::policy::live::Ending;
use crate::protocol::Close;
use crate::store::NoYes;

/// Where yes and no can't meet.
///
/// A closing that waits is let in before later passes: logins that never pause hold no revocation up. There is one, the state's: behind
/// another one nothing would be taken back.
pub struct Gate(RwLock<()>);

/// While it is held nothing is taken back: its holder may say yes.
pub struct Pass<'a>(#[allow(dead_code)] RwLockReadGuard<'a, ()>);

/// While it is held nobody says yes: its holder may take something back. At its end every server hears which sessions are over.
#[must_use = "at its end logins go on"]
pub struct Closing<'a> {
    servers: &'a Servers,
    doomed: Vec<Close>,
    _guard: RwLockWriteGuard<'a, ()>,
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

    /// Waits until nobody says yes any more. Blocks.
    pub(super) fn close<'a>(&'a self, servers: &'a Servers) -> Closing<'a> {
        Closing {
            servers,
            doomed: Vec::new(),
            _guard: self.0.write().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Closing<'_> {
    /// Every server closes the sessions of `account` that logged in with this key.
    pub(super) fn end_sessions(&mut self, account: &BareJid, key_id: &KeyId) {
        self.doomed
            .push(Close::of(account, key_id, Ending::Revoked));
    }

    /// Has the sessions closed that are over. `answer` answers the question that took something back; it is given the lines that
    /// belong behind the answer.
    ///
    /// The other servers come first: who reads the answer finds the sessions gone there. To the asker the answer goes first, in one
    /// write with the closings: the session that asks may be the first to be closed.
    pub(super) fn end(mut self, asker: &Connection, answer: impl FnOnce(&str)) {
        let doomed = std::mem::take(&mut self.doomed);
        self.servers.close(Some(asker.id), &doomed);
        answer(&closing_lines(asker, &doomed));
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if !self.doomed.is_empty() {
            self.servers.close(None, &self.doomed);
        }
    }
}

impl NoYes for Closing<'_> {}

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
                let closing = gate.close(servers);
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
        let mut closing = gate.close(&servers);
        closing.end_sessions(&account, &key_id);
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
