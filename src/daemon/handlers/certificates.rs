//! `certificate.*`: an account's own list.

use serde_json::json;

use super::super::connection::Peer;
use super::super::reply::{Answered, Informs, Reply};
use super::super::storage;
use super::Service;
use super::incarnations::Unmarked;
use crate::identity::certificate::Finding;
use crate::identity::private_key::holds_private_key;
use crate::identity::visible::visible;
use crate::identity::{
    AccountList, AddedBy, BareJid, ByteOrderMark, CertificateName, ClientCert, Disabled, Enrolment,
    Fingerprint, Incarnation, KeyId, LastUse, UnixSeconds,
};
use crate::policy::manage::{
    Appending, Asker, LoggedInBy, MAX_MARKS, Marks, Revoked, Scope, Which,
};
use crate::policy::{Denial, manage};
use crate::protocol::{
    AccountMarks, Accounts, Append, AppendedCertificate, Certificate, CertificatePage,
    DisabledCertificate, DisabledMark, Expiring, ExpiringCount, Fault, List, ListedCertificate,
    ListedMark, MAX_CERTIFICATE_BASE64_BYTES, Marked, Named, NotDecoded, PAGE_BYTES, Refusal,
    Revoke, RevokedCertificate, RevokedKey, Role, Session, SessionBy, ShownCertificate, ShownName,
    ShownRevoked, Unrevoke, Unrevoked,
};
use crate::store::{Edit, Harmless, StoreError, View};
use crate::wording::certificates::{self as wording, Added, Row};
use crate::wording::notices;

/// Whose list a question is about, and who asks it.
pub(super) struct Whose {
    pub(super) account: BareJid,
    pub(super) incarnation: Option<Incarnation>,
    /// None for an admin.
    pub(super) session: Option<Session>,
    pub(super) peer: Peer,
}

impl Whose {
    /// Who asks, in words for the account's owner and for the log.
    pub(super) fn by(&self) -> String {
        described(self.session.as_ref(), self.peer)
    }

    fn is_by_admin(&self) -> bool {
        let session = self.session.as_ref();
        session.is_none_or(|session| session.by == SessionBy::Admin)
    }
}

impl Service {
    pub(in crate::daemon) fn list(
        &self,
        question: List,
        peer: Peer,
        now: UnixSeconds,
    ) -> Answered<CertificatePage> {
        let after = question.after;
        let whose = Whose {
            account: question.account,
            incarnation: question.incarnation,
            session: question.session,
            peer,
        };
        self.seen(&whose, |own, disabled| {
            let mut page = Vec::new();
            let mut bytes = 0;
            let mut next = None;
            for held in own {
                if after.is_some_and(|after| held.order <= after) {
                    continue;
                }
                if bytes > PAGE_BYTES {
                    next = page.last().map(|(order, _)| *order);
                    break;
                }
                let row = self.listed(held, now);
                bytes += json!(row).to_string().len();
                page.push((held.order, row));
            }
            let disabled = disabled.iter().take(MAX_LISTED_MARKS);
            CertificatePage {
                certificates: page.into_iter().map(|(_, row)| row).collect(),
                next,
                disabled: disabled
                    .map(|mark| ListedMark {
                        name: mark.name.clone(),
                        shown: shown(&mark.name),
                        fingerprint: mark.fingerprint,
                        key_id: mark.key_id,
                    })
                    .collect(),
            }
        })
    }

    /// Hands `show` the list, in its order, and what was disabled of it, each key once.
    pub(super) fn seen<T>(
        &self,
        whose: &Whose,
        show: impl FnOnce(&[&Enrolment], &[&Disabled]) -> T,
    ) -> Result<T, Refusal> {
        let account = &whose.account;
        let policy = self.hosts.policy(account.host())?;
        let (asker, scope) = self.asker_of(whose)?;
        let view = self.store.view(account);
        let list = view.list()?;
        let disabled = view.disabled()?;
        let own = manage::list(&asker, &scope, &list, &policy)
            .map_err(|denial| refused("certificate.list", account, &whose.by(), denial))?;
        Ok(show(&own, &manage::disabled(&scope, &list, &disabled)))
    }

