//! `import`: the records of a backup are brought back.
//!
//! It fetches what is known of each, and writes what is to be written. Must not know: what becomes of a record.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::super::declared_host::DeclaredHost;
use super::super::super::reply::Answered;
use super::Backup;
use super::record::{Content, Record, Thing};
use crate::identity::{BareJid, Enrolment, Fingerprint, Host, Incarnation, KeyId};
use crate::policy::Denial;
use crate::policy::restore::{self, Conflict, Fate, KeyFacts, ListFacts};
use crate::protocol::{Accounts, BackupRecord, Import, ImportConflict, Imported, Refusal, fields};
use crate::store::{Change, Edit, Harmless, Hear, Pending, Store, StoreError, Subject, View};

/// The fate of a record.
type Judged = Result<Fate, Conflict>;

/// The fates of records, each with the record's place in the question.
type Fates = Vec<(usize, Judged)>;

/// The things that the backup brings of one account, each with its record's place in the question.
type Things = Vec<(usize, Thing)>;

impl Backup<'_> {
    pub(in crate::daemon) fn import(&self, question: Import) -> Answered<Imported> {
        let Import { records, apply } = question;
        if apply {
            self.disk_room.require()?;
        }
        let mut judged: Fates = Vec::new();
        let mut by_account: BTreeMap<BareJid, Things> = BTreeMap::new();
        for (at, record) in records.into_iter().enumerate() {
            let one = match content(&record) {
                // One that this version cannot read: the others are not lost with it.
                Err(conflict) => Err(conflict),
                Ok(Content::Secret(secret)) => self.take_secret(secret, apply)?,
                Ok(Content::Host(host, declared)) => self.take_host(host, declared, apply)?,
                Ok(Content::OfAccount(account, thing)) => {
                    by_account.entry(account).or_default().push((at, thing));
                    continue;
                }
            };
            judged.push((at, one));
        }
        judged.extend(if apply {
            self.write_accounts(by_account)?
        } else {
            look_at(self.store, by_account)?
        });
        judged.sort_by_key(|(at, _)| *at);
        Ok(answer(&judged, apply))
    }

    fn write_accounts(&self, by_account: BTreeMap<BareJid, Things>) -> Result<Fates, StoreError> {
        let (revoking, others): (Vec<_>, Vec<_>) = by_account
            .into_iter()
            .partition(|(_, things)| things.iter().any(|(_, thing)| thing.revoked().is_some()));
        // What takes something back comes first.
        let mut judged = self.write_revocations(revoking)?;
        judged.extend(write_together(others, |account, things| {
            let subject = Subject::with(&account, certificates(&things));
            self.store.begin_change(subject, move |view| {
                let (edits, judged) = decide(view, things)?;
                let mut harmless = Vec::new();
                for edit in edits {
                    // An account that is here is never written anew; and what brings a revocation was written before.
                    harmless.push(Harmless::of(edit, view)?.ok_or(StoreError::Failed)?);
                }
                Ok(Ok((harmless, judged)))
            })
        })?);
        Ok(judged)
    }

    /// Every server hears of what is written, whoever asks; and of what was revoked already: an earlier daemon may have ended before it told
    /// anybody.
    fn write_revocations(&self, accounts: Vec<(BareJid, Things)>) -> Result<Fates, StoreError> {
        let keys = |(account, things): &(BareJid, Things)| {
            let revoked = things.iter().filter_map(|(at, thing)| {
                let change = Change::Revoked(*thing.revoked()?);
                Some((*at, (account.clone(), change)))
            });
            revoked.collect::<Vec<_>>()
        };
        let mut revoked: BTreeMap<usize, _> = accounts.iter().flat_map(keys).collect();
        let judged = write_together(accounts, |account, things| {
            let subject = Subject::with(&account, certificates(&things));
            let decide = move |view: &View<'_>| Ok(Ok(decide(view, things)?));
            self.store.begin_taking_back(subject, decide)
        })?;
        let unchanged = judged
            .iter()
            .filter(|(_, fate)| *fate == Ok(Fate::Unchanged));
        let unchanged: Vec<_> = unchanged.filter_map(|(at, _)| revoked.remove(at)).collect();
        if !unchanged.is_empty() {
            self.gate.hear(&unchanged);
        }
        Ok(judged)
    }

    fn take_secret(&self, secret: [u8; 32], apply: bool) -> Result<Judged, Refusal> {
        let judged = restore::secret(&secret, &self.store.secret(), self.store.has_accounts());
        // The store looks once more: somebody may have come meanwhile.
        if judged == Ok(Fate::Written) && apply && !self.store.take_secret(secret)? {
            return Ok(Err(Conflict::SecretTaken));
        }
        Ok(judged)
    }

    fn take_host(&self, host: Host, brought: DeclaredHost, apply: bool) -> Result<Judged, Refusal> {
        let _turn = self.hosts.turn_to_remember();
        let known = self.hosts.declaration(&host);
        let known = known.as_deref().map(declaration);
        let judged = restore::host(&declaration(&brought), known.as_ref());
        if judged != Ok(Fate::Written) {
            return Ok(judged);
        }
        if let Err(why) = self.hosts.room_for(&brought.options) {
            return Ok(Err(Conflict::HostWithoutRoom(why)));
        }
        if apply {
            let remembered = vec![(host.clone(), brought.record())];
            self.store.remember_hosts(remembered)?;
            // A declaration that comes meanwhile is written behind this.
            self.hosts.put_in(host, Arc::new(brought));
        }
        Ok(judged)
    }
}

