//! `session.hello`: a server says which version it speaks, which hosts it declares and with which options.
//!
//! Must not know: what an option means, what the files of authorities hold.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::authorities::Problem;
use super::super::connection::{Connection, Introduction};
use super::super::declared_host::{DeclaredHost, remarks};
use super::super::hosts::Hosts;
use super::super::reply::Reply;
use super::super::scram_news::ScramNews;
use super::super::sessions::Sessions;
use super::super::waiting_messages::WaitingMessages;
use super::authorities::Vouching;
use crate::identity::visible::visible;
use crate::identity::{Host, UnixSeconds};
use crate::policy::host::room::MAX_HOSTS;
use crate::policy::options::{OfHost, Settings};
use crate::policy::{Denial, HostPolicy, page};
use crate::protocol::{
    Accounts, AnyHello, Bad, Fault, Greeting, Hello, HelloHost, HostRemark, HostWelcome, LogLevel,
    LogLine, MAX_WAITS_MS, Module, PROTOCOL_VERSION, StanzaError, Stranger, Welcome,
};
use crate::store::{HostRecord, Store, StoreError};
use crate::wording::setup;

/// Hears who connects, and which hosts it declares.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Hearing<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) sessions: &'a Sessions,
    pub(in crate::daemon) scram_news: &'a ScramNews,
    pub(in crate::daemon) waiting_messages: &'a WaitingMessages,
    pub(in crate::daemon) vouching: Vouching<'a>,
}

/// The hosts that a hello has declared, and what is answered so far.
pub(in crate::daemon) struct Declaration {
    /// Those that are to be written.
    changed: Vec<(Host, HostRecord)>,
    /// For each result the rules of its host, if authorities have a say there: their files are to be read.
    policies: Vec<Option<Arc<HostPolicy>>>,
    results: Vec<HostWelcome>,
    log: Vec<LogLine>,
}

