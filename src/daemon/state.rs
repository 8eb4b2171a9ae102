//! The parts that questions are answered from, by name; each has a file of its own that says what it is. A handler is handed those
//! that it uses, never all of them.
//!
//! Must not know: sockets, the clock, what a question means.

use std::sync::Arc;
use std::time::Duration;

use super::authorities::AuthorityFiles;
use super::connection::Connection;
use super::disk_room::DiskRoom;
use super::facts::Facts;
use super::following::Following;
use super::gate::Gate;
use super::guesses::Guesses;
use super::handlers::accounts::LocalAccounts;
use super::handlers::authorities::Vouching;
use super::handlers::backup::Backup;
use super::handlers::certificates::Certificates;
use super::handlers::edits::sweep;
use super::handlers::explain::Explaining;
use super::handlers::external::External;
use super::handlers::hello::Hearing;
use super::handlers::hosts::KnownHosts;
use super::handlers::links::Linking;
use super::handlers::messages::Messages;
use super::handlers::moving_in::MovingIn;
use super::handlers::notices::Notices;
use super::handlers::passwords::Passwords;
use super::handlers::revocation::{Managing, Revocations};
use super::handlers::sessions::LiveSessions;
use super::handlers::status::Overview;
use super::hosts::Hosts;
use super::lanes::Lanes;
use super::last_uses::LastUses;
use super::notice_times::NoticeTimes;
use super::presented::Chains;
use super::reservations::Reservations;
use super::scram_news::ScramNews;
use super::servers::Servers;
use super::sessions::Sessions;
use super::store_checks::Checks;
use super::waiting_messages::WaitingMessages;
use crate::identity::UnixSeconds;
use crate::store::{Heed, Listeners, Store, StoreError};

/// The parts of the daemon: the store, and beside it everything that is in memory.
pub struct State {
    pub(super) store: Arc<Store>,
    pub(super) hosts: Arc<Hosts>,
    pub(super) chains: Chains,
    pub(super) servers: Arc<Servers>,
    pub(super) sessions: Sessions,
    pub(super) authorities: AuthorityFiles,
    pub(super) gate: Arc<Gate>,
    pub(super) last_uses: LastUses,
    pub(super) lanes: Lanes,
    pub(super) disk_room: DiskRoom,
    pub(super) guesses: Guesses,
    pub(super) reservations: Reservations,
    pub(super) notice_times: NoticeTimes,
    pub(super) scram_news: Arc<ScramNews>,
    pub(super) checks: Arc<Checks>,
    pub(super) waiting_messages: Arc<WaitingMessages>,
}

impl State {
    /// One that knows the hosts that the store remembers, and their authorities. `open` opens the store, which tells the others of
    /// changes. Blocks.
    ///
    /// Errors: the store.
    pub fn new(
        open: impl FnOnce(Listeners) -> Result<Store, StoreError>,
    ) -> Result<Self, StoreError> {
        let servers = Arc::new(Servers::default());
        let gate = Arc::new(Gate::new(Arc::clone(&servers)));
        let (hosts, scram_news) = (Arc::<Hosts>::default(), Arc::<ScramNews>::default());
        let waiting_messages = Arc::<WaitingMessages>::default();
        let following = Following {
            waiting_messages: Arc::clone(&waiting_messages),
            hosts: Arc::clone(&hosts),
            scram_news: Arc::clone(&scram_news),
            servers: Arc::clone(&servers),
        };
        let store = open(Listeners {
            heed: Arc::clone(&gate) as Arc<dyn Heed>,
            follow: Arc::new(following),
        })?;
        hosts.load(&store)?;
        let state = Self {
            store: Arc::new(store),
            hosts,
            chains: Chains::default(),
            servers,
            sessions: Sessions::default(),
            authorities: AuthorityFiles::default(),
            gate,
            last_uses: LastUses::default(),
            lanes: Lanes::default(),
            disk_room: DiskRoom::default(),
            guesses: Guesses::default(),
            reservations: Reservations::default(),
            notice_times: NoticeTimes::default(),
            scram_news,
            checks: Arc::default(),
            waiting_messages,
        };
        state.vouching().read(false);
        Ok(state)
    }

    /// A connection was accepted.
    pub fn connected(&self, connection: &Arc<Connection>) {
        self.servers.connected(connection);
    }

    /// A connection has ended.
    pub fn disconnected(&self, connection: &Connection) {
        self.servers.disconnected(connection);
        self.sessions.forget(connection.id);
    }

    /// Waits until nothing is being answered any more, or until `limit` has passed.
    pub async fn finish(&self, limit: Duration) {
        self.lanes.finish(limit).await;
    }

    /// Removes what expired long ago, and what belongs to accounts that were replaced long ago. Blocks.
    pub fn sweep(&self, now: UnixSeconds) {
        sweep(&self.store, now);
    }

