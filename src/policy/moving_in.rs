//! Decides the fate of an account that moves in from another system, and of its certificates.
//!
//! Must not know: which system that is, how slow a derivation is.

use std::sync::Arc;

use crate::identity::{
    Account, AccountList, BareJid, ClientCert, Incarnation, ScramVerifier, Secret, UnixSeconds,
};

use super::denial::Denial;
use super::host::HostPolicy;
use super::manage::{self, Appended, Appending, Asker, LoggedInBy, Marks};

/// The login that an account brings, checked and derived.
#[derive(Debug)]
pub struct ArrivingLogin {
    /// May anybody log in as it?
    pub enabled: bool,
    /// When it was created.
    pub created: UnixSeconds,
    /// When it got this password.
    pub password_changed: UnixSeconds,
    /// Of this password; not empty.
    pub verifiers: Vec<ScramVerifier>,
    /// The password itself, if it is known.
    pub secret: Option<Secret>,
}

impl ArrivingLogin {
    /// Has `known` the same password, as far as can be seen? Slow, if the password itself is brought.
    #[must_use]
    pub fn is_that_of(&self, account: &Account) -> bool {
        match &self.secret {
            Some(secret) => account
                .strongest()
                .is_some_and(|verifier| verifier.admits(secret)),
            None => self.verifiers.iter().all(|verifier| {
                account
                    .verifier(verifier.hash())
                    .is_some_and(|own| own.has_stored_key(verifier.stored_key()))
            }),
        }
    }
}

/// The facts about an account that moves in.
#[derive(Debug)]
pub struct AccountFacts<'a> {
    /// The account of that name that is here.
    pub present: Option<&'a Account>,
    /// The login that is brought; `None`: certificates only.
    pub login: Option<&'a ArrivingLogin>,
    /// The verifiers that [`ArrivingLogin::is_that_of`] was true of.
    pub same: Option<&'a [ScramVerifier]>,
    /// The incarnation that it had where it comes from, or has in Prosody.
    pub own: Option<&'a Incarnation>,
    /// One that nobody has.
    pub fresh: &'a Incarnation,
    /// The host's accounts live in Prosody.
    pub in_prosody: bool,
}

/// The fate of an account that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountFate {
    /// It is created.
    Taken,
    /// It is here already.
    Unchanged,
    /// The one that is here stays as it is: it has another password, and may be somebody else's.
    Kept,
}

/// Decides the account's fate, and which account of its name its certificates are for.
///
/// Errors: only certificates are brought, and there is no such account.
pub fn account(facts: &AccountFacts<'_>) -> Result<(AccountFate, Incarnation), Denial> {
    let (fate, incarnation) = match (facts.present, facts.login) {
        (Some(present), None) => (AccountFate::Unchanged, &present.incarnation),
        // It may have got another password since it was tried.
        (Some(present), Some(_)) if facts.same == Some(&present.verifiers) => {
            (AccountFate::Unchanged, &present.incarnation)
        }
        (Some(present), Some(_)) => (AccountFate::Kept, &present.incarnation),
        (None, Some(_)) => (AccountFate::Taken, facts.own.unwrap_or(facts.fresh)),
        (None, None) => {
            let own = facts.own.filter(|_| facts.in_prosody);
            (AccountFate::Unchanged, own.ok_or(Denial::AccountMissing)?)
        }
    };
    Ok((fate, incarnation.clone()))
}

/// One certificate of an account that moves in.
#[derive(Clone, Copy, Debug)]
pub struct ArrivingCertificate<'a> {
    /// Its account.
    pub account: &'a BareJid,
    /// Which account of that name.
    pub incarnation: &'a Incarnation,
    /// The fate of that account.
    pub fate: AccountFate,
    /// Under which name, as it came.
    pub name: &'a str,
    /// The certificate, or why it is none.
    pub cert: Result<&'a Arc<ClientCert>, Denial>,
    /// May its sessions add and remove certificates?
    pub may_manage: bool,
    /// It is disabled for the account.
    pub is_disabled: bool,
    /// The account's marks, beside the list.
    pub marks: &'a Marks,
}

