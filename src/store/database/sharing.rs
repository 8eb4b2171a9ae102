//! Which daemons serve the database, and whether a standby has what they have committed.
//!
//! Must not know: what should be done about it.

use std::time::Duration;

use super::super::error::StoreError;
use super::super::sharing::{Sharer, Sharing, Standbys};
use super::Database;
use super::connect::{Unanswered, wait};
use super::leases::{Leases, Watching};
use super::statements::SEQ;
use crate::system::clock::since_boot;
use tokio_postgres::Row;

impl Database {
    pub(super) fn look_at_sharing(&self) -> Result<Sharing, StoreError> {
        let session = self.connections.now()?.reading();
        let ask = || {
            let head: i64 = wait(session.client().query_one(SEQ, &[]))?.try_get(0)?;
            let row = wait(session.client().query_one(STANDBYS, &[]))?;
            Ok::<_, Unanswered>((head, standbys(&row)?))
        };
        let (head, standbys) = ask().map_err(|error| error.away())?;
        let behind = |seen: i64| head.saturating_sub(seen).max(0).unsigned_abs();
        let mut daemons = vec![Sharer {
            machine: self.lease.machine().to_owned(),
            pid: std::process::id(),
            is_this: true,
            silent_for: None,
            behind: behind(self.followed.place().seq),
            patience: self.lease.patience(),
        }];
        daemons.extend(others(&self.leases.lock(), since_boot(), behind));
        Ok(Sharing {
            head: head.unsigned_abs(),
            daemons,
            standbys,
        })
    }
}

fn others(leases: &Leases, now: Duration, behind: impl Fn(i64) -> u64) -> Vec<Sharer> {
    let sharer = |one: Watching<'_>| Sharer {
        machine: one.lease.machine.clone(),
        pid: one.lease.pid,
        is_this: false,
        silent_for: one.silent_for,
        behind: behind(one.lease.seen),
        patience: one.lease.patience,
    };
    let mut others: Vec<Sharer> = leases.watched(now).map(sharer).collect();
    others.sort_by(|one, other| (&one.machine, one.pid).cmp(&(&other.machine, other.pid)));
    others
}

/// Of a row of [`STANDBYS`].
pub(super) fn standbys(row: &Row) -> Result<Standbys, Unanswered> {
    let sees: bool = row.try_get(1)?;
    let there: i64 = row.try_get(2)?;
    Ok(Standbys {
        names: row.try_get(0)?,
        there: sees.then_some(there.unsigned_abs()),
        role: row.try_get(3)?,
    })
}

/// Who may not read the statistics finds a line for each standby, and nothing in it.
pub(super) const STANDBYS: &str = "
SELECT current_setting('synchronous_standby_names'),
       pg_has_role('pg_read_all_stats', 'USAGE'),
       (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')),
       quote_ident(current_user)";
