//! Gathers what there is to know of an installation, from prosodyctl, the daemon, the files, the processes and TLS, and has it
//! judged.

use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::statvfs::statvfs;
use nix::unistd::{Gid, Uid, User, getgrouplist};

use super::access::{self, Node, Who};
use super::commands::Commands;
use super::daemon::{self, Daemon, Server};
use super::facts::Facts;
use super::finding::{Finding, Mend, word};
use super::machine::{self, Disk, Machine};
use super::process::Process;
use super::prosody::{self};
use super::prosodyctl::{self, Prosodyctl};
#[cfg(feature = "client")]
use super::tls;
use super::{authorities, releases};
#[cfg(feature = "client")]
use crate::client::{resolve::Route, runtime::runtime};
use crate::daemon::listen_error::{ListenError, Remedy};
use crate::daemon::owner;
use crate::daemon::socket_folder::{self, Tenant};
use crate::protocol::DaemonState;
use crate::protocol::client::{AskError, Asker};
use crate::store::{Store, StoreError, refusal};
use crate::system::places::{DEFAULT_DATA_DIR, DEFAULT_SOCKET};
use crate::system::services::{has_unit, runs_systemd};

/// Which installation is looked at.
#[derive(Debug)]
pub(crate) struct Installation {
    /// The daemon's socket, unless Prosody's configuration names another one.
    pub(crate) socket: PathBuf,
    /// The store's folder; only needed while the daemon doesn't answer.
    pub(crate) data_dir: PathBuf,
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
    daemon.store = look_at_store(&data_dir, tenant.uid);
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
    found.extend(machine::findings(&machine, facts, &commands));
    Ok(found)
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
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let now = crate::identity::UnixSeconds(now);
    Ok(tls::findings(
        facts,
        &seen,
        server.is_running,
        now,
        commands,
    ))
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

fn gather_daemon(given: &Path, facts: Option<&Facts>, data_dir: &Path) -> Daemon {
    let configured = facts
        .map(|facts| facts.socket.as_path())
        .filter(|path| path.is_absolute());
    let socket = configured.unwrap_or(given).to_owned();
    let answer = ask_status(&socket);
    let is_well = matches!(answer, daemon::DaemonAnswer::Status(_));
    let elsewhere = (!is_well && socket != given).then(|| (given.to_owned(), ask_status(given)));
    let (answers_elsewhere, answer) = match elsewhere {
        Some((path, status @ daemon::DaemonAnswer::Status(_))) => (Some(path), status),
        _ => (None, answer),
    };
    let served = answers_elsewhere.as_ref().unwrap_or(&socket);
    Daemon {
        answer,
        process: find_daemon(served, data_dir),
        folders: folders_above(&socket),
        node: node(&socket).filter(|_| is_socket(&socket)),
        store: daemon::StoreFolder::Hidden,
        place: None,
        answers_elsewhere,
        socket,
    }
}

fn status(socket: &Path) -> Result<Box<DaemonState>, AskError> {
    Ok(Box::new(Asker::connect(socket)?.status()?))
}

fn ask_status(socket: &Path) -> daemon::DaemonAnswer {
    // First without a word: of all that can be wrong, these two say what to do.
    match UnixStream::connect(socket).map_err(|error| error.kind()) {
        Err(ErrorKind::NotFound) => return daemon::DaemonAnswer::Missing,
        Err(ErrorKind::ConnectionRefused) => return daemon::DaemonAnswer::Nobody,
        _ => {}
    }
    // A thread that waits for longer ends with the process.
    let (said, answer) = mpsc::channel();
    let asked = socket.to_owned();
    std::thread::spawn(move || said.send(status(&asked)));
    match answer.recv_timeout(STATUS_LIMIT) {
        Ok(Ok(status)) => daemon::DaemonAnswer::Status(status),
        Ok(Err(error)) => daemon::DaemonAnswer::Other(causes(&error)),
        Err(_) => {
            let (shown, seconds) = (socket.display(), STATUS_LIMIT.as_secs());
            daemon::DaemonAnswer::Other(format!(
                "saslcertd at {shown} does not answer within {seconds} s: it is stopped, or its disk is stuck"
            ))
        }
    }
}

/// What keeps Prosody's user from the module, if something does: a folder above it, or its own rights.
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
    let told = daemon.status().map(|status| status.store.path.clone());
    told.unwrap_or_else(|| given.to_owned())
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

fn look_at_store(data_dir: &Path, uid: u32) -> daemon::StoreFolder {
    if matches!(fs::read_dir(data_dir), Err(error) if error.kind() == ErrorKind::PermissionDenied) {
        return daemon::StoreFolder::Hidden;
    }
    let error = match Store::look(data_dir, uid) {
        Ok(()) => {
            // What only opening it can show, the daemon has written down.
            return refusal::last(data_dir).map_or(daemon::StoreFolder::Initialised, |message| {
                let remedy = None;
                daemon::StoreFolder::Closed(daemon::Advice { message, remedy })
            });
        }
        Err(StoreError::Missing { .. }) => return daemon::StoreFolder::Empty,
        Err(error) => error,
    };
    let mut message = causes(&error);
    let remedy = match &error {
        StoreError::ForeignFile { mend, .. } => {
            message = without(&message, &format!("; mend it with: {mend}"));
            Some(Remedy::Run(mend.clone()))
        }
        StoreError::File { source, .. } if source.kind() == ErrorKind::ReadOnlyFilesystem => {
            message += " (a disk with errors becomes so: see dmesg)";
            let mount_point = mount_point(data_dir);
            let line = format!("mount -o remount,rw {}", word(&mount_point));
            Some(Remedy::Run(line))
        }
        _ => None,
    };
    daemon::StoreFolder::Closed(daemon::Advice { message, remedy })
}

/// What the daemon itself says of the socket's place: where it does not serve, whether it could; where it does, whether it should.
fn look_at_place(daemon: &Daemon, tenant: Tenant) -> Option<daemon::Advice> {
    let is_away = matches!(
        daemon.answer,
        daemon::DaemonAnswer::Missing | daemon::DaemonAnswer::Nobody
    );
    let looked = if daemon.answers_elsewhere.is_some() {
        return None;
    } else if is_away && !has_unit("saslcertd") {
        socket_folder::check(&daemon.socket, tenant)
    } else {
        socket_folder::require_vouching(&daemon.socket, tenant)
    };
    let error = looked.err()?;
    let remedy = error.remedy().cloned();
    let mut message = causes(&error);
    if let Some(remedy) = &remedy {
        message = without(&message, &format!("; {remedy}"));
    }
    if matches!(error, ListenError::MissingFolder { .. }) && daemon.socket.starts_with("/run") {
        message += " (/run is empty after a reboot)";
    }
    Some(daemon::Advice { message, remedy })
}

fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    let all: Vec<String> = all.map(ToString::to_string).collect();
    all.join(": ")
}

