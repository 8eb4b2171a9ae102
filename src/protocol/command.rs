//! `command.step`: a step of the ad-hoc command by which users manage their certificates, and its answer.
//!
//! Must not know: what the steps are about.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Session;
use super::request::{Lane, Request};
use super::servers::Close;
use crate::identity::{BareJid, Incarnation};
use crate::policy::access::Before;
use crate::wording::forms::{Filled, Form};

/// `command.step`.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommandStep {
    /// The account of the certificates.
    pub account: BareJid,
    /// Which account of that name.
    pub incarnation: Option<Incarnation>,
    /// The asking session.
    pub session: Session,
    /// The certificate that its connection has presented, as base64, if it has logged in with none.
    pub presented: Option<String>,
    /// Where this run of the command is: the `step` of the answer before; none at its beginning.
    pub step: Option<String>,
    /// As the client named it (XEP-0050, 3.1).
    pub action: String,
    /// Of the form that came with it, if one did.
    pub fields: Option<Filled>,
}

impl Request for CommandStep {
    const METHOD: &'static str = "command.step";
    type Answer = CommandStepped;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// Its answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CommandStepped {
    /// How far the run is.
    pub status: Progress,
    /// Where it is; to be handed in with the next step.
    pub step: Option<Cow<'static, str>>,
    /// To be filled in, or, at the end, to be read.
    pub form: Option<Form>,
    /// The actions that can follow.
    pub actions: Vec<Cow<'static, str>>,
    /// Which of them a client does unless told otherwise.
    pub default: Option<Cow<'static, str>>,
    /// Notes for the user.
    pub notes: Vec<Note>,
    /// Why the step was not taken at all.
    pub error: Option<StepError>,
    /// Why it was not done, for the asker's statistics.
    pub denial: Option<Cow<'static, str>>,
    /// Sessions that are closed before the answer is shown; that of the asker is none of them.
    pub close: Vec<Close>,
}

/// How far a run is (XEP-0050, 3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// A form is to be filled in.
    Executing,
    /// At its end.
    #[default]
    Completed,
    /// Given up by the client.
    Canceled,
    /// Not taken.
    Error,
}

/// A note for the user (XEP-0050, 3.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Of which kind.
    #[serde(rename = "type")]
    pub kind: NoteKind,
    /// In words.
    pub text: String,
}

/// The kinds of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteKind {
    /// It was done.
    Info,
    /// It was done, but.
    Warn,
    /// It was not.
    Error,
}

/// A stanza error, and its condition of XEP-0050.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// Its condition.
    pub condition: Cow<'static, str>,
    /// XEP-0050, 3.6.
    pub command: Cow<'static, str>,
    /// In words.
    pub text: Cow<'static, str>,
}
