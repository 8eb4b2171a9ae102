//! The facts about the daemon, and about the Prosody that asks it, as they were seen.
//!
//! Must not know: what is well.

use std::path::PathBuf;

use super::super::access::{Node, Who};
use super::super::facts::{Facts, HostFacts};
use super::super::finding::{Finding, Level, Mend, one_line};
use super::super::process::Process;
use crate::daemon::listen_error::Remedy;
use crate::daemon::socket_folder::is_own;
use crate::protocol::{ConnectionState, DaemonState, HostState, Stranger};

/// The daemon as it was seen.
#[derive(Debug, Clone)]
pub(in crate::doctor) struct Daemon {
    /// Where Prosody and doctor look for it.
    pub(in crate::doctor) socket: PathBuf,
    /// Another one, where it answers although Prosody doesn't look there.
    pub(in crate::doctor) answers_elsewhere: Option<PathBuf>,
    pub(in crate::doctor) answer: DaemonAnswer,
    /// The process, answering or not.
    pub(in crate::doctor) process: Option<Process>,
    /// The folders above the socket, from the root down; up to the first that is missing.
    pub(in crate::doctor) folders: Vec<Node>,
    /// The socket itself.
    pub(in crate::doctor) node: Option<Node>,
    pub(in crate::doctor) store: StoreFolder,
    /// The obstacle to listening there, in its own words; or, while it serves, the problem with the place.
    pub(in crate::doctor) place: Option<Advice>,
}

/// The daemon's own words about a problem, and its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::doctor) struct Advice {
    pub(in crate::doctor) message: String,
    pub(in crate::doctor) remedy: Option<Remedy>,
}

/// The process that answers at the socket.
#[derive(Debug, Clone)]
pub(in crate::doctor) enum DaemonAnswer {
    /// The daemon, with its status.
    Status(Box<DaemonState>),
    /// There is no socket.
    Missing,
    /// A socket, and nobody behind it.
    Nobody,
    /// Anything else, in words.
    Other(String),
}

/// The store's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::doctor) enum StoreFolder {
    Initialised,
    /// The daemon can't open it, in its own words.
    Closed(Advice),
    /// There is no store in it.
    Empty,
    /// It is in a database, of which other checks speak.
    InDatabase,
    /// We may not look.
    Hidden,
}

/// Prosody, running or not.
#[derive(Debug, Clone)]
pub(in crate::doctor) struct Server {
    /// Nobody can say otherwise: there is a process, a connection, or an open port.
    pub(in crate::doctor) is_running: bool,
    /// As whom; none if no such user is on this machine.
    pub(in crate::doctor) who: Option<Who>,
    /// That user's name, or number.
    pub(in crate::doctor) user: String,
}

impl Daemon {
    /// Is this folder nobody's but the daemon's?
    pub(super) fn owns(&self, folder: &Node) -> bool {
        let owner = self.process.as_ref().map(|process| process.uid);
        is_own(&folder.path, folder.mode, folder.uid, owner.unwrap_or(0))
    }

    pub(in crate::doctor) fn status(&self) -> Option<&DaemonState> {
        match &self.answer {
            DaemonAnswer::Status(status) => Some(status),
            _ => None,
        }
    }
}

impl Advice {
    /// `moving`: what moves the socket.
    pub(super) fn finding(
        &self,
        check: &'static str,
        moving: impl FnOnce(&Remedy) -> Option<Mend>,
    ) -> Finding {
        let mend = match &self.remedy {
            Some(Remedy::Run(line)) => Some(Mend::Run(line.clone())),
            Some(remedy @ Remedy::Move) => moving(remedy),
            None => None,
        };
        Finding::new(check, Level::Problem, one_line(&self.message), mend)
    }
}

pub(super) fn is_connected(daemon: &Daemon, who: &Who) -> bool {
    connections(daemon).any(|connection| connection.uid == who.uid)
}

/// Those that are a Prosody's.
pub(in crate::doctor) fn connections(daemon: &Daemon) -> impl Iterator<Item = &ConnectionState> {
    let all = daemon.status().map(|status| &status.connections);
    all.into_iter().flatten().filter(|connection| {
        let software = connection.software.as_deref();
        software.is_some_and(|software| software.starts_with("Prosody"))
    })
}

/// A Prosody that runs, and whose module the daemon does not understand.
pub(super) fn stranger<'a>(daemon: &'a Daemon, server: &Server) -> Option<&'a Stranger> {
    let stranger = daemon.status()?.stranger.as_ref()?;
    let who = server.who.as_ref();
    let is_servers = who.is_some_and(|who| stranger.uid == who.uid);
    (server.is_running && is_servers).then_some(stranger)
}

/// Nothing more is to be heard of the Prosody that runs: it has declared every host, or never will.
pub(in crate::doctor) fn is_declared(daemon: &Daemon, server: &Server, facts: &Facts) -> bool {
    let status = daemon.status();
    let is_attached = |host: &HostFacts| {
        let state = status.and_then(|status| state_of(status, host));
        state.is_some_and(|state| state.attached)
    };
    let mut wanted = facts.enabled().filter(|host| !host.client_certs);
    stranger(daemon, server).is_some() || wanted.all(is_attached)
}

/// The host as the daemon knows it.
pub(super) fn state_of<'a>(status: &'a DaemonState, host: &HostFacts) -> Option<&'a HostState> {
    let mut all = status.hosts.iter();
    all.find(|state| state.host.as_str() == host.name)
}
