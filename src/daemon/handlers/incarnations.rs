//! Which account of a name lives in Prosody: only Prosody knows, and is asked.

use serde_json::{Value, json};

use super::super::servers::Servers;
use crate::identity::{BareJid, Incarnation};
use crate::protocol::Fault;

/// Which account of the name lives in Prosody; `None` if there is none.
pub(super) fn incarnation_in_prosody(
    servers: &Servers,
    account: &BareJid,
    unmarked: Unmarked<'_>,
) -> Result<Option<Incarnation>, Fault> {
    let make = matches!(unmarked, Unmarked::Mark);
    let params = json!({"account": account, "make": make});
    let answered = servers.ask(account.host(), "account.incarnation", &params)?;
    if answered.get("exists").and_then(Value::as_bool) != Some(true) {
        return Ok(None);
    }
    match (answered.get("incarnation"), unmarked) {
        (None | Some(Value::Null), Unmarked::Pretend(fresh)) => Ok(Some(fresh.clone())),
        (id, _) => {
            let id = id.and_then(Value::as_str);
            let id = id.and_then(|id| Incarnation::parse(id).ok());
            let problem = "it answers with no incarnation";
            id.map(Some).ok_or(Fault::ServerAway { problem })
        }
    }
}

/// What becomes of an account in Prosody that has no incarnation yet.
#[derive(Clone, Copy)]
pub(super) enum Unmarked<'a> {
    /// Prosody gives it one.
    Mark,
    /// Nothing is changed; this is taken for it.
    Pretend(&'a Incarnation),
}
