//! The daemon: its store, its socket, who may open it, and which hosts Prosody declared to it.
//!
//! Judges what was gathered; it must not look for anything itself.

use std::path::PathBuf;

use super::access::{CONNECT, Class, Node, Obstacle, Who, obstacle};
use super::commands::Commands;
use super::facts::{Facts, HostFacts, ModuleCopy};
use super::finding::{ConfigChange, ConfigEdit, Finding, Level, Mend, one_line, word};
use super::process::Process;
use super::prosody::{listed, replacing};
use crate::daemon::listen_error::Remedy;
use crate::daemon::socket_folder::is_own;
use crate::identity::counted;
use crate::protocol::{ConnectionState, DaemonState, HostState, PROTOCOL_VERSION, Stranger};

/// What is there of the daemon.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    /// Where Prosody and doctor look for it.
    pub(super) socket: PathBuf,
    /// Another one, where it answers although Prosody doesn't look there.
    pub(super) answers_elsewhere: Option<PathBuf>,
    pub(super) answer: DaemonAnswer,
    /// The process, answering or not.
    pub(super) process: Option<Process>,
    /// The folders above the socket, from the root down; up to the first that is missing.
    pub(super) folders: Vec<Node>,
    /// The socket itself.
    pub(super) node: Option<Node>,
    pub(super) store: StoreFolder,
    /// What keeps it from listening there, in its own words; or, while it serves, what is wrong with the place.
    pub(super) place: Option<Advice>,
}

/// What the daemon itself would say, and what it would have us do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) message: String,
    pub(super) remedy: Option<Remedy>,
}

/// Who answers at the socket.
#[derive(Debug, Clone)]
pub(super) enum DaemonAnswer {
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
pub(super) enum StoreFolder {
    Initialised,
    /// The daemon can't open it, in its own words.
    Closed(Advice),
    /// There is no store in it.
    Empty,
    /// We may not look.
    Hidden,
}

/// Prosody, running or not.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// Nobody can say otherwise: there is a process, a connection, or an open port.
    pub(super) is_running: bool,
    /// As whom; none if no such user is on this machine.
    pub(super) who: Option<Who>,
    /// That user's name, or number.
    pub(super) user: String,
}

/// Judges the daemon, and what Prosody and it have to do with each other.
pub(super) fn findings(
    daemon: &Daemon,
    server: &Server,
    facts: Option<&Facts>,
    commands: &Commands,
) -> Vec<Finding> {
    let mut all = vec![store(daemon, commands)];
    all.extend(folder(daemon, server, facts, commands));
    all.push(answering(daemon, commands));
    all.push(socket(daemon, server, facts, commands));
    all.push(role(daemon, server, commands));
    all.push(running(server, facts, commands));
    let is_hindered = all.iter().any(|finding| finding.level == Level::Problem);
    all.extend(hosts(daemon, server, facts, is_hindered, commands));
    all
}

impl Daemon {
    /// Is this folder nobody's but the daemon's?
    fn owns(&self, folder: &Node) -> bool {
        let owner = self.process.as_ref().map(|process| process.uid);
        is_own(&folder.path, folder.mode, folder.uid, owner.unwrap_or(0))
    }

    pub(super) fn status(&self) -> Option<&DaemonState> {
        match &self.answer {
            DaemonAnswer::Status(status) => Some(status),
            _ => None,
        }
    }
}

