//! An account's own list of certificates: the rules for append, list, disable and revoke.
//!
//! Must not know: how the list is stored, who tells the other sessions.

use std::collections::HashMap;
use std::sync::Arc;

use crate::identity::{
    Account, AccountList, AddedBy, BareJid, CertificateName, ClientCert, Disabled, Enrolment,
    Fingerprint, Incarnation, Jid, KeyId, UnixSeconds,
};

use super::denial::Denial;
use super::host::{HostPolicy, ManageWith, Trust};
use super::login::{names, require_acceptable, require_validity};
use crate::identity::authority::is_self_issued;
use expiry::SECONDS_PER_DAY;
pub use expiry::{
    EXPIRED_STAYS_SECONDS, coming_days, expires_within, is_expired, is_old_news, is_over, is_stale,
};
pub use room::{MAX_EXPIRED, MAX_LIST_BYTES};

mod expiry;
pub mod request;
mod room;

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
    /// With a password.
    Password,
    /// With a token, or by whatever else is neither a password nor a certificate that was admitted here.
    Token,
    /// With this certificate.
    Certificate {
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// Not a session: the machine's administrator.
    Admin,
}

impl LoggedInBy {
    /// The proof that a session has given, by the SASL mechanism that has logged it in; `None`: by no mechanism. EXTERNAL is
    /// [`Self::Certificate`], and not for this function. An unknown mechanism counts as a token.
    #[must_use]
    pub fn by_mechanism(mechanism: Option<&str>) -> Self {
        match mechanism {
            Some("PLAIN" | "LOGIN" | "CRAM-MD5" | "DIGEST-MD5") => Self::Password,
            Some(name) if name.starts_with("SCRAM-") => Self::Password,
            _ => Self::Token,
        }
    }
}

/// An act on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// A certificate is to be added. It outlives what its session has logged in by.
    Add,
    /// One is to be disabled or revoked.
    Remove,
}

/// Which account of the name is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The one with this incarnation; `None`: it has none yet, so it has no certificates.
    Of(Option<Incarnation>),
    /// All that ever had the name; an administrator's view.
    Every,
}

/// The certificate that a user wants to append, and how.
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
    pub cert: &'a Arc<ClientCert>,
    /// May its sessions add and remove certificates?
    pub may_manage: bool,
}

/// The marks of an account: what is remembered of it beside its list.
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

/// The records that an append writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The certificate.
    pub cert: Arc<ClientCert>,
    /// Its new record.
    pub enrolment: Enrolment,
    /// Records that leave with it: those of an earlier account that stand in its way or are too many, and expired ones, the
    /// old and the too many.
    pub leaving: Vec<Enrolment>,
}

/// The certificate that a session may add as the one of its connection.
///
/// Shape: `own_key` is that of the certificate that it has logged in with, which needs not be added again.
pub fn presented_to_add<'a>(
    own_key: Option<&KeyId>,
    presented: Option<&'a str>,
) -> Result<&'a str, Denial> {
    match own_key {
        None => presented.ok_or(Denial::NonePresented),
        Some(_) => Err(Denial::NonePresented),
    }
}

/// To which account of the name an administrator adds a certificate who does not say it; of accounts that live here.
///
/// Shape: `known` is the account that has the name now.
pub fn present(known: Option<&Account>) -> Result<&Incarnation, Denial> {
    match known {
        Some(known) if known.enabled => Ok(&known.incarnation),
        Some(_) => Err(Denial::AccountDisabled),
        None => Err(Denial::AccountMissing),
    }
}

/// Is the account that lives here still the one whose list was meant?
pub fn require_present(known: Option<&Account>, meant: &Incarnation) -> Result<(), Denial> {
    match known {
        Some(known) if known.enabled && known.incarnation == *meant => Ok(()),
        _ => Err(Denial::AccountMissing),
    }
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
    require_management(wish.asker, &own, policy, Act::Add)?;
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
    let bytes = wish.cert.der.len();
    let room = room::make(own, bytes, now);
    let staying = &room.staying;
    if staying.iter().any(|held| held.name == name) {
        return Err(Denial::NameTaken);
    }
    let fingerprint = wish.cert.fingerprint;
    if staying.iter().any(|held| held.fingerprint == fingerprint) {
        return Err(Denial::AlreadyEnrolled);
    }
    room.require(bytes, policy.max_certs, now)?;
    let others = list.enrolments.iter();
    let others = others.filter(|held| held.incarnation != *wish.incarnation);
    let (in_the_way, former): (Vec<_>, Vec<_>) =
        others.partition(|held| held.name == name || held.fingerprint == fingerprint);
    let leaving = room.leaving.into_iter().chain(in_the_way);
    let leaving = leaving.chain(room::former_leaving(former));
    let highest = list.enrolments.iter().map(|held| held.order).max();
    Ok(Appended {
        cert: Arc::clone(wish.cert),
        leaving: leaving.cloned().collect(),
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
                    // A session that came with a token adds none.
                    LoggedInBy::Password | LoggedInBy::Token | LoggedInBy::Admin => None,
                },
                jid: wish.asker.jid.clone(),
            },
            last_use: None,
        },
    })
}

