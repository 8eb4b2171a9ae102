//! Makes the command lines that doctor prints, as they have to be typed on this machine.
//!
//! Must not know: which finding a command mends.

use std::path::{Path, PathBuf};

use super::facts::{Facts, HostFacts};
use super::finding::{ConfigChange, ConfigEdit, Mend, word};
use super::process::Process;
use crate::system::places::{DEFAULT_DATA_DIR, DEFAULT_SOCKET};

/// The forms of the commands of this installation.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    /// How to call prosodyctl, with its flags.
    pub(super) prosodyctl: String,
    /// How to call this program.
    pub(super) saslcertd: String,
    /// systemd runs Prosody.
    pub(super) prosody_unit: bool,
    /// Where Prosody's pidfile belongs, if there is no such folder: /run is empty after a reboot.
    pub(super) missing_run_folder: Option<PathBuf>,
    /// systemd runs the daemon.
    pub(super) saslcertd_unit: bool,
    pub(super) socket: PathBuf,
    pub(super) data_dir: PathBuf,
    /// The user whom the store belongs to or shall belong to; none for root.
    pub(super) owner: Option<String>,
    /// Prosody's user, by name or number.
    pub(super) server_user: String,
    /// Prosody's group, by name or number.
    pub(super) server_group: String,
}

impl Commands {
    /// The remedy for a module that a host lacks: it is forbidden, or nowhere named.
    pub(super) fn enabling(
        &self,
        facts: &Facts,
        module: &str,
        host: Option<&HostFacts>,
    ) -> ConfigEdit {
        let lists = |modules: &[String]| modules.iter().any(|name| name == module);
        let section = host
            .filter(|host| lists(&host.modules_disabled_here))
            .map(|host| host.name.as_str());
        let is_forbidden = section.is_some() || lists(&facts.modules_disabled);
        let (within, change) = if is_forbidden {
            (
                "modules_disabled",
                ConfigChange::Remove(format!("\"{module}\"")),
            )
        } else {
            (
                "modules_enabled",
                ConfigChange::Add(format!("\"{module}\";")),
            )
        };
        ConfigEdit {
            file: facts.file_of(section),
            host: section.map(str::to_owned),
            within: Some(within.to_owned()),
            change,
            then: self.restart_prosody(),
        }
    }

    pub(super) fn restart_prosody(&self) -> String {
        if self.prosody_unit {
            return "systemctl restart prosody".to_owned();
        }
        // COMPAT: `restart --force` of Prosody 13.0 stops at its own warning.
        let (stop, start) = (self.prosodyctl("stop"), self.prosodyctl("start"));
        format!("{stop}; {start}")
    }

    pub(super) fn reload_prosody(&self) -> String {
        if self.prosody_unit {
            return "systemctl reload prosody".to_owned();
        }
        self.prosodyctl("reload")
    }

    pub(super) fn start_prosody(&self) -> String {
        if self.prosody_unit {
            return "systemctl start prosody".to_owned();
        }
        let start = self.prosodyctl("start");
        match &self.missing_run_folder {
            None => start,
            Some(folder) => format!(
                "install -d -m 755 -o {} -g {} {} && {start}",
                self.server_user,
                self.server_group,
                word(folder)
            ),
        }
    }

    /// With force, since Debian's Prosody 13.0 refuses where it sees systemd installed, running or not.
    fn prosodyctl(&self, verb: &str) -> String {
        format!("{} {verb} --force", self.prosodyctl)
    }

    pub(super) fn start_daemon(&self) -> String {
        if self.saslcertd_unit {
            return "systemctl start saslcertd".to_owned();
        }
        self.serve()
    }

    /// Ends the process and starts the daemon anew, as it was started.
    pub(super) fn restart_daemon(&self, process: &Process) -> String {
        if self.saslcertd_unit && process.is_units {
            return "systemctl restart saslcertd".to_owned();
        }
        if self.saslcertd_unit {
            return format!("{}; systemctl start saslcertd", ending(process.pid));
        }
        self.replace_daemon(process, &[("--socket", self.socket_flag())])
    }

