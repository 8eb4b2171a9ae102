//! Asks Prosody which account of a name lives there: nobody else knows.
//!
//! Must not know: what follows from the answer.

use super::super::servers::Servers;
use crate::identity::{BareJid, Incarnation};
use crate::protocol::{AskIncarnation, Away, Fault};

/// Which account of the name lives in Prosody; `None` if there is none.
pub(super) fn incarnation_in_prosody(
    servers: &Servers,
    account: &BareJid,
    unmarked: Unmarked<'_>,
) -> Result<Option<Incarnation>, Fault> {
    let question = AskIncarnation {
        account: account.clone(),
        make: matches!(unmarked, Unmarked::Mark),
    };
    let found = servers.ask(account.host(), &question)?;
    match (found.incarnation, unmarked) {
        _ if !found.exists => Ok(None),
        (Some(incarnation), _) => Ok(Some(incarnation)),
        (None, Unmarked::Pretend(fresh)) => Ok(Some(fresh.clone())),
        (None, Unmarked::Mark) => Err(Fault::ServerAway {
            problem: Away::NoIncarnation,
        }),
    }
}

/// The way to treat an account in Prosody that has no incarnation yet.
#[derive(Clone, Copy)]
pub(super) enum Unmarked<'a> {
    /// Prosody gives it one.
    Mark,
    /// Nothing is changed; this is taken for it.
    Pretend(&'a Incarnation),
}
