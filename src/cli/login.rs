//! `saslcertd login`: logs in with a certificate and reports every step.
//!
//! Must not know: how a login is done, how a step is worded.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use serde::Serialize;
use xmpp_parsers::jid::{BareJid, Jid};

use super::advice::Kind;
use super::say::say_json;
use super::steps::{Outcome, Steps, Tls};
use crate::client::certificate::{self, Identity};
use crate::client::deadline::Deadlines;
use crate::client::login::{LoginError, Plan, log_in};
use crate::client::resolve::{Route, Server};
use crate::client::runtime::runtime;
use crate::client::sasl::Credential;
use crate::client::tls::Trust;
use crate::identity;
use crate::identity::visible::visible;

/// What `login` needs to know.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 logged in; 1 the server said no; 2 it couldn't be found out (network, TLS, files, \
                        trouble of the server)."
)]
pub(super) struct LoginArgs {
    /// The account's address, as hamlet@shakespeare.lit
    jid: String,
    /// The certificate, PEM; intermediate certificates may follow it
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
    /// Ask for this address (default: leave it to the certificate)
    #[arg(long, value_name = "JID")]
    authzid: Option<String>,
    /// Select EXTERNAL even if the server doesn't offer it
    #[arg(long)]
    force: bool,
}

/// How to get to the server.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// Connect there instead of looking the domain up; the server's certificate must still be the domain's
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Use TLS from the first byte instead of STARTTLS
    #[arg(long)]
    direct_tls: bool,
    /// Trust the authorities in this PEM file instead of this machine's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca_file: Option<PathBuf>,
    /// Don't verify the server's certificate: anybody could be answering
    #[arg(long)]
    insecure: bool,
}

/// Runs the command; prints everything itself.
pub(super) fn run(args: &LoginArgs, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = runtime().context("the runtime can't start")?;
    let mut steps = Steps::new(json);
    args.server.warn();
    let mut report = LoginReport::new(&args.jid);
    match prepare(args) {
        Ok(prepared) => {
            report.outcome = runtime.block_on(try_login(&prepared, &mut steps, &mut report));
        }
        Err(error) => {
            steps.begin("files");
            steps.failed(&format!("{error:#}"));
        }
    }
    let code = exit_code(report.outcome);
    if json {
        report.take(steps);
        say_json(&serde_json::to_string(&report).context("can't write the result")?)?;
    }
    Ok(code)
}

/// The report that `--json` prints.
#[derive(Debug, Serialize)]
struct LoginReport<'a> {
    jid: &'a str,
    steps: Vec<super::steps::Done>,
    outcome: Outcome,
    condition: Option<String>,
    text: Option<String>,
    bound: Option<String>,
    tls: Option<Tls>,
    mechanisms: Vec<String>,
}

impl<'a> LoginReport<'a> {
    fn new(jid: &'a str) -> Self {
        Self {
            jid,
            steps: Vec::new(),
            outcome: Outcome::Unreachable,
            condition: None,
            text: None,
            bound: None,
            tls: None,
            mechanisms: Vec::new(),
        }
    }

    fn take(&mut self, steps: Steps) {
        self.steps = steps.done;
        self.tls = steps.tls;
        self.mechanisms = steps.mechanisms;
        self.bound = steps.bound;
    }

    fn explain(&mut self, error: &LoginError) {
        if let Some(refusal) = error.refusal() {
            self.condition = Some(refusal.condition.clone());
            self.text.clone_from(&refusal.text);
        }
    }
}

struct LoginInput {
    account: BareJid,
    route: Route,
    trust: Trust,
    identity: Identity,
    credential: Credential,
}

fn prepare(args: &LoginArgs) -> anyhow::Result<LoginInput> {
    let read = |path: &Path| certificate::read(path).with_context(|| path.display().to_string());
    let identity = Identity::from_pem(&read(&args.cert)?, &read(&args.key)?)
        .with_context(|| format!("{} with {}", args.cert.display(), args.key.display()))?;
    let authzid = args
        .authzid
        .as_deref()
        .map(|given| Jid::new(given).with_context(|| format!("--authzid {given}")));
    Ok(LoginInput {
        account: account(&args.jid)?,
        route: args.server.route()?,
        trust: args.server.trust()?,
        identity,
        credential: Credential::Certificate {
            authzid: authzid.transpose()?.map(|jid| jid.to_string()),
            force: args.force,
        },
    })
}

async fn try_login(
    prepared: &LoginInput,
    steps: &mut Steps,
    report: &mut LoginReport<'_>,
) -> Outcome {
    steps.begin_login(Kind::Certificate);
    let plan = Plan {
        account: &prepared.account,
        route: &prepared.route,
        trust: &prepared.trust,
        identity: Some(&prepared.identity),
        credential: &prepared.credential,
        deadlines: deadlines(),
    };
    match log_in(&plan, &mut |progress| steps.watch(progress)).await {
        Ok(session) => {
            session.close().await;
            Outcome::LoggedIn
        }
        Err(error) => {
            report.explain(&error);
            steps.login_failed(&error, prepared.account.domain().as_str())
        }
    }
}

/// Reads an account's address; a resource in it makes no sense here.
pub(super) fn account(given: &str) -> anyhow::Result<BareJid> {
    let shown = visible(given);
    let jid = identity::Jid::parse(given)
        .map_err(|error| anyhow!("{shown} is not an account (user@host): {error}"))?;
    ensure!(
        jid.account().is_some(),
        "{shown} is a server, not an account: an address has an @"
    );
    ensure!(
        jid.resource().is_none(),
        "{shown} is not an account (user@host): nothing stands behind the host"
    );
    // The two libraries may differ about rare letters.
    BareJid::new(given).map_err(|_| {
        anyhow!("{shown} is not an account (user@host): a character that is not allowed")
    })
}

/// Each step ten seconds, a minute in all.
pub(super) fn deadlines() -> Deadlines {
    Deadlines::starting_now(Duration::from_secs(10), Duration::from_mins(1))
}

/// 0 as wished, 1 the server said no, 2 nobody knows.
pub(super) fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::LoggedIn | Outcome::Enrolled => ExitCode::SUCCESS,
        Outcome::Refused => ExitCode::from(1),
        Outcome::Unreachable => ExitCode::from(2),
    }
}

impl ServerArgs {
    /// The way to the server.
    pub(super) fn route(&self) -> anyhow::Result<Route> {
        let server = self
            .server
            .as_deref()
            .map(str::parse::<Server>)
            .transpose()
            .context("--server")?;
        Ok(Route {
            server,
            direct_tls: self.direct_tls,
        })
    }

    /// Whom to believe.
    pub(super) fn trust(&self) -> anyhow::Result<Trust> {
        match &self.ca_file {
            _ if self.insecure => Ok(Trust::Anybody),
            Some(path) => Trust::file(path).context("--ca-file"),
            None => Ok(Trust::this_machine()?),
        }
    }

    /// Says on stderr what `--insecure` gives away.
    pub(super) fn warn(&self) {
        if self.insecure {
            eprintln!(
                "warning: --insecure: the server's certificate isn't verified; anybody could be answering"
            );
        }
    }
}
