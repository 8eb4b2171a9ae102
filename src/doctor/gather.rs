//! Gathers the facts about an installation, from prosodyctl, the daemon, the files, the processes and TLS, and has them judged. A
//! matter that needs several looks has a file of its own.
//!
//! Must not know: what is well.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
#[cfg(feature = "client")]
use std::time::SystemTime;
use std::time::{Duration, Instant};

use nix::unistd::Uid;

use super::access::{self, Who};
use super::commands::Commands;
use super::daemon::{self, Daemon, Server};
#[cfg(feature = "postgres")]
use super::database;
use super::facts::Facts;
use super::finding::{Finding, Mend, word};
use super::machine;
use super::prosody;
use super::prosodyctl::{self, Prosodyctl};
use super::{authorities, releases};
#[cfg(feature = "client")]
use super::{page, tls};
#[cfg(feature = "client")]
use crate::client::{resolve::Route, runtime::runtime};
use crate::daemon::owner;
use crate::daemon::socket_folder::{self, Tenant};
#[cfg(feature = "client")]
use crate::identity::UnixSeconds;
use crate::system::services::has_unit;
use daemon_seen::{ask_status, gather_daemon, look_at_place, look_at_refusal, look_at_store};
use files::{folders_above, node};
use machine_seen::gather_machine;
use processes::{flags, is_of_unit, of_process, of_user, user};

mod daemon_seen;
#[cfg(feature = "postgres")]
mod database_seen;
mod files;
mod machine_seen;
mod processes;

/// Which installation is looked at.
#[derive(Debug)]
pub(crate) struct Installation {
    /// The daemon's socket, unless Prosody's configuration names another one.
    pub(crate) socket: PathBuf,
    /// The store's folder; only needed while the daemon doesn't answer.
    pub(crate) data_dir: PathBuf,
    /// The words that name its database, if it is in one; only needed while the daemon doesn't answer.
    #[cfg(feature = "postgres")]
    pub(crate) database: Option<String>,
    /// Prosody's control program.
    pub(crate) prosodyctl: PathBuf,
    /// Prosody's configuration, if prosodyctl doesn't find it by itself.
    pub(crate) prosody_config: Option<PathBuf>,
    /// How clients come to the server.
    #[cfg(feature = "client")]
    pub(crate) route: Route,
}

/// The machine's: there is nothing to run a client on.
#[derive(Debug, thiserror::Error)]
#[error("the runtime can't start")]
pub(crate) struct NoRuntime(#[source] io::Error);

/// Looks at all of it. Most comes of what stands first.
///
/// Errors: this process could not look.
pub(crate) fn examine(installation: &Installation) -> Result<Vec<Finding>, NoRuntime> {
    let prosodyctl = Prosodyctl {
        program: installation.prosodyctl.clone(),
        config: installation.prosody_config.clone(),
    };
    let mut answer = prosodyctl.ask();
    if let prosodyctl::ProsodyctlAnswer::NoModule {
        found: Some(folder),
        closed,
        ..
    } = &mut answer
    {
        *closed = closed_to_prosody(folder);
    }
    let facts = answer.facts();
    let mut daemon = gather_daemon(&installation.socket, facts, &installation.data_dir);
    let data_dir = data_dir(&daemon, &installation.data_dir);
    let server = gather_server(facts, &daemon);
    await_hello(&mut daemon, facts, &server);
    let group = server
        .who
        .as_ref()
        .and_then(|who| who.gids.first().copied());
    let tenant = Tenant {
        uid: whose(&daemon, &data_dir),
        group,
    };
    let of_database = look_at_database(installation, &daemon, tenant.uid);
    daemon.store = match &of_database {
        Some(_) => look_at_refusal(&data_dir),
        None => look_at_store(&data_dir, tenant.uid),
    };
    daemon.place = look_at_place(&daemon, tenant);
    let home = Home {
        socket: daemon.socket.clone(),
        data_dir,
        owner: tenant.uid,
    };
    let commands = gather_commands(&prosodyctl, facts, &server, home);
    let machine = gather_machine(&commands.data_dir, &daemon, facts);

    let mut found = Vec::new();
    if !Uid::effective().is_root() {
        let again = Mend::Run("sudo saslcertd doctor".to_owned());
        found.push(Finding::warning("user", "only root sees everything", again));
    }
    found.extend(prosody::findings(
        &answer,
        installation.prosody_config.as_deref(),
        &commands,
    ));
    if let Some(version) = answer.version() {
        found.extend(releases::findings(version, releases::package().as_deref()));
    }
    found.extend(of_database.into_iter().flatten());
    found.extend(daemon::findings(&daemon, &server, facts, &commands));
    let files = gather_files(&daemon);
    found.extend(authorities::findings(
        daemon.status(),
        &files,
        facts,
        machine.now,
        &commands,
    ));
    found.extend(look_at_tls(installation, facts, &server, &commands)?);
    found.extend(look_at_page(installation, facts, &server, &commands)?);
    found.extend(machine::findings(&machine, facts, &commands));
    Ok(found)
}

/// None: the store is in a folder.
#[cfg(feature = "postgres")]
fn look_at_database(
    installation: &Installation,
    daemon: &Daemon,
    uid: u32,
) -> Option<Vec<Finding>> {
    let shared = daemon
        .status()
        .and_then(|status| status.store.shared.as_ref());
    let words = database_seen::words(daemon.process.as_ref(), installation.database.as_deref());
    if words.is_none() && shared.is_none() {
        return None;
    }
    let seen = words.map(|words| database_seen::look(words, uid));
    Some(database::findings(seen.as_ref(), shared))
}

#[cfg(not(feature = "postgres"))]
fn look_at_database(
    _installation: &Installation,
    daemon: &Daemon,
    _uid: u32,
) -> Option<Vec<Finding>> {
    let shared = daemon
        .status()
        .and_then(|status| status.store.shared.as_ref());
    let why = "this program was built without PostgreSQL";
    shared.map(|_| vec![Finding::not_checked("database", why)])
}

#[cfg(feature = "client")]
fn look_at_tls(
    installation: &Installation,
    facts: Option<&Facts>,
    server: &Server,
    commands: &Commands,
) -> Result<Vec<Finding>, NoRuntime> {
    let Some(facts) = facts else {
        return Ok(tls::not_checked("only prosodyctl knows the ports"));
    };
    let seen = if server.is_running {
        runtime()
            .map_err(NoRuntime)?
            .block_on(tls::look(facts, &installation.route))
    } else {
        Vec::new()
    };
    Ok(tls::findings(
        facts,
        &seen,
        server.is_running,
        unix_now(),
        commands,
    ))
}

#[cfg(feature = "client")]
fn unix_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = i64::try_from(since.unwrap_or_default().as_secs());
    UnixSeconds(seconds.unwrap_or(i64::MAX))
}

