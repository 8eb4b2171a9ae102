//! `saslcertd explain`: each rule of a login, its verdict, and why.
//!
//! Must not know: rules: the daemon judges, also what is printed as its verdict.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use super::cert::account;
use super::certificate_file::{certificates_in, fitting};
use super::global::Global;
use super::hosts::of_host;
use super::say::{complain, say, say_json};
use crate::identity::{counted, visible};
use crate::policy::explain::{Rule, Verdict};
use crate::protocol::client::Asker;
use crate::protocol::{Chain, Explain, MAX_CHAIN};

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
    let question = Explain {
        account: account.clone(),
        chain: Chain::from_base64(&chain).with_context(shown)?,
        authzid: args.authzid.clone(),
    };
    let asked = Asker::connect(&global.socket)?.ask(&question);
    let explained = asked.map_err(|error| of_host(error, account.host()))?;
    if global.json {
        say_json(&json!(explained).to_string())?;
    } else {
        for Rule { rule, verdict, why } in &explained.rules {
            say(&format!(
                "{:8} {rule:11} {}",
                word(*verdict),
                visible::line(why)
            ))?;
        }
        let is_account_unknown = explained
            .rules
            .iter()
            .any(|one| one.rule == "account" && one.verdict == Verdict::Unknown);
        let can = match explained.verdict {
            Verdict::Yes if is_account_unknown => {
                "can log in with it, if Prosody has the account and it is enabled"
            }
            Verdict::Yes => "can log in with it",
            Verdict::No => "can't log in with it",
            Verdict::Unneeded | Verdict::Unknown => "may or may not be able to log in with it",
        };
        say(&format!("{account} {can}"))?;
    }
    Ok(match explained.verdict {
        Verdict::Yes => ExitCode::SUCCESS,
        Verdict::No => ExitCode::from(1),
        Verdict::Unneeded | Verdict::Unknown => ExitCode::from(2),
    })
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Yes => "yes",
        Verdict::No => "no",
        Verdict::Unneeded => "unneeded",
        Verdict::Unknown => "unknown",
    }
}
