//! The findings of doctor: one line for each check, and below a problem its remedy.
//!
//! Must not know: what is checked.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

pub(super) use crate::system::shell::word;

/// How bad it is; the worst of all is the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    Ok,
    /// Something else must be mended first, or it can't be seen from here. Counts as little as `Ok`.
    NotChecked,
    /// It works, and could work better or stop working.
    Warning,
    /// Somebody can't log in, or soon can't.
    Problem,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(super) check: &'static str,
    pub(crate) level: Level,
    pub(super) message: String,
    /// With `Ok`, what would make it better.
    pub(super) mend: Option<Mend>,
}

/// The remedy for a problem, to be taken as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mend {
    /// A command for root's shell.
    Run(String),
    /// A change of Prosody's configuration.
    Edit(ConfigEdit),
    /// A line for the configuration of what stands before Prosody.
    #[cfg_attr(not(feature = "client"), allow(dead_code))]
    Proxy(String),
}

/// A change of Prosody's configuration, and the command that makes it count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ConfigEdit {
    #[serde(serialize_with = "as_shown")]
    pub(super) file: PathBuf,
    /// The `VirtualHost`; none for the global section.
    pub(super) host: Option<String>,
    /// Within the table of this option; none for a line of its own.
    pub(super) within: Option<String>,
    #[serde(flatten)]
    pub(super) change: ConfigChange,
    pub(super) then: String,
}

/// The change to the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ConfigChange {
    /// Add this line; one that sets the same option goes.
    Add(String),
    /// Remove the line that sets this option, or this entry of a list.
    Remove(String),
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, message, None)
    }

    /// Well, and `how` it would be better.
    pub(super) fn better(check: &'static str, message: impl Into<String>, how: Mend) -> Self {
        Self::new(check, Level::Ok, message, Some(how))
    }

    /// `why`: what has to be mended first, or what is missing.
    pub(super) fn not_checked(check: &'static str, why: impl Display) -> Self {
        Self::new(
            check,
            Level::NotChecked,
            format!("not checked: {why}"),
            None,
        )
    }

    pub(super) fn warning(check: &'static str, message: impl Into<String>, mend: Mend) -> Self {
        Self::new(check, Level::Warning, message, Some(mend))
    }

    pub(super) fn problem(check: &'static str, message: impl Into<String>, mend: Mend) -> Self {
        Self::new(check, Level::Problem, message, Some(mend))
    }

    pub(super) fn new(
        check: &'static str,
        level: Level,
        message: impl Into<String>,
        mend: Option<Mend>,
    ) -> Self {
        Self {
            check,
            level,
            message: message.into(),
            mend,
        }
    }
}

impl Display for Level {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ok => "ok",
            Self::NotChecked => "-",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        })
    }
}

impl Display for Finding {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        // Widths hold for strings only.
        let level = self.level.to_string();
        write!(out, "{level:<7}  {:<8}  {}", self.check, self.message)?;
        let Some(mend) = &self.mend else {
            return Ok(());
        };
        let label = match self.level {
            Level::Ok => "better:",
            _ => "mend it:",
        };
        write!(out, "\n{INDENT}{label:<8}  ")?;
        match mend {
            Mend::Run(command) => out.write_str(command),
            Mend::Proxy(line) => write!(out, "in the proxy's configuration:  {line}"),
            Mend::Edit(edit) => write!(out, "{edit}\n{INDENT}then:     {}", edit.then),
        }
    }
}

impl Display for ConfigEdit {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "in {}, ", self.file.display())?;
        match &self.host {
            None => out.write_str("global section")?,
            Some(host) => write!(out, "VirtualHost \"{host}\"")?,
        }
        if let Some(option) = &self.within {
            write!(out, ", within {option}")?;
        }
        match &self.change {
            ConfigChange::Add(line) => write!(out, ", add:  {line}"),
            ConfigChange::Remove(what) => write!(out, ", remove:  {what}"),
        }
    }
}

/// A path need not be UTF-8, and JSON is.
fn as_shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Text that others wrote as one line that can't steer a terminal.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(MAX_LINE).collect()
}

const INDENT: &str = "         ";
const MAX_LINE: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_the_line_that_mends_it() {
        let finding = Finding::problem(
            "enabled",
            "mod_saslcertd is enabled on no host",
            Mend::Edit(ConfigEdit {
                file: PathBuf::from("/etc/prosody/prosody.cfg.lua"),
                host: Some("a.lit".to_owned()),
                within: Some("modules_enabled".to_owned()),
                change: ConfigChange::Add("\"saslcertd\";".to_owned()),
                then: "systemctl restart prosody".to_owned(),
            }),
        );
        let shown = finding.to_string();
        let expected = "PROBLEM  enabled   mod_saslcertd is enabled on no host\n         \
            mend it:  in /etc/prosody/prosody.cfg.lua, VirtualHost \"a.lit\", within modules_enabled, add:  \
            \"saslcertd\";\n         then:     systemctl restart prosody";
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_could_be_better_is_well_all_the_same() {
        let how = Mend::Run("faster".to_owned());
        let shown = Finding::better("nagle", "slow", how).to_string();
        assert_eq!(shown, "ok       nagle     slow\n         better:   faster");
    }

    #[test]
    fn what_others_say_stays_on_one_line() {
        assert_eq!(one_line("a\n\u{1b}[2J  b\t"), "a [2J b");
    }

    #[test]
    fn levels_are_ordered_by_how_bad_they_are() {
        assert!(
            Level::Ok < Level::NotChecked
                && Level::NotChecked < Level::Warning
                && Level::Warning < Level::Problem
        );
    }
}
