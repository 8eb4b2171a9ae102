//! Accounts that Prosody has begun to make for links which nobody has redeemed: when such a link has ended, what was begun is deleted.
//!
//! Must not know: how Prosody makes an account, or finds out whether somebody uses one.

use std::collections::HashSet;

use super::links::Linking;
use crate::identity::{BareJid, Host, LinkHash, LinkKind, UnixSeconds};
use crate::policy::{Denial, links};
use crate::protocol::{Accounts, Fault, Refusal, UnregisterAccount};
use crate::store::Harmless;

impl Linking<'_> {
    /// Has each server that is connected, and serves the page, delete what it has begun. Blocks.
    ///
    /// A server that is away is asked when it is back, and one that fails the next time.
    pub(in crate::daemon) fn clear_leftovers(&self, now: UnixSeconds) {
        let ended = self.lists.store.expired_links(LinkKind::New, now);
        if ended.is_empty() {
            return;
        }
        let mut asked = self.hosts_to_ask();
        for (account, hash) in ended {
            if !asked.contains(account.host()) {
                continue;
            }
            if let Err(refusal) = self.clear_leftover(&account, hash, now) {
                // Other faults are logged where they occur; and the server says in its own log what it failed at.
                if let Refusal::Fault(Fault::ServerAway { problem }) = refusal {
                    tracing::debug!(%account, %problem, "what was begun for a link is still there");
                }
                asked.remove(account.host());
            }
        }
    }

    fn hosts_to_ask(&self) -> HashSet<Host> {
        let connections = self.lists.servers.all();
        let known = self.lists.hosts.behind(None).into_iter();
        let in_prosody = known.filter(|(_, known)| known.accounts == Accounts::Prosody);
        let is_asked = |host: &Host| {
            self.lists.hosts.page(host).is_some() && connections.iter().any(|one| one.serves(host))
        };
        let hosts = in_prosody.map(|(host, _)| host);
        hosts.filter(is_asked).collect()
    }

    fn clear_leftover(
        &self,
        account: &BareJid,
        hash: LinkHash,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let store = self.lists.store;
        // Before the server is asked: somebody may just be about to redeem it, who had begun in time.
        let ended = store.change(account, move |view| {
            let link = view.link(&hash)?;
            let link = link.filter(|link| links::is_over(link, now));
            let is_open = link.as_ref().is_some_and(|link| link.uses > 0);
            let ended = link.map(|link| links::ended(link, now));
            let put = ended.clone().filter(|_| is_open).map(Harmless::put_link);
            Ok(Ok::<_, Denial>((put.into_iter().collect(), ended)))
        })?;
        let Some(link) = ended.map_err(Refusal::Management)? else {
            return Ok(());
        };
        let view = store.view(account);
        if links::is_untouched(&link, &view.list()?, &view.disabled()?) {
            let incarnation = link.incarnation;
            let question = UnregisterAccount {
                account: account.clone(),
                incarnation,
            };
            let answer = self.lists.servers.ask(account.host(), &question)?;
            let id = hash.id();
            tracing::info!(%account, %id, deleted = answer.deleted, "account.unregister");
        }
        let removed = store.change(account, move |_| {
            Ok(Ok::<_, Denial>((vec![Harmless::remove_link(hash)], ())))
        })?;
        removed.map_err(Refusal::Management)
    }
}
