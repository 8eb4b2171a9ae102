//! The fields of each question, and the values that stand in them. docs/protocol.md is their reference.
//!
//! Must not know: what a question means.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::each::Each;
use super::fault::Fault;
use super::fields::fields;
use super::limits::PROTOCOL_VERSION;
use super::request::{Before, Lane, Request};
use super::role::Role;
use super::values::{Chain, Session, Text, bytes, in_base64, optional_bytes};
use crate::identity::{
    BareJid, CertificationPath, Fingerprint, Host, Incarnation, KeyId, ScramHash, UnixSeconds,
};

/// `session.hello`.
#[derive(Debug, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub protocol: u32,
    /// Who asks, for the log and `status`.
    pub software: String,
    /// The hosts that it serves.
    #[serde(default)]
    pub hosts: Each<HelloHost>,
    /// These hosts come beside those of the hello before, which did not fit into one line.
    #[serde(default)]
    pub continued: bool,
    /// Does it keep sessions, which it can be asked to close?
    #[serde(default = "yes")]
    pub sessions: bool,
    /// The module that asks, if it is one.
    #[serde(default)]
    pub module: Option<Module>,
}

/// `session.hello`, of whatever version of the protocol: what is the same in all of them.
#[derive(Debug, Deserialize)]
pub struct Greeting {
    /// Version of the protocol.
    pub protocol: u32,
    /// Who asks.
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
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum AnyHello {
    /// Of this one.
    Ours(Hello),
    /// Of another: the rest may look different there.
    Other(Greeting),
}

impl Request for AnyHello {
    const METHOD: &'static str = "session.hello";
    type Answer = Value;
    const LANE: Lane = Lane::AtOnce;

