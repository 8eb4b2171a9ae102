//! `saslcertd enroll`: makes a key and a certificate, uploads the certificate with a password login, and tries it.
//!
//! The files are written when the server has shown that it can take the certificate, and before it gets it: a
//! certificate without its key would be of no use to anybody.
//!
//! Must not know: how a certificate is made and a login done; it puts these steps into their order.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use xmpp_parsers::jid::BareJid;

use super::advice::Kind;
use super::key_files::{NewFile, file_stem, write_new};
use super::login::{ServerArgs, account, deadlines, exit_code};
use super::password::password;
use super::say::{say, say_json};
use super::steps::{Done, Outcome, Steps};
use crate::client::causes::chain;
use crate::client::certificate::{self, Fresh};
use crate::client::certificates;
use crate::client::login::{Plan, log_in};
use crate::client::pkcs12::{self, Archive};
use crate::client::resolve::Route;
use crate::client::runtime::runtime;
use crate::client::sasl::Credential;
use crate::client::session::{RequestError, Session};
use crate::client::tls::Trust;
use crate::identity::CertificateName;
use crate::identity::visible::visible;

/// What `enroll` needs to know.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 enrolled and tried; 1 the server said no; 2 it couldn't be found out (network, TLS, \
                        files, trouble of the server)."
)]
pub(super) struct EnrollArgs {
    /// The account's address, as hamlet@shakespeare.lit
    jid: String,
    /// What the account's list of certificates shall call it, as "phone"
    #[arg(long)]
    name: String,
    /// The folder for the files; made if need be
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Take the password from the first line of this file; - is standard input (default: ask on the terminal)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    /// Sessions that log in with this certificate can't add or remove certificates
    #[arg(long)]
    no_manage: bool,
    /// For how many days the certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = days)]
    days: u16,
    /// Also make the file that phones import (PKCS#12), and print the password that it gets: encrypted with AES-256,
    /// or with =3des for old Android and macOS
    #[arg(long, value_name = "ENCRYPTION", num_args = 0..=1, require_equals = true, default_missing_value = "aes")]
    pkcs12: Option<Encryption>,
}

/// `--pkcs12`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Encryption {
    /// AES-256
    #[value(name = "aes")]
    Aes,
    /// Triple DES
    #[value(name = "3des")]
    TripleDes,
}

/// Runs the command; prints everything itself.
pub(super) fn run(args: &EnrollArgs, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = runtime().context("the runtime can't start")?;
    let mut steps = Steps::new(json);
    args.server.warn();
    let mut report = EnrollReport::new(args);
    match prepare(args) {
        Ok(prepared) => {
            report.outcome = runtime.block_on(enroll(&prepared, &mut steps, &mut report));
        }
        Err(error) => {
            steps.begin("prepare");
            steps.failed(&format!("{error:#}"));
        }
    }
    let code = exit_code(report.outcome);
    if json {
        report.bound = steps.bound;
        report.steps = steps.done;
        say_json(&serde_json::to_string(&report).context("can't write the result")?)?;
    } else if let (Some(file), Some(password)) = (&report.pkcs12, &report.pkcs12_password) {
        // Not one of the steps, which nobody need read: without it the file is of no use.
        let file = visible(file);
        say(&format!(
            "\nFor the phone: {file}, which the password {password} opens."
        ))?;
    }
    Ok(code)
}

/// The report that `--json` prints.
#[derive(Debug, Serialize)]
struct EnrollReport<'a> {
    jid: &'a str,
    name: &'a str,
    steps: Vec<Done>,
    outcome: Outcome,
    condition: Option<String>,
    text: Option<String>,
    bound: Option<String>,
    /// The files that exist now.
    key: Option<String>,
    certificate: Option<String>,
    pkcs12: Option<String>,
    pkcs12_password: Option<String>,
    fingerprint: Option<String>,
    not_after: Option<String>,
    /// Whether the server has the certificate; null if that isn't known.
    uploaded: Option<bool>,
}

