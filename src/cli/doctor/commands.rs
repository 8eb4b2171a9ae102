//! The commands that doctor prints: as they have to be typed on this machine.

use std::path::{Path, PathBuf};

use super::super::serve::DEFAULT_DATA_DIR;
use super::finding::word;

/// What the commands of this installation look like.
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

    /// Ends the process and starts the daemon anew.
    pub(super) fn restart_daemon(&self, pid: i32) -> String {
        if self.saslcertd_unit {
            return "systemctl restart saslcertd".to_owned();
        }
        self.replace_daemon(pid)
    }

    /// Ends the process and starts the daemon so that it talks to Prosody's user.
    pub(super) fn introduce_server(&self, pid: i32) -> String {
        if self.saslcertd_unit {
            let user = &self.server_user;
            return format!(
                "systemctl edit --full saslcertd   # --server-user {user} in ExecStart; then: systemctl restart saslcertd"
            );
        }
        self.replace_daemon(pid)
    }

    fn replace_daemon(&self, pid: i32) -> String {
        // Only when it is gone is its store free. One that is stopped can't end.
        format!(
            "kill {pid}; kill -CONT {pid}; tail --pid={pid} -f /dev/null; {}",
            self.serve()
        )
    }

    /// Starts the daemon by hand, so that `server_user` may talk to it.
    fn serve(&self) -> String {
        let mut line = format!("{}{} serve", self.as_owner(), self.saslcertd);
        line += &self.data_dir_flag();
        if self.socket != Path::new(DEFAULT_SOCKET) {
            line.push_str(" --socket ");
            line.push_str(&word(&self.socket));
        }
        if self.server_user != "prosody" {
            line.push_str(" --server-user ");
            line.push_str(&self.server_user);
        }
        line
    }

    pub(super) fn init(&self) -> String {
        let make = match &self.owner {
            Some(owner) if !self.data_dir.exists() => {
                format!("install -d -m 700 -o {owner} {} && ", word(&self.data_dir))
            }
            _ => String::new(),
        };
        let (owner, saslcertd) = (self.as_owner(), &self.saslcertd);
        format!("{make}{owner}{saslcertd} init{}", self.data_dir_flag())
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

    /// With Prosody's group, so that the daemon may give its socket to it.
    fn as_owner(&self) -> String {
        match &self.owner {
            None => String::new(),
            Some(owner) => format!(
                "setpriv --reuid {owner} --regid {} --clear-groups ",
                self.server_group
            ),
        }
    }

    fn data_dir_flag(&self) -> String {
        if self.data_dir == Path::new(DEFAULT_DATA_DIR) {
            String::new()
        } else {
            format!(" --data-dir {}", word(&self.data_dir))
        }
    }
}

pub(super) const DEFAULT_SOCKET: &str = "/run/saslcertd/saslcertd.sock";

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
        let expected = "setpriv --reuid saslcertd --regid prosody --clear-groups saslcertd serve";
        assert!(include_str!("../../../docs/operations.md").contains(expected));
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
