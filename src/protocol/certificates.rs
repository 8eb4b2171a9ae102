//! `certificate.…`: the lists of accounts, each question with its answer.
//!
//! Must not know: who may change them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request::{Lane, Request};
use super::servers::Close;
use super::values::{Session, in_base64};
use crate::identity::{
    BareJid, CertificateName, Fingerprint, Host, Incarnation, KeyId, UnixSeconds,
};
use crate::policy::access::Before;
use crate::policy::access::Role;
use crate::policy::manage::request::Children;
use crate::wording::certificates::Row;
use crate::wording::links::OwnLink;

// `account`, `incarnation` and `session` stand in each question: flattened out of a shared struct, a wrong one is not named any more.

/// `certificate.list`.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// The account of the list.
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
    type Answer = CertificatePage;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// A page of a list, in the order in which its certificates were added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificatePage {
    /// The certificates.
    pub certificates: Vec<ListedCertificate>,
    /// To be asked for next; none behind the last page.
    pub next: Option<u64>,
    /// Certificates that were disabled and whose key is not in the list again.
    pub disabled: Vec<ListedMark>,
    /// The links that sessions of the account have made, and whose time is not over.
    pub links: Vec<OwnLink>,
}

/// A certificate of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedCertificate {
    /// Its texts for people.
    pub shown: ShownCertificate,
    /// The certificate itself.
    #[serde(with = "in_base64")]
    pub certificate: Vec<u8>,
    /// First second of its validity.
    pub not_before: UnixSeconds,
    /// Which account of that name has it.
    pub incarnation: Incarnation,
    /// All else.
    #[serde(flatten)]
    pub row: Row,
}

/// The texts of a listed certificate that somebody chose, as a person may read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownCertificate {
    /// Its name.
    pub name: String,
    /// The session that added it.
    pub added_jid: Option<String>,
    /// Where its last login came from.
    pub address: Option<String>,
    /// The resources of its live sessions.
    pub resources: Vec<String>,
}

/// A certificate that was disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedMark {
    /// Its former name.
    pub name: CertificateName,
    /// Its texts for people.
    pub shown: ShownName,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its key.
    pub key_id: KeyId,
}

/// A name that somebody chose, as a person may read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownName {
    /// The name.
    pub name: String,
}

/// `certificate.append`.
#[derive(Debug, Serialize, Deserialize)]
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
    type Answer = AppendedCertificate;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// A certificate is in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendedCertificate {
    /// Its name.
    pub name: CertificateName,
    /// Its texts for people.
    pub shown: ShownName,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// Last second of its validity.
    pub not_after: UnixSeconds,
    /// Sentences for its user.
    pub warnings: Vec<String>,
}

/// `certificate.revoke`: by name or by key.
#[derive(Debug, Serialize, Deserialize)]
pub struct Revoke {
    /// Of whose list.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Option<Incarnation>,
    /// The asking session; none for an admin.
    pub session: Option<Session>,
    /// The certificate's name.
    pub name: Option<String>,
    /// Or its key.
    pub key_id: Option<KeyId>,
}

impl Request for Revoke {
    const METHOD: &'static str = "certificate.revoke";
    type Answer = RevokedCertificate;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// A certificate is revoked, and its key with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedCertificate {
    /// The name of the certificate that the question meant.
    pub name: CertificateName,
    /// The texts for people.
    pub shown: ShownRevoked,
    /// SHA-256 of that certificate.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its key.
    pub key_id: KeyId,
    /// The names of the certificates that have left the list.
    pub removed: Vec<CertificateName>,
    /// The daemons of the same database that were silent, in words: sessions there are closed when they are back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// Names that somebody chose, as a person may read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRevoked {
    /// The name of the certificate that the question meant.
    pub name: String,
    /// The names of the certificates that have left the list.
    pub removed: Vec<String>,
}

/// `certificate.disable`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Disable {
    /// Of whose list.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Option<Incarnation>,
    /// The asking session; none for an admin.
    pub session: Option<Session>,
    /// Which certificate.
    pub name: String,
}

impl Request for Disable {
    const METHOD: &'static str = "certificate.disable";
    type Answer = DisabledCertificate;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// A certificate is out of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisabledCertificate {
    /// Its former name.
    pub name: CertificateName,
    /// Its texts for people.
    pub shown: ShownName,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
}

/// `certificate.request`: what a client asks for in XEP-0257, as it came.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClientRequest {
    /// Of whose list.
    pub account: BareJid,
    /// Which account of that name; needed to append, where accounts live in Prosody.
    pub incarnation: Option<Incarnation>,
    /// The asking session.
    pub session: Session,
    /// Which change.
    pub element: RequestElement,
    /// Its children.
    pub children: Children,
}

/// The element of a request that changes a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestElement {
    /// Adds a certificate.
    Append,
    /// Takes one out of the list.
    Disable,
    /// Revokes one, and its key.
    Revoke,
}

impl Request for ClientRequest {
    const METHOD: &'static str = "certificate.request";
    type Answer = ClientRequested;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// Its answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ClientRequested {
    /// Sessions that are closed as soon as the client has its answer.
    pub close: Vec<Close>,
}

/// `certificate.unrevoke`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unrevoke {
    /// For which account.
    pub account: BareJid,
    /// Which key; none for all of them.
    pub key_id: Option<KeyId>,
}

impl Request for Unrevoke {
    const METHOD: &'static str = "certificate.unrevoke";
    type Answer = Unrevoked;
    const ROLE: Role = Role::Admin;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// No key that was meant is revoked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrevoked {
    /// Was one?
    pub was_revoked: bool,
}

/// `certificate.marks`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListMarks {
    /// Of which account.
    pub account: BareJid,
}

impl Request for ListMarks {
    const METHOD: &'static str = "certificate.marks";
    type Answer = AccountMarks;
    const ROLE: Role = Role::Admin;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// The marks that keep certificates of an account out although they are not in its list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountMarks {
    /// The keys that are revoked, oldest first.
    pub revoked: Vec<RevokedKey>,
    /// The certificates that were disabled.
    pub disabled: Vec<DisabledMark>,
    /// How many more there are.
    pub left_out: usize,
}

/// A key that is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedKey {
    /// The key.
    pub key_id: KeyId,
    /// Since when.
    pub at: UnixSeconds,
}

/// A certificate that was disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisabledMark {
    /// Its former name.
    pub name: CertificateName,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its key.
    pub key_id: KeyId,
    /// Last second of its validity.
    pub not_after: UnixSeconds,
}

/// `certificate.expiring`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Expiring {
    /// Within how many days.
    pub days: u16,
}

impl Request for Expiring {
    const METHOD: &'static str = "certificate.expiring";
    type Answer = ExpiringCounts;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// How many certificates expire soon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiringCounts {
    /// So many on each host that the connection has declared and that is ready.
    pub counts: BTreeMap<Host, u64>,
}
