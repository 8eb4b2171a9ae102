//! Notices: an account hears that a certificate of its expires soon.

use std::sync::PoisonError;

use serde_json::json;
use time::OffsetDateTime;

use super::super::protocol::Fault;
use super::{Service, storage};
use crate::identity::{Enrolment, Host, UnixSeconds};
use crate::policy::manage;

impl Service {
    /// Tells the accounts of each host which of their certificates expire soon, once for each of the days of
    /// `saslcertd_expiry_notice_days`. Looks once an hour, while a server of the host is connected. Blocks.
    pub fn give_notices(&self, now: UnixSeconds) {
        for (host, days) in self.hosts_to_notice(now) {
            let since = match self.store.noticed_until(&host) {
                // The clock may have been wrong.
                Ok(since) => since.unwrap_or_default().min(now),
                Err(error) => {
                    let _ = storage(&error);
                    continue;
                }
            };
            let until = self.notice_host(&host, &days, since, now);
            if let Err(error) = self.store.set_noticed_until(&host, until) {
                let _ = storage(&error);
            }
        }
    }

    /// The hosts whose turn it is, and their days. From memory.
    fn hosts_to_notice(&self, now: UnixSeconds) -> Vec<(Host, Vec<u16>)> {
        let all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let connections: Vec<_> = all.values().cloned().collect();
        drop(all);
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        let mut looked_at = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        for (host, known) in &*hosts {
            let policy = &known.declared.policy;
            let is_meant = known.declared.errors.is_empty()
                && policy.trust.has_lists()
                && !policy.expiry_notice_days.is_empty();
            if !is_meant || !connections.iter().any(|one| one.serves(host)) {
                continue;
            }
            let last = looked_at.get(host);
            // A clock that was set back is no reason to wait.
            if last.is_none_or(|last| now < *last || *last <= now.plus(-LOOK_EVERY_SECONDS)) {
                looked_at.insert(host.clone(), now);
                due.push((host.clone(), policy.expiry_notice_days.clone()));
            }
        }
        due
    }

    /// Returns up to when the accounts of the host have heard of what expires.
    fn notice_host(
        &self,
        host: &Host,
        days: &[u16],
        since: UnixSeconds,
        now: UnixSeconds,
    ) -> UnixSeconds {
        let moment = |held: &Enrolment| manage::notice_since(held, days, now);
        let is_new = |held: &Enrolment| moment(held).is_some_and(|moment| since < moment);
        let mut due: Vec<_> = Vec::new();
        let looked = self.store.each_present(host, usize::MAX, is_new, |held| {
            due.push((moment(&held), held.account, held.name, held.not_after));
        });
        if let Err(error) = looked {
            let _ = storage(&error);
            return since;
        }
        due.sort_unstable();
        for (moment, account, name, not_after) in due {
            let text = format!(
                "The certificate \"{name}\" of your account expires {}. Then it can no longer be used to log in: add a new one \
                 before that.",
                in_words(not_after, now)
            );
            let params = json!({"account": account, "text": text});
            // One after the other: many may expire together.
            if let Err(Fault::ServerAway { problem }) =
                self.ask_server(host, "account.notify", &params)
            {
                tracing::warn!(%host, problem, "accounts will hear later of what expires");
                return moment.map_or(since, |moment| moment.plus(-1));
            }
            tracing::info!(%account, name = name.as_str(), "told that it expires soon");
        }
        now
    }
}

/// "on 2026-01-31 (in 7 days)".
fn in_words(moment: UnixSeconds, now: UnixSeconds) -> String {
    let left = match moment.0.saturating_sub(now.0) / SECONDS_PER_DAY {
        0 => "in less than a day".to_owned(),
        1 => "in 1 day".to_owned(),
        days => format!("in {days} days"),
    };
    OffsetDateTime::from_unix_timestamp(moment.0)
        .map(|time| format!("on {} ({left})", time.date()))
        .unwrap_or(left)
}

const LOOK_EVERY_SECONDS: i64 = 3600;
const SECONDS_PER_DAY: i64 = 24 * 3600;
