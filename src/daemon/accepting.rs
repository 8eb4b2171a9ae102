//! Connections: accept, and find out who it is.
//!
//! Must not know: what a question means.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{Connection, Peer};
use super::exchange::{self, Lifetime};
use super::listening::Listening;
use super::roles::Roles;
use super::state::State;
use crate::protocol::{self, Fault};

/// The loop that lets connections in, and its parts.
pub(super) struct Acceptor {
    state: Arc<State>,
    roles: Roles,
    lifetime: Lifetime,
    free: Arc<Semaphore>,
    last_id: u64,
    pub(super) open: JoinSet<()>,
}

impl Acceptor {
    /// Nobody has come yet; `stopping` turns true when nobody is to be read any more.
    pub(super) fn new(state: Arc<State>, roles: Roles, stopping: watch::Receiver<bool>) -> Self {
        Self {
            state,
            roles,
            lifetime: Lifetime {
                started: Instant::now(),
                stopping,
            },
            free: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            last_id: 0,
            open: JoinSet::new(),
        }
    }

    /// Lets connections in, and serves each until it ends. Never returns by itself.
    pub(super) async fn run(&mut self, listening: &Listening) {
        loop {
            // Finished ones are let go of as new ones come.
            while self.open.try_join_next().is_some() {}
            match listening.accept().await {
                Ok(stream) => self.accept(stream),
                Err(error) => {
                    // Out of file descriptors, for one: they come back as connections end.
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accept(&mut self, stream: UnixStream) {
        let peer = match stream.peer_cred() {
            Ok(peer) => peer,
            Err(error) => {
                tracing::error!(%error, "a connection whose user is unknown is refused");
                return;
            }
        };
        let Some(role) = self.roles.role(peer.uid()) else {
            tracing::warn!(
                uid = peer.uid(),
                pid = peer.pid(),
                "refused: neither --server-user nor --admin-user"
            );
            // For its log. Nothing is waited for: a line fits into what a new socket takes.
            let fault = Fault::NotAdmitted { uid: peer.uid() };
            let _ = stream.try_write(protocol::failure(None, &fault.into()).as_bytes());
            return;
        };
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            tracing::error!(
                uid = peer.uid(),
                "refused: {MAX_CONNECTIONS} connections are open"
            );
            return;
        };
        self.last_id += 1;
        let peer = Peer {
            uid: peer.uid(),
            pid: peer.pid(),
            role,
        };
        tracing::debug!(connection = self.last_id, uid = peer.uid, "connected");
        let connection = Arc::new(Connection::new(self.last_id, peer));
        let state = Arc::clone(&self.state);
        let lifetime = self.lifetime.clone();
        self.open.spawn(async move {
            exchange::talk(&state, &connection, stream, lifetime).await;
            tracing::debug!(connection = connection.id, "disconnected");
            drop(permit);
        });
    }
}

const MAX_CONNECTIONS: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
