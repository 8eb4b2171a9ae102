//! `certificate.*`: an account's own list.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::super::connection::Role;
use super::super::protocol::{
    Append, Certificate, Fault, List, MAX_CERTIFICATE_BASE64_BYTES, Named, PAGE_BYTES, Refusal,
    Session, SessionBy, Unrevoke, base64_of, fields,
};
use super::{Answer, Answered, Service, closing, storage};
use crate::identity::certificate::Finding;
use crate::identity::{
    AccountList, BareJid, CertificateName, ClientCert, Enrolment, Incarnation, KeyId, UnixSeconds,
};
use crate::policy::manage::{Appending, Asker, LoggedInBy, Scope};
use crate::policy::{Denial, manage};
use crate::store::Edit;

impl Service {
    pub(super) fn list(&self, params: Value, role: Role, now: UnixSeconds) -> Answered {
        let question: List = fields(params)?;
        self.policy(question.account.host())?;
        let (asker, scope) = asker(question.session, question.incarnation, role)?;
        let list = self
            .store
            .account(&question.account)
            .map_err(|error| storage(&error))?;
        let own = manage::list(&asker, &scope, &list).map_err(Refusal::Management)?;
        let mut page = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        for held in own {
            if question.after.is_some_and(|after| held.order <= after) {
                continue;
            }
            if bytes > PAGE_BYTES {
                next = page.last().map(|(order, _)| *order);
                break;
            }
            let row = self.listed(held, now);
            bytes += row.to_string().len();
            page.push((held.order, row));
        }
        let rows: Vec<Value> = page.into_iter().map(|(_, row)| row).collect();
        Ok(json!({"certificates": rows, "next": next}))
    }

    fn listed(&self, held: &Enrolment, now: UnixSeconds) -> Value {
        let key = (held.account.clone(), held.name.clone());
        let uses = self
            .last_uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let unwritten = uses.get(&key).filter(|(with, _)| *with == held.fingerprint);
        let last_use = unwritten
            .map(|(_, last)| last.clone())
            .or_else(|| held.last_use.clone());
        drop(uses);
        json!({
            "name": held.name,
            "certificate": base64_of(&held.der),
            "fingerprint": held.fingerprint,
            "key_id": held.key_id,
            "addresses": held.addresses,
            "not_before": held.not_before,
            "not_after": held.not_after,
            "expired": manage::is_expired(held, now),
            "may_manage": held.may_manage,
            "added": {
                "at": held.added_at,
                "by": if held.added_by.certificate.is_some() { "certificate" } else { "password" },
                "fingerprint": held.added_by.certificate,
                "jid": held.added_by.jid,
            },
            "last_use": last_use,
            "resources": self.sessions.resources(&held.account, &held.fingerprint),
        })
    }

    pub(super) fn append(&self, params: Value, now: UnixSeconds) -> Answered {
        let question: Append = fields(params)?;
        let policy = self.policy(question.account.host())?;
        if self.is_disk_nearly_full.load(Ordering::Relaxed) {
            return Err(Fault::DiskFull.into());
        }
        let session = question.session.clone();
        let (asker, _) = asker(Some(question.session), None, Role::Server)?;
        let account = question.account.clone();
        let decided = certificate_in(&question.certificate).map(|cert| {
            let warnings = manage::warnings(&cert);
            let written = self.store.change(&question.account.clone(), move |list| {
                let wish = Appending {
                    account: &question.account,
                    incarnation: &question.incarnation,
                    asker: &asker,
                    name: &question.name,
                    cert: &cert,
                    may_manage: question.may_manage,
                };
                let appended = manage::append(&wish, list, &policy, now)?;
                Ok((append_edits(&appended, list, now), appended.enrolment))
            });
            (written, warnings)
        });
        let (written, warnings) = match decided {
            Ok((written, warnings)) => (written.map_err(|error| storage(&error))?, warnings),
            Err(denial) => (Err(denial), Vec::new()),
        };
        let held = log_change("certificate.append", &account, Some(&session), written)?;
        self.tell(&account, &format!(
            "The certificate \"{}\" (SHA-256 {}) was added to your account by {}. Whoever holds its key can \
             log in as you. If that was not you: remove it, and change your password.",
            held.name, held.fingerprint, described(Some(&session)),
        ));
        Ok(json!({
            "name": held.name,
            "fingerprint": held.fingerprint,
            "not_after": held.not_after,
            "warnings": warnings,
        }))
    }

