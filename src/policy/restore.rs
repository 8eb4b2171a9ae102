//! Decides the fate of each record that a backup brings: it is written, or is here already, or neither, and why.
//!
//! An import adds. It never writes over what differs, and never brings back what was revoked or disabled since.
//!
//! Must not know: the form of a backup, where the facts come from.

use crate::identity::certificate::Finding;
use crate::identity::password::VerifierError;
use crate::identity::{Account, Disabled, Enrolment, Incarnation};

use super::Denial;
use super::host::room::NoRoom;

/// The fate of a record that nothing here contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is written.
    Written,
    /// It is here already.
    Unchanged,
}

/// Why a record is not written. No [`Denial`]: the administrator who imports reads it in a report that is answered with yes, and no
/// client ever does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Of another version, or damaged.
    #[error("the record is not one that is known here: {problem}")]
    UnknownRecord {
        /// The part that can't be read.
        problem: String,
    },
    /// The backup itself says so.
    #[error("it could not be read when the backup was made")]
    UnreadableThen,
    /// No secret.
    #[error("a secret has 32 bytes")]
    SecretMalformed,
    /// From this store's own secret comes what strangers have seen of its accounts.
    #[error("there are accounts here, and a secret of their own")]
    SecretTaken,
    /// The server that declared the host here is right.
    #[error("the host is declared with other options")]
    HostDiffers,
    /// A host that this daemon can't remember.
    #[error(transparent)]
    HostWithoutRoom(NoRoom),
    /// An account with such a verifier could never log in: refused in the words of every other question that brings one.
    #[error("{}", Denial::PasswordUnusable { error: *.error }.words().stanza_text)]
    PasswordUnusable {
        /// The fault of the verifier.
        #[source]
        error: VerifierError,
    },
    /// It may have another password since.
    #[error("the account is here already, and differs")]
    AccountDiffers,
    /// Rules have become stricter since.
    #[error("the certificate is not acceptable to this version: {finding}")]
    CertificateUnacceptable {
        /// The fault of the certificate.
        #[source]
        finding: Finding,
    },
    /// The list has it for another certificate, or for another account of the name.
    #[error("there is another certificate of this name")]
    NameTaken,
    /// A certificate stands in a list once.
    #[error("the certificate is there under another name")]
    EnrolledAlready,
    /// A certificate is never brought back from its revocation.
    #[error("its key was revoked since")]
    KeyRevoked,
    /// Nor is one that its user took out. With it in the list the mark would be an old one.
    #[error("it was disabled since")]
    CertificateDisabled,
    /// The user has enrolled the key again: the revocation is older.
    #[error("a certificate with this key is in the list")]
    KeyEnrolled,
    /// The account that is here is another one of the name.
    #[error("another account of this name has enrolled certificates since")]
    AnotherAccount,
}

/// The secret of the store that the backup was made of: as long as nobody is here, ours may become a copy of that.
///
/// Shape: `own` is this store's.
pub fn secret(brought: &[u8; 32], own: &[u8; 32], has_accounts: bool) -> Result<Fate, Conflict> {
    if brought == own {
        Ok(Fate::Unchanged)
    } else if has_accounts {
        Err(Conflict::SecretTaken)
    } else {
        Ok(Fate::Written)
    }
}

/// A host with its options, of which `known` is what was declared here last.
pub fn host<D: PartialEq>(brought: &D, known: Option<&D>) -> Result<Fate, Conflict> {
    new_or_same(brought, known, Conflict::HostDiffers)
}

/// An account with its password.
pub fn account(brought: &Account, known: Option<&Account>) -> Result<Fate, Conflict> {
    new_or_same(brought, known, Conflict::AccountDiffers)
}

/// Which account of the name has enrolled a certificate last.
pub fn incarnation(brought: &Incarnation, known: Option<&Incarnation>) -> Result<Fate, Conflict> {
    new_or_same(brought, known, Conflict::AnotherAccount)
}

