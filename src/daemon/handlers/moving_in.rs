//! `account.import`: an account of another system, with its certificates.
//!
//! Without `apply` it decides the same, and leaves only the writing out.
//!
//! Must not know: the rules by which an account may move in (`policy::moving_in` has them), which system it comes from.

use std::sync::Arc;

use super::super::disk_room::DiskRoom;
use super::super::hosts::Hosts;
use super::super::reply::Answered;
use super::super::servers::Servers;
use super::certificates::certificate_in;
use super::edits::{append_edits, is_anothers, receiving};
use super::fresh::{new_incarnation, new_verifiers};
use super::incarnations::{Unmarked, incarnation_in_prosody};
use crate::identity::{
    Account, AccountList, BareJid, ClientCert, Incarnation, ScramHash, ScramVerifier, Secret,
    UnixSeconds,
};
use crate::policy::manage::{Appended, MAX_MARKS, Marks};
use crate::policy::moving_in::{
    self, AccountFacts, AccountFate, ArrivingCertificate, ArrivingLogin,
};
use crate::policy::{Denial, HostPolicy};
use crate::protocol::{
    Accounts, ImportAccount, ImportCertificate, ImportFate, ImportLogin, ImportVerdict,
    ImportedAccount, ImportedCertificate, Refusal,
};
use crate::store::{Harmless, Store, StoreError, View};

/// Takes accounts of other systems in.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct MovingIn<'a> {
    pub(in crate::daemon) store: &'a Store,
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) servers: &'a Servers,
    pub(in crate::daemon) disk_room: &'a DiskRoom,
}

impl MovingIn<'_> {
    /// Runs in its turn of the derivations, if it brings a password.
    pub(in crate::daemon) fn import_account(
        &self,
        question: ImportAccount,
        now: UnixSeconds,
    ) -> Answered<ImportedAccount> {
        let (lives, policy) = self.hosts.of(question.account.host())?;
        self.disk_room.require()?;
        let account = question.account;
        let certificates = question.certificates.into_iter().map(Certificate::from);
        let certificates: Vec<Certificate> = certificates.collect();
        let login = match question.login {
            None => None,
            Some(login) => match arriving_login(login, &policy, now)? {
                Ok(login) => Some(login),
                Err(denial) => return Ok(refused_whole(denial, &certificates)),
            },
        };
        let fresh = new_incarnation()?;
        let present = self.store.view(&account).account()?;
        // Here, and not in the writer thread: trying a password takes its time.
        let same = match (&login, &present) {
            (Some(login), Some(present)) if login.is_that_of(present) => {
                Some(present.verifiers.clone())
            }
            _ => None,
        };
        let own = match (&login, lives, present) {
            // Only Prosody knows whether it exists, and which one of its name it is.
            (None, Accounts::Prosody, None) if !certificates.is_empty() => {
                let unmarked = if question.apply {
                    Unmarked::Mark
                } else {
                    Unmarked::Pretend(&fresh)
                };
                incarnation_in_prosody(self.servers, &account, unmarked)?
            }
            _ => question.incarnation,
        };
        let apply = question.apply;
        let arrival = Arrival {
            account: account.clone(),
            login,
            same,
            own,
            fresh,
            in_prosody: lives == Accounts::Prosody,
            certificates,
        };
        let certs = arrival.certificates.iter();
        let certs = certs.filter_map(|brought| brought.cert.as_deref().ok());
        let subject = receiving(&account, certs);
        let written = self.store.change(subject, move |view| {
            let (edits, result) = arrival.decide(view, &policy, now)?;
            let edits = if apply { edits } else { Vec::new() };
            Ok(Ok::<_, Denial>((edits, result)))
        });
        let result = written?.map_err(Refusal::Management)?;
        if apply {
            let verdict = result.account.verdict.name();
            tracing::info!(%account, verdict, "account.import: yes");
        }
        Ok(result)
    }
}

/// One certificate that is brought.
struct Certificate {
    name: String,
    cert: Result<Arc<ClientCert>, Denial>,
    may_manage: bool,
}

impl From<ImportCertificate> for Certificate {
    fn from(import: ImportCertificate) -> Self {
        Self {
            cert: certificate_in(&import.certificate).map(Arc::new),
            name: import.name,
            may_manage: import.may_manage,
        }
    }
}

/// An account that arrives, as far as it is known outside of the writer thread.
struct Arrival {
    account: BareJid,
    login: Option<ArrivingLogin>,
    /// Verifiers of the account that is here already, if they are of the same password.
    same: Option<Vec<ScramVerifier>>,
    /// The incarnation that it had where it comes from, or has in Prosody.
    own: Option<Incarnation>,
    /// One that nobody has.
    fresh: Incarnation,
    in_prosody: bool,
    certificates: Vec<Certificate>,
}

