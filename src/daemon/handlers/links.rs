//! `link.…`: links by which devices get keys are made, listed, revoked, looked at and redeemed.
//!
//! A link is redeemed in one change of the store: it is used up, and the certificate added; what goes for it is revoked behind the same
//! [`Closing`](super::super::gate::Closing). Must not know: rules (`policy::links` has them), HTTP, how a link is shown.

use std::sync::Arc;

use serde_json::json;
use zeroize::Zeroizing;

use super::super::connection::Peer;
use super::super::gate::Gate;
use super::super::guesses::{Guesses, Network};
use super::super::reply::{Answered, Reply};
use super::super::reservations::Reservations;
use super::certificates::{Certificates, certificate_in, refused};
use super::edits::{append_edits, ended_links, is_anothers, receiving, revoke_edits};
use super::fresh::{new_incarnation, new_link_token};
use super::incarnations::{present_in_prosody, register_in_prosody};
use super::whose::{Whose, asker, described};
use crate::identity::{
    Account, BareJid, CertificateName, ClientCert, Fingerprint, Host, Incarnation, Link, LinkHash,
    LinkId, LinkKind, LinkToken, UnixSeconds,
};
use crate::policy::links::{self, CutOff, Present, Redeemed, Redeeming};
use crate::policy::manage::{Asker, MAX_MARKS, Marks};
use crate::policy::{Denial, HostPolicy};
use crate::protocol::{
    Accounts, CreateLink, CreatedLink, LinkPage, LinkPlace, ListLinks, LookAtLink, PAGE_BYTES,
    RedeemLink, RedeemedLink, Refusal, RevokeLink, SeenLink, Text,
};
use crate::store::{Decided, Edit, Harmless, StoreError, View};
use crate::wording::links::ListedLink;
use crate::wording::notices;

/// Makes links, and redeems them.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Linking<'a> {
    pub(in crate::daemon) lists: Certificates<'a>,
    pub(in crate::daemon) gate: &'a Gate,
    pub(in crate::daemon) guesses: &'a Guesses,
    pub(in crate::daemon) reservations: &'a Reservations,
}

