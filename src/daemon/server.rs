//! The socket: accept, find out who it is, read lines within limits and deadlines, shut down. Reads the clock.
//!
//! Must not know: what a question means.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::statvfs::statvfs;
use nix::unistd::{Gid, Uid, User};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::identity::UnixSeconds;
use crate::store::{OnLoss, Store, StoreError};

use super::connection::{Connection, Peer};
use super::listening::{ListenError, Listening, Place};
use super::manager;
use super::panics::Opening;
use super::service::Service;
use super::socket_folder::Tenant;
use crate::protocol::{self, Fault, Lines, Role};

/// What `serve` is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The store's folder.
    pub data_dir: PathBuf,
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
    #[error("{flag} {user}: there is no such user on this machine")]
    UnknownUser {
        /// Which flag.
        flag: &'static str,
        /// Which user.
        user: String,
    },
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
        /// What it said.
        cause: String,
    },
}

/// Serves at `place` until SIGTERM or SIGINT.
///
/// Errors: see [`ServeError`]; whatever was acknowledged before is on the disk.
pub async fn serve(options: Options, place: Place) -> Result<(), ServeError> {
    let roles = Roles::resolve(&options)?;
    let tenant = Tenant {
        uid: Uid::effective().as_raw(),
        group: roles.socket_group.map(Gid::as_raw),
    };
    // In this order: a store that is not there, or somebody else's, explains whose the socket's folder is.
    Store::look(&options.data_dir, tenant.uid)?;
    // Before the store is opened: of all that goes wrong with a second daemon, this says it best.
    place.check(tenant)?;
    let (failed, mut failure) = mpsc::unbounded_channel();
    let patience = tokio::spawn(manager::ask_for_patience());
    let opening = Opening::of(&options.data_dir);
    let on_loss = if options.accept_rollback {
        OnLoss::Accept { now: now() }
    } else {
        OnLoss::Refuse
    };
    let store = Store::open_with(
        &options.data_dir,
        options.cache_bytes,
        on_loss,
        Box::new(move |error| {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            let text = [Some(error.to_string()), cause].into_iter().flatten();
            // The receiver lives as long as the server: when it is gone, so is the process.
            let _ = failed.send(text.collect::<Vec<_>>().join(": "));
        }),
    )?;
    patience.abort();
    let service = Arc::new(Service::new(store)?);
    opening.end();
    service.note_opening(now());
    let (stop, stopping) = watch::channel(false);
    let mut terminate = watch_for(SignalKind::terminate())?;
    let mut interrupt = watch_for(SignalKind::interrupt())?;
    let hangup = watch_for(SignalKind::hangup())?;
    let socket = place.path().to_owned();
    let is_handed_over = matches!(place, Place::HandedOver { .. });
    let listening = place.listen(tenant)?;
    let mut beside = JoinSet::new();
    beside.spawn(upkeep(Arc::clone(&service), options.data_dir.clone()));
    beside.spawn(give_notices(Arc::clone(&service)));
    beside.spawn(close_expired(Arc::clone(&service)));
    beside.spawn(check_store(Arc::clone(&service)));
    beside.spawn(manager::feed_watchdog(Arc::clone(&service)));
    beside.spawn(watch_authorities(Arc::clone(&service)));
    beside.spawn(answer_hangups(hangup, Arc::clone(&service)));
    tracing::info!(
        socket = %socket.display(),
        is_handed_over,
        data_dir = %options.data_dir.display(),
        server_users = ?roles.server,
        admin_users = ?roles.admin,
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    manager::tell_ready().await;
    let mut acceptor = Acceptor {
        service: Arc::clone(&service),
        roles,
        started: Instant::now(),
        stopping,
        free: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        last_id: 0,
        open: JoinSet::new(),
    };
    let ended = tokio::select! {
        () = acceptor.run(&listening) => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(cause) = failure.recv() => Err(ServeError::StoreFailed { cause }),
    };
    // No new work; what is in flight is finished, within the limit.
    tracing::info!("stopping");
    listening.end();
    let _ = stop.send(true);
    manager::tell_stopping().await;
    beside.abort_all();
    let deadline = tokio::time::Instant::now() + SHUTDOWN_LIMIT;
    service.finish(SHUTDOWN_LIMIT).await;
    let closing = async { while acceptor.open.join_next().await.is_some() {} };
    if tokio::time::timeout_at(deadline, closing).await.is_err() {
        tracing::warn!("connections are cut off unwritten");
    }
    if ended.is_ok() {
        let closed = tokio::task::spawn_blocking(move || service.close());
        // Everything acknowledged is on the disk; what is left are last uses.
        let limit = deadline.max(tokio::time::Instant::now() + CLOSE_AT_LEAST);
        if tokio::time::timeout_at(limit, closed).await.is_err() {
            tracing::warn!("the last uses of some certificates are not written");
        }
        tracing::info!("stopped");
    }
    ended
}

fn watch_for(kind: SignalKind) -> Result<Signal, ServeError> {
    signal(kind).map_err(ServeError::Signals)
}

/// SIGHUP means "read your files again".
async fn answer_hangups(mut hangup: Signal, service: Arc<Service>) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: the files of authorities and revocation lists are read again");
        read_authorities(&service, true).await;
    }
}

