//! `session.report`, `session.opened` and `session.closed`: which live sessions logged in with a certificate.
//!
//! Must not know: which of them are over.

use super::super::authorities::AuthorityFiles;
use super::super::connection::Connection;
use super::super::hosts::Hosts;
use super::super::reply::{Answered, unreadable};
use super::super::servers::Servers;
use super::super::sessions::Sessions;
use super::super::storage;
use super::accounts::LocalAccounts;
use super::authorities::still_vouched;
use crate::identity::{Host, UnixSeconds};
use crate::policy::live::{self, Ending, SessionFacts, Word};
use crate::protocol::{Close, Notice, Opened, OpenedSession, Refusal, Report, Reported, Request};
use crate::store::{Store, StoreError, View};

/// Hears of live sessions, and closes those that are over.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct LiveSessions<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) sessions: &'a Sessions,
    pub(in crate::daemon) authorities: &'a AuthorityFiles,
    pub(in crate::daemon) servers: &'a Servers,
}

impl LiveSessions<'_> {
    /// Takes note of all live sessions, and answers which of them are over.
    pub(in crate::daemon) fn report(
        &self,
        accounts: LocalAccounts<'_>,
        connection: &Connection,
        report: Report,
        now: UnixSeconds,
    ) -> Answered<Reported> {
        let (sessions, all) = report.halves();
        let close = self.note(connection, &Opened { sessions }, now)?;
        unreadable(connection.id, Report::METHOD, &all);
        let changed = accounts.changed_since(all)?;
        Ok(Reported { close, changed })
    }

    /// Takes note of sessions that were bound to their resources; returns those that are to be closed.
    pub(in crate::daemon) fn bound(
        &self,
        connection: &Connection,
        opened: &Opened,
        now: UnixSeconds,
    ) -> Result<Vec<Close>, Refusal> {
        let close = self.note(connection, opened, now)?;
        for session in opened.sessions.good() {
            self.sessions.bound(connection.id, session);
        }
        Ok(close)
    }

    /// Closes the sessions whose certificate has expired, on the hosts that want it (RFC 6120 13.7.2.3).
    pub(in crate::daemon) fn close_expired(&self, now: UnixSeconds) {
        let expired = self
            .sessions
            .expired(now, |account| self.closes_expired(account.host()));
        let closings = expired.into_iter().map(|(account, key_id, fingerprint)| {
            tracing::info!(%account, %fingerprint, "it has expired: its sessions are closed");
            Close::of(&account, &key_id, Ending::Expired).with(fingerprint)
        });
        self.servers.close(None, &closings.collect::<Vec<_>>());
    }

    fn closes_expired(&self, host: &Host) -> bool {
        live::closes_expired(self.hosts.policy(host).ok().as_deref())
    }

    fn note(
        &self,
        connection: &Connection,
        opened: &Opened,
        now: UnixSeconds,
    ) -> Result<Vec<Close>, Refusal> {
        let mut close: Vec<Close> = Vec::new();
        for session in opened.sessions.good() {
            // Before anything is looked up: a revocation from here on finds the session.
            let is_kept = self.sessions.opened(connection.id, session);
            let ending = match self.ending(session, is_kept, now) {
                Ok(ending) => ending,
                // Its record cannot be read, and the other sessions must not wait for it.
                Err(error @ StoreError::Corrupt { .. }) => {
                    storage::log(&error);
                    Some(live::UNREADABLE)
                }
                Err(error) => return Err(error.into()),
            };
            if ending == Some(Ending::Unkept) {
                tracing::error!(connection = connection.id, account = %session.account, "no room to keep one more session: it is closed");
            }
            let OpenedSession {
                account,
                key_id,
                fingerprint,
                ..
            } = session;
            close.extend(ending.map(|ending| {
                let close = Close::of(account, key_id, ending);
                match ending {
                    Ending::Expired => close.with(*fingerprint),
                    Ending::Revoked | Ending::Unkept => close,
                }
            }));
        }
        // Of an entry that cannot be read, as far as it says which session it is.
        for bad in opened.sessions.bad() {
            if let (Some(account), Some(key_id)) = (bad.text("account"), bad.text("key_id")) {
                close.push(Close::named(account, key_id, live::UNREADABLE));
            }
        }
        unreadable(connection.id, Opened::METHOD, &opened.sessions);
        close.dedup();
        Ok(close)
    }

    /// Is the session over, and why?
    fn ending(
        &self,
        session: &OpenedSession,
        is_kept: bool,
        now: UnixSeconds,
    ) -> Result<Option<Ending>, StoreError> {
        let policy = self.hosts.policy(session.account.host()).ok();
        let view = self.store.view(&session.account);
        let revoked_for = view.revoked_for(&session.key_id)?;
        // Nothing is looked up that nobody wants to know: it need not be readable.
        let wants_record = policy
            .as_ref()
            .is_some_and(|policy| policy.trust.wants_record());
        let word = match &session.path {
            None => None,
            Some(path) => Some(Word {
                holds: still_vouched(self.hosts, self.authorities, &session.account, Some(path)),
                has_record: wants_record && self.has_record(&view, session)?,
            }),
        };
        let facts = SessionFacts {
            incarnation: session.incarnation.as_ref(),
            revoked_for: &revoked_for,
            word,
            not_after: session.not_after,
            is_kept,
        };
        Ok(live::ending(&facts, policy.as_deref(), now))
    }

    /// Is the session's certificate in the account's list, or was, until its user disabled it?
    fn has_record(&self, view: &View<'_>, session: &OpenedSession) -> Result<bool, StoreError> {
        let (account, fingerprint) = (&session.account, &session.fingerprint);
        let held = self.store.holders_of(fingerprint, account.host())?;
        let is_held = held.iter().any(|held| held.account == *account);
        Ok(is_held || view.is_disabled(fingerprint)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use serde_json::{Value, json};

    use super::super::super::connection::{Introduction, Peer};
    use super::super::super::state::State;
    use super::*;
    use crate::protocol::{Role, fields_of};
    use crate::store::Store;

    #[test]
    fn a_session_that_cannot_be_kept_is_closed_if_nothing_else_would_end_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("data");
        Store::create(&folder).unwrap();
        let state = State::new(|listeners| Store::open_heard(&folder, listeners)).unwrap();
        let peer = Peer {
            uid: 0,
            pid: None,
            role: Role::Server,
        };
        let connection = Connection::new(1, peer);
        connection.introduce(Introduction {
            software: String::new(),
            hosts: HashSet::new(),
            keeps_sessions: true,
            since: UnixSeconds(0),
            waits_ms: None,
            module: None,
        });
        let id = "0".repeat(64);
        let path = json!({"issued": [id], "keys": [[]], "authority": id});
        let condition = |resource: &Value, path: &Value| {
            let session = json!({
                "account": "h@a.lit", "fingerprint": id, "key_id": id, "resource": resource, "path": path,
            });
            let opened = json!({"sessions": [session]});
            let answer = state
                .live_sessions()
                .report(
                    state.accounts(),
                    &connection,
                    fields_of(opened).unwrap(),
                    UnixSeconds(0),
                )
                .unwrap();
            answer.close.first().map(|close| close.condition.clone())
        };
        let (bound, unbound) = (json!("phone"), json!(null));
        for resource in [&bound, &unbound] {
            assert_eq!(condition(resource, &path), None);
        }
        state.sessions.fill(1);
        for (resource, path, expected) in [
            (&json!("desk"), &path, Some("resource-constraint")),
            (&json!("desk"), &json!(null), None),
            (&unbound, &json!(null), None),
        ] {
            assert_eq!(condition(resource, path), expected.map(Into::into));
        }
    }
}