fn store(daemon: &Daemon, commands: &Commands) -> Finding {
    let shown = commands.data_dir.display();
    if let Some(status) = daemon.status() {
        let told = &status.store;
        if told.corrupt_reads > 0 {
            return Finding::problem(
                "store",
                format!(
                    "{} found damaged records in {shown}; this saves what can be read, and then see \"The store is damaged\" in \
                     docs/operations.md",
                    counted(told.corrupt_reads, "read", "reads")
                ),
                Mend::Run(format!(
                    "{} export /root/readable.ndjson",
                    commands.saslcertd
                )),
            );
        }
        if told.check.as_ref().is_some_and(|check| !check.whole) {
            let message = format!(
                "the last check of {shown} found rows missing or damaged: save what is there, restore a backup, and see \"The store is \
                 damaged\" in docs/operations.md"
            );
            let save = format!("{} export /root/readable.ndjson", commands.saslcertd);
            return Finding::problem("store", message, Mend::Run(save));
        }
        if told.accepted_loss.as_ref().is_some_and(|loss| loss.new) {
            let message = format!(
                "{shown} has lost something, and is served as --accept-rollback says: what was revoked, disabled or deleted in the missing \
                 part is let in again. Do it again, end the daemon, and start it without the flag; see \"A store that lost something\" in \
                 docs/operations.md"
            );
            return Finding::new("store", Level::Problem, message, None);
        }
        if let Some(problem) = &told.sequence_problem {
            let message = format!(
                "{shown}/SEQUENCE cannot be written: {problem}. No change is lost, but a store that went back to an older state might \
                 not be noticed; look after the disk (df, dmesg), and the next change writes the file again"
            );
            return Finding::new("store", Level::Problem, one_line(&message), None);
        }
        return Finding::ok(
            "store",
            format!(
                "{shown}: {} of {}",
                counted(told.certificates, "certificate", "certificates"),
                counted(told.accounts, "account", "accounts")
            ),
        );
    }
    match &daemon.store {
        StoreFolder::Initialised => Finding::ok("store", format!("there is one in {shown}")),
        StoreFolder::Closed(told) => told.finding("store", |_| None),
        StoreFolder::Empty => Finding::problem(
            "store",
            format!("there is no store in {shown} (if it is elsewhere: --data-dir)"),
            Mend::Run(commands.init()),
        ),
        StoreFolder::Hidden => {
            Finding::not_checked("store", format!("this user may not look into {shown}"))
        }
    }
}

