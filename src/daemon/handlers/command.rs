//! `command.step`: users whose client knows no XEP-0257 manage their certificates with forms (XEP-0050).
//!
//! Each form becomes the question that a client with XEP-0257 would cause. Must not know: rules, words.

use std::collections::BTreeMap;

use super::super::reply::Reply;
use super::certificates::Wanted;
use super::revocation::{KeyRevocation, Managing, Target};
use super::whose::Whose;
use crate::identity::certificate::Finding;
use crate::identity::pasted::{self, NotOne};
use crate::identity::{Enrolment, Fingerprint, KeyId, LinkKind, UnixSeconds};
use crate::policy::host::Links;
use crate::policy::links::{self, TakenBack};
use crate::policy::live::Ending;
use crate::policy::{Denial, manage};
use crate::protocol::{
    Close, CommandStep, CommandStepped, MAX_CERTIFICATE_BASE64_BYTES, Note, NoteKind, Progress,
    Refusal, SessionBy, StepError,
};
use crate::wording::forms::{self, Added, Chosen, ChosenState, Filled, Form, Misstep, Subcommand};
use crate::wording::sharing;

impl Managing<'_> {
    pub(in crate::daemon) fn command_step(
        &self,
        reply: &Reply<CommandStep>,
        question: CommandStep,
        now: UnixSeconds,
    ) {
        let policy = self.lists.hosts.policy(question.account.host());
        let asking = Asking {
            makes_links: policy.is_ok_and(|policy| policy.links == Links::Own),
            fingerprint: question.session.fingerprint,
            own_key: question
                .session
                .key_id
                .filter(|_| question.session.by == SessionBy::Certificate),
            whose: Whose {
                account: question.account,
                incarnation: question.incarnation,
                session: Some(question.session),
                peer: reply.peer(),
            },
            presented: question.presented,
            step: question.step.as_deref().and_then(Step::of),
            action: question.action,
            filled: question.fields,
        };
        match self.take_step(reply, &asking, now) {
            Ok(Some(stepped)) => reply.send(Ok(stepped)),
            Ok(None) => (),
            // A decision is an end of the command like any other; a question that could not be asked is none.
            Err(Refusal::Management(denial)) => {
                let words = denial.words();
                reply.send(Ok(CommandStepped {
                    denial: Some(words.code.into()),
                    ..failed(&words.stanza_text)
                }));
            }
            Err(fault) => reply.refuse(fault),
        }
    }

    /// The answer, or `None` if it was sent already.
    fn take_step(
        &self,
        reply: &Reply<CommandStep>,
        asking: &Asking,
        now: UnixSeconds,
    ) -> Result<Option<CommandStepped>, Refusal> {
        match (asking.action.as_str(), asking.step) {
            ("cancel", _) => Ok(Some(CommandStepped {
                status: Progress::Canceled,
                ..CommandStepped::default()
            })),
            ("prev", _) | ("execute", None) => self.menu(asking, now).map(Some),
            ("next" | "complete", None) => Ok(Some(not_taken(forms::HAS_ENDED))),
            ("execute" | "next" | "complete", Some(step)) => match (step, &asking.filled) {
                // There is nothing to fill in: a client may leave the form out.
                (Step::Inside(Subcommand::RevokeOthers), _) if asking.own_key.is_some() => {
                    self.revoke_others(reply, asking, asking.own_key, now)
                }
                (_, None) => Ok(Some(failed(forms::NO_FORM))),
                (Step::Menu, Some(filled)) => self.begin(asking, filled, now).map(Some),
                (Step::Inside(Subcommand::Revoke), Some(filled)) => match filled.certificate() {
                    Ok(name) => {
                        self.revoke_and_say(reply, asking, Target::Named(name.to_owned()), now)
                    }
                    Err(problem) => Ok(Some(failed(&problem))),
                },
                (Step::Inside(Subcommand::RevokeOthers), Some(filled)) => {
                    match filled.certificate() {
                        Ok(name) => {
                            let kept = self.key_named(asking, name)?;
                            self.revoke_others(reply, asking, kept, now)
                        }
                        Err(problem) => Ok(Some(failed(&problem))),
                    }
                }
                (Step::Inside(subcommand), Some(filled)) => {
                    self.finish_form(asking, subcommand, filled, now).map(Some)
                }
            },
            _ => Ok(Some(not_taken(forms::NO_ACTION))),
        }
    }

    fn menu(&self, asking: &Asking, now: UnixSeconds) -> Result<CommandStepped, Refusal> {
        let has_links = match self.lists.own_links(&asking.whose, now) {
            Ok(links) => !links.is_empty(),
            Err(Refusal::Management(_)) => false,
            Err(fault) => return Err(fault),
        };
        let form = forms::menu(asking.own_key.is_some(), |one| match one {
            Subcommand::AddCurrent => asking.presented().is_ok(),
            Subcommand::Link => asking.makes_links,
            // Those of before users were to make none.
            Subcommand::TakeBackLinks => asking.makes_links || has_links,
            _ => true,
        });
        Ok(CommandStepped {
            status: Progress::Executing,
            step: Some(MENU.into()),
            form: Some(form),
            actions: vec!["next".into()],
            default: Some("next".into()),
            ..CommandStepped::default()
        })
    }

    /// The step after the choice in the menu: the form of a sub-command, or its outcome.
    fn begin(
        &self,
        asking: &Asking,
        filled: &Filled,
        now: UnixSeconds,
    ) -> Result<CommandStepped, Refusal> {
        let subcommand = match filled.chosen() {
            Ok(word) => match Subcommand::of(word) {
                Some(subcommand) => subcommand,
                None => return Ok(failed(forms::NO_SUBCOMMAND)),
            },
            Err(problem) => return Ok(failed(&problem)),
        };
        let shown = match subcommand {
            Subcommand::Add => Ok(forms::adding()),
            Subcommand::AddCurrent => {
                asking.presented().map_err(Refusal::Management)?;
                Ok(forms::adding_current())
            }
            Subcommand::Link => Ok(forms::linking()),
            Subcommand::List => return self.list_to_read(asking, now),
            Subcommand::TakeBackLinks => {
                let names = self.lists.look_at(&asking.whose, |own, _| {
                    let named = |held: &&Enrolment| (held.fingerprint, held.name.clone());
                    own.iter().map(named).collect::<BTreeMap<_, _>>()
                })?;
                let links = self.lists.own_links(&asking.whose, now)?;
                (!links.is_empty())
                    .then(|| forms::taking_back(&links, |of| names.get(of).cloned()))
                    .ok_or(forms::NO_LINKS)
            }
            Subcommand::Disable => self.lists.look_at(&asking.whose, |own, _| {
                let all: Vec<Chosen<'_>> = own.iter().map(|held| asking.chosen(held)).collect();
                (!all.is_empty())
                    .then(|| forms::disabling(&all))
                    .ok_or(forms::EMPTY_LIST)
            })?,
            Subcommand::Revoke => self.lists.look_at(&asking.whose, |own, disabled| {
                let listed = own.iter().map(|held| asking.chosen(held));
                let marked = disabled.iter().map(|mark| Chosen {
                    name: &mark.name,
                    state: ChosenState::Disabled,
                });
                let all: Vec<Chosen<'_>> = listed.chain(marked).collect();
                (!all.is_empty())
                    .then(|| forms::revoking(&all))
                    .ok_or(forms::EMPTY_LIST)
            })?,
            Subcommand::RevokeOthers => match asking.own_key {
                Some(own_key) => self.lists.look_at(&asking.whose, |own, disabled| {
                    let names = manage::others(own, disabled, own_key);
                    (!names.is_empty())
                        .then(|| forms::revoking_others(&names))
                        .ok_or(forms::NO_OTHERS)
                })?,
                None => self.lists.look_at(&asking.whose, |own, disabled| {
                    let all: Vec<Chosen<'_>> = own.iter().map(|held| asking.chosen(held)).collect();
                    match (own.len(), own.len() + disabled.len()) {
                        (0, _) => Err(forms::EMPTY_LIST),
                        (_, 1) => Err(forms::NO_OTHERS),
                        _ => Ok(forms::keeping(&all)),
                    }
                })?,
            },
        };
        Ok(match shown {
            Ok(form) => to_fill_in(subcommand, form),
            Err(nothing) if matches!(subcommand, Subcommand::RevokeOthers) => {
                self.without_others(asking, nothing)?
            }
            Err(nothing) => said(nothing.to_owned()),
        })
    }

    /// There are no others to revoke, but whoever has a link would be one: links end as with others.
    fn without_others(&self, asking: &Asking, nothing: &str) -> Result<CommandStepped, Refusal> {
        Ok(said(match self.links.end_all(&asking.whose)? {
            0 => nothing.to_owned(),
            _ => forms::only_links_ended(nothing),
        }))
    }

    /// The key of the certificate of this name in the list.
    fn key_named(&self, asking: &Asking, name: &str) -> Result<Option<KeyId>, Refusal> {
        self.lists.look_at(&asking.whose, |own, _| {
            let held = own.iter().find(|held| held.name.as_str() == name);
            held.map(|held| held.key_id)
        })
    }

    /// All but the certificates with the key `kept`; nothing is revoked if there is none to keep.
    fn revoke_others(
        &self,
        reply: &Reply<CommandStep>,
        asking: &Asking,
        kept: Option<KeyId>,
        now: UnixSeconds,
    ) -> Result<Option<CommandStepped>, Refusal> {
        let kept = kept.ok_or(Refusal::Management(Denial::NameUnknown))?;
        self.revoke_and_say(reply, asking, Target::AllBut(kept), now)
    }

    fn list_to_read(&self, asking: &Asking, now: UnixSeconds) -> Result<CommandStepped, Refusal> {
        let rows = self.lists.look_at(&asking.whose, |own, _| {
            own.iter()
                .map(|held| self.lists.row(held, now))
                .collect::<Vec<_>>()
        })?;
        if rows.is_empty() {
            return Ok(said(forms::EMPTY_LIST.to_owned()));
        }
        Ok(CommandStepped {
            form: Some(forms::list(&rows)),
            ..CommandStepped::default()
        })
    }

    /// Does what a form asks for, but for revocations.
    fn finish_form(
        &self,
        asking: &Asking,
        subcommand: Subcommand,
        filled: &Filled,
        now: UnixSeconds,
    ) -> Result<CommandStepped, Refusal> {
        match subcommand {
            Subcommand::Add => {
                let (added, text) = match filled.pasted() {
                    Ok(filled) => filled,
                    Err(problem) => return Ok(failed(&problem)),
                };
                match pasted::certificate_in(&text, MAX_CERTIFICATE_BASE64_BYTES) {
                    Ok(certificate) => self.add_and_say(asking, &added, certificate, now),
                    Err(NotOne::PrivateKey) => Err(unacceptable(Finding::PrivateKey)),
                    Err(NotOne::Marked { mark }) => Err(unacceptable(Finding::Marked { mark })),
                    Err(problem) => Ok(failed(&problem.to_string())),
                }
            }
            Subcommand::AddCurrent => match filled.added() {
                Ok(added) => {
                    let presented = asking.presented().map_err(Refusal::Management)?;
                    self.add_and_say(asking, &added, presented.to_owned(), now)
                }
                Err(problem) => Ok(failed(&problem)),
            },
            Subcommand::Disable => match filled.certificate() {
                Ok(name) => {
                    let held = self.lists.take_out(&asking.whose, name.to_owned(), now)?;
                    Ok(said(forms::has_disabled(&held.name)))
                }
                Err(problem) => Ok(failed(&problem)),
            },
            Subcommand::Link => {
                let wish = links::Wish {
                    kind: LinkKind::Add,
                    name: filled.device(),
                    seconds: None,
                    uses: None,
                };
                let made = self.links.make(&asking.whose, &wish, now)?;
                Ok(CommandStepped {
                    form: Some(forms::linked(&made.url.0, made.row.expires)),
                    ..CommandStepped::default()
                })
            }
            Subcommand::TakeBackLinks => match filled.link() {
                Ok(chosen) => self.take_back_and_say(asking, chosen, now),
                Err(problem) => Ok(failed(&problem)),
            },
            // These sub-commands end at once, or send their answer themselves.
            Subcommand::List | Subcommand::Revoke | Subcommand::RevokeOthers => {
                Ok(not_taken(forms::HAS_ENDED))
            }
        }
    }

    /// `chosen`: an id, or whatever was sent in its place.
    fn take_back_and_say(
        &self,
        asking: &Asking,
        chosen: &str,
        now: UnixSeconds,
    ) -> Result<CommandStepped, Refusal> {
        let which = match (chosen, chosen.parse()) {
            (forms::ALL_LINKS, _) => TakenBack::All,
            (_, Ok(id)) => TakenBack::One(id),
            (_, Err(_)) => return Err(Refusal::Management(Denial::LinkMissing)),
        };
        let count = self.lists.take_links_back(&asking.whose, which, now)?;
        Ok(said(match which {
            TakenBack::All => forms::links_taken_back(count),
            TakenBack::One(id) => forms::link_taken_back(id),
        }))
    }

    fn add_and_say(
        &self,
        asking: &Asking,
        added: &Added<'_>,
        certificate: String,
        now: UnixSeconds,
    ) -> Result<CommandStepped, Refusal> {
        let wish = Wanted {
            name: added.name.to_owned(),
            certificate,
            may_manage: added.may_manage,
        };
        let (held, warnings) = self.lists.add(&asking.whose, wish, now)?;
        let mut stepped = said(forms::has_added(&held.name, held.not_after));
        if !warnings.is_empty() {
            stepped.notes.push(Note {
                kind: NoteKind::Warn,
                text: warnings.join("\n"),
            });
        }
        Ok(stepped)
    }

    fn revoke_and_say(
        &self,
        reply: &Reply<CommandStep>,
        asking: &Asking,
        target: Target,
        now: UnixSeconds,
    ) -> Result<Option<CommandStepped>, Refusal> {
        let is_of_others = matches!(target, Target::AllBut(_));
        let revocation = KeyRevocation {
            whose: &asking.whose,
            target,
        };
        let revoked = self
            .revoking
            .revoke_keys(reply, revocation, now, |revoked, keys, silent| {
                // The reader of the answer finds the sessions gone; the asker's own must live to send it on.
                let others = keys.iter().filter(|key| asking.own_key != Some(**key));
                let close =
                    others.map(|key| Close::of(&asking.whose.account, key, Ending::Revoked));
                let mut stepped = said(forms::has_revoked(&revoked.names()));
                stepped.close = close.collect();
                if !silent.is_empty() {
                    stepped.notes.push(Note {
                        kind: NoteKind::Warn,
                        text: sharing::SILENT.to_owned(),
                    });
                }
                stepped
            });
        match revoked {
            Ok(()) => Ok(None),
            // Another session was faster.
            Err(Refusal::Management(Denial::NameUnknown)) if is_of_others => {
                self.without_others(asking, forms::NO_OTHERS).map(Some)
            }
            Err(refusal) => Err(refusal),
        }
    }
}

