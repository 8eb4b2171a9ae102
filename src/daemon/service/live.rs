//! `session.opened` and `session.closed`: which live sessions logged in with a certificate.

use serde_json::{Value, json};

use super::super::connection::Connection;
use super::super::protocol::{Fault, Opened, fields};
use super::{Answered, Service, storage};
use crate::identity::{BareJid, KeyId};
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
            let is_revoked = self
                .is_revoked_now(&session.account, session.key_id)
                .map_err(|error| storage(&error))?;
            if is_revoked {
                close.push(json!({"account": session.account, "key_id": session.key_id}));
            }
            self.sessions.opened(connection.id, session);
        }
        close.dedup();
        Ok(json!({"close": close}))
    }

    /// Was the key revoked for the account that is there now?
    fn is_revoked_now(&self, account: &BareJid, key_id: KeyId) -> Result<bool, StoreError> {
        let Some(revoked_for) = self.store.revocation(account, &key_id)? else {
            return Ok(false);
        };
        let list = self.store.account(account)?;
        let is_enrolled_since = list
            .enrolments
            .iter()
            .any(|held| held.key_id == key_id && held.incarnation != revoked_for);
        Ok(!is_enrolled_since)
    }
}
