//! Which live sessions logged in with a certificate, as each connection reports its own.
//!
//! For people to look at (`<users/>`, `cert list`), for `status`, and to close those that an authority no longer vouches
//! for, the ones without a resource too. It is gone with the connection, and reported anew by the next hello.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::identity::{BareJid, CertificationPath, Fingerprint, KeyId};

use super::protocol::{ClosedSession, OpenedSession};

/// The live sessions of all connections.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<u64, OfConnection>>);

#[derive(Debug, Default)]
struct OfConnection {
    resources: HashMap<BareJid, BTreeMap<String, Live>>,
    count: usize,
    /// Logins that an authority vouched for and that may not be bound yet: how many of each, rather one too many.
    unbound: HashMap<(BareJid, KeyId, CertificationPath), usize>,
}

#[derive(Debug)]
struct Live {
    fingerprint: Fingerprint,
    vouched: Option<Box<(KeyId, CertificationPath)>>,
}

impl Sessions {
    /// Somebody logged in by an authority's word, and is to be bound to a resource.
    pub fn logged_in(
        &self,
        connection: u64,
        account: &BareJid,
        key_id: KeyId,
        path: &CertificationPath,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(connection).or_default();
        if own.unbound.len() < MAX_SESSIONS {
            let login = (account.clone(), key_id, path.clone());
            *own.unbound.entry(login).or_default() += 1;
        }
    }

    /// There is such a session. Beyond [`MAX_SESSIONS`] it is not listed.
    pub fn opened(&self, connection: u64, session: &OpenedSession) {
        let Some(resource) = &session.resource else {
            if let Some(path) = &session.path {
                self.logged_in(connection, &session.account, session.key_id, path);
            }
            return;
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(connection).or_default();
        if own.count >= MAX_SESSIONS {
            return;
        }
        let resources = own.resources.entry(session.account.clone()).or_default();
        let path = session.path.clone();
        let live = Live {
            fingerprint: session.fingerprint,
            vouched: path.map(|path| Box::new((session.key_id, path))),
        };
        if resources.insert(resource.clone(), live).is_none() {
            own.count += 1;
        }
    }

    /// A session that was opened is what became of one of the logins.
    pub fn bound(&self, connection: u64, session: &OpenedSession) {
        let (Some(path), Some(_)) = (&session.path, &session.resource) else {
            return;
        };
        let login = (session.account.clone(), session.key_id, path.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = all.get_mut(&connection) else {
            return;
        };
        if let Some(count) = own.unbound.get_mut(&login) {
            *count -= 1;
            if *count == 0 {
                own.unbound.remove(&login);
            }
        }
    }

    /// A session has ended.
    pub fn closed(&self, connection: u64, session: &ClosedSession) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = all.get_mut(&connection) else {
            return;
        };
        let Some(resources) = own.resources.get_mut(&session.account) else {
            return;
        };
        if resources.remove(&session.resource).is_some() {
            own.count -= 1;
        }
        if resources.is_empty() {
            own.resources.remove(&session.account);
        }
    }

    /// A connection has ended, or begins to report from the start.
    pub fn forget(&self, connection: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&connection);
    }

    /// The resources of `account` that logged in with the certificate, in order.
    #[must_use]
    pub fn resources(&self, account: &BareJid, fingerprint: &Fingerprint) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_account = all.values().filter_map(|own| own.resources.get(account));
        let mut found: Vec<String> = of_account
            .flatten()
            .filter(|(_, live)| live.fingerprint == *fingerprint)
            .map(|(resource, _)| resource.clone())
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// The accounts and keys of those that an authority vouched for, by a path that does not `hold` any more; each once.
    /// What has not become a session by then won't: it is forgotten.
    pub fn no_longer(
        &self,
        mut hold: impl FnMut(&BareJid, &CertificationPath) -> bool,
    ) -> Vec<(BareJid, KeyId)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for own in all.values_mut() {
            own.unbound.retain(|(account, key_id, path), _| {
                let holds = hold(account, path);
                if !holds {
                    found.push((account.clone(), *key_id));
                }
                holds
            });
        }
        for (account, resources) in all.values().flat_map(|own| &own.resources) {
            for (key_id, path) in resources
                .values()
                .filter_map(|live| live.vouched.as_deref())
            {
                if !hold(account, path) {
                    found.push((account.clone(), *key_id));
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// How many sessions a connection reports.
    #[must_use]
    pub fn count(&self, connection: u64) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&connection).map_or(0, |own| own.count)
    }
}

/// Most sessions of one connection that are listed.
const MAX_SESSIONS: usize = 1_000_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::KeyId;

    #[test]
    fn sessions_are_listed_by_account_and_certificate() {
        let sessions = Sessions::default();
        let account = BareJid::parse("h@a.lit").unwrap();
        let opened = |resource: &str, with: u8| OpenedSession {
            account: account.clone(),
            fingerprint: Fingerprint::from_bytes([with; 32]),
            key_id: KeyId::from_bytes([with; 32]),
            incarnation: None,
            resource: Some(resource.to_owned()),
            path: None,
        };
        let listed = |with| sessions.resources(&account, &Fingerprint::from_bytes([with; 32]));
        sessions.opened(1, &opened("b", 1));
        sessions.opened(1, &opened("a", 1));
        sessions.opened(1, &opened("a", 1));
        sessions.opened(2, &opened("c", 2));
        assert_eq!(
            (listed(1), listed(2)),
            (vec!["a".into(), "b".into()], vec!["c".into()])
        );
        assert_eq!(sessions.count(1), 2);
        let closed = ClosedSession {
            account: account.clone(),
            resource: "a".to_owned(),
        };
        sessions.closed(1, &closed);
        sessions.closed(1, &closed);
        assert_eq!((listed(1), sessions.count(1)), (vec!["b".into()], 1));
        sessions.forget(1);
        assert_eq!(listed(1), Vec::<String>::new());
    }

    #[test]
    fn a_login_waits_for_its_session_and_then_for_nothing() {
        use crate::identity::authority::{AuthorityId, IssuedId};

        let sessions = Sessions::default();
        let account = BareJid::parse("h@a.lit").unwrap();
        let key_id = KeyId::from_bytes([1; 32]);
        let path = CertificationPath {
            issued: vec![IssuedId::from_bytes([2; 32])],
            keys: vec![vec![]],
            authority: AuthorityId::from_bytes([3; 32]),
        };
        let closed = || {
            let session = ClosedSession {
                account: account.clone(),
                resource: "phone".to_owned(),
            };
            sessions.closed(1, &session);
        };
        let doomed = || sessions.no_longer(|_, _| false).len();
        let session = OpenedSession {
            account: account.clone(),
            fingerprint: Fingerprint::from_bytes([1; 32]),
            key_id,
            incarnation: None,
            resource: Some("phone".to_owned()),
            path: Some(path.clone()),
        };
        // Of two logins, so many became sessions, which have ended.
        for (bound, left) in [(0, 1), (1, 1), (2, 0)] {
            for _ in 0..2 {
                sessions.logged_in(1, &account, key_id, &path);
            }
            for _ in 0..bound {
                sessions.opened(1, &session);
                sessions.bound(1, &session);
                closed();
            }
            assert_eq!(doomed(), left, "{bound}");
            // Once is enough.
            assert_eq!(doomed(), 0, "{bound}");
        }
        // A session that was resumed is told of again, and is nobody's login.
        sessions.bound(1, &session);
        assert_eq!(doomed(), 0);
    }
}
