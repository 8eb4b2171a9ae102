//! `export` and `import`: everything that is remembered, as records that a later version can read.
//!
//! An import adds. It never writes over what differs, and never brings back what was revoked or disabled since.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::declared_host::DeclaredHost;
use super::{Answered, Service, storage};
use crate::identity::{
    Account, AddedBy, BareJid, CertificateName, ClientCert, Disabled, Enrolment, Fingerprint, Host,
    Incarnation, Jid, KeyId, LastUse, ScramHash, ScramVerifier, UnixSeconds,
};
use crate::policy::Denial;
use crate::protocol::{Accounts, Export, Exported, Fault, Import, fields, in_base64};
use crate::store::{Edit, Place, Store, StoreError, View};

/// One thing that is remembered. Its JSON is the form of the backup; a new field needs a default.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record {
    Secret {
        #[serde(with = "in_base64")]
        secret: Vec<u8>,
    },
    Host {
        host: Host,
        accounts: Accounts,
        options: Map<String, Value>,
    },
    Account {
        account: BareJid,
        incarnation: Incarnation,
        enabled: bool,
        created: UnixSeconds,
        password_changed: UnixSeconds,
        scram: Vec<Verifier>,
    },
    Certificate {
        account: BareJid,
        incarnation: Incarnation,
        name: CertificateName,
        #[serde(with = "in_base64")]
        certificate: Vec<u8>,
        may_manage: bool,
        order: u64,
        added_at: UnixSeconds,
        added_with: Option<Fingerprint>,
        added_by: Option<Jid>,
        last_use: Option<LastUse>,
    },
    RevokedKey {
        account: BareJid,
        incarnation: Incarnation,
        key_id: KeyId,
        at: UnixSeconds,
    },
    Disabled {
        account: BareJid,
        incarnation: Incarnation,
        name: CertificateName,
        fingerprint: Fingerprint,
        key_id: KeyId,
        not_after: UnixSeconds,
    },
    /// Which account of the name has enrolled a certificate last.
    Incarnation {
        account: BareJid,
        incarnation: Incarnation,
        since: UnixSeconds,
    },
    /// What could not be read when the backup was made.
    Unreadable { account: BareJid, problem: String },
}

#[derive(Serialize, Deserialize)]
struct Verifier {
    hash: ScramHash,
    #[serde(with = "in_base64")]
    salt: Vec<u8>,
    iterations: u32,
    #[serde(with = "in_base64")]
    stored_key: Vec<u8>,
    #[serde(with = "in_base64")]
    server_key: Vec<u8>,
}

/// What becomes of one record.
enum Fate {
    Written,
    Unchanged,
    Conflict(Cow<'static, str>),
}

impl Service {
    pub(in crate::daemon) fn export(&self, question: Export) -> Answered {
        let Export { after } = question;
        let mut page = Page::default();
        let hosts_behind = match &after {
            None => {
                let secret = self.store.secret().to_vec();
                page.add(&Record::Secret { secret });
                Some(None)
            }
            Some(Exported::Host { host }) => Some(Some(host)),
            Some(Exported::Account(_) | Exported::Inside { .. }) => None,
        };
        if let Some(behind) = hosts_behind
            && let Some(next) = self.export_hosts(&mut page, behind)
        {
            return Ok(page.answered(Some(&next)));
        }
        let (behind, inside) = match after {
            None | Some(Exported::Host { .. }) => (None, None),
            Some(Exported::Account(account)) => (Some(account), None),
            Some(Exported::Inside { account, place }) => {
                let place = Place::from_bytes(&place).ok_or_else(|| Fault::WrongParams {
                    problem: "after.place: it is no place of an account".to_owned(),
                })?;
                (Some(account.clone()), Some((account, place)))
            }
        };
        if let Some((account, place)) = inside {
            let view = self.store.view(&account);
            let rest = readable_records(&view, Some(&place)).map_err(|error| storage(&error))?;
            let left = rest.add_to(&mut page, &account);
            if left.is_some() || page.is_full() {
                let next = left.unwrap_or(Exported::Account(account));
                return Ok(page.answered(Some(&next)));
            }
        }
        // The whole page at once: each time waits for the change that is being made.
        let mut bytes = page.bytes;
        let read = self.store.accounts_behind(behind, move |view| {
            let records = readable_records(view, None)?;
            bytes += records.bytes;
            let wants_another = bytes <= EXPORT_PAGE_BYTES && records.left.is_none();
            Ok(((view.jid().clone(), records), wants_another))
        });
        let (read, last) = read.map_err(|error| storage(&error))?;
        let mut next = last.map(Exported::Account);
        for (account, records) in read {
            next = records.add_to(&mut page, &account).or(next);
        }
        Ok(page.answered(next.as_ref()))
    }

