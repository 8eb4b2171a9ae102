//! `saslcertd explain`: each rule of a login, its verdict, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use super::cert::account;
use super::certificate_file::{certificates_in, fitting};
use super::global::Global;
use super::hosts::of_host;
use super::say::{complain, say, say_json};
use crate::identity::{counted, visible};
use crate::protocol::MAX_CHAIN;
use crate::protocol::client::Asker;

/// `saslcertd explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 it can log in; 1 it can't; 2 it couldn't be found out (the file, the daemon, an authority)."
)]
pub(super) struct ExplainArgs {
    /// Who is to log in.
    jid: String,
    /// With which certificate: a file, PEM or DER; in PEM intermediate certificates may follow it.
    #[arg(value_name = "CERT")]
    cert: PathBuf,
    /// The address that the client asks for (default: it leaves that to the certificate).
    #[arg(long, value_name = "JID")]
    authzid: Option<String>,
}

pub(super) fn run(args: &ExplainArgs, global: &Global) -> ExitCode {
    explain(args, global).unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::from(2)
    })
}

fn explain(args: &ExplainArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let account = account(&args.jid)?;
    let shown = || args.cert.display().to_string();
    let (chain, left_out) = fitting(certificates_in(&args.cert)?).with_context(shown)?;
    if left_out > 0 {
        complain(&format!(
            "{}: {} behind the first {MAX_CHAIN} or too large; as in a login, the daemon does without",
            shown(),
            counted(left_out, "certificate stands", "certificates stand")
        ));
    }
    let params = json!({"account": account, "chain": chain, "authzid": args.authzid});
    let asked = Asker::connect(&global.socket)?.ask("explain", &params);
    let explained = asked.map_err(|error| of_host(error, account.host()))?;
    let verdict = word(&explained, "verdict").to_owned();
    if global.json {
        say_json(&explained.to_string())?;
    } else {
        let rules = explained.get("rules").and_then(Value::as_array);
        let mut is_account_unknown = false;
        for rule in rules.into_iter().flatten() {
            let (verdict, name) = (word(rule, "verdict"), word(rule, "rule"));
            is_account_unknown |= (name, verdict) == ("account", "unknown");
            say(&format!(
                "{verdict:8} {name:11} {}",
                visible::line(word(rule, "why"))
            ))?;
        }
        let can = match verdict.as_str() {
            "yes" if is_account_unknown => {
                "can log in with it, if Prosody has the account and it is enabled"
            }
            "yes" => "can log in with it",
            "no" => "can't log in with it",
            _ => "may or may not be able to log in with it",
        };
        say(&format!("{account} {can}"))?;
    }
    Ok(match verdict.as_str() {
        "yes" => ExitCode::SUCCESS,
        "no" => ExitCode::from(1),
        _ => ExitCode::from(2),
    })
}

fn word<'a>(of: &'a Value, field: &str) -> &'a str {
    of.get(field).and_then(Value::as_str).unwrap_or_default()
}
