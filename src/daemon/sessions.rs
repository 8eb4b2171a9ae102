//! The live sessions that logged in with a certificate, as each connection reports its own.
//!
//! For people to look at (`<users/>`, `cert list`), for `status`, and to close those that an authority no longer vouches
//! for, the ones without a resource too, and those whose certificate has expired where that is wanted. It is gone with the connection, and reported anew by the next hello.
//!
//! Must not know: whether an authority still vouches for one, how one is closed.

use std::collections::{BTreeMap, HashMap};

use crate::identity::{BareJid, CertificationPath, Fingerprint, KeyId, UnixSeconds};

use crate::protocol::{ClosedSession, OpenedSession};
use crate::system::lock::Lock;

/// The live sessions of all connections.
#[derive(Debug, Default)]
pub struct Sessions(Lock<HashMap<u64, OfConnection>>);

#[derive(Debug, Default)]
struct OfConnection {
    resources: HashMap<BareJid, BTreeMap<String, Live>>,
    count: usize,
    /// The size of the entries that are kept, roughly.
    bytes: usize,
    /// Logins that an authority vouched for and that may not be bound yet: how many of each, rather one too many.
    unbound: HashMap<(BareJid, KeyId, CertificationPath), usize>,
    /// Before it no certificate of these sessions expires. Rather too early: some may have ended.
    next_expiry: Option<UnixSeconds>,
}

#[derive(Debug)]
struct Live {
    fingerprint: Fingerprint,
    key_id: KeyId,
    not_after: Option<UnixSeconds>,
    vouched: Option<Box<CertificationPath>>,
}

impl Sessions {
    /// Somebody logs in by an authority's word, and is to be bound to a resource. False if there is no room to keep that: then
    /// it must not be a yes, since nothing would end the session when the authority takes its word back.
    #[must_use]
    pub fn logged_in(
        &self,
        connection: u64,
        account: &BareJid,
        key_id: KeyId,
        path: &CertificationPath,
    ) -> bool {
        let mut all = self.0.lock();
        let own = all.entry(connection).or_default();
        let login = (account.clone(), key_id, path.clone());
        let size = bytes_of_login(account, path);
        if let Some(count) = own.unbound.get_mut(&login) {
            *count += 1;
        } else if own.unbound.len() < MAX_SESSIONS && own.takes(size) {
            own.unbound.insert(login, 1);
        } else {
            return false;
        }
        true
    }

    /// There is such a session. False if there is no room to keep it: it is not listed, and neither an authority's word that is
    /// taken back nor its certificate's expiry ends it.
    #[must_use]
    pub fn opened(&self, connection: u64, session: &OpenedSession) -> bool {
        let Some(resource) = &session.resource else {
            return session.path.as_ref().is_none_or(|path| {
                self.logged_in(connection, &session.account, session.key_id, path)
            });
        };
        let mut all = self.0.lock();
        let own = all.entry(connection).or_default();
        let live = Live {
            fingerprint: session.fingerprint,
            key_id: session.key_id,
            not_after: session.not_after,
            vouched: session.path.clone().map(Box::new),
        };
        // Of one that is told of again: the sizes may differ.
        own.remove(&session.account, resource);
        let size = bytes_of_session(&session.account, resource, &live);
        if resource.len() > MAX_RESOURCE_BYTES || own.count >= MAX_SESSIONS || !own.takes(size) {
            return false;
        }
        own.next_expiry = earlier(own.next_expiry, session.not_after);
        let resources = own.resources.entry(session.account.clone()).or_default();
        resources.insert(resource.clone(), live);
        own.count += 1;
        true
    }

