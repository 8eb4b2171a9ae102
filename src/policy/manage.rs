//! An account's own list of certificates: the rules for append, list, disable and revoke.
//!
//! Must not know: how the list is stored, who tells the other sessions.

use crate::identity::{
    AccountList, AddedBy, BareJid, CertificateName, ClientCert, Disabled, Enrolment, Fingerprint,
    Incarnation, Jid, KeyId, UnixSeconds,
};

use super::denial::Denial;
use super::host::{HostPolicy, ManageWith, Trust};
use super::login::{names, require_acceptable, require_validity};
use crate::identity::authority::is_self_issued;

/// The session that asks, as far as the rules go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Its stream is encrypted.
    pub secure: bool,
    /// How it logged in.
    pub by: LoggedInBy,
    /// Its full JID.
    pub jid: Option<Jid>,
}

/// How the asking session logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedInBy {
    /// With a password, or by anything else that is not EXTERNAL.
    Password,
    /// With this certificate.
    Certificate {
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// Not a session: the machine's administrator.
    Admin,
}

/// Which account of the name is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The one with this incarnation; `None`: it has none yet, so it has no certificates.
    Of(Option<Incarnation>),
    /// All that ever had the name; an administrator's view.
    Every,
}

/// What a user wants to append.
#[derive(Clone, Debug)]
pub struct Appending<'a> {
    /// To whose list.
    pub account: &'a BareJid,
    /// Which account of that name.
    pub incarnation: &'a Incarnation,
    /// By which session.
    pub asker: &'a Asker,
    /// Under which name, as it came.
    pub name: &'a str,
    /// The certificate.
    pub cert: &'a ClientCert,
    /// May its sessions add and remove certificates?
    pub may_manage: bool,
}

/// What is remembered of the account beside its list.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// For which accounts of the name the new certificate's key is revoked.
    pub revoked_for: Vec<Incarnation>,
    /// [`MAX_MARKS`] keys and certificates are revoked and disabled already: nothing more comes in that would
    /// have to be remembered.
    pub are_too_many: bool,
    /// The certificate names nobody, and another account of the host holds it: whose it is would be a guess.
    pub is_anothers: bool,
}

/// What an append writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The new record.
    pub enrolment: Enrolment,
    /// Records that leave with it: those of an earlier account that stand in its way, and old expired ones.
    pub leaving: Vec<Enrolment>,
}

/// Decides an append.
///
/// Units: `now` is seconds since the epoch.
/// Errors: the first refusal in the order of the checks below.
/// Source: XEP-0257, "Adding an X.509 Certificate"; limits are our own profile (docs/protocol.md).
pub fn append(
    wish: &Appending<'_>,
    list: &AccountList,
    marks: &Marks,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Appended, Denial> {
    let scope = Scope::Of(Some(wish.incarnation.clone()));
    let own = in_scope(&list.enrolments, &scope);
    require_management(wish.asker, &own, policy)?;
    if !policy.trust.has_lists() {
        return Err(Denial::NoList);
    }
    let name = CertificateName::parse(wish.name).map_err(|_| Denial::NameInvalid)?;
    require_acceptable(wish.cert, policy)?;
    require_validity(wish.cert, now)?;
    require_lifetime(wish.cert, policy)?;
    require_address(wish.cert, wish.account, policy)?;
    require_issued(wish.cert, policy)?;
    if marks.revoked_for.contains(wish.incarnation) {
        return Err(Denial::KeyRevoked);
    }
    if marks.is_anothers {
        return Err(Denial::HeldByAnother);
    }
    if marks.are_too_many {
        return Err(Denial::TooManyMarks);
    }
    let (leaving, staying): (Vec<&Enrolment>, Vec<&Enrolment>) =
        own.into_iter().partition(|held| is_stale(held, now));
    if staying.iter().any(|held| held.name == name) {
        return Err(Denial::NameTaken);
    }
    let fingerprint = wish.cert.fingerprint;
    if staying.iter().any(|held| held.fingerprint == fingerprint) {
        return Err(Denial::AlreadyEnrolled);
    }
    if staying.iter().filter(|held| !is_expired(held, now)).count() >= policy.max_certs {
        return Err(Denial::TooManyCertificates);
    }
    let in_the_way = list.enrolments.iter().filter(|held| {
        held.incarnation != *wish.incarnation
            && (held.name == name || held.fingerprint == fingerprint)
    });
    let highest = list.enrolments.iter().map(|held| held.order).max();
    Ok(Appended {
        leaving: leaving.into_iter().chain(in_the_way).cloned().collect(),
        enrolment: Enrolment {
            account: wish.account.clone(),
            incarnation: wish.incarnation.clone(),
            name,
            der: wish.cert.der.clone(),
            fingerprint,
            key_id: wish.cert.key_id,
            addresses: wish.cert.addresses.clone(),
            not_before: wish.cert.not_before,
            not_after: wish.cert.not_after,
            may_manage: wish.may_manage,
            order: highest.map_or(1, |order| order.saturating_add(1)),
            added_at: now,
            added_by: AddedBy {
                certificate: match wish.asker.by {
                    LoggedInBy::Certificate { fingerprint } => Some(fingerprint),
                    LoggedInBy::Password | LoggedInBy::Admin => None,
                },
                jid: wish.asker.jid.clone(),
            },
            last_use: None,
        },
    })
}

/// What the user of a fresh certificate should know although it was accepted.
#[must_use]
pub fn warnings(cert: &ClientCert) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if !cert.names_address_for_clients {
        warnings.push(
            "The certificate has no rfc822Name and no address as common name; Conversations will not find \
             its address in it",
        );
    }
    if cert.claims_authority {
        warnings.push(
            "The certificate claims to be a certificate authority (basicConstraints CA:TRUE), which a \
             client's should not",
        );
    }
    warnings
}