/// They are read again by themselves when they change, too.
async fn watch_authorities(service: Arc<Service>) {
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

/// Which users may ask what.
struct Roles {
    server: Vec<u32>,
    admin: Vec<u32>,
    /// The group that the socket is given, so that the server may open it.
    socket_group: Option<Gid>,
}

impl Roles {
    fn resolve(options: &Options) -> Result<Self, ServeError> {
        let user = |flag: &'static str, name: &String| {
            let unknown = || ServeError::UnknownUser {
                flag,
                user: name.clone(),
            };
            match name.parse::<u32>() {
                // A number needs no entry: the kernel compares numbers.
                Ok(uid) => Ok((uid, User::from_uid(Uid::from_raw(uid)).ok().flatten())),
                Err(_) => match User::from_name(name) {
                    Ok(Some(user)) => Ok((user.uid.as_raw(), Some(user))),
                    Ok(None) | Err(_) => Err(unknown()),
                },
            }
        };
        let mut server = Vec::new();
        let mut socket_group = None;
        for name in &options.server_users {
            let (uid, entry) = user("--server-user", name)?;
            server.push(uid);
            socket_group = socket_group.or(entry.map(|entry| entry.gid));
        }
        let mut admin = vec![0, Uid::effective().as_raw()];
        for name in &options.admin_users {
            admin.push(user("--admin-user", name)?.0);
        }
        admin.sort_unstable();
        admin.dedup();
        Ok(Self {
            server,
            admin,
            socket_group,
        })
    }

    fn role(&self, uid: u32) -> Option<Role> {
        if self.admin.contains(&uid) {
            Some(Role::Admin)
        } else if self.server.contains(&uid) {
            Some(Role::Server)
        } else {
            None
        }
    }
}

struct Acceptor {
    service: Arc<Service>,
    roles: Roles,
    started: Instant,
    stopping: watch::Receiver<bool>,
    free: Arc<Semaphore>,
    last_id: u64,
    open: JoinSet<()>,
}