/// The parts of a host that must be equal for it to count as the same.
fn declaration(host: &DeclaredHost) -> (Accounts, &Map<String, Value>) {
    (host.accounts, &host.options)
}

fn content(record: &BackupRecord) -> Result<Content, Conflict> {
    let record = fields::<Record>(record.as_str()).map_err(|fault| Conflict::UnknownRecord {
        problem: fault.to_string(),
    })?;
    record.content()
}

fn answer(judged: &[(usize, Judged)], apply: bool) -> Imported {
    let count = |fate| judged.iter().filter(|(_, one)| *one == Ok(fate)).count();
    let (written, unchanged) = (count(Fate::Written), count(Fate::Unchanged));
    let conflict = |(at, judged): &(usize, Judged)| {
        let problem = judged.as_ref().err()?.to_string();
        let record = *at;
        Some(ImportConflict { record, problem })
    };
    let conflicts: Vec<ImportConflict> = judged.iter().filter_map(conflict).collect();
    tracing::info!(
        written,
        unchanged,
        conflicts = conflicts.len(),
        apply,
        "import: yes"
    );
    Imported {
        written,
        unchanged,
        conflicts,
    }
}

/// Looks what would become of the records of several accounts. Changes may come between: the step that writes them decides anew.
fn look_at(store: &Store, accounts: BTreeMap<BareJid, Things>) -> Result<Fates, StoreError> {
    let mut judged = Vec::new();
    let mut accounts = accounts.into_iter().peekable();
    while accounts.peek().is_some() {
        let some: Vec<_> = accounts.by_ref().take(MAX_AT_A_TIME).collect();
        let subjects = some
            .iter()
            .map(|(account, things)| Subject::with(account, certificates(things)));
        let ahead = store.read_ahead(subjects)?;
        for (account, things) in some {
            let (_, of_account) = decide(&ahead.view(&account), things)?;
            judged.extend(of_account);
        }
    }
    Ok(judged)
}

/// Writes the records of several accounts, so many at a time that they share their way to the disk.
///
/// `begin` hands those of one account to the writer.
fn write_together(
    accounts: Vec<(BareJid, Things)>,
    begin: impl Fn(BareJid, Things) -> Result<Writing, StoreError>,
) -> Result<Fates, StoreError> {
    let mut judged = Vec::new();
    let mut writing: VecDeque<Writing> = VecDeque::new();
    for (account, things) in accounts {
        if writing.len() >= MAX_AT_A_TIME
            && let Some(first) = writing.pop_front()
        {
            judged.extend(written(first)?);
        }
        writing.push_back(begin(account, things)?);
    }
    for one in writing {
        judged.extend(written(one)?);
    }
    Ok(judged)
}

