//! Which account of a name there is now: Prosody is asked for those that live there, since nobody else knows.
//!
//! Must not know: what follows from the answer.

use super::super::servers::Servers;
use super::fresh::new_incarnation;
use crate::identity::{BareJid, Incarnation};
use crate::policy::links::Present;
use crate::protocol::{Accounts, AskIncarnation, Away, Fault, Presence, Refusal, RegisterAccount};
use crate::store::Store;

/// Which account of the name there is, wherever those of its host live; `None` if there is none. Nothing is changed. Blocks.
pub(super) fn present_incarnation(
    store: &Store,
    servers: &Servers,
    lives: Accounts,
    account: &BareJid,
) -> Result<Option<Incarnation>, Refusal> {
    Ok(match lives {
        Accounts::Daemon => {
            let known = store.view(account).account()?;
            known.map(|known| known.incarnation)
        }
        Accounts::Prosody => {
            let fresh = new_incarnation()?;
            incarnation_in_prosody(servers, account, Unmarked::Pretend(&fresh))?
        }
    })
}

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

/// The account of the name that lives in Prosody, as it is now; one without an incarnation stays so.
pub(super) fn present_in_prosody(
    servers: &Servers,
    account: &BareJid,
) -> Result<Option<Present>, Fault> {
    let question = AskIncarnation {
        account: account.clone(),
        make: false,
    };
    Ok(present(servers.ask(account.host(), &question)?))
}

/// Has Prosody make the account, without a password; the account of that name that there is then.
pub(super) fn register_in_prosody(
    servers: &Servers,
    account: &BareJid,
    incarnation: &Incarnation,
) -> Result<Present, Fault> {
    let question = RegisterAccount {
        account: account.clone(),
        incarnation: incarnation.clone(),
    };
    let made = present(servers.ask(account.host(), &question)?);
    made.ok_or(Fault::ServerAway {
        problem: Away::NoAccount,
    })
}

fn present(found: Presence) -> Option<Present> {
    found.exists.then_some(Present {
        incarnation: found.incarnation,
        enabled: found.enabled,
    })
}

/// The way to treat an account in Prosody that has no incarnation yet.
#[derive(Clone, Copy)]
pub(super) enum Unmarked<'a> {
    /// Prosody gives it one.
    Mark,
    /// Nothing is changed; this is taken for it.
    Pretend(&'a Incarnation),
}