impl Advice {
    /// `moving`: what moves the socket.
    fn finding(
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

/// The daemon has no other proof of who it is than where its socket lies.
fn folder(
    daemon: &Daemon,
    server: &Server,
    facts: Option<&Facts>,
    commands: &Commands,
) -> Option<Finding> {
    let told = daemon.place.as_ref()?;
    Some(told.finding("folder", |_| {
        let process = daemon.process.as_ref();
        Some(commands.move_socket(facts, server.is_running, process))
    }))
}

fn answering(daemon: &Daemon, commands: &Commands) -> Finding {
    let shown = daemon.socket.display();
    let pid = daemon.process.as_ref().map(|process| process.pid);
    let is_away = matches!(daemon.answer, DaemonAnswer::Missing | DaemonAnswer::Nobody);
    let is_startable = matches!(daemon.store, StoreFolder::Initialised | StoreFolder::Hidden);
    if is_away && (!is_startable || daemon.place.is_some()) {
        let why = format!("nobody answers at {shown}, and saslcertd can't start, see above");
        return Finding::not_checked("daemon", why);
    }
    let start = Mend::Run(match &daemon.process {
        Some(process) => commands.restart_daemon(process),
        None => commands.start_daemon(),
    });
    match (&daemon.answer, pid) {
        (DaemonAnswer::Status(status), _) => {
            let version = one_line(&status.version);
            let ours = env!("CARGO_PKG_VERSION");
            if version == ours {
                return Finding::ok("daemon", format!("saslcertd {version} answers at {shown}"));
            }
            let message = format!("saslcertd {version} runs, and this program is {ours}");
            Finding::warning("daemon", message, start)
        }
        (DaemonAnswer::Missing | DaemonAnswer::Nobody, Some(pid)) => {
            let message = format!("saslcertd runs (process {pid}), but not at {shown}");
            Finding::problem("daemon", message, start)
        }
        (DaemonAnswer::Missing | DaemonAnswer::Nobody, None) => {
            let message = format!("saslcertd isn't running: nobody answers at {shown}");
            Finding::problem("daemon", message, start)
        }
        (DaemonAnswer::Other(said), _) => Finding::problem("daemon", one_line(said), start),
    }
}

/// Do both mean the same socket, and may Prosody open it?
fn socket(daemon: &Daemon, server: &Server, facts: Option<&Facts>, commands: &Commands) -> Finding {
    let shown = daemon.socket.display();
    if let (Some(elsewhere), Some(facts)) = (&daemon.answers_elsewhere, facts) {
        return Finding::problem(
            "socket",
            format!(
                "Prosody looks for the daemon at {}, and it answers at {}",
                facts.socket.display(),
                elsewhere.display()
            ),
            Mend::Edit(ConfigEdit {
                file: facts.config_file.clone(),
                host: None,
                within: None,
                change: ConfigChange::Add(format!(
                    "saslcertd_socket = \"{}\"",
                    elsewhere.display()
                )),
                then: commands.reload_prosody(),
            }),
        );
    }
    let Some(node) = &daemon.node else {
        return Finding::not_checked("socket", format!("there is no {shown}"));
    };
    let Some(who) = &server.who else {
        return Finding::problem(
            "socket",
            format!(
                "this machine has no user {}, as whom Prosody shall run",
                one_line(&server.user)
            ),
            user_of_prosody(server, facts, commands),
        );
    };
    let user = one_line(&server.user);
    let Some(obstacle) = obstacle(&daemon.folders, node, who, CONNECT) else {
        return Finding::ok(
            "socket",
            format!(
                "Prosody's user {user} may open {shown} (mode {:03o})",
                node.mode & 0o777
            ),
        );
    };
    let at = obstacle.node.path.display();
    let (mode, uid, gid) = (
        obstacle.node.mode & 0o777,
        obstacle.node.uid,
        obstacle.node.gid,
    );
    let mut message = format!(
        "Prosody's user {user} may not open {shown}: {at} is {mode:03o}, of user {uid}, group {gid}"
    );
    if obstacle.node == *node && obstacle.class == Class::Other {
        message += "; it comes back when the daemon starts without Prosody's group: let root start it, or its unit name that in SupplementaryGroups=";
    }
    let mend = opening(&obstacle, daemon, commands).map_or_else(
        || commands.move_socket(facts, server.is_running, daemon.process.as_ref()),
        Mend::Run,
    );
    // An access control list may let it in, or it connected before.
    if is_connected(daemon, who) {
        return Finding::warning(
            "socket",
            message + "; the connection that it has would be the last",
            mend,
        );
    }
    Finding::problem("socket", message, mend)
}

/// Its package makes the usual user; another one is the configuration's, and may be a slip.
fn user_of_prosody(server: &Server, facts: Option<&Facts>, commands: &Commands) -> Mend {
    let named = facts.filter(|facts| server.user != "prosody" && facts.user.is_some());
    match named {
        Some(facts) => Mend::Edit(ConfigEdit {
            file: facts.config_file.clone(),
            host: None,
            within: None,
            change: ConfigChange::Remove("prosody_user".to_owned()),
            then: commands.restart_prosody(),
        }),
        None => Mend::Run("apt-get install --reinstall prosody".to_owned()),
    }
}

/// What lets Prosody pass; none where the folder in the way is not the daemon's.
fn opening(obstacle: &Obstacle, daemon: &Daemon, commands: &Commands) -> Option<String> {
    let at = word(&obstacle.node.path);
    let is_socket = obstacle.node.path == daemon.socket;
    let is_own_folder = Some(obstacle.node.path.as_path()) == daemon.socket.parent();
    // Others may have closed it, or hold it open only so far, for a reason.
    let may_change = is_socket || is_own_folder && daemon.owns(&obstacle.node);
    if !may_change {
        return None;
    }
    Some(match obstacle.class {
        Class::Owner => format!("chmod u+{} {at}", if is_socket { "rw" } else { "rx" }),
        Class::Group => format!("chmod g+{} {at}", if is_socket { "rw" } else { "rx" }),
        Class::Other if is_socket => {
            format!("chgrp {} {at} && chmod 660 {at}", commands.server_group)
        }
        Class::Other => format!("chgrp {} {at} && chmod 750 {at}", commands.server_group),
    })
}

/// The daemon hangs up on users that it wasn't told of.
fn role(daemon: &Daemon, server: &Server, commands: &Commands) -> Finding {
    let user = one_line(&server.user);
    let Some(process) = &daemon.process else {
        return Finding::not_checked(
            "role",
            "there is no daemon whose --server-user could be seen",
        );
    };
    let Some(who) = &server.who else {
        let why = format!("this machine has no user {user}, whom --server-user could name");
        return Finding::not_checked("role", why);
    };
    let is_named = process
        .server_users
        .iter()
        .any(|(_, uid)| *uid == Some(who.uid));
    // Admins may ask everything.
    if is_named || who.uid == 0 || who.uid == process.uid || is_connected(daemon, who) {
        return Finding::ok("role", format!("the daemon talks to Prosody's user {user}"));
    }
    let told: Vec<&str> = process
        .server_users
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    Finding::problem(
        "role",
        format!(
            "the daemon hangs up on Prosody's user {user}: it was started with --server-user {}",
            listed(&told)
        ),
        Mend::Run(commands.introduce_server(process)),
    )
}

fn is_connected(daemon: &Daemon, who: &Who) -> bool {
    connections(daemon).any(|connection| connection.uid == who.uid)
}

/// Those that are a Prosody's.
pub(super) fn connections(daemon: &Daemon) -> impl Iterator<Item = &ConnectionState> {
    let all = daemon.status().map(|status| &status.connections);
    all.into_iter().flatten().filter(|connection| {
        let software = connection.software.as_deref();
        software.is_some_and(|software| software.starts_with("Prosody"))
    })
}

/// A Prosody that runs, and whose module the daemon does not understand.
fn stranger<'a>(daemon: &'a Daemon, server: &Server) -> Option<&'a Stranger> {
    let stranger = daemon.status()?.stranger.as_ref()?;
    let who = server.who.as_ref();
    let is_servers = who.is_some_and(|who| stranger.uid == who.uid);
    (server.is_running && is_servers).then_some(stranger)
}

