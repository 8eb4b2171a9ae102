//! `account.import`: an account of another system, with its certificates.
//!
//! What is decided without `apply` is what would be done with it; only the writing is left out.

use serde_json::{Value, json};

use super::accounts::{new_incarnation, new_verifiers};
use super::certificates::{append_edits, certificate_in, is_anothers};
use super::incarnations::Unmarked;
use super::{Answered, Service, storage};
use crate::identity::password::VerifierError;
use crate::identity::{
    Account, AccountList, BareJid, ClientCert, Incarnation, ScramHash, ScramVerifier, Secret,
    UnixSeconds,
};
use crate::policy::manage::{Appending, Asker, LoggedInBy, MAX_MARKS, Marks};
use crate::policy::{Denial, HostPolicy, manage};
use crate::protocol::{Accounts, ImportAccount, ImportLogin, Refusal};
use crate::store::{Edit, StoreError, View};

/// What becomes of one thing that is brought.
enum Verdict {
    Taken,
    Unchanged,
    Kept,
    Refused { reason: &'static str, text: String },
}

impl Verdict {
    fn refused(denial: Denial) -> Self {
        let words = denial.words();
        Self::Refused {
            reason: words.code,
            text: words.stanza_text,
        }
    }

    /// Instead of what a password must be: there is none.
    fn unusable(error: VerifierError) -> Self {
        Self::Refused {
            reason: Denial::PasswordUnacceptable.words().code,
            text: format!("SCRAM can't use what is kept of its password: {error}"),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
            Self::Refused { .. } => "refused",
        }
    }

    fn why(&self) -> (Option<&'static str>, Option<&str>) {
        match self {
            Self::Refused { reason, text } => (Some(reason), Some(text)),
            Self::Taken | Self::Unchanged | Self::Kept => (None, None),
        }
    }

    fn of_account(&self) -> Value {
        let (reason, text) = self.why();
        json!({"verdict": self.name(), "reason": reason, "text": text})
    }

    fn of_certificate(&self, name: &str) -> Value {
        let (reason, text) = self.why();
        json!({"name": name, "verdict": self.name(), "reason": reason, "text": text})
    }
}

/// What an account brings, checked and derived.
struct Brought {
    enabled: bool,
    created: UnixSeconds,
    password_changed: UnixSeconds,
    verifiers: Vec<ScramVerifier>,
    secret: Option<Secret>,
}

impl Service {
    /// Runs in its turn of the derivations, if it brings a password.
    pub(in crate::daemon) fn import_account(
        &self,
        question: ImportAccount,
        now: UnixSeconds,
    ) -> Answered {
        let (lives, policy) = self.hosts.of(question.account.host())?;
        self.disk_room.require()?;
        let account = question.account;
        let brought = match question.login {
            None => None,
            Some(login) => match brought(login, &policy, now) {
                Ok(brought) => Some(brought),
                Err(Unusable::Denied(denial)) => {
                    let why = Verdict::refused(denial);
                    return Ok(refused_whole(&why, &question.certificates));
                }
                Err(Unusable::Verifier(error)) => {
                    let why = Verdict::unusable(error);
                    return Ok(refused_whole(&why, &question.certificates));
                }
                Err(Unusable::Store(error)) => return Err(storage(&error)),
            },
        };
        let fresh = new_incarnation().map_err(|error| storage(&error))?;
        let known = self.known(&account)?;
        // Here, and not in the writer thread: trying a password takes its time.
        let same = match (&brought, &known) {
            (Some(brought), Some(known)) if brought.is_that_of(known) => {
                Some(known.verifiers.clone())
            }
            _ => None,
        };
        let told = match (&brought, lives, known) {
            // Only Prosody knows whether it exists, and which one of its name it is.
            (None, Accounts::Prosody, None) if !question.certificates.is_empty() => {
                let unmarked = if question.apply {
                    Unmarked::Mark
                } else {
                    Unmarked::Pretend(&fresh)
                };
                self.incarnation_in_prosody(&account, unmarked)?
            }
            _ => question.incarnation,
        };
        let certificates: Vec<(String, String, bool)> = question
            .certificates
            .into_iter()
            .map(|brought| (brought.name, brought.certificate, brought.may_manage))
            .collect();
        let (apply, jid) = (question.apply, account.clone());
        let written = self.change_account(&account, move |view| {
            let wish = Wish {
                account: &jid,
                brought: brought.as_ref(),
                same,
                told,
                fresh,
                in_prosody: lives == Accounts::Prosody,
                certificates: &certificates,
            };
            let (edits, result) = wish.decide(view, &policy, now)?;
            let edits = if apply { edits } else { Vec::new() };
            Ok(Ok::<_, Denial>((edits, result)))
        });
        let result = written
            .map_err(|error| storage(&error))?
            .map_err(Refusal::Management)?;
        if apply {
            let verdict = result.pointer("/account/verdict").and_then(Value::as_str);
            tracing::info!(%account, verdict, "account.import: yes");
        }
        Ok(result)
    }
}

/// One account that is brought, in the writer thread.
struct Wish<'a> {
    account: &'a BareJid,
    brought: Option<&'a Brought>,
    /// Verifiers of the account that is here already, if they are of the same password.
    same: Option<Vec<ScramVerifier>>,
    /// The incarnation that it had where it comes from, or has in Prosody.
    told: Option<Incarnation>,
    /// One that nobody has.
    fresh: Incarnation,
    in_prosody: bool,
    certificates: &'a [(String, String, bool)],
}