impl Linking<'_> {
    pub(in crate::daemon) fn create(
        &self,
        question: CreateLink,
        peer: Peer,
        now: UnixSeconds,
    ) -> Answered<CreatedLink> {
        let whose = Whose::new(
            question.account,
            question.incarnation,
            question.session,
            peer,
        );
        let wish = links::Wish {
            kind: question.kind,
            name: question.name.as_deref(),
            seconds: question.seconds,
            uses: question.uses,
        };
        self.make(&whose, &wish, now)
    }

    /// Makes a link. Its token is in the answer, and nowhere else.
    pub(super) fn make(
        &self,
        whose: &Whose,
        wish: &links::Wish<'_>,
        now: UnixSeconds,
    ) -> Result<CreatedLink, Refusal> {
        const QUESTION: &str = "link.create";
        let account = &whose.account;
        let host = account.host();
        let (lives, policy) = self.lists.hosts.of(host)?;
        let by = whose.by();
        let denied = |denial| refused(QUESTION, account, &by, denial);
        // Before Prosody is asked.
        let (asker, _) = asker(whose.session.clone(), whose.incarnation.clone(), whose.peer)?;
        let terms = links::make(wish, &asker, &policy, now).map_err(denied)?;
        let maker = links::maker(&asker).ok_or(Denial::ManagementForbidden);
        let maker = maker.map_err(denied)?;
        self.lists.disk_room.require()?;
        let incarnation = match wish.kind {
            LinkKind::New => {
                self.require_none(lives, account, now)?.map_err(denied)?;
                new_incarnation()?
            }
            LinkKind::Add | LinkKind::Replace => self.lists.asker_for_one(whose, lives)?.1,
        };
        let token = self.unlike_others()?;
        let link = Link {
            hash: token.hash(),
            account: account.clone(),
            incarnation,
            kind: wish.kind,
            name: terms.name,
            created: now,
            maker,
            by: by.clone(),
            expires: terms.expires,
            uses: terms.uses,
        };
        let row = row_of(&link);
        let to = link.incarnation.clone();
        let of_host = self.lists.store.live_links_on(host, now);
        let written = self.lists.store.change(account, move |view| {
            putting(&asker, link, view, of_host, (&policy, now))
        });
        written?.map_err(denied)?;
        let (id, kind, expires, uses) = (row.id, row.kind.name(), row.expires.0, row.uses);
        tracing::info!(%account, %id, kind, expires, uses, by, "{QUESTION}: yes");
        if !whose.is_by_admin() {
            let text = notices::link_made(row.id, row.expires, &by);
            self.lists.tell(account, vec![to], text, now);
        }
        let page = self.lists.hosts.page(host);
        let is_served = page.is_some();
        let page = page.unwrap_or_else(|| usual_page(host));
        let url = Zeroizing::new(format!("{page}#{}", token.reveal()));
        Ok(CreatedLink {
            url: Text(url),
            is_served,
            row,
        })
    }

    /// A token whose link has another id than all that there are.
    fn unlike_others(&self) -> Result<LinkToken, StoreError> {
        loop {
            let token = new_link_token()?;
            let id = token.hash().id();
            if self.lists.store.link_with_id(id).is_none() {
                return Ok(token);
            }
        }
    }

    /// There must be no account of the name, nor may somebody be about to create one.
    fn require_none(
        &self,
        lives: Accounts,
        account: &BareJid,
        now: UnixSeconds,
    ) -> Result<Result<(), Denial>, Refusal> {
        let is_there = match lives {
            Accounts::Daemon => {
                let known = self.lists.store.view(account).account()?;
                known.is_some() || self.reservations.is_anothers(account, None, now)
            }
            Accounts::Prosody => present_in_prosody(self.lists.servers, account)?.is_some(),
        };
        Ok(if is_there {
            Err(Denial::AccountExists)
        } else {
            Ok(())
        })
    }

    pub(in crate::daemon) fn list(
        &self,
        question: &ListLinks,
        now: UnixSeconds,
    ) -> Answered<LinkPage> {
        let places = self.lists.store.links_of(|account| {
            let is_of = |host| account.host() == host;
            question.host.as_ref().is_none_or(is_of)
                && question.account.as_ref().is_none_or(|one| one == account)
        });
        let is_behind = |(account, hash): &(BareJid, LinkHash)| {
            let after = question.after.as_ref();
            after.is_none_or(|after| (account, hash.id()) > (&after.account, after.id))
        };
        let mut page = LinkPage {
            links: Vec::new(),
            next: None,
        };
        let mut bytes = 0;
        for (account, hash) in places.into_iter().filter(is_behind) {
            if bytes > PAGE_BYTES {
                page.next = page.links.last().map(|last: &ListedLink| LinkPlace {
                    account: last.account.clone(),
                    id: last.id,
                });
                break;
            }
            let link = self.lists.store.view(&account).link(&hash)?;
            let link = match link {
                Some(link) if self.may_be_used(&link, now)? => Some(link),
                _ => None,
            };
            if let Some(link) = link {
                let row = row_of(&link);
                bytes += json!(row).to_string().len();
                page.links.push(row);
            }
        }
        Ok(page)
    }

    /// Could the link be redeemed, as far as that is known here? Of a host that nobody has declared its time alone is known.
    fn may_be_used(&self, link: &Link, now: UnixSeconds) -> Result<bool, StoreError> {
        let Ok((lives, policy)) = self.lists.hosts.of(link.account.host()) else {
            return Ok(!links::is_over(link, now));
        };
        let view = self.lists.store.view(&link.account);
        let present = match lives {
            Accounts::Daemon => view.account()?.map(|known| known.incarnation),
            Accounts::Prosody => None,
        };
        Ok(links::waits(
            link,
            present.as_ref(),
            &view.list()?,
            (&policy, now),
        ))
    }

    pub(in crate::daemon) fn revoke(
        &self,
        RevokeLink { id }: RevokeLink,
        peer: Peer,
    ) -> Answered<ListedLink> {
        let by = described(None, peer);
        self.take_back(id, &by)
    }

    /// Revokes a link: what it was.
    pub(super) fn take_back(&self, id: LinkId, by: &str) -> Result<ListedLink, Refusal> {
        let found = self.lists.store.link_with_id(id);
        let (account, hash) = found.ok_or(Refusal::Management(Denial::LinkMissing))?;
        let written = self.lists.store.change(&account, move |view| {
            Ok(match view.link(&hash)? {
                Some(link) => Ok((vec![Harmless::remove_link(hash)], row_of(&link))),
                None => Err(Denial::LinkMissing),
            })
        });
        let row = written?.map_err(Refusal::Management)?;
        tracing::info!(%account, %id, by, "link.revoke: yes");
        Ok(row)
    }

    /// Ends all links of the account, where no certificate has to be revoked: how many?
    pub(super) fn end_all(&self, whose: &Whose) -> Result<usize, Refusal> {
        const QUESTION: &str = "link.revoke";
        let account = &whose.account;
        if self.lists.store.view(account).links()?.is_empty() {
            return Ok(0);
        }
        let policy = self.lists.hosts.policy(account.host())?;
        let (asker, scope) = self.lists.asker_of(whose)?;
        let by = whose.by();
        let written = self.lists.store.change(account, move |view| {
            if let Err(denial) = links::may_end(&asker, &scope, &view.list()?, &policy) {
                return Ok(Err(denial));
            }
            let ended = ended_links(view, CutOff::OthersGo)?.into_iter();
            let ended: Vec<_> = ended.map(Harmless::remove_link).collect();
            let count = ended.len();
            Ok(Ok((ended, count)))
        });
        let count = written?.map_err(|denial| refused(QUESTION, account, &by, denial))?;
        tracing::info!(%account, count, by, "{QUESTION}: yes");
        Ok(count)
    }

    pub(in crate::daemon) fn look(
        &self,
        question: &LookAtLink,
        now: UnixSeconds,
    ) -> Answered<SeenLink> {
        let trying = Trying {
            host: &question.host,
            token: &question.token.0,
            address: question.address.as_deref(),
        };
        let (link, ..) = self.found(&trying, now)?;
        Ok(SeenLink {
            account: link.account,
            incarnation: link.incarnation,
            kind: link.kind,
            name: link.name,
            expires: link.expires,
        })
    }

    /// Would the link be redeemed as things are now, whatever the certificate? One that makes an account is looked at in
    /// [`Self::require_name`]: what was begun for it is there.
    fn require_use(
        &self,
        link: &Link,
        lives: Accounts,
        policy: &HostPolicy,
    ) -> Result<Result<(), Denial>, Refusal> {
        if link.kind == LinkKind::New {
            return Ok(Ok(()));
        }
        let view = self.lists.store.view(&link.account);
        if let Err(denial) = links::require_maker(link, &view.list()?, policy) {
            return Ok(Err(denial));
        }
        let present = match lives {
            Accounts::Daemon => view.account()?.as_ref().map(present_of),
            // Whoever has such a token could measure that somebody was asked: that it was a link's, once. Nobody guesses one.
            Accounts::Prosody => present_in_prosody(self.lists.servers, &link.account)?,
        };
        Ok(links::require_account(link, present.as_ref()))
    }

    /// The link that somebody tries, if it can be redeemed; how accounts of its host live, and by which rules. One that is none is
    /// counted as a guess. One that counts is no guess, and does not wait: others may share the network with who guesses.
    ///
    /// It comes before all else that may be wrong: whatever the certificate, no link is told from another that is none.
    fn found(
        &self,
        trying: &Trying<'_>,
        now: UnixSeconds,
    ) -> Result<(Link, Accounts, Arc<HostPolicy>), Refusal> {
        let host = trying.host;
        let (lives, policy) = self.lists.hosts.of(host)?;
        let link = self.lists.store.link(&LinkHash::of(trying.token), host)?;
        let used = match links::usable(link.as_ref(), &policy, now) {
            Ok(link) => self.require_use(link, lives, &policy)?.map(|()| link),
            Err(denial) => Err(denial),
        };
        match used {
            Ok(link) => Ok((link.clone(), lives, policy)),
            Err(denial) => Err(self.denied(trying, denial, &policy, now)),
        }
    }

    /// The no to whoever has opened a link; that it is none is counted as a guess.
    fn denied(
        &self,
        trying: &Trying<'_>,
        denial: Denial,
        policy: &HostPolicy,
        now: UnixSeconds,
    ) -> Refusal {
        let Trying { host, address, .. } = *trying;
        let network = address.map(Network::of);
        let max = policy.guess_delay_max_seconds;
        if denial == Denial::LinkUnknown && self.guesses.must_wait_after_link(network, max, now) {
            // No line for each: who guesses could fill the log.
            tracing::debug!(%host, address, "a link was tried too early: no");
            return Refusal::Management(Denial::TooManyGuesses);
        }
        tracing::info!(%host, address, reason = denial.words().code, "a link was tried: no");
        Refusal::Management(denial)
    }

    pub(in crate::daemon) fn redeem(
        &self,
        reply: &Reply<RedeemLink>,
        question: &RedeemLink,
        now: UnixSeconds,
    ) {
        if let Err(refusal) = self.try_to_redeem(reply, question, now) {
            reply.refuse(refusal);
        }
    }

    /// Errors: nothing was changed here, and nothing answered. In Prosody an account may have been made, for which the same link still
    /// counts.
    fn try_to_redeem(
        &self,
        reply: &Reply<RedeemLink>,
        question: &RedeemLink,
        now: UnixSeconds,
    ) -> Result<(), Refusal> {
        let trying = Trying {
            host: &question.host,
            token: &question.token.0,
            address: question.address.as_deref(),
        };
        let (link, lives, policy) = self.found(&trying, now)?;
        self.lists.disk_room.require()?;
        let by = format!("link {}", link.hash.id());
        let account = &link.account;
        let denied = |denial| match denial {
            // It has come to an end since it was found.
            Denial::LinkUnknown => self.denied(&trying, denial, &policy, now),
            _ => refused("link.redeem", account, &by, denial),
        };
        let cert = Arc::new(certificate_in(&question.certificate).map_err(denied)?);
        let opened = Opened {
            hash: link.hash,
            name: question.name.clone(),
            cert,
            secure: question.secure,
            policy: policy.clone(),
            now,
        };
        // Everything that can be said of the certificate, before an account is made in Prosody.
        let view = self.lists.store.view(account);
        opened.decide(&view)?.map_err(denied)?;
        if link.kind == LinkKind::New {
            self.require_name(&link, lives, now)?.map_err(denied)?;
        }
        let fresh = (lives == Accounts::Daemon).then_some(link.kind);
        let subject = receiving(account, [&*opened.cert]);
        let closes = link.kind == LinkKind::Replace || fresh == Some(LinkKind::New);
        let written = if closes {
            // Every server hears of an account that is new, the asker too: it has just been told that there is none.
            let asking = self.gate.asking_as_any(reply.connection());
            let decide = move |view: &View<'_>| redeemed(&opened, lives, view);
            let asker = Some(asking.asker());
            let written = self.lists.store.take_back(asker, subject, decide);
            let written = written?.map_err(denied)?;
            let answer = done(&link, &written);
            reply.send_closing(asking, &answer);
            written
        } else {
            let decide = move |view: &View<'_>| harmless(redeemed(&opened, lives, view)?, view);
            let written = self.lists.store.change(subject, decide)?;
            let written = written.map_err(denied)?;
            reply.send(Ok(done(&link, &written)));
            written
        };
        self.tell(&link, &written, question.address.as_deref(), now);
        Ok(())
    }

    /// Is the name of the account that the link makes free, or its own? Where accounts live in Prosody, that makes the account; where they
    /// live here the change itself does.
    fn require_name(
        &self,
        link: &Link,
        lives: Accounts,
        now: UnixSeconds,
    ) -> Result<Result<(), Denial>, Refusal> {
        let account = &link.account;
        Ok(match lives {
            // The name may be another's who has not got it yet.
            Accounts::Daemon if self.reservations.is_anothers(account, None, now) => {
                Err(Denial::AccountExists)
            }
            Accounts::Daemon => Ok(()),
            Accounts::Prosody => {
                let present = register_in_prosody(self.lists.servers, account, &link.incarnation)?;
                links::require_account(link, Some(&present))
            }
        })
    }

    fn tell(&self, link: &Link, written: &Written, address: Option<&str>, now: UnixSeconds) {
        let revoked: Vec<&CertificateName> = written.revoked.iter().collect();
        let cert = (&written.name, &written.fingerprint);
        let text = notices::added_by_link(cert, &link.by, address, &revoked);
        let to = vec![link.incarnation.clone()];
        self.lists.tell(&link.account, to, text, now);
    }
}

