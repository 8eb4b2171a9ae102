//! The links that an account's own sessions have made: its user sees them, and takes them back.
//!
//! Must not know: rules (`policy::links` has them), forms, how a link is made or redeemed.

use super::certificates::{Certificates, refused};
use super::whose::Whose;
use crate::identity::{Link, UnixSeconds};
use crate::policy::links::{self, TakenBack};
use crate::protocol::Refusal;
use crate::store::Harmless;
use crate::wording::links::OwnLink;

impl Certificates<'_> {
    /// Those that there are, the oldest first. A denial is not in the log: who looks at the list has heard it before.
    pub(super) fn own_links(
        &self,
        whose: &Whose,
        now: UnixSeconds,
    ) -> Result<Vec<OwnLink>, Refusal> {
        let account = &whose.account;
        let policy = self.hosts.policy(account.host())?;
        let (asker, scope) = self.asker_of(whose)?;
        let all = self.store.view(account).links()?;
        let own = links::own(&asker, &scope, &all, (&policy, now)).map_err(Refusal::Management)?;
        Ok(own.into_iter().map(OwnLink::of).collect())
    }

    /// Ends one of them, or all: how many?
    pub(super) fn take_links_back(
        &self,
        whose: &Whose,
        which: TakenBack,
        now: UnixSeconds,
    ) -> Result<usize, Refusal> {
        const QUESTION: &str = "link.revoke";
        let account = &whose.account;
        let policy = self.hosts.policy(account.host())?;
        let (asker, scope) = self.asker_of(whose)?;
        let by = whose.by();
        let written = self.store.change(account, move |view| {
            let (list, all) = (view.list()?, view.links()?);
            let facts = (&list, all.as_slice());
            let taken = links::take_back(which, (&asker, &scope), facts, (&policy, now));
            let remove = |link: &Link| Harmless::remove_link(link.hash);
            Ok(taken.map(|taken| {
                let edits: Vec<_> = taken.iter().map(|link| remove(link)).collect();
                let count = edits.len();
                (edits, count)
            }))
        });
        let count = written?.map_err(|denial| refused(QUESTION, account, &by, denial))?;
        tracing::info!(%account, ?which, count, by, "{QUESTION}: yes");
        Ok(count)
    }
}
