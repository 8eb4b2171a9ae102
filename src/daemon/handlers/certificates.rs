//! `certificate.*`: shows an account's list, adds to it, and disables in it. [`revocation`](super::revocation) revokes.
//!
//! Must not know: rules (`policy::manage` has them), how the list is stored, XML.

use std::sync::Arc;

use serde_json::json;

use super::super::connection::Peer;
use super::super::disk_room::DiskRoom;
use super::super::hosts::Hosts;
use super::super::last_uses::LastUses;
use super::super::reply::{Answered, Reply};
use super::super::servers::Servers;
use super::super::sessions::Sessions;
use super::edits::{append_edits, concerned, is_anothers, leaving_edits, receiving};
use super::incarnations::{Unmarked, incarnation_in_prosody};
use super::messages::send;
use super::whose::{Whose, asker};
use crate::identity::certificate::Finding;
use crate::identity::private_key::holds_private_key;
use crate::identity::visible::visible;
use crate::identity::{
    AddedBy, BareJid, ByteOrderMark, CertificateName, ClientCert, Disabled, Enrolment, Fingerprint,
    Incarnation, LastUse, UnixSeconds,
};
use crate::policy::manage::{Appending, Asker, MAX_MARKS, Marks, Scope};
use crate::policy::{Denial, manage};
use crate::protocol::{
    AccountMarks, Accounts, Append, AppendedCertificate, Certificate, CertificatePage, Disable,
    DisabledCertificate, DisabledMark, Expiring, ExpiringCounts, List, ListMarks,
    ListedCertificate, ListedMark, MAX_CERTIFICATE_BASE64_BYTES, Misuse, NotDecoded, PAGE_BYTES,
    Refusal, RevokedKey, ShownCertificate, ShownName,
};
use crate::store::{Harmless, Message, Store, StoreError};
use crate::wording::certificates::{self as wording, Added, Row};
use crate::wording::notices;

/// Keeps the lists of certificates.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Certificates<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) servers: &'a Servers,
    pub(in crate::daemon) sessions: &'a Sessions,
    pub(in crate::daemon) last_uses: &'a LastUses,
    pub(in crate::daemon) disk_room: &'a DiskRoom,
}

