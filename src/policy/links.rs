//! Links by which a device gets a key without a password: who may make one, whether one still counts, and what follows when it is
//! redeemed.
//!
//! Must not know: where links are kept, how somebody comes by one.

use std::sync::Arc;

use crate::identity::{
    AccountList, AddedBy, CertificateName, ClientCert, Disabled, Enrolment, Incarnation, Link,
    LinkId, LinkKind, LinkMaker, UnixSeconds,
};

use super::denial::Denial;
use super::host::{HostPolicy, Links};
use super::manage::{
    self, Appended, Appending, Asker, LoggedInBy, Marks, Revoked, Revoking, Scope, Which,
};

/// The link that somebody wants to make.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// What it is to do.
    pub kind: LinkKind,
    /// The name that is proposed for the device, as it came.
    pub name: Option<&'a str>,
    /// For how many seconds it is to count; `None`: as long as usual.
    pub seconds: Option<u64>,
    /// How often; `None`: once.
    pub uses: Option<u32>,
}

/// The terms of a link that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The name that is proposed for the device.
    pub name: Option<CertificateName>,
    /// The first second in which it counts no more.
    pub expires: UnixSeconds,
    /// So often it can be redeemed.
    pub uses: u16,
}

/// May such a link be made by whoever has this proof? The account's own list is another question: [`may_add`].
///
/// Errors: the first refusal in the order of the checks below.
pub fn make(
    wish: &Wish<'_>,
    asker: &Asker,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Terms, Denial> {
    let is_by_admin = asker.by == LoggedInBy::Admin;
    match policy.links {
        Links::Off => return Err(Denial::LinksOff),
        Links::Admin if !is_by_admin => return Err(Denial::LinkForbidden),
        Links::Own if !is_by_admin && wish.kind != LinkKind::Add => {
            return Err(Denial::LinkForbidden);
        }
        Links::Admin | Links::Own => {}
    }
    if !policy.trust.has_lists() {
        return Err(Denial::NoList);
    }
    let name = wish.name.map(CertificateName::parse).transpose();
    let name = name.map_err(|_| Denial::NameInvalid)?;
    let longest = if is_by_admin {
        MAX_SECONDS
    } else {
        MAX_OWN_SECONDS
    };
    let most = if is_by_admin && wish.kind == LinkKind::Add {
        MAX_USES
    } else {
        1
    };
    let seconds = wish.seconds.unwrap_or(USUAL_SECONDS);
    let uses = wish.uses.unwrap_or(1);
    if !(MIN_SECONDS..=longest).contains(&seconds) || !(1..=most).contains(&uses) {
        return Err(Denial::LinkTerms);
    }
    Ok(Terms {
        name,
        // Both are within their bounds by now.
        expires: now.plus(i64::try_from(seconds).unwrap_or_default()),
        uses: u16::try_from(uses).unwrap_or(1),
    })
}

/// May the session that makes a link, or has made it, add certificates to the account's list? Looked up anew when the link is
/// redeemed: the certificate that it had logged in with may have been revoked since.
pub fn may_add(
    asker: &Asker,
    incarnation: &Incarnation,
    list: &AccountList,
    policy: &HostPolicy,
) -> Result<(), Denial> {
    manage::may_add(asker, incarnation, list, policy)
}

/// May this session end the links of these accounts of the name? As it may revoke certificates.
pub fn may_end(
    asker: &Asker,
    scope: &Scope,
    list: &AccountList,
    policy: &HostPolicy,
) -> Result<(), Denial> {
    manage::may_remove(asker, scope, list, policy)
}

/// The links that sessions of these accounts of the name have made and whose time is not over, the oldest first.
///
/// Those that do not count now, since an option says so, are among them: with another option they would again.
/// Errors: as for a look at the list.
pub fn own<'a>(
    asker: &Asker,
    scope: &Scope,
    links: &'a [Link],
    (policy, now): (&HostPolicy, UnixSeconds),
) -> Result<Vec<&'a Link>, Denial> {
    manage::may_look(asker, policy)?;
    Ok(made_by_sessions(scope, links, now))
}

/// Which links a user takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenBack {
    /// All that the account's sessions have made.
    All,
    /// This one of them.
    One(LinkId),
}