/// May this session add certificates to the list of this account of the name?
pub(super) fn may_add(
    asker: &Asker,
    incarnation: &Incarnation,
    list: &AccountList,
    policy: &HostPolicy,
) -> Result<(), Denial> {
    let scope = Scope::Of(Some(incarnation.clone()));
    let own = in_scope(&list.enrolments, &scope);
    require_management(asker, &own, policy, Act::Add)
}

/// May this session take things out of the list of these accounts of the name?
pub(super) fn may_remove(
    asker: &Asker,
    scope: &Scope,
    list: &AccountList,
    policy: &HostPolicy,
) -> Result<(), Denial> {
    let own = in_scope(&list.enrolments, scope);
    require_management(asker, &own, policy, Act::Remove)
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
    may_look(asker, policy)?;
    let mut own = in_scope(&list.enrolments, scope);
    own.sort_by_key(|held| held.order);
    Ok(own)
}

/// May this session see what the account has?
pub(super) fn may_look(asker: &Asker, policy: &HostPolicy) -> Result<(), Denial> {
    require_secure(asker)?;
    require_list(asker, policy)
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
    require_management(asker, &own, policy, Act::Remove)?;
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
    /// Every one but those with this key: that of the session that asks.
    AllBut(KeyId),
    /// Every one.
    All,
}

/// A revocation that a user or an admin wants.
#[derive(Clone, Copy, Debug)]
pub struct Revoking<'a> {
    /// By which session.
    pub asker: &'a Asker,
    /// Of which accounts of the name.
    pub scope: &'a Scope,
    /// Which certificate.
    pub which: Which<'a>,
}

/// The effect of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The certificate's name; the first of them.
    pub name: CertificateName,
    /// Which certificate; the first of them.
    pub fingerprint: Fingerprint,
    /// The key of that.
    pub key_id: KeyId,
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
    wish: &Revoking<'_>,
    list: &AccountList,
    disabled: &[Disabled],
    policy: &HostPolicy,
) -> Result<Revoked, Denial> {
    let Revoking {
        asker,
        scope,
        which,
    } = *wish;
    let mut own = in_scope(&list.enrolments, scope);
    own.sort_by_key(|held| held.order);
    require_management(asker, &own, policy, Act::Remove)?;
    let disabled: Vec<&Disabled> = disabled
        .iter()
        .filter(|mark| is_in_scope(&mark.incarnation, scope))
        .collect();
    let enrolled: Vec<&Enrolment> = match which {
        Which::Named(name) => named(&own, name),
        Which::WithKey(key_id) => having(&own, |held| held.key_id == key_id),
        Which::AllBut(key_id) => having(&own, |held| held.key_id != key_id),
        Which::All => own.clone(),
    };
    let marked = match which {
        Which::Named(name) => {
            let name = CertificateName::parse(name).ok();
            having(&disabled, |mark| Some(&mark.name) == name.as_ref())
        }
        Which::WithKey(key_id) => having(&disabled, |mark| mark.key_id == key_id),
        Which::AllBut(key_id) => having(&disabled, |mark| mark.key_id != key_id),
        Which::All => disabled.clone(),
    };
    let listed = enrolled.iter();
    let listed = listed.map(|held| (&held.name, held.fingerprint, held.key_id));
    let gone = marked.iter();
    let gone = gone.map(|mark| (&mark.name, mark.fingerprint, mark.key_id));
    let Some((name, fingerprint, key_id)) = listed.chain(gone).next() else {
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
        key_id,
        cleared: cleared.cloned().collect(),
        removed,
        keys,
    })
}

