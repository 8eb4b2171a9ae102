//! Tells a service manager (systemd), as `sd_notify(3)` describes it: that we are ready, that we live, that we
//! stop. Without one nothing is said.
//!
//! Must not know: what is served.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::store::{Store, StoreError};

/// The store is open, and peers that connect are answered.
pub(super) async fn tell_ready() {
    tell("READY=1").await;
}

/// Asks for more time until `opened` is done, again and again: a store that is written anew takes what it takes.
pub(super) async fn patient<T>(opened: impl Future<Output = T>) -> T {
    let mut opened = pin!(opened);
    loop {
        tell("EXTEND_TIMEOUT_USEC=90000000").await;
        if let Ok(done) = tokio::time::timeout(PATIENCE_EVERY, &mut opened).await {
            return done;
        }
    }
}

/// No more connections are taken.
pub(super) async fn tell_stopping() {
    tell("STOPPING=1").await;
}

/// Says that we live, three times as often as we are asked to, for as long as the store's writer answers.
///
/// Returns at once if nobody asks.
pub(super) async fn feed_watchdog(store: Arc<Store>) {
    let Some(limit) = watchdog_limit() else {
        return;
    };
    let mut clock = tokio::time::interval(limit / 3);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let store = Arc::clone(&store);
        // A writer that hangs keeps this loop waiting: the watchdog is starved, which is the purpose.
        match tokio::task::spawn_blocking(move || store.probe()).await {
            // The writer answers. That the place of the rows is away is no reason to start anew.
            Ok(Ok(()) | Err(StoreError::Away { .. } | StoreError::OutcomeUnknown { .. })) => {
                tell("WATCHDOG=1").await;
            }
            Ok(Err(error)) => tracing::error!(%error, "the watchdog is not fed"),
            Err(error) => tracing::error!(%error, "the watchdog is not fed"),
        }
    }
}

/// How long we may stay silent, if that is limited, and for this process.
fn watchdog_limit() -> Option<Duration> {
    let limit: u64 = number_in("WATCHDOG_USEC")?.ok()?;
    match number_in::<u32>("WATCHDOG_PID") {
        Some(pid) if pid != Ok(std::process::id()) => None,
        _ if limit == 0 => None,
        _ => Some(Duration::from_micros(limit)),
    }
}

fn number_in<T: std::str::FromStr>(variable: &str) -> Option<Result<T, T::Err>> {
    env::var(variable).ok().map(|text| text.parse())
}

async fn tell(state: &str) {
    let Some(notify_socket) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match send(state, &notify_socket) {
            Ok(()) => return,
            // Too much waits for it to read.
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%error, state, "the service manager cannot be told");
                return;
            }
        }
    }
}

/// Never waits: a service manager that hangs must not hang us.
fn send(state: &str, notify_socket: &OsStr) -> io::Result<()> {
    let address = match notify_socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(notify_socket)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

const PATIENCE: Duration = Duration::from_secs(1);
/// Within the 90 seconds that a start may take.
const PATIENCE_EVERY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
