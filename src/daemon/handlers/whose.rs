//! Reads from a question the account it is about, and the asker.
//!
//! Must not know: what is asked.

use super::super::connection::Peer;
use crate::identity::{BareJid, Incarnation};
use crate::policy::access;
use crate::policy::manage::{Asker, LoggedInBy, Scope};
use crate::protocol::{Fault, Misuse, Session, SessionBy};
use crate::wording::notices::{By, With};

/// The list that a question is about, and the asker.
pub(super) struct Whose {
    pub(super) account: BareJid,
    pub(super) incarnation: Option<Incarnation>,
    /// None for an admin.
    pub(super) session: Option<Session>,
    pub(super) peer: Peer,
}

impl Whose {
    /// As each question about a list names it.
    pub(super) fn new(
        account: BareJid,
        incarnation: Option<Incarnation>,
        session: Option<Session>,
        peer: Peer,
    ) -> Self {
        Self {
            account,
            incarnation,
            session,
            peer,
        }
    }

    /// The asker, in words for the account's owner and for the log.
    pub(super) fn by(&self) -> String {
        described(self.session.as_ref(), self.peer)
    }

    pub(super) fn is_by_admin(&self) -> bool {
        let session = self.session.as_ref();
        session.is_none_or(|session| session.by == SessionBy::Admin)
    }
}

/// The asker, and the accounts of a name that it asks about.
pub(super) fn asker(
    session: Option<Session>,
    incarnation: Option<Incarnation>,
    peer: Peer,
) -> Result<(Asker, Scope), Fault> {
    let Some(session) = session else {
        if !access::may_ask_for_itself(peer.role) {
            return Err(Misuse::NoSession.into());
        }
        let admin = Asker {
            secure: true,
            by: LoggedInBy::Admin,
            jid: None,
        };
        return Ok((admin, Scope::Every));
    };
    let (by, scope) = match (session.by, session.fingerprint) {
        (SessionBy::Password, _) => (LoggedInBy::Password, Scope::Of(incarnation)),
        (SessionBy::Sasl, _) => {
            let mechanism = session.mechanism.as_deref();
            (LoggedInBy::by_mechanism(mechanism), Scope::Of(incarnation))
        }
        // Nothing is weakened by it: a server may claim any session, of anybody, anyway.
        (SessionBy::Admin, _) => (LoggedInBy::Admin, Scope::Every),
        (SessionBy::Certificate, Some(fingerprint)) => (
            LoggedInBy::Certificate { fingerprint },
            Scope::Of(incarnation),
        ),
        (SessionBy::Certificate, None) => {
            return Err(Misuse::NoFingerprint.into());
        }
    };
    let asker = Asker {
        secure: session.secure,
        by,
        jid: session.jid,
    };
    Ok((asker, scope))
}

/// The asker, in words for the account's owner and for the log.
pub(super) fn described(session: Option<&Session>, peer: Peer) -> String {
    let Some(session) = session else {
        return By::CommandLine { uid: peer.uid }.in_words();
    };
    let with = match session.by {
        SessionBy::Sasl => match LoggedInBy::by_mechanism(session.mechanism.as_deref()) {
            LoggedInBy::Password => With::Password,
            _ => With::Token,
        },
        SessionBy::Password => With::Password,
        SessionBy::Certificate => With::Certificate,
        SessionBy::Admin => return By::Administrator.in_words(),
    };
    let by = By::Session {
        jid: session.jid.as_ref(),
        with,
        address: session.address.as_deref(),
    };
    by.in_words()
}