    pub(super) fn disable(&self, params: Value, role: Role, now: UnixSeconds) -> Answered {
        let question: Named = fields(params)?;
        let policy = self.policy(question.account.host())?;
        let session = question.session.clone();
        let (asker, scope) = asker(question.session, question.incarnation, role)?;
        let name = question.name;
        let written = self.store.change(&question.account, move |list| {
            let gone = manage::disable(&asker, &scope, &name, list, &policy)?;
            let edits = gone.iter().flat_map(|held| {
                [
                    Edit::Remove(Box::new((*held).clone())),
                    Edit::MarkDisabled {
                        fingerprint: held.fingerprint,
                        incarnation: held.incarnation.clone(),
                        at: now,
                    },
                ]
            });
            // Proof: `disable` answers `NameUnknown` where there is none.
            let first = gone.first().ok_or(Denial::NameUnknown)?;
            Ok((edits.collect(), (*first).clone()))
        });
        let written = written.map_err(|error| storage(&error))?;
        let account = &question.account;
        let held = log_change("certificate.disable", account, session.as_ref(), written)?;
        self.tell(account, &format!(
            "The certificate \"{}\" was removed from your account by {}. It can no longer be used to log in.",
            held.name, described(session.as_ref()),
        ));
        Ok(json!({"name": held.name, "fingerprint": held.fingerprint}))
    }

    pub(super) fn revoke(&self, answer: &Answer, params: Value, role: Role, now: UnixSeconds) {
        // Before the commit: a login that is decided after this line finds the key revoked.
        let guard = self
            .revocations
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match self.revoked(params, role, now) {
            Err(refusal) => answer.send(Err(refusal)),
            Ok((gone, session)) => {
                let mut keys: Vec<KeyId> = gone.iter().map(|held| held.key_id).collect();
                keys.sort();
                keys.dedup();
                let removed: Vec<&CertificateName> = gone.iter().map(|held| &held.name).collect();
                // Proof: `revoke` answers `NameUnknown` where there is none.
                let Some(first) = gone.first() else {
                    return answer.send(Err(Refusal::Management(Denial::NameUnknown)));
                };
                let result = json!({
                    "name": first.name,
                    "fingerprint": first.fingerprint,
                    "key_id": first.key_id,
                    "removed": removed,
                });
                let doomed = keys
                    .into_iter()
                    .map(|key_id| closing(json!({"account": first.account, "key_id": key_id})));
                self.close_and_answer(answer, result, &doomed.collect::<Vec<_>>());
                drop(guard);
                self.tell(&first.account, &format!(
                    "The certificate \"{}\" was revoked by {}. Its key can never be used again for your \
                     account, and its sessions were closed.",
                    first.name, described(session.as_ref()),
                ));
            }
        }
    }

    fn revoked(
        &self,
        params: Value,
        role: Role,
        now: UnixSeconds,
    ) -> Result<(Vec<Enrolment>, Option<Session>), Refusal> {
        let question: Named = fields(params)?;
        let policy = self.policy(question.account.host())?;
        let session = question.session.clone();
        let (asker, scope) = asker(question.session, question.incarnation, role)?;
        let name = question.name;
        let written = self.store.change(&question.account, move |list| {
            let gone = manage::revoke(&asker, &scope, &name, list, &policy)?;
            let edits = gone.iter().flat_map(|held| {
                [
                    Edit::Remove(Box::new((*held).clone())),
                    Edit::RevokeKey {
                        key_id: held.key_id,
                        incarnation: held.incarnation.clone(),
                        at: now,
                    },
                ]
            });
            Ok((
                edits.collect(),
                gone.into_iter().cloned().collect::<Vec<_>>(),
            ))
        });
        let written = written.map_err(|error| storage(&error))?;
        let account = &question.account;
        let first = written
            .as_ref()
            .map(|gone| gone.first().cloned())
            .map_err(|denial| *denial);
        log_change(
            "certificate.revoke",
            account,
            session.as_ref(),
            first.and_then(|held| held.ok_or(Denial::NameUnknown)),
        )?;
        written
            .map(|gone| (gone, session))
            .map_err(Refusal::Management)
    }