impl Acceptor {
    async fn run(&mut self, listening: &Listening) {
        loop {
            // Finished ones are let go of as new ones come.
            while self.open.try_join_next().is_some() {}
            match listening.accept().await {
                Ok(stream) => self.accept(stream),
                Err(error) => {
                    // Out of file descriptors, for one: they come back as connections end.
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accept(&mut self, stream: UnixStream) {
        let peer = match stream.peer_cred() {
            Ok(peer) => peer,
            Err(error) => {
                tracing::error!(%error, "a connection whose user is unknown is refused");
                return;
            }
        };
        let Some(role) = self.roles.role(peer.uid()) else {
            tracing::warn!(
                uid = peer.uid(),
                pid = peer.pid(),
                "refused: neither --server-user nor --admin-user"
            );
            // For its log. Nothing is waited for: a line fits into what a new socket takes.
            let fault = Fault::NotAdmitted { uid: peer.uid() };
            let _ = stream.try_write(protocol::failure(None, &fault.into()).as_bytes());
            return;
        };
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            tracing::error!(
                uid = peer.uid(),
                "refused: {MAX_CONNECTIONS} connections are open"
            );
            return;
        };
        self.last_id += 1;
        let peer = Peer {
            uid: peer.uid(),
            pid: peer.pid(),
            role,
        };
        tracing::debug!(connection = self.last_id, uid = peer.uid, "connected");
        let connection = Arc::new(Connection::new(self.last_id, peer));
        let service = Arc::clone(&self.service);
        let stopping = self.stopping.clone();
        let started = self.started;
        self.open.spawn(async move {
            let (read, write) = stream.into_split();
            service.connected(&connection);
            let mut writer = tokio::spawn(write_lines(Arc::clone(&connection), write));
            let end = read_lines(&service, &connection, read, stopping, started).await;
            if matches!(end, End::Said) {
                // It may have asked and closed its half: what is in flight is still answered.
                let _ = tokio::time::timeout(SHUTDOWN_LIMIT, connection.idle()).await;
            }
            service.disconnected(&connection);
            connection.close();
            let unread = tokio::time::timeout(SHUTDOWN_LIMIT, &mut writer);
            if matches!(end, End::CutOff) || unread.await.is_err() {
                writer.abort();
            }
            tracing::debug!(connection = connection.id, "disconnected");
            drop(permit);
        });
    }
}

/// Why no more lines of a peer are read.
enum End {
    /// It has said what it had to say, or the server stops.
    Said,
    /// It broke a limit.
    CutOff,
}

/// Reads until the peer ends, a line stays unfinished, or the server stops.
async fn read_lines(
    service: &Arc<Service>,
    connection: &Arc<Connection>,
    mut read: OwnedReadHalf,
    mut stopping: watch::Receiver<bool>,
    started: Instant,
) -> End {
    let mut lines = Lines::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut unfinished_since = None;
    loop {
        let deadline = unfinished_since.map(|since: tokio::time::Instant| since + LINE_DEADLINE);
        let count = tokio::select! {
            biased;
            _ = stopping.changed() => return End::Said,
            () = connection.cut_off() => return End::CutOff,
            read = read.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return End::Said,
                Ok(count) => count,
            },
            // Behind the read: after a pause of our own, what came meanwhile counts.
            () = expired(deadline) => {
                tracing::warn!(connection = connection.id, "cut off: a line stayed unfinished");
                return End::CutOff;
            }
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        let now = now();
        lines.feed(bytes, |line| {
            unfinished_since = None;
            service.handle(connection, line, now, started.elapsed());
        });
        if lines.is_unfinished() {
            let since = *unfinished_since.get_or_insert_with(tokio::time::Instant::now);
            // A peer that always has more of its line to say is never waited for above.
            if since.elapsed() > LINE_DEADLINE {
                tracing::warn!(
                    connection = connection.id,
                    "cut off: a line stayed unfinished"
                );
                return End::CutOff;
            }
        }
    }
}

async fn expired(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn write_lines(connection: Arc<Connection>, mut write: OwnedWriteHalf) {
    while let Some(lines) = connection.queued().await {
        if write.write_all(&lines).await.is_err() {
            // The reader sees the same end.
            return;
        }
    }
}

/// What is done from time to time: the reserve of free space, last uses, stale records.
async fn upkeep(service: Arc<Service>, data_dir: PathBuf) {
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
async fn give_notices(service: Arc<Service>) {
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

async fn close_expired(service: Arc<Service>) {
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
async fn check_store(service: Arc<Service>) {
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

/// The free space that a store of this size keeps for revocations: below it, nothing is added.
pub(crate) fn reserve_bytes(store_bytes: u64) -> u64 {
    (store_bytes / 10).max(FREE_BYTES)
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

fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

const MAX_CONNECTIONS: usize = 256;
const READ_BYTES: usize = 64 * 1024;
const LINE_DEADLINE: Duration = Duration::from_secs(10);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// However long the rest took.
const CLOSE_AT_LEAST: Duration = Duration::from_millis(500);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
const LOOK_FOR_CHECK_EVERY: Duration = Duration::from_mins(10);
const LOOK_FOR_NOTICES_EVERY: Duration = Duration::from_secs(2);
const CLOSE_EXPIRED_EVERY: Duration = Duration::from_secs(2);
const READ_AUTHORITIES_EVERY: Duration = Duration::from_secs(2);
const LAST_USES_EVERY_TURNS: u64 = 6;
/// Six hours.
const SWEEP_EVERY_TURNS: u64 = 4320;
/// However small the store is.
const FREE_BYTES: u64 = 64 * 1024 * 1024;