/// A token that somebody tries.
struct Trying<'a> {
    host: &'a Host,
    token: &'a str,
    address: Option<&'a str>,
}

/// A link that was opened, and the certificate that is to come in by it.
struct Opened {
    hash: LinkHash,
    name: Option<String>,
    cert: Arc<ClientCert>,
    secure: bool,
    policy: Arc<HostPolicy>,
    now: UnixSeconds,
}

impl Opened {
    /// The decision as things stand, whoever has the account's name.
    fn decide(&self, view: &View<'_>) -> Result<Result<(Link, Redeemed), Denial>, StoreError> {
        let Self {
            hash,
            name,
            cert,
            secure,
            policy,
            now,
        } = self;
        let link = view.link(hash)?;
        let link = match links::usable(link.as_ref(), policy, *now) {
            Ok(link) => link.clone(),
            Err(denial) => return Ok(Err(denial)),
        };
        let marks = Marks {
            revoked_for: view.revoked_for(&cert.key_id)?,
            are_too_many: view.has_more_marks_than(MAX_MARKS, &link.incarnation)?,
            is_anothers: is_anothers(view, cert, view.jid())?,
        };
        let wish = Redeeming {
            link: &link,
            name: name.as_deref(),
            cert,
            secure: *secure,
        };
        let (list, disabled) = (view.list()?, view.disabled()?);
        let redeemed = links::redeem(&wish, &list, &disabled, marks, (policy, *now));
        Ok(redeemed.map(|redeemed| (link, redeemed)))
    }
}