impl Arrival {
    /// The edits that are written, and the answer.
    fn decide(
        self,
        view: &View<'_>,
        policy: &HostPolicy,
        now: UnixSeconds,
    ) -> Result<(Vec<Harmless>, ImportedAccount), StoreError> {
        let decided = moving_in::account(&AccountFacts {
            present: view.account()?.as_ref(),
            login: self.login.as_ref(),
            same: self.same.as_deref(),
            own: self.own.as_ref(),
            fresh: &self.fresh,
            in_prosody: self.in_prosody,
        });
        let (fate, incarnation) = match decided {
            Ok(decided) => decided,
            Err(denial) => return Ok((Vec::new(), refused_whole(denial, &self.certificates))),
        };
        let mut edits = Vec::new();
        if let (AccountFate::Taken, Some(login)) = (fate, self.login) {
            let account = Account {
                jid: self.account.clone(),
                incarnation: incarnation.clone(),
                enabled: login.enabled,
                created: login.created,
                password_changed: login.password_changed,
                verifiers: login.verifiers,
            };
            let put = Harmless::put_account(view, account)?;
            // Taken is only who is not here, or has the same password.
            edits.push(put.ok_or(StoreError::Failed)?);
        }
        let mut list = view.list()?;
        let mut rows = Vec::new();
        for one in &self.certificates {
            let (is_disabled, marks) = match &one.cert {
                Ok(cert) => (
                    view.is_disabled(&cert.fingerprint)?,
                    marks(view, cert, &self.account, &incarnation)?,
                ),
                Err(_) => (false, Marks::default()),
            };
            let facts = ArrivingCertificate {
                account: &self.account,
                incarnation: &incarnation,
                fate,
                name: &one.name,
                cert: one.cert.as_ref().map_err(|denial| *denial),
                may_manage: one.may_manage,
                is_disabled,
                marks: &marks,
            };
            let moved = moving_in::certificate(&facts, &list, policy, now);
            if let Ok(Some(appended)) = &moved {
                edits.extend(append_edits(appended, &list, view, now)?);
                put_into(&mut list, appended, now);
            }
            let verdict = moved.map(|appended| match appended {
                Some(_) => ImportFate::Taken,
                None => ImportFate::Unchanged,
            });
            rows.push(row_of(&one.name, verdict));
        }
        let verdict = Ok(match fate {
            AccountFate::Taken => ImportFate::Taken,
            AccountFate::Unchanged => ImportFate::Unchanged,
            AccountFate::Kept => ImportFate::Kept,
        });
        let answer = ImportedAccount {
            account: in_words(verdict),
            certificates: rows,
        };
        Ok((edits, answer))
    }
}

fn marks(
    view: &View<'_>,
    cert: &ClientCert,
    account: &BareJid,
    incarnation: &Incarnation,
) -> Result<Marks, StoreError> {
    Ok(Marks {
        revoked_for: view.revoked_for(&cert.key_id)?,
        are_too_many: view.has_more_marks_than(MAX_MARKS, incarnation)?,
        is_anothers: is_anothers(view, cert, account)?,
    })
}

/// The list is what it is for the certificates behind this one.
fn put_into(list: &mut AccountList, appended: &Appended, now: UnixSeconds) {
    let new = &appended.enrolment;
    list.enrolments
        .retain(|one| !appended.leaving.contains(one));
    list.enrolments.push(new.clone());
    list.incarnation = Some((new.incarnation.clone(), now));
}

/// The login that is brought, checked and derived; or why nobody could log in with it.
fn arriving_login(
    login: ImportLogin,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Result<ArrivingLogin, Denial>, StoreError> {
    let (verifiers, secret) = if let Some(password) = login.password {
        let Ok(secret) = Secret::prepare(&password.0) else {
            return Ok(Err(Denial::PasswordUnacceptable));
        };
        let made = new_verifiers(&ScramHash::ALL, &secret, policy.scram_iterations)?;
        (made, Some(secret))
    } else {
        let parts = login.scram.into_iter().map(|part| {
            ScramVerifier::from_parts(
                part.hash,
                part.salt,
                part.iterations,
                part.stored_key,
                part.server_key,
            )
        });
        let mut verifiers = match parts.collect::<Result<Vec<_>, _>>() {
            Ok(verifiers) => verifiers,
            Err(error) => return Ok(Err(Denial::PasswordUnusable { error })),
        };
        verifiers.sort_by_key(ScramVerifier::hash);
        verifiers.dedup_by_key(|verifier| verifier.hash());
        (verifiers, None)
    };
    if verifiers.is_empty() {
        return Ok(Err(Denial::PasswordUnacceptable));
    }
    Ok(Ok(ArrivingLogin {
        enabled: login.enabled,
        created: login.created.unwrap_or(now),
        password_changed: login.password_changed.or(login.created).unwrap_or(now),
        verifiers,
        secret,
    }))
}

/// The answer for an account that cannot be taken, and with it none of its certificates.
fn refused_whole(why: Denial, certificates: &[Certificate]) -> ImportedAccount {
    let row = |one: &Certificate| row_of(&one.name, Err(Denial::AccountMissing));
    ImportedAccount {
        account: in_words(Err(why)),
        certificates: certificates.iter().map(row).collect(),
    }
}

fn row_of(name: &str, verdict: Result<ImportFate, Denial>) -> ImportedCertificate {
    ImportedCertificate {
        name: name.to_owned(),
        verdict: in_words(verdict),
    }
}

fn in_words(verdict: Result<ImportFate, Denial>) -> ImportVerdict {
    match verdict {
        Ok(verdict) => ImportVerdict {
            verdict,
            reason: None,
            text: None,
        },
        Err(denial) => {
            let words = denial.words();
            ImportVerdict {
                verdict: ImportFate::Refused,
                reason: Some(words.code.to_owned()),
                text: Some(words.stanza_text),
            }
        }
    }
}