impl Certificates<'_> {
    pub(in crate::daemon) fn list(
        &self,
        question: List,
        peer: Peer,
        now: UnixSeconds,
    ) -> Answered<CertificatePage> {
        let after = question.after;
        let whose = Whose::new(
            question.account,
            question.incarnation,
            question.session,
            peer,
        );
        let page = self.look_at(&whose, |own, disabled| {
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
                let row = self.list_row(held, now);
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
                        shown: shown_name(&mark.name),
                        fingerprint: mark.fingerprint,
                        key_id: mark.key_id,
                    })
                    .collect(),
                links: Vec::new(),
            }
        })?;
        let links = self.own_links(&whose, now)?;
        Ok(CertificatePage { links, ..page })
    }

    /// Hands `show` the list, in its order, and what was disabled of it, each key once.
    pub(super) fn look_at<T>(
        &self,
        whose: &Whose,
        show: impl FnOnce(&[&Enrolment], &[&Disabled]) -> T,
    ) -> Result<T, Refusal> {
        let account = &whose.account;
        let policy = self.hosts.policy(account.host())?;
        let (asker, scope) = self.asker_of(whose)?;
        let view = self.store.view(account);
        let list = view.list_with_last_uses()?;
        let disabled = view.disabled()?;
        let own = manage::list(&asker, &scope, &list, &policy)
            .map_err(|denial| refused("certificate.list", account, &whose.by(), denial))?;
        Ok(show(&own, &manage::disabled(&scope, &list, &disabled)))
    }

    /// The asker, and the accounts of that name that it asks about.
    pub(super) fn asker_of(&self, whose: &Whose) -> Result<(Asker, Scope), Refusal> {
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

    fn list_row(&self, held: &Enrolment, now: UnixSeconds) -> ListedCertificate {
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
        let whose = Whose::new(
            question.account,
            question.incarnation,
            question.session,
            peer,
        );
        let wish = Wanted {
            name: question.name,
            certificate: question.certificate,
            may_manage: question.may_manage,
        };
        let (held, warnings) = self.add(&whose, wish, now)?;
        Ok(AppendedCertificate {
            shown: shown_name(&held.name),
            name: held.name,
            fingerprint: held.fingerprint,
            not_after: held.not_after,
            warnings: warnings.into_iter().map(str::to_owned).collect(),
        })
    }

    /// Adds a certificate and tells the account: the new record, and what its user should know.
    pub(super) fn add(
        &self,
        whose: &Whose,
        wish: Wanted,
        now: UnixSeconds,
    ) -> Result<(Enrolment, Vec<&'static str>), Refusal> {
        const QUESTION: &str = "certificate.append";
        let account = &whose.account;
        let (lives, policy) = self.hosts.of(account.host())?;
        self.disk_room.require()?;
        let (asker, incarnation) = self.asker_for_one(whose, lives)?;
        let by = whose.by();
        let denied = |denial| refused(QUESTION, account, &by, denial);
        let cert = Arc::new(certificate_in(&wish.certificate).map_err(denied)?);
        let warnings = wording::cautions(&cert);
        let to = account.clone();
        let subject = receiving(account, [&*cert]);
        let written = self.store.change(subject, move |view| {
            if lives == Accounts::Daemon
                && let Err(denial) = manage::require_present(view.account()?.as_ref(), &incarnation)
            {
                return Ok(Err(denial));
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
            Ok(match manage::append(&wish, &list, &marks, &policy, now) {
                Ok(appended) => Ok((
                    append_edits(&appended, &list, view, now)?,
                    appended.enrolment,
                )),
                Err(denial) => Err(denial),
            })
        });
        let held = written?.map_err(denied)?;
        done(QUESTION, account, &held.name, &held.fingerprint, &by);
        let text = notices::added(&held.name, &held.fingerprint, &by);
        self.tell(account, vec![held.incarnation.clone()], text, now);
        Ok((held, warnings))
    }

    pub(in crate::daemon) fn disable(
        &self,
        question: Disable,
        peer: Peer,
        now: UnixSeconds,
    ) -> Answered<DisabledCertificate> {
        let whose = Whose::new(
            question.account,
            question.incarnation,
            question.session,
            peer,
        );
        let held = self.take_out(&whose, question.name, now)?;
        Ok(DisabledCertificate {
            shown: shown_name(&held.name),
            name: held.name,
            fingerprint: held.fingerprint,
        })
    }

    /// Takes a certificate out of the list and tells the account: the first record that left.
    pub(super) fn take_out(
        &self,
        whose: &Whose,
        name: String,
        now: UnixSeconds,
    ) -> Result<Enrolment, Refusal> {
        const QUESTION: &str = "certificate.disable";
        let account = &whose.account;
        let policy = self.hosts.policy(account.host())?;
        let (asker, scope) = self.asker_of(whose)?;
        let by = whose.by();
        let written = self.store.change(account, move |view| {
            let list = concerned(view, &name, &asker)?;
            let gone = match manage::disable(&asker, &scope, &name, &list, &policy) {
                Ok(gone) => gone,
                Err(denial) => return Ok(Err(denial)),
            };
            // Proof: `disable` answers `NameUnknown` where there is none.
            let Some(first) = gone.first() else {
                return Ok(Err(Denial::NameUnknown));
            };
            let mark = |held: &&Enrolment| {
                Harmless::mark_disabled(Disabled {
                    incarnation: held.incarnation.clone(),
                    name: held.name.clone(),
                    fingerprint: held.fingerprint,
                    key_id: held.key_id,
                    not_after: held.not_after,
                })
            };
            let leaving = gone.iter().copied().cloned().collect();
            let mut edits = leaving_edits(view, leaving)?;
            edits.extend(gone.iter().map(mark));
            Ok(Ok((edits, (*first).clone())))
        });
        let held = written?.map_err(|denial| refused(QUESTION, account, &by, denial))?;
        done(QUESTION, account, &held.name, &held.fingerprint, &by);
        let text = notices::disabled(&held.name, &by);
        self.tell(account, vec![held.incarnation.clone()], text, now);
        Ok(held)
    }

    /// Sends a message to the account of the name that is one of `to`. Blocks where another daemon has to do it.
    pub(super) fn tell(
        &self,
        account: &BareJid,
        to: Vec<Incarnation>,
        text: String,
        written: UnixSeconds,
    ) {
        let message = Message {
            account: account.clone(),
            to,
            text,
            written,
        };
        send(self.servers, self.store, message);
    }

    /// The keys that are revoked, oldest first, and the certificates that were disabled, of every account of the name.
    pub(in crate::daemon) fn marks(&self, question: ListMarks) -> Answered<AccountMarks> {
        let ListMarks { account } = question;
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

    /// How many certificates expire soon, on each host of this connection that is ready.
    pub(in crate::daemon) fn expiring(
        &self,
        reply: &Reply<Expiring>,
        question: &Expiring,
        now: UnixSeconds,
    ) -> Answered<ExpiringCounts> {
        let when = manage::coming_days(question.days, now);
        let hello = reply.connection().introduction();
        let declared = hello.into_iter().flat_map(|hello| hello.hosts);
        let counts = declared
            .filter(|host| self.hosts.policy(host).is_ok())
            .map(|host| {
                let mut count: u64 = 0;
                for held in self.store.expiring(&host, &when).take(MAX_LISTED_ROWS) {
                    count += u64::from(manage::expires_within(&held?, question.days, now));
                }
                Ok((host, count))
            });
        let counts: Result<_, StoreError> = counts.collect();
        Ok(ExpiringCounts { counts: counts? })
    }

    /// The asker, and the one account of the name whose list is to grow.
    pub(super) fn asker_for_one(
        &self,
        whose: &Whose,
        lives: Accounts,
    ) -> Result<(Asker, Incarnation), Refusal> {
        let own = whose.incarnation.clone();
        let (asker, scope) = asker(whose.session.clone(), own.clone(), whose.peer)?;
        let incarnation = match scope {
            Scope::Every if own.is_none() => self.present_incarnation(lives, &whose.account)?,
            _ => self.incarnation_of(whose)?.ok_or(Misuse::NoIncarnation)?,
        };
        Ok((asker, incarnation))
    }

    /// The account that has the name now: whom an administrator means who adds something.
    fn present_incarnation(
        &self,
        lives: Accounts,
        account: &BareJid,
    ) -> Result<Incarnation, Refusal> {
        match lives {
            Accounts::Daemon => {
                let known = self.store.view(account).account()?;
                let present = manage::present(known.as_ref());
                present.cloned().map_err(Refusal::Management)
            }
            Accounts::Prosody => {
                let made = incarnation_in_prosody(self.servers, account, Unmarked::Mark)?;
                made.ok_or(Refusal::Management(Denial::AccountMissing))
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
}

fn shown_name(name: &CertificateName) -> ShownName {
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

/// The finding about bytes that stand in the place of a certificate or of its base64, as far as their beginning shows it.
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

pub(super) fn done(
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

/// Most disabled certificates that are listed: those of one account of the name, and of some before it.
const MAX_LISTED_MARKS: usize = 2 * MAX_MARKS;
/// How many of a host's certificates are looked at for a count. A host of that many does not need an exact one.
const MAX_LISTED_ROWS: usize = 500_000;