impl Hearing<'_> {
    /// Answers a hello, unless that would wait for the disk: then what it declares is returned, and answered by [`Self::settle`].
    pub(in crate::daemon) fn hear(
        &self,
        reply: &Reply<AnyHello>,
        hello: AnyHello,
        now: UnixSeconds,
    ) -> Option<Declaration> {
        match hello {
            AnyHello::Ours(hello) => self.greet(reply, hello, now),
            AnyHello::Other(greeting) => {
                self.refuse_version(reply, &greeting);
                None
            }
        }
    }

    /// Writes what was declared, reads the files that it names, and answers. Blocks.
    pub(in crate::daemon) fn settle(&self, reply: &Reply<AnyHello>, declaration: Declaration) {
        let Declaration {
            changed,
            policies,
            mut results,
            mut log,
        } = declaration;
        if !changed.is_empty()
            && let Err(error) = self.hosts.remember(self.store, changed)
        {
            return reply.refuse(error);
        }
        self.add_problems_of_authorities(&mut results, policies);
        log.extend(results.iter().flat_map(|result| self.lines(result)));
        self.welcome(reply, results, log);
    }

    /// `status` says who it was: the asker goes away, and comes again.
    fn refuse_version(&self, reply: &Reply<AnyHello>, greeting: &Greeting) {
        let peer = reply.peer();
        let stranger = Stranger {
            uid: peer.uid,
            pid: peer.pid,
            software: short(&greeting.software),
            protocol: greeting.protocol,
            module: greeting.module.as_ref().map(shorten),
        };
        let copy = stranger.module.clone().unwrap_or_default();
        tracing::warn!(
            connection = reply.connection().id,
            software = stranger.software,
            protocol = stranger.protocol,
            module = copy.path,
            version = copy.version,
            "hello: another version of the protocol"
        );
        // A command that was typed goes away for good.
        if greeting.sessions {
            *self.hosts.stranger() = Some(stranger);
        }
        let asked = greeting.protocol;
        reply.refuse(Fault::OtherVersion { asked });
    }

    fn greet(
        &self,
        reply: &Reply<AnyHello>,
        hello: Hello,
        now: UnixSeconds,
    ) -> Option<Declaration> {
        if hello.waits_ms.is_some_and(|waits| waits > MAX_WAITS_MS) {
            let problem = format!("waits_ms must be at most {MAX_WAITS_MS}");
            reply.refuse(Fault::WrongParams { problem });
            return None;
        }
        // Nobody is let in before it is known how late that may be.
        if let Some(patience) = patience(&hello)
            && let Err(error) = self.store.asked_with(patience)
        {
            reply.refuse(error);
            return None;
        }
        self.introduce(reply.connection(), &hello, now);
        if hello.module.is_some() {
            *self.hosts.stranger() = None;
        }
        let declaration = self.declare_all(hello);
        let reads_files = declaration.policies.iter().any(Option::is_some);
        if !declaration.changed.is_empty() || reads_files {
            return Some(declaration);
        }
        self.settle(reply, declaration);
        None
    }

    /// Before anything is declared: a host that a connected server declares cannot be forgotten.
    fn introduce(&self, connection: &Connection, hello: &Hello, now: UnixSeconds) {
        let mut served = HashSet::new();
        let before = connection.introduction();
        let since = before.as_ref().map_or(now, |before| before.since);
        let waited_ms = before.as_ref().and_then(|before| before.waits_ms);
        match before.filter(|_| hello.continued) {
            Some(before) => served = before.hosts,
            // Reported anew by what follows.
            None => self.sessions.forget(connection.id),
        }
        for one in hello.hosts.all() {
            let name = match one {
                Ok(one) => &one.host,
                Err(bad) => bad.text("host").unwrap_or_default(),
            };
            if served.len() < MAX_HOSTS {
                served.extend(Host::parse(name));
            }
        }
        let software = short(&hello.software);
        tracing::info!(
            connection = connection.id,
            software,
            hosts = served.len(),
            "hello"
        );
        connection.introduce(Introduction {
            software,
            hosts: served,
            keeps_sessions: hello.sessions,
            since,
            waits_ms: hello.waits_ms.max(waited_ms),
            module: hello.module.as_ref().map(shorten),
        });
        if hello.sessions {
            self.waiting_messages.note();
        }
    }

    fn declare_all(&self, hello: Hello) -> Declaration {
        let mut changed = Vec::new();
        let mut results = Vec::new();
        let global = hello.global.unwrap_or_default();
        let mut log = Vec::new();
        if !hello.continued {
            let problems: Vec<String> = Settings::of(&global)
                .problems
                .into_iter()
                .map(|problem| problem.message)
                .collect();
            log.extend(setup::together(&problems).map(|text| LogLine {
                host: None,
                level: LogLevel::Error,
                text,
            }));
        }
        let keeps_sessions = hello.sessions;
        for one in hello.hosts {
            results.push(match one {
                Ok(mut one) => {
                    // A command that was typed serves no page, and knows of none.
                    if let (true, Ok(host)) = (keeps_sessions, Host::parse(&one.host)) {
                        let page = one.page.take();
                        log.extend(page.as_deref().and_then(|page| useless(page, &one)));
                        self.hosts.note_page(&host, page);
                    }
                    if let Some(own) = one.options.take() {
                        let of_host = OfHost::of(&global, &own, hello.folder.as_deref());
                        log.extend(of_host.complaint().map(|text| LogLine {
                            host: Some(one.host.clone()),
                            level: LogLevel::Error,
                            text,
                        }));
                        one.options = Some(of_host.merged);
                    }
                    self.declare(one, &mut changed)
                }
                Err(bad) => unreadable_host(&bad),
            });
        }
        Declaration {
            changed,
            policies: results.iter().map(|one| self.authorities_of(one)).collect(),
            results,
            log,
        }
    }

    /// The lines on a host for the asker's log.
    fn lines(&self, of: &HostWelcome) -> Vec<LogLine> {
        let known = Host::parse(&of.host).ok();
        let known = known.and_then(|host| self.hosts.declaration(&host));
        let lives_here = known.is_some_and(|known| known.accounts == Accounts::Daemon);
        let texts = |remarks: &[HostRemark]| {
            let texts = remarks.iter().map(|remark| remark.message.clone());
            texts.collect::<Vec<_>>()
        };
        let errors = setup::errors_of_host(&of.host, lives_here, &texts(&of.errors));
        let warnings = setup::together(&texts(&of.warnings));
        let line = |level, text| LogLine {
            host: Some(of.host.clone()),
            level,
            text,
        };
        let errors = errors.map(|text| line(LogLevel::Error, text));
        let warnings = warnings.map(|text| line(LogLevel::Warn, text));
        errors.into_iter().chain(warnings).collect()
    }

    /// Answers with what is so now: from here on the asker is told when a host's SCRAM hashes change.
    fn welcome(&self, reply: &Reply<AnyHello>, mut hosts: Vec<HostWelcome>, log: Vec<LogLine>) {
        // Held until the answer is queued, so that no news gets in front of it.
        let mut told = self.scram_news.lock();
        for result in &mut hosts {
            let Ok(host) = Host::parse(&result.host) else {
                continue;
            };
            let lives = self.hosts.declaration(&host).map(|known| known.accounts);
            if lives == Some(Accounts::Daemon) {
                let common = self.store.census(&host).common();
                result.scram = Some(common.clone());
                told.insert(host, common);
            }
        }
        let software = concat!("saslcertd ", env!("CARGO_PKG_VERSION"));
        let refusal = Denial::PasswordNeeded.words();
        reply.send(Ok(Welcome {
            protocol: PROTOCOL_VERSION,
            software: software.to_owned(),
            hosts,
            log,
            registration: StanzaError {
                kind: refusal.stanza_type.into(),
                condition: refusal.stanza.into(),
                text: refusal.stanza_text.into(),
            },
        }));
    }

    fn declare(&self, hello: HelloHost, changed: &mut Vec<(Host, HostRecord)>) -> HostWelcome {
        let host = match Host::parse(&hello.host) {
            Ok(host) => host,
            Err(error) => {
                return not_ready(hello.host, setup::no_such_name(&error));
            }
        };
        let Some(options) = hello.options else {
            let known = self.hosts.declaration(&host);
            return known.map_or_else(
                || not_ready(host.to_string(), setup::UNDECLARED),
                |known| welcome(&host, &known),
            );
        };
        match self.hosts.declare(&host, hello.accounts, options) {
            Ok((known, is_new)) => {
                if is_new {
                    changed.push((host.clone(), known.record()));
                }
                welcome(&host, &known)
            }
            Err(problem) => {
                tracing::warn!(%host, %problem, "host not declared");
                not_ready(host.to_string(), problem.to_string())
            }
        }
    }

    /// The rules of a host on which authorities have a say.
    fn authorities_of(&self, result: &HostWelcome) -> Option<Arc<HostPolicy>> {
        let host = Host::parse(&result.host).ok()?;
        let policy = self.hosts.policy(&host).ok()?;
        policy.trust.ca().is_some().then_some(policy)
    }

    /// Reads the files that the hosts name, if they are new or have changed, and says what is wrong with them. Blocks.
    fn add_problems_of_authorities(
        &self,
        results: &mut [HostWelcome],
        policies: Vec<Option<Arc<HostPolicy>>>,
    ) {
        if policies.iter().all(Option::is_none) {
            return;
        }
        // The answer to the hello depends on it.
        self.vouching.read(false);
        for (result, policy) in results.iter_mut().zip(policies) {
            let problems = policy.map(|policy| self.vouching.authorities.problems_of(&policy));
            let remark = |problem: Problem| HostRemark {
                option: Some(problem.option.to_owned()),
                message: setup::unusable_authorities(&problem),
            };
            result
                .warnings
                .extend(problems.into_iter().flatten().map(remark));
        }
    }
}

