//! `certificate.…`: the lists of accounts, each question with its answer.
//!
//! Must not know: who may change them.

use serde::Deserialize;
use serde_json::Value;

use super::request::{Before, Lane, Request};
use super::role::Role;
use super::values::Session;
use crate::identity::{BareJid, Host, Incarnation, KeyId};

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
