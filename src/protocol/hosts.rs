//! `host.…`: the hosts that are remembered, each question with its answer.
//!
//! Must not know: what their options mean.

use serde::{Deserialize, Serialize};

use super::request::{Lane, Request};
use super::sessions::Accounts;
use crate::identity::Host;
use crate::policy::access::Role;

/// `host.list`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListHosts {
    /// The last page's `next`.
    pub after: Option<Host>,
}

impl Request for ListHosts {
    const METHOD: &'static str = "host.list";
    type Answer = HostPage;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// A page of the hosts that were ever declared, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPage {
    /// The hosts.
    pub hosts: Vec<ListedHost>,
    /// To be asked for next; none behind the last page.
    pub next: Option<Host>,
}

/// A host that was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedHost {
    /// The host.
    pub host: Host,
    /// Where its accounts live.
    pub lives: Accounts,
    /// Has a connection declared it that is open now?
    pub declared: bool,
    /// The store's records of it, counted.
    #[serde(flatten)]
    pub held: HeldOfHost,
}

/// How much the store holds of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOfHost {
    /// Accounts whose passwords live here.
    pub accounts: u64,
    /// Certificates.
    pub certificates: u64,
    /// Keys that are revoked.
    pub revoked_keys: u64,
}

/// `host.forget`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ForgetHost {
    /// The host.
    pub host: Host,
}

impl Request for ForgetHost {
    const METHOD: &'static str = "host.forget";
    type Answer = HeldOfHost;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}
