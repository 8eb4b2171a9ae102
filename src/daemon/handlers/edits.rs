//! Makes edits of the store from decisions about a list, and takes records out when their time is over.
//!
//! Must not know: who asks.

use std::sync::Arc;

use super::super::storage;
use crate::identity::{
    AccountList, BareJid, CertificateName, ClientCert, Enrolment, LinkHash, UnixSeconds,
};
use crate::policy::links::CutOff;
use crate::policy::manage::{Asker, LoggedInBy, Revoked};
use crate::policy::{Denial, links, manage};
use crate::store::{Edit, Harmless, Store, StoreError, Subject, View};

/// Removes certificates that expired long ago, links that have expired, and what belongs to accounts that were replaced long ago. Blocks.
pub(in crate::daemon) fn sweep(store: &Store, now: UnixSeconds) {
    let swept = store.accounts().and_then(|accounts| {
        accounts.into_iter().try_for_each(|account| {
            if sweepings(&store.view(&account), now)?.is_empty() {
                return Ok(());
            }
            let removed = store.change(&account, move |view| {
                let edits = sweepings(view, now)?;
                let count = edits.len();
                Ok(Ok::<_, Denial>((edits, count)))
            })?;
            tracing::info!(%account, ?removed, "stale certificates and links removed");
            Ok(())
        })
    });
    if let Err(error) = swept {
        storage::log(&error);
    }
}

/// The records of a list that matter to a change of one name: the record of that name, and that of the certificate that asks.
pub(super) fn concerned(
    view: &View<'_>,
    name: &str,
    asker: &Asker,
) -> Result<AccountList, StoreError> {
    let mut enrolments = Vec::new();
    if let Ok(name) = CertificateName::parse(name) {
        enrolments.extend(view.named(&name)?);
    }
    if let LoggedInBy::Certificate { fingerprint } = &asker.by {
        let own = view.holders(fingerprint)?.into_iter();
        let own = own.filter(|held| held.account == *view.jid());
        let others = own.filter(|held| enrolments.iter().all(|known| known.name != held.name));
        let others: Vec<Enrolment> = others.collect();
        enrolments.extend(others);
    }
    Ok(AccountList {
        enrolments,
        incarnation: view.incarnation()?,
    })
}

/// The rows of an account that are not needed any more.
fn sweepings(view: &View<'_>, now: UnixSeconds) -> Result<Vec<Harmless>, StoreError> {
    let list = view.list()?;
    let present = list.incarnation.as_ref();
    let stale = manage::stale(&list, now).into_iter().cloned().collect();
    let mut edits = leaving_edits(view, stale)?;
    let over = view.disabled()?.into_iter().filter(|mark| {
        manage::is_over(mark.not_after, now) || manage::is_orphan(&mark.incarnation, present, now)
    });
    edits.extend(over.map(Harmless::clear_disabled));
    let revoked = view.revoked_keys()?.into_iter();
    let orphaned = revoked.filter(|(_, of)| manage::is_orphan(of, present, now));
    edits.extend(orphaned.map(|(key_id, incarnation)| Harmless::unrevoke_key(key_id, incarnation)));
    let links = view.links()?.into_iter();
    let over = links.filter(|link| links::is_over(link, now));
    edits.extend(over.map(|link| Harmless::remove_link(link.hash)));
    Ok(edits)
}

/// Takes records out of the list, and the links with them that were made with their certificates.
pub(super) fn leaving_edits(
    view: &View<'_>,
    leaving: Vec<Enrolment>,
) -> Result<Vec<Harmless>, StoreError> {
    let ended = ended_links(view, CutOff::Leave(&leaving))?.into_iter();
    let ended = ended.map(Harmless::remove_link);
    let leaving = leaving.into_iter().map(Harmless::remove);
    Ok(leaving.chain(ended).collect())
}

/// The links of the account that end with this.
pub(super) fn ended_links(view: &View<'_>, cut: CutOff<'_>) -> Result<Vec<LinkHash>, StoreError> {
    let own = view.links()?;
    let ended = links::ended_by(cut, &own).into_iter();
    Ok(ended.map(|link| link.hash).collect())
}

pub(super) fn append_edits(
    appended: &manage::Appended,
    list: &AccountList,
    view: &View<'_>,
    now: UnixSeconds,
) -> Result<Vec<Harmless>, StoreError> {
    let mut edits = leaving_edits(view, appended.leaving.clone())?;
    let held = &appended.enrolment;
    if list.incarnation.as_ref().map(|(known, _)| known) != Some(&held.incarnation) {
        edits.push(Harmless::set_incarnation(held.incarnation.clone(), now));
    }
    edits.push(Harmless::put(held.clone(), Arc::clone(&appended.cert)));
    Ok(edits)
}

/// A change by which these certificates come into the account's list. What [`is_anothers`] says of one lasts until it is written.
pub(super) fn receiving<'a, 'c>(
    account: &'a BareJid,
    certs: impl IntoIterator<Item = &'c ClientCert>,
) -> Subject<'a> {
    let certs = certs.into_iter();
    let nameless = certs.filter(|cert| cert.addresses.is_empty());
    Subject::with(account, nameless.map(|cert| cert.fingerprint))
}

/// Does a certificate that names nobody stand in another account's list?
pub(super) fn is_anothers(
    view: &View<'_>,
    cert: &ClientCert,
    account: &BareJid,
) -> Result<bool, StoreError> {
    if !cert.addresses.is_empty() {
        return Ok(false);
    }
    let holders = view.holders(&cert.fingerprint)?;
    Ok(holders.iter().any(|held| held.account != *account))
}

pub(super) fn revoke_edits(revoked: &Revoked, now: UnixSeconds) -> Vec<Edit> {
    let removed = revoked
        .removed
        .iter()
        .cloned()
        .map(Box::new)
        .map(Edit::Remove);
    let cleared = revoked.cleared.iter().cloned().map(Box::new);
    let cleared = cleared.map(Edit::ClearDisabled);
    let keys = revoked
        .keys
        .iter()
        .map(|(key_id, incarnation)| Edit::RevokeKey {
            key_id: *key_id,
            incarnation: incarnation.clone(),
            at: now,
        });
    removed.chain(cleared).chain(keys).collect()
}