/// The facts about a certificate from the backup, in the list that it belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListFacts<'a> {
    /// The record that has its name.
    pub same_name: Option<&'a Enrolment>,
    /// The certificate is in the list, under whatever name. As the rest, of no weight if its name is taken.
    pub is_enrolled: bool,
    /// Its key is revoked, for that account of the name.
    pub is_revoked: bool,
    /// It is disabled.
    pub is_disabled: bool,
}

/// A certificate of a list.
pub fn certificate(brought: &Enrolment, facts: &ListFacts<'_>) -> Result<Fate, Conflict> {
    match facts.same_name {
        Some(held) if is_same(held, brought) => Ok(Fate::Unchanged),
        Some(_) => Err(Conflict::NameTaken),
        None if facts.is_enrolled => Err(Conflict::EnrolledAlready),
        None if facts.is_revoked => Err(Conflict::KeyRevoked),
        None if facts.is_disabled => Err(Conflict::CertificateDisabled),
        None => Ok(Fate::Written),
    }
}

/// The facts about a key that the backup says is revoked, for that account of the name.
#[derive(Clone, Copy, Debug)]
pub struct KeyFacts {
    /// It is revoked here.
    pub is_revoked: bool,
    /// A certificate in the list has it.
    pub is_enrolled: bool,
}

/// The revocation of a key.
pub fn revoked_key(facts: KeyFacts) -> Result<Fate, Conflict> {
    if facts.is_revoked {
        Ok(Fate::Unchanged)
    } else if facts.is_enrolled {
        Err(Conflict::KeyEnrolled)
    } else {
        Ok(Fate::Written)
    }
}

/// The mark of a disabled certificate, of which `known` are the ones here. It can only keep one out.
#[must_use]
pub fn mark(brought: &Disabled, known: &[Disabled]) -> Fate {
    if known.contains(brought) {
        Fate::Unchanged
    } else {
        Fate::Written
    }
}

fn new_or_same<T: PartialEq>(
    brought: &T,
    known: Option<&T>,
    differs: Conflict,
) -> Result<Fate, Conflict> {
    match known {
        None => Ok(Fate::Written),
        Some(known) if known == brought => Ok(Fate::Unchanged),
        Some(_) => Err(differs),
    }
}