/// Decides the certificate's fate: it is appended to `list`, by the rules for everybody's; `None`: it stands there already.
///
/// Shape: `list` is as it is behind the certificates before this one.
/// Errors: why it is refused.
pub fn certificate(
    facts: &ArrivingCertificate<'_>,
    list: &AccountList,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Option<Appended>, Denial> {
    let is_there = facts.cert.is_ok_and(|cert| {
        list.enrolments.iter().any(|one| {
            one.incarnation == *facts.incarnation
                && one.name.as_str() == facts.name.trim()
                && one.holds(cert)
        })
    });
    if is_there {
        return Ok(None);
    }
    if facts.fate == AccountFate::Kept {
        return Err(Denial::AccountKept);
    }
    let cert = facts.cert?;
    // It was moved in once, and its owner has taken it out since.
    if facts.is_disabled {
        return Err(Denial::CertificateDisabled);
    }
    let admin = Asker {
        secure: true,
        by: LoggedInBy::Admin,
        jid: None,
    };
    let wish = Appending {
        account: facts.account,
        incarnation: facts.incarnation,
        asker: &admin,
        name: facts.name,
        cert,
        may_manage: facts.may_manage,
    };
    manage::append(&wish, list, facts.marks, policy, now).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::{CertificateName, ScramHash};
    use crate::policy::fixtures::{self, NOW, cert_naming, enrolled, incarnation, other_cert};

    fn verifier(password: &str, hash: ScramHash) -> ScramVerifier {
        let secret = Secret::prepare(password).unwrap();
        ScramVerifier::derive(hash, &secret, b"salt", 1)
    }

    fn present(password: &str, hashes: &[ScramHash]) -> Account {
        Account {
            jid: fixtures::account("h@a.lit"),
            incarnation: incarnation("here"),
            enabled: true,
            created: NOW,
            password_changed: NOW,
            verifiers: hashes
                .iter()
                .map(|hash| verifier(password, *hash))
                .collect(),
        }
    }

    fn login(password: &str, hashes: &[ScramHash], secret: bool) -> ArrivingLogin {
        ArrivingLogin {
            enabled: true,
            created: NOW,
            password_changed: NOW,
            verifiers: present(password, hashes).verifiers,
            secret: secret.then(|| Secret::prepare(password).unwrap()),
        }
    }

    #[test]
    fn an_account_is_taken_where_none_of_its_name_is_and_never_written_over() {
        let here = present("p", &ScramHash::ALL);
        let comes = login("p", &ScramHash::ALL, true);
        let (own, fresh) = (incarnation("told"), incarnation("fresh"));
        let (same, other) = (&*here.verifiers, &*present("q", &ScramHash::ALL).verifiers);
        let missing = Err(Denial::AccountMissing);
        // Known, brought, found to be the same, own, in Prosody.
        for (present, login, same, own, in_prosody, expected) in [
            (
                true,
                false,
                None,
                None,
                false,
                Ok((AccountFate::Unchanged, "here")),
            ),
            (
                true,
                true,
                Some(same),
                None,
                false,
                Ok((AccountFate::Unchanged, "here")),
            ),
            (
                true,
                true,
                Some(other),
                None,
                false,
                Ok((AccountFate::Kept, "here")),
            ),
            (
                true,
                true,
                None,
                Some(&own),
                false,
                Ok((AccountFate::Kept, "here")),
            ),
            (
                false,
                true,
                None,
                Some(&own),
                false,
                Ok((AccountFate::Taken, "told")),
            ),
            (
                false,
                true,
                None,
                None,
                false,
                Ok((AccountFate::Taken, "fresh")),
            ),
            (
                false,
                false,
                None,
                Some(&own),
                true,
                Ok((AccountFate::Unchanged, "told")),
            ),
            (false, false, None, None, true, missing),
            (false, false, None, Some(&own), false, missing),
        ] {
            let facts = AccountFacts {
                present: present.then_some(&here),
                login: login.then_some(&comes),
                same,
                own,
                fresh: &fresh,
                in_prosody,
            };
            let expected = expected.map(|(fate, id)| (fate, incarnation(id)));
            assert_eq!(account(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_password_is_the_same_if_it_opens_the_account_or_all_of_its_verifiers_are_there() {
        let (sha1, both) = (&[ScramHash::Sha1][..], &ScramHash::ALL[..]);
        for (password, hashes, has_secret, here, expected) in [
            ("p", both, true, both, true),
            ("p", both, true, sha1, true),
            ("q", both, true, both, false),
            ("p", both, true, &[][..], false),
            ("p", sha1, false, both, true),
            ("p", both, false, sha1, false),
            ("q", sha1, false, both, false),
        ] {
            let login = login(password, hashes, has_secret);
            let is_same = login.is_that_of(&present("p", here));
            assert_eq!(is_same, expected, "{password} {hashes:?} {here:?}");
        }
    }

    #[test]
    fn a_certificate_moves_in_by_the_rules_for_everybodys_and_into_no_strangers_list() {
        let made = [
            cert_naming(&["h@a.lit"]),
            other_cert(),
            cert_naming(&["o@a.lit"]),
        ];
        let [cert, other, foreign] = made.map(Arc::new);
        let list = AccountList {
            enrolments: vec![enrolled(&cert, "h@a.lit")],
            ..AccountList::default()
        };
        let none = Err(Denial::NotBase64);
        // The fate of its account, its name, the certificate, disabled; what is appended, or nothing.
        for (fate, name, cert, is_disabled, expected) in [
            (
                AccountFate::Taken,
                "tablet",
                Ok(&other),
                false,
                Ok(Some("tablet")),
            ),
            (
                AccountFate::Unchanged,
                " phone ",
                Ok(&cert),
                false,
                Ok(None),
            ),
            (AccountFate::Unchanged, "phone", Ok(&cert), true, Ok(None)),
            (AccountFate::Kept, "phone", Ok(&cert), false, Ok(None)),
            (
                AccountFate::Kept,
                "tablet",
                Ok(&other),
                false,
                Err(Denial::AccountKept),
            ),
            (
                AccountFate::Kept,
                "tablet",
                none,
                false,
                Err(Denial::AccountKept),
            ),
            (
                AccountFate::Taken,
                "tablet",
                none,
                false,
                Err(Denial::NotBase64),
            ),
            (
                AccountFate::Unchanged,
                "tablet",
                Ok(&other),
                true,
                Err(Denial::CertificateDisabled),
            ),
            (
                AccountFate::Unchanged,
                "phone",
                Ok(&other),
                false,
                Err(Denial::NameTaken),
            ),
            (
                AccountFate::Unchanged,
                "tablet",
                Ok(&cert),
                false,
                Err(Denial::AlreadyEnrolled),
            ),
            (
                AccountFate::Taken,
                "tablet",
                Ok(&foreign),
                false,
                Err(Denial::AddressForeign),
            ),
        ] {
            let facts = ArrivingCertificate {
                account: &fixtures::account("h@a.lit"),
                incarnation: &incarnation("one"),
                fate,
                name,
                cert,
                may_manage: true,
                is_disabled,
                marks: &Marks::default(),
            };
            let moved = certificate(&facts, &list, &HostPolicy::default(), NOW);
            let appended = moved.map(|moved| moved.map(|one| one.enrolment.name));
            let appended = appended
                .as_ref()
                .map(|name| name.as_ref().map(CertificateName::as_str));
            assert_eq!(appended, expected.as_ref().copied(), "{facts:?}");
        }
    }
}
