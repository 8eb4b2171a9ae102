//! `console.run`: what an administrator does in Prosody's shell or with `prosodyctl`.
//!
//! Must not know: rules, words.

use std::collections::HashSet;

use super::super::declared_host::remarks;
use super::super::reply::Reply;
use super::certificates::Certificates;
use super::incarnations::{Unmarked, incarnation_in_prosody};
use super::revocation::{KeyRevocation, Managing, Target};
use super::status::{sharer, standby_problem};
use super::whose::Whose;
use crate::identity::time::typed_seconds;
use crate::identity::{BareJid, CertificateName, Host, Incarnation, LinkKind, UnixSeconds};
use crate::policy::{Denial, links};
use crate::protocol::{
    Accounts, ConsoleRan, ConsoleRun, Each, Fault, ListLinks, Misuse, Refusal, Session, SessionBy,
};
use crate::wording::console::{self, HostStatus, Readiness, SharingStatus, Status};
use crate::wording::links::{self as wording, ListedLink};
use crate::wording::notices::By;
use crate::wording::sharing;

impl Managing<'_> {
    pub(in crate::daemon) fn console_run(
        &self,
        reply: &Reply<ConsoleRun>,
        question: &ConsoleRun,
        now: UnixSeconds,
    ) {
        let words: Vec<&str> = question.words.iter().map(String::as_str).collect();
        let ran = match words.as_slice() {
            // A word that was left out is missed like an empty one.
            ["list"] => self.lists.console_list(reply, "", now).map(Some),
            ["list", jid] => self.lists.console_list(reply, jid, now).map(Some),
            ["revoke"] => self.console_revoke(reply, "", "", now),
            ["revoke", jid] => self.console_revoke(reply, jid, "", now),
            ["revoke", jid, name] => self.console_revoke(reply, jid, name, now),
            ["link", rest @ ..] => self.console_link(reply, rest, now).map(Some),
            ["links", rest @ ..] => self.console_links(rest.first().copied(), now).map(Some),
            ["unlink", rest @ ..] => self.console_unlink(rest.first().copied()).map(Some),
            ["status"] => Ok(Some(self.lists.console_status(reply, question))),
            _ => Err(Misuse::NoSuchCommand.into()),
        };
        match ran {
            Ok(Some(ran)) => reply.send(Ok(ran)),
            // It was sent already.
            Ok(None) => (),
            Err(Refusal::Management(denial)) => {
                let text = denial.words().stanza_text;
                reply.send(Ok(denied(&denial, text)));
            }
            Err(fault) => reply.refuse(fault),
        }
    }

    fn console_revoke(
        &self,
        reply: &Reply<ConsoleRun>,
        jid: &str,
        name: &str,
        now: UnixSeconds,
    ) -> Result<Option<ConsoleRan>, Refusal> {
        let whose = match self.lists.whose_of(reply, jid) {
            Ok(_) if name.is_empty() => return Ok(Some(no(console::WHICH.to_owned()))),
            Ok(whose) => whose,
            Err(problem) => return Ok(Some(no(problem))),
        };
        let account = &whose.account;
        // Those that are to end: behind the revocation some may have ended.
        let live = self.lists.sessions.keys(account);
        let revoked = self.revoking.revoke_keys(
            reply,
            KeyRevocation {
                whose: &whose,
                target: Target::Named(name.to_owned()),
            },
            now,
            |revoked, keys, silent| {
                let sessions = live.iter().filter(|key| keys.contains(key)).count();
                let others: Vec<&CertificateName> = revoked
                    .removed
                    .iter()
                    .map(|held| &held.name)
                    .filter(|name| **name != revoked.name)
                    .collect();
                let lines = keys
                    .first()
                    .map(|key_id| console::revoked_too(&others, account, key_id));
                ConsoleRan {
                    ok: true,
                    text: console::revoked(&revoked.name, &revoked.fingerprint, account, sessions),
                    lines: lines
                        .into_iter()
                        .flatten()
                        .chain(sharing::silent(silent).map(|text| format!("WARNING: {text}")))
                        .collect(),
                    denial: None,
                }
            },
        );
        match revoked {
            Ok(()) => Ok(None),
            Err(Refusal::Management(denial @ Denial::NameUnknown)) => {
                let text = if self.lists.is_missing(account)? {
                    console::missing(account)
                } else {
                    console::unknown_name(account)
                };
                Ok(Some(denied(&denial, text)))
            }
            Err(refusal) => Err(refusal),
        }
    }
}