fn welcome(host: &Host, known: &DeclaredHost) -> HostWelcome {
    HostWelcome {
        host: host.to_string(),
        ready: known.meaning.errors.is_empty(),
        lists: known.meaning.policy.trust.has_lists(),
        chain: known.meaning.policy.trust.wants_chain(),
        errors: remarks(&known.meaning.errors),
        warnings: remarks(&known.meaning.warnings),
        scram: None,
    }
}

/// The line for the log on a page with which nobody can manage certificates.
fn useless(page: &str, of: &HelloHost) -> Option<LogLine> {
    let obstacle = page::obstacle(page, of.web.as_ref())?;
    Some(LogLine {
        host: Some(of.host.clone()),
        level: LogLevel::Warn,
        text: setup::useless_page(&short(page), obstacle),
    })
}

fn unreadable_host(bad: &Bad) -> HostWelcome {
    not_ready(
        bad.text("host").unwrap_or_default().to_owned(),
        setup::unreadable(&bad.problem),
    )
}

fn not_ready(host: String, problem: impl Into<String>) -> HostWelcome {
    HostWelcome {
        host,
        ready: false,
        lists: true,
        chain: true,
        errors: vec![HostRemark {
            option: None,
            message: problem.into(),
        }],
        warnings: Vec::new(),
        scram: None,
    }
}

