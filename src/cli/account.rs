//! `saslcertd account`: accounts whose passwords the daemon keeps.
//!
//! Must not know: rules for accounts and passwords: the daemon has them.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::global::Global;
use super::hosts::{host, is_undeclared, not_declared};
use super::password::new_password;
use super::say::{complain, complain_of_silent, say, say_json};
use crate::identity::{BareJid, Host, UnixSeconds, counted};
use crate::protocol::client::{AskError, Asker};
use crate::protocol::declaring::declare_unknown;
use crate::protocol::{
    AccountExists, Accounts, Create, CreateCaller, Delete, DisableAccount, EnableAccount,
    ListAccounts, ListedAccount, Request, SetPassword, Text,
};

/// `saslcertd account`.
#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// List the accounts of a host.
    List {
        /// The host.
        #[arg(value_parser = host)]
        host: Host,
    },
    /// Make an account.
    Create {
        #[command(flatten)]
        which: WithPassword,
        /// Its host may be one that no Prosody has declared yet.
        #[arg(long)]
        new_host: bool,
    },
    /// Give an account another password; its sessions are closed.
    Passwd(WithPassword),
    /// Keep an account from logging in, and close its sessions. Nothing is lost.
    Disable(Which),
    /// Let a disabled account log in again.
    Enable(Which),
    /// Delete an account, its password and its certificates, and close its sessions.
    Delete {
        #[command(flatten)]
        which: Which,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// An account.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its address.
    #[arg(value_parser = account)]
    jid: BareJid,
}