/// A step, and who takes it.
struct Asking {
    whose: Whose,
    /// May users make links here?
    makes_links: bool,
    /// Of the certificate that the session has logged in with.
    fingerprint: Option<Fingerprint>,
    own_key: Option<KeyId>,
    presented: Option<String>,
    step: Option<Step>,
    action: String,
    filled: Option<Filled>,
}

impl Asking {
    /// The certificate of its connection, if it may be added.
    fn presented(&self) -> Result<&str, Denial> {
        manage::presented_to_add(self.own_key.as_ref(), self.presented.as_deref())
    }

    fn chosen<'a>(&self, held: &'a Enrolment) -> Chosen<'a> {
        let is_in_use = self.fingerprint == Some(held.fingerprint);
        Chosen {
            name: &held.name,
            state: if is_in_use {
                ChosenState::InUse
            } else {
                ChosenState::Listed
            },
        }
    }
}

/// Where a run of the command is.
#[derive(Clone, Copy)]
enum Step {
    /// The menu was shown.
    Menu,
    /// The form of a sub-command was.
    Inside(Subcommand),
}

impl Step {
    /// Session ids are common to all commands of Prosody: with that of another one comes its state, which is none of ours.
    fn of(word: &str) -> Option<Self> {
        match word {
            MENU => Some(Self::Menu),
            word => Subcommand::of(word).map(Self::Inside),
        }
    }
}

fn unacceptable(finding: Finding) -> Refusal {
    Refusal::Management(Denial::CertificateUnacceptable { finding })
}

fn to_fill_in(subcommand: Subcommand, form: Form) -> CommandStepped {
    CommandStepped {
        status: Progress::Executing,
        step: Some(subcommand.word().into()),
        form: Some(form),
        actions: vec!["prev".into(), "complete".into()],
        default: Some("complete".into()),
        ..CommandStepped::default()
    }
}

fn said(text: String) -> CommandStepped {
    ending(NoteKind::Info, text)
}

fn failed(text: &str) -> CommandStepped {
    ending(NoteKind::Error, text.to_owned())
}

fn ending(kind: NoteKind, text: String) -> CommandStepped {
    CommandStepped {
        notes: vec![Note { kind, text }],
        ..CommandStepped::default()
    }
}

fn not_taken(misstep: Misstep) -> CommandStepped {
    CommandStepped {
        status: Progress::Error,
        error: Some(StepError {
            kind: misstep.kind.into(),
            condition: misstep.condition.into(),
            command: misstep.command.into(),
            text: misstep.text.into(),
        }),
        ..CommandStepped::default()
    }
}

const MENU: &str = "menu";
