//! Does the daemon answer, at the place where Prosody looks, and does it talk to Prosody's user?
//!
//! Must not know: how the socket was looked at.

use super::super::access::{CONNECT, Class, Obstacle, obstacle};
use super::super::commands::Commands;
use super::super::facts::Facts;
use super::super::finding::{ConfigChange, ConfigEdit, Finding, Mend, one_line, word};
use super::super::prosody::listed;
use super::seen::{Daemon, DaemonAnswer, Server, StoreFolder, is_connected};

/// The daemon has no other proof of who it is than where its socket lies.
pub(super) fn folder(
    daemon: &Daemon,
    server: &Server,
    facts: Option<&Facts>,
    commands: &Commands,
) -> Option<Finding> {
    let place = daemon.place.as_ref()?;
    Some(place.finding("folder", |_| {
        let process = daemon.process.as_ref();
        Some(commands.move_socket(facts, server.is_running, process))
    }))
}

pub(super) fn answering(daemon: &Daemon, commands: &Commands) -> Finding {
    let shown = daemon.socket.display();
    let pid = daemon.process.as_ref().map(|process| process.pid);
    let is_away = matches!(daemon.answer, DaemonAnswer::Missing | DaemonAnswer::Nobody);
    let is_startable = matches!(
        daemon.store,
        StoreFolder::Initialised | StoreFolder::InDatabase | StoreFolder::Hidden
    );
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
pub(super) fn socket(
    daemon: &Daemon,
    server: &Server,
    facts: Option<&Facts>,
    commands: &Commands,
) -> Finding {
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
pub(super) fn user_of_prosody(server: &Server, facts: Option<&Facts>, commands: &Commands) -> Mend {
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

/// The command that lets Prosody pass; none where the folder in the way is not the daemon's.
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
pub(super) fn role(daemon: &Daemon, server: &Server, commands: &Commands) -> Finding {
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