/// The account's list, in the order of addition.
///
/// Errors: the stream is not encrypted. A session that may not manage may still look (XEP-0257, "optional").
pub fn list<'a>(
    asker: &Asker,
    scope: &Scope,
    list: &'a AccountList,
    policy: &HostPolicy,
) -> Result<Vec<&'a Enrolment>, Denial> {
    require_secure(asker)?;
    require_list(asker, policy)?;
    let mut own = in_scope(&list.enrolments, scope);
    own.sort_by_key(|held| held.order);
    Ok(own)
}

/// The record of that name, to be removed; its fingerprint is refused until it is appended again.
///
/// Source: XEP-0257, "Disabling a Certificate".
pub fn disable<'a>(
    asker: &Asker,
    scope: &Scope,
    name: &str,
    list: &'a AccountList,
    policy: &HostPolicy,
) -> Result<Vec<&'a Enrolment>, Denial> {
    let own = in_scope(&list.enrolments, scope);
    require_management(asker, &own, policy)?;
    let named = named(&own, name);
    if named.is_empty() {
        return Err(Denial::NameUnknown);
    }
    Ok(named)
}

/// Which certificate is to be revoked.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The one of this name in the list, and those that had the name when they were disabled: who holds a stolen
    /// key must not escape by putting another certificate in the place of its own.
    Named(&'a str),
    /// Every one with this key, in the list or disabled.
    WithKey(KeyId),
}

/// What a revocation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// What the certificate was called; the first of them.
    pub name: CertificateName,
    /// Which certificate; the first of them.
    pub fingerprint: Fingerprint,
    /// The keys that are revoked, each with the account of the name that it is revoked for.
    pub keys: Vec<(KeyId, Incarnation)>,
    /// The records that leave the list.
    pub removed: Vec<Enrolment>,
    /// The marks of disabled certificates that are not needed any more.
    pub cleared: Vec<Disabled>,
}

/// The disabled certificates whose keys are not in the list again, each key once.
#[must_use]
pub fn disabled<'a>(
    scope: &Scope,
    list: &AccountList,
    disabled: &'a [Disabled],
) -> Vec<&'a Disabled> {
    let own = in_scope(&list.enrolments, scope);
    let mut gone: Vec<&Disabled> = Vec::new();
    for mark in disabled
        .iter()
        .filter(|mark| is_in_scope(&mark.incarnation, scope))
    {
        let is_known = own.iter().any(|held| held.key_id == mark.key_id)
            || gone.iter().any(|other| other.key_id == mark.key_id);
        if !is_known {
            gone.push(mark);
        }
    }
    gone
}