/// When it was added and last used may differ: the certificate counts for the same.
fn is_same(held: &Enrolment, brought: &Enrolment) -> bool {
    held.der == brought.der
        && held.incarnation == brought.incarnation
        && held.may_manage == brought.may_manage
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{CertificateName, UnixSeconds};
    use crate::policy::fixtures::{NOW, cert_naming, enrolled, incarnation as id, other_cert};

    const WRITTEN: Result<Fate, Conflict> = Ok(Fate::Written);
    const UNCHANGED: Result<Fate, Conflict> = Ok(Fate::Unchanged);

    #[test]
    fn a_secret_is_taken_where_nobody_lives() {
        let (own, other) = ([1; 32], [2; 32]);
        for (brought, has_accounts, expected) in [
            (own, false, UNCHANGED),
            (own, true, UNCHANGED),
            (other, false, WRITTEN),
            (other, true, Err(Conflict::SecretTaken)),
        ] {
            assert_eq!(secret(&brought, &own, has_accounts), expected);
        }
    }

    #[test]
    fn what_differs_from_what_is_here_is_never_written() {
        let of = |enabled| Account {
            jid: crate::policy::fixtures::account("h@a.lit"),
            incarnation: id("one"),
            enabled,
            created: NOW,
            password_changed: NOW,
            verifiers: Vec::new(),
        };
        for (known, as_account, as_host, as_incarnation) in [
            (None, WRITTEN, WRITTEN, WRITTEN),
            (Some(true), UNCHANGED, UNCHANGED, UNCHANGED),
            (
                Some(false),
                Err(Conflict::AccountDiffers),
                Err(Conflict::HostDiffers),
                Err(Conflict::AnotherAccount),
            ),
        ] {
            let name = |is_same: bool| id(if is_same { "one" } else { "two" });
            assert_eq!(account(&of(true), known.map(of).as_ref()), as_account);
            assert_eq!(host(&true, known.as_ref()), as_host);
            let known = known.map(name);
            assert_eq!(incarnation(&id("one"), known.as_ref()), as_incarnation);
        }
    }

    #[test]
    fn a_certificate_is_written_where_nothing_has_happened_to_it_since() {
        let brought = enrolled(&cert_naming(&["h@a.lit"]), "h@a.lit");
        let changed = |change: fn(&mut Enrolment)| {
            let mut held = brought.clone();
            change(&mut held);
            held
        };
        let used = changed(|held| held.last_use = None);
        let later = changed(|held| (held.added_at, held.order) = (UnixSeconds(NOW.0 + 1), 7));
        let another = enrolled(&other_cert(), "h@a.lit");
        let of_another = changed(|held| held.incarnation = id("two"));
        let with_less = changed(|held| held.may_manage = false);
        for same in [&brought, &used, &later] {
            let facts = ListFacts {
                same_name: Some(same),
                is_enrolled: true,
                ..ListFacts::default()
            };
            assert_eq!(certificate(&brought, &facts), UNCHANGED);
        }
        for same_name in [&another, &of_another, &with_less] {
            let facts = ListFacts {
                same_name: Some(same_name),
                ..ListFacts::default()
            };
            assert_eq!(certificate(&brought, &facts), Err(Conflict::NameTaken));
        }
        // In the list, revoked, disabled: the first that is true is said.
        for (is_enrolled, is_revoked, is_disabled, expected) in [
            (false, false, false, WRITTEN),
            (true, true, true, Err(Conflict::EnrolledAlready)),
            (false, true, true, Err(Conflict::KeyRevoked)),
            (false, true, false, Err(Conflict::KeyRevoked)),
            (false, false, true, Err(Conflict::CertificateDisabled)),
        ] {
            let facts = ListFacts {
                same_name: None,
                is_enrolled,
                is_revoked,
                is_disabled,
            };
            assert_eq!(certificate(&brought, &facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_revocation_never_takes_out_what_was_enrolled_since() {
        for (is_revoked, is_enrolled, expected) in [
            (false, false, WRITTEN),
            (false, true, Err(Conflict::KeyEnrolled)),
            (true, false, UNCHANGED),
            (true, true, UNCHANGED),
        ] {
            let facts = KeyFacts {
                is_revoked,
                is_enrolled,
            };
            assert_eq!(revoked_key(facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_mark_is_written_unless_the_very_same_is_here() {
        let held = enrolled(&cert_naming(&["h@a.lit"]), "h@a.lit");
        let brought = Disabled {
            incarnation: held.incarnation,
            name: held.name,
            fingerprint: held.fingerprint,
            key_id: held.key_id,
            not_after: held.not_after,
        };
        #[allow(clippy::unwrap_used)]
        let of_another_name = Disabled {
            name: CertificateName::parse("tablet").unwrap(),
            ..brought.clone()
        };
        assert_eq!(mark(&brought, &[]), Fate::Written);
        assert_eq!(
            mark(&brought, std::slice::from_ref(&of_another_name)),
            Fate::Written
        );
        let known = [of_another_name, brought.clone()];
        assert_eq!(mark(&brought, &known), Fate::Unchanged);
    }

    #[test]
    fn a_conflict_says_what_stands_against_the_record() {
        let finding = Finding::NotVersion3;
        let error = VerifierError::Iterations { count: 0 };
        for (conflict, text) in [
            (
                Conflict::CertificateUnacceptable { finding },
                format!("the certificate is not acceptable to this version: {finding}"),
            ),
            (
                Conflict::PasswordUnusable { error },
                format!("SCRAM can't use what is kept of its password: {error}"),
            ),
            (
                Conflict::HostWithoutRoom(NoRoom::OptionsTooLong),
                NoRoom::OptionsTooLong.to_string(),
            ),
        ] {
            assert_eq!(conflict.to_string(), text);
        }
    }
}
