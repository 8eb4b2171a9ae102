//! The chores that the daemon does from time to time, or at a signal: the only place that lists them. Each has a loop of its own.
//!
//! Must not know: how a chore is done.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::signal::unix::Signal;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::clock::now;
use super::disk_room::DiskRoom;
use super::handlers::edits::sweep;
use super::state::State;
use crate::policy::access::is_nearly_full;
use crate::store::Store;

/// Something that is done again and again. It may block.
struct Chore {
    every: Duration,
    /// And at the start?
    is_first_at_start: bool,
    /// The log's words if it panics.
    failed: &'static str,
    work: fn(&State),
}

const CHORES: [Chore; 8] = [
    Chore {
        every: Duration::from_secs(5),
        is_first_at_start: true,
        failed: "how full the disk is was not asked",
        work: |state| look_at_disk(&state.store, &state.disk_room),
    },
    Chore {
        every: Duration::from_secs(30),
        is_first_at_start: false,
        failed: "the last uses of certificates were not written",
        work: |state| state.last_uses.write(&state.store, &state.disk_room),
    },
    Chore {
        every: Duration::from_hours(6),
        // A machine that boots with a wrong clock shall have time to set it.
        is_first_at_start: false,
        failed: "stale records were not removed",
        work: |state| {
            sweep(&state.store, now());
            state.messages().forget_old(now());
        },
    },
    Chore {
        every: Duration::from_secs(2),
        is_first_at_start: true,
        failed: "accounts did not hear what has become of their certificates",
        work: |state| state.messages().deliver(),
    },
    // Servers are asked, which may take its time.
    Chore {
        every: Duration::from_secs(2),
        is_first_at_start: true,
        failed: "accounts did not hear of what expires",
        work: |state| state.notices().give_notices(now()),
    },
    Chore {
        every: Duration::from_secs(2),
        is_first_at_start: true,
        failed: "sessions of expired certificates were not closed",
        work: |state| state.live_sessions().close_expired(now()),
    },
    // Once a day it is due, and soon after the start if not everything was read then.
    Chore {
        every: Duration::from_mins(10),
        is_first_at_start: true,
        failed: "the store was not checked",
        work: |state| {
            state.checks.run_if_due(&state.store, now());
        },
    },
    // Those that have changed.
    Chore {
        every: Duration::from_secs(2),
        is_first_at_start: true,
        failed: AUTHORITIES_FAILED,
        work: |state| state.vouching().read(false),
    },
];

/// Does all of it, beside what else is done, until that is aborted.
pub(super) fn begin(state: &Arc<State>, hangup: Signal, beside: &mut JoinSet<()>) {
    for chore in &CHORES {
        beside.spawn(again_and_again(chore, Arc::clone(state)));
    }
    beside.spawn(answer_hangups(hangup, Arc::clone(state)));
}

async fn again_and_again(chore: &Chore, state: Arc<State>) {
    let mut clock = tokio::time::interval(chore.every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if !chore.is_first_at_start {
        clock.tick().await;
    }
    loop {
        clock.tick().await;
        let state = Arc::clone(&state);
        let work = chore.work;
        let done = tokio::task::spawn_blocking(move || work(&state));
        if let Err(error) = done.await {
            tracing::error!(%error, "{}", chore.failed);
        }
    }
}

/// SIGHUP means "read your files again".
async fn answer_hangups(mut hangup: Signal, state: Arc<State>) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: the files of authorities and revocation lists are read again");
        let state = Arc::clone(&state);
        let done = tokio::task::spawn_blocking(move || state.vouching().read(true));
        if let Err(error) = done.await {
            tracing::error!(%error, "{AUTHORITIES_FAILED}");
        }
    }
}

fn look_at_disk(store: &Store, room: &DiskRoom) {
    // The disk of a database is another machine's, and its own to look after: it refuses what it has no room for.
    let Some(folder) = store.folder() else {
        return;
    };
    let is_full = match statvfs(folder) {
        Ok(disk) => {
            let free = disk.blocks_available() * disk.fragment_size();
            is_nearly_full(free, store.bytes_on_disk())
        }
        Err(error) => {
            tracing::error!(%error, folder = %folder.display(), "cannot ask how full the disk is");
            false
        }
    };
    room.set_nearly_full(is_full, folder);
}

const AUTHORITIES_FAILED: &str = "the files of authorities were not read";