/// The links that a session takes back, whatever the host's option for links is: it takes a right away and gives none.
///
/// Errors: those of [`may_end`]; or there is no such link, which is one answer for all that are none of the account's own.
pub fn take_back<'a>(
    which: TakenBack,
    (asker, scope): (&Asker, &Scope),
    (list, links): (&AccountList, &'a [Link]),
    (policy, now): (&HostPolicy, UnixSeconds),
) -> Result<Vec<&'a Link>, Denial> {
    may_end(asker, scope, list, policy)?;
    let mut taken = made_by_sessions(scope, links, now);
    if let TakenBack::One(id) = which {
        taken.retain(|link| link.hash.id() == id);
        if taken.is_empty() {
            return Err(Denial::LinkMissing);
        }
    }
    Ok(taken)
}

fn made_by_sessions<'a>(scope: &Scope, links: &'a [Link], now: UnixSeconds) -> Vec<&'a Link> {
    let is_own = |link: &&Link| {
        link.maker != LinkMaker::Admin
            && manage::is_in_scope(&link.incarnation, scope)
            && !is_over(link, now)
    };
    let mut own: Vec<&Link> = links.iter().filter(is_own).collect();
    own.sort_by_key(|link| (link.created, link.hash));
    own
}

/// Could the link be redeemed, for all that can be said without asking anybody?
///
/// `present`: the account that has the name now; `None`: there is none, or nobody knows. `list`: that of the link's account.
#[must_use]
pub fn waits(
    link: &Link,
    present: Option<&Incarnation>,
    list: &AccountList,
    (policy, now): (&HostPolicy, UnixSeconds),
) -> bool {
    let is_of_another = present.is_some_and(|present| *present != link.incarnation);
    !is_of_another
        && usable(Some(link), policy, now).is_ok()
        && require_maker(link, list, policy).is_ok()
}

/// Does a link that waits take room from one that is to be made? Those of the account's own sessions take none from an
/// administrator's: with them somebody who has stolen a device could keep away what cuts the device off.
#[must_use]
pub fn counts_for(made: &Link, other: &Link) -> bool {
    made.maker != LinkMaker::Admin || other.maker == LinkMaker::Admin
}

/// Is there room for one more link, where the account has so many that count, and the host?
pub fn require_room(of_account: usize, of_host: usize) -> Result<(), Denial> {
    if of_account >= MAX_OF_ACCOUNT || of_host >= MAX_OF_HOST {
        return Err(Denial::TooManyLinks);
    }
    Ok(())
}

/// Is the time of this link over?
#[must_use]
pub fn is_over(link: &Link, now: UnixSeconds) -> bool {
    link.expires <= now || link.uses == 0
}

/// The link, if it can be redeemed now.
///
/// Errors: one and the same for every reason.
pub fn usable<'a>(
    link: Option<&'a Link>,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<&'a Link, Denial> {
    let is_wanted = |link: &&Link| match policy.links {
        Links::Off => false,
        Links::Admin => link.maker == LinkMaker::Admin,
        Links::Own => link.maker == LinkMaker::Admin || link.kind == LinkKind::Add,
    };
    link.filter(|link| !is_over(link, now))
        .filter(is_wanted)
        .ok_or(Denial::LinkUnknown)
}

/// The account that has a link's name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Which one of the name it is; `None`: nobody has asked yet.
    pub incarnation: Option<Incarnation>,
    /// May anybody log in as it?
    pub enabled: bool,
}

/// Is the account such that the link may be redeemed? `present`: the account that has its name now, if one has.
///
/// A link is for one account of the name, and void when that is gone. One that makes the account finds none; or the very account
/// that it has made already, when that came to an end before the certificate was added.
pub fn require_account(link: &Link, present: Option<&Present>) -> Result<(), Denial> {
    let is_its_own = |present: &Present| present.incarnation.as_ref() == Some(&link.incarnation);
    match (link.kind, present) {
        (LinkKind::New, None) => Ok(()),
        (LinkKind::New, Some(present)) if !is_its_own(present) => Err(Denial::AccountExists),
        (_, Some(present)) if is_its_own(present) && present.enabled => Ok(()),
        (_, Some(present)) if is_its_own(present) => Err(Denial::AccountDisabled),
        _ => Err(Denial::LinkUnknown),
    }
}

/// May whoever has made the link add certificates still? `list`: that of its account.
///
/// Errors: no, which reads as no link.
pub fn require_maker(link: &Link, list: &AccountList, policy: &HostPolicy) -> Result<(), Denial> {
    let may = may_add(&asker_of(link), &link.incarnation, list, policy);
    may.map_err(|_| Denial::LinkUnknown)
}