    /// Adds the hosts behind this one; up to where, if there are more.
    fn export_hosts(&self, page: &mut Page, behind: Option<&Host>) -> Option<Exported> {
        let mut hosts = self.hosts.behind(behind).into_iter().peekable();
        while let Some((host, known)) = hosts.next() {
            page.add(&Record::Host {
                host: host.clone(),
                accounts: known.accounts,
                options: known.options.clone(),
            });
            if page.is_full() && hosts.peek().is_some() {
                return Some(Exported::Host { host });
            }
        }
        None
    }

    pub(in crate::daemon) fn import(&self, question: Import) -> Answered {
        let Import { records, apply } = question;
        if apply {
            self.disk_room.require()?;
        }
        let mut fates: Vec<(usize, Fate)> = Vec::new();
        let mut by_account: BTreeMap<BareJid, Vec<(usize, Record)>> = BTreeMap::new();
        for (at, record) in records.into_iter().enumerate() {
            let record = match fields::<Record>(record) {
                Ok(record) => record,
                // One that this version cannot read: the others are not lost with it.
                Err(fault) => {
                    let problem = format!("the record is not one that is known here: {fault}");
                    fates.push((at, Fate::Conflict(problem.into())));
                    continue;
                }
            };
            match record {
                Record::Secret { secret } => fates.push((at, self.take_secret(&secret, apply)?)),
                Record::Host {
                    host,
                    accounts,
                    options,
                } => fates.push((at, self.take_host(host, accounts, options, apply)?)),
                Record::Account { ref account, .. }
                | Record::Certificate { ref account, .. }
                | Record::RevokedKey { ref account, .. }
                | Record::Disabled { ref account, .. }
                | Record::Incarnation { ref account, .. }
                | Record::Unreadable { ref account, .. } => {
                    let account = account.clone();
                    by_account.entry(account).or_default().push((at, record));
                }
            }
        }
        let accounts: Vec<_> = by_account.into_iter().collect();
        fates.extend(
            written_together(&self.store, accounts, apply).map_err(|error| storage(&error))?,
        );
        let count = |is: fn(&Fate) -> bool| fates.iter().filter(|(_, fate)| is(fate)).count();
        let written = count(|fate| matches!(fate, Fate::Written));
        let unchanged = count(|fate| matches!(fate, Fate::Unchanged));
        let conflicts: Vec<Value> = fates
            .iter()
            .filter_map(|(at, fate)| match fate {
                Fate::Conflict(problem) => Some(json!({"record": at, "problem": problem})),
                Fate::Written | Fate::Unchanged => None,
            })
            .collect();
        tracing::info!(
            written,
            unchanged,
            conflicts = conflicts.len(),
            apply,
            "import: yes"
        );
        Ok(json!({"written": written, "unchanged": unchanged, "conflicts": conflicts}))
    }

    fn take_secret(&self, secret: &[u8], apply: bool) -> Result<Fate, super::Refusal> {
        let Some(secret) = secret.first_chunk::<32>().copied() else {
            return Ok(Fate::Conflict("a secret has 32 bytes".into()));
        };
        if secret == self.store.secret() {
            return Ok(Fate::Unchanged);
        }
        let is_taken = if apply {
            let taken = self.store.take_secret(secret);
            taken.map_err(|error| storage(&error))?
        } else {
            !self.store.has_accounts()
        };
        Ok(if is_taken {
            Fate::Written
        } else {
            Fate::Conflict("there are accounts here, and a secret of their own".into())
        })
    }