fn days(text: &str) -> anyhow::Result<u16> {
    let days = text
        .parse()
        .ok()
        .filter(|days| (1..=MAX_DAYS).contains(days));
    days.with_context(|| format!("a number of days from 1 to {MAX_DAYS} is wanted"))
}

/// A hundred years.
const MAX_DAYS: u16 = 36_500;

struct EnrollInput {
    account: BareJid,
    days: u16,
    name: String,
    key_path: PathBuf,
    certificate_path: PathBuf,
    pkcs12: Option<(PathBuf, pkcs12::Encryption)>,
    route: Route,
    trust: Trust,
    password: Credential,
    may_manage: bool,
}

fn prepare(args: &EnrollArgs) -> anyhow::Result<EnrollInput> {
    let account = account(&args.jid)?;
    let name = CertificateName::parse(&args.name)
        .context("--name")?
        .to_string();
    let stem = file_stem(&account.to_string(), &name);
    let key_path = args.out.join(format!("{stem}.key"));
    let certificate_path = args.out.join(format!("{stem}.crt"));
    let pkcs12 = args.pkcs12.map(|encryption| {
        let encryption = match encryption {
            Encryption::Aes => pkcs12::Encryption::Aes,
            Encryption::TripleDes => pkcs12::Encryption::TripleDes,
        };
        (args.out.join(format!("{stem}.p12")), encryption)
    });
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.out)
        .with_context(|| format!("can't make the folder {}", args.out.display()))?;
    let pkcs12_path = pkcs12.as_ref().map(|(path, _)| path);
    for path in [&key_path, &certificate_path]
        .into_iter()
        .chain(pkcs12_path)
    {
        let free =
            fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        ensure!(
            free,
            "{} exists already; nothing is overwritten: use another --name or --out",
            path.display()
        );
    }
    let (route, trust) = (args.server.route()?, args.server.trust()?);
    // Last, so that nobody types a password in vain.
    let password = password(args.password_file.as_deref(), &account)?;
    Ok(EnrollInput {
        days: args.days,
        account,
        name,
        key_path,
        certificate_path,
        pkcs12,
        route,
        trust,
        password: Credential::Password(password),
        may_manage: !args.no_manage,
    })
}

async fn enroll(
    prepared: &EnrollInput,
    steps: &mut Steps,
    report: &mut EnrollReport<'_>,
) -> Outcome {
    let domain = prepared.account.domain().as_str();

    steps.say("Logging in with the password");
    steps.begin_login(Kind::Password);
    let plan = prepared.plan(&prepared.password, None);
    let mut session = match log_in(&plan, &mut |progress| steps.watch(progress)).await {
        Ok(session) => session,
        Err(error) => {
            report.explain(error.refusal());
            let outcome = steps.login_failed(&error, domain);
            steps.say("\nNo key was made, nothing was uploaded.");
            return outcome;
        }
    };

    steps.begin("support");
    match session.server_has(certificates::FEATURE).await {
        Ok(true) => steps.ok(&format!(
            "{domain} keeps certificates for its accounts ({})",
            certificates::FEATURE
        )),
        Ok(false) => {
            steps.failed(&format!(
                "{domain} keeps no certificates for its accounts ({})",
                certificates::FEATURE
            ));
            steps.say(&format!(
                "\nThe server's admin must enable it: \"saslcertd\" in modules_enabled of {domain}, with the daemon \
                 saslcertd running beside Prosody. No key was made, nothing was uploaded."
            ));
            session.close().await;
            return Outcome::Refused;
        }
        Err(error) => {
            steps.failed(&chain(&error));
            report.explain(error_refusal(&error));
            return request_outcome(&error);
        }
    }

    steps.begin("key");
    let (fresh, archive) = match make_files(prepared) {
        Ok(made) => made,
        Err(error) => {
            steps.failed(&format!("{error:#}"));
            session.close().await;
            return Outcome::Unreachable;
        }
    };
    report.made(prepared, &fresh);
    if let (Some((path, _)), Some(archive)) = (&prepared.pkcs12, archive) {
        report.pkcs12 = Some(path.display().to_string());
        report.pkcs12_password = Some(archive.password);
    }
    steps.ok(&format!(
        "{} and {}, valid until {}",
        prepared.key_path.display(),
        prepared.certificate_path.display(),
        fresh.not_after.date()
    ));

    if let Err(outcome) = Box::pin(upload(prepared, &fresh, session, steps, report)).await {
        return outcome;
    }
    try_it(prepared, &fresh, steps, report).await
}