    /// A session that was opened is what became of one of the logins.
    pub fn bound(&self, connection: u64, session: &OpenedSession) {
        let (Some(path), Some(_)) = (&session.path, &session.resource) else {
            return;
        };
        let login = (session.account.clone(), session.key_id, path.clone());
        let mut all = self.0.lock();
        let Some(own) = all.get_mut(&connection) else {
            return;
        };
        if let Some(count) = own.unbound.get_mut(&login) {
            *count -= 1;
            if *count == 0 {
                own.unbound.remove(&login);
                own.bytes -= bytes_of_login(&login.0, &login.2);
            }
        }
    }

    /// A session has ended.
    pub fn closed(&self, connection: u64, session: &ClosedSession) {
        let mut all = self.0.lock();
        let Some(own) = all.get_mut(&connection) else {
            return;
        };
        own.remove(&session.account, &session.resource);
    }

    /// A connection has ended, or begins to report from the start.
    pub fn forget(&self, connection: u64) {
        let mut all = self.0.lock();
        all.remove(&connection);
    }

    /// The resources of `account` that logged in with the certificate, in order.
    #[must_use]
    pub fn resources(&self, account: &BareJid, fingerprint: &Fingerprint) -> Vec<String> {
        let all = self.0.lock();
        let of_account = all.values().filter_map(|own| own.resources.get(account));
        let mut found: Vec<String> = of_account
            .flatten()
            .filter(|(_, live)| live.fingerprint == *fingerprint)
            .map(|(resource, _)| resource.clone())
            .collect();
        found.sort();
        found.dedup();
        found.truncate(MAX_LISTED_RESOURCES);
        found
    }

    /// With which keys the sessions of `account` that have a resource logged in: one for each session.
    #[must_use]
    pub fn keys(&self, account: &BareJid) -> Vec<KeyId> {
        let all = self.0.lock();
        let of_account = all.values().filter_map(|own| own.resources.get(account));
        of_account.flatten().map(|(_, live)| live.key_id).collect()
    }

