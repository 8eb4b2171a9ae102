//! `console.run`: a command of an administrator, typed in Prosody's shell or after `prosodyctl`, and its answer.
//!
//! Must not know: which commands there are.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::each::Each;
use super::request::{Lane, Request};
use crate::identity::Host;
use crate::policy::access::Before;

/// `console.run`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConsoleRun {
    /// As they were typed.
    pub words: Vec<String>,
    /// Where the asker finds the daemon.
    pub socket: String,
    /// Its live sessions that logged in with a certificate; none if it keeps no sessions.
    pub sessions: Option<u64>,
    /// Its hosts where another module takes the logins; told for `status`.
    pub withdrawn: Option<Each<Host>>,
}

impl Request for ConsoleRun {
    const METHOD: &'static str = "console.run";
    type Answer = ConsoleRan;
    const BEFORE: Before = Before::Hello;
    const LANE: Lane = Lane::Task;
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConsoleRan {
    /// Was it done, and is all well?
    pub ok: bool,
    /// The closing sentence.
    pub text: String,
    /// The lines to print before it.
    pub lines: Vec<String>,
    /// Why it was not done, for the asker's statistics.
    pub denial: Option<Cow<'static, str>>,
}