/// Uploads and ends the session. On failure the files' fate depends on whether the server may have the certificate.
async fn upload(
    prepared: &EnrollInput,
    fresh: &Fresh,
    mut session: Session,
    steps: &mut Steps,
    report: &mut EnrollReport<'_>,
) -> Result<(), Outcome> {
    steps.begin("upload");
    let mut result = certificates::append(
        &mut session,
        &prepared.name,
        &fresh.der,
        prepared.may_manage,
    )
    .await;
    if result.as_ref().is_err_and(is_unclear) && is_listed(&mut session, fresh).await {
        result = Ok(());
    }
    session.close().await;
    let Err(error) = result else {
        report.uploaded = Some(true);
        steps.ok(&format!(
            "the server has the certificate as {:?}",
            prepared.name
        ));
        return Ok(());
    };
    report.explain(error_refusal(&error));
    steps.failed(&chain(&error));
    if is_unclear(&error) {
        report.uploaded = None;
        steps.say(&format!(
            "\nWhether the server has the certificate isn't known: see the account's list. The key is in {}, the \
             certificate in {}.",
            prepared.key_path.display(),
            prepared.certificate_path.display()
        ));
    } else {
        report.uploaded = Some(false);
        let advice = error_refusal(&error).and_then(|refusal| append_advice(&refusal.condition));
        steps.say(&format!(
            "\nThe server doesn't have the certificate. {}",
            advice.unwrap_or_default()
        ));
        remove_files(prepared, steps, report);
    }
    Err(request_outcome(&error))
}

/// Logs in with the new certificate.
async fn try_it(
    prepared: &EnrollInput,
    fresh: &Fresh,
    steps: &mut Steps,
    report: &mut EnrollReport<'_>,
) -> Outcome {
    steps.say("Logging in with the certificate");
    steps.begin_login(Kind::Certificate);
    let credential = Credential::Certificate {
        authzid: None,
        force: false,
    };
    let plan = prepared.plan(&credential, Some(fresh));
    match log_in(&plan, &mut |progress| steps.watch(progress)).await {
        Ok(session) => {
            session.close().await;
            steps.say(&format!(
                "\nDone: {} can log in without a password, with {} and {}. Keep the key to yourself.",
                prepared.account,
                prepared.certificate_path.display(),
                prepared.key_path.display()
            ));
            Outcome::Enrolled
        }
        Err(error) => {
            report.explain(error.refusal());
            let outcome = steps.login_failed(&error, prepared.account.domain().as_str());
            steps.say(&format!(
                "\nThe server has the certificate as {:?}; only the login with it failed. The key is in {}, the \
                 certificate in {}; try again with `saslcertd login`.",
                prepared.name,
                prepared.key_path.display(),
                prepared.certificate_path.display()
            ));
            outcome
        }
    }
}

impl EnrollInput {
    fn plan<'a>(&'a self, credential: &'a Credential, fresh: Option<&'a Fresh>) -> Plan<'a> {
        Plan {
            account: &self.account,
            route: &self.route,
            trust: &self.trust,
            identity: fresh.map(|fresh| &fresh.identity),
            credential,
            deadlines: deadlines(),
        }
    }
}

impl<'a> EnrollReport<'a> {
    fn new(args: &'a EnrollArgs) -> Self {
        Self {
            jid: &args.jid,
            name: &args.name,
            steps: Vec::new(),
            outcome: Outcome::Unreachable,
            condition: None,
            text: None,
            bound: None,
            key: None,
            certificate: None,
            pkcs12: None,
            pkcs12_password: None,
            fingerprint: None,
            not_after: None,
            uploaded: Some(false),
        }
    }