    /// Who asks, and about which of the accounts of the name.
    fn asker_of(&self, whose: &Whose) -> Result<(Asker, Scope), Refusal> {
        let incarnation = self.incarnation_of(whose)?;
        Ok(asker(whose.session.clone(), incarnation, whose.peer)?)
    }

    /// The same record for people to read.
    pub(super) fn row(&self, held: &Enrolment, now: UnixSeconds) -> Row {
        let (last_use, resources) = self.uses_of(held);
        Row {
            name: held.name.clone(),
            fingerprint: held.fingerprint,
            key_id: held.key_id,
            addresses: held.addresses.clone(),
            not_after: held.not_after,
            expired: manage::is_expired(held, now),
            may_manage: held.may_manage,
            added: Added {
                at: held.added_at,
                by: match &held.added_by {
                    AddedBy {
                        certificate: Some(_),
                        ..
                    } => wording::AddedBy::Certificate,
                    AddedBy { jid: Some(_), .. } => wording::AddedBy::Password,
                    AddedBy { .. } => wording::AddedBy::Admin,
                },
                fingerprint: held.added_by.certificate,
                jid: held.added_by.jid.clone(),
            },
            last_use,
            resources,
        }
    }

    /// The last login with it, and the resources of its live sessions.
    fn uses_of(&self, held: &Enrolment) -> (Option<LastUse>, Vec<String>) {
        let last_use = self.last_uses.of(held);
        let resources = self.sessions.resources(&held.account, &held.fingerprint);
        (last_use, resources)
    }

    fn listed(&self, held: &Enrolment, now: UnixSeconds) -> ListedCertificate {
        let row = self.row(held, now);
        let visible = |text: &str| visible(text).into_owned();
        let address = row.last_use.as_ref();
        let address = address.and_then(|last| last.address.as_deref());
        ListedCertificate {
            shown: ShownCertificate {
                name: visible(row.name.as_str()),
                added_jid: row.added.jid.as_ref().map(|jid| visible(&jid.to_string())),
                address: address.map(visible),
                resources: row.resources.iter().map(|one| visible(one)).collect(),
            },
            certificate: held.der.clone(),
            not_before: held.not_before,
            incarnation: held.incarnation.clone(),
            row,
        }
    }

