//! `saslcertd cert`: an admin's view of any account's certificates.

use std::borrow::Cow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::certificate_file::certificates_in;
use super::global::Global;
use super::hosts::of_host;
use super::say::{say, say_json};
use crate::identity::time::UnixSeconds;
use crate::identity::visible::{meant, visible};
use crate::identity::{BareJid, KeyId};
use crate::protocol::client::Asker;
use crate::wording::certificates::{Row, moment};

/// `saslcertd cert`.
#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// List the certificates of an account.
    List {
        /// Whose.
        jid: String,
        /// Instead: the keys that are revoked, and the certificates that were disabled.
        #[arg(long)]
        revoked: bool,
    },
    /// Show one certificate, with its PEM.
    Show(Named),
    /// Add a certificate for somebody else. Its owner is told; the same rules count as for their own uploads.
    Add {
        /// For whom.
        jid: String,
        /// Its name in the list.
        name: String,
        /// The certificate: a file, PEM or DER.
        #[arg(value_name = "CERT")]
        cert: PathBuf,
        /// Sessions that log in with it may not add or remove certificates.
        #[arg(long)]
        no_manage: bool,
    },
    /// Take a certificate out of the list; its live sessions stay.
    Disable(Named),
    /// Revoke a certificate and its key, and close the sessions that use it. One that was disabled can still be
    /// revoked, by the name that it had.
    Revoke {
        /// Whose.
        jid: String,
        /// Its name in the list.
        #[arg(required_unless_present = "key")]
        name: Option<String>,
        /// Instead of the name: every certificate with this key.
        #[arg(long, value_name = "KEY_ID", conflicts_with = "name")]
        key: Option<KeyId>,
    },
    /// Lift the revocation of a key; the certificate must then be added again.
    Unrevoke {
        /// Whose.
        jid: String,
        /// The key, 64 hex digits, as `cert revoke` and `cert list` print it.
        #[arg(required_unless_present = "all")]
        key_id: Option<KeyId>,
        /// Every revoked key of the account.
        #[arg(long, conflicts_with = "key_id")]
        all: bool,
    },
}

/// A certificate of an account.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Whose.
    jid: String,
    /// Its name in the list, as `cert list` shows it.
    name: String,
}

