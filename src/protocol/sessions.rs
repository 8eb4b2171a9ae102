//! `session.…`: what a server says of itself, its hosts and its live sessions.
//!
//! Must not know: what becomes of them.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::each::{Bad, Each};
use super::fault::Fault;
use super::fields::fields;
use super::limits::PROTOCOL_VERSION;
use super::request::{Lane, Notice, Request};
use super::servers::{AccountChanged, Checked, Close};
use crate::identity::{
    BareJid, CertificationPath, Fingerprint, Incarnation, KeyId, ScramHash, UnixSeconds,
};
use crate::policy::access::Before;
use crate::policy::page::Web;

/// `session.hello`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub protocol: u32,
    /// The asker's name and version, for the log and `status`.
    pub software: String,
    /// The hosts that it serves.
    #[serde(default)]
    pub hosts: Each<HelloHost>,
    /// The options that hold for all of them, and those of the whole server; none, if those of each host are all there are.
    #[serde(default)]
    pub global: Option<Map<String, Value>>,
    /// The folder where relative paths in options start.
    #[serde(default)]
    pub folder: Option<String>,
    /// These hosts come beside those of the hello before, which did not fit into one line.
    #[serde(default)]
    pub continued: bool,
    /// Does it keep sessions, which it can be asked to close?
    #[serde(default = "yes")]
    pub sessions: bool,
    /// The module that asks, if it is one.
    #[serde(default)]
    pub module: Option<Module>,
    /// How long its asker, or whoever asks through it, waits for a yes at most, in milliseconds; what comes later lets nobody in.
    /// At most [`MAX_WAITS_MS`](super::MAX_WAITS_MS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_ms: Option<u32>,
}

/// `session.hello`, of whatever version of the protocol: what is the same in all of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Greeting {
    /// Version of the protocol.
    pub protocol: u32,
    /// The asker's name and version.
    #[serde(default)]
    pub software: String,
    /// Does it keep sessions?
    #[serde(default = "yes")]
    pub sessions: bool,
    /// The module that asks, if it is one.
    #[serde(default)]
    pub module: Option<Module>,
}

/// `session.hello`, of this version of the protocol or of another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnyHello {
    /// Of this one.
    Ours(Hello),
    /// Of another: the rest may look different there.
    Other(Greeting),
}

impl Request for AnyHello {
    const METHOD: &'static str = "session.hello";
    type Answer = Welcome;
    const LANE: Lane = Lane::AtOnce;

    fn read(params: &str) -> Result<Self, Fault> {
        match serde_json::from_str::<Greeting>(params) {
            Ok(other) if other.protocol != PROTOCOL_VERSION => Ok(Self::Other(other)),
            _ => fields(params).map(Self::Ours),
        }
    }
}

/// The answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version of the protocol.
    pub protocol: u32,
    /// The daemon's name and version.
    pub software: String,
    /// The hosts of the hello, in its order.
    pub hosts: Vec<HostWelcome>,
    /// Lines on the options for the asker's log.
    pub log: Vec<LogLine>,
    /// The error that a session which a certificate has logged in hears when it asks for another password, or for the account's end.
    pub registration: StanzaError,
}

/// A stanza error (RFC 6120 8.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StanzaError {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// Its condition.
    pub condition: Cow<'static, str>,
    /// In words.
    pub text: Cow<'static, str>,
}

/// A host in the answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostWelcome {
    /// As the asker calls it where it is not a domain; else prepared.
    pub host: String,
    /// Does it get EXTERNAL?
    pub ready: bool,
    /// Do users have lists of certificates?
    pub lists: bool,
    /// Is what a client presents behind its certificate looked at?
    pub chain: bool,
    /// Why it is not ready.
    pub errors: Vec<HostRemark>,
    /// Other things that its admin should know.
    pub warnings: Vec<HostRemark>,
    /// The hashes that every account has, for hosts whose accounts live in the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scram: Option<Vec<ScramHash>>,
}

/// A finished line for the asker's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Of which of its hosts; none: of the server.
    pub host: Option<String>,
    /// How bad it is.
    pub level: LogLevel,
    /// In words.
    pub text: String,
}

/// How bad it is what a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something may not.
    Warn,
}

/// A copy of Prosody's module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Module {
    /// Its version.
    pub version: String,
    /// The folder that it was loaded from.
    pub path: String,
}

fn yes() -> bool {
    true
}