    pub(in crate::daemon) fn append(
        &self,
        question: Append,
        peer: Peer,
        now: UnixSeconds,
    ) -> Answered<AppendedCertificate> {
        let whose = Whose {
            account: question.account,
            incarnation: question.incarnation,
            session: question.session,
            peer,
        };
        let wish = Wanted {
            name: question.name,
            certificate: question.certificate,
            may_manage: question.may_manage,
        };
        let (held, warnings) = self.appended(&whose, wish, now)?;
        Ok(AppendedCertificate {
            shown: shown(&held.name),
            name: held.name,
            fingerprint: held.fingerprint,
            not_after: held.not_after,
            warnings: warnings.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Adds a certificate and tells the account: the new record, and what its user should know.
    pub(super) fn appended(
        &self,
        whose: &Whose,
        wish: Wanted,
        now: UnixSeconds,
    ) -> Result<(Enrolment, Vec<&'static str>), Refusal> {
        const QUESTION: &str = "certificate.append";
        let account = &whose.account;
        let (lives, policy) = self.hosts.of(account.host())?;
        self.disk_room.require()?;
        let told = whose.incarnation.clone();
        let (asker, scope) = asker(whose.session.clone(), told.clone(), whose.peer)?;
        let incarnation = match scope {
            Scope::Every if told.is_none() => self.present_incarnation(lives, account)?,
            _ => self
                .incarnation_of(whose)?
                .ok_or_else(|| Fault::WrongParams {
                    problem: "missing field `incarnation`".to_owned(),
                })?,
        };
        let by = whose.by();
        let denied = |denial| refused(QUESTION, account, &by, denial);
        let cert = certificate_in(&wish.certificate).map_err(denied)?;
        let warnings = manage::warnings(&cert);
        let to = account.clone();
        let written = self.store.change(account, move |view| {
            if lives == Accounts::Daemon && !is_still(view, &incarnation)? {
                return Ok(Err(Denial::AccountMissing));
            }
            let list = view.list()?;
            let marks = Marks {
                revoked_for: view.revoked_for(&cert.key_id)?,
                are_too_many: view.has_more_marks_than(MAX_MARKS, &incarnation)?,
                is_anothers: is_anothers(view, &cert, &to)?,
            };
            let wish = Appending {
                account: &to,
                incarnation: &incarnation,
                asker: &asker,
                name: &wish.name,
                cert: &cert,
                may_manage: wish.may_manage,
            };
            let appended = manage::append(&wish, &list, &marks, &policy, now);
            Ok(appended.map(|appended| (append_edits(&appended, &list, now), appended.enrolment)))
        });
        let held = written?.map_err(denied)?;
        done(QUESTION, account, &held.name, &held.fingerprint, &by);
        self.servers
            .tell(account, &notices::added(&held.name, &held.fingerprint, &by));
        Ok((held, warnings))
    }

    pub(in crate::daemon) fn disable(
        &self,
        question: Named,
        peer: Peer,
    ) -> Answered<DisabledCertificate> {
        let whose = Whose {
            account: question.account,
            incarnation: question.incarnation,
            session: question.session,
            peer,
        };
        let held = self.disabled(&whose, question.name)?;
        Ok(DisabledCertificate {
            shown: shown(&held.name),
            name: held.name,
            fingerprint: held.fingerprint,
        })
    }

    /// Takes a certificate out of the list and tells the account: the first record that left.
    pub(super) fn disabled(&self, whose: &Whose, name: String) -> Result<Enrolment, Refusal> {
        const QUESTION: &str = "certificate.disable";
        let account = &whose.account;
        let policy = self.hosts.policy(account.host())?;
        let (asker, scope) = self.asker_of(whose)?;
        let by = whose.by();
        let written = self.store.change(account, move |view| {
            let list = concerned(view, &name, &asker)?;
            let gone = manage::disable(&asker, &scope, &name, &list, &policy);
            Ok(gone.and_then(|gone| {
                let edits = gone.iter().flat_map(|held| {
                    [
                        Harmless::remove((*held).clone()),
                        Harmless::mark_disabled(Disabled {
                            incarnation: held.incarnation.clone(),
                            name: held.name.clone(),
                            fingerprint: held.fingerprint,
                            key_id: held.key_id,
                            not_after: held.not_after,
                        }),
                    ]
                });
                // Proof: `disable` answers `NameUnknown` where there is none.
                let first = gone.first().ok_or(Denial::NameUnknown)?;
                Ok((edits.collect(), (*first).clone()))
            }))
        });
        let held = written?.map_err(|denial| refused(QUESTION, account, &by, denial))?;
        done(QUESTION, account, &held.name, &held.fingerprint, &by);
        self.servers
            .tell(account, &notices::disabled(&held.name, &by));
        Ok(held)
    }

    pub(in crate::daemon) fn revoke(
        &self,
        reply: &Reply<Revoke>,
        question: Revoke,
        now: UnixSeconds,
    ) {
        if let Err(refusal) = self.decided_revocation(reply, question, now) {
            reply.refuse(refusal);
        }
    }

    fn decided_revocation(
        &self,
        reply: &Reply<Revoke>,
        question: Revoke,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let gone = match (question.name, question.key_id) {
            (Some(name), None) => Gone::Named(name),
            (None, Some(key_id)) => Gone::WithKey(key_id),
            _ => {
                return Err(Refusal::from(Fault::WrongParams {
                    problem: "either `name` or `key_id` is wanted".to_owned(),
                }));
            }
        };
        let whose = Whose {
            account: question.account,
            incarnation: question.incarnation,
            session: question.session,
            peer: reply.peer(),
        };
        self.revoked(reply, &whose, gone, now, |revoked, _| {
            let removed = revoked.removed.iter().map(|held| &held.name);
            let visible = |name: &CertificateName| visible(name.as_str()).into_owned();
            RevokedCertificate {
                name: revoked.name.clone(),
                shown: ShownRevoked {
                    name: visible(&revoked.name),
                    removed: removed.clone().map(visible).collect(),
                },
                fingerprint: revoked.fingerprint,
                key_id: revoked.key_id,
                removed: removed.cloned().collect(),
            }
        })
    }

    /// Revokes keys in one transaction, answers with `result` of it and of the keys, has their sessions closed, and tells the
    /// account.
    ///
    /// Errors: nothing was revoked, and nothing answered.
    pub(super) fn revoked<Q: Informs>(
        &self,
        reply: &Reply<Q>,
        whose: &Whose,
        gone: Gone,
        now: UnixSeconds,
        result: impl FnOnce(&Revoked, &[KeyId]) -> Q::Answer,
    ) -> Result<(), Refusal> {
        const QUESTION: &str = "certificate.revoke";
        let account = &whose.account;
        let policy = self.hosts.policy(account.host())?;
        let (asker, scope) = self.asker_of(whose)?;
        let by = whose.by();
        let decide = move |view: &View<'_>| {
            let (list, disabled) = (view.list()?, view.disabled()?);
            let which = gone.which();
            Ok(manage::revoke(
                &asker, &scope, which, &list, &disabled, &policy,
            ))
        };
        // What is refused anyway must not hold everybody's logins up.
        let denied = decide(&self.store.view(account))?;
        denied.map_err(|denial| refused(QUESTION, account, &by, denial))?;
        // Before the commit: a login that is decided after this line finds the key revoked.
        let mut closing = self.gate.close(&self.servers);
        let written = self.store.take_back(&closing, account, move |view| {
            Ok(decide(view)?.map(|revoked| (revoke_edits(&revoked, now), revoked)))
        });
        let revoked = written?.map_err(|denial| refused(QUESTION, account, &by, denial))?;
        let mut keys: Vec<KeyId> = revoked.keys.iter().map(|(key_id, _)| *key_id).collect();
        keys.dedup();
        for key_id in &keys {
            closing.end_sessions(account, key_id);
        }
        // While no login is decided: the log has the order of what happened.
        let names = revoked.names();
        for name in &names {
            done(QUESTION, account, name, &revoked.fingerprint_of(name), &by);
        }
        reply.send_closing(closing, &result(&revoked, &keys));
        self.servers.tell(account, &notices::revoked(&names, &by));
        Ok(())
    }

    pub(in crate::daemon) fn unrevoke(
        &self,
        question: Unrevoke,
        peer: Peer,
    ) -> Answered<Unrevoked> {
        let Unrevoke { account, key_id } = question;
        self.hosts.policy(account.host())?;
        let written = self.store.change(&account, move |view| {
            let mut revoked = view.revoked_keys()?;
            revoked.retain(|(key, _)| key_id.is_none_or(|meant| meant == *key));
            let was_revoked = !revoked.is_empty();
            let lift = |(key_id, incarnation)| Harmless::unrevoke_key(key_id, incarnation);
            let edits = revoked.into_iter().map(lift).collect();
            Ok(Ok::<_, Denial>((edits, was_revoked)))
        });
        let was_revoked = written?.map_err(Refusal::Management)?;
        let by = described(None, peer);
        tracing::info!(%account, key_id = ?key_id, was_revoked, by, "certificate.unrevoke: yes");
        Ok(Unrevoked { was_revoked })
    }

    /// The keys that are revoked, oldest first, and the certificates that were disabled, of every account of the name.
    pub(in crate::daemon) fn marks(&self, question: Marked) -> Answered<AccountMarks> {
        let Marked { account } = question;
        self.hosts.policy(account.host())?;
        let view = self.store.view(&account);
        let mut revoked = view.revocations()?;
        revoked.sort_by_key(|(_, _, at)| *at);
        let disabled = view.disabled()?;
        let beyond = |count: usize| count.saturating_sub(MAX_LISTED_MARKS);
        let left_out = beyond(revoked.len()) + beyond(disabled.len());
        let revoked = revoked.into_iter().take(MAX_LISTED_MARKS);
        let disabled = disabled.into_iter().take(MAX_LISTED_MARKS);
        Ok(AccountMarks {
            revoked: revoked
                .map(|(key_id, _, at)| RevokedKey { key_id, at })
                .collect(),
            disabled: disabled
                .map(|mark| DisabledMark {
                    name: mark.name,
                    fingerprint: mark.fingerprint,
                    key_id: mark.key_id,
                    not_after: mark.not_after,
                })
                .collect(),
            left_out,
        })
    }

    /// How many certificates of a host expire soon.
    pub(in crate::daemon) fn expiring(
        &self,
        question: Expiring,
        now: UnixSeconds,
    ) -> Answered<ExpiringCount> {
        let Expiring { host, days } = question;
        self.hosts.policy(&host)?;
        let mut count: u64 = 0;
        let soon = |held: &Enrolment| manage::expires_within(held, days, now);
        let store = &self.store;
        store.each_present(&host, MAX_LISTED_ROWS, soon, |_| count += 1)?;
        Ok(ExpiringCount { count })
    }

    /// The account that has the name now: whom an administrator means who adds something.
    fn present_incarnation(
        &self,
        lives: Accounts,
        account: &BareJid,
    ) -> Result<Incarnation, Refusal> {
        let missing = Refusal::Management(Denial::AccountMissing);
        match lives {
            Accounts::Daemon => match self.known(account)? {
                Some(known) if known.enabled => Ok(known.incarnation),
                Some(_) => Err(Refusal::Management(Denial::AccountDisabled)),
                None => Err(missing),
            },
            Accounts::Prosody => {
                let made = self.incarnation_in_prosody(account, Unmarked::Mark)?;
                made.ok_or(missing)
            }
        }
    }

    /// Which account of the name a session means: where accounts live here, the one that there is.
    fn incarnation_of(&self, whose: &Whose) -> Result<Option<Incarnation>, Refusal> {
        let (lives, _) = self.hosts.of(whose.account.host())?;
        if lives == Accounts::Prosody || whose.is_by_admin() {
            return Ok(whose.incarnation.clone());
        }
        self.present_incarnation(lives, &whose.account).map(Some)
    }

    /// Removes what expired long ago, and what belongs to accounts that were replaced long ago. Blocks.
    pub fn sweep(&self, now: UnixSeconds) {
        let swept = self.store.accounts().and_then(|accounts| {
            accounts.into_iter().try_for_each(|account| {
                if sweepings(&self.store.view(&account), now)?.is_empty() {
                    return Ok(());
                }
                let removed = self.store.change(&account, move |view| {
                    let edits = sweepings(view, now)?;
                    let count = edits.len();
                    Ok(Ok::<_, Denial>((edits, count)))
                })?;
                tracing::info!(%account, ?removed, "stale certificates removed");
                Ok(())
            })
        });
        if let Err(error) = swept {
            storage::log(&error);
        }
    }
}

fn shown(name: &CertificateName) -> ShownName {
    let name = visible(name.as_str()).into_owned();
    ShownName { name }
}

/// A certificate that is to be added.
pub(super) struct Wanted {
    /// Under which name.
    pub(super) name: String,
    /// Base64.
    pub(super) certificate: String,
    /// May its sessions add and remove certificates?
    pub(super) may_manage: bool,
}

/// What is to be revoked; see [`Which`].
pub(super) enum Gone {
    Named(String),
    WithKey(KeyId),
    AllBut(KeyId),
}

impl Gone {
    fn which(&self) -> Which<'_> {
        match self {
            Self::Named(name) => Which::Named(name),
            Self::WithKey(key_id) => Which::WithKey(*key_id),
            Self::AllBut(key_id) => Which::AllBut(*key_id),
        }
    }
}

/// What of a list matters to a change of one name: the record of that name, and that of the certificate that asks.
fn concerned(view: &View<'_>, name: &str, asker: &Asker) -> Result<AccountList, StoreError> {
    let mut enrolments = Vec::new();
    if let Ok(name) = CertificateName::parse(name) {
        enrolments.extend(view.named(&name)?);
    }
    if let LoggedInBy::Certificate { fingerprint } = &asker.by {
        let own = view.holders(fingerprint)?.into_iter();
        let own = own.filter(|held| held.account == *view.jid());
        let others = own.filter(|held| enrolments.iter().all(|known| known.name != held.name));
        let others: Vec<Enrolment> = others.collect();
        enrolments.extend(others);
    }
    Ok(AccountList {
        enrolments,
        incarnation: view.incarnation()?,
    })
}

/// What of an account is not needed any more.
fn sweepings(view: &View<'_>, now: UnixSeconds) -> Result<Vec<Harmless>, StoreError> {
    let list = view.list()?;
    let present = list.incarnation.as_ref();
    let stale = manage::stale(&list, now).into_iter().cloned();
    let mut edits: Vec<Harmless> = stale.map(Harmless::remove).collect();
    let over = view.disabled()?.into_iter().filter(|mark| {
        manage::is_over(mark.not_after, now) || manage::is_orphan(&mark.incarnation, present, now)
    });
    edits.extend(over.map(Harmless::clear_disabled));
    let revoked = view.revoked_keys()?.into_iter();
    let orphaned = revoked.filter(|(_, of)| manage::is_orphan(of, present, now));
    edits.extend(orphaned.map(|(key_id, incarnation)| Harmless::unrevoke_key(key_id, incarnation)));
    Ok(edits)
}

/// Is the account that lives here still this one?
fn is_still(view: &View<'_>, incarnation: &Incarnation) -> Result<bool, StoreError> {
    let known = view.account()?;
    Ok(known.is_some_and(|known| known.enabled && known.incarnation == *incarnation))
}

/// Who asks, and about which of the accounts of a name.
fn asker(
    session: Option<Session>,
    incarnation: Option<Incarnation>,
    peer: Peer,
) -> Result<(Asker, Scope), Fault> {
    let Some(session) = session else {
        if peer.role != Role::Admin {
            return Err(Fault::WrongParams {
                problem: "missing field `session`".to_owned(),
            });
        }
        let admin = Asker {
            secure: true,
            by: LoggedInBy::Admin,
            jid: None,
        };
        return Ok((admin, Scope::Every));
    };
    let (by, scope) = match (session.by, session.fingerprint) {
        (SessionBy::Password, _) => (LoggedInBy::Password, Scope::Of(incarnation)),
        (SessionBy::Sasl, _) => {
            let mechanism = session.mechanism.as_deref();
            (LoggedInBy::by_mechanism(mechanism), Scope::Of(incarnation))
        }
        // Nothing is weakened by it: a server may claim any session, of anybody, anyway.
        (SessionBy::Admin, _) => (LoggedInBy::Admin, Scope::Every),
        (SessionBy::Certificate, Some(fingerprint)) => (
            LoggedInBy::Certificate { fingerprint },
            Scope::Of(incarnation),
        ),
        (SessionBy::Certificate, None) => {
            return Err(Fault::WrongParams {
                problem: "missing field `session.fingerprint`".to_owned(),
            });
        }
    };
    let asker = Asker {
        secure: session.secure,
        by,
        jid: session.jid,
    };
    Ok((asker, scope))
}

pub(super) fn certificate_in(base64: &str) -> Result<ClientCert, Denial> {
    let unacceptable = |finding| Denial::CertificateUnacceptable { finding };
    // Before it is decoded, and behind that: somebody encodes a whole file, somebody pastes it.
    if let Some(finding) = instead(base64.as_bytes()) {
        return Err(unacceptable(finding));
    }
    if base64.len() > MAX_CERTIFICATE_BASE64_BYTES * 2 {
        return Err(unacceptable(Finding::TooLarge));
    }
    let Certificate(der) = Certificate::from_base64(base64).map_err(|error| match error {
        NotDecoded::TooLong => unacceptable(Finding::TooLarge),
        NotDecoded::NotBase64 => Denial::NotBase64,
    })?;
    if let Some(finding) = instead(&der) {
        return Err(unacceptable(finding));
    }
    ClientCert::from_der(&der).map_err(unacceptable)
}

/// What it is in the place of a certificate, or of its base64, as far as its beginning shows that.
fn instead(bytes: &[u8]) -> Option<Finding> {
    if holds_private_key(bytes) {
        return Some(Finding::PrivateKey);
    }
    let bytes = bytes.trim_ascii_start();
    if let Some(mark) = ByteOrderMark::of(bytes) {
        return Some(Finding::Marked { mark });
    }
    bytes.starts_with(b"-----BEGIN").then_some(Finding::IsPem)
}

pub(super) fn append_edits(
    appended: &manage::Appended,
    list: &AccountList,
    now: UnixSeconds,
) -> Vec<Harmless> {
    let leaving = appended.leaving.iter().cloned();
    let mut edits: Vec<Harmless> = leaving.map(Harmless::remove).collect();
    let held = &appended.enrolment;
    if list.incarnation.as_ref().map(|(known, _)| known) != Some(&held.incarnation) {
        edits.push(Harmless::set_incarnation(held.incarnation.clone(), now));
    }
    edits.push(Harmless::put(held.clone()));
    edits
}

/// Does a certificate that names nobody stand in another account's list?
pub(super) fn is_anothers(
    view: &View<'_>,
    cert: &ClientCert,
    account: &BareJid,
) -> Result<bool, StoreError> {
    if !cert.addresses.is_empty() {
        return Ok(false);
    }
    let holders = view.holders(&cert.fingerprint)?;
    Ok(holders.iter().any(|held| held.account != *account))
}

fn revoke_edits(revoked: &Revoked, now: UnixSeconds) -> Vec<Edit> {
    let removed = revoked
        .removed
        .iter()
        .cloned()
        .map(Box::new)
        .map(Edit::Remove);
    let cleared = revoked.cleared.iter().cloned().map(Box::new);
    let cleared = cleared.map(Edit::ClearDisabled);
    let keys = revoked
        .keys
        .iter()
        .map(|(key_id, incarnation)| Edit::RevokeKey {
            key_id: *key_id,
            incarnation: incarnation.clone(),
            at: now,
        });
    removed.chain(cleared).chain(keys).collect()
}

fn done(
    question: &'static str,
    account: &BareJid,
    name: &CertificateName,
    fingerprint: &Fingerprint,
    by: &str,
) {
    // The name is the user's: quoted, so that it cannot pass for other fields.
    tracing::info!(%account, name = name.as_str(), %fingerprint, by, "{question}: yes");
}

pub(super) fn refused(
    question: &'static str,
    account: &BareJid,
    by: &str,
    denial: Denial,
) -> Refusal {
    tracing::info!(%account, reason = denial.words().code, by, "{question}: no");
    Refusal::Management(denial)
}

/// Who asks, in words for the account's owner and for the log.
fn described(session: Option<&Session>, peer: Peer) -> String {
    let Some(session) = session else {
        return format!("the server's administrator (user {})", peer.uid);
    };
    let by = match session.by {
        SessionBy::Sasl => match LoggedInBy::by_mechanism(session.mechanism.as_deref()) {
            LoggedInBy::Password => "with a password",
            _ => "with a token",
        },
        SessionBy::Password => "with a password",
        SessionBy::Certificate => "with a certificate",
        SessionBy::Admin => return "an administrator of the server".to_owned(),
    };
    let jid = session.jid.as_ref();
    let jid = jid.map_or("a session".to_owned(), ToString::to_string);
    let from = session.address.as_deref().map(|address| {
        let address: String = address.chars().take(64).collect();
        format!(", from {}", visible(&address))
    });
    let jid = visible(&jid);
    format!("{jid} (logged in {by}{})", from.unwrap_or_default())
}

/// Most disabled certificates that are listed: those of one account of the name, and of some before it.
const MAX_LISTED_MARKS: usize = 2 * MAX_MARKS;
/// How many of a host's certificates are looked at for a count. A host of that many does not need an exact one.
const MAX_LISTED_ROWS: usize = 500_000;
