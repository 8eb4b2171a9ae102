//! `saslcertd extauth`: the flags of the bridge for servers that call an external script.
//!
//! Must not know: what is said on either side of the bridge.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::global::Global;
use crate::extauth;
use crate::identity::Host;
use crate::protocol::MAX_WAITS_MS;

/// `saslcertd extauth`.
#[derive(Debug, Args)]
pub(super) struct ExtauthArgs {
    /// What the server speaks. `prosody`: lines; `ejabberd`: a length before each request.
    #[arg(long, value_enum, default_value_t = Protocol::Prosody)]
    protocol: Protocol,
    /// Answer for this host only, and declare it if no Prosody has. May be given several times; without it, every
    /// host that was declared is answered for.
    #[arg(long = "host", value_name = "HOST", value_parser = Host::parse)]
    hosts: Vec<Host>,
    /// How long the server waits for an answer at most, in seconds. A daemon that shares its accounts with others has to know: what the
    /// server may still take for an answer is not revoked yet. At most 300.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_WAITS_MS / 1000)))]
    wait: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    Prosody,
    Ejabberd,
}

pub(super) fn run(args: &ExtauthArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let protocol = match args.protocol {
        Protocol::Prosody => extauth::Protocol::Prosody,
        Protocol::Ejabberd => extauth::Protocol::Ejabberd,
    };
    let waits = Duration::from_secs(args.wait.into());
    extauth::run(protocol, &args.hosts, waits, &global.socket)?;
    Ok(ExitCode::SUCCESS)
}
