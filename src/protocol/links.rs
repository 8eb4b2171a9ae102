//! `link.…`: links by which devices get keys, each question with its answer.
//!
//! Must not know: who may make or redeem one.

use serde::{Deserialize, Serialize};

use super::request::{Lane, Request};
use super::values::{Session, Text};
use crate::identity::{BareJid, CertificateName, Host, Incarnation, LinkId, LinkKind, UnixSeconds};
use crate::policy::access::{Before, Role};
use crate::wording::links::ListedLink;

/// `link.create`.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateLink {
    /// For whom.
    pub account: BareJid,
    /// Which account of that name; an administrator says none.
    pub incarnation: Option<Incarnation>,
    /// The asking session; none for an admin.
    pub session: Option<Session>,
    /// What it is to do.
    pub kind: LinkKind,
    /// The name that is proposed for the device.
    pub name: Option<String>,
    /// For how many seconds it counts; a day without.
    pub seconds: Option<u64>,
    /// How often it can be redeemed; once without.
    pub uses: Option<u32>,
}

impl Request for CreateLink {
    const METHOD: &'static str = "link.create";
    type Answer = CreatedLink;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// A link that was made.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreatedLink {
    /// The link itself. It is told this once.
    pub url: Text,
    /// Is the page at that address known of? Else it is the usual one.
    pub is_served: bool,
    /// What is remembered of it.
    #[serde(flatten)]
    pub row: ListedLink,
}

/// `link.list`: the links that wait; of an account, of a host, or all of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListLinks {
    /// Of this account only.
    pub account: Option<BareJid>,
    /// Of this host only.
    pub host: Option<Host>,
    /// The `next` of the page before.
    pub after: Option<LinkPlace>,
}

impl Request for ListLinks {
    const METHOD: &'static str = "link.list";
    type Answer = LinkPage;
    const ROLE: Role = Role::Admin;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
    const MAY_HOLD_SECRET: bool = false;
}

/// A place among all links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPlace {
    /// Behind those of all accounts before this one,
    pub account: BareJid,
    /// and behind this one of its own.
    pub id: LinkId,
}

/// Links, in the order of their hosts, accounts and ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPage {
    /// The links.
    pub links: Vec<ListedLink>,
    /// To be asked for next; none behind the last page.
    pub next: Option<LinkPlace>,
}

/// `link.revoke`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RevokeLink {
    /// Which one.
    pub id: LinkId,
}

impl Request for RevokeLink {
    const METHOD: &'static str = "link.revoke";
    type Answer = ListedLink;
    const ROLE: Role = Role::Admin;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
    const MAY_HOLD_SECRET: bool = false;
}

/// `link.look`: somebody has opened a link, and wants to know what it does. Nothing changes by it.
#[derive(Debug, Serialize, Deserialize)]
pub struct LookAtLink {
    /// Where it was opened.
    pub host: Host,
    /// Its token, or whatever was tried.
    pub token: Text,
    /// From where.
    pub address: Option<String>,
}

impl Request for LookAtLink {
    const METHOD: &'static str = "link.look";
    type Answer = SeenLink;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// What a link does, for whoever has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenLink {
    /// For whom it is.
    pub account: BareJid,
    /// Which account of the name.
    pub incarnation: Incarnation,
    /// What happens.
    pub kind: LinkKind,
    /// The name that is proposed for the device.
    pub name: Option<CertificateName>,
    /// The first second in which it counts no more.
    pub expires: UnixSeconds,
}

/// `link.redeem`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RedeemLink {
    /// Where it was opened.
    pub host: Host,
    /// Its token, or whatever was tried.
    pub token: Text,
    /// From where.
    pub address: Option<String>,
    /// The name of the device; the one that the link proposes without.
    pub name: Option<String>,
    /// Its certificate, as base64.
    pub certificate: String,
    /// Nobody on the way reads what is sent, as far as the server knows; a server that does not say it has seen to that.
    #[serde(default = "yes")]
    pub secure: bool,
}

fn yes() -> bool {
    true
}

impl Request for RedeemLink {
    const METHOD: &'static str = "link.redeem";
    type Answer = RedeemedLink;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// A link that was redeemed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedeemedLink {
    /// Whose certificate it is now.
    pub account: BareJid,
    /// What has happened.
    pub kind: LinkKind,
    /// The name that it has in the list.
    pub name: CertificateName,
}
