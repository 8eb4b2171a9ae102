//! What concerns who has logged in before, and who heeds it.
//!
//! Whoever opens the store hands it a [`Heed`]: it keeps every yes to a login back while such a change is applied, be it this process's or
//! another's. Nobody asks for that, and nobody can go without it: what a change is follows from the rows that it has written. Whoever asked
//! for one [`Hear`]s what it was, before it is told that it is made; what nobody here has asked for the heeder hears itself.
//!
//! Must not know: who decides a change; how the daemon keeps a yes back.

use std::sync::Arc;
use std::time::Duration;

use super::edit::Table;
use super::error::StoreError;
use super::record;
use super::rows::Changed;
use super::tables::Tables;
use crate::identity::{BareJid, KeyId, Outline};

/// A change that concerns who has logged in before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key was revoked.
    Revoked(KeyId),
    /// The account itself is another one.
    Account {
        /// As it was; `None`: there was none.
        before: Option<Outline>,
        /// As it is; `None`: there is none any more.
        after: Option<Outline>,
    },
}

/// Hears what has changed.
pub trait Hear: Send + Sync {
    /// These are applied, and last. Nobody says yes meanwhile. What it does must not wait for anything that may wait for a change.
    fn hear(&self, changes: &[(BareJid, Change)]);

    /// What it asked for is made, and these daemons, which share the rows, were silent: nobody is let in there any more by what was so
    /// before, and the sessions there are closed when they are back.
    fn were_silent(&self, _daemons: &[String]) {}
}

/// Keeps every yes to a login back while something is taken back: the daemon's gate. It hears of what nobody here has asked for.
pub trait Heed: Hear {
    /// Calls `apply`, once, between all yeses that were begun before and all that come later: whoever begins one later reads what is applied.
    fn under_closing(&self, apply: &mut dyn FnMut());

    /// Waits until the kernel has all lines that whoever was told yes is told by now; of whom it can't tell them, at most so long. Blocks.
    fn wait_until_told(&self, patience: Duration);

    /// Does this thread keep a closing away, or hold one? If it waited for a change, that change could wait for it.
    fn is_held_here(&self) -> bool;
}

/// For a store beside which nobody logs in.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoLogins;

impl Hear for NoLogins {
    fn hear(&self, _: &[(BareJid, Change)]) {}
}

impl Heed for NoLogins {
    fn under_closing(&self, apply: &mut dyn FnMut()) {
        apply();
    }

    fn wait_until_told(&self, _: Duration) {}

    fn is_held_here(&self) -> bool {
        false
    }
}

/// What of one job concerns who has logged in before.
pub(super) struct Concern {
    changes: Vec<(BareJid, Change)>,
    asker: Option<Arc<dyn Hear>>,
}

impl Concern {
    /// `asker`: who hears of it, if somebody here has asked for the job. `None`: nobody has to.
    ///
    /// Errors: a row can't be read, so that nobody knows what it changes.
    pub(super) fn of(
        tables: &Tables,
        rows: &[Changed],
        asker: Option<Arc<dyn Hear>>,
    ) -> Result<Option<Self>, StoreError> {
        let changes = Change::of_changed(tables, rows)?;
        Ok((!changes.is_empty()).then_some(Self { changes, asker }))
    }

    /// May a yes that was right before be wrong now? Nobody was let in to an account that there was not.
    #[cfg(feature = "postgres")]
    pub(super) fn takes_back(&self) -> bool {
        let takes_back = |change: &Change| match change {
            Change::Revoked(_) => true,
            Change::Account { before, .. } => before.is_some(),
        };
        self.changes.iter().any(|(_, change)| takes_back(change))
    }

    /// Tells whoever has asked for it, or else `heed`.
    pub(super) fn tell(&self, heed: &dyn Heed) {
        match &self.asker {
            Some(asker) => asker.hear(&self.changes),
            None => heed.hear(&self.changes),
        }
    }
}

impl Change {
    /// Those that the rows of a job make, in the order of the rows.
    fn of_changed(tables: &Tables, rows: &[Changed]) -> Result<Vec<(BareJid, Self)>, StoreError> {
        let mut changes = Vec::new();
        for one in rows {
            let change = match one.table {
                Table::RevokedKeys => revoked(tables, one)?,
                Table::Passwords => account(tables, one)?,
                _ => None,
            };
            changes.extend(change);
        }
        Ok(changes)
    }
}

/// A mark that is written says that the key is revoked, whatever was there before; one that goes takes nothing back.
fn revoked(tables: &Tables, row: &Changed) -> Result<Option<(BareJid, Change)>, StoreError> {
    if row.after.is_none() {
        return Ok(None);
    }
    let account = record::account_part(&row.key);
    let key_id = row
        .key
        .get(account.len() + 1..)
        .and_then(<[u8]>::first_chunk::<32>);
    let read = record::account_of(account).zip(key_id);
    let (account, key_id) = read.ok_or_else(|| damaged_key(tables, row.table))?;
    let change = Change::Revoked(KeyId::from_bytes(*key_id));
    Ok(Some((account, change)))
}

/// The same account with other verifiers of the same password is no other one.
fn account(tables: &Tables, row: &Changed) -> Result<Option<(BareJid, Change)>, StoreError> {
    let jid = record::account_of(record::account_part(&row.key));
    let jid = jid.ok_or_else(|| damaged_key(tables, row.table))?;
    let outline = |value: Option<&[u8]>| {
        let read = value.map(|value| record::account(jid.clone(), value));
        let read = read.transpose();
        read.map(|account| account.map(|account| account.outline()))
            .map_err(|error| tables.corrupt(row.table, &error))
    };
    let before = outline(row.before.as_deref())?;
    let after = outline(row.after.as_deref())?;
    let is_other = before != after;
    Ok(is_other.then_some((jid, Change::Account { before, after })))
}

fn damaged_key(tables: &Tables, table: Table) -> StoreError {
    tables.corrupt(table, &"its key is damaged")
}