    fn made(&mut self, prepared: &EnrollInput, fresh: &Fresh) {
        self.key = Some(prepared.key_path.display().to_string());
        self.certificate = Some(prepared.certificate_path.display().to_string());
        self.fingerprint = Some(hexadecimal(&Sha256::digest(&fresh.der)));
        self.not_after = fresh.not_after.format(&Rfc3339).ok();
    }

    fn explain(&mut self, refusal: Option<&crate::client::stream::Refusal>) {
        self.condition = refusal.map(|refusal| refusal.condition.clone());
        self.text = refusal.and_then(|refusal| refusal.text.clone());
    }
}

/// Makes the pair and writes it: the key first, so that no certificate exists without its key.
fn make_files(prepared: &EnrollInput) -> anyhow::Result<(Fresh, Option<Archive>)> {
    let fresh = certificate::make(&prepared.account, prepared.days, OffsetDateTime::now_utc())?;
    let archive = match &prepared.pkcs12 {
        Some((_, encryption)) => {
            let made = pkcs12::archive(&fresh, &prepared.name, *encryption);
            Some(made.context("can't make the PKCS#12 file")?)
        }
        None => None,
    };
    let mut files: Vec<NewFile<'_>> = vec![
        (&prepared.key_path, fresh.key_pem.as_bytes(), 0o600),
        (
            &prepared.certificate_path,
            fresh.certificate_pem.as_bytes(),
            0o644,
        ),
    ];
    if let (Some((path, _)), Some(archive)) = (&prepared.pkcs12, &archive) {
        files.push((path, archive.content.as_slice(), 0o600));
    }
    write_new(&files)?;
    Ok((fresh, archive))
}

/// Removes the files of what the server refused: they open nothing, and would be in the way of a second try.
fn remove_files(prepared: &EnrollInput, steps: &Steps, report: &mut EnrollReport<'_>) {
    let mut files = vec![
        (&prepared.key_path, &mut report.key),
        (&prepared.certificate_path, &mut report.certificate),
    ];
    if let Some((path, _)) = &prepared.pkcs12 {
        files.push((path, &mut report.pkcs12));
    }
    for (path, reported) in files {
        match fs::remove_file(path) {
            Ok(()) => {
                *reported = None;
                steps.say(&format!("Removed {}: it is of no use.", path.display()));
            }
            Err(error) => steps.say(&format!("{} is still there: {error}", path.display())),
        }
    }
    if report.pkcs12.is_none() {
        report.pkcs12_password = None;
    }
}

/// The change may have happened: nobody told us that it hasn't.
fn is_unclear(error: &RequestError) -> bool {
    match error {
        RequestError::Refused { refusal, later } => {
            *later || refusal.condition == "internal-server-error"
        }
        RequestError::Stream(_) | RequestError::Unusable { .. } => true,
    }
}

async fn is_listed(session: &mut Session, fresh: &Fresh) -> bool {
    let list = certificates::list(session).await;
    list.is_ok_and(|items| {
        items
            .iter()
            .any(|item| item.cert.data == fresh.der.as_ref())
    })
}

fn request_outcome(error: &RequestError) -> Outcome {
    if is_unclear(error) {
        Outcome::Unreachable
    } else {
        Outcome::Refused
    }
}

fn error_refusal(error: &RequestError) -> Option<&crate::client::stream::Refusal> {
    match error {
        RequestError::Refused { refusal, .. } => Some(refusal),
        _ => None,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn append_advice(condition: &str) -> Option<&'static str> {
    Some(match condition {
        "conflict" => "The account has a certificate of that name already: use another --name.",
        "resource-constraint" => {
            "The account has as many certificates as the server allows: remove one first."
        }
        "not-allowed" | "service-unavailable" => {
            "This server takes no certificates from its users."
        }
        "forbidden" => {
            "This login may not manage certificates; the server may insist on a password."
        }
        _ => return None,
    })
}
