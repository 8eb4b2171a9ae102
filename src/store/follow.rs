//! What else has to hear of changes: whatever somebody in this process remembers beside the store's own memory.
//!
//! Must not know: who remembers what.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::census::Censuses;
use super::edit::Table;
use super::heed::{Heed, NoLogins};
use super::record::{self, HostRecord};
use super::rows::Changed;
use crate::identity::{Host, ScramHash};

/// Something is another thing now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Another process has declared a host anew, or has forgotten it.
    Host {
        /// Which.
        host: Host,
        /// As it is declared; `None`: nobody can say how.
        record: Option<HostRecord>,
    },
    /// Accounts of a host have changed.
    Scram {
        /// Of which.
        host: Host,
        /// The hashes that all of its accounts have now.
        common: Vec<ScramHash>,
    },
    /// A message waits for whoever can deliver it.
    Message,
}

/// Hears news in the order in which things have changed, when memory has followed and before whoever asked hears that it is made.
pub trait Follow: Send + Sync {
    /// What it does must not wait for anything that may wait for a change.
    fn follow(&self, news: Vec<News>);
}

/// Everybody whom the store tells of changes.
#[derive(Clone)]
pub struct Listeners {
    /// Keeps every yes back while something is taken back.
    pub heed: Arc<dyn Heed>,
    /// Hears the news.
    pub follow: Arc<dyn Follow>,
}

impl Listeners {
    /// Those of a store beside which nobody logs in, and nothing is remembered.
    pub(super) fn nobody() -> Self {
        Self {
            heed: Arc::new(NoLogins),
            follow: Arc::new(NoLogins),
        }
    }
}

impl Follow for NoLogins {
    fn follow(&self, _: Vec<News>) {}
}

/// Who has made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// This process: what it remembers of a host is as new as its row, or newer.
    Here,
    /// Another process.
    #[cfg_attr(not(any(test, feature = "postgres")), allow(dead_code))]
    Another,
}

impl News {
    /// The news of these changes, which `censuses` have followed.
    pub(super) fn of(changes: &[Changed], by: Maker, censuses: &Censuses) -> Vec<Self> {
        let of = |table| changes.iter().filter(move |one| one.table == table);
        let hosts = of(Table::Hosts).filter(|_| by == Maker::Another);
        let hosts = hosts.filter_map(|row| {
            let record = row.after.as_deref();
            Some(Self::Host {
                host: Host::parse(std::str::from_utf8(&row.key).ok()?).ok()?,
                record: record.and_then(|record| record::decode(record).ok()),
            })
        });
        let of_accounts = of(Table::Passwords).filter_map(|row| {
            let account = record::account_of(record::account_part(&row.key))?;
            Some(account.host().clone())
        });
        let of_accounts: BTreeSet<Host> = of_accounts.collect();
        let scram = of_accounts.into_iter().map(|host| Self::Scram {
            common: censuses.of(&host).common(),
            host,
        });
        let messages = of(Table::Meta).filter(|row| record::is_message(&row.key));
        let message = messages.filter(|row| row.after.is_some()).take(1);
        let message = message.map(|_| Self::Message);
        hosts.chain(scram).chain(message).collect()
    }
}
