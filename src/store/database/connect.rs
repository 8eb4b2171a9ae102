//! Connections to the server: how one is made, how long it may be silent, and how a thread waits for an answer on it.
//!
//! The driver is asynchronous, and the store's questions are not: they come from threads, and from those of the daemon's runtime, in
//! which no other runtime may run. So the driver has a thread of its own that moves bytes, and whoever asks sleeps until its answer is there.
//!
//! Must not know: what is asked.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::error::StoreError;
use super::place::Place;
use super::statements::Statements;
use super::tls;
use crate::system::lock::Lock;
use crate::system::shell;

/// The way to the server.
pub(super) struct Connector {
    place: Place,
    tls: Option<MakeRustlsConnect>,
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

/// What a connection says without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// There may be a new change.
    Change,
    /// A connection has ended, one of these.
    Lost {
        /// Since when it was there: those of one era come and go together.
        era: u64,
    },
    /// The store is being closed.
    Stop,
}

/// A new connection.
pub(super) struct Reached {
    pub(super) client: Client,
    warnings: Arc<Warnings>,
}

/// What the server has warned of on a connection, by itself.
#[derive(Default)]
struct Warnings {
    count: AtomicU64,
    last: Lock<String>,
}

/// What a commit is worth that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// It is on the disk, and on that of a synchronous standby if there is one.
    Firm,
    /// The server has warned meanwhile, as it does when somebody has it give up waiting for the standby; or its answer was lost.
    Doubtful,
}

/// An open connection, on which several may ask at a time; the statements that are asked most are prepared.
pub(super) struct Session {
    client: Client,
    warnings: Arc<Warnings>,
    pub(super) era: u64,
    pub(super) statements: Statements,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The server says so, or the connection has ended.
    Said(tokio_postgres::Error),
    /// Nothing came in time. What was asked may still be done.
    Silent,
}

