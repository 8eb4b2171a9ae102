//! The fields of each question, and the values that stand in them. docs/protocol.md is their reference.
//!
//! Must not know: what a question means.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::each::Each;
use super::fault::Fault;
use super::fields::fields;
use super::limits::{
    MAX_CERTIFICATE_BASE64_BYTES, MAX_CHAIN, MAX_CHAIN_BASE64_BYTES, PROTOCOL_VERSION,
};
use super::request::{Before, Lane, Request};
use super::role::Role;
use crate::identity::{
    BareJid, CertificationPath, Fingerprint, Host, Incarnation, Jid, KeyId, ScramHash, UnixSeconds,
};

/// DER, as base64 that may be folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(pub Vec<u8>);

impl Certificate {
    /// The bytes that `text` encodes; white space in it is ignored (XEP-0257's own example has line breaks).
    ///
    /// Errors: it is too long, or no base64.
    pub fn from_base64(text: &str) -> Result<Self, NotDecoded> {
        let solid: String = text.split_ascii_whitespace().collect();
        if solid.len() > MAX_CERTIFICATE_BASE64_BYTES {
            return Err(NotDecoded::TooLong);
        }
        let decoded = BASE64.decode(solid);
        decoded.map(Self).map_err(|_| NotDecoded::NotBase64)
    }
}

/// Why a text is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecoded {
    /// More than any has.
    #[error("is longer than {MAX_CERTIFICATE_BASE64_BYTES} bytes of base64")]
    TooLong,
    /// Other letters, or not whole.
    #[error("is not base64")]
    NotBase64,
}

/// As it goes out: base64 without line breaks.
#[must_use]
pub fn base64_of(der: &[u8]) -> String {
    BASE64.encode(der)
}

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
}

impl Request for Offer {
    const METHOD: &'static str = "external.offer";
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

/// A chain as the client presented it: 1 to [`MAX_CHAIN`] certificates, leaf first.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain(Vec<Vec<u8>>);

impl Chain {
    /// The client's own certificate.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// What it presented beside it, to show who issued it.
    #[must_use]
    pub fn intermediates(&self) -> Vec<&[u8]> {
        self.0.iter().skip(1).map(Vec::as_slice).collect()
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let texts = Vec::<String>::deserialize(deserializer)?;
        let total: usize = texts.iter().map(String::len).sum();
        if !(1..=MAX_CHAIN).contains(&texts.len()) || total > MAX_CHAIN_BASE64_BYTES {
            return Err(D::Error::custom(
                "a chain has 1 to 6 certificates and at most 65536 bytes of base64",
            ));
        }
        let decoded = texts.iter().map(|text| Certificate::from_base64(text));
        let chain: Result<Vec<Vec<u8>>, _> = decoded.map(|cert| cert.map(|cert| cert.0)).collect();
        chain
            .map(Self)
            .map_err(|error| D::Error::custom(format!("a certificate of the chain {error}")))
    }
}

/// Bytes as base64, both ways.
pub mod in_base64 {
    use super::{BASE64, Engine};
    use serde::{Deserializer, Serializer};

    /// As base64.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    /// Out of base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        super::bytes(deserializer)
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64.decode(text).map_err(serde::de::Error::custom)
}

fn optional_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| BASE64.decode(text).map_err(serde::de::Error::custom))
        .transpose()
}

/// How the asking session logged in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Session {
    /// Its stream is encrypted.
    pub secure: bool,
    /// By what it logged in.
    pub by: SessionBy,
    /// The SASL mechanism, if it is not known what that proves; none if there was none.
    pub mechanism: Option<String>,
    /// Its certificate, if that is how it logged in.
    pub fingerprint: Option<Fingerprint>,
    /// The key of that.
    pub key_id: Option<KeyId>,
    /// Its full JID.
    pub jid: Option<Jid>,
    /// Its client's address.
    pub address: Option<String>,
}

/// By what a session logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionBy {
    /// By this `mechanism`.
    Sasl,
    /// By a password, as the asker knows.
    Password,
    /// EXTERNAL.
    Certificate,
    /// By nothing: an administrator of the server asks, in its shell or with `prosodyctl`.
    Admin,
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
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// `account.exists`.
#[derive(Debug, Deserialize)]
pub struct AccountExists {
    /// Which.
    pub account: BareJid,
}

impl Request for AccountExists {
    const METHOD: &'static str = "account.exists";
    const LANE: Lane = Lane::AtOnce;
}

/// `account.enable`.
#[derive(Debug, Deserialize)]
pub struct EnableAccount {
    /// Which.
    pub account: BareJid,
}

impl Request for EnableAccount {
    const METHOD: &'static str = "account.enable";
    const LANE: Lane = Lane::Task;
}

/// `account.disable`.
#[derive(Debug, Deserialize)]
pub struct DisableAccount {
    /// Which.
    pub account: BareJid,
}

impl Request for DisableAccount {
    const METHOD: &'static str = "account.disable";
    const LANE: Lane = Lane::Task;
}

/// `host.scram`.
#[derive(Debug, Deserialize)]
pub struct OfHost {
    /// Which.
    pub host: Host,
}

impl Request for OfHost {
    const METHOD: &'static str = "host.scram";
    const LANE: Lane = Lane::AtOnce;
}

/// `account.check`.
#[derive(Debug, Deserialize)]
pub struct Check {
    /// Accounts with live sessions.
    pub accounts: Each<Checked>,
}

impl Request for Check {
    const METHOD: &'static str = "account.check";
    const LANE: Lane = Lane::Task;
}