    fn take_host(
        &self,
        host: Host,
        accounts: Accounts,
        options: Map<String, Value>,
        apply: bool,
    ) -> Result<Fate, super::Refusal> {
        let _turn = self.hosts.turn_to_remember();
        match self.hosts.known(&host) {
            Some(known) if known.accounts == accounts && known.options == options => {
                return Ok(Fate::Unchanged);
            }
            Some(_) => {
                return Ok(Fate::Conflict(
                    "the host is declared with other options".into(),
                ));
            }
            None => {}
        }
        if let Err(problem) = self.hosts.room_for(&options) {
            return Ok(Fate::Conflict(problem.into()));
        }
        if apply {
            let declared = Arc::new(DeclaredHost::new(accounts, options));
            let remembered = vec![(host.clone(), declared.record())];
            let written = self.store.remember_hosts(remembered);
            written.map_err(|error| storage(&error))?;
            // What was declared meanwhile is written behind this.
            self.hosts.put_in(host, declared);
        }
        Ok(Fate::Written)
    }
}

fn value(record: &Record) -> Value {
    // Proof: text keys and values that JSON has.
    #[allow(clippy::expect_used)]
    serde_json::to_value(record).expect("a record is JSON")
}

/// A page of an export.
#[derive(Default)]
struct Page {
    records: Vec<Value>,
    bytes: usize,
}

impl Page {
    fn add(&mut self, record: &Record) {
        self.add_value(value(record));
    }

    fn add_value(&mut self, record: Value) {
        self.bytes += record.to_string().len();
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.bytes > EXPORT_PAGE_BYTES
    }

    fn answered(self, next: Option<&Exported>) -> Value {
        tracing::info!(records = self.records.len(), "export: yes");
        json!({"records": self.records, "next": next})
    }
}

/// Records of an account.
#[derive(Default)]
struct OfAccount {
    records: Vec<Value>,
    bytes: usize,
    /// Up to where in the account, if it has more than fit into a page.
    left: Option<Place>,
}

impl OfAccount {
    fn add(&mut self, record: &Record) {
        let record = value(record);
        self.bytes += record.to_string().len();
        self.records.push(record);
    }

    /// Up to where in the account, if there is more of it.
    fn add_to(self, page: &mut Page, account: &BareJid) -> Option<Exported> {
        for record in self.records {
            page.add_value(record);
        }
        let account = account.clone();
        self.left.map(|place| Exported::Inside {
            account,
            place: place.to_bytes(),
        })
    }
}

/// The records of an account behind `behind`, or the one that says why there are none.
fn readable_records(view: &View<'_>, behind: Option<&Place>) -> Result<OfAccount, StoreError> {
    match records(view, behind) {
        Err(error @ StoreError::Corrupt { .. }) => {
            let mut unreadable = OfAccount::default();
            unreadable.add(&Record::Unreadable {
                account: view.jid().clone(),
                problem: error.to_string(),
            });
            Ok(unreadable)
        }
        read => read,
    }
}

fn records(view: &View<'_>, behind: Option<&Place>) -> Result<OfAccount, StoreError> {
    let mut found = OfAccount::default();
    for thing in view.things_behind(behind) {
        let (place, thing) = thing?;
        if let Some(record) = record_of(view.jid(), thing) {
            found.add(&record);
        }
        // One page holds so much of one account, whatever else is on it.
        if found.bytes > MAX_ACCOUNT_BYTES {
            found.left = Some(place);
            break;
        }
    }
    Ok(found)
}

/// What stands in a backup for what writes it.
fn record_of(account: &BareJid, thing: Edit) -> Option<Record> {
    Some(match thing {
        Edit::PutAccount(known) => {
            let verifiers = known.verifiers.iter().map(|verifier| Verifier {
                hash: verifier.hash(),
                salt: verifier.salt().to_vec(),
                iterations: verifier.iterations(),
                stored_key: verifier.stored_key().to_vec(),
                server_key: verifier.server_key().to_vec(),
            });
            Record::Account {
                scram: verifiers.collect(),
                account: known.jid,
                incarnation: known.incarnation,
                enabled: known.enabled,
                created: known.created,
                password_changed: known.password_changed,
            }
        }
        Edit::SetIncarnation { incarnation, since } => Record::Incarnation {
            account: account.clone(),
            incarnation,
            since,
        },
        Edit::Put(held) => Record::Certificate {
            account: held.account,
            incarnation: held.incarnation,
            name: held.name,
            certificate: held.der,
            may_manage: held.may_manage,
            order: held.order,
            added_at: held.added_at,
            added_with: held.added_by.certificate,
            added_by: held.added_by.jid,
            last_use: held.last_use,
        },
        Edit::RevokeKey {
            key_id,
            incarnation,
            at,
        } => Record::RevokedKey {
            account: account.clone(),
            incarnation,
            key_id,
            at,
        },
        Edit::MarkDisabled(mark) => Record::Disabled {
            account: account.clone(),
            incarnation: mark.incarnation,
            name: mark.name,
            fingerprint: mark.fingerprint,
            key_id: mark.key_id,
            not_after: mark.not_after,
        },
        // They remember nothing.
        Edit::Remove(_)
        | Edit::UnrevokeKey { .. }
        | Edit::ClearDisabled(_)
        | Edit::ForgetIncarnation
        | Edit::RemoveAccount => return None,
    })
}

/// Writes the records of several accounts, so many at a time that they share their way to the disk.
fn written_together(
    store: &Store,
    accounts: Vec<(BareJid, Vec<(usize, Record)>)>,
    apply: bool,
) -> Result<Vec<(usize, Fate)>, StoreError> {
    let mut lanes: Vec<Vec<_>> = Vec::new();
    lanes.resize_with(accounts.len().clamp(1, MAX_LANES), Vec::new);
    let count = lanes.len();
    for (at, account) in accounts.into_iter().enumerate() {
        if let Some(lane) = lanes.get_mut(at % count) {
            lane.push(account);
        }
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = lanes
            .into_iter()
            .map(|lane| {
                scope.spawn(move || {
                    let mut fates = Vec::new();
                    for (account, records) in lane {
                        fates.extend(written(store, &account, records, apply)?);
                    }
                    Ok(fates)
                })
            })
            .collect();
        let mut all = Vec::new();
        for lane in running {
            all.extend(lane.join().map_err(|_| StoreError::Failed)??);
        }
        Ok(all)
    })
}

