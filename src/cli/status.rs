//! `saslcertd status`.

use std::process::ExitCode;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::global::Global;
use super::say::{say, say_json};
use crate::identity::counted;
use crate::identity::visible::visible;
use crate::protocol::client::Asker;

pub(super) fn run(global: &Global) -> anyhow::Result<ExitCode> {
    let status = Asker::connect(&global.socket)?.status()?;
    if global.json {
        say_json(&status.to_string())?;
    } else {
        say(for_people(&status).trim_end())?;
    }
    let is_healthy = status.get("healthy").and_then(Value::as_bool);
    Ok(if is_healthy == Some(true) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn for_people(status: &Value) -> String {
    use std::fmt::Write;
    let number = |path| status.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let text = |value: &Value, path| match value.pointer(path) {
        Some(Value::String(text)) => visible(text).into_owned(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let uptime = number("/uptime_seconds");
    let mut out = String::new();
    // Proof: writing to a String never fails.
    let _ = writeln!(
        out,
        "saslcertd {} (protocol {}), up {} d {:02}:{:02}:{:02}",
        text(status, "/version"),
        number("/protocol"),
        uptime / 86_400,
        uptime / 3600 % 24,
        uptime / 60 % 60,
        uptime % 60,
    );
    let _ = writeln!(
        out,
        "store: {}, {} of {}, {}, {} KiB",
        text(status, "/store/path"),
        counted(number("/store/certificates"), "certificate", "certificates"),
        counted(number("/store/accounts"), "account", "accounts"),
        counted(number("/store/revoked_keys"), "revoked key", "revoked keys"),
        number("/store/bytes_on_disk") / 1024,
    );
    if number("/store/corrupt_reads") > 0 {
        let _ = writeln!(
            out,
            "PROBLEM: {} found damaged records; restore the store from a backup",
            counted(number("/store/corrupt_reads"), "read", "reads")
        );
    }
    out += &wholeness(status);
    if let Some(Value::String(problem)) = status.pointer("/store/sequence_problem") {
        let _ = writeln!(
            out,
            "PROBLEM: {}/SEQUENCE cannot be written ({}); no change is lost, but look after the disk",
            text(status, "/store/path"),
            visible(problem)
        );
    }
    if status.pointer("/store/disk_nearly_full") == Some(&Value::Bool(true)) {
        let _ = writeln!(
            out,
            "PROBLEM: the disk is nearly full; nothing is added until there is room"
        );
    }
    for connection in rows(status, "/connections") {
        let _ = writeln!(
            out,
            "connection: {} (user {}, process {}, {}), {}",
            text(connection, "/software"),
            text(connection, "/uid"),
            text(connection, "/pid"),
            text(connection, "/role"),
            counted(
                text(connection, "/sessions"),
                "certificate session",
                "certificate sessions"
            ),
        );
    }
    for host in rows(status, "/hosts") {
        let is = |path| host.pointer(path) == Some(&Value::Bool(true));
        let state = match (is("/ready"), is("/attached")) {
            (true, true) => "ready",
            (true, false) => "no server is connected for it",
            (false, _) => "PROBLEM: options in error, no EXTERNAL",
        };
        let options = host.pointer("/options").and_then(Value::as_object);
        let options = match options {
            Some(set) if !set.is_empty() => format!("; options {}", text(host, "/options")),
            _ => String::new(),
        };
        let _ = writeln!(out, "host {}: {state}{options}", text(host, "/host"));
        let count = |path: &str| host.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        if count("/passwords/accounts") > 0 {
            let _ = writeln!(
                out,
                "  passwords here: {}",
                counted(count("/passwords/accounts"), "account", "accounts")
            );
        }
        for hash in ["SHA-1", "SHA-256"] {
            let lacking = count(&format!("/passwords/without/{hash}"));
            if lacking > 0 {
                let _ = writeln!(
                    out,
                    "  without SCRAM-{hash}: {lacking} of them, so nobody is offered it; each gets it at its next login \
                     with PLAIN, or with a new password"
                );
            }
        }
        for error in rows(host, "/errors") {
            let _ = writeln!(out, "  {}", text(error, "/message"));
        }
        for (file, held, what) in [
            ("/authorities/ca_file", "/authorities", "authorities"),
            ("/authorities/crl_file", "/lists", "revocation lists"),
        ] {
            let Some(file) = host.pointer(file).filter(|file| !file.is_null()) else {
                continue;
            };
            let path = text(file, "/path");
            let _ = match file.pointer("/problem") {
                Some(Value::String(problem)) => {
                    let problem = visible(problem);
                    writeln!(
                        out,
                        "  PROBLEM: {path}: {problem}; no authority's certificate is accepted"
                    )
                }
                _ => writeln!(out, "  {path}: {what}: {}", rows(file, held).count()),
            };
            if file.pointer("/private_key") == Some(&Value::Bool(true)) {
                let _ = writeln!(
                    out,
                    "  WARNING: {path}: a private key stands in it, and does not belong on this machine"
                );
            }
            for row in rows(file, held) {
                if let Some(problem) = row.pointer("/problem").and_then(Value::as_str) {
                    let name = row.pointer("/subject").or_else(|| row.pointer("/issuer"));
                    let name = name.and_then(Value::as_str).unwrap_or_default();
                    let _ = writeln!(out, "  WARNING: {path}: {name} does not count: {problem}");
                }
            }
            for name in rows(file, "/without_list").filter_map(Value::as_str) {
                let _ = writeln!(
                    out,
                    "  WARNING: {path}: no revocation list of {name}: what it issued is refused"
                );
            }
        }
    }
    out
}

/// What is known of the store as a whole.
fn wholeness(status: &Value) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let text = |value: &Value, path| {
        let text = value.pointer(path).and_then(Value::as_str);
        visible(text.unwrap_or("?")).into_owned()
    };
    // Proof: writing to a String never fails.
    match status
        .pointer("/store/check")
        .filter(|check| !check.is_null())
    {
        None => out += "store: not checked yet since the start\n",
        Some(check) if check.get("whole") == Some(&Value::Bool(true)) => {
            let _ = writeln!(
                out,
                "store: checked on {}, and whole",
                time_at(check, "/at")
            );
        }
        Some(check) => {
            for table in rows(check, "/tables")
                .filter(|table| table.get("problem").is_some_and(Value::is_string))
            {
                let _ = writeln!(
                    out,
                    "PROBLEM: the store is damaged ({}: {}; checked on {}); restore it from a backup",
                    text(table, "/table"),
                    text(table, "/problem"),
                    time_at(check, "/at"),
                );
            }
        }
    }
    let loss = status.pointer("/store/accepted_loss");
    if let Some(loss) = loss.filter(|loss| !loss.is_null()) {
        let is_new = loss.get("new") == Some(&Value::Bool(true));
        let tables: Vec<&str> = rows(loss, "/tables").filter_map(Value::as_str).collect();
        let changes = loss.get("changes").and_then(Value::as_u64).unwrap_or(0);
        let mut missing = Vec::new();
        if changes > 0 {
            missing.push(format!(
                "its last {}",
                counted(changes, "change", "changes")
            ));
        }
        if !tables.is_empty() {
            missing.push(format!("rows of {}", tables.join(", ")));
        }
        let (missing, at) = (missing.join(" and "), time_at(loss, "/at"));
        let _ = if is_new {
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
    out
}

fn time_at(value: &Value, path: &str) -> String {
    let seconds = value.pointer(path).and_then(Value::as_i64);
    let time = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "?".to_owned())
}

fn rows<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