/// An account as it was when a session of it logged in.
#[derive(Debug, Deserialize)]
pub struct Checked {
    /// Which.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Option<Incarnation>,
    /// When it had got its password; `None` if that does not matter.
    pub password_changed: Option<UnixSeconds>,
}

/// `account.verify`.
#[derive(Debug, Deserialize)]
pub struct Verify {
    /// Whose password it is to be.
    pub account: BareJid,
    /// As the client sent it.
    pub password: Text,
    /// The client's address.
    pub address: Option<String>,
}

impl Request for Verify {
    const METHOD: &'static str = "account.verify";
    const LANE: Lane = Lane::Try;

    fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
}

/// `account.scram`.
#[derive(Debug, Deserialize)]
pub struct Scram {
    /// Who says to be whom.
    pub account: BareJid,
    /// Of the mechanism that the client chose.
    pub hash: ScramHash,
}

impl Request for Scram {
    const METHOD: &'static str = "account.scram";
    const LANE: Lane = Lane::AtOnce;
}

/// `account.succeeded`.
#[derive(Debug, Deserialize)]
pub struct Succeeded {
    /// As whom the client is to be logged in.
    pub account: BareJid,
    /// Of the mechanism.
    pub hash: ScramHash,
    /// Against which the proof was checked.
    #[serde(deserialize_with = "bytes")]
    pub stored_key: Vec<u8>,
    /// The client's address.
    pub address: Option<String>,
}

impl Request for Succeeded {
    const METHOD: &'static str = "account.succeeded";
    const LANE: Lane = Lane::Task;
}

/// `account.admit`.
#[derive(Debug, Deserialize)]
pub struct Admit {
    /// Whose session is to begin.
    pub account: BareJid,
    /// The SASL mechanism that has logged it in; none if there was none.
    pub mechanism: Option<String>,
    /// The client's address.
    pub address: Option<String>,
}

impl Request for Admit {
    const METHOD: &'static str = "account.admit";
    const LANE: Lane = Lane::Task;
}

/// `account.failed`.
#[derive(Debug, Deserialize)]
pub struct Failed {
    /// As whom the client tried to log in.
    pub account: BareJid,
    /// The client's address.
    pub address: Option<String>,
}

impl Request for Failed {
    const METHOD: &'static str = "account.failed";
    const LANE: Lane = Lane::AtOnce;
}

/// `account.create`.
#[derive(Debug, Deserialize)]
pub struct Create {
    /// Which.
    pub account: BareJid,
    /// `None` reserves the name.
    pub password: Option<Text>,
    /// As the answer to that question named it: the name is reserved for whoever asks.
    pub reservation: Option<String>,
    /// For whom.
    pub caller: CreateCaller,
}

impl Request for Create {
    const METHOD: &'static str = "account.create";
    const LANE: Lane = Lane::Change;
}

/// For whom an account is created.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CreateCaller {
    /// See [`crate::policy::account::Caller`].
    Server,
    /// See there.
    Prosodyctl,
    /// See there.
    Reset,
}

/// `account.set_password`.
#[derive(Debug, Deserialize)]
pub struct SetPassword {
    /// Whose.
    pub account: BareJid,
    /// The new one.
    pub password: Text,
}

impl Request for SetPassword {
    const METHOD: &'static str = "account.set_password";
    const LANE: Lane = Lane::Change;
}

/// `account.delete`.
#[derive(Debug, Deserialize)]
pub struct Delete {
    /// Which.
    pub account: BareJid,
    /// Which account of that name; `None`: whichever has it.
    pub incarnation: Option<Incarnation>,
    /// No account, but a name that was reserved.
    pub reservation: Option<String>,
}

impl Request for Delete {
    const METHOD: &'static str = "account.delete";
    const LANE: Lane = Lane::Task;
}

/// `account.list`.
#[derive(Debug, Deserialize)]
pub struct ListAccounts {
    /// Of which host.
    pub host: Host,
    /// The last page's `next`.
    pub after: Option<String>,
}

impl Request for ListAccounts {
    const METHOD: &'static str = "account.list";
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

/// Text that is wiped when it is dropped.
pub struct Text(pub Zeroizing<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own words would say what stands there instead: a password that is a number, say.
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(Zeroizing::new(text))),
            _ => Err(serde::de::Error::custom("a string is wanted")),
        }
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text(…)")
    }
}

/// `session.opened`.
#[derive(Debug, Deserialize)]
pub struct Opened {
    /// Which.
    pub sessions: Each<OpenedSession>,
}

impl Request for Opened {
    const METHOD: &'static str = "session.opened";
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn certificates_may_be_folded_but_not_too_long() {
        assert_eq!(
            Certificate::from_base64(" AQ\r\n ID\t"),
            Ok(Certificate(vec![1, 2, 3]))
        );
        for text in ["A", "A===", "AQ==AQ==", "@@@@"] {
            assert_eq!(Certificate::from_base64(text), Err(NotDecoded::NotBase64));
        }
        let long = "A".repeat(24 * 1024 + 4);
        assert_eq!(Certificate::from_base64(&long), Err(NotDecoded::TooLong));
    }

    #[test]
    fn a_chain_that_is_too_long_is_not_said_to_be_no_base64() {
        let long = "A".repeat(24 * 1024 + 4);
        for (chain, wanted) in [
            (vec!["AQID", &long], "is longer than 24576 bytes of base64"),
            (vec!["AQID", "@"], "is not base64"),
            (vec!["AQID"; 7], "a chain has 1 to 6 certificates"),
            (vec![], "a chain has 1 to 6 certificates"),
        ] {
            let refused = serde_json::from_value::<Chain>(serde_json::json!(chain));
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(wanted), "{refused}");
        }
    }
}
