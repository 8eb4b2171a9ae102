//! Hands each question to its handler: the only place that lists them. The question's own type ([`Request`]) says who may ask it,
//! when, and in which lane it is answered.
//!
//! Must not know: how a question is answered.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use zeroize::Zeroize;

use super::connection::{Connection, Peer};
use super::derivations::Purpose;
use super::guesses::Network;
use super::handlers::checks::check;
use super::handlers::external::{OfClient, Schedule};
use super::reply::{Admits, Answered, Informs, Reply, refuse_unknown, unreadable};
use super::servers::closing_lines;
use super::state::State;
use crate::identity::UnixSeconds;
use crate::policy::access::{self, Barred};
use crate::protocol::{
    self, AccountExists, Admit, AnyHello, Append, Before, ClientRequest, Closed, CommandStep,
    ConsoleRun, Create, CreateLink, Delete, Disable, DisableAccount, EnableAccount, Expiring,
    Explain, Export, Failed, Fault, ForgetHost, Id, Import, ImportAccount, Incoming, Lane, Line,
    List, ListAccounts, ListHosts, ListLinks, ListMarks, Login, LookAtLink, Notice, Offer, Opened,
    RedeemLink, Refusal, Report, Request, Revoke, RevokeLink, Role, Scram, SetPassword, Status,
    StoreCheck, Succeeded, Unrevoke, Verify, fields,
};

/// When a question came.
#[derive(Clone, Copy)]
struct Moment {
    now: UnixSeconds,
    /// How long the daemon has run.
    uptime: Duration,
}

/// One question as it came.
struct Call<'a> {
    id: Id,
    method: &'a str,
    params: &'a str,
}

/// One question that is being answered.
struct Asked<'a, Q> {
    reply: &'a Reply<Q>,
    moment: Moment,
}

impl<Q: Request> Asked<'_, Q> {
    fn peer(&self) -> Peer {
        self.reply.peer()
    }
}

impl<Q: Informs> Asked<'_, Q> {
    fn send(&self, answered: Answered<Q::Answer>) {
        self.reply.send(answered);
    }
}

/// Answers one line, now or later.
///
/// `uptime` is for `status`.
pub(super) fn line(
    state: &Arc<State>,
    connection: &Arc<Connection>,
    line: Line<'_>,
    now: UnixSeconds,
    uptime: Duration,
) {
    let Line::Whole(line) = line else {
        return unreadable_line(connection, None, &Fault::TooLong);
    };
    let mut may_hold_secret = true;
    match protocol::parse(line) {
        Ok(Incoming::Question {
            id: Some(id),
            method,
            params,
        }) => {
            let method = &method;
            let call = Call { id, method, params };
            may_hold_secret = question(state, connection, call, Moment { now, uptime });
        }
        Ok(Incoming::Question {
            id: None,
            method,
            params,
        }) => notification(state, connection, &method, params, now),
        Ok(Incoming::Answer { id, result }) => {
            tracing::debug!(connection = connection.id, id, ?result, "answered");
            state.servers.answered(connection.id, id, result);
        }
        Err((id, fault)) => unreadable_line(connection, id.as_ref(), &fault),
    }
    if may_hold_secret {
        line.zeroize();
    }
}

fn unreadable_line(connection: &Connection, id: Option<&Id>, fault: &Fault) {
    tracing::warn!(connection = connection.id, reason = %fault, "unreadable line");
    connection.push(&protocol::failure(id, &fault.clone().into()));
}

/// One line of the table: the facts about one question.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name.
    pub method: &'static str,
    /// The lowest role that may ask it.
    pub role: Role,
    /// The hello that the asker must have said before.
    pub before: Before,
    /// Where it is answered.
    pub lane: Lane,
    /// Reads its fields, as the handler gets them, and writes them again, as whoever asks does.
    pub again: fn(Value) -> Result<Value, Fault>,
    /// Reads an answer, as whoever asks gets it, and writes it again.
    pub answer_again: fn(Value) -> serde_json::Result<Value>,
}

