//! Looks for running processes: that of a daemon, and the user and groups that a process acts as.
//!
//! Must not know: who may do what.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, getgrouplist};

use super::super::access::Who;
use super::super::process::Process;
use crate::system::places::{DEFAULT_DATA_DIR, DEFAULT_SOCKET};

/// The process that serves at this socket, or holds this store.
pub(super) fn find_daemon(socket: &Path, data_dir: &Path) -> Option<Process> {
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
pub(super) fn flags(words: &[String], name: &str) -> Vec<String> {
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

pub(super) fn user(name: &str) -> Option<User> {
    match name.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)).ok()?,
        Err(_) => User::from_name(name).ok()?,
    }
}

/// Has systemd started this process as its service?
pub(super) fn is_of_unit(pid: i32, name: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.contains(&format!("/{name}.service"))
}

/// As whom a process runs: what the kernel goes by.
pub(super) fn of_process(pid: i32) -> Option<Who> {
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

pub(super) fn of_user(name: &str) -> Option<Who> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
    fn a_user_brings_its_groups() {
        assert_eq!(of_user("root").unwrap().gids.first(), Some(&0));
        assert_eq!(of_user("nobody of that name"), None);
    }
}