/// What mends it is told by itself.
fn without(message: &str, end: &str) -> String {
    message.strip_suffix(end).unwrap_or(message).to_owned()
}

/// The folders above a file, from the root down, as far as they are there.
fn folders_above(path: &Path) -> Vec<Node> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    above.into_iter().map_while(node).collect()
}

/// Of what a link leads to: its own mode decides nothing.
fn node(path: &Path) -> Option<Node> {
    let found = fs::metadata(path).ok()?;
    Some(Node {
        path: path.to_owned(),
        mode: found.mode(),
        uid: found.uid(),
        gid: found.gid(),
    })
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// The process that serves at this socket, or holds this store.
fn find_daemon(socket: &Path, data_dir: &Path) -> Option<Process> {
    let entries = fs::read_dir("/proc").ok()?;
    entries.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let words = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> = words
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let program = Path::new(words.first()?).file_name()?;
        let is_serving = program == "saslcertd" && words.iter().any(|word| word == "serve");
        if !is_serving {
            return None;
        }
        let from_environment = || {
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let set = environment
                .split(|byte| *byte == 0)
                .find_map(|set| set.strip_prefix(b"SASLCERTD_SOCKET="))?;
            Some(String::from_utf8_lossy(set).into_owned())
        };
        let flag = |name: &str| flags(&words, name).pop();
        let serves = flag("--socket")
            .or_else(from_environment)
            .unwrap_or_else(|| DEFAULT_SOCKET.to_owned());
        let holds = flag("--data-dir").unwrap_or_else(|| DEFAULT_DATA_DIR.to_owned());
        if Path::new(&serves) != socket && Path::new(&holds) != data_dir {
            return None;
        }
        let mut names = flags(&words, "--server-user");
        if names.is_empty() {
            names.push("prosody".to_owned());
        }
        let server_users = names.into_iter().map(|name| {
            let uid = user(&name)
                .map(|user| user.uid.as_raw())
                .or_else(|| name.parse().ok());
            (name, uid)
        });
        let behind_serve = words.iter().skip_while(|word| *word != "serve").skip(1);
        Some(Process {
            pid,
            uid: fs::metadata(entry.path()).ok()?.uid(),
            server_users: server_users.collect(),
            program: words.first()?.clone(),
            flags: behind_serve
                .filter(|word| !word.is_empty())
                .cloned()
                .collect(),
            is_units: is_of_unit(pid, "saslcertd"),
        })
    })
}

