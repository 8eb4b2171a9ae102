//! No yes behind a no.
//!
//! A yes needs a [`Pass`], held from before the facts are read until the answer is queued. A revocation, and the change of an account, is
//! applied under a [`Closing`]: the store asks for it (it heeds the gate) when the change is on the disk, and tells under it whoever asked for
//! the change, or the gate, which queue the servers' lines. Nobody holds a pass beside a closing. So no yes follows the answer to a
//! revocation:
//!
//! * A pass that was given before the closing has ended before it. Its yes is queued, and behind it the line that closes the session.
//! * A pass that is given behind the closing reads the new rows: they were there before it, and what memory says is applied under it. This
//!   login finds the revocation.
//!
//! Between the commit and the closing a login reads the one or the other. A no that comes early is none too early, and a yes belongs to a
//! pass of the first kind. Should the daemon die there, nobody was answered, and each server reports its sessions when it is back.
//!
//! The store's writer waits for the passes. So nobody may wait for the writer who holds one, or a closing: the store asks
//! ([`Heed::is_held_here`]), and refuses.
//!
//! Must not know: what is decided.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::Duration;

use super::connection::Connection;
use super::servers::{Servers, closing_lines};
use crate::identity::{BareJid, KeyId};
use crate::policy::live::Ending;
use crate::protocol::{AccountChange, AccountChanged, Close};
use crate::store::{Change, Hear, Heed};
use crate::system::lock::Lock;

/// Where yes and no can't meet.
///
/// A closing that waits is let in before later passes: logins that never pause hold no revocation up. There is one, the state's: behind
/// another one nothing would be taken back.
pub struct Gate {
    passes: RwLock<()>,
    servers: Arc<Servers>,
}

/// While it is held nothing is taken back: its holder may say yes.
pub struct Pass<'a> {
    _guard: RwLockReadGuard<'a, ()>,
    _here: Here,
}

/// While it is held nobody says yes: its holder may take something back that stands in no store. At its end every server hears which
/// sessions are over.
#[must_use = "at its end logins go on"]
pub struct Closing<'a> {
    servers: &'a Servers,
    over: Lock<BTreeSet<(BareJid, KeyId)>>,
    _guard: RwLockWriteGuard<'a, ()>,
    _here: Here,
}

/// Somebody who asks for something to be taken back. The other servers hear of it under the closing; the sessions of its own are closed
/// with the answer, or without one at the end of this.
#[must_use = "at its end the sessions are closed that are over"]
pub(super) struct Asking(Arc<Asker>);

struct Asker {
    connection: Arc<Connection>,
    servers: Arc<Servers>,
    /// Does it hear of changed accounts as the others do, and not by the answer?
    hears_of_accounts: bool,
    heard: Lock<Heard>,
}

/// What is left to be said to whoever asked.
#[derive(Default)]
struct Heard {
    over: Vec<Close>,
    /// How many servers were told of changed accounts.
    told: usize,
    /// The daemons that were silent, in words.
    silent: Vec<String>,
}

impl Gate {
    pub(super) fn new(servers: Arc<Servers>) -> Self {
        Self {
            passes: RwLock::default(),
            servers,
        }
    }