/// A link that somebody redeems.
#[derive(Clone, Debug)]
pub struct Redeeming<'a> {
    /// The link, which is [`usable`].
    pub link: &'a Link,
    /// The name that the device is to have; `None`: the one that the link proposes.
    pub name: Option<&'a str>,
    /// Its certificate.
    pub cert: &'a Arc<ClientCert>,
    /// Nobody on the way reads what is sent, as far as the server knows.
    pub secure: bool,
}

/// The effect of redeeming a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemed {
    /// What is left of it; `None`: it is used up.
    pub left: Option<Link>,
    /// The certificates that go for it.
    pub revoked: Option<Revoked>,
    /// The certificate that comes.
    pub appended: Appended,
}

/// Decides what follows when a link is redeemed.
///
/// Shape: `list`, `disabled` and `marks` are those of the link's account.
/// Errors: whoever made it may not add certificates any more, which reads as no link; the connection is not secure; or what
/// [`manage::append`] refuses.
pub fn redeem(
    wish: &Redeeming<'_>,
    list: &AccountList,
    disabled: &[Disabled],
    mut marks: Marks,
    (policy, now): (&HostPolicy, UnixSeconds),
) -> Result<Redeemed, Denial> {
    let Redeeming {
        link, name, cert, ..
    } = *wish;
    let asker = asker_of(link);
    require_maker(link, list, policy)?;
    if !wish.secure {
        return Err(Denial::StreamNotSecure);
    }
    // The way back from a lost device, which may have filled the list of what is revoked. Only an administrator makes such links, and
    // each brings one certificate.
    marks.are_too_many &= link.kind != LinkKind::Replace;
    let revoked = match link.kind {
        LinkKind::Replace => revoke_all(link, list, disabled, policy)?,
        LinkKind::Add | LinkKind::New => None,
    };
    let mut rest = list.clone();
    if let Some(revoked) = &revoked {
        // The key that comes must be another one than those that go.
        let of_key = revoked.keys.iter().filter(|(key, _)| *key == cert.key_id);
        marks.revoked_for.extend(of_key.map(|(_, of)| of.clone()));
        rest.enrolments
            .retain(|held| !revoked.removed.contains(held));
    }
    let proposed = link.name.as_ref().map(CertificateName::as_str);
    let wanted = name.or(proposed).unwrap_or(USUAL_NAME);
    let name = free_name(wanted, &rest, &link.incarnation)?;
    let wish = Appending {
        account: &link.account,
        incarnation: &link.incarnation,
        asker: &asker,
        name: name.as_str(),
        cert,
        may_manage: true,
    };
    let mut appended = manage::append(&wish, &rest, &marks, policy, now)?;
    appended.enrolment.added_by = added_by(&link.maker);
    Ok(Redeemed {
        left: (link.uses > 1).then(|| Link {
            uses: link.uses - 1,
            ..link.clone()
        }),
        revoked,
        appended,
    })
}

/// Every certificate of the link's account, if it has any.
fn revoke_all(
    link: &Link,
    list: &AccountList,
    disabled: &[Disabled],
    policy: &HostPolicy,
) -> Result<Option<Revoked>, Denial> {
    let wish = Revoking {
        asker: &asker_of(link),
        scope: &Scope::Of(Some(link.incarnation.clone())),
        which: Which::All,
    };
    match manage::revoke(&wish, list, disabled, policy) {
        Ok(revoked) => Ok(Some(revoked)),
        Err(Denial::NameUnknown) => Ok(None),
        Err(denial) => Err(denial),
    }
}

/// Whoever made the link, as the one who asks: what it does is done in that one's name.
fn asker_of(link: &Link) -> Asker {
    let by = match &link.maker {
        LinkMaker::Admin => LoggedInBy::Admin,
        LinkMaker::Password { .. } => LoggedInBy::Password,
        LinkMaker::Certificate { fingerprint, .. } => LoggedInBy::Certificate {
            fingerprint: *fingerprint,
        },
    };
    Asker {
        secure: true,
        by,
        jid: None,
    }
}

