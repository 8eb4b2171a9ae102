//! `session.opened` and `session.closed`: which live sessions logged in with a certificate.

use serde_json::{Value, json};

use super::super::connection::Connection;
use super::super::protocol::{Fault, Opened, fields};
use super::{Answered, Service, storage};
use crate::store::StoreError;

impl Service {
    /// Takes note of live sessions, and answers which of them are to be closed.
    pub(super) fn opened(&self, connection: &Connection, params: Value) -> Answered {
        let opened: Opened = fields(params)?;
        if !connection.is_introduced() {
            return Err(Fault::NoHello.into());
        }
        let mut close: Vec<Value> = Vec::new();
        for session in opened.sessions {
            let revoked_for = self
                .store
                .view(&session.account)
                .revoked_for(&session.key_id);
            let is_revoked = match (revoked_for, &session.incarnation) {
                (Ok(revoked_for), Some(incarnation)) => revoked_for.contains(incarnation),
                // Rather one too many: it may log in again.
                (Ok(revoked_for), None) => !revoked_for.is_empty(),
                // Its record cannot be read, and the other sessions must not wait for it.
                (Err(error @ StoreError::Corrupt { .. }), _) => {
                    let _ = storage(&error);
                    true
                }
                (Err(error), _) => return Err(storage(&error)),
            };
            if is_revoked || !self.still_vouched(&session.account, session.path.as_ref()) {
                close.push(json!({"account": session.account, "key_id": session.key_id}));
            }
            self.sessions.opened(connection.id, session);
        }
        close.dedup();
        Ok(json!({"close": close}))
    }
}