/// Decides a revocation. The key goes, and with it every record that has it.
///
/// A certificate that was disabled before can still be revoked: its sessions may live on.
///
/// Source: XEP-0257, "Revoking a Certificate"; the key and not the certificate is revoked, since whoever holds
/// a stolen key can make new certificates with it.
pub fn revoke(
    asker: &Asker,
    scope: &Scope,
    which: Which<'_>,
    list: &AccountList,
    disabled: &[Disabled],
    policy: &HostPolicy,
) -> Result<Revoked, Denial> {
    let own = in_scope(&list.enrolments, scope);
    require_management(asker, &own, policy)?;
    let disabled: Vec<&Disabled> = disabled
        .iter()
        .filter(|mark| is_in_scope(&mark.incarnation, scope))
        .collect();
    let (enrolled, marked): (Vec<&Enrolment>, Vec<&Disabled>) = match which {
        Which::Named(name) => {
            let enrolled = named(&own, name);
            let name = CertificateName::parse(name).ok();
            let by_name = |mark: &&&Disabled| Some(&mark.name) == name.as_ref();
            let marked = disabled.iter().filter(by_name).copied().collect();
            (enrolled, marked)
        }
        Which::WithKey(key_id) => (
            own.iter()
                .filter(|held| held.key_id == key_id)
                .copied()
                .collect(),
            disabled
                .iter()
                .filter(|mark| mark.key_id == key_id)
                .copied()
                .collect(),
        ),
    };
    let first = enrolled.iter().map(|held| (&held.name, held.fingerprint));
    let first = first
        .chain(marked.iter().map(|mark| (&mark.name, mark.fingerprint)))
        .next();
    let Some((name, fingerprint)) = first else {
        return Err(Denial::NameUnknown);
    };
    let mut keys: Vec<(KeyId, Incarnation)> = enrolled
        .iter()
        .map(|held| (held.key_id, held.incarnation.clone()))
        .chain(
            marked
                .iter()
                .map(|mark| (mark.key_id, mark.incarnation.clone())),
        )
        .collect();
    keys.sort_by(|a, b| (a.0, a.1.as_str()).cmp(&(b.0, b.1.as_str())));
    keys.dedup();
    let goes = |key_id: KeyId, incarnation: &Incarnation| {
        keys.iter()
            .any(|(key, of)| *key == key_id && of == incarnation)
    };
    let mut removed: Vec<Enrolment> = own
        .into_iter()
        .filter(|held| goes(held.key_id, &held.incarnation))
        .cloned()
        .collect();
    removed.sort_by_key(|held| (held.fingerprint != fingerprint, held.order));
    let cleared = disabled
        .into_iter()
        .filter(|mark| goes(mark.key_id, &mark.incarnation));
    Ok(Revoked {
        name: name.clone(),
        fingerprint,
        cleared: cleared.cloned().collect(),
        removed,
        keys,
    })
}

/// The records that go by themselves: long expired ones, and those of an account that was replaced long ago.
#[must_use]
pub fn stale(list: &AccountList, now: UnixSeconds) -> Vec<&Enrolment> {
    let is_orphan = |held: &Enrolment| {
        list.incarnation.as_ref().is_some_and(|(present, since)| {
            held.incarnation != *present && now > since.plus(EXPIRED_STAYS_SECONDS)
        })
    };
    let enrolments = list.enrolments.iter();
    enrolments
        .filter(|held| is_stale(held, now) || is_orphan(held))
        .collect()
}

/// Is the record so long expired that it goes by itself? Until then it is shown, and holds its name.
#[must_use]
pub fn is_stale(held: &Enrolment, now: UnixSeconds) -> bool {
    is_over(held.not_after, now)
}

/// Did the certificate expire so long ago that nothing needs to be remembered of it?
#[must_use]
pub fn is_over(not_after: UnixSeconds, now: UnixSeconds) -> bool {
    now > not_after.plus(EXPIRED_STAYS_SECONDS)
}

/// Has its certificate expired?
#[must_use]
pub fn is_expired(held: &Enrolment, now: UnixSeconds) -> bool {
    now > held.not_after
}