    /// The accounts and keys of those that an authority vouched for, by a path that does not `hold` any more; each once.
    /// A login that has not become a session by then won't: it is forgotten.
    pub fn no_longer(
        &self,
        mut hold: impl FnMut(&BareJid, &CertificationPath) -> bool,
    ) -> Vec<(BareJid, KeyId)> {
        let mut all = self.0.lock();
        let mut found = Vec::new();
        for own in all.values_mut() {
            let mut freed = 0;
            own.unbound.retain(|(account, key_id, path), _| {
                let holds = hold(account, path);
                if !holds {
                    found.push((account.clone(), *key_id));
                    freed += bytes_of_login(account, path);
                }
                holds
            });
            own.bytes -= freed;
        }
        for (account, resources) in all.values().flat_map(|own| &own.resources) {
            for live in resources.values() {
                if live
                    .vouched
                    .as_ref()
                    .is_some_and(|path| !hold(account, path))
                {
                    found.push((account.clone(), live.key_id));
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// The accounts and certificates, each once, of sessions whose certificate has expired since this was asked last, as
    /// far as they are `meant`. Looks at all of them only when one may have.
    pub fn expired(
        &self,
        now: UnixSeconds,
        mut meant: impl FnMut(&BareJid) -> bool,
    ) -> Vec<(BareJid, KeyId, Fingerprint)> {
        let mut all = self.0.lock();
        let mut found = Vec::new();
        let due = |own: &&mut OfConnection| own.next_expiry.is_some_and(|next| next < now);
        for own in all.values_mut().filter(due) {
            let mut next = None;
            for (account, resources) in &own.resources {
                for live in resources.values() {
                    if live.not_after.is_some_and(|end| end < now) {
                        if meant(account) {
                            found.push((account.clone(), live.key_id, live.fingerprint));
                        }
                    } else {
                        next = earlier(next, live.not_after);
                    }
                }
            }
            own.next_expiry = next;
        }
        found.sort();
        found.dedup();
        found
    }

    /// Leaves no room for another session of the connection.
    #[cfg(test)]
    pub fn fill(&self, connection: u64) {
        let mut all = self.0.lock();
        all.entry(connection).or_default().bytes = MAX_BYTES;
    }

    /// How many sessions a connection reports.
    #[must_use]
    pub fn count(&self, connection: u64) -> usize {
        let all = self.0.lock();
        all.get(&connection).map_or(0, |own| own.count)
    }
}

fn earlier(one: Option<UnixSeconds>, other: Option<UnixSeconds>) -> Option<UnixSeconds> {
    one.into_iter().chain(other).min()
}

impl OfConnection {
    /// Is there room for so many bytes more? If so, they are taken.
    fn takes(&mut self, bytes: usize) -> bool {
        let is_room = self.bytes.saturating_add(bytes) <= MAX_BYTES;
        if is_room {
            self.bytes += bytes;
        }
        is_room
    }

    fn remove(&mut self, account: &BareJid, resource: &str) {
        let Some(resources) = self.resources.get_mut(account) else {
            return;
        };
        if let Some(live) = resources.remove(resource) {
            self.count -= 1;
            self.bytes -= bytes_of_session(account, resource, &live);
        }
        if resources.is_empty() {
            self.resources.remove(account);
        }
    }
}

fn bytes_of_login(account: &BareJid, path: &CertificationPath) -> usize {
    bytes_of_account(account) + bytes_of_path(path)
}

fn bytes_of_session(account: &BareJid, resource: &str, live: &Live) -> usize {
    let path = live.vouched.as_deref().map(bytes_of_path);
    bytes_of_account(account) + resource.len() + path.unwrap_or(0)
}

fn bytes_of_account(account: &BareJid) -> usize {
    account.username().len() + account.host().as_str().len() + OVERHEAD_BYTES
}

fn bytes_of_path(path: &CertificationPath) -> usize {
    let keys = path.keys.iter().flatten();
    // Each is kept whole and in its parts.
    let keys = keys.map(|key| key.0.info.len() * 2 + KEY_OVERHEAD_BYTES);
    (path.issued.len() + 1) * 32 + keys.sum::<usize>()
}

/// Most sessions of one connection that are listed.
const MAX_SESSIONS: usize = 1_000_000;
/// Most bytes that are kept of the sessions of one connection: of a million usual ones that no authority admits it is less.
const MAX_BYTES: usize = 256 * 1024 * 1024;
/// Of each entry: its keys, and what the tables need.
const OVERHEAD_BYTES: usize = 128;
/// Of each key on a path: its hash, and what holds its parts.
const KEY_OVERHEAD_BYTES: usize = 200;
/// A longer one is no resource (RFC 7622).
const MAX_RESOURCE_BYTES: usize = 1023;
/// Most resources that are listed for one certificate.
const MAX_LISTED_RESOURCES: usize = 100;

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
            not_after: None,
        };
        let listed = |with| sessions.resources(&account, &Fingerprint::from_bytes([with; 32]));
        for (connection, resource, with) in [(1, "b", 1), (1, "a", 1), (1, "a", 1), (2, "c", 2)] {
            assert!(sessions.opened(connection, &opened(resource, with)));
        }
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
    fn sessions_take_so_much_room_and_give_it_back() {
        let sessions = Sessions::default();
        let account = BareJid::parse("h@a.lit").unwrap();
        let opened = |resource: String| OpenedSession {
            account: account.clone(),
            fingerprint: Fingerprint::from_bytes([1; 32]),
            key_id: KeyId::from_bytes([1; 32]),
            incarnation: None,
            resource: Some(resource),
            path: None,
            not_after: None,
        };
        let used = || sessions.0.lock().get(&1).map_or(0, |own| own.bytes);
        // Longer than a resource can be.
        assert!(!sessions.opened(1, &opened("x".repeat(MAX_RESOURCE_BYTES + 1))));
        assert_eq!((sessions.count(1), used()), (0, 0));
        let longest = |number: usize| format!("{number:0>MAX_RESOURCE_BYTES$}");
        for number in 0..300 {
            assert!(sessions.opened(1, &opened(longest(number))));
            assert!(sessions.opened(1, &opened(longest(number))));
        }
        assert_eq!(sessions.count(1), 300);
        let one = bytes_of_account(&account) + MAX_RESOURCE_BYTES;
        assert_eq!(used(), 300 * one);
        let listed = sessions.resources(&account, &Fingerprint::from_bytes([1; 32]));
        assert_eq!(listed.len(), MAX_LISTED_RESOURCES);
        // Full: no more is listed, until something has ended.
        let fill = MAX_BYTES - used() - one + 1;
        assert!(sessions.0.lock().get_mut(&1).unwrap().takes(fill));
        assert!(!sessions.opened(1, &opened(longest(300))));
        assert_eq!(sessions.count(1), 300);
        for number in 0..2 {
            let closed = ClosedSession {
                account: account.clone(),
                resource: longest(number),
            };
            sessions.closed(1, &closed);
        }
        assert!(sessions.opened(1, &opened(longest(300))));
        assert_eq!((sessions.count(1), used()), (299, 299 * one + fill));
    }

    #[test]
    fn the_keys_on_a_path_take_room_and_give_it_back() {
        use crate::identity::authority::{AuthorityId, IssuedId, IssuerKey};
        use crate::identity::issued::PublicKey;

        let sessions = Sessions::default();
        let account = BareJid::parse("h@a.lit").unwrap();
        let key = IssuerKey(PublicKey {
            info: vec![0; 1000],
            algorithm: vec![],
            bits: vec![0; 990],
            id: [0; 32],
        });
        let path = CertificationPath {
            issued: vec![IssuedId::from_bytes([2; 32])],
            keys: vec![vec![key; 3]],
            authority: AuthorityId::from_bytes([3; 32]),
        };
        let used = || {
            let all = sessions.0.lock();
            all.get(&1).map_or(0, |own| own.bytes)
        };
        let log_in = || sessions.logged_in(1, &account, KeyId::from_bytes([1; 32]), &path);
        assert!(log_in());
        assert!(used() > 3 * 1990, "{}", used());
        assert_eq!(sessions.no_longer(|_, _| false).len(), 1);
        assert_eq!(used(), 0);
        sessions.fill(1);
        assert!(!log_in());
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
            not_after: None,
        };
        // Of two logins, so many became sessions, which have ended.
        for (bound, left) in [(0, 1), (1, 1), (2, 0)] {
            for _ in 0..2 {
                assert!(sessions.logged_in(1, &account, key_id, &path));
            }
            for _ in 0..bound {
                assert!(sessions.opened(1, &session));
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

    #[test]
    fn an_expiry_is_told_of_once() {
        let sessions = Sessions::default();
        let account = BareJid::parse("h@a.lit").unwrap();
        let opened = |resource: &str, not_after: Option<i64>| OpenedSession {
            account: account.clone(),
            fingerprint: Fingerprint::from_bytes([1; 32]),
            key_id: KeyId::from_bytes([1; 32]),
            incarnation: None,
            resource: Some(resource.to_owned()),
            path: None,
            not_after: not_after.map(UnixSeconds),
        };
        let expired = |now| sessions.expired(UnixSeconds(now), |_| true).len();
        for (resource, not_after) in [("a", Some(10)), ("b", Some(20)), ("c", None)] {
            assert!(sessions.opened(1, &opened(resource, not_after)));
        }
        // The last second of its validity is one of them.
        let by_time = [10, 11, 12, 20, 21, 22, 9].map(expired);
        assert_eq!(by_time, [0, 1, 0, 0, 1, 0, 0]);
        // One that is resumed is told of again.
        assert!(sessions.opened(1, &opened("a", Some(10))));
        assert_eq!(sessions.expired(UnixSeconds(11), |_| false), []);
        assert!(sessions.opened(1, &opened("a", Some(10))));
        assert_eq!((expired(11), expired(11)), (1, 0));
    }
}
