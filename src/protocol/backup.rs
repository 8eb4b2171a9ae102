//! `export`, `import` and `account.import`: what is carried away and brought back.
//!
//! Must not know: what becomes of each record.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::request::{Lane, Request};
use super::values::{Text, in_base64};
use crate::identity::{BareJid, Host, Incarnation, ScramHash, UnixSeconds};
use crate::policy::access::Role;

/// `export`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Export {
    /// The last page's `next`.
    pub after: Option<Exported>,
}

impl Request for Export {
    const METHOD: &'static str = "export";
    type Answer = ExportPage;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// A page of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportPage {
    /// The records.
    pub records: Vec<BackupRecord>,
    /// To be asked for next; none behind the last page.
    pub next: Option<Exported>,
}

/// A record as its JSON stands: the daemon writes it and reads it, and whoever carries it changes no byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackupRecord(Box<RawValue>);

impl BackupRecord {
    /// The JSON of `record`.
    ///
    /// Errors: it has none.
    pub fn of(record: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(record).map(Self)
    }

    /// That of a line of a backup.
    ///
    /// Errors: it is no JSON.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line).map(Self)
    }

    /// Its JSON, in one line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for BackupRecord {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// The part of a record that is shown to people; all else in it is the daemon's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RecordLabel {
    #[serde(rename = "type")]
    kind: String,
    account: Option<String>,
    host: Option<String>,
    problem: Option<String>,
}

impl RecordLabel {
    /// That of `record`; an empty one, if it is none.
    #[must_use]
    pub fn of(record: &BackupRecord) -> Self {
        serde_json::from_str(record.as_str()).unwrap_or_default()
    }

    /// The account that the record is of, if it is of one.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The account or host that the record is of.
    #[must_use]
    pub fn owner(&self) -> &str {
        let owner = self.account.as_ref().or(self.host.as_ref());
        owner.map_or("the store", String::as_str)
    }

    /// Why it could not be read when the backup was made, if that is all it says.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        let problem = self.problem.as_deref();
        (self.kind == "unreadable").then(|| problem.unwrap_or_default())
    }
}

/// Up to where an export has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Exported {
    /// Behind this account, which is whole.
    Account(BareJid),
    /// Behind this host.
    Host {
        /// The host.
        host: Host,
    },
    /// In the middle of an account that is larger than a page.
    Inside {
        /// The account.
        account: BareJid,
        /// Where in it.
        #[serde(with = "in_base64")]
        place: Vec<u8>,
    },
}

/// `import`.
#[derive(Serialize, Deserialize)]
pub struct Import {
    /// As an export gave them.
    pub records: Vec<BackupRecord>,
    /// Write them?
    pub apply: bool,
}

impl Request for Import {
    const METHOD: &'static str = "import";
    type Answer = Imported;
    const ROLE: Role = Role::Admin;
    const LANE: Lane = Lane::Task;
}

/// The fates of records that were brought, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// So many were written.
    pub written: usize,
    /// So many were there already.
    pub unchanged: usize,
    /// Those that differ from what is there, or are no records.
    pub conflicts: Vec<ImportConflict>,
}

/// A record that is not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportConflict {
    /// Which of the question's, from 0.
    pub record: usize,
    /// Why, in words.
    pub problem: String,
}

/// `account.import`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImportAccount {
    /// The account.
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
    type Answer = ImportedAccount;
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

/// The fate of an account that was brought, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedAccount {
    /// Of the account itself.
    pub account: ImportVerdict,
    /// Of its certificates, in the order of the question.
    pub certificates: Vec<ImportedCertificate>,
}

/// The fate of a certificate that was brought, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedCertificate {
    /// Under which name.
    pub name: String,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: ImportVerdict,
}

/// The fate of something that is brought, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportVerdict {
    /// The verdict.
    pub verdict: ImportFate,
    /// Why it is refused, by the names of docs/protocol.md.
    pub reason: Option<String>,
    /// Why it is refused, in words.
    pub text: Option<String>,
}

/// The fate of something that is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportFate {
    /// It is written.
    Taken,
    /// It is there already.
    Unchanged,
    /// There is an account of this name with another password: that one stays.
    Kept,
    /// It is not written.
    Refused,
}

impl ImportFate {
    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
            Self::Refused => "refused",
        }
    }
}

/// A password that is brought: as it is, or its verifiers.
#[derive(Debug, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportVerifier {
    /// Of which mechanism.
    pub hash: ScramHash,
    /// The salt.
    #[serde(with = "in_base64")]
    pub salt: Vec<u8>,
    /// The iteration count.
    pub iterations: u32,
    /// The StoredKey.
    #[serde(with = "in_base64")]
    pub stored_key: Vec<u8>,
    /// The ServerKey.
    #[serde(with = "in_base64")]
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for ImportVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ImportVerifier({}, …)", self.hash.name())
    }
}

/// One certificate that is brought.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImportCertificate {
    /// Under which name.
    pub name: String,
    /// Base64.
    pub certificate: String,
    /// May its sessions add and remove certificates?
    pub may_manage: bool,
}
