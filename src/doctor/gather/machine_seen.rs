//! The machine: its clock, and the disk that the store is on.
//!
//! Must not know: what is well.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use nix::sys::statvfs::statvfs;

use super::super::daemon::Daemon;
use super::super::facts::Facts;
use super::super::machine::{Disk, Machine};
use super::files::{bytes_below, mount_point};
use crate::system::services::runs_systemd;

pub(super) fn gather_machine(data_dir: &Path, daemon: &Daemon, facts: Option<&Facts>) -> Machine {
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
    let reported = daemon.status().map(|status| status.store.bytes_on_disk);
    // Before there is a store: where it would be.
    let existing = data_dir.ancestors().find(|path| path.exists());
    let disk = existing.and_then(|folder| {
        let disk = statvfs(folder).ok()?;
        Some(Disk {
            mount_point: mount_point(folder),
            free_bytes: disk.blocks_available() * disk.fragment_size(),
            store_bytes: reported.unwrap_or_else(|| bytes_below(&data_dir.join("sled"), MAX_DEPTH)),
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

/// The services that set the clock, best first.
const CLOCK_SETTERS: [&str; 3] = [
    "timedatectl set-ntp true",
    "chronyd -q 'pool pool.ntp.org iburst'",
    "ntpd -gq",
];

const MAX_DEPTH: usize = 4;