fn written(
    store: &Store,
    account: &BareJid,
    records: Vec<(usize, Record)>,
    apply: bool,
) -> Result<Vec<(usize, Fate)>, StoreError> {
    let written = store.change(account, move |view| {
        let mut edits = Vec::new();
        let mut fates = Vec::new();
        let mut keys = None;
        for (at, record) in records {
            let fate = match edit_of(view, record, &mut keys)? {
                Ok(Some(edit)) => {
                    edits.push(edit);
                    Fate::Written
                }
                Ok(None) => Fate::Unchanged,
                Err(problem) => Fate::Conflict(problem),
            };
            fates.push((at, fate));
        }
        if !apply {
            edits.clear();
        }
        Ok(Ok::<_, Denial>((edits, fates)))
    })?;
    // No rule is asked here, so none refuses.
    Ok(written.unwrap_or_default())
}

/// What writes the record; nothing if it is there already; or why it is not written.
///
/// `keys`: those of the list, once they were needed.
fn edit_of(
    view: &View<'_>,
    record: Record,
    keys: &mut Option<Keys>,
) -> Result<Result<Option<Edit>, Cow<'static, str>>, StoreError> {
    Ok(match record {
        Record::Account {
            account,
            incarnation,
            enabled,
            created,
            password_changed,
            scram,
        } => {
            let verifiers = scram.into_iter().map(|one| {
                ScramVerifier::from_parts(
                    one.hash,
                    one.salt,
                    one.iterations,
                    one.stored_key,
                    one.server_key,
                )
            });
            let verifiers = match verifiers.collect::<Result<Vec<_>, _>>() {
                Ok(verifiers) => verifiers,
                Err(error) => {
                    let problem = format!("SCRAM can't use what is kept of its password: {error}");
                    return Ok(Err(problem.into()));
                }
            };
            let brought = Account {
                jid: account,
                incarnation,
                enabled,
                created,
                password_changed,
                verifiers,
            };
            match view.account()? {
                None => Ok(Some(Edit::PutAccount(Box::new(brought)))),
                Some(known) if known == brought => Ok(None),
                Some(_) => Err("the account is here already, and differs".into()),
            }
        }
        Record::Certificate {
            account,
            incarnation,
            name,
            certificate,
            may_manage,
            order,
            added_at,
            added_with,
            added_by,
            last_use,
        } => {
            let cert = match ClientCert::from_der(&certificate) {
                Ok(cert) => cert,
                Err(finding) => {
                    let problem = "the certificate is not acceptable to this version";
                    return Ok(Err(format!("{problem}: {finding}").into()));
                }
            };
            certificate_edit(
                view,
                Enrolment {
                    account,
                    incarnation,
                    name,
                    der: cert.der,
                    fingerprint: cert.fingerprint,
                    key_id: cert.key_id,
                    addresses: cert.addresses,
                    not_before: cert.not_before,
                    not_after: cert.not_after,
                    may_manage,
                    order,
                    added_at,
                    added_by: AddedBy {
                        certificate: added_with,
                        jid: added_by,
                    },
                    last_use,
                },
            )?
        }
        Record::RevokedKey {
            incarnation,
            key_id,
            at,
            ..
        } => {
            let enrolled = match keys {
                Some(keys) => keys,
                None => keys.insert(keys_of(view)?),
            };
            if view.revoked_for(&key_id)?.contains(&incarnation) {
                Ok(None)
            } else if enrolled.contains(&(key_id, incarnation.clone())) {
                Err("a certificate with this key is in the list".into())
            } else {
                Ok(Some(Edit::RevokeKey {
                    key_id,
                    incarnation,
                    at,
                }))
            }
        }
        Record::Disabled {
            incarnation,
            name,
            fingerprint,
            key_id,
            not_after,
            ..
        } => {
            let mark = Disabled {
                incarnation,
                name,
                fingerprint,
                key_id,
                not_after,
            };
            if view.disabled_as(&mark.fingerprint)?.contains(&mark) {
                Ok(None)
            } else {
                Ok(Some(Edit::MarkDisabled(Box::new(mark))))
            }
        }
        Record::Incarnation {
            incarnation, since, ..
        } => match view.incarnation()? {
            None => Ok(Some(Edit::SetIncarnation { incarnation, since })),
            Some((known, _)) if known == incarnation => Ok(None),
            Some(_) => Err("another account of this name has enrolled certificates since".into()),
        },
        Record::Unreadable { .. } => Err("it could not be read when the backup was made".into()),
        // They are of no account.
        Record::Secret { .. } | Record::Host { .. } => Ok(None),
    })
}

