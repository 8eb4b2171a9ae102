//! The daemon from its start to its end: opens the store, listens, and shuts down.
//!
//! Must not know: what a question means, how lines are read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Gid, Uid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::store::{Listeners, OnFailure, OnLoss, Store, StoreError};

use super::accepting::Acceptor;
use super::clock::now;
use super::limits::SHUTDOWN_LIMIT;
use super::listen_error::ListenError;
use super::listening::SocketSource;
use super::panics::Opening;
use super::roles::{Roles, UnknownUser};
use super::socket_folder::Tenant;
use super::state::State;
use super::{manager, upkeep};

/// The settings that `serve` is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The store's folder; with a database, what this daemon keeps beside it.
    pub data_dir: PathBuf,
    /// The database that the store is in, as libpq reads it; `None`: it is in the folder.
    pub database: Option<String>,
    /// Users (names or numbers) that may ask what a server asks.
    pub server_users: Vec<String>,
    /// Users (names or numbers) that may ask everything, beside root and our own.
    pub admin_users: Vec<String>,
    /// sled's page cache.
    pub cache_bytes: u64,
    /// Serve what is left of a store that is not whole.
    pub accept_rollback: bool,
}

/// Why the daemon does not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The admin's: a flag names a user that this machine does not have.
    #[error(transparent)]
    UnknownUser(#[from] UnknownUser),
    /// There is nowhere to listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The process gets no signals.
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store failed while serving: nothing more can be promised.
    #[error("the store failed; start saslcertd again when its cause is mended: {cause}")]
    StoreFailed {
        /// Its message.
        cause: String,
    },
}

/// Serves at `place` until SIGTERM or SIGINT.
///
/// Errors: see [`ServeError`]; whatever was acknowledged before is on the disk.
pub async fn serve(options: Options, place: SocketSource) -> Result<(), ServeError> {
    let roles = Roles::resolve(&options.server_users, &options.admin_users)?;
    let tenant = Tenant {
        uid: Uid::effective().as_raw(),
        group: roles.socket_group.map(Gid::as_raw),
    };
    // In this order: a store that is not there, or somebody else's, explains whose the socket's folder is.
    if options.database.is_none() {
        Store::look(&options.data_dir, tenant.uid)?;
    }
    // Before the store is opened: of all that goes wrong with a second daemon, this says it best.
    place.check(tenant)?;
    let (failed, mut failure) = mpsc::unbounded_channel();
    let opening = options
        .database
        .is_none()
        .then(|| Opening::of(&options.data_dir));
    let on_loss = if options.accept_rollback {
        OnLoss::Accept { now: now() }
    } else {
        OnLoss::Refuse
    };
    let on_failure = Box::new(move |error: &StoreError| {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let text = [Some(error.to_string()), cause].into_iter().flatten();
        // The receiver lives as long as the server: when it is gone, so is the process.
        let _ = failed.send(text.collect::<Vec<_>>().join(": "));
    });
    // On a thread of its own: this one asks for patience meanwhile.
    let opened = tokio::task::spawn_blocking(move || {
        State::new(|listeners| open(&options, on_loss, listeners, on_failure))
    });
    // A panic there has ended the process.
    let opened = manager::patient(opened).await;
    let state = Arc::new(opened.map_err(|_| StoreError::Failed)??);
    if let Some(opening) = opening {
        opening.end();
    }
    state.note_opening(now());
    let (stop, stopping) = watch::channel(false);
    let mut terminate = watch_for(SignalKind::terminate())?;
    let mut interrupt = watch_for(SignalKind::interrupt())?;
    let hangup = watch_for(SignalKind::hangup())?;
    let socket = place.path().to_owned();
    let is_handed_over = matches!(place, SocketSource::HandedOver { .. });
    let listening = place.listen(tenant)?;
    let mut beside = JoinSet::new();
    beside.spawn(manager::feed_watchdog(Arc::clone(&state.store)));
    upkeep::begin(&state, hangup, &mut beside);
    tracing::info!(
        socket = %socket.display(),
        is_handed_over,
        store = %state.store.place(),
        server_users = ?roles.server,
        admin_users = ?roles.admin,
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    manager::tell_ready().await;
    let mut acceptor = Acceptor::new(Arc::clone(&state), roles, stopping);
    let ended = tokio::select! {
        () = acceptor.run(&listening) => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(cause) = failure.recv() => Err(ServeError::StoreFailed { cause }),
    };
    // No new work; the work in flight is finished, within the limit.
    tracing::info!("stopping");
    listening.end();
    let _ = stop.send(true);
    manager::tell_stopping().await;
    beside.abort_all();
    let deadline = tokio::time::Instant::now() + SHUTDOWN_LIMIT;
    state.finish(SHUTDOWN_LIMIT).await;
    let closing = async { while acceptor.open.join_next().await.is_some() {} };
    if tokio::time::timeout_at(deadline, closing).await.is_err() {
        tracing::warn!("connections are cut off unwritten");
    }
    if ended.is_ok() {
        close(state, deadline).await;
    }
    ended
}

/// The store, wherever it is.
fn open(
    options: &Options,
    on_loss: OnLoss,
    listeners: Listeners,
    on_failure: OnFailure,
) -> Result<Store, StoreError> {
    #[cfg(feature = "postgres")]
    if let Some(database) = &options.database {
        return Store::open_database_with(
            database,
            &options.data_dir,
            on_loss,
            listeners,
            on_failure,
        );
    }
    Store::open_with(
        &options.data_dir,
        options.cache_bytes,
        on_loss,
        listeners,
        on_failure,
    )
}

/// Everything acknowledged is on the disk; only last uses are left.
async fn close(state: Arc<State>, deadline: tokio::time::Instant) {
    let closed = tokio::task::spawn_blocking(move || state.close());
    let limit = deadline.max(tokio::time::Instant::now() + CLOSE_AT_LEAST);
    if tokio::time::timeout_at(limit, closed).await.is_err() {
        tracing::warn!("the last uses of some certificates are not written");
    }
    tracing::info!("stopped");
}

fn watch_for(kind: SignalKind) -> Result<Signal, ServeError> {
    signal(kind).map_err(ServeError::Signals)
}

/// However long the rest took.
const CLOSE_AT_LEAST: Duration = Duration::from_millis(500);