    /// Ends the process and starts the daemon so that it talks to Prosody's user.
    pub(super) fn introduce_server(&self, process: &Process) -> String {
        // The socket is given to the group of the first.
        let mut names = vec![self.server_user.clone()];
        let others = process.server_users.iter().filter(|(_, uid)| uid.is_some());
        names.extend(others.map(|(name, _)| name.clone()));
        if !(self.saslcertd_unit && process.is_units) {
            let socket = ("--socket", self.socket_flag());
            return self.replace_daemon(process, &[("--server-user", names), socket]);
        }
        let flags = replaced(&process.flags, "--server-user", &names);
        let line = [process.program.clone(), "serve".to_owned()];
        let line: Vec<String> = line.into_iter().chain(flags).collect();
        format!(
            "mkdir -p {UNIT}.service.d && printf '[Service]\\nExecStart=\\nExecStart=%s\\n' '{}' \
             >{UNIT}.service.d/zz-server-user.conf && systemctl daemon-reload && systemctl restart saslcertd",
            line.join(" ")
        )
    }

    /// Moves the socket to a folder of its own: in Prosody's configuration, and where the daemon listens.
    pub(super) fn move_socket(
        &self,
        facts: Option<&Facts>,
        is_prosody_running: bool,
        process: Option<&Process>,
    ) -> Mend {
        let there = || vec![DEFAULT_SOCKET.to_owned()];
        let unit = format!(
            "mkdir -p {UNIT}.socket.d && printf '[Socket]\\nListenStream=\\nListenStream={DEFAULT_SOCKET}\\n' \
             >{UNIT}.socket.d/zz-place.conf && systemctl daemon-reload && systemctl stop saslcertd.service && \
             systemctl restart saslcertd.socket && systemctl start saslcertd.service"
        );
        let daemon = match process {
            Some(process) if self.saslcertd_unit && process.is_units => Some(unit),
            Some(process) => {
                let folder = Path::new(DEFAULT_SOCKET).parent().unwrap_or(Path::new("/"));
                let make = self.make_folder(folder);
                let replace = self.replace_daemon(process, &[("--socket", there())]);
                Some(format!("{make}; {replace}"))
            }
            None if self.saslcertd_unit => Some(unit),
            None => None,
        };
        let Some(facts) = facts else {
            return Mend::Run(daemon.unwrap_or_else(|| self.serve_at(Path::new(DEFAULT_SOCKET))));
        };
        let prosody = if is_prosody_running {
            self.reload_prosody()
        } else {
            self.start_prosody()
        };
        // Last what may stay in the foreground.
        let then = [Some(prosody), daemon].into_iter().flatten();
        Mend::Edit(ConfigEdit {
            file: facts.config_file.clone(),
            host: None,
            within: None,
            change: ConfigChange::Add(format!("saslcertd_socket = \"{DEFAULT_SOCKET}\"")),
            then: then.collect::<Vec<_>>().join("; "),
        })
    }

    fn replace_daemon(&self, process: &Process, flags: &[(&str, Vec<String>)]) -> String {
        let mut words = process.flags.clone();
        for (name, values) in flags {
            words = replaced(&words, name, values);
        }
        let words: Vec<String> = words.iter().map(|flag| word(Path::new(flag))).collect();
        let serve = [&[self.saslcertd.clone(), "serve".to_owned()][..], &words].concat();
        format!("{}; {}", ending(process.pid), serve.join(" "))
    }

    /// Starts the daemon by hand, so that `server_user` may talk to it: root, who serves as the owner of the store.
    fn serve(&self) -> String {
        self.serve_at(&self.socket)
    }

    fn serve_at(&self, socket: &Path) -> String {
        let mut line = format!("{} serve", self.saslcertd);
        line += &self.data_dir_flag();
        if socket != Path::new(DEFAULT_SOCKET) {
            line.push_str(" --socket ");
            line.push_str(&word(socket));
        }
        if self.server_user != "prosody" {
            line.push_str(" --server-user ");
            line.push_str(&self.server_user);
        }
        line
    }

