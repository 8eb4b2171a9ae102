//! `export`, `import` and `account.import`: what is carried away and brought back.
//!
//! Must not know: what becomes of each record.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::{Lane, Request};
use super::role::Role;
use super::values::{Text, bytes, in_base64};
use crate::identity::{BareJid, Host, Incarnation, ScramHash, UnixSeconds};

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
