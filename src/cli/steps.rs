//! The steps of a login, in words for people and as JSON.
//!
//! Must not know: how a step is done.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::advice::{CertificateQuestion, Kind, advice};
use super::say::say;
use crate::client::causes::chain;
use crate::client::login::{LoginError, Progress, Step};
use crate::client::resolve::Security;
use crate::client::stream::Features;
use crate::client::tls;
use crate::identity::visible::visible;

/// How a login goes does not depend on whether somebody reads of it.
fn print(line: &str) {
    let _ = say(line);
}

/// The steps so far, and how each went.
pub(super) struct Steps {
    /// One object is printed at the end, nothing before.
    json: bool,
    credential: Kind,
    spinner: Option<ProgressBar>,
    current: &'static str,
    security: Security,
    pub(super) done: Vec<Done>,
    pub(super) tls: Option<Tls>,
    pub(super) mechanisms: Vec<String>,
    pub(super) bound: Option<String>,
}

/// One finished step.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    step: &'static str,
    ok: bool,
    detail: String,
}

/// The facts about TLS, for JSON.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Tls {
    version: &'static str,
    cipher: String,
    server_verified: bool,
    certificate_requested: bool,
    certificate_sent: bool,
}

/// How it all ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    LoggedIn,
    Enrolled,
    Refused,
    Unreachable,
}

impl Steps {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            credential: Kind::Certificate,
            spinner: None,
            current: "files",
            security: Security::StartTls,
            done: Vec::new(),
            tls: None,
            mechanisms: Vec::new(),
            bound: None,
        }
    }

    /// Forgets what the last login told, and keeps the list of steps: another login begins.
    pub(super) fn begin_login(&mut self, credential: Kind) {
        self.credential = credential;
        self.tls = None;
        self.mechanisms.clear();
        self.bound = None;
    }

    /// Notes a login's progress.
    pub(super) fn watch(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Begins(step) => self.begin(name(step, self.credential)),
            Progress::Resolved(candidates) => {
                let found = candidates
                    .iter()
                    .map(|found| format!("{} ({})", found.address, found.security));
                self.ok(&found.collect::<Vec<_>>().join(", "));
            }
            Progress::Connected(candidate) => {
                self.security = candidate.security;
                self.ok(&format!(
                    "connected to {}, {}",
                    candidate.address, candidate.security
                ));
            }
            Progress::TlsMayStart => self.ok("the server is ready for TLS"),
            Progress::Secured(facts) => {
                self.tls = Some(Tls::from(facts));
                self.ok(&tls_in_words(facts));
            }
            Progress::Offered(Features { mechanisms, .. }) => {
                self.mechanisms.clone_from(mechanisms);
                let offered = if mechanisms.is_empty() {
                    "none".to_owned()
                } else {
                    mechanisms.join(" ")
                };
                self.ok(&offered);
            }
            Progress::Authenticated(mechanism) => self.ok(&format!("accepted ({mechanism})")),
            Progress::Bound(address) => {
                self.bound = Some(address.to_string());
                self.ok(&format!("logged in as {address}"));
            }
        }
    }

    /// A step begins.
    pub(super) fn begin(&mut self, step: &'static str) {
        self.current = step;
        if !self.json && stderr().is_terminal() {
            let style = ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let spinner = ProgressBar::new_spinner()
                .with_style(style)
                .with_message(format!("{step} …"));
            spinner.enable_steady_tick(Duration::from_millis(100));
            self.spinner = Some(spinner);
        }
    }

    /// The current step went well.
    pub(super) fn ok(&mut self, detail: &str) {
        self.end(true, detail);
    }

    /// The current step went wrong.
    pub(super) fn failed(&mut self, detail: &str) {
        self.end(false, detail);
    }

    /// A line for people.
    pub(super) fn say(&self, line: &str) {
        if !self.json {
            print(line);
        }
    }

    /// The current login failed: notes it, says what usually causes it, and how to count it.
    pub(super) fn login_failed(&mut self, error: &LoginError, domain: &str) -> Outcome {
        self.failed(&chain(error));
        if let Some(advice) = self.advice(error, domain) {
            self.say("");
            self.say(&advice);
        }
        if error.is_refusal() {
            Outcome::Refused
        } else {
            Outcome::Unreachable
        }
    }

    fn advice(&self, error: &LoginError, domain: &str) -> Option<String> {
        let asked = self.tls.as_ref().map_or(CertificateQuestion::Never, |tls| {
            match (tls.certificate_requested, tls.certificate_sent) {
                (false, _) => CertificateQuestion::Never,
                (true, false) => CertificateQuestion::NotAnswered,
                (true, true) => CertificateQuestion::Answered,
            }
        });
        advice(error, self.credential, asked, self.security, domain)
    }

    fn end(&mut self, ok: bool, detail: &str) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
        let detail = visible(detail).into_owned();
        if !self.json {
            let how = if ok { "ok" } else { "FAILED" };
            print(&format!("{:<10}  {how:<6}  {detail}", self.current));
        }
        self.done.push(Done {
            step: self.current,
            ok,
            detail,
        });
    }
}

impl From<&tls::Facts> for Tls {
    fn from(facts: &tls::Facts) -> Self {
        Self {
            version: facts.version,
            cipher: facts.cipher.clone(),
            server_verified: facts.verified,
            certificate_requested: facts.certificate_request.is_some(),
            certificate_sent: facts
                .certificate_request
                .is_some_and(|request| request.answered),
        }
    }
}

fn name(step: Step, credential: Kind) -> &'static str {
    match (step, credential) {
        (Step::Resolve, _) => "resolve",
        (Step::Tcp, _) => "tcp",
        (Step::StartTls, _) => "starttls",
        (Step::Tls, _) => "tls",
        (Step::Mechanisms, _) => "mechanisms",
        (Step::Authenticate, Kind::Certificate) => "external",
        (Step::Authenticate, Kind::Password) => "password",
        (Step::Bind, _) => "bind",
    }
}

fn tls_in_words(facts: &tls::Facts) -> String {
    let verified = if facts.verified {
        "server certificate verified"
    } else {
        "server certificate NOT verified"
    };
    let asked = match facts.certificate_request {
        None => "the server asked for no client certificate".to_owned(),
        Some(tls::CertificateRequest { answered: true, .. }) => {
            "the server asked for a client certificate and got ours".to_owned()
        }
        Some(tls::CertificateRequest {
            answered: false, ..
        }) => "the server asked for a client certificate and got none".to_owned(),
    };
    format!("{}, {}; {verified}; {asked}", facts.version, facts.cipher)
}
