//! What the daemon remembers beside the store follows what is written, whoever has written it: one list of it.
//!
//! Must not know: who has changed something, and why.

use std::sync::Arc;

use super::hosts::Hosts;
use super::scram_news::ScramNews;
use super::servers::Servers;
use super::waiting_messages::WaitingMessages;
use crate::store::{Follow, News};

/// Everything that follows.
pub(super) struct Following {
    pub(super) hosts: Arc<Hosts>,
    pub(super) scram_news: Arc<ScramNews>,
    pub(super) servers: Arc<Servers>,
    pub(super) waiting_messages: Arc<WaitingMessages>,
}

impl Follow for Following {
    fn follow(&self, news: Vec<News>) {
        for one in news {
            match one {
                News::Host { host, record } => {
                    let is_declared = || self.servers.all().iter().any(|one| one.declares(&host));
                    self.hosts.follow(&host, record.as_ref(), is_declared);
                }
                News::Scram { host, common } => {
                    self.scram_news.tell(&self.servers, &host, common);
                }
                // To take it out is a change, which nobody here may wait for.
                News::Message => self.waiting_messages.note(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use serde_json::{Map, Value, json};

    use super::super::connection::{Connection, Introduction, Peer};
    use super::super::declared_host::DeclaredHost;
    use super::super::state::State;
    use crate::identity::{
        Account, BareJid, Host, Incarnation, KeyId, ScramHash, ScramVerifier, Secret, UnixSeconds,
    };
    use crate::protocol::{Accounts, Fault, Role};
    use crate::store::{Edit, HostRecord, Store};
    use std::sync::Arc;

    /// A daemon, and a server of a.lit that is connected to it.
    fn scene(folder: &tempfile::TempDir) -> (State, Arc<Connection>) {
        Store::create(folder.path()).unwrap();
        let state = State::new(|listeners| Store::open_heard(folder.path(), listeners)).unwrap();
        let peer = Peer {
            uid: 0,
            pid: None,
            role: Role::Server,
        };
        let connection = Arc::new(Connection::new(1, peer));
        connection.introduce(Introduction {
            software: String::new(),
            hosts: HashSet::from([host("a.lit")]),
            keeps_sessions: true,
            since: UnixSeconds(0),
            waits_ms: None,
            module: None,
        });
        state.connected(&connection);
        (state, connection)
    }

    fn host(name: &str) -> Host {
        Host::parse(name).unwrap()
    }

    /// The lines that are queued for the server.
    fn heard(connection: &Connection) -> Vec<Value> {
        let mut lines = Vec::new();
        connection.take_queued(&mut lines);
        let lines = std::str::from_utf8(&lines).unwrap().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn options(max_certs: usize) -> Map<String, Value> {
        let options = json!({"saslcertd_max_certs": max_certs});
        serde_json::from_value(options).unwrap()
    }

    fn record(max_certs: usize) -> HostRecord {
        DeclaredHost::new(Accounts::Prosody, options(max_certs)).record()
    }

    #[test]
    fn what_another_process_takes_back_is_heard_by_every_server_here() {
        let folder = tempfile::tempdir().unwrap();
        let (state, server) = scene(&folder);
        let account = BareJid::parse("h@a.lit").unwrap();
        let incarnation = Incarnation::parse("one").unwrap();
        let mut put = Account {
            jid: account.clone(),
            incarnation: incarnation.clone(),
            enabled: true,
            created: UnixSeconds(0),
            password_changed: UnixSeconds(0),
            verifiers: Vec::new(),
        };
        let at = UnixSeconds(1);
        let elsewhere = |edit| state.store.edited_elsewhere(&account, vec![edit]);
        let questions = || {
            let heard = heard(&server);
            let of = heard.iter().map(|line| {
                let change = line.pointer("/params/change");
                let method = line.get("method").unwrap();
                change.unwrap_or(method).as_str().unwrap().to_owned()
            });
            of.collect::<Vec<_>>()
        };
        elsewhere(Edit::RevokeKey {
            key_id: KeyId::from_bytes([1; 32]),
            incarnation,
            at,
        });
        assert_eq!(questions(), ["sessions.close"]);
        elsewhere(Edit::PutAccount(Box::new(put.clone())));
        assert_eq!(questions(), ["created"]);
        put.password_changed = at;
        elsewhere(Edit::PutAccount(Box::new(put)));
        assert_eq!(questions(), ["password"]);
        elsewhere(Edit::RemoveAccount);
        assert_eq!(questions(), ["deleted"]);
    }

    #[test]
    fn the_hashes_that_all_accounts_have_are_told_whoever_has_written_one() {
        let folder = tempfile::tempdir().unwrap();
        let (state, server) = scene(&folder);
        let account = BareJid::parse("h@a.lit").unwrap();
        let secret = Secret::prepare("swordfish").unwrap();
        let put = Account {
            jid: account.clone(),
            incarnation: Incarnation::parse("one").unwrap(),
            enabled: true,
            created: UnixSeconds(0),
            password_changed: UnixSeconds(0),
            verifiers: vec![ScramVerifier::derive(
                ScramHash::Sha1,
                &secret,
                b"0123456789abcdef",
                4096,
            )],
        };
        let told = || {
            let heard = heard(&server);
            let scram = heard
                .iter()
                .filter(|line| line.get("method") == Some(&json!("host.scram")));
            let scram = scram.map(|line| line.pointer("/params/scram").unwrap().clone());
            scram.collect::<Vec<_>>()
        };
        state
            .store
            .edited_elsewhere(&account, vec![Edit::PutAccount(Box::new(put))]);
        assert_eq!(told(), [json!(["SHA-1"])]);
        let remove = |_: &crate::store::View<'_>| Ok(Ok::<_, ()>((vec![Edit::RemoveAccount], ())));
        let removed = state.store.take_back(None, &account, remove);
        removed.unwrap().unwrap();
        assert_eq!(told(), [json!(["SHA-1", "SHA-256"])]);
    }

    #[test]
    fn a_host_is_what_another_process_declares_unless_somebody_here_knows_it_better() {
        let folder = tempfile::tempdir().unwrap();
        let (state, _server) = scene(&folder);
        let (here, there) = (host("a.lit"), host("b.lit"));
        let max_certs = |host: &Host| state.hosts.policy(host).map(|policy| policy.max_certs);
        for host in [&here, &there] {
            state.store.declared_elsewhere(host, Some(&record(5)));
            assert_eq!(max_certs(host), Ok(5));
            state.store.declared_elsewhere(host, Some(&record(6)));
            assert_eq!(max_certs(host), Ok(6));
        }
        let unreadable = HostRecord {
            options: "[".to_owned(),
            ..record(6)
        };
        // The server that is connected declares the one, and nobody the other.
        state.store.declared_elsewhere(&here, None);
        assert_eq!(max_certs(&here), Ok(6));
        state.store.declared_elsewhere(&here, Some(&unreadable));
        assert_eq!(max_certs(&here), Err(Fault::HostUndeclared));
        state.store.declared_elsewhere(&there, None);
        assert_eq!(max_certs(&there), Err(Fault::HostUndeclared));
        // What is declared here is newer until it is written; then what comes behind it is.
        let declare = |max_certs| {
            let declared = state
                .hosts
                .declare(&here, Accounts::Prosody, options(max_certs));
            declared.unwrap()
        };
        let (declared, is_new) = declare(7);
        assert!(is_new);
        state.store.declared_elsewhere(&here, Some(&record(8)));
        assert_eq!(max_certs(&here), Ok(7));
        // Had its writing failed, the next declaration would try again.
        assert!(declare(7).1);
        let changed = vec![(here.clone(), declared.record())];
        state.hosts.remember(&state.store, changed).unwrap();
        assert!(!declare(7).1);
        state.store.declared_elsewhere(&here, Some(&record(9)));
        assert_eq!(max_certs(&here), Ok(9));
    }
}
