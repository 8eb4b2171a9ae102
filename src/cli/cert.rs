//! `saslcertd cert`: an admin's view of any account's certificates.
//!
//! Must not know: rules for lists of certificates: the daemon has them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::certificate_file::certificates_in;
use super::global::Global;
use super::hosts::of_host;
use super::say::{complain_of_silent, say, say_json};
use crate::identity::visible::{meant, visible};
use crate::identity::{BareJid, KeyId};
use crate::protocol::client::Asker;
use crate::protocol::{
    self, AccountMarks, Append, List, ListMarks, ListedCertificate, Request, Revoke, RevokedKey,
    Unrevoke, base64_of,
};
use crate::wording::certificates::moment;

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
    Show(OneCertificate),
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
    Disable(OneCertificate),
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
pub(super) struct OneCertificate {
    /// Whose.
    jid: String,
    /// Its name in the list, as `cert list` shows it.
    name: String,
}

/// The output of a command, for both ways of printing.
struct Output {
    /// For `--json`.
    json: Value,
    /// For people.
    text: String,
}

pub(super) fn run(command: &CertCommand, global: &Global) -> anyhow::Result<ExitCode> {
    let found = match command {
        CertCommand::List { jid, revoked: true } => list_marks(jid, global)?,
        CertCommand::List { jid, .. } => list(jid, global)?,
        CertCommand::Show(which) => show(which, global)?,
        CertCommand::Add {
            jid,
            name,
            cert,
            no_manage,
        } => add(jid, name, cert, !no_manage, global)?,
        CertCommand::Disable(which) => disable(which, global)?,
        CertCommand::Revoke { jid, name, key } => revoke(jid, name.as_deref(), *key, global)?,
        CertCommand::Unrevoke { jid, key_id, .. } => unrevoke(jid, *key_id, global)?,
    };
    if global.json {
        say_json(&found.json.to_string())?;
    } else {
        say(found.text.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list_marks(jid: &str, global: &Global) -> anyhow::Result<Output> {
    let account = account(jid)?;
    let question = ListMarks {
        account: account.clone(),
    };
    let marks = ask(global, &account, &question)?;
    Ok(Output {
        json: json!(marks),
        text: marked(&account, &marks),
    })
}

fn list(jid: &str, global: &Global) -> anyhow::Result<Output> {
    let account = account(jid)?;
    let all = all(global, &account)?;
    let text = if all.is_empty() {
        format!("{account} has no certificates\n")
    } else {
        all.iter().map(|one| one.row.in_full()).collect()
    };
    Ok(Output {
        json: json!({"certificates": all}),
        text,
    })
}

fn show(which: &OneCertificate, global: &Global) -> anyhow::Result<Output> {
    let all = all(global, &account(&which.jid)?)?;
    let name = meant(&which.name);
    let mut all = all.into_iter();
    let found = all.find(|one| one.row.name.as_str() == name);
    let found = found.context("There is no certificate of this name")?;
    let pem = pem(&base64_of(&found.certificate));
    Ok(Output {
        json: json!(found),
        text: format!("{}{pem}", found.row.in_full()),
    })
}

fn add(
    jid: &str,
    name: &str,
    cert: &Path,
    may_manage: bool,
    global: &Global,
) -> anyhow::Result<Output> {
    let account = account(jid)?;
    let mut found = certificates_in(cert)?;
    let certificate = found.pop().unwrap_or_default();
    anyhow::ensure!(
        found.is_empty(),
        "there are several certificates in {}",
        cert.display()
    );
    let question = Append {
        account: account.clone(),
        incarnation: None,
        session: None,
        name: name.to_owned(),
        certificate,
        may_manage,
    };
    let added = ask(global, &account, &question)?;
    let warnings = added.warnings.iter().map(|text| format!("{text}\n"));
    let warnings: String = warnings.collect();
    let name = visible(added.name.as_str());
    Ok(Output {
        text: format!("added \"{name}\" for {account}\n{warnings}"),
        json: json!(added),
    })
}

fn disable(
    OneCertificate { jid, name }: &OneCertificate,
    global: &Global,
) -> anyhow::Result<Output> {
    let account = account(jid)?;
    let question = protocol::Disable {
        account: account.clone(),
        incarnation: None,
        session: None,
        name: meant(name).into_owned(),
    };
    let disabled = ask(global, &account, &question)?;
    let name = visible(disabled.name.as_str());
    Ok(Output {
        text: format!("disabled \"{name}\" of {jid}\n"),
        json: json!(disabled),
    })
}

fn revoke(
    jid: &str,
    name: Option<&str>,
    key_id: Option<KeyId>,
    global: &Global,
) -> anyhow::Result<Output> {
    let account = account(jid)?;
    let question = Revoke {
        account: account.clone(),
        incarnation: None,
        session: None,
        name: name.map(|name| meant(name).into_owned()),
        key_id,
    };
    let revoked = ask(global, &account, &question)?;
    complain_of_silent(&revoked.silent);
    let (name, key_id) = (visible(revoked.name.as_str()), revoked.key_id);
    Ok(Output {
        text: format!(
            "revoked \"{name}\" of {jid}: its key can no longer log in, its sessions are closed\n\
             to lift it: saslcertd cert unrevoke {jid} {key_id}\n"
        ),
        json: json!(revoked),
    })
}

fn unrevoke(jid: &str, key_id: Option<KeyId>, global: &Global) -> anyhow::Result<Output> {
    let account = account(jid)?;
    let question = Unrevoke {
        account: account.clone(),
        key_id,
    };
    let unrevoked = ask(global, &account, &question)?;
    anyhow::ensure!(unrevoked.was_revoked, "no such key is revoked for {jid}");
    Ok(Output {
        json: json!(unrevoked),
        text: format!("the key may be used again by {jid}; the certificate must be added anew\n"),
    })
}

/// Asks a question about an account.
fn ask<Q: Request + Serialize>(
    global: &Global,
    account: &BareJid,
    question: &Q,
) -> anyhow::Result<Q::Answer> {
    let asked = Asker::connect(&global.socket)?.ask(question);
    asked.map_err(|error| of_host(error, account.host()))
}

pub(super) fn account(jid: &str) -> anyhow::Result<BareJid> {
    BareJid::parse(jid).with_context(|| format!("{jid} is not an account (user@host)"))
}

/// Every page of the list.
fn all(global: &Global, account: &BareJid) -> anyhow::Result<Vec<ListedCertificate>> {
    let mut found = Vec::new();
    let mut question = List {
        account: account.clone(),
        incarnation: None,
        session: None,
        after: None,
    };
    loop {
        let page = ask(global, account, &question)?;
        found.extend(page.certificates);
        if page.next.is_none() {
            return Ok(found);
        }
        question.after = page.next;
    }
}

/// The text of `cert list --revoked`.
fn marked(account: &BareJid, marks: &AccountMarks) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    // Proof, of all that follow: writing to a String never fails.
    for RevokedKey { key_id, at } in &marks.revoked {
        let _ = writeln!(out, "revoked   key {key_id}");
        let _ = writeln!(out, "  on       {}", moment(*at));
        let _ = writeln!(out, "  to lift  saslcertd cert unrevoke {account} {key_id}");
    }
    for mark in &marks.disabled {
        let _ = writeln!(out, "disabled  {}", visible(mark.name.as_str()));
        let _ = writeln!(out, "  valid    to {}", moment(mark.not_after));
        let _ = writeln!(out, "  sha-256  {}", mark.fingerprint);
        let _ = writeln!(out, "  key      {}", mark.key_id);
    }
    if out.is_empty() {
        let _ = writeln!(
            out,
            "no key of {account} is revoked, and no certificate disabled"
        );
    }
    if marks.left_out > 0 {
        let _ = writeln!(out, "and {} more", marks.left_out);
    }
    out
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