/// One host in a hello.
#[derive(Debug, Serialize, Deserialize)]
pub struct HelloHost {
    /// Which, as the asker calls it: one that is no domain is refused by itself, and not the others with it.
    pub host: String,
    /// Where its accounts live.
    #[serde(default)]
    pub accounts: Accounts,
    /// Its own options; without, the host is only attached to.
    pub options: Option<Map<String, Value>>,
    /// The address of its page for devices, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// How that is served; an asker need not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<Web>,
}

/// A fault or an oddity of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRemark {
    /// The option that it is about, if it is one.
    pub option: Option<String>,
    /// In words.
    pub message: String,
}

/// Where a host's accounts live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accounts {
    /// In Prosody, with any auth provider.
    #[default]
    Prosody,
    /// In the daemon.
    Daemon,
}

/// `session.report`: all live sessions of the asker that logged in with a certificate, or whose accounts live in the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// All of them.
    pub sessions: Vec<LiveSession>,
}

impl Report {
    /// The sessions that a certificate has logged in; and all of them, as sessions of an account.
    #[must_use]
    pub fn halves(self) -> (Each<OpenedSession>, Each<Checked>) {
        let (opened, accounts): (Vec<_>, Vec<_>) = self
            .sessions
            .into_iter()
            .map(|session| (session.opened, session.account))
            .unzip();
        let opened = opened.into_iter().flatten();
        (opened.collect(), accounts.into_iter().collect())
    }
}

/// A session in a report. One half of it that is unreadable costs the other nothing.
#[derive(Debug)]
pub struct LiveSession {
    /// Its account, as it was when the session logged in.
    pub account: Result<Checked, Bad>,
    /// Its certificate, if one has logged it in.
    pub opened: Option<Result<OpenedSession, Bad>>,
}

impl<'de> Deserialize<'de> for LiveSession {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Either is enough to know that a certificate is meant.
        #[derive(Deserialize)]
        struct Marks {
            fingerprint: Option<IgnoredAny>,
            key_id: Option<IgnoredAny>,
        }
        let session = Box::<RawValue>::deserialize(deserializer)?;
        let marks = serde_json::from_str::<Marks>(session.get());
        // An unreadable entry is unreadable as a session of a certificate, too.
        let has_certificate = marks.map_or(true, |marks| {
            marks.fingerprint.is_some() || marks.key_id.is_some()
        });
        Ok(Self {
            account: Bad::or(&session),
            opened: has_certificate.then(|| Bad::or(&session)),
        })
    }
}

impl Serialize for LiveSession {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            #[serde(flatten)]
            opened: &'a OpenedSession,
            /// Account and incarnation are those of the certificate's session, too.
            password_changed: Option<UnixSeconds>,
        }
        // An asker has no bad entries.
        let good = |bad: &Bad| serde::ser::Error::custom(&bad.problem);
        let account = self.account.as_ref().map_err(good)?;
        match &self.opened {
            None => account.serialize(serializer),
            Some(opened) => Fields {
                opened: opened.as_ref().map_err(good)?,
                password_changed: account.password_changed,
            }
            .serialize(serializer),
        }
    }
}

impl Request for Report {
    const METHOD: &'static str = "session.report";
    type Answer = Reported;
    const BEFORE: Before = Before::AnyHello;
    const LANE: Lane = Lane::AtOnce;
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Sessions that are over.
    pub close: Vec<Close>,
    /// Accounts that have changed since their sessions logged in.
    pub changed: Vec<AccountChanged>,
}

/// The notification `session.opened`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Opened {
    /// The sessions.
    pub sessions: Each<OpenedSession>,
}

impl Notice for Opened {
    const METHOD: &'static str = "session.opened";
    const BEFORE: Before = Before::AnyHello;
}

/// A live session that logged in with a certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenedSession {
    /// Its account.
    pub account: BareJid,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// Its key.
    pub key_id: KeyId,
    /// Which account of that name it is of.
    pub incarnation: Option<Incarnation>,
    /// Its resource; none before it is bound.
    pub resource: Option<String>,
    /// By which path an authority vouched for it; none if it needed no authority.
    pub path: Option<CertificationPath>,
    /// Last second of its certificate's validity, as the answer to its login said; none if that is not known any more.
    #[serde(default)]
    pub not_after: Option<UnixSeconds>,
}

/// `session.closed`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Closed {
    /// The sessions.
    pub sessions: Each<ClosedSession>,
}

impl Notice for Closed {
    const METHOD: &'static str = "session.closed";
    const BEFORE: Before = Before::AnyHello;
}

/// A session that has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClosedSession {
    /// Its account.
    pub account: BareJid,
    /// Its resource.
    pub resource: String,
}