impl Row {
    const fn of<Q: Request>() -> Self {
        Self {
            method: Q::METHOD,
            role: Q::ROLE,
            before: Q::BEFORE,
            lane: Q::LANE,
            again: |params| {
                let written = serde_json::to_value(Q::read(&params.to_string())?);
                written.map_err(|error| Fault::WrongParams {
                    problem: error.to_string(),
                })
            },
            answer_again: |answer| Ok(json!(serde_json::from_value::<Q::Answer>(answer)?)),
        }
    }
}

/// Makes of a list of questions and handlers the table, and the way from a method's name to its handler.
macro_rules! questions {
    ($($question:ty: $kind:ident => $handler:expr,)*) => {
        $(impl $kind for $question {})*

        /// Every question that the daemon is asked.
        pub const QUESTIONS: &[Row] = &[$(Row::of::<$question>(),)*];

        /// Answers a question, now or later. Returns whether a secret may stand in its line.
        fn question(
            state: &Arc<State>,
            connection: &Arc<Connection>,
            Call { id, method, params }: Call<'_>,
            moment: Moment,
        ) -> bool {
            match method {
                $(<$question as Request>::METHOD => {
                    put::<$question>(state, Reply::new(connection, id), params, moment, $handler);
                    <$question as Request>::MAY_HOLD_SECRET
                })*
                _ => {
                    refuse_unknown(connection, &id, method);
                    true
                }
            }
        }
    };
}

// Each line says whether the question's yes lets somebody in ([`Admits`]), or its answer only informs. A handler sends the answer itself
// where nothing may come between the decision and the answer.
questions! {
    AnyHello: Informs => hello,
    Offer: Informs => of_client,
    Login: Admits => of_client,
    Report: Informs => |state, report, asked| here(state, || asked.send(state.live_sessions().report(state.accounts(), asked.reply.connection(), report, asked.moment.now))),
    List: Informs => |state, question, asked| asked.send(state.certificates().list(question, asked.peer(), asked.moment.now)),
    Append: Informs => |state, question, asked| asked.send(state.certificates().append(question, asked.peer(), asked.moment.now)),
    Disable: Informs => |state, question, asked| asked.send(state.certificates().disable(question, asked.peer(), asked.moment.now)),
    Revoke: Informs => |state, question, asked| state.revoking().revoke(asked.reply, question, asked.moment.now),
    ClientRequest: Informs => |state, question, asked| state.managing().request(asked.reply, question, asked.moment.now),
    CommandStep: Informs => |state, question, asked| state.managing().command_step(asked.reply, question, asked.moment.now),
    ConsoleRun: Informs => |state, question, asked| state.managing().console_run(asked.reply, &question, asked.moment.now),
    CreateLink: Informs => |state, question, asked| asked.send(state.links().create(question, asked.peer(), asked.moment.now)),
    ListLinks: Informs => |state, question, asked| asked.send(state.links().list(&question, asked.moment.now)),
    RevokeLink: Informs => |state, question, asked| asked.send(state.links().revoke(question, asked.peer())),
    LookAtLink: Informs => |state, question, asked| asked.send(state.links().look(&question, asked.moment.now)),
    RedeemLink: Informs => |state, question, asked| state.links().redeem(asked.reply, &question, asked.moment.now),
    Unrevoke: Informs => |state, question, asked| asked.send(state.certificates().unrevoke(question, asked.peer())),
    ListMarks: Informs => |state, question, asked| asked.send(state.certificates().marks(question)),
    Expiring: Informs => |state, question, asked| asked.send(state.certificates().expiring(asked.reply, &question, asked.moment.now)),
    AccountExists: Informs => |state, question, asked| asked.send(state.accounts().exists(question, asked.peer())),
    Verify: Admits => |state, question, asked| state.passwords().verify(asked.reply, &question, asked.moment.now),
    Scram: Informs => |state, question, asked| asked.send(state.passwords().scram(question, asked.peer())),
    Succeeded: Admits => |state, question, asked| state.passwords().succeeded(asked.reply, &question, asked.moment.now),
    Failed: Informs => |state, question, asked| asked.send(state.passwords().failed(question, asked.peer(), asked.moment.now)),
    Admit: Admits => |state, question, asked| state.passwords().admit(asked.reply, &question),
    Create: Informs => |state, question, asked| asked.send(state.accounts().create(asked.reply, question, asked.moment.now)),
    SetPassword: Informs => |state, question, asked| asked.send(state.accounts().set_password(asked.reply, question, asked.moment.now)),
    Delete: Informs => |state, question, asked| asked.send(state.accounts().delete(asked.reply, question, asked.moment.now)),
    EnableAccount: Informs => |state, EnableAccount { account }, asked| asked.send(state.accounts().enable(asked.reply, &account, true)),
    DisableAccount: Informs => |state, DisableAccount { account }, asked| asked.send(state.accounts().enable(asked.reply, &account, false)),
    ListAccounts: Informs => |state, question, asked| asked.send(state.accounts().list_accounts(question, asked.peer())),
    ImportAccount: Informs => |state, question, asked| asked.send(state.moving_in().import_account(question, asked.moment.now)),
    ListHosts: Informs => |state, question, asked| asked.send(state.known_hosts().list_hosts(question)),
    ForgetHost: Informs => |state, question, asked| asked.send(state.known_hosts().forget_host(question, asked.peer())),
    Export: Informs => |state, question, asked| asked.send(state.backup().export(question)),
    Import: Informs => |state, question, asked| asked.send(state.backup().import(question)),
    Explain: Informs => |state, question, asked| asked.send(state.explaining().explain(question, asked.moment.now)),
    StoreCheck: Informs => |state, question, asked| asked.send(check(&state.checks, &state.store, &question, asked.moment.now)),
    Status: Informs => |state, question, asked| asked.send(state.overview().status(question, asked.moment.uptime)),
}