pub(super) fn run(command: &CertCommand, global: &Global) -> anyhow::Result<ExitCode> {
    let named = |method: &str, named: &Named| {
        let account = account(&named.jid)?;
        let params = json!({"account": account, "name": meant(&named.name)});
        ask(global, &account, method, &params)
    };
    let text = |value: &Value, field: &str| match value.get(field) {
        Some(Value::String(text)) => text.clone(),
        other => other.map(ToString::to_string).unwrap_or_default(),
    };
    let (result, said) = match command {
        CertCommand::List { jid, revoked: true } => {
            let account = account(jid)?;
            let params = json!({"account": account});
            let marks = ask(global, &account, "certificate.marks", &params)?;
            let said = marked(&account, &marks);
            (marks, said)
        }
        CertCommand::List { jid, .. } => {
            let account = account(jid)?;
            let rows = all(global, &account)?;
            let mut said = rows.iter().map(row).collect::<anyhow::Result<String>>()?;
            if rows.is_empty() {
                said = format!("{account} has no certificates\n");
            }
            (json!({"certificates": rows}), said)
        }
        CertCommand::Show(Named { jid, name }) => {
            let rows = all(global, &account(jid)?)?;
            let found = rows
                .into_iter()
                .find(|row| text(row, "name") == meant(name));
            let found = found.context("There is no certificate of this name")?;
            let said = format!("{}{}", row(&found)?, pem(&text(&found, "certificate")));
            (found, said)
        }
        CertCommand::Add {
            jid,
            name,
            cert,
            no_manage,
        } => {
            let account = account(jid)?;
            let mut found = certificates_in(cert)?;
            let certificate = found.pop().unwrap_or_default();
            anyhow::ensure!(
                found.is_empty(),
                "there are several certificates in {}",
                cert.display()
            );
            let params = json!({
                "account": account, "session": null, "incarnation": null,
                "name": name, "certificate": certificate, "may_manage": !no_manage,
            });
            let result = ask(global, &account, "certificate.append", &params)?;
            let name = text(&result, "name");
            let name = visible(&name);
            let warnings = result.get("warnings").and_then(Value::as_array);
            let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
            let said: Vec<&str> = warnings.collect();
            let said = format!("added \"{name}\" for {account}\n{}", lines(&said));
            (result, said)
        }
        CertCommand::Disable(which) => {
            let result = named("certificate.disable", which)?;
            let name = text(&result, "name");
            let name = visible(&name);
            let said = format!("disabled \"{name}\" of {}\n", which.jid);
            (result, said)
        }
        CertCommand::Revoke { jid, name, key } => {
            let account = account(jid)?;
            let params =
                json!({"account": account, "name": name.as_deref().map(meant), "key_id": key});
            let result = ask(global, &account, "certificate.revoke", &params)?;
            let said = format!(
                "revoked \"{}\" of {jid}: its key can no longer log in, its sessions are closed\n\
                 to lift it: saslcertd cert unrevoke {jid} {}\n",
                visible(&text(&result, "name")),
                text(&result, "key_id"),
            );
            (result, said)
        }
        CertCommand::Unrevoke { jid, key_id, .. } => {
            let account = account(jid)?;
            let params = json!({"account": account, "key_id": key_id});
            let result = ask(global, &account, "certificate.unrevoke", &params)?;
            let was_revoked = result.get("was_revoked") == Some(&Value::Bool(true));
            anyhow::ensure!(was_revoked, "no such key is revoked for {jid}");
            (
                result,
                format!("the key may be used again by {jid}; the certificate must be added anew\n"),
            )
        }
    };
    if global.json {
        say_json(&result.to_string())?;
    } else {
        say(said.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks a question about an account.
fn ask(global: &Global, account: &BareJid, method: &str, params: &Value) -> anyhow::Result<Value> {
    let asked = Asker::connect(&global.socket)?.ask(method, params);
    asked.map_err(|error| of_host(error, account.host()))
}

pub(super) fn account(jid: &str) -> anyhow::Result<BareJid> {
    BareJid::parse(jid).with_context(|| format!("{jid} is not an account (user@host)"))
}

fn lines(texts: &[&str]) -> String {
    texts.iter().flat_map(|text| [text, "\n"]).collect()
}

fn all(global: &Global, account: &BareJid) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut after = Value::Null;
    loop {
        let params = json!({"account": account, "after": after});
        let mut page = ask(global, account, "certificate.list", &params)?;
        if let Some(Value::Array(more)) = page.get_mut("certificates").map(Value::take) {
            rows.extend(more);
        }
        after = page.get("next").cloned().unwrap_or_default();
        if after.is_null() {
            return Ok(rows);
        }
    }
}

/// What `cert list --revoked` says.
fn marked(account: &BareJid, marks: &Value) -> String {
    use std::fmt::Write;
    let rows = |field| marks.get(field).and_then(Value::as_array);
    let mut out = String::new();
    // Proof, of all that follow: writing to a String never fails.
    for key in rows("revoked").into_iter().flatten() {
        let (key_id, at) = (text_at(key, "/key_id"), date_at(key, "/at"));
        let _ = writeln!(out, "revoked   key {key_id}");
        let _ = writeln!(out, "  on       {}", at.unwrap_or_default());
        let _ = writeln!(out, "  to lift  saslcertd cert unrevoke {account} {key_id}");
    }
    for mark in rows("disabled").into_iter().flatten() {
        let until = date_at(mark, "/not_after").unwrap_or_default();
        let _ = writeln!(out, "disabled  {}", text_at(mark, "/name"));
        let _ = writeln!(out, "  valid    to {until}");
        let _ = writeln!(out, "  sha-256  {}", text_at(mark, "/fingerprint"));
        let _ = writeln!(out, "  key      {}", text_at(mark, "/key_id"));
    }
    if out.is_empty() {
        let _ = writeln!(
            out,
            "no key of {account} is revoked, and no certificate disabled"
        );
    }
    let left_out = marks.get("left_out").and_then(Value::as_u64).unwrap_or(0);
    if left_out > 0 {
        let _ = writeln!(out, "and {left_out} more");
    }
    out
}

fn text_at<'a>(value: &'a Value, path: &str) -> Cow<'a, str> {
    let text = value.pointer(path).and_then(Value::as_str);
    text.map_or("-".into(), visible)
}

fn date_at(value: &Value, path: &str) -> Option<String> {
    let seconds = value.pointer(path).and_then(Value::as_i64)?;
    Some(moment(UnixSeconds(seconds)))
}

fn row(certificate: &Value) -> anyhow::Result<String> {
    let row: Row = serde_json::from_value(certificate.clone())
        .context("the daemon's answer is not readable; is it of another version?")?;
    Ok(row.in_full())
}

fn pem(base64: &str) -> String {
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = base64;
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out + "-----END CERTIFICATE-----\n"
}