/// The values of a flag on a command line, as `--flag VALUE` or `--flag=VALUE`.
fn flags(words: &[String], name: &str) -> Vec<String> {
    let after = words
        .iter()
        .zip(words.iter().skip(1))
        .filter(|(word, _)| *word == name)
        .map(|(_, value)| value.clone());
    let within = words
        .iter()
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .map(str::to_owned);
    after.chain(within).collect()
}

fn user(name: &str) -> Option<User> {
    match name.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)).ok()?,
        Err(_) => User::from_name(name).ok()?,
    }
}

fn gather_server(facts: Option<&Facts>, daemon: &Daemon) -> Server {
    let process = facts.and_then(|facts| facts.pid).and_then(of_process);
    let configured = match facts {
        Some(Facts {
            user: Some(name), ..
        }) => name.clone(),
        // Whoever starts it, and that is root.
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

/// Has systemd started this process as its service?
fn is_of_unit(pid: i32, name: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.contains(&format!("/{name}.service"))
}

/// As whom a process runs: what the kernel goes by.
fn of_process(pid: i32) -> Option<Who> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let numbers = |label: &str| -> Vec<u32> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(label))
            .unwrap_or_default();
        line.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    // Real, effective, saved, file system.
    let uid = *numbers("Uid:").get(1)?;
    let mut gids: Vec<u32> = numbers("Gid:").get(1).copied().into_iter().collect();
    gids.extend(numbers("Groups:"));
    Some(Who { uid, gids })
}