impl Wish<'_> {
    fn decide(
        self,
        view: &View<'_>,
        policy: &HostPolicy,
        now: UnixSeconds,
    ) -> Result<(Vec<Edit>, Value), StoreError> {
        let known = view.account()?;
        let mut edits = Vec::new();
        let (verdict, incarnation) = match (known, self.brought) {
            (Some(known), None) => (Verdict::Unchanged, Some(known.incarnation)),
            (Some(known), Some(_)) => {
                let verdict = if self.same.as_ref() == Some(&known.verifiers) {
                    Verdict::Unchanged
                } else {
                    Verdict::Kept
                };
                (verdict, Some(known.incarnation))
            }
            (None, Some(brought)) => {
                let incarnation = self.told.unwrap_or(self.fresh);
                edits.push(Edit::PutAccount(Box::new(Account {
                    jid: self.account.clone(),
                    incarnation: incarnation.clone(),
                    enabled: brought.enabled,
                    created: brought.created,
                    password_changed: brought.password_changed,
                    verifiers: brought.verifiers.clone(),
                })));
                (Verdict::Taken, Some(incarnation))
            }
            (None, None) if self.in_prosody && self.told.is_some() => {
                (Verdict::Unchanged, self.told)
            }
            (None, None) => (Verdict::refused(Denial::AccountMissing), None),
        };
        let mut list = view.list()?;
        let mut rows = Vec::new();
        for (name, certificate, may_manage) in self.certificates {
            let of_one = match &incarnation {
                None => Verdict::refused(Denial::AccountMissing),
                Some(incarnation)
                    if matches!(verdict, Verdict::Kept)
                        && !is_there(&list, incarnation, name, certificate) =>
                {
                    Verdict::Refused {
                        reason: "account-kept",
                        text: "The account that is here has another password; it may be somebody else's"
                            .to_owned(),
                    }
                }
                Some(incarnation) => {
                    let mut one = OneCertificate {
                        account: self.account,
                        incarnation,
                        view,
                        policy,
                        list: &mut list,
                        edits: &mut edits,
                        now,
                    };
                    one.decide(name, certificate, *may_manage)?
                }
            };
            rows.push(of_one.of_certificate(name));
        }
        Ok((
            edits,
            json!({"account": verdict.of_account(), "certificates": rows}),
        ))
    }
}

struct OneCertificate<'a, 'v> {
    account: &'a BareJid,
    incarnation: &'a Incarnation,
    view: &'a View<'v>,
    policy: &'a HostPolicy,
    /// As it is after those before.
    list: &'a mut AccountList,
    edits: &'a mut Vec<Edit>,
    now: UnixSeconds,
}