/// Will its certificate, which has not expired yet, have expired in so many days?
#[must_use]
pub fn expires_within(held: &Enrolment, days: u16, now: UnixSeconds) -> bool {
    !is_expired(held, now) && is_expired(held, now.plus(i64::from(days) * SECONDS_PER_DAY))
}

/// Since when its user is to know that the certificate expires: the last moment so many days before that has come.
///
/// `None` before the first one and when it has expired; a moment before the certificate was added doesn't count, its user has
/// just seen what it is.
#[must_use]
pub fn notice_since(held: &Enrolment, days: &[u16], now: UnixSeconds) -> Option<UnixSeconds> {
    let before = |days: &u16| held.not_after.plus(-i64::from(*days) * SECONDS_PER_DAY);
    let has_come = |moment: &UnixSeconds| held.added_at < *moment && *moment <= now;
    let moments = days.iter().map(before).filter(has_come);
    moments.max().filter(|_| !is_expired(held, now))
}

fn in_scope<'a>(enrolments: &'a [Enrolment], scope: &Scope) -> Vec<&'a Enrolment> {
    let visible = |held: &&Enrolment| is_in_scope(&held.incarnation, scope);
    enrolments.iter().filter(visible).collect()
}

fn is_in_scope(incarnation: &Incarnation, scope: &Scope) -> bool {
    match scope {
        Scope::Of(meant) => meant.as_ref() == Some(incarnation),
        Scope::Every => true,
    }
}

fn named<'a>(own: &[&'a Enrolment], name: &str) -> Vec<&'a Enrolment> {
    // A name that cannot be one is nobody's: the answer is "not found", as for any other.
    let name = CertificateName::parse(name).ok();
    let mut named: Vec<&Enrolment> = Vec::new();
    named.extend(own.iter().filter(|held| Some(&held.name) == name.as_ref()));
    named
}

/// Where an authority has to vouch, too, one that nobody else has issued can never log in. Of others only the login shows
/// it, with the certificates that the client presents beside it.
fn require_issued(cert: &ClientCert, policy: &HostPolicy) -> Result<(), Denial> {
    if matches!(policy.trust, Trust::EnrolledAndCa(_)) && is_self_issued(cert) {
        return Err(Denial::ChainUntrusted);
    }
    Ok(())
}

/// Where there are no lists, only an administrator sees what an earlier configuration has left.
fn require_list(asker: &Asker, policy: &HostPolicy) -> Result<(), Denial> {
    if policy.trust.has_lists() || asker.by == LoggedInBy::Admin {
        Ok(())
    } else {
        Err(Denial::NoList)
    }
}

fn require_secure(asker: &Asker) -> Result<(), Denial> {
    if asker.secure {
        Ok(())
    } else {
        Err(Denial::StreamNotSecure)
    }
}

/// May this session change the list? Looked up anew each time: the certificate that it logged in with may have
/// been disabled meanwhile.
fn require_management(
    asker: &Asker,
    own: &[&Enrolment],
    policy: &HostPolicy,
) -> Result<(), Denial> {
    require_secure(asker)?;
    require_list(asker, policy)?;
    let may_manage = match (&asker.by, policy.manage_with) {
        (LoggedInBy::Admin | LoggedInBy::Password, _) => true,
        (LoggedInBy::Certificate { .. }, ManageWith::Password) => false,
        (LoggedInBy::Certificate { fingerprint }, ManageWith::Any) => own
            .iter()
            .any(|held| held.fingerprint == *fingerprint && held.may_manage),
    };
    if may_manage {
        Ok(())
    } else {
        Err(Denial::ManagementForbidden)
    }
}

fn require_lifetime(cert: &ClientCert, policy: &HostPolicy) -> Result<(), Denial> {
    let seconds = cert.not_after.0.saturating_sub(cert.not_before.0);
    match policy.max_validity_days {
        Some(days) if seconds > days.saturating_mul(SECONDS_PER_DAY) => {
            Err(Denial::ValidityTooLong)
        }
        _ => Ok(()),
    }
}