/// The answer to what is on the disk by now, and its line in the log.
fn done(link: &Link, written: &Written) -> RedeemedLink {
    let (account, id) = (&link.account, link.hash.id());
    let (name, fingerprint) = (written.name.as_str(), &written.fingerprint);
    let revoked = written.revoked.len();
    let kind = link.kind.name();
    tracing::info!(%account, %id, kind, name, %fingerprint, revoked, "link.redeem: yes");
    RedeemedLink {
        account: account.clone(),
        kind: link.kind,
        name: written.name.clone(),
    }
}

/// What was written.
struct Written {
    name: CertificateName,
    fingerprint: Fingerprint,
    /// The certificates that went for it.
    revoked: Vec<CertificateName>,
}

/// The one change by which a link is redeemed: all of it, or nothing.
fn redeemed(opened: &Opened, lives: Accounts, view: &View<'_>) -> Decided<Edit, Written, Denial> {
    let (link, redeemed) = match opened.decide(view)? {
        Ok(decided) => decided,
        Err(denial) => return Ok(Err(denial)),
    };
    let now = opened.now;
    let mut edits = Vec::new();
    if lives == Accounts::Daemon {
        let known = view.account()?;
        let present = known.as_ref().map(present_of);
        if let Err(denial) = links::require_account(&link, present.as_ref()) {
            return Ok(Err(denial));
        }
        if link.kind == LinkKind::New {
            edits.push(Edit::PutAccount(Box::new(without_password(&link, now))));
        }
    }
    edits.push(match redeemed.left {
        Some(left) => Edit::PutLink(Box::new(left)),
        None => Edit::RemoveLink(link.hash),
    });
    if let Some(revoked) = &redeemed.revoked {
        edits.extend(revoke_edits(revoked, now));
    }
    if link.kind == LinkKind::Replace {
        let ended = ended_links(view, CutOff::OthersGo)?.into_iter();
        let others = ended.filter(|other| *other != link.hash);
        edits.extend(others.map(Edit::RemoveLink));
    }
    let appended = append_edits(&redeemed.appended, &view.list()?, view, now)?;
    edits.extend(appended.into_iter().map(Edit::from));
    let held = redeemed.appended.enrolment;
    let revoked = redeemed.revoked.as_ref();
    let revoked = revoked.map_or_else(Vec::new, |revoked| {
        revoked.names().into_iter().cloned().collect()
    });
    let written = Written {
        name: held.name,
        fingerprint: held.fingerprint,
        revoked,
    };
    Ok(Ok((edits, written)))
}