/// How long this asker waits for a yes; `None`: it has not said it, and may want none.
fn patience(hello: &Hello) -> Option<Duration> {
    let said = hello
        .waits_ms
        .map(|waits| Duration::from_millis(waits.into()));
    said.or(hello.sessions.then_some(UNSAID_PATIENCE))
}

/// Before somebody is let in whose asker may have said nothing of how long it waits: it counts as one that waits long.
///
/// Errors: that is not known to the other daemons.
pub(super) fn note_patience(asker: &Connection, store: &Store) -> Result<(), StoreError> {
    let said = asker.introduction().and_then(|said| said.waits_ms);
    match said {
        Some(_) => Ok(()),
        None => store.asked_with(UNSAID_PATIENCE),
    }
}

/// For logs and `status`.
fn short(text: &str) -> String {
    let text: String = text.chars().take(MAX_TEXT).collect();
    visible(&text).into_owned()
}

fn shorten(module: &Module) -> Module {
    Module {
        version: short(&module.version),
        path: short(&module.path),
    }
}

/// That of an asker who does not say it: as long as any server that is known waits for a script.
const UNSAID_PATIENCE: Duration = Duration::from_secs(30);
const MAX_TEXT: usize = 200;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use std::cell::Cell;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::super::super::connection::Peer;
    use super::super::super::reply::Answered;
    use super::super::super::state::State;
    use super::*;
    use crate::identity::BareJid;
    use crate::protocol::{HeldOfHost, Imported, Role};
    use crate::store::{Harmless, Store};

    /// The daemon, with a store of its own.
    fn state(folder: &tempfile::TempDir) -> State {
        let folder = folder.path().join("data");
        Store::create(&folder).unwrap();
        State::new(|listeners| Store::open_heard(&folder, listeners)).unwrap()
    }

    fn declare(state: &State, host: &str, max_certs: usize) -> Vec<(Host, HostRecord)> {
        let hello = json!({"host": host, "options": {"saslcertd_max_certs": max_certs}});
        let mut changed = Vec::new();
        state
            .hello()
            .declare(serde_json::from_value(hello).unwrap(), &mut changed);
        changed
    }

    fn forget(state: &State, host: &str) -> Answered<HeldOfHost> {
        let peer = Peer {
            uid: 0,
            pid: None,
            role: Role::Admin,
        };
        let question = crate::protocol::fields_of(json!({"host": host})).unwrap();
        state.known_hosts().forget_host(question, peer)
    }

    fn import(state: &State, host: &str) -> Answered<Imported> {
        let record = json!({"type": "host", "host": host, "accounts": "daemon", "options": {}});
        let question = json!({"records": [record], "apply": true});
        state
            .backup()
            .import(crate::protocol::fields_of(question).unwrap())
    }

    /// Runs `work` while the store's writer stands still, and `meanwhile` beside it.
    fn while_the_disk_hangs<T: Send>(
        state: &State,
        work: impl FnOnce() -> T + Send,
        meanwhile: impl FnOnce(),
    ) -> T {
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        thread::scope(|threads| {
            threads.spawn(|| {
                let anyone = BareJid::parse("hamlet@shakespeare.lit").unwrap();
                let hangs = state.store.change(&anyone, move |_| {
                    begun.send(()).unwrap();
                    // Until it is dropped.
                    let _ = released.recv();
                    Ok(Err::<(Vec<Harmless>, ()), ()>(()))
                });
                assert_eq!(hangs.unwrap(), Err(()));
            });
            has_begun.recv().unwrap();
            let working = threads.spawn(work);
            // Dropped at a panic, too: the threads are waited for.
            let release = release;
            eventually(|| state.hosts.are_held().1);
            meanwhile();
            drop(release);
            working.join().unwrap()
        })
    }

    fn eventually(is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "it is never so");
            thread::yield_now();
        }
    }

    #[test]
    fn what_was_declared_anew_or_forgotten_meanwhile_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder);
        let written = || state.store.hosts().unwrap();
        let (first, second) = (declare(&state, "a.lit", 3), declare(&state, "a.lit", 4));
        state.hosts.remember(&state.store, second.clone()).unwrap();
        state.hosts.remember(&state.store, first).unwrap();
        assert_eq!(written(), second);
        forget(&state, "a.lit").unwrap();
        state.hosts.remember(&state.store, second).unwrap();
        assert_eq!(written(), []);
    }

    #[test]
    fn hosts_are_read_and_declared_while_the_disk_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder);
        let changed = declare(&state, "a.lit", 3);
        state
            .hosts
            .remember(&state.store, declare(&state, "b.lit", 3))
            .unwrap();
        // Again and again: nobody sees from outside when the work has come to the disk.
        let meanwhile = || {
            for turn in 0..300 {
                eventually(|| !state.hosts.are_held().0);
                declare(&state, "d.lit", 1 + turn % 2);
            }
        };
        while_the_disk_hangs(
            &state,
            || state.hosts.remember(&state.store, changed).unwrap(),
            meanwhile,
        );
        while_the_disk_hangs(&state, || forget(&state, "b.lit").unwrap(), meanwhile);
        let imported = while_the_disk_hangs(&state, || import(&state, "c.lit"), meanwhile);
        assert_eq!(imported.unwrap().written, 1);
        let written = state.store.hosts().unwrap();
        let names: Vec<&str> = written.iter().map(|(host, _)| host.as_str()).collect();
        assert_eq!(names, ["a.lit", "c.lit"]);
    }

    #[test]
    fn a_host_that_is_declared_while_it_is_forgotten_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder);
        let known = declare(&state, "a.lit", 3);
        state.hosts.remember(&state.store, known.clone()).unwrap();
        let host = Host::parse("a.lit").unwrap();
        let declared = Cell::new(Vec::new());
        let forgotten = while_the_disk_hangs(
            &state,
            || forget(&state, "a.lit"),
            || {
                eventually(|| {
                    !state.hosts.are_held().0 && state.hosts.declaration(&host).is_none()
                });
                // The same options as before: new all the same.
                declared.set(declare(&state, "a.lit", 3));
            },
        );
        assert_eq!(forgotten.unwrap().accounts, 0);
        state.hosts.remember(&state.store, declared.take()).unwrap();
        assert!(state.hosts.policy(&host).is_ok());
        assert_eq!(state.store.hosts().unwrap(), known);
    }

    #[test]
    fn a_host_that_the_store_does_not_forget_stays_declared() {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder);
        state
            .hosts
            .remember(&state.store, declare(&state, "a.lit", 3))
            .unwrap();
        let anyone = BareJid::parse("hamlet@shakespeare.lit").unwrap();
        let ends = state
            .store
            .change::<(), ()>(&anyone, |_| panic!("the writer ends"));
        assert!(ends.is_err());
        assert!(forget(&state, "a.lit").is_err());
        assert!(state.hosts.policy(&Host::parse("a.lit").unwrap()).is_ok());
    }
}