fn having<'a, T>(all: &[&'a T], is_meant: impl Fn(&T) -> bool) -> Vec<&'a T> {
    let meant = all.iter().filter(|one| is_meant(one));
    meant.copied().collect()
}

impl Revoked {
    /// The names of the revoked certificates, each once: of the records that leave, and of those that were disabled before and have
    /// none of their keys.
    #[must_use]
    pub fn names(&self) -> Vec<&CertificateName> {
        let has_left =
            |mark: &&Disabled| self.removed.iter().all(|held| held.key_id != mark.key_id);
        let removed = self.removed.iter().map(|held| &held.name);
        let cleared = self.cleared.iter().filter(has_left);
        let mut names = Vec::new();
        for name in removed.chain(cleared.map(|mark| &mark.name)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Of the certificate that was revoked under this name.
    #[must_use]
    pub fn fingerprint_of(&self, name: &CertificateName) -> Fingerprint {
        let removed = self
            .removed
            .iter()
            .map(|record| (&record.name, record.fingerprint));
        let marked = self
            .cleared
            .iter()
            .map(|mark| (&mark.name, mark.fingerprint));
        let mut all = removed.chain(marked);
        all.find(|(of, _)| *of == name)
            .map_or(self.fingerprint, |(_, fingerprint)| fingerprint)
    }
}

/// The keys that a revocation of all but one would take, before it is confirmed: one name for each key, in the list's order.
///
/// Shape: `own` and `disabled` as [`list()`] and [`disabled()`] give them.
#[must_use]
pub fn others<'a>(
    own: &[&'a Enrolment],
    disabled: &[&'a Disabled],
    kept: KeyId,
) -> Vec<&'a CertificateName> {
    let listed = own.iter().map(|held| (held.key_id, &held.name));
    let marked = disabled.iter().map(|mark| (mark.key_id, &mark.name));
    let mut seen = vec![kept];
    let mut names = Vec::new();
    for (key_id, name) in listed.chain(marked) {
        if !seen.contains(&key_id) {
            seen.push(key_id);
            names.push(name);
        }
    }
    names
}

/// The records that go by themselves: long expired ones, other expired ones that are too many, and those of an account that was
/// replaced long ago.
#[must_use]
pub fn stale(list: &AccountList, now: UnixSeconds) -> Vec<&Enrolment> {
    let present = list.incarnation.as_ref();
    let (mut gone, kept): (Vec<&Enrolment>, Vec<&Enrolment>) = list
        .enrolments
        .iter()
        .partition(|held| is_orphan(&held.incarnation, present, now));
    let mut of_each: HashMap<&str, Vec<&Enrolment>> = HashMap::new();
    for held in kept {
        of_each
            .entry(held.incarnation.as_str())
            .or_default()
            .push(held);
    }
    let too_many = of_each.into_values();
    gone.extend(too_many.flat_map(|own| room::make(own, 0, now).leaving));
    gone
}

/// Is it of an account that was replaced so long ago that nothing needs to be remembered of it? `present`: the one that has the
/// name now, and since when.
#[must_use]
pub fn is_orphan(
    of: &Incarnation,
    present: Option<&(Incarnation, UnixSeconds)>,
    now: UnixSeconds,
) -> bool {
    present.is_some_and(|(present, since)| of != present && now > since.plus(EXPIRED_STAYS_SECONDS))
}

/// Are the users of a host with this policy told what expires soon?
#[must_use]
pub fn gives_notices(policy: &HostPolicy) -> bool {
    policy.trust.has_lists() && !policy.expiry_notice_days.is_empty()
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

pub(super) fn is_in_scope(incarnation: &Incarnation, scope: &Scope) -> bool {
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
    act: Act,
) -> Result<(), Denial> {
    require_secure(asker)?;
    require_list(asker, policy)?;
    let may_manage = match (&asker.by, policy.manage_with) {
        (LoggedInBy::Admin | LoggedInBy::Password, _) => true,
        (LoggedInBy::Certificate { .. } | LoggedInBy::Token, ManageWith::Password) => false,
        (LoggedInBy::Token, ManageWith::Any) => act == Act::Remove,
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

/// Most revoked keys and disabled certificates of one account. No revocation is ever refused for it; appending is.
pub const MAX_MARKS: usize = 1000;

#[cfg(test)]
mod tests;
