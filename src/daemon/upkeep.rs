//! What is done from time to time, and at a signal: each a loop of its own.
//!
//! Must not know: what is done; that the service says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::clock::now;
use super::disk_room::reserve_bytes;
use super::service::Service;

/// What is done from time to time: the reserve of free space, last uses, stale records.
pub(super) async fn look_after(service: Arc<Service>, data_dir: PathBuf) {
    let mut turn: u64 = 0;
    let mut clock = tokio::time::interval(UPKEEP_EVERY);
    loop {
        clock.tick().await;
        let service = Arc::clone(&service);
        let data_dir = data_dir.clone();
        let done = tokio::task::spawn_blocking(move || {
            service.set_disk_nearly_full(is_nearly_full(&data_dir, service.store_bytes()));
            if turn.is_multiple_of(LAST_USES_EVERY_TURNS) {
                service.write_last_uses();
            }
            // Not at the start: a machine that boots with a wrong clock shall have time to set it.
            if turn > 0 && turn.is_multiple_of(SWEEP_EVERY_TURNS) {
                service.sweep(now());
            }
        });
        if let Err(error) = done.await {
            tracing::error!(%error, "upkeep failed");
        }
        turn += 1;
    }
}

/// Apart from the upkeep: servers are asked, which may take its time.
pub(super) async fn give_notices(service: Arc<Service>) {
    let mut clock = tokio::time::interval(LOOK_FOR_NOTICES_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let service = Arc::clone(&service);
        let done = tokio::task::spawn_blocking(move || service.give_notices(now()));
        if let Err(error) = done.await {
            tracing::error!(%error, "accounts did not hear of what expires");
        }
    }
}

pub(super) async fn close_expired(service: Arc<Service>) {
    let mut clock = tokio::time::interval(CLOSE_EXPIRED_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let service = Arc::clone(&service);
        let done = tokio::task::spawn_blocking(move || service.close_expired(now()));
        if let Err(error) = done.await {
            tracing::error!(%error, "sessions of expired certificates were not closed");
        }
    }
}

/// Once a day, and soon after the start if not everything was read then.
pub(super) async fn check_store(service: Arc<Service>) {
    let mut clock = tokio::time::interval(LOOK_FOR_CHECK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let service = Arc::clone(&service);
        let done = tokio::task::spawn_blocking(move || service.check_store_if_due(now()));
        if let Err(error) = done.await {
            tracing::error!(%error, "the store was not checked");
        }
    }
}

/// sled needs room to rewrite what it holds, and cannot go on after a full disk.
fn is_nearly_full(folder: &Path, store_bytes: u64) -> bool {
    match statvfs(folder) {
        Ok(disk) => {
            let free = disk.blocks_available() * disk.fragment_size();
            free < reserve_bytes(store_bytes)
        }
        Err(error) => {
            tracing::error!(%error, folder = %folder.display(), "cannot ask how full the disk is");
            false
        }
    }
}

/// SIGHUP means "read your files again".
pub(super) async fn answer_hangups(mut hangup: Signal, service: Arc<Service>) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: the files of authorities and revocation lists are read again");
        read_authorities(&service, true).await;
    }
}

/// They are read again by themselves when they change, too.
pub(super) async fn watch_authorities(service: Arc<Service>) {
    let mut clock = tokio::time::interval(READ_AUTHORITIES_EVERY);
    loop {
        clock.tick().await;
        read_authorities(&service, false).await;
    }
}

async fn read_authorities(service: &Arc<Service>, anew: bool) {
    let service = Arc::clone(service);
    let done = tokio::task::spawn_blocking(move || service.read_authorities(anew));
    if let Err(error) = done.await {
        tracing::error!(%error, "the files of authorities were not read");
    }
}

const UPKEEP_EVERY: Duration = Duration::from_secs(5);
const LOOK_FOR_CHECK_EVERY: Duration = Duration::from_mins(10);
const LOOK_FOR_NOTICES_EVERY: Duration = Duration::from_secs(2);
const CLOSE_EXPIRED_EVERY: Duration = Duration::from_secs(2);
const READ_AUTHORITIES_EVERY: Duration = Duration::from_secs(2);
const LAST_USES_EVERY_TURNS: u64 = 6;
/// Six hours.
const SWEEP_EVERY_TURNS: u64 = 4320;