    /// Waits while something is taken back. Blocks.
    pub fn pass(&self) -> Pass<'_> {
        Pass::of(self.passes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// `None` while something is taken back, or waits for it.
    pub fn try_pass(&self) -> Option<Pass<'_>> {
        match self.passes.try_read() {
            Ok(guard) => Some(Pass::of(guard)),
            Err(TryLockError::Poisoned(guard)) => Some(Pass::of(guard.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Waits until nobody says yes any more. Blocks.
    pub(super) fn close(&self) -> Closing<'_> {
        Closing {
            servers: &self.servers,
            over: Lock::default(),
            _guard: self.passes.write().unwrap_or_else(PoisonError::into_inner),
            _here: Here::new(),
        }
    }

    /// This connection asks for something to be taken back.
    pub(super) fn asking(&self, connection: &Arc<Connection>) -> Asking {
        self.asking_as(connection, false)
    }

    /// The same; it hears of a changed account as all others do.
    pub(super) fn asking_as_any(&self, connection: &Arc<Connection>) -> Asking {
        self.asking_as(connection, true)
    }

    fn asking_as(&self, connection: &Arc<Connection>, hears_of_accounts: bool) -> Asking {
        Asking(Arc::new(Asker {
            connection: Arc::clone(connection),
            servers: Arc::clone(&self.servers),
            hears_of_accounts,
            heard: Lock::default(),
        }))
    }
}

/// Nobody who is connected here has asked for it: every server hears.
impl Hear for Gate {
    fn hear(&self, changes: &[(BareJid, Change)]) {
        tell_changed(&self.servers, None, changes);
        self.servers.close(None, &over_by(changes));
    }
}

impl Heed for Gate {
    fn under_closing(&self, apply: &mut dyn FnMut()) {
        let _closing = self.close();
        apply();
    }

    fn wait_until_told(&self, patience: Duration) {
        self.servers.wait_until_written(patience);
    }

    fn is_held_here(&self) -> bool {
        HELD.get() > 0
    }
}

impl<'a> Pass<'a> {
    fn of(guard: RwLockReadGuard<'a, ()>) -> Self {
        Self {
            _guard: guard,
            _here: Here::new(),
        }
    }
}

impl Closing<'_> {
    /// Every server closes the sessions of `account` that logged in with this key.
    pub(super) fn end_sessions(&self, account: &BareJid, key_id: &KeyId) {
        self.over.lock().insert((account.clone(), *key_id));
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let over = closes(std::mem::take(&mut *self.over.lock()));
        self.servers.close(None, &over);
    }
}

impl Asking {
    /// Who hears what is taken back.
    pub(super) fn asker(&self) -> Arc<dyn Hear> {
        Arc::clone(&self.0) as Arc<dyn Hear>
    }

    /// How many servers were told which accounts have changed.
    pub(super) fn told(&self) -> usize {
        self.0.heard.lock().told
    }

    /// The daemons that could not be told, in words: the sessions of their servers are closed when they are back.
    pub(super) fn silent(&self) -> Vec<String> {
        self.0.heard.lock().silent.clone()
    }

    /// Has the sessions of the asker closed that are over. `answer` answers the question that took something back; it is given the lines that
    /// belong behind the answer.
    ///
    /// The other servers have come first: a client that reads the answer finds the sessions gone there. To the asker the answer goes first, in
    /// one write with the closings: the session that asks may be the first to be closed.
    pub(super) fn end(self, answer: impl FnOnce(&str)) {
        answer(&self.0.take_lines());
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.connection.push_awaited(&self.0.take_lines());
    }
}

impl Asker {
    fn take_lines(&self) -> String {
        let over = std::mem::take(&mut self.heard.lock().over);
        closing_lines(&self.connection, &over)
    }
}

impl Hear for Asker {
    fn hear(&self, changes: &[(BareJid, Change)]) {
        let asker = self.connection.id;
        let untold = (!self.hears_of_accounts).then_some(asker);
        let told = tell_changed(&self.servers, untold, changes);
        let over = over_by(changes);
        self.servers.close(Some(asker), &over);
        let mut heard = self.heard.lock();
        heard.over.extend(over);
        heard.told += told;
    }

    fn were_silent(&self, daemons: &[String]) {
        self.heard.lock().silent.extend_from_slice(daemons);
    }
}

/// Tells every server but `asker` which accounts have changed; how many lines that were.
fn tell_changed(servers: &Servers, asker: Option<u64>, changes: &[(BareJid, Change)]) -> usize {
    let told = changes.iter().map(|(account, change)| {
        let Change::Account { before, after } = change else {
            return 0;
        };
        let change = AccountChange::between(before.as_ref(), after.as_ref());
        change.map_or(0, |change| {
            let notice = AccountChanged::of(account.to_string(), change);
            servers.tell_changed(asker, account.host(), &notice)
        })
    });
    told.sum()
}

/// The sessions that are over by these changes, each once.
fn over_by(changes: &[(BareJid, Change)]) -> Vec<Close> {
    let over = changes.iter().filter_map(|(account, change)| match change {
        Change::Revoked(key_id) => Some((account.clone(), *key_id)),
        Change::Account { .. } => None,
    });
    closes(over.collect())
}

fn closes(over: BTreeSet<(BareJid, KeyId)>) -> Vec<Close> {
    let over = over.into_iter();
    over.map(|(account, key_id)| Close::of(&account, &key_id, Ending::Revoked))
        .collect()
}

/// Counts what this thread holds of the gate.
struct Here(PhantomData<*const ()>);

impl Here {
    fn new() -> Self {
        HELD.set(HELD.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}

thread_local! {
    /// How many passes and closings this thread holds.
    static HELD: Cell<u32> = const { Cell::new(0) };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;
    use std::sync::mpsc::{self, TryRecvError};
    use std::thread;

    use serde_json::{Value, json};

    use super::super::connection::{Introduction, Peer};
    use super::*;
    use crate::identity::{Account, Host, Incarnation, UnixSeconds};
    use crate::protocol::Role;
    use crate::store::{Decided, Edit, Follow, Harmless, Listeners, News, Store, StoreError, View};

    fn account() -> BareJid {
        BareJid::parse("hamlet@shakespeare.lit").unwrap()
    }

    fn key() -> KeyId {
        KeyId::from_bytes([1; 32])
    }

    /// Nothing is remembered here.
    struct Nothing;

    impl Follow for Nothing {
        fn follow(&self, _: Vec<News>) {}
    }

    /// Two servers of one host, a gate, and a store that heeds it.
    struct Scene {
        servers: [Arc<Connection>; 2],
        gate: Arc<Gate>,
        store: Store,
        _folder: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let servers = Arc::new(Servers::default());
            let connect = |id| {
                let peer = Peer {
                    uid: 0,
                    pid: None,
                    role: Role::Server,
                };
                let connection = Arc::new(Connection::new(id, peer));
                connection.introduce(Introduction {
                    software: String::new(),
                    hosts: HashSet::from([Host::parse("shakespeare.lit").unwrap()]),
                    keeps_sessions: true,
                    since: UnixSeconds(0),
                    waits_ms: None,
                    module: None,
                });
                servers.connected(&connection);
                connection
            };
            let connections = [1, 2].map(connect);
            let gate = Arc::new(Gate::new(servers));
            let folder = tempfile::tempdir().unwrap();
            Store::create(folder.path()).unwrap();
            let state = Listeners {
                heed: Arc::clone(&gate) as Arc<dyn Heed>,
                follow: Arc::new(Nothing),
            };
            let store = Store::open_heard(folder.path(), state).unwrap();
            Self {
                servers: connections,
                gate,
                store,
                _folder: folder,
            }
        }

        fn revoke(&self, asker: Option<Arc<dyn Hear>>) -> Result<(), StoreError> {
            let done = self.store.take_back(asker, &account(), revoking);
            done.map(Result::unwrap)
        }

        /// The questions that lie in the queues of both, as method and fields.
        fn queued(&self) -> [Vec<(String, Value)>; 2] {
            self.servers.each_ref().map(queued)
        }
    }

    fn queued(connection: &Arc<Connection>) -> Vec<(String, Value)> {
        let mut lines = Vec::new();
        connection.take_queued(&mut lines);
        let lines = std::str::from_utf8(&lines).unwrap().lines();
        let questions = lines.map(|line| {
            let question: Value = serde_json::from_str(line).unwrap();
            let method = question.get("method").and_then(Value::as_str).unwrap();
            (method.to_owned(), question.get("params").unwrap().clone())
        });
        questions.collect()
    }

    // As the store calls it.
    #[allow(clippy::unnecessary_wraps)]
    fn revoking(_: &View<'_>) -> Decided<Edit, (), ()> {
        let edit = Edit::RevokeKey {
            key_id: key(),
            incarnation: Incarnation::parse("one").unwrap(),
            at: UnixSeconds(1),
        };
        Ok(Ok((vec![edit], ())))
    }

    fn putting(change: impl FnOnce(&mut Account)) -> Edit {
        let mut put = Account {
            jid: account(),
            incarnation: Incarnation::parse("one").unwrap(),
            enabled: true,
            created: UnixSeconds(1),
            password_changed: UnixSeconds(2),
            verifiers: Vec::new(),
        };
        change(&mut put);
        Edit::PutAccount(Box::new(put))
    }

    fn closing() -> (String, Value) {
        let close = Close::of(&account(), &key(), Ending::Revoked);
        ("sessions.close".to_owned(), json!({"close": [close]}))
    }

    #[test]
    fn a_closing_waits_for_the_passes_and_goes_before_those_that_come_later() {
        let gate = Gate::new(Arc::new(Servers::default()));
        let first = gate.pass();
        // Beside it others are given.
        let second = gate.try_pass().unwrap();
        thread::scope(|scope| {
            let (has_closed, closed) = mpsc::channel();
            let (may_open, opens) = mpsc::channel::<()>();
            let gate = &gate;
            scope.spawn(move || {
                let closing = gate.close();
                has_closed.send(()).unwrap();
                opens.recv().unwrap();
                drop(closing);
            });
            // From the moment that it waits, no pass is given.
            while gate.try_pass().is_some() {
                thread::yield_now();
            }
            drop(first);
            assert_eq!(closed.try_recv(), Err(TryRecvError::Empty));
            drop(second);
            closed.recv().unwrap();
            assert!(gate.try_pass().is_none());
            may_open.send(()).unwrap();
        });
        assert!(gate.try_pass().is_some());
    }

    #[test]
    fn at_its_end_every_server_hears_which_sessions_are_over() {
        let scene = Scene::new();
        let closed = scene.gate.close();
        closed.end_sessions(&account(), &key());
        assert_eq!(scene.queued(), [vec![], vec![]]);
        drop(closed);
        assert_eq!(scene.queued(), [vec![closing()], vec![closing()]]);
    }

    #[test]
    fn the_asker_closes_its_sessions_behind_the_answer_and_the_others_do_before() {
        let scene = Scene::new();
        let [asker, other] = &scene.servers;
        let asking = scene.gate.asking(asker);
        scene.revoke(Some(asking.asker())).unwrap();
        assert_eq!(scene.queued(), [vec![], vec![closing()]]);
        asking.end(|lines| asker.push(&format!("{{\"method\":\"answer\",\"params\":0}}\n{lines}")));
        let answer = ("answer".to_owned(), json!(0));
        assert_eq!(scene.queued(), [vec![answer, closing()], vec![]]);
        // One that is not answered, and one that nobody here has asked for.
        let asking = scene.gate.asking(other);
        scene.revoke(Some(asking.asker())).unwrap();
        drop(asking);
        assert_eq!(scene.queued(), [vec![closing()], vec![closing()]]);
        scene.revoke(None).unwrap();
        assert_eq!(scene.queued(), [vec![closing()], vec![closing()]]);
    }

    #[test]
    fn of_a_changed_account_the_others_hear_and_all_do_if_the_answer_does_not_tell() {
        let scene = Scene::new();
        let [asker, _] = &scene.servers;
        let put = |asking: &Asking, edit: Edit| {
            let decide = move |_: &View<'_>| Ok(Ok::<_, ()>((vec![edit], ())));
            let put = &scene.store;
            let put = put.take_back(Some(asking.asker()), &account(), decide);
            put.unwrap().unwrap();
        };
        let heard = |change: &str| {
            let mut told = scene.queued().map(|all| {
                let told = all.into_iter().map(|(method, params)| {
                    assert_eq!(method, "account.changed");
                    params.get("change").unwrap().clone()
                });
                told.collect::<Vec<_>>()
            });
            for one in &mut told {
                assert!(one.iter().all(|one| one == change), "{one:?}");
            }
            told.map(|one| one.len())
        };
        let asking = scene.gate.asking_as_any(asker);
        put(&asking, putting(|_| ()));
        assert_eq!((heard("created"), asking.told()), ([1, 1], 2));
        let asking = scene.gate.asking(asker);
        put(&asking, putting(|put| put.enabled = false));
        assert_eq!((heard("disabled"), asking.told()), ([0, 1], 1));
        // The same account, written anew: nobody has to hear.
        let asking = scene.gate.asking(asker);
        let again = putting(|put| {
            put.enabled = false;
            put.created = UnixSeconds(0);
        });
        put(&asking, again);
        assert_eq!((heard(""), asking.told()), ([0, 0], 0));
    }

    #[test]
    fn a_revocation_is_answered_when_the_logins_have_ended_that_were_begun_before() {
        let scene = Scene::new();
        let pass = scene.gate.pass();
        thread::scope(|scope| {
            let (done, is_done) = mpsc::channel();
            let scene = &scene;
            scope.spawn(move || {
                scene.revoke(None).unwrap();
                done.send(()).unwrap();
            });
            // It waits for this pass alone: it is on the disk by now.
            while scene.gate.try_pass().is_some() {
                thread::yield_now();
            }
            let view = scene.store.view(&account()).revoked_keys().unwrap();
            assert_eq!(view.len(), 1);
            assert_eq!(is_done.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(scene.queued(), [vec![], vec![]]);
            drop(pass);
            is_done.recv().unwrap();
            assert_eq!(scene.queued(), [vec![closing()], vec![closing()]]);
        });
    }

    #[test]
    fn logins_go_on_while_a_revocation_is_decided_and_beside_what_takes_nothing_back() {
        let scene = Scene::new();
        let (go_on, wait) = mpsc::channel::<()>();
        let begun = scene.store.begin_taking_back(&account(), move |view| {
            wait.recv().unwrap();
            revoking(view)
        });
        let begun = begun.unwrap();
        drop(scene.gate.try_pass().unwrap());
        go_on.send(()).unwrap();
        begun.wait().unwrap().unwrap();
        // It is on the disk beside a pass.
        let pass = scene.gate.pass();
        thread::scope(|scope| {
            let lift = |_: &View<'_>| {
                let lift = Harmless::unrevoke_key(key(), Incarnation::parse("one").unwrap());
                Ok(Ok::<_, ()>((vec![lift], ())))
            };
            let lifted = scope.spawn(move || scene.store.change(&account(), lift));
            lifted.join().unwrap().unwrap().unwrap();
        });
        drop(pass);
    }

    #[test]
    fn who_holds_a_pass_or_a_closing_waits_for_no_change() {
        let scene = Scene::new();
        let is_refused = || matches!(scene.revoke(None), Err(StoreError::Entangled));
        let pass = scene.gate.pass();
        let beside = scene.gate.try_pass();
        assert!(is_refused());
        drop(pass);
        assert!(is_refused());
        drop(beside);
        let closing = scene.gate.close();
        assert!(is_refused());
        drop(closing);
        assert!(!is_refused());
    }
}