    fn read(params: Value) -> Result<Self, Fault> {
        match Greeting::deserialize(&params) {
            Ok(other) if other.protocol != PROTOCOL_VERSION => Ok(Self::Other(other)),
            _ => fields(params).map(Self::Ours),
        }
    }
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
#[derive(Debug, Deserialize)]
pub struct HelloHost {
    /// Which, as the asker calls it: one that is no domain is refused by itself, and not the others with it.
    pub host: String,
    /// Where its accounts live.
    #[serde(default)]
    pub accounts: Accounts,
    /// Its options; without, the host is only attached to.
    pub options: Option<Map<String, Value>>,
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

/// `external.offer`.
#[derive(Debug, Deserialize)]
pub struct Offer {
    /// The host that the client connected to.
    pub host: Host,
    /// Leaf first.
    pub chain: Chain,
    /// The client's address.
    pub address: Option<String>,
    /// What is known of the candidates, when it is asked again; of accounts that live in the daemon nothing needs to be.
    pub accounts: Option<Each<LoginAccount>>,
}

impl Request for Offer {
    const METHOD: &'static str = "external.offer";
    type Answer = Value;
    const BEFORE: Before = Before::HelloWithSessions;
    const LANE: Lane = Lane::AtOnce;
}

/// `external.login`.
#[derive(Debug, Deserialize)]
pub struct Login {
    /// The host that the client connected to.
    pub host: Host,
    /// Leaf first.
    pub chain: Chain,
    /// The bytes that the client sent.
    #[serde(default, deserialize_with = "optional_bytes")]
    pub authzid: Option<Vec<u8>>,
    /// In SASL2, the `from` of the stream's header, as the client sent it.
    pub stream_from: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// What is known of the candidates.
    #[serde(default)]
    pub accounts: Each<LoginAccount>,
}

impl Request for Login {
    const METHOD: &'static str = "external.login";
    type Answer = Value;
    const BEFORE: Before = Before::HelloWithSessions;
    const LANE: Lane = Lane::AtOnce;
}

/// One candidate in a login.
#[derive(Debug, Deserialize)]
pub struct LoginAccount {
    /// Its localpart.
    pub username: String,
    /// Does it exist?
    pub exists: bool,
    /// Is it enabled?
    pub enabled: bool,
    /// Which account of that name.
    pub incarnation: Option<Incarnation>,
}

/// `certificate.list`.
#[derive(Debug, Deserialize)]
pub struct List {
    /// Whose list.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Option<Incarnation>,
    /// The asking session; none for an admin.
    pub session: Option<Session>,
    /// The `next` of the page before.
    pub after: Option<u64>,
}

impl Request for List {
    const METHOD: &'static str = "certificate.list";
    type Answer = Value;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// `certificate.append`.
#[derive(Debug, Deserialize)]
pub struct Append {
    /// To whose list.
    pub account: BareJid,
    /// Which account of that name; needed for accounts in Prosody, but for an admin.
    pub incarnation: Option<Incarnation>,
    /// The asking session; none for an admin.
    pub session: Option<Session>,
    /// Under which name.
    pub name: String,
    /// Base64.
    pub certificate: String,
    /// May its sessions add and remove certificates?
    pub may_manage: bool,
}

impl Request for Append {
    const METHOD: &'static str = "certificate.append";
    type Answer = Value;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// `certificate.revoke`: by name or by key.
#[derive(Debug, Deserialize)]
pub struct Revoke {
    /// Of whose list.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Option<Incarnation>,
    /// The asking session; none for an admin.
    pub session: Option<Session>,
    /// What the certificate is called.
    pub name: Option<String>,
    /// Or its key.
    pub key_id: Option<KeyId>,
}

impl Request for Revoke {
    const METHOD: &'static str = "certificate.revoke";
    type Answer = Value;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// `certificate.disable`.
#[derive(Debug, Deserialize)]
pub struct Named {
    /// Of whose list.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Option<Incarnation>,
    /// The asking session; none for an admin.
    pub session: Option<Session>,
    /// Which certificate.
    pub name: String,
}

impl Request for Named {
    const METHOD: &'static str = "certificate.disable";
    type Answer = Value;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// `certificate.unrevoke`.
#[derive(Debug, Deserialize)]
pub struct Unrevoke {
    /// For which account.
    pub account: BareJid,
    /// Which key; none for all of them.
    pub key_id: Option<KeyId>,
}

impl Request for Unrevoke {
    const METHOD: &'static str = "certificate.unrevoke";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// `certificate.marks`.
#[derive(Debug, Deserialize)]
pub struct Marked {
    /// Of which account.
    pub account: BareJid,
}

impl Request for Marked {
    const METHOD: &'static str = "certificate.marks";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// `certificate.expiring`.
#[derive(Debug, Deserialize)]
pub struct Expiring {
    /// On which host.
    pub host: Host,
    /// Within how many days.
    pub days: u16,
}

impl Request for Expiring {
    const METHOD: &'static str = "certificate.expiring";
    type Answer = Value;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// `store.check`.
#[derive(Debug, Deserialize)]
pub struct StoreCheck {
    /// Begin one, unless one runs.
    pub start: bool,
}

impl Request for StoreCheck {
    const METHOD: &'static str = "store.check";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::AtOnce;
}

/// `explain`.
#[derive(Debug, Deserialize)]
pub struct Explain {
    /// Who is to log in.
    pub account: BareJid,
    /// With which certificate.
    pub chain: Chain,
    /// Asking for which identity.
    pub authzid: Option<String>,
}

impl Request for Explain {
    const METHOD: &'static str = "explain";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// `status`.
#[derive(Debug, Default, Deserialize)]
pub struct Status {
    /// The last page's `next`.
    pub after: Option<Host>,
}

impl Request for Status {
    const METHOD: &'static str = "status";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// `host.list`.
#[derive(Debug, Deserialize)]
pub struct ListHosts {
    /// The last page's `next`.
    pub after: Option<Host>,
}

impl Request for ListHosts {
    const METHOD: &'static str = "host.list";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// `host.forget`.
#[derive(Debug, Deserialize)]
pub struct ForgetHost {
    /// Which.
    pub host: Host,
}

impl Request for ForgetHost {
    const METHOD: &'static str = "host.forget";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// `export`.
#[derive(Debug, Deserialize)]
pub struct Export {
    /// The last page's `next`.
    pub after: Option<Exported>,
}

impl Request for Export {
    const METHOD: &'static str = "export";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// Up to where an export has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Exported {
    /// Behind this account, which is whole.
    Account(BareJid),
    /// Behind this host.
    Host {
        /// Which.
        host: Host,
    },
    /// In the middle of an account that is larger than a page.
    Inside {
        /// Which.
        account: BareJid,
        /// Where in it.
        #[serde(with = "in_base64")]
        place: Vec<u8>,
    },
}

/// `import`.
#[derive(Deserialize)]
pub struct Import {
    /// As an export gave them.
    pub records: Vec<Value>,
    /// Write them?
    pub apply: bool,
}

impl Request for Import {
    const METHOD: &'static str = "import";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// `account.import`.
#[derive(Debug, Deserialize)]
pub struct ImportAccount {
    /// Which.
    pub account: BareJid,
    /// Which account of that name it was, where it comes from.
    pub incarnation: Option<Incarnation>,
    /// Its password; without, only certificates are brought.
    pub login: Option<ImportLogin>,
    /// Its certificates.
    pub certificates: Vec<ImportCertificate>,
    /// Write it?
    pub apply: bool,
}

impl Request for ImportAccount {
    const METHOD: &'static str = "account.import";
    type Answer = Value;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Change;