/// Of links.
impl Managing<'_> {
    /// `words`: an account, and what may be left out: kind, name of the device, how long and how often it counts.
    fn console_link(
        &self,
        reply: &Reply<ConsoleRun>,
        words: &[&str],
        now: UnixSeconds,
    ) -> Result<ConsoleRan, Refusal> {
        let word = |place: usize| words.get(place).copied().filter(|word| !word.is_empty());
        let whose = match self.lists.whose_of(reply, word(0).unwrap_or_default()) {
            Ok(whose) => whose,
            Err(problem) => return Ok(no(problem)),
        };
        let Ok(kind) = word(1).map_or(Ok(LinkKind::Add), str::parse) else {
            return Ok(no(wording::WHICH_KIND));
        };
        let Ok(seconds) = word(3).map(typed_seconds).transpose() else {
            return Ok(no(wording::WHICH_TIME));
        };
        let Ok(uses) = word(4).map(str::parse).transpose() else {
            return Ok(no(wording::HOW_OFTEN));
        };
        let wish = links::Wish {
            kind,
            name: word(2),
            seconds,
            uses,
        };
        let made = self.links.make(&whose, &wish, now)?;
        let about_page = wording::about_page(&made.url.0, made.is_served, &whose.account);
        let lines = [made.url.0.to_string()].into_iter().chain(about_page);
        Ok(ConsoleRan {
            ok: true,
            text: made.row.effect(),
            lines: lines.collect(),
            denial: None,
        })
    }

    /// `of`: an account or a host; all without.
    fn console_links(&self, of: Option<&str>, now: UnixSeconds) -> Result<ConsoleRan, Refusal> {
        let of = of.filter(|of| !of.is_empty());
        let (account, host) = match of {
            None => (None, None),
            Some(of) => (BareJid::parse(of).ok(), Host::parse(of).ok()),
        };
        if of.is_some() && account.is_none() && host.is_none() {
            return Ok(no(wording::OF_WHOM));
        }
        let mut lines = Vec::new();
        let mut question = ListLinks {
            host: host.filter(|_| account.is_none()),
            account,
            after: None,
        };
        loop {
            let page = self.links.list(&question, now)?;
            lines.extend(page.links.iter().map(ListedLink::in_one_line));
            question.after = page.next;
            if question.after.is_none() {
                break;
            }
        }
        Ok(ConsoleRan {
            ok: true,
            text: wording::listed(lines.len()),
            lines,
            denial: None,
        })
    }

    fn console_unlink(&self, id: Option<&str>) -> Result<ConsoleRan, Refusal> {
        let Some(Ok(id)) = id.map(str::parse) else {
            return Ok(no(wording::WHICH_ID));
        };
        let by = By::Administrator.in_words();
        let revoked = self.links.take_back(id, &by)?;
        Ok(ConsoleRan {
            ok: true,
            text: revoked.is_revoked(),
            lines: Vec::new(),
            denial: None,
        })
    }
}