fn require_address(
    cert: &ClientCert,
    account: &BareJid,
    policy: &HostPolicy,
) -> Result<(), Denial> {
    if cert.addresses.is_empty() {
        return if policy.require_address {
            Err(Denial::AddressMissing)
        } else {
            Ok(())
        };
    }
    if names(cert, account) {
        Ok(())
    } else {
        Err(Denial::AddressForeign)
    }
}

const SECONDS_PER_DAY: i64 = 86_400;
/// Most revoked keys and disabled certificates of one account. No revocation is ever refused for it; appending is.
pub const MAX_MARKS: usize = 1000;
/// How long an expired record stays in the list, marked.
pub const EXPIRED_STAYS_SECONDS: i64 = 30 * SECONDS_PER_DAY;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::policy::fixtures::{NOW, account, cert_naming, enrolled, incarnation, other_cert};

    const PASSWORD: Asker = Asker {
        secure: true,
        by: LoggedInBy::Password,
        jid: None,
    };

    fn by_certificate(cert: &ClientCert) -> Asker {
        Asker {
            by: LoggedInBy::Certificate {
                fingerprint: cert.fingerprint,
            },
            ..PASSWORD
        }
    }

    fn try_append(
        cert: &ClientCert,
        name: &str,
        asker: &Asker,
        held: &AccountList,
        policy: &HostPolicy,
        now: UnixSeconds,
    ) -> Result<Appended, Denial> {
        let account = account("h@a.lit");
        let incarnation = incarnation("one");
        let wish = Appending {
            account: &account,
            incarnation: &incarnation,
            asker,
            name,
            cert,
            may_manage: true,
        };
        append(&wish, held, &Marks::default(), policy, now)
    }

    fn holding(enrolments: &[Enrolment]) -> AccountList {
        AccountList {
            enrolments: enrolments.to_vec(),
            ..AccountList::default()
        }
    }

    #[test]
    fn an_append_takes_what_the_rules_allow_and_nothing_else() {
        let cert = cert_naming(&["h@a.lit"]);
        let foreign = cert_naming(&["g@a.lit"]);
        let nameless = cert_naming(&[]);
        let held = holding(&[enrolled(&other_cert(), "h@a.lit")]);
        let plain = Asker {
            secure: false,
            ..PASSWORD
        };
        let one = HostPolicy {
            max_certs: 1,
            ..HostPolicy::default()
        };
        let short = HostPolicy {
            max_validity_days: Some(1),
            ..HostPolicy::default()
        };
        let waived = HostPolicy {
            require_address: false,
            ..HostPolicy::default()
        };
        let usual = HostPolicy::default();
        let empty = AccountList::default();
        let same = holding(&[enrolled(&cert, "h@a.lit")]);
        for (case, cert, name, asker, list, policy, now, expected) in [
            (
                "plain", &cert, " laptop ", &PASSWORD, &empty, &usual, NOW, None,
            ),
            (
                "second", &cert, "laptop", &PASSWORD, &held, &usual, NOW, None,
            ),
            (
                "insecure",
                &cert,
                "x",
                &plain,
                &empty,
                &usual,
                NOW,
                Some(Denial::StreamNotSecure),
            ),
            (
                "no name",
                &cert,
                " ",
                &PASSWORD,
                &empty,
                &usual,
                NOW,
                Some(Denial::NameInvalid),
            ),
            (
                "taken",
                &cert,
                "phone",
                &PASSWORD,
                &held,
                &usual,
                NOW,
                Some(Denial::NameTaken),
            ),
            (
                "same",
                &cert,
                "x",
                &PASSWORD,
                &same,
                &usual,
                NOW,
                Some(Denial::AlreadyEnrolled),
            ),
            (
                "full",
                &cert,
                "x",
                &PASSWORD,
                &held,
                &one,
                NOW,
                Some(Denial::TooManyCertificates),
            ),
            (
                "foreign",
                &foreign,
                "x",
                &PASSWORD,
                &empty,
                &usual,
                NOW,
                Some(Denial::AddressForeign),
            ),
            (
                "foreign, waived",
                &foreign,
                "x",
                &PASSWORD,
                &empty,
                &waived,
                NOW,
                Some(Denial::AddressForeign),
            ),
            (
                "nameless",
                &nameless,
                "x",
                &PASSWORD,
                &empty,
                &usual,
                NOW,
                Some(Denial::AddressMissing),
            ),
            (
                "nameless, waived",
                &nameless,
                "x",
                &PASSWORD,
                &empty,
                &waived,
                NOW,
                None,
            ),
            (
                "long-lived",
                &cert,
                "x",
                &PASSWORD,
                &empty,
                &short,
                NOW,
                Some(Denial::ValidityTooLong),
            ),
            (
                "expired",
                &cert,
                "x",
                &PASSWORD,
                &empty,
                &usual,
                cert.not_after.plus(1),
                Some(Denial::CertificateExpired),
            ),
            (
                "early",
                &cert,
                "x",
                &PASSWORD,
                &empty,
                &usual,
                cert.not_before.plus(-301),
                Some(Denial::CertificateNotYetValid),
            ),
        ] {
            let got = try_append(cert, name, asker, list, policy, now);
            assert_eq!(got.err(), expected, "{case}");
        }
    }

    #[test]
    fn an_appended_record_is_the_last_in_the_list() {
        let held = holding(&[enrolled(&other_cert(), "h@a.lit")]);
        let cert = cert_naming(&["h@a.lit"]);
        let appended = try_append(
            &cert,
            " laptop ",
            &PASSWORD,
            &held,
            &HostPolicy::default(),
            NOW,
        )
        .unwrap();
        assert_eq!(appended.enrolment.name.as_str(), "laptop");
        assert!(appended.enrolment.order > held.enrolments[0].order);
        assert_eq!(appended.leaving, []);
    }

    #[test]
    fn a_later_account_of_the_name_finds_its_names_free() {
        let cert = cert_naming(&["h@a.lit"]);
        let mut before = enrolled(&cert, "h@a.lit");
        before.incarnation = incarnation("zero");
        let list = holding(&[before.clone()]);
        let appended = try_append(
            &cert,
            "phone",
            &PASSWORD,
            &list,
            &HostPolicy::default(),
            NOW,
        )
        .unwrap();
        assert_eq!(appended.leaving, [before]);
        let scope = Scope::Of(Some(incarnation("one")));
        assert_eq!(
            super::list(&PASSWORD, &scope, &list, &HostPolicy::default()),
            Ok(vec![])
        );
        let denied = disable(&PASSWORD, &scope, "phone", &list, &HostPolicy::default());
        assert_eq!(denied, Err(Denial::NameUnknown));
    }

    #[test]
    fn expired_records_do_not_count_but_hold_their_name_for_30_days() {
        let cert = cert_naming(&["h@a.lit"]);
        let mut expired = enrolled(&other_cert(), "h@a.lit");
        expired.not_after = NOW.plus(-1);
        let one = HostPolicy {
            max_certs: 1,
            ..HostPolicy::default()
        };
        let list = holding(&[expired.clone()]);
        assert!(try_append(&cert, "x", &PASSWORD, &list, &one, NOW).is_ok());
        let taken = try_append(&cert, "phone", &PASSWORD, &list, &one, NOW);
        assert_eq!(taken.err(), Some(Denial::NameTaken));
        expired.not_after = NOW.plus(-EXPIRED_STAYS_SECONDS - 1);
        let list = holding(&[expired.clone()]);
        let appended = try_append(&cert, "phone", &PASSWORD, &list, &one, NOW).unwrap();
        assert_eq!(appended.leaving, [expired]);
    }

    #[test]
    fn who_may_manage_is_looked_up_in_the_list() {
        let cert = cert_naming(&["h@a.lit"]);
        let mut held = enrolled(&cert, "h@a.lit");
        let by_it = by_certificate(&cert);
        let by_unknown = by_certificate(&other_cert());
        let admin = Asker {
            by: LoggedInBy::Admin,
            ..PASSWORD
        };
        let any = HostPolicy::default();
        let passwords = HostPolicy {
            manage_with: ManageWith::Password,
            ..HostPolicy::default()
        };
        let scope = Scope::Of(Some(incarnation("one")));
        for (asker, policy, may_manage, allowed) in [
            (&PASSWORD, &any, true, true),
            (&PASSWORD, &passwords, false, true),
            (&admin, &passwords, false, true),
            (&by_it, &any, true, true),
            (&by_it, &any, false, false),
            (&by_it, &passwords, true, false),
            (&by_unknown, &any, true, false),
        ] {
            held.may_manage = may_manage;
            let list = holding(&[held.clone()]);
            let expected = if allowed {
                Ok(vec![&list.enrolments[0]])
            } else {
                Err(Denial::ManagementForbidden)
            };
            let got = disable(asker, &scope, "phone", &list, policy);
            assert_eq!(got, expected, "{asker:?} {policy:?}");
            let which = Which::Named("phone");
            let got = revoke(asker, &scope, which, &list, &[], policy);
            assert_eq!(got.is_ok(), allowed, "{asker:?} {policy:?}");
            assert_eq!(
                super::list(asker, &scope, &list, policy).map(|all| all.len()),
                Ok(1)
            );
        }
    }

    #[test]
    fn what_is_remembered_beside_the_list_can_refuse_an_append() {
        let cert = cert_naming(&["h@a.lit"]);
        let (account, incarnation) = (account("h@a.lit"), incarnation("one"));
        let wish = Appending {
            account: &account,
            incarnation: &incarnation,
            asker: &PASSWORD,
            name: "x",
            cert: &cert,
            may_manage: true,
        };
        for (revoked_for, are_too_many, expected) in [
            (vec![], false, None),
            (vec!["one"], false, Some(Denial::KeyRevoked)),
            (vec!["zero", "one"], false, Some(Denial::KeyRevoked)),
            (vec!["zero"], false, None),
            (vec![], true, Some(Denial::TooManyMarks)),
        ] {
            let revoked_for = revoked_for.into_iter();
            let marks = Marks {
                revoked_for: revoked_for
                    .map(crate::policy::fixtures::incarnation)
                    .collect(),
                are_too_many,
                is_anothers: false,
            };
            let list = AccountList::default();
            let got = append(&wish, &list, &marks, &HostPolicy::default(), NOW);
            assert_eq!(got.err(), expected, "{marks:?}");
        }
    }

    #[test]
    fn a_revocation_takes_every_certificate_with_that_key() {
        let first = enrolled(&cert_naming(&["h@a.lit"]), "h@a.lit");
        let renewed = Enrolment {
            name: CertificateName::parse("renewed").unwrap(),
            fingerprint: other_cert().fingerprint,
            ..first.clone()
        };
        let other = Enrolment {
            name: CertificateName::parse("other").unwrap(),
            ..enrolled(&other_cert(), "h@a.lit")
        };
        let (key, other_key) = (first.key_id, other.key_id);
        let mark = |of: &Enrolment, name: &str| Disabled {
            incarnation: of.incarnation.clone(),
            name: CertificateName::parse(name).unwrap(),
            fingerprint: of.fingerprint,
            key_id: of.key_id,
            not_after: of.not_after,
        };
        let marks = [mark(&other, "lost"), mark(&other, "phone")];
        let list = holding(&[first, renewed, other]);
        let scope = Scope::Of(Some(incarnation("one")));
        for (which, key, removed, cleared) in [
            (Which::Named("renewed"), key, vec!["renewed", "phone"], 0),
            (Which::WithKey(key), key, vec!["phone", "renewed"], 0),
            // Disabled before: its sessions may live on, and its key may stand in the list again.
            (Which::Named("lost"), other_key, vec!["other"], 2),
            (Which::WithKey(other_key), other_key, vec!["other"], 2),
        ] {
            let got = revoke(
                &PASSWORD,
                &scope,
                which,
                &list,
                &marks,
                &HostPolicy::default(),
            )
            .unwrap();
            let names: Vec<&str> = got.removed.iter().map(|held| held.name.as_str()).collect();
            assert_eq!(names, removed, "{which:?}");
            assert_eq!(got.keys, [(key, incarnation("one"))], "{which:?}");
            assert_eq!(got.cleared.len(), cleared, "{which:?}");
        }
        // Whatever had the name goes with it: a decoy in its place must not save the first.
        let which = Which::Named("phone");
        let both = revoke(
            &PASSWORD,
            &scope,
            which,
            &list,
            &marks,
            &HostPolicy::default(),
        );
        let both = both.unwrap();
        assert_eq!(
            both.keys,
            [(key, incarnation("one")), (other_key, incarnation("one"))]
        );
        assert_eq!((both.removed.len(), both.cleared.len()), (3, 2));
        let gone = disable(&PASSWORD, &scope, "phone", &list, &HostPolicy::default()).unwrap();
        assert_eq!(gone, [&list.enrolments[0]]);
        let later = Scope::Of(Some(incarnation("two")));
        for (scope, which) in [
            (&scope, Which::Named("nobody")),
            (&scope, Which::Named("")),
            (&scope, Which::Named("\u{0}")),
            (&scope, Which::WithKey(KeyId::from_bytes([9; 32]))),
            (&later, Which::Named("phone")),
            (&later, Which::Named("lost")),
            (&later, Which::WithKey(key)),
        ] {
            let got = revoke(
                &PASSWORD,
                scope,
                which,
                &list,
                &marks,
                &HostPolicy::default(),
            );
            assert_eq!(got.err(), Some(Denial::NameUnknown), "{which:?}");
        }
    }

    #[test]
    fn what_is_long_expired_or_orphaned_goes_by_itself() {
        let held = enrolled(&other_cert(), "h@a.lit");
        let long_ago = NOW.plus(-EXPIRED_STAYS_SECONDS - 1);
        for (not_after, present, since, goes) in [
            (NOW, "one", long_ago, false),
            (NOW.plus(-EXPIRED_STAYS_SECONDS), "one", long_ago, false),
            (long_ago, "one", NOW, true),
            (NOW, "two", NOW, false),
            (NOW, "two", long_ago, true),
        ] {
            let mut list = holding(&[Enrolment {
                not_after,
                ..held.clone()
            }]);
            list.incarnation = Some((incarnation(present), since));
            assert_eq!(
                !stale(&list, NOW).is_empty(),
                goes,
                "{not_after:?} {present}"
            );
        }
    }

    #[test]
    fn what_expires_soon_has_not_expired_yet() {
        let mut held = enrolled(&other_cert(), "h@a.lit");
        for (left, soon) in [
            (-1, false),
            (0, true),
            (30 * SECONDS_PER_DAY - 1, true),
            (30 * SECONDS_PER_DAY, false),
        ] {
            held.not_after = NOW.plus(left);
            assert_eq!(expires_within(&held, 30, NOW), soon, "{left}");
        }
    }

    #[test]
    fn notice_is_given_at_each_of_the_days_before_it_expires() {
        let mut held = enrolled(&other_cert(), "h@a.lit");
        held.not_after = NOW.plus(100 * SECONDS_PER_DAY);
        let at = |days: i64| held.not_after.plus(-days * SECONDS_PER_DAY);
        let since = |now| notice_since(&held, &[7, 30, 1], now);
        assert_eq!(since(at(30).plus(-1)), None);
        assert_eq!(since(at(30)), Some(at(30)));
        assert_eq!(since(at(7).plus(-1)), Some(at(30)));
        assert_eq!(since(at(7)), Some(at(7)));
        assert_eq!(since(held.not_after), Some(at(1)));
        assert_eq!(since(held.not_after.plus(1)), None);
        assert_eq!(notice_since(&held, &[], at(1)), None);
        // Added when it had 20 days left.
        let late = Enrolment {
            added_at: at(20),
            ..held.clone()
        };
        assert_eq!(notice_since(&late, &[7, 30, 1], at(10)), None);
        assert_eq!(notice_since(&late, &[7, 30, 1], at(5)), Some(at(7)));
    }

    #[test]
    fn an_account_without_incarnation_has_no_certificates() {
        let policy = HostPolicy::default();
        let list = holding(&[enrolled(&other_cert(), "h@a.lit")]);
        let got = super::list(&PASSWORD, &Scope::Of(None), &list, &policy);
        assert_eq!(got, Ok(vec![]));
        let got = super::list(&PASSWORD, &Scope::Every, &list, &policy);
        assert_eq!(got.map(|all| all.len()), Ok(1));
    }
}