/// Whoever adds certificates by a link that `asker` makes; `None`: one that may make none.
#[must_use]
pub fn maker(asker: &Asker) -> Option<LinkMaker> {
    let jid = asker.jid.clone();
    match asker.by {
        LoggedInBy::Admin => Some(LinkMaker::Admin),
        LoggedInBy::Password => Some(LinkMaker::Password { jid }),
        LoggedInBy::Certificate { fingerprint } => {
            Some(LinkMaker::Certificate { fingerprint, jid })
        }
        LoggedInBy::Token => None,
    }
}

fn added_by(maker: &LinkMaker) -> AddedBy {
    let (certificate, jid) = match maker {
        LinkMaker::Admin => (None, None),
        LinkMaker::Password { jid } => (None, jid.clone()),
        LinkMaker::Certificate { fingerprint, jid } => (Some(*fingerprint), jid.clone()),
    };
    AddedBy { certificate, jid }
}

/// The name, with a number behind it if the account has a certificate of that name.
fn free_name(
    wanted: &str,
    list: &AccountList,
    incarnation: &Incarnation,
) -> Result<CertificateName, Denial> {
    let wanted = CertificateName::parse(wanted).map_err(|_| Denial::NameInvalid)?;
    let own = list.enrolments.iter();
    let own = own.filter(|held| held.incarnation == *incarnation);
    let taken: Vec<&str> = own.map(|held| held.name.as_str()).collect();
    let numbered = (2..=taken.len() + 1).map(|number| {
        let number = format!(" {number}");
        let mut base = wanted.as_str();
        while base.len() + number.len() > MAX_NAME_BYTES {
            let end = base.char_indices().next_back();
            base = end.map_or("", |(at, _)| base.split_at(at).0);
        }
        format!("{}{number}", base.trim_end())
    });
    // Of one more name than are taken, one is free.
    let mut names = std::iter::once(wanted.as_str().to_owned()).chain(numbered);
    let free = names.find(|name| !taken.contains(&name.as_str()));
    let free = free.and_then(|name| CertificateName::parse(&name).ok());
    free.ok_or(Denial::NameTaken)
}

/// Can this be the address of a page, behind which a link's secret may stand?
#[must_use]
pub fn is_page(address: &str) -> bool {
    let is_address = address.starts_with("https://") || address.starts_with("http://");
    let is_letter = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    is_address && address.len() <= MAX_PAGE_BYTES && address.bytes().all(is_letter)
}

/// What cuts off whoever may have an account's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutOff<'a> {
    /// Its other certificates go: all but one, or all for one that comes.
    OthersGo,
    /// It gets another password.
    OtherPassword,
    /// These certificates leave its list, by whatever way.
    Leave(&'a [Enrolment]),
}

/// The links of an account that end with this. Whoever has made them, where all who may have been sent one are cut off; those of a
/// certificate that leaves, since it may come back to the list.
///
/// With another password those end that add a certificate. One that replaces all others stays: it cuts off whoever has them.
#[must_use]
pub fn ended_by<'a>(cut: CutOff<'_>, links: &'a [Link]) -> Vec<&'a Link> {
    let ends = |link: &&Link| match cut {
        CutOff::OthersGo => true,
        CutOff::OtherPassword => link.kind == LinkKind::Add,
        CutOff::Leave(leaving) => leaving.iter().any(|held| is_made_with(link, held)),
    };
    links.iter().filter(ends).collect()
}

fn is_made_with(link: &Link, held: &Enrolment) -> bool {
    let LinkMaker::Certificate { fingerprint, .. } = &link.maker else {
        return false;
    };
    (fingerprint, &link.incarnation) == (&held.fingerprint, &held.incarnation)
}

/// A day.
const USUAL_SECONDS: u64 = 24 * 3600;
const MIN_SECONDS: u64 = 60;
/// Of a link that an administrator makes: 30 days.
const MAX_SECONDS: u64 = 30 * 24 * 3600;
/// Of a link that a user makes.
const MAX_OWN_SECONDS: u64 = 24 * 3600;
/// Of a link that an administrator makes to add certificates.
const MAX_USES: u32 = 100;
/// Most links of one account that wait.
pub const MAX_OF_ACCOUNT: usize = 20;
/// Most links of one host that wait.
pub const MAX_OF_HOST: usize = 10_000;
/// Where nobody has named the device.
const USUAL_NAME: &str = "New device";
/// As [`CertificateName`] has it.
const MAX_NAME_BYTES: usize = 256;
const MAX_PAGE_BYTES: usize = 1000;

#[cfg(test)]
mod tests;
