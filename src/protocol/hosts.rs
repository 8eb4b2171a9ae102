//! `host.…`: the hosts that are remembered, each question with its answer.
//!
//! Must not know: what their options mean.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::{Lane, Request};
use super::role::Role;
use crate::identity::{Host, ScramHash};

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

/// `host.scram`.
#[derive(Debug, Deserialize)]
pub struct OfHost {
    /// Which.
    pub host: Host,
}

impl Request for OfHost {
    const METHOD: &'static str = "host.scram";
    type Answer = HostScram;
    const LANE: Lane = Lane::AtOnce;
}

/// The SCRAM hashes that may be offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostScram {
    /// Those that every account has.
    pub scram: Vec<ScramHash>,
}