impl OneCertificate<'_, '_> {
    fn decide(
        &mut self,
        name: &str,
        certificate: &str,
        may_manage: bool,
    ) -> Result<Verdict, StoreError> {
        let cert = match certificate_in(certificate) {
            Ok(cert) => cert,
            Err(denial) => return Ok(Verdict::refused(denial)),
        };
        if is_held(self.list, self.incarnation, name, &cert) {
            return Ok(Verdict::Unchanged);
        }
        // It was moved in once, and its owner has taken it out since.
        if self.view.is_disabled(&cert.fingerprint)? {
            return Ok(Verdict::refused(Denial::CertificateDisabled));
        }
        let marks = Marks {
            revoked_for: self.view.revoked_for(&cert.key_id)?,
            are_too_many: self.view.has_more_marks_than(MAX_MARKS, self.incarnation)?,
            is_anothers: is_anothers(self.view, &cert, self.account)?,
        };
        let admin = Asker {
            secure: true,
            by: LoggedInBy::Admin,
            jid: None,
        };
        let wish = Appending {
            account: self.account,
            incarnation: self.incarnation,
            asker: &admin,
            name,
            cert: &cert,
            may_manage,
        };
        let appended = match manage::append(&wish, self.list, &marks, self.policy, self.now) {
            Ok(appended) => appended,
            Err(denial) => return Ok(Verdict::refused(denial)),
        };
        self.edits
            .extend(append_edits(&appended, self.list, self.now));
        self.list
            .enrolments
            .retain(|held| !appended.leaving.contains(held));
        self.list.enrolments.push(appended.enrolment);
        self.list.incarnation = Some((self.incarnation.clone(), self.now));
        Ok(Verdict::Taken)
    }
}

/// Does the certificate stand in the list already, under this name?
fn is_held(list: &AccountList, incarnation: &Incarnation, name: &str, cert: &ClientCert) -> bool {
    list.enrolments.iter().any(|held| {
        held.incarnation == *incarnation && held.name.as_str() == name.trim() && held.holds(cert)
    })
}

fn is_there(list: &AccountList, incarnation: &Incarnation, name: &str, certificate: &str) -> bool {
    certificate_in(certificate).is_ok_and(|cert| is_held(list, incarnation, name, &cert))
}

impl Brought {
    /// Has `known` the same password, as far as can be seen?
    fn is_that_of(&self, known: &Account) -> bool {
        match &self.secret {
            Some(secret) => known
                .strongest()
                .is_some_and(|verifier| verifier.admits(secret)),
            None => self.verifiers.iter().all(|brought| {
                known
                    .verifier(brought.hash())
                    .is_some_and(|own| own.has_stored_key(brought.stored_key()))
            }),
        }
    }
}

enum Unusable {
    Denied(Denial),
    Verifier(VerifierError),
    Store(StoreError),
}

fn brought(login: ImportLogin, policy: &HostPolicy, now: UnixSeconds) -> Result<Brought, Unusable> {
    let unacceptable = Unusable::Denied(Denial::PasswordUnacceptable);
    let (verifiers, secret) = if let Some(password) = login.password {
        let Ok(secret) = Secret::prepare(&password.0) else {
            return Err(unacceptable);
        };
        let made = new_verifiers(&ScramHash::ALL, &secret, policy.scram_iterations);
        (made.map_err(Unusable::Store)?, Some(secret))
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
        let verifiers = parts.collect::<Result<Vec<_>, _>>();
        let mut verifiers = verifiers.map_err(Unusable::Verifier)?;
        verifiers.sort_by_key(ScramVerifier::hash);
        verifiers.dedup_by_key(|verifier| verifier.hash());
        (verifiers, None)
    };
    if verifiers.is_empty() {
        return Err(unacceptable);
    }
    Ok(Brought {
        enabled: login.enabled,
        created: login.created.unwrap_or(now),
        password_changed: login.password_changed.or(login.created).unwrap_or(now),
        verifiers,
        secret,
    })
}

/// The answer for an account whose login cannot be taken, and with it none of its certificates.
fn refused_whole(why: &Verdict, certificates: &[crate::protocol::ImportCertificate]) -> Value {
    let missing = Verdict::refused(Denial::AccountMissing);
    let rows: Vec<Value> = certificates
        .iter()
        .map(|brought| missing.of_certificate(&brought.name))
        .collect();
    json!({"account": why.of_account(), "certificates": rows})
}
