//! Asks prosodyctl about Prosody's configuration.
//!
//! Must not know: what is well.

use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::facts::Facts;
use super::finding::word;
use super::printed::{Printed, files_of_hosts};
use crate::protocol::PROTOCOL_VERSION;

/// The answers of prosodyctl.
#[derive(Debug, Clone)]
pub(super) enum ProsodyctlAnswer {
    Facts(Box<Facts>),
    /// There is no prosodyctl.
    NoProgram,
    /// Prosody doesn't find our module.
    NoModule {
        about: About,
        /// Where it lies on this machine all the same.
        found: Option<PathBuf>,
        /// The obstacle that keeps Prosody's user out: a folder above it, or something of its own.
        closed: Option<PathBuf>,
    },
    /// Anything else, in its own words.
    Failed {
        said: String,
    },
}

/// The facts from `prosodyctl about`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) version: String,
    pub(super) config_dir: PathBuf,
    /// The folders that `plugin_paths` names.
    pub(super) plugin_paths: Vec<PathBuf>,
}

impl ProsodyctlAnswer {
    pub(super) fn facts(&self) -> Option<&Facts> {
        match self {
            Self::Facts(facts) => Some(facts),
            _ => None,
        }
    }

    /// Prosody's version, if it could be had.
    pub(super) fn version(&self) -> Option<&str> {
        match self {
            Self::Facts(facts) => Some(&facts.version),
            Self::NoModule { about, .. } => Some(&about.version),
            _ => None,
        }
    }
}

/// How to call prosodyctl.
#[derive(Debug, Clone)]
pub(super) struct Prosodyctl {
    pub(super) program: PathBuf,
    pub(super) config: Option<PathBuf>,
}

impl Prosodyctl {
    /// As typed.
    pub(super) fn line(&self) -> String {
        let program = word(&self.program);
        match &self.config {
            None => program,
            Some(config) => format!("{program} --config {}", word(config)),
        }
    }

    pub(super) fn ask(&self) -> ProsodyctlAnswer {
        let said = match self.run(&["mod_saslcertd", "facts"]) {
            Ok(said) => said,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return ProsodyctlAnswer::NoProgram;
            }
            Err(error) => {
                return ProsodyctlAnswer::Failed {
                    said: error.to_string(),
                };
            }
        };
        // Warnings about the configuration may stand before it.
        let facts = said.lines().rev().find(|line| line.starts_with('{'));
        if let Some(printed) = facts.and_then(|line| serde_json::from_str::<Printed>(line).ok()) {
            let read = |file: &PathBuf| Some((file.clone(), std::fs::read_to_string(file).ok()?));
            let files: Vec<_> = printed.files.iter().filter_map(read).collect();
            let facts = printed.facts(&files_of_hosts(&files));
            return ProsodyctlAnswer::Facts(Box::new(facts));
        }
        let is_missing = said.contains("Failed to load module 'saslcertd'")
            && said.contains("mod_saslcertd.lua: No such file or directory");
        if is_missing {
            let about = self.run(&["about"]).unwrap_or_default();
            return ProsodyctlAnswer::NoModule {
                about: About::read(&about),
                found: find_module(),
                closed: None,
            };
        }
        ProsodyctlAnswer::Failed { said }
    }

    /// Its output, with any exit status.
    fn run(&self, words: &[&str]) -> std::io::Result<String> {
        let mut command = Command::new(&self.program);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let mut child = command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let outputs = [
            child
                .stdout
                .take()
                .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child
                .stderr
                .take()
                .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        let readers = outputs.map(|pipe| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(pipe) = pipe {
                    // All bytes that were read until an error count.
                    let _ = pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
                }
                String::from_utf8_lossy(&bytes).into_owned()
            })
        });
        let deadline = Instant::now() + PROSODYCTL_LIMIT;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(std::io::Error::new(
                    ErrorKind::TimedOut,
                    "prosodyctl does not end",
                ));
            }
            std::thread::sleep(POLL);
        }
        Ok(readers
            .map(|reader| reader.join().unwrap_or_default())
            .join("\n"))
    }
}

impl About {
    pub(super) fn read(text: &str) -> Self {
        let after = |label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label));
            line.map(str::trim).unwrap_or_default().to_owned()
        };
        let version = after("Prosody ");
        let built_in = format!("{}/modules", after("Source directory:"));
        let folders = text
            .lines()
            .skip_while(|line| !line.starts_with("Plugin directories:"))
            .skip(1)
            .take_while(|line| line.starts_with(' '));
        let plugin_paths = folders
            .map(|line| {
                line.split(" - ")
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .trim_end_matches('/')
            })
            // Those two are there without being named.
            .filter(|path| {
                !path.is_empty() && *path != built_in && !path.ends_with("/custom_plugins")
            })
            .map(PathBuf::from)
            .collect();
        Self {
            version,
            config_dir: PathBuf::from(after("Config directory:")),
            plugin_paths,
        }
    }
}

/// Where our module lies: installed, or beside this program in its source folder.
pub(super) fn find_module() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = INSTALLED.iter().map(PathBuf::from).collect();
    if let Ok(program) = std::env::current_exe() {
        for above in program.ancestors().skip(1) {
            folders.push(above.join("lib/prosody/modules"));
            folders.push(above.join("prosody-glue"));
        }
    }
    let main = |folder: &PathBuf| folder.join("mod_saslcertd/mod_saslcertd.lua");
    folders.retain(|folder| main(folder).is_file());
    let is_ours = |folder: &&PathBuf| {
        let line = format!("local protocol_version = {PROTOCOL_VERSION};");
        let hello = folder.join("mod_saslcertd/hello.lib.lua");
        std::fs::read_to_string(hello).is_ok_and(|text| text.lines().any(|one| one == line))
    };
    let best = folders.iter().find(is_ours);
    best.or(folders.first()).cloned()
}

const MAX_OUTPUT_BYTES: u64 = 16 << 20;
const PROSODYCTL_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
pub(super) const INSTALLED: [&str; 2] =
    ["/usr/local/lib/prosody/modules", "/usr/lib/prosody/modules"];