#[cfg(feature = "client")]
fn look_at_page(
    installation: &Installation,
    facts: Option<&Facts>,
    server: &Server,
    commands: &Commands,
) -> Result<Vec<Finding>, NoRuntime> {
    let Some(facts) = facts.filter(|facts| facts.hosts.iter().any(|host| host.page.is_some()))
    else {
        return Ok(Vec::new());
    };
    if !server.is_running {
        return Ok(vec![Finding::not_checked("page", "Prosody isn't running")]);
    }
    let looking = page::look(facts, &installation.route);
    let seen = runtime().map_err(NoRuntime)?.block_on(looking);
    Ok(page::findings(facts, &seen, unix_now(), commands))
}

#[cfg(not(feature = "client"))]
// As its sibling.
#[allow(clippy::unnecessary_wraps)]
fn look_at_page(
    _installation: &Installation,
    facts: Option<&Facts>,
    _server: &Server,
    _commands: &Commands,
) -> Result<Vec<Finding>, NoRuntime> {
    let is_served = facts.is_some_and(|facts| facts.hosts.iter().any(|host| host.page.is_some()));
    let why = "this program was built without its XMPP client";
    Ok(is_served
        .then(|| Finding::not_checked("page", why))
        .into_iter()
        .collect())
}

#[cfg(not(feature = "client"))]
// As its sibling.
#[allow(clippy::unnecessary_wraps)]
fn look_at_tls(
    _installation: &Installation,
    _facts: Option<&Facts>,
    _server: &Server,
    _commands: &Commands,
) -> Result<Vec<Finding>, NoRuntime> {
    let why = "this program was built without its XMPP client";
    Ok(vec![
        Finding::not_checked("tls", why),
        Finding::not_checked("proxy", why),
    ])
}

/// The obstacle between Prosody's user and the module, if there is one: a folder above it, or its own rights.
fn closed_to_prosody(folder: &Path) -> Option<PathBuf> {
    let file = folder.join("mod_saslcertd/mod_saslcertd.lua");
    let who = of_user("prosody")?;
    let found = access::obstacle(&folders_above(&file), &node(&file)?, &who, access::READ)?;
    Some(found.node.path)
}

/// Prosody opens its ports before it says hello, and after a lost connection it comes back within two seconds.
fn await_hello(daemon: &mut Daemon, facts: Option<&Facts>, server: &Server) {
    let Some(facts) = facts.filter(|_| server.is_running && daemon.status().is_some()) else {
        return;
    };
    let place = daemon
        .answers_elsewhere
        .as_ref()
        .unwrap_or(&daemon.socket)
        .clone();
    let deadline = Instant::now() + HELLO_LIMIT;
    while !daemon::is_declared(daemon, server, facts) && Instant::now() < deadline {
        std::thread::sleep(POLL);
        if let status @ daemon::DaemonAnswer::Status(_) = ask_status(&place) {
            daemon.answer = status;
        }
    }
}

