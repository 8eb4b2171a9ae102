//! The machine under both: its clock, its disk, and how the network treats small packets.
//!
//! Must not know: how anything is measured.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use super::commands::Commands;
use super::facts::Facts;
use super::finding::{ConfigChange, ConfigEdit, Finding, Mend, word};
use crate::policy::access::{is_nearly_full, reserve_bytes};

/// The measurements.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) now: SystemTime,
    /// The newest file that was written before now, and when the clock said that was.
    pub(super) newest: Option<(PathBuf, SystemTime)>,
    /// The disk with the store; none if it can't be asked.
    pub(super) disk: Option<Disk>,
    /// The line that sets the clock on this machine, if something is installed that does.
    pub(super) setter: Option<String>,
}

/// A file system.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) mount_point: PathBuf,
    pub(super) free_bytes: u64,
    /// The store's part of it.
    pub(super) store_bytes: u64,
}

pub(super) fn findings(
    machine: &Machine,
    facts: Option<&Facts>,
    commands: &Commands,
) -> Vec<Finding> {
    vec![
        clock(machine),
        disk(machine.disk.as_ref(), commands),
        nagle(facts, commands),
    ]
}

/// A clock that stands before what has happened already makes valid certificates invalid, or expired ones valid.
fn clock(machine: &Machine) -> Finding {
    match &machine.newest {
        Some((path, written)) if *written > machine.now + CLOCK_SLACK => Finding::problem(
            "clock",
            format!(
                "the clock stands before the last change of {}",
                path.display()
            ),
            Mend::Run(match &machine.setter {
                Some(line) => line.clone(),
                None => at_least(*written),
            }),
        ),
        Some(_) => Finding::ok(
            "clock",
            "the clock stands after the last change of the configuration and the store",
        ),
        None => Finding::not_checked("clock", "there is no file to compare it with"),
    }
}

/// Sets the clock by hand, to what it is at least.
fn at_least(written: SystemTime) -> String {
    let time = OffsetDateTime::from(written);
    let (date, hour, minute) = (time.date(), time.hour(), time.minute() + 1);
    // The minute after: 60 is one that `date` refuses.
    let minute = minute.min(59);
    format!("date -u -s '{date} {hour:02}:{minute:02}:59'   # at least; better what a clock says")
}

fn disk(disk: Option<&Disk>, commands: &Commands) -> Finding {
    let Some(disk) = disk else {
        return Finding::not_checked(
            "disk",
            format!("{} can't be asked", commands.data_dir.display()),
        );
    };
    let reserve = reserve_bytes(disk.store_bytes);
    let at = disk.mount_point.display();
    let mib = |bytes: u64| bytes >> 20;
    let largest = || {
        Mend::Run(format!(
            "du -xah {} | sort -h | tail -n 20   # and remove what isn't needed",
            word(&disk.mount_point)
        ))
    };
    if is_nearly_full(disk.free_bytes, disk.store_bytes) {
        let message = format!(
            "{at} has {} MiB left: below {} MiB nothing is added to the store any more",
            mib(disk.free_bytes),
            mib(reserve)
        );
        Finding::problem("disk", message, largest())
    } else if disk.free_bytes < reserve.saturating_mul(2) {
        let message = format!(
            "{at} has {} MiB left; at {} MiB additions stop",
            mib(disk.free_bytes),
            mib(reserve)
        );
        Finding::warning("disk", message, largest())
    } else {
        Finding::ok(
            "disk",
            format!("{at} has {} MiB left", mib(disk.free_bytes)),
        )
    }
}

/// With Nagle's algorithm the small answers of a login wait for the client's delayed acknowledgement.
fn nagle(facts: Option<&Facts>, commands: &Commands) -> Finding {
    let Some(facts) = facts else {
        return Finding::not_checked("nagle", "only prosodyctl knows");
    };
    if facts.backend != "epoll" {
        return Finding::not_checked("nagle", format!("network_backend is {}", facts.backend));
    }
    if !facts.nagle {
        return Finding::ok("nagle", "small packets are sent at once");
    }
    let (within, line) = if facts.network_settings {
        (Some("network_settings".to_owned()), "nagle = false;")
    } else {
        (None, "network_settings = { nagle = false }")
    };
    // As every Prosody is installed; nothing is wrong with it.
    Finding::better(
        "nagle",
        "Prosody lets small packets wait (Nagle): each login takes 40 ms longer than it must",
        Mend::Edit(ConfigEdit {
            file: facts.config_file.clone(),
            host: None,
            within,
            change: ConfigChange::Add(line.to_owned()),
            then: commands.restart_prosody(),
        }),
    )
}

const CLOCK_SLACK: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::commands::usual;
    use super::super::finding::Level;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn level_of_disk(free_mib: u64, store_mib: u64) -> Level {
        let found = Disk {
            mount_point: PathBuf::from("/var"),
            free_bytes: free_mib * MIB,
            store_bytes: store_mib * MIB,
        };
        disk(Some(&found), &usual()).level
    }

    #[test]
    fn the_disk_is_judged_by_the_daemons_own_reserve() {
        let cases = [
            (63, 0, Level::Problem),
            (64, 0, Level::Warning),
            (127, 0, Level::Warning),
            (128, 0, Level::Ok),
            (199, 2000, Level::Problem),
            (399, 2000, Level::Warning),
            (400, 2000, Level::Ok),
        ];
        for (free, store, expected) in cases {
            assert_eq!(
                level_of_disk(free, store),
                expected,
                "{free} MiB free, {store} MiB store"
            );
        }
        assert_eq!(disk(None, &usual()).level, Level::NotChecked);
    }

    #[test]
    fn a_clock_before_what_has_happened_is_wrong() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let machine = |written| Machine {
            now,
            newest: written,
            disk: None,
            setter: None,
        };
        let at = |time| Some((PathBuf::from("/f"), time));
        let cases = [
            (at(now - Duration::from_hours(1)), Level::Ok),
            (at(now + Duration::from_mins(1)), Level::Ok),
            (at(now + Duration::from_secs(61)), Level::Problem),
            (None, Level::NotChecked),
        ];
        for (newest, expected) in cases {
            assert_eq!(
                clock(&machine(newest.clone())).level,
                expected,
                "{newest:?}"
            );
        }
    }

    #[test]
    fn waiting_packets_are_no_fault_and_the_line_that_ends_it_is_told() {
        let facts = |nagle, network_settings| Facts {
            backend: "epoll".to_owned(),
            nagle,
            network_settings,
            ..Facts::default()
        };
        assert_eq!(nagle(Some(&facts(false, true)), &usual()).level, Level::Ok);
        for (is_set, within, line) in [
            (false, None, "network_settings = { nagle = false }"),
            (true, Some("network_settings"), "nagle = false;"),
        ] {
            let found = nagle(Some(&facts(true, is_set)), &usual());
            assert_eq!(found.level, Level::Ok);
            let Some(Mend::Edit(edit)) = found.mend else {
                unreachable!()
            };
            assert_eq!(
                (edit.within.as_deref(), edit.change),
                (within, ConfigChange::Add(line.to_owned()))
            );
        }
        let select = Facts {
            backend: "select".to_owned(),
            nagle: true,
            ..Facts::default()
        };
        assert_eq!(nagle(Some(&select), &usual()).level, Level::NotChecked);
    }
}