fn of_user(name: &str) -> Option<Who> {
    let user = user(name)?;
    let groups = CString::new(user.name.as_str())
        .ok()
        .and_then(|name| getgrouplist(&name, user.gid).ok());
    let mut gids = vec![user.gid.as_raw()];
    gids.extend(groups.unwrap_or_default().into_iter().map(Gid::as_raw));
    Some(Who {
        uid: user.uid.as_raw(),
        gids,
    })
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

/// What has to be typed to run this very program.
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

fn gather_machine(data_dir: &Path, daemon: &Daemon, facts: Option<&Facts>) -> Machine {
    let configuration = facts.map(|facts| facts.config_file.clone());
    let written = [
        configuration,
        Some(data_dir.to_owned()),
        Some(data_dir.join("sled/db")),
    ];
    let written = written.into_iter().flatten().filter_map(|path| {
        let time = fs::metadata(&path)
            .and_then(|found| found.modified())
            .ok()?;
        Some((path, time))
    });
    let told = daemon.status().map(|status| status.store.bytes_on_disk);
    // Before there is a store: where it would be.
    let existing = data_dir.ancestors().find(|path| path.exists());
    let disk = existing.and_then(|folder| {
        let disk = statvfs(folder).ok()?;
        Some(Disk {
            mount_point: mount_point(folder),
            free_bytes: disk.blocks_available() * disk.fragment_size(),
            store_bytes: told.unwrap_or_else(|| bytes_below(&data_dir.join("sled"), MAX_DEPTH)),
        })
    });
    Machine {
        now: SystemTime::now(),
        newest: written.max_by_key(|(_, time)| *time),
        disk,
        setter: CLOCK_SETTERS
            .iter()
            .find(|line| {
                let program = line.split(' ').next().unwrap_or_default();
                (program != "timedatectl" || runs_systemd()) && is_in_path(program)
            })
            .map(|line| (*line).to_owned()),
    }
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn mount_point(folder: &Path) -> PathBuf {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_point_among(&mounts, &folder)
}

/// By its name: a part of a file system that is mounted elsewhere, too, has the same device.
fn mount_point_among(mounts: &str, folder: &Path) -> PathBuf {
    // proc(5): the fifth field, with some characters in octal.
    let points = mounts.lines().filter_map(|line| {
        let mut point = line.split(' ').nth(4)?.to_owned();
        for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\134", "\\")] {
            point = point.replace(escape, plain);
        }
        Some(PathBuf::from(point))
    });
    let above = points.filter(|point| folder.starts_with(point));
    above
        .max_by_key(|point| point.components().count())
        .unwrap_or_else(|| folder.to_owned())
}

fn bytes_below(folder: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() && depth > 0 => bytes_below(&entry.path(), depth - 1),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// What sets the clock, best first.
const CLOCK_SETTERS: [&str; 3] = [
    "timedatectl set-ntp true",
    "chronyd -q 'pool pool.ntp.org iburst'",
    "ntpd -gq",
];
/// The status of a large store takes milliseconds.
const STATUS_LIMIT: Duration = Duration::from_secs(10);
/// The longest pause between two tries of the module, and some more.
const HELLO_LIMIT: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(50);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const MAX_DEPTH: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn flags_are_read_in_both_forms() {
        let words: Vec<String> = [
            "saslcertd",
            "serve",
            "--server-user",
            "a",
            "--server-user=b",
            "--socket=/s",
        ]
        .map(str::to_owned)
        .to_vec();
        assert_eq!(flags(&words, "--server-user"), ["a", "b"]);
        assert_eq!(flags(&words, "--socket"), ["/s"]);
        assert!(flags(&words, "--data-dir").is_empty());
    }

    #[test]
    fn the_kernel_knows_as_whom_a_process_runs() {
        let own = of_process(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!(own.uid, Uid::effective().as_raw());
        assert_eq!(own.gids.first(), Some(&Gid::effective().as_raw()));
        assert_eq!(of_process(-1), None);
    }

    #[test]
    fn the_nearest_mount_point_counts() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/a rw\n23 22 8:1 /b /var/lib/a\\040b ro - ext4 /dev/a rw\n\
                      24 22 8:2 / /var rw - ext4 /dev/b rw\n";
        for (folder, expected) in [
            ("/var/lib/a b/c", "/var/lib/a b"),
            ("/var/lib/a", "/var"),
            ("/srv", "/"),
        ] {
            let found = mount_point_among(mounts, Path::new(folder));
            assert_eq!(found, Path::new(expected));
        }
    }

    #[test]
    fn a_user_brings_its_groups() {
        assert_eq!(of_user("root").unwrap().gids.first(), Some(&0));
        assert_eq!(of_user("nobody of that name"), None);
    }

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

    #[test]
    fn an_empty_folder_is_no_store() {
        let folder = tempfile::tempdir().unwrap();
        let own = Uid::effective().as_raw();
        let look = |folder: &Path| look_at_store(folder, own);
        assert_eq!(look(folder.path()), daemon::StoreFolder::Empty);
        assert_eq!(
            look(&folder.path().join("nowhere")),
            daemon::StoreFolder::Empty
        );
        Store::create(folder.path()).unwrap();
        assert_eq!(look(folder.path()), daemon::StoreFolder::Initialised);
    }
}