/// Which copy of the module it runs, and what has to change.
fn of_other_version(
    daemon: &Daemon,
    server: &Server,
    facts: &Facts,
    commands: &Commands,
) -> Option<Finding> {
    let stranger = stranger(daemon, server)?;
    let module = stranger.module.clone().unwrap_or_default();
    let loaded = ModuleCopy {
        version: module.version,
        path: module.path.into(),
        protocol: stranger.protocol,
    };
    let message = format!(
        "Prosody runs {}, which speaks version {} of the protocol; the daemon speaks {PROTOCOL_VERSION}",
        loaded.shown(),
        loaded.protocol,
    );
    // The copy that it would load now may be the right one.
    let mend = if facts.module.protocol == PROTOCOL_VERSION {
        Some(Mend::Run(commands.restart_prosody()))
    } else {
        replacing(facts, commands)
    };
    Some(Finding::new("hosts", Level::Problem, message, mend))
}

/// Nothing more is to be heard of the Prosody that runs: it has declared every host, or never will.
pub(super) fn is_declared(daemon: &Daemon, server: &Server, facts: &Facts) -> bool {
    let status = daemon.status();
    let is_attached = |host: &HostFacts| {
        let known = status.and_then(|status| known(status, host));
        known.is_some_and(|known| known.attached)
    };
    let mut wanted = facts.enabled().filter(|host| !host.client_certs);
    stranger(daemon, server).is_some() || wanted.all(is_attached)
}