fn data_dir(daemon: &Daemon, given: &Path) -> PathBuf {
    let store = daemon.status().map(|status| &status.store);
    // That of a database is no folder.
    let reported = store.filter(|store| store.shared.is_none());
    let reported = reported.map(|store| store.path.clone());
    let flag = || {
        let process = daemon.process.as_ref()?;
        flags(&process.flags, "--data-dir").pop().map(PathBuf::from)
    };
    reported.or_else(flag).unwrap_or_else(|| given.to_owned())
}

/// As whom the daemon serves, or would.
fn whose(daemon: &Daemon, data_dir: &Path) -> u32 {
    if let Some(process) = &daemon.process {
        return process.uid;
    }
    // By its unit; or where nothing says whose it is to be.
    if let Some(user) = user("saslcertd")
        && (has_unit("saslcertd") || !data_dir.exists())
    {
        return user.uid.as_raw();
    }
    owner::who_serves(data_dir, &daemon.socket).map_or(0, |owner| owner.uid)
}

fn gather_server(facts: Option<&Facts>, daemon: &Daemon) -> Server {
    let process = facts.and_then(|facts| facts.pid).and_then(of_process);
    let configured = match facts {
        Some(Facts {
            user: Some(name), ..
        }) => name.clone(),
        // The user that starts it, and that is root.
        Some(Facts { user: None, .. }) => "root".to_owned(),
        None => "prosody".to_owned(),
    };
    let connected = connected_server(daemon);
    let is_running = process.is_some()
        || connected.is_some()
        || facts.is_some_and(|facts| facts.pidfile.is_none() && is_port_open(facts));
    let who = process.or(connected).or_else(|| of_user(&configured));
    let user = match &who {
        Some(who) => socket_folder::user(who.uid),
        None => configured,
    };
    Server {
        is_running,
        who,
        user,
    }
}

/// The files of authorities that the daemon names, as they look from here.
fn gather_files(daemon: &Daemon) -> authorities::Files {
    let looked = authorities::paths(daemon.status()).into_iter().map(|path| {
        let is_file = fs::metadata(&path).is_ok_and(|found| found.is_file());
        authorities::FileAccess {
            node: node(&path).filter(|_| is_file),
            folders: folders_above(&path),
            path,
        }
    });
    authorities::Files {
        looked: looked.collect(),
        reader: daemon.process.as_ref().and_then(|one| of_process(one.pid)),
    }
}

/// Without a pidfile: somebody listens where Prosody should.
fn is_port_open(facts: &Facts) -> bool {
    facts
        .ports
        .iter()
        .any(|port| TcpStream::connect_timeout(&port.address(), CONNECT_LIMIT).is_ok())
}

fn connected_server(daemon: &Daemon) -> Option<Who> {
    let pid = daemon::connections(daemon).next()?.pid?;
    of_process(pid)
}

/// Where the daemon answers and remembers, and the user who owns both.
struct Home {
    socket: PathBuf,
    data_dir: PathBuf,
    owner: u32,
}

fn gather_commands(
    prosodyctl: &Prosodyctl,
    facts: Option<&Facts>,
    server: &Server,
    home: Home,
) -> Commands {
    let run_folder = facts.and_then(|facts| facts.pidfile.as_deref()?.parent());
    let group = server
        .who
        .as_ref()
        .and_then(|who| who.gids.first().copied());
    Commands {
        prosodyctl: prosodyctl.line(),
        saslcertd: own_name(),
        // Somebody may have started it by hand beside its unit.
        prosody_unit: has_unit("prosody")
            && facts
                .and_then(|facts| facts.pid)
                .is_none_or(|pid| is_of_unit(pid, "prosody")),
        missing_run_folder: run_folder
            .filter(|folder| folder.is_absolute() && !folder.exists())
            .map(Path::to_owned),
        saslcertd_unit: has_unit("saslcertd"),
        socket: home.socket,
        data_dir: home.data_dir,
        owner: (home.owner != 0).then(|| socket_folder::user(home.owner)),
        server_user: server.user.clone(),
        server_group: group.map_or_else(|| server.user.clone(), socket_folder::group),
    }
}

/// The word that runs this very program.
fn own_name() -> String {
    let Ok(program) = std::env::current_exe() else {
        return "saslcertd".to_owned();
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path)
        .map(|folder| folder.join("saslcertd"))
        .find(|found| found.is_file());
    let is_first = first.and_then(|found| found.canonicalize().ok()) == program.canonicalize().ok();
    if is_first {
        "saslcertd".to_owned()
    } else {
        word(&program)
    }
}

/// The longest pause between two tries of the module, and some more.
const HELLO_LIMIT: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(50);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_is_open_where_it_listens() {
        let address = "127.0.0.9";
        let listener = std::net::TcpListener::bind((address, 0)).unwrap();
        let number = listener.local_addr().unwrap().port();
        let facts = |interface: &str| -> Facts {
            let ports = json!([{"port": number, "interfaces": [interface]}]);
            serde_json::from_value(json!({ "ports": ports })).unwrap()
        };
        assert!(is_port_open(&facts(address)));
        assert!(!is_port_open(&facts("127.0.0.8")));
    }
}