    /// None where it is the usual one.
    fn socket_flag(&self) -> Vec<String> {
        let is_usual = self.socket == Path::new(DEFAULT_SOCKET);
        let socket = (!is_usual).then(|| self.socket.display().to_string());
        socket.into_iter().collect()
    }

    pub(super) fn init(&self) -> String {
        let make = match &self.owner {
            Some(owner) if !self.data_dir.exists() => {
                format!("install -d -m 700 -o {owner} {} && ", word(&self.data_dir))
            }
            _ => String::new(),
        };
        format!("{make}{} init{}", self.saslcertd, self.data_dir_flag())
    }

    /// Makes the socket's folder, as after a reboot.
    pub(super) fn make_folder(&self, folder: &Path) -> String {
        let owner = self.owner.as_deref().unwrap_or("root");
        format!(
            "install -d -m 750 -o {owner} -g {} {}",
            self.server_group,
            word(folder)
        )
    }

    fn data_dir_flag(&self) -> String {
        if self.data_dir == Path::new(DEFAULT_DATA_DIR) {
            String::new()
        } else {
            format!(" --data-dir {}", word(&self.data_dir))
        }
    }
}

/// Only when the process is gone is its store free. One that is stopped can't end.
fn ending(pid: i32) -> String {
    format!("kill {pid}; kill -CONT {pid}; tail --pid={pid} -f /dev/null")
}

/// A command line's flags with these values of one of them, in the place of those that it had.
fn replaced(flags: &[String], name: &str, values: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut is_value = false;
    for flag in flags {
        let is_other = !is_value && flag != name && !is_set(flag, name);
        is_value = !is_value && flag == name;
        if is_other {
            kept.push(flag.clone());
        }
    }
    let added = values
        .iter()
        .flat_map(|value| [name.to_owned(), value.clone()]);
    kept.into_iter().chain(added).collect()
}

/// `--name=value`
fn is_set(flag: &str, name: &str) -> bool {
    flag.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with('='))
}

const UNIT: &str = "/etc/systemd/system/saslcertd";

