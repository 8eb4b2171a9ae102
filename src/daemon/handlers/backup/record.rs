//! The form of a backup: each thing that is remembered as a record that a later version can read.
//!
//! Must not know: what becomes of a record here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::super::declared_host::DeclaredHost;
use crate::identity::{
    Account, AddedBy, BareJid, CertificateName, ClientCert, Disabled, Enrolment, Fingerprint, Host,
    Incarnation, Jid, KeyId, LastUse, ScramHash, ScramVerifier, UnixSeconds,
};
use crate::policy::restore::Conflict;
use crate::protocol::{Accounts, BackupRecord, in_base64};
use crate::store::Edit;

/// One thing that is remembered. Its JSON is the form of the backup; a new field needs a default.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Record {
    Secret {
        #[serde(with = "in_base64")]
        secret: Vec<u8>,
    },
    Host {
        host: Host,
        accounts: Accounts,
        options: Map<String, Value>,
    },
    Account(AccountRecord),
    Certificate(CertificateRecord),
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
    /// A record that could not be read when the backup was made.
    Unreadable {
        account: BareJid,
        problem: String,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct AccountRecord {
    account: BareJid,
    incarnation: Incarnation,
    enabled: bool,
    created: UnixSeconds,
    password_changed: UnixSeconds,
    scram: Vec<Verifier>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CertificateRecord {
    account: BareJid,
    incarnation: Incarnation,
    name: CertificateName,
    #[serde(with = "in_base64")]
    certificate: Vec<u8>,
    may_manage: bool,
    order: u64,
    #[serde(flatten)]
    addition: AdditionRecord,
    last_use: Option<LastUse>,
}

/// When a certificate was added, and by whom.
#[derive(Serialize, Deserialize)]
struct AdditionRecord {
    #[serde(rename = "added_at")]
    at: UnixSeconds,
    #[serde(rename = "added_with")]
    with: Option<Fingerprint>,
    #[serde(rename = "added_by")]
    by: Option<Jid>,
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

/// The content of a record, in the types of this version.
pub(super) enum Content {
    Secret([u8; 32]),
    Host(Host, DeclaredHost),
    OfAccount(BareJid, Thing),
}

/// The content of a record about an account.
pub(super) enum Thing {
    Account(Account),
    Certificate {
        held: Box<Enrolment>,
        cert: Arc<ClientCert>,
    },
    RevokedKey {
        key_id: KeyId,
        incarnation: Incarnation,
        at: UnixSeconds,
    },
    Disabled(Disabled),
    Incarnation {
        incarnation: Incarnation,
        since: UnixSeconds,
    },
}

impl Thing {
    /// The key that it revokes, if it does.
    pub(super) fn revoked(&self) -> Option<&KeyId> {
        match self {
            Self::RevokedKey { key_id, .. } => Some(key_id),
            _ => None,
        }
    }
}

impl Record {
    /// As it stands in the backup.
    pub(super) fn to_backup(&self) -> BackupRecord {
        // Proof: text keys and values that JSON has.
        #[allow(clippy::expect_used)]
        BackupRecord::of(self).expect("a record is JSON")
    }

    /// The record of what `edit` writes; none for one that takes away, and for a link: one that was redeemed must not come back.
    pub(super) fn of(account: &BareJid, edit: Edit) -> Option<Self> {
        let account = account.clone();
        Some(match edit {
            Edit::PutAccount(known) => Self::Account((*known).into()),
            Edit::Put { held, .. } => Self::Certificate((*held).into()),
            Edit::MarkDisabled(mark) => Self::Disabled {
                account,
                incarnation: mark.incarnation,
                name: mark.name,
                fingerprint: mark.fingerprint,
                key_id: mark.key_id,
                not_after: mark.not_after,
            },
            Edit::SetIncarnation { incarnation, since } => Self::Incarnation {
                account,
                incarnation,
                since,
            },
            Edit::RevokeKey {
                key_id,
                incarnation,
                at,
            } => Self::RevokedKey {
                account,
                incarnation,
                key_id,
                at,
            },
            Edit::Remove(_)
            | Edit::UnrevokeKey { .. }
            | Edit::ClearDisabled(_)
            | Edit::ForgetIncarnation
            | Edit::RemoveAccount
            | Edit::PutLink(_)
            | Edit::RemoveLink(_) => return None,
        })
    }

    /// The content of the record.
    ///
    /// Errors: this version can't make anything of it.
    pub(super) fn content(self) -> Result<Content, Conflict> {
        let (account, thing) = match self {
            Self::Secret { secret } => {
                let secret = secret.try_into().map_err(|_| Conflict::SecretMalformed)?;
                return Ok(Content::Secret(secret));
            }
            Self::Host {
                host,
                accounts,
                options,
            } => return Ok(Content::Host(host, DeclaredHost::new(accounts, options))),
            Self::Unreadable { .. } => return Err(Conflict::UnreadableThen),
            Self::Account(record) => (record.account.clone(), Thing::Account(record.try_into()?)),
            Self::Certificate(record) => {
                let account = record.account.clone();
                let (held, cert) = record.enrolment()?;
                let (held, cert) = (Box::new(held), Arc::new(cert));
                (account, Thing::Certificate { held, cert })
            }
            Self::RevokedKey {
                account,
                incarnation,
                key_id,
                at,
            } => (
                account,
                Thing::RevokedKey {
                    key_id,
                    incarnation,
                    at,
                },
            ),
            Self::Disabled {
                account,
                incarnation,
                name,
                fingerprint,
                key_id,
                not_after,
            } => (
                account,
                Thing::Disabled(Disabled {
                    incarnation,
                    name,
                    fingerprint,
                    key_id,
                    not_after,
                }),
            ),
            Self::Incarnation {
                account,
                incarnation,
                since,
            } => (account, Thing::Incarnation { incarnation, since }),
        };
        Ok(Content::OfAccount(account, thing))
    }
}

impl From<Thing> for Edit {
    fn from(thing: Thing) -> Self {
        match thing {
            Thing::Account(account) => Self::PutAccount(Box::new(account)),
            Thing::Certificate { held, cert } => Self::Put {
                held,
                cert: Some(cert),
            },
            Thing::Disabled(mark) => Self::MarkDisabled(Box::new(mark)),
            Thing::Incarnation { incarnation, since } => {
                Self::SetIncarnation { incarnation, since }
            }
            Thing::RevokedKey {
                key_id,
                incarnation,
                at,
            } => Self::RevokeKey {
                key_id,
                incarnation,
                at,
            },
        }
    }
}

impl From<Account> for AccountRecord {
    fn from(known: Account) -> Self {
        Self {
            scram: known.verifiers.iter().map(Verifier::from).collect(),
            account: known.jid,
            incarnation: known.incarnation,
            enabled: known.enabled,
            created: known.created,
            password_changed: known.password_changed,
        }
    }
}

impl TryFrom<AccountRecord> for Account {
    type Error = Conflict;

    fn try_from(record: AccountRecord) -> Result<Self, Conflict> {
        let verifiers = record.scram.into_iter().map(|one| {
            ScramVerifier::from_parts(
                one.hash,
                one.salt,
                one.iterations,
                one.stored_key,
                one.server_key,
            )
        });
        let verifiers = verifiers.collect::<Result<Vec<_>, _>>();
        Ok(Self {
            jid: record.account,
            incarnation: record.incarnation,
            enabled: record.enabled,
            created: record.created,
            password_changed: record.password_changed,
            verifiers: verifiers.map_err(|error| Conflict::PasswordUnusable { error })?,
        })
    }
}

impl From<&ScramVerifier> for Verifier {
    fn from(verifier: &ScramVerifier) -> Self {
        Self {
            hash: verifier.hash(),
            salt: verifier.salt().to_vec(),
            iterations: verifier.iterations(),
            stored_key: verifier.stored_key().to_vec(),
            server_key: verifier.server_key().to_vec(),
        }
    }
}

impl From<Enrolment> for CertificateRecord {
    fn from(held: Enrolment) -> Self {
        Self {
            account: held.account,
            incarnation: held.incarnation,
            name: held.name,
            certificate: held.der,
            may_manage: held.may_manage,
            order: held.order,
            addition: AdditionRecord {
                at: held.added_at,
                with: held.added_by.certificate,
                by: held.added_by.jid,
            },
            last_use: held.last_use,
        }
    }
}

impl CertificateRecord {
    /// The record as the store writes it, and its certificate.
    fn enrolment(self) -> Result<(Enrolment, ClientCert), Conflict> {
        let cert = ClientCert::from_der(&self.certificate)
            .map_err(|finding| Conflict::CertificateUnacceptable { finding })?;
        let held = Enrolment {
            account: self.account,
            incarnation: self.incarnation,
            name: self.name,
            der: self.certificate,
            fingerprint: cert.fingerprint,
            key_id: cert.key_id,
            addresses: cert.addresses.clone(),
            not_before: cert.not_before,
            not_after: cert.not_after,
            may_manage: self.may_manage,
            order: self.order,
            added_at: self.addition.at,
            added_by: AddedBy {
                certificate: self.addition.with,
                jid: self.addition.by,
            },
            last_use: self.last_use,
        };
        Ok((held, cert))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::RecordLabel;

    #[test]
    fn whoever_carries_a_record_can_say_of_what_it_is() {
        let account = BareJid::parse("hamlet@a.lit").unwrap();
        let secret = Record::Secret {
            secret: vec![0; 32],
        };
        let host = Record::Host {
            host: Host::parse("a.lit").unwrap(),
            accounts: Accounts::Daemon,
            options: Map::new(),
        };
        let incarnation = Record::Incarnation {
            account: account.clone(),
            incarnation: Incarnation::parse("one").unwrap(),
            since: UnixSeconds(0),
        };
        let unreadable = Record::Unreadable {
            account,
            problem: "torn".to_owned(),
        };
        for (record, owner, problem) in [
            (secret, "the store", None),
            (host, "a.lit", None),
            (incarnation, "hamlet@a.lit", None),
            (unreadable, "hamlet@a.lit", Some("torn")),
        ] {
            let label = RecordLabel::of(&record.to_backup());
            assert_eq!((label.owner(), label.problem()), (owner, problem));
        }
    }
}