fn hello(state: &Arc<State>, hello: AnyHello, asked: &Asked<'_, AnyHello>) {
    let (reply, now) = (asked.reply, asked.moment.now);
    if let Some(declared) = state.hello().hear(reply, hello, now) {
        let settle = move |state: &Arc<State>, reply: &Reply<AnyHello>| {
            state.hello().settle(reply, declared);
        };
        in_turn(state, Schedule::AtOnce, reply.clone(), settle);
    }
}

/// Answers at once, if that needs no reads which others would wait for.
fn of_client<Q: OfClient>(state: &Arc<State>, question: Q, asked: &Asked<'_, Q>) {
    let now = asked.moment.now;
    if state.external().may_begin_here(&question) {
        here(state, || begin(state, question, asked.reply, now, false));
        return;
    }
    let with = Arc::clone(state);
    let work = move |reply: &Reply<Q>| begin(&with, question, reply, now, true);
    state.lanes.way(asked.reply.clone(), work);
}

/// Reads where this line was read: the lines behind it must find what it has done. Where reads take long, other connections go on elsewhere.
fn here<T>(state: &State, read: impl FnOnce() -> T) -> T {
    if state.store.reads_block() {
        tokio::task::block_in_place(read)
    } else {
        read()
    }
}

/// `may_block`: nobody else waits for this thread, so nothing is handed on to one where it may.
fn begin<Q: OfClient>(
    state: &Arc<State>,
    question: Q,
    reply: &Reply<Q>,
    now: UnixSeconds,
    may_block: bool,
) {
    let question = match state.external().about(question) {
        Ok(question) => question,
        Err(forgotten) => return reply.refuse(forgotten),
    };
    if let Some(schedule) = Q::begin(&state.external(), reply, &question, now) {
        if may_block && matches!(schedule, Schedule::AtOnce) {
            return Q::decide(&state.external(), reply, &question, now);
        }
        let decide = move |state: &Arc<State>, reply: &Reply<Q>| {
            Q::decide(&state.external(), reply, &question, now);
        };
        in_turn(state, schedule, reply.clone(), decide);
    }
}