    fn lane(&self) -> Lane {
        let brings_password = self
            .login
            .as_ref()
            .is_some_and(|login| login.password.is_some());
        // Without a password nothing is derived; but Prosody may have to be waited for, and not in a turn of others.
        if brings_password {
            Lane::Change
        } else {
            Lane::Task
        }
    }
}

/// A password that is brought: as it is, or its verifiers.
#[derive(Debug, Deserialize)]
pub struct ImportLogin {
    /// May anybody log in with it?
    pub enabled: bool,
    /// When the account was created; now, if that is not known.
    pub created: Option<UnixSeconds>,
    /// When it got this password.
    pub password_changed: Option<UnixSeconds>,
    /// The password; then there are no verifiers.
    pub password: Option<Text>,
    /// Its verifiers.
    #[serde(default)]
    pub scram: Vec<ImportVerifier>,
}

/// One verifier.
#[derive(Deserialize)]
pub struct ImportVerifier {
    /// Of which mechanism.
    pub hash: ScramHash,
    /// The salt.
    #[serde(deserialize_with = "bytes")]
    pub salt: Vec<u8>,
    /// The iteration count.
    pub iterations: u32,
    /// The StoredKey.
    #[serde(deserialize_with = "bytes")]
    pub stored_key: Vec<u8>,
    /// The ServerKey.
    #[serde(deserialize_with = "bytes")]
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for ImportVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImportVerifier({}, …)", self.hash.name())
    }
}

/// One certificate that is brought.
#[derive(Debug, Deserialize)]
pub struct ImportCertificate {
    /// Under which name.
    pub name: String,
    /// Base64.
    pub certificate: String,
    /// May its sessions add and remove certificates?
    pub may_manage: bool,
}

/// `session.opened`.
#[derive(Debug, Deserialize)]
pub struct Opened {
    /// Which.
    pub sessions: Each<OpenedSession>,
}

impl Request for Opened {
    const METHOD: &'static str = "session.opened";
    type Answer = Value;
    const LANE: Lane = Lane::AtOnce;
}

/// A live session that logged in with a certificate.
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Debug, Deserialize)]
pub struct Closed {
    /// Which.
    pub sessions: Each<ClosedSession>,
}

/// A session that has ended.
#[derive(Clone, Debug, Deserialize)]
pub struct ClosedSession {
    /// Its account.
    pub account: BareJid,
    /// Its resource.
    pub resource: String,
}
