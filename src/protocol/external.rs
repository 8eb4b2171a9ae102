//! `external.…`: logins with a certificate, each question with its answer.
//!
//! Must not know: who is let in.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::each::Each;
use super::request::{Lane, Request};
use super::values::{Presented, in_optional_base64};
use crate::identity::{CertificationPath, Fingerprint, Host, Incarnation, KeyId, UnixSeconds};
use crate::policy::access::Before;

/// `external.offer`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The host that the client connected to.
    pub host: Host,
    /// Leaf first.
    pub chain: Presented,
    /// The client's address.
    pub address: Option<String>,
    /// The facts about those accounts of which the asker has heard that they are candidates; accounts that live in the daemon need none.
    pub accounts: Option<Each<LoginAccount>>,
}

impl Request for Offer {
    const METHOD: &'static str = "external.offer";
    type Answer = Offered;
    const BEFORE: Before = Before::HelloWithSessions;
    const LANE: Lane = Lane::AtOnce;
    const MAY_HOLD_SECRET: bool = false;
}

/// Whether EXTERNAL is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Is it?
    pub offer: bool,
    /// As whom the certificate could log in, where only the asker knows which of these accounts there are, and has not said it of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// The name that stands for the chain in the questions that follow, for a minute at least; none, if this question named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Fingerprint>,
    /// Why it is not, for the asker's statistics; no client may hear it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<Cow<'static, str>>,
}

/// Somebody as whom a certificate could log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The localpart.
    pub username: String,
    /// Which account of that name; none: whichever has it now.
    pub incarnation: Option<Incarnation>,
}

/// `external.login`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Login {
    /// The host that the client connected to.
    pub host: Host,
    /// Leaf first.
    pub chain: Presented,
    /// The bytes that the client sent.
    #[serde(default, with = "in_optional_base64")]
    pub authzid: Option<Vec<u8>>,
    /// In SASL2, the `from` of the stream's header, as the client sent it.
    pub stream_from: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// The facts about the candidates.
    #[serde(default)]
    pub accounts: Each<LoginAccount>,
}

impl Request for Login {
    const METHOD: &'static str = "external.login";
    type Answer = LoggedIn;
    const BEFORE: Before = Before::HelloWithSessions;
    const LANE: Lane = Lane::AtOnce;
    const MAY_HOLD_SECRET: bool = false;
}

/// A client is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// As whom: the localpart.
    pub username: String,
    /// The resource that the session is to be bound to, even if the client asks for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The certificate's name in the account's list, as a person may read it; none if it is in nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its key.
    pub key_id: KeyId,
    /// Last second of its validity.
    pub not_after: UnixSeconds,
    /// Which account of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// May the session add and remove certificates?
    pub may_manage: bool,
    /// When the account got its password, where accounts live in the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_changed: Option<UnixSeconds>,
    /// By which path an authority vouches for it; none if it needs no authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<CertificationPath>,
}

/// One candidate in a login.
#[derive(Debug, Serialize, Deserialize)]
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
