//! Notices: an account hears that one of its certificates expires soon.
//!
//! Must not know: how many days before (`policy::manage` says), the words of a notice.

use super::super::hosts::Hosts;
use super::super::notice_times::NoticeTimes;
use super::super::servers::Servers;
use super::incarnations::present_incarnation;
use crate::identity::{BareJid, CertificateName, Host, Incarnation, UnixSeconds};
use crate::policy::manage;
use crate::protocol::{Accounts, Fault, NotifyAccount, Refusal};
use crate::store::Store;
use crate::wording::notices;

/// Tells users what expires.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Notices<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) servers: &'a Servers,
    pub(in crate::daemon) notice_times: &'a NoticeTimes,
}

impl Notices<'_> {
    /// Tells the accounts of each host which of their certificates expire soon, once for each of the days of
    /// `saslcertd_expiry_notice_days`. Looks once an hour, while a server of the host is connected. Blocks.
    pub(in crate::daemon) fn give_notices(&self, now: UnixSeconds) {
        for turn in self.hosts_to_notice(now) {
            // Other faults are logged where they occur.
            if let Err(Refusal::Fault(Fault::ServerAway { problem })) =
                self.give_notices_of(&turn, now)
            {
                tracing::warn!(host = %turn.host, %problem, "accounts will hear later of what expires");
            }
        }
    }

    /// The hosts where notices are due. From memory.
    fn hosts_to_notice(&self, now: UnixSeconds) -> Vec<DueHost> {
        let connections = self.servers.all();
        let mut due = Vec::new();
        for (host, known) in self.hosts.behind(None) {
            let policy = &known.meaning.policy;
            let is_meant = known.meaning.errors.is_empty() && manage::gives_notices(policy);
            if !is_meant || !connections.iter().any(|one| one.serves(&host)) {
                continue;
            }
            if self.notice_times.is_due(&host, now) {
                due.push(DueHost {
                    host,
                    lives: known.accounts,
                    days: policy.expiry_notice_days.clone(),
                });
            }
        }
        due
    }

    fn give_notices_of(
        &self,
        DueHost { host, lives, days }: &DueHost,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let mut last = self.store.noticed_until(host)?;
        let longest = days.iter().max().copied().unwrap_or_default();
        let mut due = Vec::new();
        for held in self
            .store
            .expiring(host, &manage::coming_days(longest, now))
        {
            let held = held?;
            let moment = manage::notice_since(&held, days, now).filter(|one| Some(*one) > last);
            due.extend(moment.map(|moment| Due {
                moment,
                account: held.account,
                name: held.name,
                incarnation: held.incarnation,
                not_after: held.not_after,
            }));
        }
        due.sort_unstable_by(|one, other| one.order().cmp(&other.order()));
        let mut due = due.iter().peekable();
        while let Some(one) = due.next() {
            if self.is_there(*lives, &one.account, &one.incarnation)? {
                let text = notices::expires(&one.name, one.not_after, now);
                let account = one.account.clone();
                // One after the other: many may expire together.
                self.servers.ask(host, &NotifyAccount { account, text })?;
                tracing::info!(account = %one.account, name = one.name.as_str(), "told that it expires soon");
            }
            // Only what was told of moves the mark: a clock that is wrong for a while moves nothing.
            if due.peek().is_none_or(|next| next.moment != one.moment) {
                if !self.store.set_noticed_until(host, last, one.moment)? {
                    // Another daemon tells the accounts of this host, too: the rest is its own.
                    return Ok(());
                }
                last = Some(one.moment);
            }
        }
        Ok(())
    }

    /// Does the account still exist, and is it that one of the name?
    fn is_there(
        &self,
        lives: Accounts,
        account: &BareJid,
        incarnation: &Incarnation,
    ) -> Result<bool, Refusal> {
        let present = present_incarnation(self.store, self.servers, lives, account)?;
        Ok(present.as_ref() == Some(incarnation))
    }
}

/// A host where notices are due.
struct DueHost {
    host: Host,
    lives: Accounts,
    days: Vec<u16>,
}

/// Somebody who is to be told.
struct Due {
    moment: UnixSeconds,
    account: BareJid,
    name: CertificateName,
    incarnation: Incarnation,
    not_after: UnixSeconds,
}

impl Due {
    /// The notice that is due for longer comes first.
    fn order(&self) -> (UnixSeconds, &BareJid, &CertificateName) {
        (self.moment, &self.account, &self.name)
    }
}