    /// Notes the findings of the opening of the store, at `now`.
    pub fn note_opening(&self, now: UnixSeconds) {
        self.checks.note_opening(&self.store, now);
    }

    /// Checks the whole store if that is due.
    pub fn check_store_if_due(&self, now: UnixSeconds) -> bool {
        self.checks.run_if_due(&self.store, now)
    }

    /// Writes everything that waits and lets nothing more in. Blocks.
    pub fn close(&self) {
        self.last_uses.write(&self.store, &self.disk_room);
        self.store.close();
    }
}

/// Each handler with the parts that it uses, and no more.
impl State {
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            store: &self.store,
            authorities: &self.authorities,
        }
    }

    pub(super) fn external(&self) -> External<'_> {
        External {
            hosts: &self.hosts,
            chains: &self.chains,
            sessions: &self.sessions,
            gate: &self.gate,
            last_uses: &self.last_uses,
            lanes: &self.lanes,
            facts: self.facts(),
        }
    }

    pub(super) fn passwords(&self) -> Passwords<'_> {
        Passwords {
            store: &self.store,
            hosts: &self.hosts,
            gate: &self.gate,
            guesses: &self.guesses,
            disk_room: &self.disk_room,
        }
    }

    pub(super) fn accounts(&self) -> LocalAccounts<'_> {
        LocalAccounts {
            store: &self.store,
            hosts: &self.hosts,
            gate: &self.gate,
            reservations: &self.reservations,
            disk_room: &self.disk_room,
        }
    }

    pub(super) fn certificates(&self) -> Certificates<'_> {
        Certificates {
            store: &self.store,
            hosts: &self.hosts,
            servers: &self.servers,
            sessions: &self.sessions,
            last_uses: &self.last_uses,
            disk_room: &self.disk_room,
        }
    }

    pub(super) fn revoking(&self) -> Revocations<'_> {
        Revocations::new(self.certificates(), &self.gate)
    }

    pub(super) fn links(&self) -> Linking<'_> {
        Linking {
            lists: self.certificates(),
            gate: &self.gate,
            guesses: &self.guesses,
            reservations: &self.reservations,
        }
    }

    pub(super) fn managing(&self) -> Managing<'_> {
        Managing {
            lists: self.certificates(),
            revoking: self.revoking(),
            links: self.links(),
        }
    }

    pub(super) fn live_sessions(&self) -> LiveSessions<'_> {
        LiveSessions {
            store: &self.store,
            hosts: &self.hosts,
            sessions: &self.sessions,
            authorities: &self.authorities,
            servers: &self.servers,
        }
    }

    pub(super) fn vouching(&self) -> Vouching<'_> {
        Vouching {
            hosts: &self.hosts,
            authorities: &self.authorities,
            sessions: &self.sessions,
            gate: &self.gate,
        }
    }

    pub(super) fn explaining(&self) -> Explaining<'_> {
        Explaining {
            hosts: &self.hosts,
            servers: &self.servers,
            facts: self.facts(),
        }
    }

    pub(super) fn overview(&self) -> Overview<'_> {
        Overview {
            store: &self.store,
            hosts: &self.hosts,
            servers: &self.servers,
            sessions: &self.sessions,
            authorities: &self.authorities,
            checks: &self.checks,
            disk_room: &self.disk_room,
        }
    }

    pub(super) fn notices(&self) -> Notices<'_> {
        Notices {
            store: &self.store,
            hosts: &self.hosts,
            servers: &self.servers,
            notice_times: &self.notice_times,
        }
    }

    pub(super) fn messages(&self) -> Messages<'_> {
        Messages {
            store: &self.store,
            hosts: &self.hosts,
            servers: &self.servers,
            waiting: &self.waiting_messages,
        }
    }

    pub(super) fn hello(&self) -> Hearing<'_> {
        Hearing {
            store: &self.store,
            hosts: &self.hosts,
            sessions: &self.sessions,
            scram_news: &self.scram_news,
            waiting_messages: &self.waiting_messages,
            vouching: self.vouching(),
        }
    }

    pub(super) fn known_hosts(&self) -> KnownHosts<'_> {
        KnownHosts {
            store: &self.store,
            hosts: &self.hosts,
            servers: &self.servers,
            scram_news: &self.scram_news,
            notice_times: &self.notice_times,
        }
    }

    pub(super) fn moving_in(&self) -> MovingIn<'_> {
        MovingIn {
            store: &self.store,
            hosts: &self.hosts,
            servers: &self.servers,
            disk_room: &self.disk_room,
        }
    }

    pub(super) fn backup(&self) -> Backup<'_> {
        Backup {
            store: &self.store,
            hosts: &self.hosts,
            gate: &self.gate,
            disk_room: &self.disk_room,
        }
    }
}
