//! `external.…`: logins with a certificate, each question with its answer.
//!
//! Must not know: who is let in.

use serde::Deserialize;
use serde_json::Value;

use super::each::Each;
use super::request::{Lane, Request};
use super::values::{Chain, optional_bytes};
use crate::identity::{Host, Incarnation};
use crate::policy::access::Before;

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
