//! (b) What a login costs Prosody and the daemon together, and (c) how long a crowd of clients takes to come back after a restart of
//! Prosody. prosody.py measures with the rig of the tests; this makes ratios of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::effort::Effort;
use crate::figures::{Aim, Figures, Measure, Unit};
use crate::processes::{REPOSITORY, binary};

/// A line of prosody.py: what one round gave.
#[derive(Deserialize)]
struct Sample {
    version: String,
    /// `cpu` (milliseconds for each login), `return` (seconds) or `refusals`.
    measure: String,
    /// By kind of login.
    values: BTreeMap<String, f64>,
}

/// Measures with each Prosody that the tests run against, the logins' CPU time, the return, or both.
pub(crate) fn measure(parts: &[&str], effort: Effort, figures: &mut Figures) -> Result<()> {
    let script = Path::new(REPOSITORY).join("benches/prosody.py");
    let mut child = Command::new("/usr/bin/python3")
        .arg("-B")
        .arg(script)
        .args(["--logins", &effort.logins().to_string()])
        .args(["--login-rounds", &effort.login_rounds().to_string()])
        .args(["--clients", &effort.clients().to_string()])
        .args(["--return-rounds", &effort.return_rounds().to_string()])
        .args(parts)
        .env("SASLCERTD_BINARY", binary()?)
        .env("BENCH_CLIENT", std::env::current_exe()?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting python3")?;
    let out = child.stdout.take().context("its output")?;
    for line in BufReader::new(out).lines() {
        let line = line?;
        let sample: Sample = serde_json::from_str(&line).with_context(|| line.clone())?;
        sample.record(figures)?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "benches/prosody.py failed");
    Ok(())
}

impl Sample {
    fn value(&self, kind: &str) -> Result<f64> {
        let value = self.values.get(kind).copied();
        value.with_context(|| format!("{} of {kind} is missing", self.measure))
    }

    fn record(&self, figures: &mut Figures) -> Result<()> {
        let version = &self.version;
        let mut add = |part, unit, what: &str, aim: Option<Aim>, value| {
            let what = format!("{what}, Prosody {version}");
            figures.add(Measure::new(part, unit, what).aim(aim), value);
        };
        match self.measure.as_str() {
            "cpu" => {
                let ours = self.value("ours")?;
                for (kind, name, aim) in [
                    ("floor", "the floor module's", Some(Aim::AtMost(1120))),
                    ("client_certs", "mod_client_certs'", Some(Aim::AtMost(950))),
                    ("scram", "SCRAM-SHA-1's", None),
                    ("plain", "PLAIN's", None),
                ] {
                    let ratio = ours / self.value(kind)?;
                    let what = format!("CPU of a login by certificate over {name}");
                    add(LOGINS, Unit::Ratio, &what, aim, ratio);
                }
                let ms = Unit::Milliseconds;
                let daemons = self.value("daemon")?;
                add(LOGINS, ms, "CPU of a login by certificate", None, ours);
                add(LOGINS, ms, "of this, the daemon's", None, daemons);
                for (kind, name) in KINDS {
                    let what = format!("CPU of a login by {name}");
                    add(LOGINS, ms, &what, None, self.value(kind)?);
                }
            }
            "return" => {
                let (ours, scram) = (self.value("ours")?, self.value("scram")?);
                let what = "the last is in, by certificate over SCRAM-SHA-1";
                add(RETURN, Unit::Ratio, what, None, ours / scram);
                let what = "the last is in, by certificate";
                add(RETURN, Unit::Seconds, what, None, ours);
                let what = "the last is in, by SCRAM-SHA-1";
                add(RETURN, Unit::Seconds, what, None, scram);
            }
            other => anyhow::bail!("prosody.py measures {other}"),
        }
        Ok(())
    }
}

const KINDS: [(&str, &str); 4] = [
    ("floor", "certificate, the floor module"),
    ("client_certs", "certificate, mod_client_certs"),
    ("scram", "SCRAM-SHA-1"),
    ("plain", "PLAIN"),
];

const LOGINS: &str = "A login's CPU, Prosody and daemon together";
const RETURN: &str = "All clients come back at once after a restart of Prosody";
