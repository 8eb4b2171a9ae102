//! `session.opened` and `session.closed`: which live sessions logged in with a certificate.

use serde_json::{Value, json};

use super::super::connection::Connection;
use super::super::protocol::{Fault, Opened, OpenedSession, Refusal, fields};
use super::{Answered, Service, storage, unreadable};
use crate::store::StoreError;

impl Service {
    /// Takes note of all live sessions, and answers which of them are to be closed.
    pub(super) fn opened(&self, connection: &Connection, params: Value) -> Answered {
        let close = self.noted(connection, &fields(params)?)?;
        Ok(json!({"close": close}))
    }

    /// Takes note of sessions that were bound to their resources; returns those that are to be closed.
    pub(super) fn bound(
        &self,
        connection: &Connection,
        params: Value,
    ) -> Result<Vec<Value>, Refusal> {
        let opened = fields(params)?;
        let close = self.noted(connection, &opened)?;
        for session in opened.sessions.good() {
            self.sessions.bound(connection.id, session);
        }
        Ok(close)
    }

    fn noted(&self, connection: &Connection, opened: &Opened) -> Result<Vec<Value>, Refusal> {
        if !connection.is_introduced() {
            return Err(Fault::NoHello.into());
        }
        let mut close: Vec<Value> = Vec::new();
        for session in opened.sessions.good() {
            // Before anything is looked up: what is revoked from here on finds the session.
            self.sessions.opened(connection.id, session);
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
                close.push(json!({"account": session.account, "key_id": session.key_id}));
            }
        }
        // Nothing vouches for a session whose entry cannot be read, as far as it says which one it is.
        for bad in opened.sessions.bad() {
            if let (Some(account), Some(key_id)) = (bad.text("account"), bad.text("key_id")) {
                close.push(json!({"account": account, "key_id": key_id}));
            }
        }
        unreadable(connection.id, "session.opened", &opened.sessions);
        close.dedup();
        Ok(close)
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