impl Connector {
    /// Errors: the authorities' file can't be read; no thread.
    pub(super) fn of(place: Place) -> Result<Self, StoreError> {
        let tls = place.tls.as_ref().map(tls::from);
        let tls = tls
            .transpose()
            .map_err(|problem| refused(&place, problem))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("database")
            .enable_all()
            .build()
            .map_err(|source| StoreError::File {
                action: "cannot start a thread for",
                path: place.to_string(),
                source,
            })?;
        Ok(Self {
            place,
            tls,
            runtime: Some(runtime),
        })
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// A new connection, on which nothing was asked yet but how the server is set. What it says by itself goes to `heard`.
    ///
    /// Errors: the server can't be reached, does not let us in, or would lose what it has acknowledged.
    pub(super) fn reach(&self, heard: Option<(Sender<Heard>, u64)>) -> Result<Reached, StoreError> {
        let runtime = self.runtime.as_ref().ok_or(StoreError::Failed)?;
        let mut config = self.place.config.clone();
        config
            .connect_timeout(CONNECT_PATIENCE)
            .tcp_user_timeout(PATIENCE)
            .keepalives_idle(Duration::from_secs(2))
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3);
        let tls = self.tls.clone();
        let warnings = Arc::<Warnings>::default();
        let warned = Arc::clone(&warnings);
        let (answer, answered) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            let made = async {
                let Some(tls) = tls else {
                    let (client, connection) = config.connect(NoTls).await?;
                    tokio::spawn(drive(connection, heard, warned));
                    return Ok(client);
                };
                let (client, connection) = config.connect(tls).await?;
                tokio::spawn(drive(connection, heard, warned));
                Ok(client)
            };
            let made = tokio::time::timeout(PATIENCE, made).await;
            let made = made.unwrap_or(Err(Unanswered::Silent));
            let _ = answer.send(made);
        });
        let made = answered.recv().unwrap_or(Err(Unanswered::Silent));
        let client = made.map_err(|error| self.unreachable(&error))?;
        let set = wait(client.batch_execute(SETTINGS));
        set.map_err(|error| self.unreachable(&error))?;
        let asked = wait(client.query_one("SELECT current_setting('synchronous_commit')", &[]));
        let setting: String = asked
            .and_then(|row| row.try_get(0).map_err(Unanswered::Said))
            .map_err(|error| self.unreachable(&error))?;
        if !matches!(&*setting, "on" | "remote_apply") {
            return Err(refused(
                &self.place,
                format!(
                    "synchronous_commit is {setting}: a revocation that was answered could be lost. As its administrator: ALTER \
                     DATABASE \"{}\" SET synchronous_commit = on",
                    self.place.config.get_dbname().unwrap_or_default()
                ),
            ));
        }
        // As it is now: what is read from the configuration later must not loosen it.
        let kept = format!("SET synchronous_commit = {setting}");
        let kept = wait(client.batch_execute(&kept));
        kept.map_err(|error| self.unreachable(&error))?;
        Ok(Reached { client, warnings })
    }

    /// A connection on which the store is asked.
    pub(super) fn prepared(&self, reached: Reached, era: u64) -> Result<Session, StoreError> {
        let Reached { client, warnings } = reached;
        let statements = wait(Statements::prepare(&client));
        let statements = statements.map_err(|error| self.unreachable(&error))?;
        Ok(Session {
            client,
            warnings,
            era,
            statements,
        })
    }

    /// The error of whoever wants a connection, in words that say what to do.
    pub(super) fn unreachable(&self, error: &Unanswered) -> StoreError {
        let config = &self.place.config;
        let user = config.get_user().unwrap_or("that of this process");
        let name = config.get_dbname().unwrap_or_default();
        let code = match error {
            Unanswered::Said(error) => error.code(),
            Unanswered::Silent => None,
        };
        let said = error.problem();
        let refused_tls = match error {
            Unanswered::Said(error) => tls::refused(error),
            Unanswered::Silent => None,
        };
        let problem = match code {
            Some(code) if *code == SqlState::INVALID_PASSWORD => format!("{said}, and {PASSWORDS}"),
            Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => format!(
                "{said}. Name another user with user=NAME, or let this one in by pg_hba.conf (user: {user})"
            ),
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
                format!("{said}. Make it with: createdb {}", word(name))
            }
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => format!(
                "{said}. Whoever owns the schema gives the rights with: {} --role {}",
                init(&self.place),
                word(config.get_user().unwrap_or("NAME"))
            ),
            Some(_) => said,
            None if said == "password missing" => format!("a password is wanted, and {PASSWORDS}"),
            None => match refused_tls {
                Some(refused) => refused,
                None => format!("it cannot be reached: {said}"),
            },
        };
        refused(&self.place, problem)
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // Waiting for it is not allowed in a thread of another runtime; and nothing is left to be done in it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Session {
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Commits, on a connection on which nobody else asks meanwhile, and says what that is worth.
    ///
    /// Source: PostgreSQL's manual, `synchronous_standby_names`, and `SyncRepWaitForLSN`: a wait for a standby that is cancelled ends with a
    /// warning, and the commit is made. Its words are in the server's language, so that every warning is taken for that one.
    pub(super) fn commit<T>(
        &self,
        commit: impl FnOnce(&Client) -> Result<T, Unanswered>,
    ) -> Result<Committed, Unanswered> {
        let before = self.warnings.count.load(Ordering::Acquire);
        commit(&self.client)?;
        // A connection's messages are moved one after the other: the warning is counted before the answer is here.
        if self.warnings.count.load(Ordering::Acquire) == before {
            return Ok(Committed::Firm);
        }
        let warning = self.warnings.last.lock().clone();
        tracing::warn!(%warning, "the database warns of a commit: a standby may not have it");
        Ok(Committed::Doubtful)
    }
}