/// An account that gets a password.
#[derive(Debug, Args)]
pub(super) struct WithPassword {
    /// Its address.
    #[arg(value_parser = account)]
    jid: BareJid,
    /// Take the password from this file's first line ("-" for standard input) instead of asking for it.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(super) fn run(command: &AccountCommand, global: &Global) -> anyhow::Result<ExitCode> {
    // Before anything else: whoever typed it by mistake may still change his mind.
    if let AccountCommand::Delete { which, yes: false } = command {
        confirm_deletion(&which.jid)?;
    }
    let mut daemon = Asker::connect(&global.socket)?;
    let (result, said) = match command {
        AccountCommand::List { host } => list(&mut daemon, host)?,
        AccountCommand::Create { which, new_host } => create(&mut daemon, which, *new_host)?,
        AccountCommand::Passwd(WithPassword { jid, password_file }) => {
            ensure!(exists(&mut daemon, jid)?, "there is no account {jid}");
            let password = Text(new_password(password_file.as_deref(), jid)?);
            let account = jid.clone().into();
            let result = ask(&mut daemon, jid, &SetPassword { account, password })?;
            complain_of_silent(&result.silent);
            (
                json!(result),
                format!("{jid} has a new password; its sessions are closed\n"),
            )
        }
        AccountCommand::Disable(Which { jid }) => {
            let account = jid.clone().into();
            let result = ask(&mut daemon, jid, &DisableAccount { account })?;
            complain_of_silent(&result.silent);
            let said = if result.was_enabled {
                format!("{jid} is disabled; its sessions are closed\n")
            } else {
                format!("{jid} was disabled already\n")
            };
            (json!(result), said)
        }
        AccountCommand::Enable(Which { jid }) => {
            let account = jid.clone().into();
            let result = ask(&mut daemon, jid, &EnableAccount { account })?;
            let already = if result.was_enabled {
                "was enabled already"
            } else {
                "is enabled"
            };
            (json!(result), format!("{jid} {already}\n"))
        }
        AccountCommand::Delete { which, .. } => delete(&mut daemon, &which.jid)?,
    };
    if global.json {
        say_json(&result.to_string())?;
    } else {
        say(said.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn create(
    daemon: &mut Asker,
    which: &WithPassword,
    new_host: bool,
) -> anyhow::Result<(Value, String)> {
    let WithPassword { jid, password_file } = which;
    if new_host {
        declare_unknown(
            daemon,
            "saslcertd account",
            std::slice::from_ref(jid.host()),
            None,
        )?;
    }
    // Before the password is asked for.
    ensure!(!exists(daemon, jid)?, "there is an account {jid} already");
    let lives_elsewhere = lives_in_prosody(daemon, jid.host())?;
    let password = Text(new_password(password_file.as_deref(), jid)?);
    let question = Create {
        account: jid.clone().into(),
        password: Some(password),
        reservation: None,
        caller: CreateCaller::Server,
    };
    let result = ask(daemon, jid, &question)?;
    if lives_elsewhere {
        complain(&format!(
            "accounts of {} live in Prosody until you set authentication = \"saslcertd\" there",
            jid.host()
        ));
    }
    Ok((json!(result), format!("{jid} was created\n")))
}

fn delete(daemon: &mut Asker, jid: &BareJid) -> anyhow::Result<(Value, String)> {
    let question = Delete {
        account: jid.clone().into(),
        incarnation: None,
        reservation: None,
    };
    let result = ask(daemon, jid, &question)?;
    complain_of_silent(&result.silent);
    let certificates = counted(result.certificates, "certificate", "certificates");
    if result.servers == 0 {
        complain(&format!(
            "no server was told: what Prosody itself keeps of {jid} (roster, messages) remains"
        ));
    }
    Ok((
        json!(result),
        format!("{jid} was deleted, and {certificates} with it\n"),
    ))
}

fn list(daemon: &mut Asker, host: &Host) -> anyhow::Result<(Value, String)> {
    let mut accounts = Vec::new();
    let mut question = ListAccounts {
        host: host.clone(),
        after: None,
    };
    loop {
        let page = daemon
            .ask(&question)
            .map_err(|error| of_host(error, host))?;
        accounts.extend(page.accounts);
        question.after = page.next;
        if question.after.is_none() {
            break;
        }
    }
    let said = table(&accounts, host);
    Ok((json!({"accounts": accounts}), said))
}

fn table(accounts: &[ListedAccount], host: &Host) -> String {
    if accounts.is_empty() {
        return format!("{host} has no accounts\n");
    }
    let mut rows =
        vec![["USERNAME", "STATE", "CREATED", "PASSWORD SET", "SCRAM"].map(str::to_owned)];
    for account in accounts {
        let scram: Vec<_> = account.scram.iter().map(|hash| hash.name()).collect();
        rows.push([
            account.username.clone(),
            if account.enabled {
                "enabled"
            } else {
                "disabled"
            }
            .to_owned(),
            date(account.created),
            date(account.password_changed),
            scram.join(", "),
        ]);
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let [first, second, third, fourth] = std::array::from_fn(width);
    let mut out = String::new();
    for [username, state, created, changed, scram] in &rows {
        let line = format!(
            "{username:first$}  {state:second$}  {created:third$}  {changed:fourth$}  {scram}"
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn date(at: UnixSeconds) -> String {
    let time = OffsetDateTime::from_unix_timestamp(at.0).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "-".to_owned())
}

/// Asks a question about an account.
fn ask<Q: Request + Serialize>(
    daemon: &mut Asker,
    account: &BareJid,
    question: &Q,
) -> anyhow::Result<Q::Answer> {
    let asked = daemon.ask(question);
    asked.map_err(|error| in_words(error, account))
}

fn exists(daemon: &mut Asker, account: &BareJid) -> anyhow::Result<bool> {
    let question = AccountExists {
        account: account.clone().into(),
    };
    Ok(ask(daemon, account, &question)?.exists)
}

/// Whether a Prosody has declared that it keeps the accounts of `host` itself.
///
/// Errors: also when the host is not declared.
fn lives_in_prosody(daemon: &mut Asker, host: &Host) -> anyhow::Result<bool> {
    let status = daemon.status()?;
    let found = status.hosts.iter().find(|one| one.host == *host);
    let found = found.ok_or_else(|| undeclared(host))?;
    Ok(found.accounts == Accounts::Prosody)
}

fn in_words(error: AskError, account: &BareJid) -> anyhow::Error {
    match error {
        AskError::Refused {
            denial: Some(denial),
            ..
        } if denial == "account-missing" => anyhow!("there is no account {account}"),
        AskError::Refused {
            denial: Some(denial),
            ..
        } if denial == "account-exists" => anyhow!("there is an account {account} already"),
        other => of_host(other, account.host()),
    }
}

fn of_host(error: AskError, host: &Host) -> anyhow::Error {
    if is_undeclared(&error) {
        undeclared(host)
    } else {
        error.into()
    }
}

fn undeclared(host: &Host) -> anyhow::Error {
    anyhow!(
        "{}, or add --new-host to account create",
        not_declared(host)
    )
}

fn confirm_deletion(account: &BareJid) -> anyhow::Result<()> {
    ensure!(
        io::stdin().is_terminal(),
        "there is no terminal to ask whether {account} shall be deleted; add --yes"
    );
    let mut terminal = io::stderr();
    write!(
        terminal,
        "Delete {account}, its password and its certificates? Type yes: "
    )?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    ensure!(answer.trim() == "yes", "nothing was deleted");
    Ok(())
}

fn account(text: &str) -> anyhow::Result<BareJid> {
    BareJid::parse(text).map_err(|error| anyhow!("this is not an account (user@host): {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::ScramHash;

    #[test]
    fn the_table_has_a_row_for_each_account() {
        let rome = Host::parse("rome.lit").unwrap();
        assert_eq!(table(&[], &rome), "rome.lit has no accounts\n");
        let account = |username: &str, enabled, created, password_changed, scram: &[ScramHash]| {
            ListedAccount {
                username: username.to_owned(),
                enabled,
                created: UnixSeconds(created),
                password_changed: UnixSeconds(password_changed),
                scram: scram.to_vec(),
            }
        };
        let accounts = [
            account(
                "brutus",
                true,
                1_767_225_600,
                1_767_229_200,
                &ScramHash::ALL,
            ),
            account("g\u{e1}ius", false, 1_767_225_600, i64::MAX, &[]),
        ];
        assert_eq!(
            table(&accounts, &rome),
            "USERNAME  STATE     CREATED               PASSWORD SET          SCRAM\n\
             brutus    enabled   2026-01-01T00:00:00Z  2026-01-01T01:00:00Z  SHA-1, SHA-256\n\
             g\u{e1}ius     disabled  2026-01-01T00:00:00Z  -\n"
        );
    }
}