/// The host as the daemon knows it.
fn known<'a>(status: &'a DaemonState, host: &HostFacts) -> Option<&'a HostState> {
    let mut all = status.hosts.iter();
    all.find(|known| known.host.as_str() == host.name)
}

fn running(server: &Server, facts: Option<&Facts>, commands: &Commands) -> Finding {
    match facts {
        _ if server.is_running => Finding::ok(
            "running",
            format!("Prosody runs as {}", one_line(&server.user)),
        ),
        None => Finding::not_checked("running", "prosodyctl didn't tell"),
        Some(_) => Finding::problem(
            "running",
            "Prosody isn't running",
            Mend::Run(commands.start_prosody()),
        ),
    }
}

/// Is each host that shall have EXTERNAL declared, by a connection that lives?
///
/// `is_hindered`: something that was found already keeps Prosody from connecting.
fn hosts(
    daemon: &Daemon,
    server: &Server,
    facts: Option<&Facts>,
    is_hindered: bool,
    commands: &Commands,
) -> Vec<Finding> {
    let Some(facts) = facts else {
        return vec![Finding::not_checked(
            "hosts",
            "only prosodyctl knows the hosts",
        )];
    };
    let Some(status) = daemon.status() else {
        return vec![Finding::not_checked("hosts", "the daemon doesn't answer")];
    };
    if !server.is_running {
        return vec![Finding::not_checked("hosts", "Prosody isn't running")];
    }
    if facts.enabled().next().is_none() {
        return vec![Finding::not_checked(
            "hosts",
            "mod_saslcertd is enabled for no host",
        )];
    }
    let restart = || Mend::Run(commands.restart_prosody());
    if let Some(stranger) = of_other_version(daemon, server, facts, commands) {
        return vec![stranger];
    }
    if connections(daemon).next().is_none() {
        let message = "Prosody isn't connected to the daemon";
        return vec![if is_hindered {
            Finding::not_checked("hosts", format!("{message}, see above"))
        } else {
            let why = "it wasn't restarted since mod_saslcertd was enabled";
            Finding::problem("hosts", format!("{message}: {why}"), restart())
        }];
    }
    let mut ready = Vec::new();
    let mut all = Vec::new();
    for host in facts.enabled() {
        let known = known(status, host);
        let is_attached = known.is_some_and(|known| known.attached);
        let is_ready = known.is_some_and(|known| known.ready);
        let is_as_configured = known.is_some_and(|known| known.options == host.options);
        let name = one_line(&host.name);
        if host.client_certs && !is_attached {
            all.push(Finding::not_checked(
                "hosts",
                format!("{name}: mod_client_certs is in the way"),
            ));
        } else if !is_attached {
            let message = format!(
                "{name} wasn't declared by the Prosody that is connected: it runs with an older configuration"
            );
            all.push(Finding::problem("hosts", message, restart()));
        } else if !is_ready && is_as_configured {
            let why = format!("{name} gets no EXTERNAL until its options are mended");
            all.push(Finding::not_checked("hosts", why));
        } else if !is_as_configured {
            let message = format!("{name} was declared with other options than are configured now");
            let reload = Mend::Run(commands.reload_prosody());
            all.push(if is_ready {
                Finding::warning("hosts", message, reload)
            } else {
                Finding::problem("hosts", message, reload)
            });
        } else {
            ready.push(host.name.as_str());
        }
    }
    if !ready.is_empty() {
        all.push(Finding::ok("hosts", format!("ready: {}", listed(&ready))));
    }
    all.sort_by_key(|finding| std::cmp::Reverse(finding.level == Level::Problem));
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::{Value, json};

    use super::super::commands::usual;
    use super::*;

    const PROSODY: u32 = 110;
    const DAEMON: u32 = 111;

    fn node(path: &str, mode: u32, uid: u32, gid: u32) -> Node {
        Node {
            path: PathBuf::from(path),
            mode,
            uid,
            gid,
        }
    }

    fn status() -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "store": {"corrupt_reads": 0, "certificates": 3, "accounts": 2},
            "connections": [{"uid": PROSODY, "software": "Prosody 13.0.1"}],
            "hosts": [{"host": "a.lit", "ready": true, "attached": true, "options": {}, "errors": []}],
        })
    }

    fn answer(status: Value) -> DaemonAnswer {
        DaemonAnswer::Status(serde_json::from_value(status).unwrap())
    }

    /// An installation by hand, as docs/operations.md has it.
    fn well() -> Daemon {
        Daemon {
            socket: PathBuf::from("/run/saslcertd/saslcertd.sock"),
            answers_elsewhere: None,
            answer: answer(status()),
            process: Some(Process {
                pid: 7,
                uid: DAEMON,
                server_users: vec![("prosody".to_owned(), Some(PROSODY))],
                program: "saslcertd".to_owned(),
                flags: Vec::new(),
                is_units: false,
            }),
            folders: vec![
                node("/", 0o755, 0, 0),
                node("/run", 0o755, 0, 0),
                node("/run/saslcertd", 0o750, DAEMON, PROSODY),
            ],
            node: Some(node(
                "/run/saslcertd/saslcertd.sock",
                0o660,
                DAEMON,
                PROSODY,
            )),
            store: StoreFolder::Initialised,
            place: None,
        }
    }

    fn server() -> Server {
        Server {
            is_running: true,
            who: Some(Who {
                uid: PROSODY,
                gids: vec![PROSODY],
            }),
            user: "prosody".to_owned(),
        }
    }

    fn facts() -> Facts {
        serde_json::from_value(json!({
            "socket": "/run/saslcertd/saslcertd.sock",
            "hosts": [{"host": "a.lit", "saslcertd": true}],
        }))
        .unwrap()
    }

    fn bad(daemon: &Daemon, server: &Server) -> Vec<(&'static str, String)> {
        let found = findings(daemon, server, Some(&facts()), &usual());
        let bad = found
            .into_iter()
            .filter(|finding| finding.level >= Level::Warning);
        bad.map(|finding| match finding.mend {
            Some(Mend::Run(command)) => (finding.check, command),
            Some(Mend::Edit(edit)) => (finding.check, format!("{:?}", edit.change)),
            Some(Mend::Proxy(line)) => (finding.check, line),
            None => (finding.check, String::new()),
        })
        .collect()
    }

    #[test]
    fn a_good_installation_has_no_problem() {
        assert_eq!(bad(&well(), &server()), []);
    }

    #[test]
    fn without_a_daemon_its_start_is_the_first_thing_to_do() {
        let gone = Daemon {
            answer: DaemonAnswer::Nobody,
            process: None,
            ..well()
        };
        let serve = "saslcertd serve".to_owned();
        assert_eq!(bad(&gone, &server()), [("daemon", serve)]);
        let fresh = Daemon {
            store: StoreFolder::Empty,
            answer: DaemonAnswer::Missing,
            node: None,
            ..gone
        };
        // It wouldn't start.
        let init = "saslcertd init".to_owned();
        let found = bad(&fresh, &server());
        assert_eq!(found.len(), 1);
        assert!(
            found[0].0 == "store" && found[0].1.ends_with(&init),
            "{found:?}"
        );
    }

    #[test]
    fn what_the_daemon_would_say_is_said_in_the_place_of_its_start() {
        let told = |remedy| {
            Some(Advice {
                message: "said".to_owned(),
                remedy,
            })
        };
        let run = || Some(Remedy::Run("line".to_owned()));
        let moved = "Add(\"saslcertd_socket = \\\"/run/saslcertd/saslcertd.sock\\\"\")".to_owned();
        let gone = || Daemon {
            answer: DaemonAnswer::Nobody,
            process: None,
            ..well()
        };
        let cases = [
            (
                StoreFolder::Closed(told(run()).unwrap()),
                None,
                ("store", "line".to_owned()),
            ),
            (
                StoreFolder::Closed(told(None).unwrap()),
                None,
                ("store", String::new()),
            ),
            (
                StoreFolder::Initialised,
                told(run()),
                ("folder", "line".to_owned()),
            ),
            // Others rely on the folder as it is.
            (
                StoreFolder::Initialised,
                told(Some(Remedy::Move)),
                ("folder", moved),
            ),
        ];
        for (store, place, expected) in cases {
            let daemon = Daemon {
                store,
                place,
                ..gone()
            };
            assert_eq!(bad(&daemon, &server()), [expected]);
        }
    }

    #[test]
    fn a_folder_that_is_not_the_daemons_is_not_opened_for_prosody() {
        let socket = PathBuf::from("/home/a/s");
        let moved = "Add(\"saslcertd_socket = \\\"/run/saslcertd/saslcertd.sock\\\"\")".to_owned();
        for (mode, owner) in [(0o700, 5), (0o750, 0), (0o700, PROSODY + 5)] {
            let mut status = status();
            status["connections"] = json!([]);
            let daemon = Daemon {
                answer: answer(status),
                folders: vec![node("/home", 0o755, 0, 0), node("/home/a", mode, owner, 5)],
                node: Some(node("/home/a/s", 0o660, DAEMON, PROSODY)),
                socket: socket.clone(),
                ..well()
            };
            assert_eq!(
                bad(&daemon, &server()).first(),
                Some(&("socket", moved.clone()))
            );
        }
    }

    #[test]
    fn who_cannot_open_the_socket_is_told_what_opens_it() {
        let unconnected = || {
            let mut status = status();
            status["connections"] = json!([]);
            Daemon {
                answer: answer(status),
                ..well()
            }
        };
        let socket = "/run/saslcertd/saslcertd.sock";
        let cases = [
            (
                0o750,
                PROSODY,
                0o600,
                PROSODY,
                format!("chmod g+rw {socket}"),
            ),
            (
                0o750,
                PROSODY,
                0o660,
                DAEMON,
                format!("chgrp prosody {socket} && chmod 660 {socket}"),
            ),
            (
                0o700,
                PROSODY,
                0o660,
                PROSODY,
                "chmod g+rx /run/saslcertd".to_owned(),
            ),
            (
                0o750,
                DAEMON,
                0o660,
                PROSODY,
                "chgrp prosody /run/saslcertd && chmod 750 /run/saslcertd".to_owned(),
            ),
        ];
        for (folder_mode, folder_group, mode, group, mend) in cases {
            let mut daemon = unconnected();
            daemon.folders.pop();
            daemon
                .folders
                .push(node("/run/saslcertd", folder_mode, DAEMON, folder_group));
            daemon.node = Some(node(socket, mode, DAEMON, group));
            assert_eq!(bad(&daemon, &server()).first(), Some(&("socket", mend)));
        }
        let mut connected = well();
        connected.node = Some(node(socket, 0o600, DAEMON, PROSODY));
        let found = findings(&connected, &server(), Some(&facts()), &usual());
        let levels: Vec<Level> = found
            .iter()
            .filter(|one| one.check == "socket")
            .map(|one| one.level)
            .collect();
        assert_eq!(levels, [Level::Warning]);
    }

    #[test]
    fn a_prosody_that_the_daemon_was_not_told_of_is_named() {
        let mut status = status();
        status["connections"] = json!([]);
        let mut daemon = Daemon {
            answer: answer(status),
            ..well()
        };
        daemon.process.as_mut().unwrap().server_users = vec![("xmpp".to_owned(), None)];
        assert_eq!(bad(&daemon, &server()).first().unwrap().0, "role");
    }

    #[test]
    fn a_socket_that_prosody_does_not_look_at_is_named() {
        let daemon = Daemon {
            answers_elsewhere: Some(PathBuf::from("/s")),
            ..well()
        };
        let mend = "Add(\"saslcertd_socket = \\\"/s\\\"\")".to_owned();
        assert_eq!(bad(&daemon, &server()), [("socket", mend)]);
    }

    #[test]
    fn hosts_that_are_not_ready_are_named() {
        let cases = [
            (json!([]), "systemctl restart prosody"),
            (
                json!([{"host": "a.lit", "attached": false, "ready": true}]),
                "systemctl restart prosody",
            ),
            (
                json!([{"host": "a.lit", "attached": true, "ready": false, "options": {"x": 1}}]),
                "systemctl reload prosody",
            ),
            (
                json!([{"host": "a.lit", "attached": true, "ready": true, "options": {"x": 1}}]),
                "systemctl reload prosody",
            ),
        ];
        for (hosts, mend) in cases {
            let mut status = status();
            status["hosts"] = hosts;
            let daemon = Daemon {
                answer: answer(status),
                ..well()
            };
            assert_eq!(bad(&daemon, &server()), [("hosts", mend.to_owned())]);
        }
        let mut status = status();
        status["connections"] = json!([]);
        let daemon = Daemon {
            answer: answer(status),
            ..well()
        };
        assert_eq!(
            bad(&daemon, &server()),
            [("hosts", "systemctl restart prosody".to_owned())]
        );
    }

    #[test]
    fn a_prosody_that_does_not_run_is_named_and_its_hosts_are_not_judged() {
        let stopped = Server {
            is_running: false,
            ..server()
        };
        assert_eq!(
            bad(&well(), &stopped),
            [("running", "systemctl start prosody".to_owned())]
        );
    }

    #[test]
    fn a_module_of_another_version_is_named_with_its_folder() {
        for version in [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1] {
            let mut status = status();
            status["connections"] = json!([]);
            status["stranger"] = json!({"uid": PROSODY, "protocol": version, "module": {"version": "9.9", "path": "/m/mod_saslcertd"}});
            let daemon = Daemon {
                answer: answer(status),
                ..well()
            };
            let mut facts = facts();
            // Only what is loaded is wrong.
            facts.module.protocol = PROTOCOL_VERSION;
            let found = findings(&daemon, &server(), Some(&facts), &usual());
            let hosts = found.iter().find(|one| one.check == "hosts").unwrap();
            assert!(
                hosts.message.contains("9.9 in /m/mod_saslcertd")
                    && hosts.message.contains(&format!("version {version}"))
            );
            assert_eq!(
                hosts.mend,
                Some(Mend::Run("systemctl restart prosody".to_owned()))
            );
        }
    }

    #[test]
    fn a_user_of_prosodys_that_is_not_there_is_named_with_what_made_it() {
        for (name, mend) in [
            ("prosody", "apt-get install --reinstall prosody"),
            ("prosdy", "Remove(\"prosody_user\")"),
        ] {
            let gone = Server {
                who: None,
                user: name.to_owned(),
                ..server()
            };
            let mut facts = facts();
            facts.user = Some(name.to_owned());
            let found = user_of_prosody(&gone, Some(&facts), &usual());
            let told = match found {
                Mend::Run(line) => line,
                Mend::Edit(edit) => format!("{:?}", edit.change),
                Mend::Proxy(_) => unreachable!(),
            };
            assert_eq!(told, mend);
        }
    }

    #[test]
    fn damage_of_the_store_is_named() {
        for (field, value) in [
            ("corrupt_reads", json!(2)),
            ("check", json!({"whole": false})),
            ("accepted_loss", json!({"new": true})),
            ("sequence_problem", json!("No space left on device")),
        ] {
            let mut status = status();
            status["store"][field] = value;
            let daemon = Daemon {
                answer: answer(status),
                ..well()
            };
            let found = bad(&daemon, &server());
            assert_eq!(found.first().unwrap().0, "store", "{field}");
        }
    }
}