    pub(super) fn unrevoke(&self, params: Value) -> Answered {
        let Unrevoke { account, key_id } = fields(params)?;
        let written = self.store.change(&account, move |list| {
            let is_revoked = list.revoked_keys.iter().any(|(key, _)| *key == key_id);
            Ok::<_, Denial>((vec![Edit::UnrevokeKey { key_id }], is_revoked))
        });
        let was_revoked = written
            .map_err(|error| storage(&error))?
            .map_err(Refusal::Management)?;
        tracing::info!(%account, %key_id, was_revoked, "certificate.unrevoke: yes");
        Ok(json!({"was_revoked": was_revoked}))
    }

    /// Removes what expired long ago, and what belongs to accounts that were replaced long ago. Blocks.
    pub fn sweep(&self, now: UnixSeconds) {
        let mut accounts: Vec<BareJid> = Vec::new();
        let seen = self.store.for_each_enrolment(|held| {
            if accounts.last() != Some(&held.account) {
                accounts.push(held.account);
            }
        });
        let swept = seen.and_then(|()| {
            accounts.into_iter().try_for_each(|account| {
                let list = self.store.account(&account)?;
                if manage::stale(&list, now).is_empty() {
                    return Ok(());
                }
                let removed = self.store.change(&account, move |list| {
                    let stale = manage::stale(list, now);
                    let count = stale.len();
                    let edits = stale.into_iter().cloned().map(Box::new).map(Edit::Remove);
                    Ok::<_, Denial>((edits.collect(), count))
                })?;
                tracing::info!(%account, ?removed, "stale certificates removed");
                Ok(())
            })
        });
        if let Err(error) = swept {
            let _ = storage(&error);
        }
    }
}

/// Who asks, and about which of the accounts of a name.
fn asker(
    session: Option<Session>,
    incarnation: Option<Incarnation>,
    role: Role,
) -> Result<(Asker, Scope), Fault> {
    let Some(session) = session else {
        if role != Role::Admin {
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
    let by = match (session.by, session.fingerprint) {
        (SessionBy::Password, _) => LoggedInBy::Password,
        (SessionBy::Certificate, Some(fingerprint)) => LoggedInBy::Certificate { fingerprint },
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
    Ok((asker, Scope::Of(incarnation)))
}

fn certificate_in(base64: &str) -> Result<ClientCert, Denial> {
    let unacceptable = |finding| Denial::CertificateUnacceptable { finding };
    if base64.trim_start().starts_with("-----BEGIN") {
        return Err(unacceptable(Finding::IsPem));
    }
    if base64.len() > MAX_CERTIFICATE_BASE64_BYTES * 2 {
        return Err(unacceptable(Finding::TooLarge));
    }
    let Certificate(der) = Certificate::from_base64(base64).ok_or(Denial::NotBase64)?;
    ClientCert::from_der(&der).map_err(unacceptable)
}

fn append_edits(appended: &manage::Appended, list: &AccountList, now: UnixSeconds) -> Vec<Edit> {
    let leaving = appended.leaving.iter().cloned().map(Box::new);
    let mut edits: Vec<Edit> = leaving.map(Edit::Remove).collect();
    let held = &appended.enrolment;
    if list.incarnation.as_ref().map(|(known, _)| known) != Some(&held.incarnation) {
        edits.push(Edit::SetIncarnation {
            incarnation: held.incarnation.clone(),
            since: now,
        });
    }
    edits.push(Edit::ClearDisabled {
        fingerprint: held.fingerprint,
    });
    edits.push(Edit::Put(Box::new(held.clone())));
    edits
}

fn log_change(
    question: &'static str,
    account: &BareJid,
    session: Option<&Session>,
    written: Result<Enrolment, Denial>,
) -> Result<Enrolment, Refusal> {
    let by = described(session);
    match &written {
        Ok(held) => tracing::info!(
            %account, name = %held.name, fingerprint = %held.fingerprint, by, "{question}: yes"
        ),
        Err(denial) => {
            tracing::info!(%account, reason = denial.words().code, by, "{question}: no");
        }
    }
    written.map_err(Refusal::Management)
}

/// The session, in words for its owner and for the log.
fn described(session: Option<&Session>) -> String {
    let Some(session) = session else {
        return "the server's administrator".to_owned();
    };
    let jid = session
        .jid
        .as_ref()
        .map_or("a session".to_owned(), ToString::to_string);
    let by = match session.by {
        SessionBy::Password => "with a password",
        SessionBy::Certificate => "with a certificate",
    };
    let from = session.address.as_deref().map(|address| {
        let address: String = address.chars().take(64).collect();
        format!(", from {address}")
    });
    format!("{jid} (logged in {by}{})", from.unwrap_or_default())
}
