//! `saslcertd status`: prints the state of the daemon, for people or as JSON.
//!
//! Must not know: where the state comes from in the daemon.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::global::Global;
use super::say::{say, say_json};
use crate::identity::visible::visible;
use crate::identity::{UnixSeconds, counted};
use crate::protocol::client::Asker;
use crate::protocol::{
    AcceptedLoss, ConnectionState, DaemonState, EndedCheck, FileState, HostState, SharedState,
    StandbyState, StoreState,
};

pub(super) fn run(global: &Global) -> anyhow::Result<ExitCode> {
    let status = Asker::connect(&global.socket)?.status()?;
    if global.json {
        say_json(&for_programs(&status).to_string())?;
    } else {
        say(for_people(&status).trim_end())?;
    }
    Ok(if status.healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whole: it has no pages.
fn for_programs(status: &DaemonState) -> Value {
    let mut whole = json!(status);
    if let Some(whole) = whole.as_object_mut() {
        whole.remove("next");
    }
    whole
}

// Proof, of all that is written below: writing to a String never fails.

fn for_people(status: &DaemonState) -> String {
    let uptime = status.uptime_seconds;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "saslcertd {} (protocol {}), up {} d {:02}:{:02}:{:02}",
        visible(&status.version),
        status.protocol,
        uptime / 86_400,
        uptime / 3600 % 24,
        uptime / 60 % 60,
        uptime % 60,
    );
    store(&mut out, &status.store);
    for connection in &status.connections {
        connected(&mut out, connection);
    }
    for host in &status.hosts {
        declared(&mut out, host);
    }
    out
}

fn store(out: &mut String, store: &StoreState) {
    let path = store.path.to_string_lossy();
    let path = visible(&path);
    let _ = writeln!(
        out,
        "store: {path}, {} of {}, {}, {} KiB",
        counted(store.certificates, "certificate", "certificates"),
        counted(store.accounts, "account", "accounts"),
        counted(store.revoked_keys, "revoked key", "revoked keys"),
        store.bytes_on_disk / 1024,
    );
    if let Some(shared) = &store.shared {
        sharing(out, shared);
    }
    if store.corrupt_reads > 0 {
        let _ = writeln!(
            out,
            "PROBLEM: {} found damaged records; restore the store from a backup",
            counted(store.corrupt_reads, "read", "reads")
        );
    }
    checked(out, store.check.as_ref());
    if let Some(loss) = &store.accepted_loss {
        accepted(out, loss);
    }
    if let Some(problem) = &store.sequence_problem {
        let _ = writeln!(
            out,
            "PROBLEM: {path}/SEQUENCE cannot be written ({}); no change is lost, but look after the disk",
            visible(problem)
        );
    }
    if store.disk_nearly_full {
        let _ = writeln!(
            out,
            "PROBLEM: the disk is nearly full; nothing is added until there is room"
        );
    }
}

fn sharing(out: &mut String, shared: &SharedState) {
    for daemon in &shared.daemons {
        let _ = writeln!(out, "daemon: {}", daemon.in_words().in_one_line());
    }
    let StandbyState {
        names,
        there,
        problem,
    } = &shared.standbys;
    let _ = match (problem, there) {
        (Some(problem), _) => writeln!(out, "WARNING: {}", visible(problem)),
        (None, Some(there)) if !names.is_empty() => writeln!(
            out,
            "store: each change is with a standby before it is answered ({}; {} of them there)",
            visible(names),
            there
        ),
        (None, _) => Ok(()),
    };
}

fn checked(out: &mut String, check: Option<&EndedCheck>) {
    let Some(check) = check else {
        *out += "store: not checked yet since the start\n";
        return;
    };
    let at = moment(check.at);
    if check.whole {
        let _ = writeln!(out, "store: checked on {at}, and whole");
    }
    for table in &check.tables {
        if let Some(problem) = &table.problem {
            let _ = writeln!(
                out,
                "PROBLEM: the store is damaged ({}: {}; checked on {at}); restore it from a backup",
                visible(&table.table),
                visible(problem),
            );
        }
    }
}

fn accepted(out: &mut String, loss: &AcceptedLoss) {
    let mut missing = Vec::new();
    if loss.changes > 0 {
        let changes = counted(loss.changes, "change", "changes");
        missing.push(format!("its last {changes}"));
    }
    if !loss.tables.is_empty() {
        missing.push(format!("rows of {}", loss.tables.join(", ")));
    }
    let (missing, at) = (missing.join(" and "), moment(loss.at));
    let _ = if loss.new {
        writeln!(
            out,
            "PROBLEM: the store is served without {missing} (accepted on {at}); make again what was revoked since, and start it \
             without --accept-rollback"
        )
    } else {
        writeln!(
            out,
            "store: since {at} without {missing}, as was accepted then"
        )
    };
}

fn connected(out: &mut String, connection: &ConnectionState) {
    let software = connection.software.as_deref();
    let pid = connection.pid.map(|pid| pid.to_string());
    let _ = writeln!(
        out,
        "connection: {} (user {}, process {}, {}), {}{}",
        software.map_or("-".into(), visible),
        connection.uid,
        pid.as_deref().unwrap_or("-"),
        connection.role.name(),
        counted(
            connection.sessions,
            "certificate session",
            "certificate sessions"
        ),
        connection.waits_ms.map_or_else(String::new, waits),
    );
}

fn waits(milliseconds: u32) -> String {
    format!(", waits for {} s at most", f64::from(milliseconds) / 1000.0)
}

fn declared(out: &mut String, host: &HostState) {
    let state = match (host.ready, host.attached) {
        (true, true) => "ready",
        (true, false) => "no server is connected for it",
        (false, _) => "PROBLEM: options in error, no EXTERNAL",
    };
    let options = if host.options.is_empty() {
        String::new()
    } else {
        format!("; options {}", json!(host.options))
    };
    let _ = writeln!(out, "host {}: {state}{options}", host.host);
    let passwords = &host.passwords;
    if passwords.accounts > 0 {
        let accounts = counted(passwords.accounts, "account", "accounts");
        let _ = writeln!(out, "  passwords here: {accounts}");
    }
    for (hash, lacking) in &passwords.without {
        if *lacking > 0 {
            let _ = writeln!(
                out,
                "  without SCRAM-{}: {lacking} of them, so nobody is offered it; each gets it at its next login with PLAIN, or \
                 with a new password",
                hash.name()
            );
        }
    }
    for error in &host.errors {
        let _ = writeln!(out, "  {}", visible(&error.message));
    }
    let Some(files) = &host.authorities else {
        return;
    };
    let ca_file = &files.ca_file;
    let authorities = ca_file.authorities.as_deref().unwrap_or_default();
    let path = read(out, &ca_file.file, "authorities", authorities.len());
    for authority in authorities {
        not_counting(out, &path, &authority.subject, authority.problem.as_deref());
    }
    let Some(crl_file) = &files.crl_file else {
        return;
    };
    let lists = crl_file.lists.as_deref().unwrap_or_default();
    let path = read(out, &crl_file.file, "revocation lists", lists.len());
    for list in lists {
        not_counting(out, &path, &list.issuer, list.problem.as_deref());
    }
    for name in &crl_file.without_list {
        let _ = writeln!(
            out,
            "  WARNING: {path}: no revocation list of {name}: what it issued is refused"
        );
    }
}

/// Prints the contents of a file, or why it can't be used; returns its path, for people.
fn read(out: &mut String, file: &FileState, what: &str, count: usize) -> String {
    let path = visible(&file.path.to_string_lossy()).into_owned();
    let _ = match &file.problem {
        Some(problem) => writeln!(
            out,
            "  PROBLEM: {path}: {}; no authority's certificate is accepted",
            visible(problem)
        ),
        None => writeln!(out, "  {path}: {what}: {count}"),
    };
    if file.private_key {
        let _ = writeln!(
            out,
            "  WARNING: {path}: a private key stands in it, and does not belong on this machine"
        );
    }
    path
}

fn not_counting(out: &mut String, path: &str, name: &str, problem: Option<&str>) {
    if let Some(problem) = problem {
        let _ = writeln!(out, "  WARNING: {path}: {name} does not count: {problem}");
    }
}

fn moment(at: UnixSeconds) -> String {
    let time = OffsetDateTime::from_unix_timestamp(at.0).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "?".to_owned())
}