/// The records of an account on their way to the disk.
type Writing = Pending<Result<Fates, Denial>>;

fn written(writing: Writing) -> Result<Fates, StoreError> {
    // No rule that is asked here refuses the whole.
    Ok(writing.wait()?.unwrap_or_default())
}

/// The certificates that the backup brings of one account: meanwhile no other one may come to hold them.
fn certificates(things: &Things) -> impl Iterator<Item = Fingerprint> {
    things.iter().filter_map(|(_, thing)| match thing {
        Thing::Certificate { held, .. } => Some(held.fingerprint),
        _ => None,
    })
}

/// Decides the fates of what the backup brings of one account, and which edits follow.
fn decide(view: &View<'_>, things: Things) -> Result<(Vec<Edit>, Fates), StoreError> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut judged = Vec::new();
    let mut keys = None;
    for (at, thing) in things {
        let fate = fate_of(view, &thing, &mut keys)?;
        if fate == Ok(Fate::Written) {
            edits.push(thing.into());
        }
        judged.push((at, fate));
    }
    Ok((edits, judged))
}

/// The fate of one thing that the backup brings of the account.
///
/// `keys`: those of the list, once they were needed.
fn fate_of(view: &View<'_>, thing: &Thing, keys: &mut Option<Keys>) -> Result<Judged, StoreError> {
    Ok(match thing {
        Thing::Account(brought) => restore::account(brought, view.account()?.as_ref()),
        Thing::Certificate { held, .. } => certificate(view, held)?,
        Thing::RevokedKey {
            key_id,
            incarnation,
            ..
        } => {
            let enrolled = match keys {
                Some(keys) => keys,
                None => keys.insert(keys_of(view)?),
            };
            restore::revoked_key(KeyFacts {
                is_revoked: view.revoked_for(key_id)?.contains(incarnation),
                is_enrolled: enrolled.contains(&(*key_id, incarnation.clone())),
            })
        }
        Thing::Disabled(brought) => {
            let known = view.disabled_as(&brought.fingerprint)?;
            Ok(restore::mark(brought, &known))
        }
        Thing::Incarnation { incarnation, .. } => {
            let known = view.incarnation()?.map(|(known, _)| known);
            restore::incarnation(incarnation, known.as_ref())
        }
    })
}

fn certificate(view: &View<'_>, brought: &Enrolment) -> Result<Judged, StoreError> {
    let same_name = view.named(&brought.name)?;
    if same_name.is_some() {
        // The rest does not matter, and need not be readable.
        let facts = ListFacts {
            same_name: same_name.as_ref(),
            ..ListFacts::default()
        };
        return Ok(restore::certificate(brought, &facts));
    }
    let holders = view.holders(&brought.fingerprint)?;
    let revoked_for = view.revoked_for(&brought.key_id)?;
    let facts = ListFacts {
        same_name: None,
        is_enrolled: holders.iter().any(|held| held.account == brought.account),
        is_revoked: revoked_for.contains(&brought.incarnation),
        is_disabled: view.is_disabled(&brought.fingerprint)?,
    };
    Ok(restore::certificate(brought, &facts))
}

/// The keys of a list, each with the account of the name that it is of.
type Keys = HashSet<(KeyId, Incarnation)>;

fn keys_of(view: &View<'_>) -> Result<Keys, StoreError> {
    let enrolled = view.list()?.enrolments.into_iter();
    Ok(enrolled
        .map(|held| (held.key_id, held.incarnation))
        .collect())
}

/// Accounts of a question that are written at a time: as many as the store writes in one commit. Few against those that may wait for
/// the writer: the changes of others always find a place.
const MAX_AT_A_TIME: usize = 64;
