//! Answers that are no yes: a fault, where nothing was decided, and a refusal, where it was.
//!
//! Must not know: who decides, and how.

use crate::policy::Denial;

use super::limits::PROTOCOL_VERSION;
use crate::policy::access::{Before, Role};

/// Every reason why a question has no decision. Never means "no".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The asker's: bytes that are not text.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// The asker's: not JSON, or nested too deeply.
    #[error("the line is not JSON (at column {column})")]
    NotJson {
        /// Where it stops being JSON.
        column: usize,
    },
    /// The asker's: longer than [`MAX_QUESTION_BYTES`](super::MAX_QUESTION_BYTES).
    #[error("the line is longer than 131072 bytes")]
    TooLong,
    /// The asker's: JSON, but not a question.
    #[error("{0}")]
    NotQuestion(&'static str),
    /// The asker's: unknown, or not for its role.
    #[error("there is no method {method}{}", for_admins(*.uid, *.role))]
    UnknownMethod {
        /// The method that was asked for; shortened.
        method: String,
        /// The user that asks.
        uid: u32,
        /// Its role.
        role: Role,
    },
    /// The asker's: a field is missing or wrong.
    #[error("{problem}")]
    WrongParams {
        /// Which, and what it must be.
        problem: String,
    },
    /// The asker's: nobody declared the host.
    #[error("the host was not declared")]
    HostUndeclared,
    /// The admin's: a host can't be forgotten that somebody who is connected declares.
    #[error("a server that is connected declares the host; take it out of its configuration first")]
    HostDeclared,
    /// Ours: the chain of this name was forgotten; the asker sends it itself.
    #[error("the chain of this name is not remembered; send it itself")]
    ChainForgotten,
    /// Nobody's: some account of the host lacks this SCRAM hash, so that nobody may log in by it.
    #[error("not all accounts of the host have keys of this hash")]
    HashNotCommon,
    /// The admin's: the host's options are in error.
    #[error("the host's options are in error")]
    HostNotReady,
    /// The asker's: a question about passwords, for a host whose accounts live in Prosody.
    #[error("the host's accounts live in Prosody")]
    AccountsInProsody,
    /// The admin's: only Prosody knows, and it cannot be asked.
    #[error("the accounts of this host live in Prosody, and Prosody can't be asked: {problem}")]
    ServerAway {
        /// Why not.
        problem: Away,
    },
    /// The admin's: a file of the host's authorities or revocation lists can't be used.
    #[error("the authorities could not be asked")]
    AuthoritiesUnreadable,
    /// The asker's: `session.hello` comes first.
    #[error("session.hello comes first{}", of_whom(*.before, *.uid))]
    NoHello {
        /// The hello that must come before the question.
        before: Before,
        /// The user that asks.
        uid: u32,
    },
    /// The asker's: no flag admits its user.
    #[error(
        "user {uid} may not ask: start saslcertd with --server-user {uid} if Prosody runs as that user, or with \
         --admin-user {uid}"
    )]
    NotAdmitted {
        /// The user that asks.
        uid: u32,
    },
    /// The asker's: another version of the protocol.
    #[error(
        "Prosody's module speaks version {asked} of the protocol, and this saslcertd {} speaks {PROTOCOL_VERSION}: saslcertd and Prosody's modules come in \
         one package; install it whole, then restart both",
        env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// The version that was asked for.
        asked: u32,
    },
    /// Ours: too much is going on.
    #[error("too many questions are waiting")]
    Overload,
    /// Ours: it took too long. The change may still happen later.
    #[error("the answer took too long")]
    Deadline,
    /// The admin's: the disk is nearly full. Questions that free room or protect accounts go on.
    #[error("the server's disk is nearly full")]
    DiskFull,
    /// Ours: the store.
    #[error("the store could not be asked")]
    Storage,
    /// Nobody's: the store was lost while a change was on its way. Who asks again finds it made, or makes it.
    #[error("the change may or may not have been made: look, and ask again if it was not")]
    OutcomeUnknown,
    /// Ours: an answer that is longer than the protocol allows.
    #[error("the answer is too long")]
    AnswerTooLong,
}

/// Why Prosody can't be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Away {
    /// No connection declares the host.
    #[error("none of this host is connected")]
    NotConnected,
    /// It is silent for longer than the daemon waits.
    #[error("it does not answer")]
    Silent,
    /// It knows no such question, or can't answer it.
    #[error("it refuses the question; is its module older?")]
    Refusing,
    /// It answers with other fields.
    #[error("its answer is not readable; is its module older?")]
    Unreadable,
    /// It was to give the account an incarnation.
    #[error("it answers with no incarnation")]
    NoIncarnation,
    /// It was to make an account.
    #[error("it has made no account")]
    NoAccount,
}