impl Unanswered {
    /// The problem, in the server's words where it has said some.
    pub(super) fn problem(&self) -> String {
        let Self::Said(error) = self else {
            return format!("no answer came within {} s", PATIENCE.as_secs());
        };
        if let Some(said) = error.as_db_error() {
            return said.message().to_owned();
        }
        let source = std::error::Error::source(error);
        source.map_or_else(|| error.to_string(), ToString::to_string)
    }

    /// Can nothing more be asked on that connection?
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Silent => true,
            // A session that the server ends gets a last word, too.
            Self::Said(error) => {
                let last = error.as_db_error().is_some_and(|said| {
                    let severity = said.parsed_severity();
                    matches!(
                        severity,
                        Some(
                            tokio_postgres::error::Severity::Fatal
                                | tokio_postgres::error::Severity::Panic
                        )
                    )
                });
                last || error.as_db_error().is_none()
            }
        }
    }

    /// The same, of a question that wrote nothing.
    pub(super) fn away(&self) -> StoreError {
        StoreError::Away {
            problem: self.problem(),
        }
    }

    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Said(error) => error.code(),
            Self::Silent => None,
        }
    }
}

impl From<tokio_postgres::Error> for Unanswered {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Said(error)
    }
}

/// The admin's: the database is not as it has to be.
pub(super) fn refused(place: &Place, problem: String) -> StoreError {
    StoreError::Database {
        place: place.to_string(),
        problem,
    }
}

/// The command that makes the store in a database.
pub(super) fn init(place: &Place) -> String {
    format!("saslcertd init --database {}", word(place.text()))
}

fn word(text: &str) -> String {
    shell::word(Path::new(text))
}

/// Moves the bytes of a connection until it ends.
async fn drive<S, T>(
    mut connection: Connection<S, T>,
    heard: Option<(Sender<Heard>, u64)>,
    warnings: Arc<Warnings>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let tell = |what: fn(u64) -> Heard| {
        if let Some((heard, era)) = &heard {
            // Nobody listens any more when the store is being closed.
            let _ = heard.send(what(*era));
        }
    };
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(_))) => tell(|_| Heard::Change),
            Some(Ok(AsyncMessage::Notice(notice))) => {
                tracing::debug!(said = notice.message(), "the database says");
                notice.message().clone_into(&mut warnings.last.lock());
                warnings.count.fetch_add(1, Ordering::AcqRel);
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break,
        }
    }
    drop(connection);
    tell(|era| Heard::Lost { era });
}

/// Waits in this thread until what is asked on a connection is answered, or for as long as a server may need.
///
/// Only for what a connection answers: nothing here serves what else a future may wait for.
pub(super) fn wait<T>(
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Unanswered> {
    let until = Instant::now() + PATIENCE;
    let waiting = || {
        let waker = Waker::from(Arc::new(Sleeper(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut asked = pin!(asked);
        loop {
            if let Poll::Ready(answer) = asked.as_mut().poll(&mut context) {
                return answer.map_err(Unanswered::Said);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unanswered::Silent);
            }
            thread::park_timeout(left);
        }
    };
    blocking(waiting)
}

/// Does what makes its thread wait, which may be one of the daemon's runtime: that goes on without it.
pub(super) fn blocking<T>(wait: impl FnOnce() -> T) -> T {
    let is_of_runtime = Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_of_runtime {
        tokio::task::block_in_place(wait)
    } else {
        wait()
    }
}

/// A thread that sleeps until something is there for it.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

const PASSWORDS: &str = "it comes from the file of passfile=FILE or PGPASSFILE, a line host:port:database:user:password";
/// The longest that a server may need for one statement: a bit longer than it gives itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);
/// Each a bound, so that nobody who stops in the middle holds the others up for long. Names are looked up in the system's schema
/// alone: nobody else's table or function can pass for ours.
const SETTINGS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '8s'; SET idle_in_transaction_session_timeout = '15s'; \
                        SET search_path = pg_catalog, pg_temp; SET default_transaction_isolation = 'read committed'; \
                        SET client_min_messages = 'warning'";
