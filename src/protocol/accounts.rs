//! `account.…`: accounts whose passwords live in the daemon, each question with its answer.
//!
//! Must not know: who exists.

use serde::{Deserialize, Serialize};

use super::request::{Lane, Request};
use super::values::{Text, in_base64};
use crate::identity::{AccountName, Host, Incarnation, ScramHash, UnixSeconds};

/// `account.exists`.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountExists {
    /// The account.
    pub account: AccountName,
}

impl Request for AccountExists {
    const METHOD: &'static str = "account.exists";
    type Answer = Existence;
    const LANE: Lane = Lane::Read;
}

/// The facts about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Existence {
    /// Is there one?
    pub exists: bool,
    /// May anybody log in as it?
    pub enabled: bool,
    /// Since when there is one.
    pub created: Option<UnixSeconds>,
    /// When it got its password.
    pub password_changed: Option<UnixSeconds>,
}

/// `account.verify`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verify {
    /// The account that the password is to be of.
    pub account: AccountName,
    /// As the client sent it.
    pub password: Text,
    /// The client's address.
    pub address: Option<String>,
}

impl Request for Verify {
    const METHOD: &'static str = "account.verify";
    type Answer = Admission;
    const LANE: Lane = Lane::Try;

    fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
}

/// A yes, with what tells later whether it still holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    /// How long the asker waits before it tells the client, in seconds; none where no password was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<f64>,
    /// Which account of the name it is.
    pub incarnation: Incarnation,
    /// When it got its password.
    pub password_changed: UnixSeconds,
}

/// `account.scram`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Scram {
    /// The account that somebody claims to be.
    pub account: AccountName,
    /// Of the mechanism that the client chose.
    pub hash: ScramHash,
}

impl Request for Scram {
    const METHOD: &'static str = "account.scram";
    type Answer = ScramKeys;
    const LANE: Lane = Lane::Read;
}

/// The keys for a SCRAM exchange, of an account or of a decoy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramKeys {
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

/// `account.succeeded`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Succeeded {
    /// As whom the client is to be logged in.
    pub account: AccountName,
    /// Of the mechanism.
    pub hash: ScramHash,
    /// Against which the proof was checked.
    #[serde(with = "in_base64")]
    pub stored_key: Vec<u8>,
    /// The client's address.
    pub address: Option<String>,
}

impl Request for Succeeded {
    const METHOD: &'static str = "account.succeeded";
    type Answer = Admission;
    const LANE: Lane = Lane::Task;
}

/// `account.failed`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failed {
    /// As whom the client tried to log in.
    pub account: AccountName,
    /// The client's address.
    pub address: Option<String>,
}

impl Request for Failed {
    const METHOD: &'static str = "account.failed";
    type Answer = Delayed;
    const LANE: Lane = Lane::AtOnce;
}

/// How long the asker waits before it tells the client.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delayed {
    /// In seconds.
    pub delay: f64,
}

/// `account.admit`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Admit {
    /// The account whose session is to begin.
    pub account: AccountName,
    /// The SASL mechanism that has logged it in; none if there was none.
    pub mechanism: Option<String>,
    /// The client's address.
    pub address: Option<String>,
}

impl Request for Admit {
    const METHOD: &'static str = "account.admit";
    type Answer = Admission;
    const LANE: Lane = Lane::Task;
}

/// `account.create`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Create {
    /// The account.
    pub account: AccountName,
    /// `None` reserves the name.
    pub password: Option<Text>,
    /// As the answer to that question named it: the name is reserved for whoever asks.
    pub reservation: Option<String>,
    /// For whom.
    pub caller: CreateCaller,
}

impl Request for Create {
    const METHOD: &'static str = "account.create";
    type Answer = Created;
    const LANE: Lane = Lane::Change;
}

/// An account that was created, or a name that is reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Was there none of this name before?
    pub created: bool,
    /// When it got its password; none for a reservation.
    pub password_changed: Option<UnixSeconds>,
    /// By which the name is asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<String>,
}

/// For whom an account is created.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CreateCaller {
    /// See [`crate::policy::passwords::Caller`].
    Server,
    /// See there.
    Prosodyctl,
    /// See there.
    Reset,
}

/// `account.set_password`.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetPassword {
    /// Whose.
    pub account: AccountName,
    /// The new one.
    pub password: Text,
}

impl Request for SetPassword {
    const METHOD: &'static str = "account.set_password";
    type Answer = PasswordSet;
    const LANE: Lane = Lane::Change;
}

/// An account has another password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordSet {
    /// Since when.
    pub password_changed: UnixSeconds,
    /// The daemons of the same database that were silent, in words: sessions there are closed when they are back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// `account.delete`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Delete {
    /// The account.
    pub account: AccountName,
    /// Which account of that name; `None`: whichever has it.
    pub incarnation: Option<Incarnation>,
    /// No account, but a name that was reserved.
    pub reservation: Option<String>,
}

impl Request for Delete {
    const METHOD: &'static str = "account.delete";
    type Answer = Deleted;
    const LANE: Lane = Lane::Task;
}

/// An account is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// So many certificates are gone with it.
    pub certificates: usize,
    /// So many other connections were told to remove its data.
    pub servers: usize,
    /// The daemons of the same database that were silent, in words: sessions there are closed when they are back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// `account.enable`.
#[derive(Debug, Serialize, Deserialize)]
pub struct EnableAccount {
    /// The account.
    pub account: AccountName,
}

impl Request for EnableAccount {
    const METHOD: &'static str = "account.enable";
    type Answer = Switched;
    const LANE: Lane = Lane::Task;
}

/// `account.disable`.
#[derive(Debug, Serialize, Deserialize)]
pub struct DisableAccount {
    /// The account.
    pub account: AccountName,
}

impl Request for DisableAccount {
    const METHOD: &'static str = "account.disable";
    type Answer = Switched;
    const LANE: Lane = Lane::Task;
}

/// An account is enabled or disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// How it was before.
    pub was_enabled: bool,
    /// The daemons of the same database that were silent, in words: sessions there are closed when they are back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// `account.list`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListAccounts {
    /// Of which host.
    pub host: Host,
    /// The last page's `next`.
    pub after: Option<String>,
}

impl Request for ListAccounts {
    const METHOD: &'static str = "account.list";
    type Answer = AccountPage;
    const LANE: Lane = Lane::Task;
}

/// A page of the accounts of a host, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountPage {
    /// The accounts.
    pub accounts: Vec<ListedAccount>,
    /// To be asked for next; none behind the last page.
    pub next: Option<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedAccount {
    /// Its localpart.
    pub username: String,
    /// May anybody log in as it?
    pub enabled: bool,
    /// Since when there is one.
    pub created: UnixSeconds,
    /// When it got its password.
    pub password_changed: UnixSeconds,
    /// Which verifiers it has.
    pub scram: Vec<ScramHash>,
}