impl Certificates<'_> {
    fn console_list(
        &self,
        reply: &Reply<ConsoleRun>,
        jid: &str,
        now: UnixSeconds,
    ) -> Result<ConsoleRan, Refusal> {
        let whose = match self.whose_of(reply, jid) {
            Ok(whose) => whose,
            Err(problem) => return Ok(no(problem)),
        };
        let account = &whose.account;
        let (count, lines) = self.look_at(&whose, |own, disabled| {
            let rows = own.iter().map(|held| self.row(held, now).in_one_line());
            let marks = disabled
                .iter()
                .map(|mark| console::disabled(&mark.name, &mark.fingerprint));
            (own.len(), rows.chain(marks).collect::<Vec<String>>())
        })?;
        if lines.is_empty() && self.is_missing(account)? {
            return Ok(no(console::missing(account)));
        }
        Ok(ConsoleRan {
            ok: true,
            text: console::listed(count, account),
            lines,
            denial: None,
        })
    }

    fn console_status(&self, reply: &Reply<ConsoleRun>, question: &ConsoleRun) -> ConsoleRan {
        let hello = reply.connection().introduction();
        // A command that was typed has only just connected.
        let since = hello.as_ref().filter(|hello| hello.keeps_sessions);
        let since = since.map(|hello| hello.since);
        let served = hello.map(|hello| hello.hosts);
        let withdrawn: HashSet<&Host> = question.withdrawn.iter().flat_map(Each::good).collect();
        let status = Status {
            socket: question.socket.clone(),
            since,
            sessions: question.sessions,
            hosts: served
                .into_iter()
                .flatten()
                .map(|host| self.host_status(&host, withdrawn.contains(&host)))
                .collect(),
            sharing: self.sharing_status(),
        };
        let (ok, text, lines) = status.in_words();
        ConsoleRan {
            ok,
            text,
            lines,
            denial: None,
        }
    }

    fn sharing_status(&self) -> SharingStatus {
        match self.store.sharing() {
            Ok(None) => SharingStatus::Alone,
            Ok(Some(sharing)) => SharingStatus::Shared {
                standby_problem: standby_problem(&sharing),
                daemons: sharing
                    .daemons
                    .into_iter()
                    .map(|one| sharer(one).in_words())
                    .collect(),
            },
            Err(error) => SharingStatus::Away {
                problem: error.to_string(),
            },
        }
    }

    fn host_status(&self, host: &Host, is_withdrawn: bool) -> HostStatus {
        let known = self.hosts.declaration(host);
        let errors = known.as_ref().map(|known| remarks(&known.meaning.errors));
        let lives = known.map(|known| known.accounts);
        HostStatus {
            name: host.to_string(),
            readiness: match errors {
                _ if is_withdrawn => Readiness::Withdrawn,
                None => Readiness::Undeclared,
                Some(errors) if errors.is_empty() => Readiness::Ready,
                Some(errors) => Readiness::NotReady {
                    errors: errors.into_iter().map(|remark| remark.message).collect(),
                },
            },
            scram: (lives == Some(Accounts::Daemon)).then(|| self.store.census(host).common()),
        }
    }

    /// An administrator's question about every account that ever had the name; or what is wrong with the words.
    fn whose_of(&self, reply: &Reply<ConsoleRun>, jid: &str) -> Result<Whose, String> {
        if jid.trim().is_empty() {
            return Err(console::WHOSE.to_owned());
        }
        let account = BareJid::parse(jid).map_err(|_| console::NO_ACCOUNT.to_owned())?;
        if matches!(self.hosts.of(account.host()), Err(Fault::HostUndeclared)) {
            return Err(console::no_host(&account));
        }
        Ok(Whose {
            account,
            incarnation: None,
            session: Some(Session {
                secure: true,
                by: SessionBy::Admin,
                mechanism: None,
                fingerprint: None,
                key_id: None,
                jid: None,
                address: None,
            }),
            peer: reply.peer(),
        })
    }

    /// Is there no such account? While Prosody can't be asked about its own, nobody says so.
    fn is_missing(&self, account: &BareJid) -> Result<bool, Refusal> {
        let (lives, _) = self.hosts.of(account.host())?;
        if lives == Accounts::Daemon {
            return Ok(self.store.view(account).account()?.is_none());
        }
        // Any will do: it is not looked at.
        let any = Incarnation::parse("any").ok();
        let found =
            any.map(|any| incarnation_in_prosody(self.servers, account, Unmarked::Pretend(&any)));
        Ok(matches!(found, Some(Ok(None))))
    }
}

fn no(text: impl Into<String>) -> ConsoleRan {
    ConsoleRan {
        ok: false,
        text: text.into(),
        lines: Vec::new(),
        denial: None,
    }
}

fn denied(denial: &Denial, text: impl Into<String>) -> ConsoleRan {
    ConsoleRan {
        denial: Some(denial.words().code.into()),
        ..no(text)
    }
}