/// The commands of an installation by hand, as docs/operations.md has it.
#[cfg(test)]
pub(super) fn usual() -> Commands {
    Commands {
        prosodyctl: "prosodyctl".to_owned(),
        saslcertd: "saslcertd".to_owned(),
        prosody_unit: true,
        missing_run_folder: None,
        saslcertd_unit: false,
        socket: PathBuf::from(DEFAULT_SOCKET),
        data_dir: PathBuf::from(DEFAULT_DATA_DIR),
        owner: Some("saslcertd".to_owned()),
        server_user: "prosody".to_owned(),
        server_group: "prosody".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_started_as_the_page_says() {
        let expected = "saslcertd serve";
        let page = include_str!("../../docs/operations.md");
        let lines = page.lines().filter(|line| line.starts_with("    "));
        let started: Vec<&str> = lines
            .map(str::trim)
            .filter(|line| line.contains("saslcertd serve") && !line.starts_with("ExecStart="))
            .collect();
        let other = "saslcertd serve --server-user ejabberd";
        // For one start of a store that lost something.
        let once = "saslcertd serve --accept-rollback";
        assert_eq!(started, [once, other, "exec saslcertd serve", expected]);
        assert!(
            include_str!("../../systemd/install").contains("next=\"$prefix/bin/saslcertd serve\"")
        );
        assert_eq!(usual().start_daemon(), expected);
        let unit = Commands {
            saslcertd_unit: true,
            ..usual()
        };
        assert_eq!(unit.start_daemon(), "systemctl start saslcertd");
    }

    #[test]
    fn what_differs_from_the_defaults_is_named() {
        let commands = Commands {
            socket: PathBuf::from("/s"),
            data_dir: PathBuf::from("/d"),
            owner: None,
            server_user: "xmpp".to_owned(),
            prosody_unit: false,
            ..usual()
        };
        assert_eq!(
            commands.start_daemon(),
            "saslcertd serve --data-dir /d --socket /s --server-user xmpp"
        );
        assert_eq!(commands.init(), "saslcertd init --data-dir /d");
    }

    fn running(flags: &[&str], is_units: bool) -> Process {
        Process {
            pid: 7,
            uid: 111,
            server_users: vec![("prosody".to_owned(), Some(110)), ("gone".to_owned(), None)],
            program: "/usr/bin/saslcertd".to_owned(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            is_units,
        }
    }

    #[test]
    fn a_daemon_is_started_anew_as_it_was_started() {
        let end = "kill 7; kill -CONT 7; tail --pid=7 -f /dev/null; ";
        let flags = [
            "--admin-user",
            "x y",
            "--server-user=prosody",
            "--socket",
            "/s",
        ];
        let unit = |saslcertd_unit| Commands {
            saslcertd_unit,
            server_user: "xmpp".to_owned(),
            ..usual()
        };
        let cases = [
            (unit(true), true, "systemctl restart saslcertd".to_owned()),
            // Somebody's, which has the socket: the unit's can't start before it is gone.
            (unit(true), false, format!("{end}systemctl start saslcertd")),
            (
                unit(false),
                false,
                format!("{end}saslcertd serve --admin-user 'x y' --server-user=prosody"),
            ),
        ];
        for (commands, is_units, expected) in cases {
            assert_eq!(
                commands.restart_daemon(&running(&flags, is_units)),
                expected
            );
        }
        assert_eq!(
            unit(false).introduce_server(&running(&flags, false)),
            format!(
                "{end}saslcertd serve --admin-user 'x y' --server-user xmpp --server-user prosody"
            )
        );
        let by_unit = unit(true).introduce_server(&running(&["--server-user=prosody"], true));
        let line = "'/usr/bin/saslcertd serve --server-user xmpp --server-user prosody' >/etc/systemd/system/saslcertd.service.d/";
        assert!(by_unit.contains(line), "{by_unit}");
    }

    #[test]
    fn a_socket_moves_in_prosodys_configuration_and_where_the_daemon_listens() {
        let facts = Facts::default();
        let told = |commands: &Commands, process: Option<&Process>| {
            let Mend::Edit(edit) = commands.move_socket(Some(&facts), true, process) else {
                unreachable!()
            };
            let line = "saslcertd_socket = \"/run/saslcertd/saslcertd.sock\"";
            assert_eq!(edit.change, ConfigChange::Add(line.to_owned()));
            edit.then
        };
        let reload = "systemctl reload prosody";
        assert_eq!(told(&usual(), None), reload);
        let flags = ["--socket", "/tmp/s", "--data-dir", "/d"];
        let end = "kill 7; kill -CONT 7; tail --pid=7 -f /dev/null; ";
        assert_eq!(
            told(&usual(), Some(&running(&flags, false))),
            format!(
                "{reload}; install -d -m 750 -o saslcertd -g prosody /run/saslcertd; {end}saslcertd serve --data-dir /d \
                 --socket /run/saslcertd/saslcertd.sock"
            )
        );
        let unit = Commands {
            saslcertd_unit: true,
            ..usual()
        };
        let by_unit = told(&unit, Some(&running(&flags, true)));
        assert!(
            by_unit.contains("saslcertd.socket.d/") && by_unit.contains("ListenStream=\\n"),
            "{by_unit}"
        );
    }

    #[test]
    fn prosody_is_started_anew_by_systemd_or_in_spite_of_prosodyctls_warning() {
        let told = |commands: Commands| {
            [
                commands.start_prosody(),
                commands.reload_prosody(),
                commands.restart_prosody(),
            ]
        };
        let unit = ["start", "reload", "restart"].map(|verb| format!("systemctl {verb} prosody"));
        assert_eq!(told(usual()), unit);
        let by_hand = Commands {
            prosodyctl: "prosodyctl --config /c".to_owned(),
            prosody_unit: false,
            ..usual()
        };
        let expected = [
            "prosodyctl --config /c start --force",
            "prosodyctl --config /c reload --force",
            "prosodyctl --config /c stop --force; prosodyctl --config /c start --force",
        ];
        assert_eq!(told(by_hand), expected);
    }
}
