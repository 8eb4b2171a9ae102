//! Each question goes to its handler: the only place that lists them. What a question says of itself ([`Request`]) decides who may
//! ask it, when, and where it is answered.
//!
//! Must not know: how a question is answered.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::connection::{Connection, Peer};
use super::derivations::Purpose;
use super::guesses::Place;
use super::reply::{Answer, Answered, ask, unreadable};
use super::service::Service;
use crate::identity::UnixSeconds;
use crate::protocol::{
    self, AccountExists, Admit, AnyHello, Append, Before, Check, ClientRequest, Closed,
    CommandStep, ConsoleRun, Create, Delete, DisableAccount, EnableAccount, Expiring, Explain,
    Export, Failed, Fault, ForgetHost, Import, ImportAccount, Incoming, Lane, Line, List,
    ListAccounts, ListHosts, Login, Marked, Named, OfHost, Offer, Opened, Refusal, Request, Revoke,
    Role, Scram, SetPassword, Status, StoreCheck, Succeeded, Unrevoke, Verify, fields,
};

/// When a question came.
#[derive(Clone, Copy)]
struct Moment {
    now: UnixSeconds,
    /// How long the daemon has run.
    uptime: Duration,
}

/// One question that is being answered.
struct Asked<'a, Q> {
    answer: &'a Answer,
    moment: Moment,
    question: PhantomData<Q>,
}

impl<Q: Request> Asked<'_, Q> {
    fn peer(&self) -> Peer {
        self.answer.connection.peer
    }

    fn send(&self, answered: Answered<Q::Answer>) {
        self.answer.send(answered.map(|answer| json!(answer)));
    }
}

/// Answers one line, now or later.
///
/// `uptime` is for `status`.
pub(super) fn line(
    service: &Arc<Service>,
    connection: &Arc<Connection>,
    line: Line,
    now: UnixSeconds,
    uptime: Duration,
) {
    let parsed = match line {
        // There may be a password in it.
        Line::Whole(line) => protocol::parse(&Zeroizing::new(line)),
        Line::TooLong => Err((None, Fault::TooLong)),
    };
    match parsed {
        Ok(Incoming::Question {
            id: Some(id),
            method,
            params,
        }) => {
            let answer = Answer {
                connection: Arc::clone(connection),
                id,
                is_sent: Arc::default(),
            };
            question(service, answer, &method, params, Moment { now, uptime });
        }
        Ok(Incoming::Question {
            id: None,
            method,
            params,
        }) => notification(service, connection, &method, params, now),
        Ok(Incoming::Answer { id, result }) => {
            tracing::debug!(connection = connection.id, id, ?result, "answered");
            service.servers.answered(connection.id, id, result);
        }
        Err((id, fault)) => {
            tracing::warn!(connection = connection.id, reason = %fault, "unreadable line");
            connection.push(&protocol::failure(id.as_ref(), &fault.into()));
        }
    }
}

/// What the table says of a question.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How it is called.
    pub method: &'static str,
    /// Who may ask it.
    pub role: Role,
    /// What the asker must have said before.
    pub before: Before,
    /// Where it is answered.
    pub lane: Lane,
    /// Reads its fields, as the handler gets them.
    pub read: fn(Value) -> Result<(), Fault>,
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
            read: |params| Q::read(params).map(drop),
            answer_again: |answer| Ok(json!(serde_json::from_value::<Q::Answer>(answer)?)),
        }
    }
}

/// Makes of a list of questions and handlers the table, and the way from a method's name to its handler.
macro_rules! questions {
    ($($question:ty => $handler:expr,)*) => {
        /// Every question that the daemon is asked.
        pub const QUESTIONS: &[Row] = &[$(Row::of::<$question>(),)*];

        /// Answers a question, now or later.
        fn question(
            service: &Arc<Service>,
            answer: Answer,
            method: &str,
            params: Value,
            moment: Moment,
        ) {
            match method {
                $(<$question as Request>::METHOD => {
                    put::<$question>(service, answer, params, moment, $handler);
                })*
                _ => answer.send_unknown(method),
            }
        }
    };
}

