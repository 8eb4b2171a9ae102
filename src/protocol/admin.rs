//! What an administrator looks at: `status`, `explain`, `store.check`.
//!
//! Must not know: how it is found out.

use serde::Deserialize;
use serde_json::Value;

use super::request::{Lane, Request};
use super::role::Role;
use super::values::Chain;
use crate::identity::{BareJid, Host};

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