/// The same, where nothing is revoked and no account made.
fn harmless(
    decided: Result<(Vec<Edit>, Written), Denial>,
    view: &View<'_>,
) -> Decided<Harmless, Written, Denial> {
    let (edits, written) = match decided {
        Ok(decided) => decided,
        Err(denial) => return Ok(Err(denial)),
    };
    let harmless = edits.into_iter().map(|edit| Harmless::of(edit, view));
    // Proof: a link that adds puts a record and a link, and takes out expired records. Were it more, nothing would be written.
    let harmless: Option<Vec<Harmless>> = harmless.collect::<Result<_, _>>()?;
    Ok(harmless
        .map(|edits| (edits, written))
        .ok_or(Denial::LinkUnknown))
}

/// The edits that put a new link beside those of its account.
fn putting(
    asker: &Asker,
    link: Link,
    view: &View<'_>,
    of_host: usize,
    (policy, now): (&HostPolicy, UnixSeconds),
) -> Decided<Harmless, (), Denial> {
    let list = view.list()?;
    let present = (link.kind != LinkKind::New).then_some(&link.incarnation);
    if let Some(present) = present
        && let Err(denial) = links::may_add(asker, present, &list, policy)
    {
        return Ok(Err(denial));
    }
    let own = view.links()?.into_iter();
    let (over, rest): (Vec<Link>, Vec<Link>) = own.partition(|link| links::is_over(link, now));
    let in_the_way = rest.iter().filter(|other| {
        links::waits(other, present, &list, (policy, now)) && links::counts_for(&link, other)
    });
    Ok(links::require_room(in_the_way.count(), of_host).map(|()| {
        let over = over.into_iter();
        let gone = over.map(|link| Harmless::remove_link(link.hash));
        (gone.chain([Harmless::put_link(link)]).collect(), ())
    }))
}

/// The account that a link makes.
fn without_password(link: &Link, now: UnixSeconds) -> Account {
    Account {
        jid: link.account.clone(),
        incarnation: link.incarnation.clone(),
        enabled: true,
        created: now,
        password_changed: now,
        verifiers: Vec::new(),
    }
}

fn present_of(known: &Account) -> Present {
    let incarnation: Incarnation = known.incarnation.clone();
    Present {
        incarnation: Some(incarnation),
        enabled: known.enabled,
    }
}

pub(super) fn row_of(link: &Link) -> ListedLink {
    ListedLink {
        id: link.hash.id(),
        account: link.account.clone(),
        kind: link.kind,
        name: link.name.clone(),
        created: link.created,
        by: link.by.clone(),
        expires: link.expires,
        uses: link.uses,
    }
}

/// Where Prosody serves the page, unless it is told otherwise.
fn usual_page(host: &Host) -> String {
    format!("https://{host}:5281/devices")
}
