//! `saslcertd explain`: each rule of a login, its verdict, and why.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::Global;
use super::ask::ask;
use super::cert::{account, upright};

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
        eprintln!("saslcertd: {error:#}");
        ExitCode::from(2)
    })
}

fn explain(args: &ExplainArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let account = account(&args.jid)?;
    let params = json!({"account": account, "chain": chain(&args.cert)?, "authzid": args.authzid});
    let explained = ask(&global.socket, "explain", &params)?;
    let verdict = word(&explained, "verdict").to_owned();
    if global.json {
        println!("{explained}");
    } else {
        let rules = explained.get("rules").and_then(Value::as_array);
        for rule in rules.into_iter().flatten() {
            let why = upright(word(rule, "why"));
            println!(
                "{:8} {:11} {why}",
                word(rule, "verdict"),
                word(rule, "rule")
            );
        }
        println!(
            "{account} {} with it",
            match verdict.as_str() {
                "yes" => "can log in",
                "no" => "can't log in",
                _ => "may or may not be able to log in",
            }
        );
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

/// The certificates in the file, leaf first, each as base64 of DER. Whether they are any good is for the daemon to say.
fn chain(path: &Path) -> anyhow::Result<Vec<String>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("can't read {shown}"))?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE_BYTES,
        "{shown} is larger than {} KiB: no certificate is",
        MAX_FILE_BYTES / 1024
    );
    let is_pem = bytes.windows(PEM.len()).any(|part| part == PEM);
    if !is_pem {
        return Ok(vec![BASE64.encode(bytes)]);
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let Ok(found) = found else {
        bail!("{shown} is not readable as PEM");
    };
    ensure!(!found.is_empty(), "there is no certificate in {shown}");
    Ok(found.iter().map(|der| BASE64.encode(der)).collect())
}

const PEM: &[u8] = b"-----BEGIN ";
const MAX_FILE_BYTES: u64 = 64 * 1024;
