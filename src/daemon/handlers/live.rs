//! `session.opened` and `session.closed`: which live sessions logged in with a certificate.

use serde_json::{Value, json};

use super::super::connection::Connection;
use super::super::gate::closing_revoked;
use super::{Answered, Service, storage, unreadable};
use crate::identity::{Fingerprint, Host, KeyId, UnixSeconds};
use crate::protocol::{Fault, Opened, OpenedSession, Refusal};
use crate::store::StoreError;

impl Service {
    /// Takes note of all live sessions, and answers which of them are to be closed.
    pub(in crate::daemon) fn opened(
        &self,
        connection: &Connection,
        opened: &Opened,
        now: UnixSeconds,
    ) -> Answered {
        let close = self.noted(connection, opened, now)?;
        Ok(json!({"close": close}))
    }

    /// Takes note of sessions that were bound to their resources; returns those that are to be closed.
    pub(in crate::daemon) fn bound(
        &self,
        connection: &Connection,
        opened: &Opened,
        now: UnixSeconds,
    ) -> Result<Vec<Value>, Refusal> {
        let close = self.noted(connection, opened, now)?;
        for session in opened.sessions.good() {
            self.sessions.bound(connection.id, session);
        }
        Ok(close)
    }

    /// Closes the sessions whose certificate has expired, on the hosts that want it (RFC 6120 13.7.2.3).
    pub fn close_expired(&self, now: UnixSeconds) {
        let expired = self
            .sessions
            .expired(now, |account| self.closes_expired(account.host()));
        let closings = expired.into_iter().map(|(account, key_id, fingerprint)| {
            tracing::info!(%account, %fingerprint, "it has expired: its sessions are closed");
            closing_expired(&json!(account), &key_id, &fingerprint)
        });
        self.servers.close(None, &closings.collect::<Vec<_>>());
    }

    fn closes_expired(&self, host: &Host) -> bool {
        self.hosts
            .policy(host)
            .is_ok_and(|policy| policy.close_expired)
    }

    fn noted(
        &self,
        connection: &Connection,
        opened: &Opened,
        now: UnixSeconds,
    ) -> Result<Vec<Value>, Refusal> {
        if !connection.is_introduced() {
            let uid = connection.peer.uid;
            return Err(Fault::NoHello { uid }.into());
        }
        let mut close: Vec<Value> = Vec::new();
        for session in opened.sessions.good() {
            // Before anything is looked up: what is revoked from here on finds the session.
            let is_kept = self.sessions.opened(connection.id, session);
            let is_over = match self.is_over(session) {
                Ok(is_over) => is_over,
                // Its record cannot be read, and the other sessions must not wait for it.
                Err(error @ StoreError::Corrupt { .. }) => {
                    let _ = storage(&error);
                    true
                }
                Err(error) => return Err(storage(&error)),
            };
            if is_over {
                close.push(closing_revoked(
                    &json!(session.account),
                    &json!(session.key_id),
                ));
            } else if !is_kept && self.ends_by_itself(session) {
                tracing::error!(connection = connection.id, account = %session.account, "no room to keep one more session: it is closed");
                close.push(closing_unkept(&json!(session.account), &session.key_id));
            } else if session.not_after.is_some_and(|end| end < now)
                && self.closes_expired(session.account.host())
            {
                let account = json!(session.account);
                close.push(closing_expired(
                    &account,
                    &session.key_id,
                    &session.fingerprint,
                ));
            }
        }
        // Nothing vouches for a session whose entry cannot be read, as far as it says which one it is.
        for bad in opened.sessions.bad() {
            if let (Some(account), Some(key_id)) = (bad.text("account"), bad.text("key_id")) {
                close.push(closing_revoked(&json!(account), &json!(key_id)));
            }
        }
        unreadable(connection.id, "session.opened", &opened.sessions);
        close.dedup();
        Ok(close)
    }

    /// Must the session be known here to be ended in time? A revocation ends it in any case.
    fn ends_by_itself(&self, session: &OpenedSession) -> bool {
        session.path.is_some()
            || (session.not_after.is_some() && self.closes_expired(session.account.host()))
    }

    /// Has what let the session in been taken back?
    fn is_over(&self, session: &OpenedSession) -> Result<bool, StoreError> {
        let view = self.store.view(&session.account);
        let revoked_for = view.revoked_for(&session.key_id)?;
        let is_revoked = match &session.incarnation {
            Some(incarnation) => revoked_for.contains(incarnation),
            // Rather one too many: it may log in again.
            None => !revoked_for.is_empty(),
        };
        Ok(is_revoked
            || !self.still_vouched(&session.account, session.path.as_ref())
            || self.lacks_record(session)?)
    }

    /// Did an authority alone let the session in, where its word does not suffice any more? One whose record the user has
    /// taken out of the list since had one.
    fn lacks_record(&self, session: &OpenedSession) -> Result<bool, StoreError> {
        let account = &session.account;
        let wants_record = self
            .hosts
            .policy(account.host())
            .is_ok_and(|policy| policy.trust.wants_record());
        if session.path.is_none() || !wants_record {
            return Ok(false);
        }
        let held = self
            .store
            .enrolments_of(&session.fingerprint, account.host())?;
        let is_held = held.iter().any(|held| held.account == *account);
        Ok(!is_held && !self.store.view(account).is_disabled(&session.fingerprint)?)
    }
}

/// The fields of `sessions.close` for the sessions that logged in with one certificate. Of the same key there may be a
/// newer one.
///
/// Source: RFC 6120 4.9.3.16: keys or certificates have expired during the life of the stream.
fn closing_expired(account: &Value, key_id: &KeyId, fingerprint: &Fingerprint) -> Value {
    json!({
        "account": account,
        "key_id": key_id,
        "fingerprint": fingerprint,
        "condition": "reset",
        "text": "This client certificate has expired",
    })
}

/// The fields of `sessions.close` for sessions that there is no room for.
fn closing_unkept(account: &Value, key_id: &KeyId) -> Value {
    json!({
        "account": account,
        "key_id": key_id,
        "condition": "resource-constraint",
        "text": "There are too many sessions",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::super::super::connection::{Introduction, Peer};
    use super::*;
    use crate::protocol::Role;
    use crate::store::Store;

    #[test]
    fn a_session_that_cannot_be_kept_is_closed_if_nothing_else_would_end_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("data");
        Store::create(&folder).unwrap();
        let store = Store::open(&folder, 1 << 20, Box::new(|_| {})).unwrap();
        let service = Service::new(store).unwrap();
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
            module: None,
        });
        let id = "0".repeat(64);
        let path = json!({"issued": [id], "keys": [[]], "authority": id});
        let condition = |resource: &Value, path: &Value| {
            let session = json!({
                "account": "h@a.lit", "fingerprint": id, "key_id": id, "resource": resource, "path": path,
            });
            let opened = json!({"sessions": [session]});
            let answer = service
                .opened(
                    &connection,
                    &crate::protocol::fields(opened).unwrap(),
                    UnixSeconds(0),
                )
                .unwrap();
            answer.pointer("/close/0/condition").cloned()
        };
        let (bound, unbound) = (json!("phone"), json!(null));
        for resource in [&bound, &unbound] {
            assert_eq!(condition(resource, &path), None);
        }
        service.sessions.fill(1);
        for (resource, path, expected) in [
            (&json!("desk"), &path, Some("resource-constraint")),
            (&json!("desk"), &json!(null), None),
            (&unbound, &json!(null), None),
        ] {
            assert_eq!(condition(resource, path), expected.map(Value::from));
        }
    }
}