/// Why fields make no question, though each can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// Of the console.
    #[error("words: there is no such command")]
    NoSuchCommand,
    /// Of an export.
    #[error("after.place: it is no place of an account")]
    NoSuchPlace,
    /// Of a revocation: both, or none of them.
    #[error("either `name` or `key_id` is wanted")]
    NameOrKey,
    /// A server that asks for a user says which account of the name it means.
    #[error("missing field `incarnation`")]
    NoIncarnation,
    /// Only an administrator asks for itself.
    #[error("missing field `session`")]
    NoSession,
    /// A session by a certificate has one.
    #[error("missing field `session.fingerprint`")]
    NoFingerprint,
}

impl From<Misuse> for Fault {
    fn from(misuse: Misuse) -> Self {
        Self::WrongParams {
            problem: misuse.to_string(),
        }
    }
}

impl From<Misuse> for Refusal {
    fn from(misuse: Misuse) -> Self {
        Self::Fault(misuse.into())
    }
}

/// The right that may be missing, in words.
fn for_admins(uid: u32, role: Role) -> String {
    match role {
        Role::Admin => String::new(),
        Role::Server => format!(
            ", or only for administrators: user {uid} is a server's (--server-user), --admin-user {uid} makes it one"
        ),
    }
}

/// Names the peer that must say the missing hello.
fn of_whom(before: Before, uid: u32) -> String {
    match before {
        Before::Nothing | Before::AnyHello => String::new(),
        Before::Hello => format!(
            ", since user {uid} is a server's (--server-user); an administrator (--admin-user {uid}) needs none"
        ),
        Before::HelloWithSessions => ", of a server that keeps sessions".to_owned(),
    }
}

impl Fault {
    pub(super) fn code(&self) -> i32 {
        match self {
            Self::NotUtf8 | Self::NotJson { .. } | Self::TooLong => -32700,
            Self::NotQuestion(_) => -32600,
            Self::UnknownMethod { .. } => -32601,
            Self::WrongParams { .. } => -32602,
            Self::Overload
            | Self::Deadline
            | Self::DiskFull
            | Self::Storage
            | Self::OutcomeUnknown
            | Self::ServerAway { .. }
            | Self::AuthoritiesUnreadable
            | Self::ChainForgotten
            | Self::HashNotCommon
            | Self::AnswerTooLong => -32001,
            Self::HostUndeclared
            | Self::HostDeclared
            | Self::HostNotReady
            | Self::AccountsInProsody => -32002,
            Self::NoHello { .. } | Self::NotAdmitted { .. } | Self::OtherVersion { .. } => -32003,
        }
    }

    /// Its name, by which an asker knows it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "not-utf8",
            Self::NotJson { .. } => "not-json",
            Self::TooLong => "too-long",
            Self::NotQuestion(_) => "not-a-question",
            Self::UnknownMethod { .. } => "unknown-method",
            Self::WrongParams { .. } => "wrong-fields",
            Self::HostUndeclared => "host-undeclared",
            Self::HostDeclared => "host-declared",
            Self::HostNotReady => "host-not-ready",
            Self::AccountsInProsody => "accounts-in-prosody",
            Self::ServerAway { .. } => "server-away",
            Self::AuthoritiesUnreadable => "authorities-unreadable",
            Self::ChainForgotten => "chain-forgotten",
            Self::HashNotCommon => "hash-not-common",
            Self::NoHello { .. } => "hello-missing",
            Self::NotAdmitted { .. } => "not-admitted",
            Self::OtherVersion { .. } => "other-version",
            Self::Overload => "overload",
            Self::Deadline => "deadline",
            Self::DiskFull => "disk-full",
            Self::Storage => "storage",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::AnswerTooLong => "answer-too-long",
        }
    }

    pub(super) fn stanza(&self) -> (&'static str, &'static str) {
        match self {
            Self::Overload
            | Self::Deadline
            | Self::OutcomeUnknown
            | Self::ServerAway { .. }
            | Self::ChainForgotten
            | Self::HashNotCommon
            | Self::AuthoritiesUnreadable => ("wait", "remote-server-timeout"),
            Self::DiskFull => ("wait", "resource-constraint"),
            Self::HostUndeclared
            | Self::HostDeclared
            | Self::HostNotReady
            | Self::AccountsInProsody => ("cancel", "service-unavailable"),
            Self::WrongParams { .. } => ("modify", "bad-request"),
            Self::NotUtf8
            | Self::NotJson { .. }
            | Self::TooLong
            | Self::NotQuestion(_)
            | Self::UnknownMethod { .. }
            | Self::NoHello { .. }
            | Self::NotAdmitted { .. }
            | Self::OtherVersion { .. }
            | Self::Storage
            | Self::AnswerTooLong => ("wait", "internal-server-error"),
        }
    }
}

/// A question that was not answered with yes.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// It was decided, and refused. Read by a stranger who wants to log in.
    Login(Denial),
    /// It was decided, and refused. Read by the account's owner.
    Management(Denial),
    /// A password was refused. Read by a stranger, after a delay.
    Password {
        /// Why.
        denial: Denial,
        /// In seconds.
        delay: f64,
    },
    /// It was not decided.
    Fault(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