/// The keys of a list, each with the account of the name that it is of.
type Keys = HashSet<(KeyId, Incarnation)>;

fn keys_of(view: &View<'_>) -> Result<Keys, StoreError> {
    let enrolled = view.list()?.enrolments.into_iter();
    Ok(enrolled
        .map(|held| (held.key_id, held.incarnation))
        .collect())
}

fn certificate_edit(
    view: &View<'_>,
    brought: Enrolment,
) -> Result<Result<Option<Edit>, Cow<'static, str>>, StoreError> {
    let same_name = view.named(&brought.name)?;
    let is_same = same_name.as_ref().is_some_and(|held| {
        held.der == brought.der
            && held.incarnation == brought.incarnation
            && held.may_manage == brought.may_manage
    });
    Ok(if is_same {
        Ok(None)
    } else if same_name.is_some() {
        Err("there is another certificate of this name".into())
    } else if view
        .holders(&brought.fingerprint)?
        .iter()
        .any(|held| held.account == brought.account)
    {
        Err("the certificate is there under another name".into())
    } else if view
        .revoked_for(&brought.key_id)?
        .contains(&brought.incarnation)
    {
        Err("its key was revoked since".into())
    } else if view.is_disabled(&brought.fingerprint)? {
        // With the certificate in the list, the mark would be an old one.
        Err("it was disabled since".into())
    } else {
        Ok(Some(Edit::Put(Box::new(brought))))
    })
}

/// A page of an export is closed when it is larger than this.
const EXPORT_PAGE_BYTES: usize = 256 * 1024;
/// An account that is larger than this goes on on the next page: with what is on the page already, well below what an answer holds.
const MAX_ACCOUNT_BYTES: usize = 2 * 1024 * 1024;
/// Accounts of an import that are written at a time.
const MAX_LANES: usize = 32;