fn in_turn<Q: Request>(
    state: &Arc<State>,
    schedule: Schedule,
    reply: Reply<Q>,
    work: impl FnOnce(&Arc<State>, &Reply<Q>) + Send + 'static,
) {
    let with = Arc::clone(state);
    let work = move |reply: &Reply<Q>| work(&with, reply);
    match schedule {
        Schedule::AtOnce => state.lanes.task(reply, work),
        Schedule::Queued(queued) => state.lanes.in_turn(queued, reply, work),
    }
}

/// Hands a question to its handler where it is to be answered, if this peer may ask it now.
fn put<Q: Request>(
    state: &Arc<State>,
    reply: Reply<Q>,
    params: &str,
    moment: Moment,
    handler: impl FnOnce(&Arc<State>, Q, &Asked<'_, Q>) + Send + 'static,
) {
    let Peer { uid, role, .. } = reply.peer();
    let before = Q::BEFORE;
    match access::may_ask(role, reply.connection().standing(), Q::ROLE, before) {
        Ok(()) => {}
        Err(Barred::NoHello) => return reply.refuse(Fault::NoHello { before, uid }),
        Err(Barred::OfAnotherRole) => return reply.refuse_unknown(),
    }
    let question = match Q::read(params) {
        Ok(question) => question,
        Err(fault) => return reply.refuse(fault),
    };
    let lane = question.lane();
    let network = question.address().map(Network::of);
    let with = Arc::clone(state);
    let work = move |reply: &Reply<Q>| handler(&with, question, &Asked { reply, moment });
    match lane {
        Lane::AtOnce => work(&reply),
        Lane::Read if !state.store.reads_block() => work(&reply),
        Lane::Read | Lane::Task => state.lanes.task(reply, work),
        Lane::Try => state.lanes.derivation(Purpose::Try(network), reply, work),
        Lane::Change => state.lanes.derivation(Purpose::Change, reply, work),
    }
}

/// Takes note of what wants no answer.
fn notification(
    state: &State,
    connection: &Arc<Connection>,
    method: &str,
    params: &str,
    now: UnixSeconds,
) {
    let done = match method {
        Opened::METHOD => told(connection, params).and_then(|opened| {
            let sessions = state.live_sessions();
            let over = here(state, || sessions.bound(connection, &opened, now))?;
            // Belt and braces: a session whose login lost its race is closed as soon as it is heard of.
            connection.push_awaited(&closing_lines(connection, &over));
            Ok(())
        }),
        Closed::METHOD => told(connection, params).map(|closed: Closed| {
            for session in closed.sessions.good() {
                state.sessions.closed(connection.id, session);
            }
            unreadable(connection.id, Closed::METHOD, &closed.sessions);
        }),
        _ => Ok(()),
    };
    if let Err(refusal) = done {
        tracing::warn!(connection = connection.id, method, ?refusal, "notification");
    }
}

/// The notice of the peer, if it may give it now.
fn told<N: Notice>(connection: &Connection, params: &str) -> Result<N, Refusal> {
    let Peer { uid, role, .. } = connection.peer;
    let before = N::BEFORE;
    // A notice is for every role.
    access::may_ask(role, connection.standing(), Role::Server, before)
        .map_err(|_| Fault::NoHello { before, uid })?;
    Ok(fields(params)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;
    use crate::protocol::Lines;
    use crate::store::Store;

    /// A daemon, and the connection of one that may ask everything.
    struct Scene {
        state: Arc<State>,
        connection: Arc<Connection>,
        _folder: tempfile::TempDir,
    }

    impl Scene {
        fn new(is_far: bool) -> Self {
            let folder = tempfile::tempdir().unwrap();
            Store::create(folder.path()).unwrap();
            let state = State::new(|listeners| {
                if is_far {
                    Store::open_far(folder.path(), listeners)
                } else {
                    Store::open_heard(folder.path(), listeners)
                }
            });
            let peer = Peer {
                uid: 0,
                pid: None,
                role: Role::Admin,
            };
            let connection = Arc::new(Connection::new(1, peer));
            let state = Arc::new(state.unwrap());
            state.connected(&connection);
            Self {
                state,
                connection,
                _folder: folder,
            }
        }

        /// The next answer: the daemon may ask something, too.
        async fn answer(&self) -> Value {
            loop {
                assert!(self.connection.queued().await);
                let mut lines = Vec::new();
                self.connection.take_queued(&mut lines);
                let lines = std::str::from_utf8(&lines).unwrap().lines();
                let mut lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
                if let Some(answer) = lines.find(|line| line.get("method").is_none()) {
                    return answer;
                }
            }
        }

        /// The result; or the name of the fault, if it was one.
        async fn ask(&self, method: &str, params: Value) -> Result<Value, Option<Value>> {
            let question = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let question = format!("{question}\n");
            let mut lines = Lines::default();
            let room = lines.room();
            room.get_mut(..question.len())
                .unwrap()
                .copy_from_slice(question.as_bytes());
            lines.read(question.len());
            let moment = (UnixSeconds(1_800_000_000), Duration::ZERO);
            let one = lines.take().unwrap();
            line(&self.state, &self.connection, one, moment.0, moment.1);
            let mut answer = self.answer().await;
            match answer.get_mut("result") {
                Some(result) => Ok(result.take()),
                None => Err(answer.pointer("/error/data/fault").cloned()),
            }
        }
    }

    fn certificate() -> String {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2096, 1, 1);
        let xmpp = vec![1, 3, 6, 1, 5, 5, 7, 8, 5];
        params.subject_alt_names = vec![SanType::OtherName((xmpp, "h@a.lit".into()))];
        let key = KeyPair::generate().unwrap();
        BASE64.encode(params.self_signed(&key).unwrap().der())
    }

    /// Everything goes the same way, wherever the rows are; and where no task begins any more, one sees what is answered without.
    #[tokio::test(flavor = "multi_thread")]
    async fn where_reads_take_long_only_what_is_in_memory_is_answered_at_once() {
        for is_far in [false, true] {
            let scene = Scene::new(is_far);
            let hosts = json!([
                {"host": "a.lit", "accounts": "prosody", "options": {}},
                {"host": "b.lit", "accounts": "daemon", "options": {}},
            ]);
            let hello = json!({"protocol": 2, "software": "test", "hosts": hosts});
            scene.ask("session.hello", hello).await.unwrap();
            let cert = certificate();
            let append = json!({
                "account": "h@a.lit", "incarnation": "one", "session": null, "name": "phone", "certificate": cert,
                "may_manage": true,
            });
            scene.ask("certificate.append", append).await.unwrap();
            let accounts =
                json!([{"username": "h", "exists": true, "enabled": true, "incarnation": "one"}]);
            let offer = |chain: &Value| json!({"host": "a.lit", "chain": chain, "address": null});
            let login = |chain: &Value| {
                json!({
                    "host": "a.lit", "chain": chain, "authzid": null, "address": null, "accounts": accounts,
                })
            };
            let exists = || json!({"account": "h@b.lit"});
            let offered = scene.ask("external.offer", offer(&json!([cert]))).await;
            let named = offered.unwrap().get("chain").unwrap().clone();
            let yes = scene.ask("external.login", login(&named)).await.unwrap();
            assert_eq!(yes.get("username"), Some(&json!("h")));
            let there = scene.ask("account.exists", exists()).await.unwrap();
            assert_eq!(there.get("exists"), Some(&json!(false)));
            let report = json!({"sessions": []});
            scene.ask("session.report", report.clone()).await.unwrap();

            let _all = scene.state.lanes.fill().await;
            let full = |answer| answer == Err(Some(json!("overload")));
            assert!(scene.ask("external.login", login(&named)).await.is_ok());
            assert!(scene.ask("session.report", report).await.is_ok());
            let stranger = json!([certificate()]);
            for (method, params) in [
                ("external.login", login(&stranger)),
                ("external.offer", offer(&stranger)),
                ("account.exists", exists()),
            ] {
                assert_eq!(full(scene.ask(method, params).await), is_far, "{method}");
            }
        }
    }
}