// A handler sends the answer itself where nothing may come between the decision and the answer.
questions! {
    AnyHello => |service, hello, asked| service.hello(asked.answer.clone(), hello, asked.moment.now),
    Offer => |service, question, asked| service.offer(asked.answer.clone(), question, asked.moment.now),
    Login => |service, question, asked| service.login(asked.answer.clone(), question, asked.moment.now),
    Opened => |service, opened, asked| asked.send(service.opened(&asked.answer.connection, &opened, asked.moment.now)),
    List => |service, question, asked| asked.send(service.list(question, asked.peer(), asked.moment.now)),
    Append => |service, question, asked| asked.send(service.append(question, asked.peer(), asked.moment.now)),
    Named => |service, question, asked| asked.send(service.disable(question, asked.peer())),
    Revoke => |service, question, asked| service.revoke(asked.answer, question, asked.peer(), asked.moment.now),
    ClientRequest => |service, question, asked| service.requested(asked.answer, question, asked.peer(), asked.moment.now),
    CommandStep => |service, question, asked| service.command_step(asked.answer, question, asked.peer(), asked.moment.now),
    ConsoleRun => |service, question, asked| service.console_run(asked.answer, &question, asked.moment.now),
    Unrevoke => |service, question, asked| asked.send(service.unrevoke(question, asked.peer())),
    Marked => |service, question, asked| asked.send(service.marks(question)),
    Expiring => |service, question, asked| asked.send(service.expiring(question, asked.moment.now)),
    AccountExists => |service, question, asked| asked.send(service.exists(question, asked.peer())),
    Verify => |service, question, asked| service.verify(asked.answer, &question, asked.peer(), asked.moment.now),
    Scram => |service, question, asked| asked.send(service.scram(question, asked.peer())),
    Succeeded => |service, question, asked| service.succeeded(asked.answer, &question, asked.peer(), asked.moment.now),
    Failed => |service, question, asked| asked.send(service.failed(question, asked.peer(), asked.moment.now)),
    Admit => |service, question, asked| service.admit(asked.answer, &question, asked.peer()),
    Check => |service, question, asked| asked.send(service.check(asked.answer.connection.id, question, asked.peer())),
    Create => |service, question, asked| asked.send(service.create(asked.answer, question, asked.peer(), asked.moment.now)),
    SetPassword => |service, question, asked| asked.send(service.set_password(asked.answer, question, asked.peer(), asked.moment.now)),
    Delete => |service, question, asked| asked.send(service.delete(asked.answer, question, asked.peer(), asked.moment.now)),
    EnableAccount => |service, EnableAccount { account }, asked| asked.send(service.enable(asked.answer, &account, asked.peer(), true)),
    DisableAccount => |service, DisableAccount { account }, asked| asked.send(service.enable(asked.answer, &account, asked.peer(), false)),
    ListAccounts => |service, question, asked| asked.send(service.list_accounts(question, asked.peer())),
    ImportAccount => |service, question, asked| asked.send(service.import_account(question, asked.moment.now)),
    OfHost => |service, question, asked| asked.send(service.scram_of(question, asked.peer())),
    ListHosts => |service, question, asked| asked.send(service.list_hosts(question)),
    ForgetHost => |service, question, asked| asked.send(service.forget_host(question, asked.peer())),
    Export => |service, question, asked| asked.send(service.export(question)),
    Import => |service, question, asked| asked.send(service.import(question)),
    Explain => |service, question, asked| asked.send(service.explain(question, asked.moment.now)),
    StoreCheck => |service, question, asked| asked.send(service.store_check(&question, asked.moment.now)),
    Status => |service, question, asked| asked.send(service.status(question, asked.moment.uptime)),
}

/// Hands a question to its handler where it is to be answered, if this peer may ask it now.
fn put<Q: Request>(
    service: &Arc<Service>,
    answer: Answer,
    params: Value,
    moment: Moment,
    handler: impl FnOnce(&Arc<Service>, Q, &Asked<'_, Q>) + Send + 'static,
) {
    let Peer { uid, role, .. } = answer.connection.peer;
    let is_early = match Q::BEFORE {
        Before::Nothing => false,
        Before::Hello => role == Role::Server && !answer.connection.is_introduced(),
        Before::HelloWithSessions => !answer.connection.keeps_sessions(),
    };
    if is_early {
        return answer.send(Err(Fault::NoHello { uid }.into()));
    }
    if role < Q::ROLE {
        return answer.send_unknown(Q::METHOD);
    }
    let question = match Q::read(params) {
        Ok(question) => question,
        Err(fault) => return answer.send(Err(fault.into())),
    };
    let lane = question.lane();
    let place = question.address().map(Place::of);
    let work = move |service: &Arc<Service>, answer: &Answer| {
        handler(
            service,
            question,
            &Asked {
                answer,
                moment,
                question: PhantomData,
            },
        );
    };
    match lane {
        Lane::AtOnce => work(service, &answer),
        Lane::Task => service.task(answer, work),
        Lane::Try => service.derivation(Purpose::Try(place), answer, work),
        Lane::Change => service.derivation(Purpose::Change, answer, work),
    }
}

/// Takes note of what wants no answer.
fn notification(
    service: &Service,
    connection: &Arc<Connection>,
    method: &str,
    params: Value,
    now: UnixSeconds,
) {
    let done = match method {
        Opened::METHOD => fields(params).map_err(Refusal::from).and_then(|opened| {
            let over = service.bound(connection, &opened, now)?;
            // Belt and braces: a session whose login lost its race is closed as soon as it is heard of.
            for session in over {
                ask(connection, "sessions.close", &session);
            }
            Ok(())
        }),
        "session.closed" => fields::<Closed>(params)
            .map(|closed| {
                for session in closed.sessions.good() {
                    service.sessions.closed(connection.id, session);
                }
                unreadable(connection.id, "session.closed", &closed.sessions);
            })
            .map_err(Refusal::from),
        _ => Ok(()),
    };
    if let Err(refusal) = done {
        tracing::warn!(connection = connection.id, method, ?refusal, "notification");
    }
}
