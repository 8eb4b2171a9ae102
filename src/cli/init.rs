//! `saslcertd init`: makes an empty store, as the user that will serve it.
//!
//! Must not know: what a store holds.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use nix::sys::stat::{Mode, umask};
use serde_json::json;

use super::say::{say, say_json};
use crate::daemon::owner;
use crate::store::{Created, Store};
use crate::system::places::DEFAULT_DATA_DIR;

/// `saslcertd init`.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The folder to create it in. Root does it as the folder's owner.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
}

pub(super) fn run(args: &InitArgs, json: bool) -> anyhow::Result<ExitCode> {
    let folder = args.data_dir.display();
    keep_from_others();
    owner::become_for_init(&args.data_dir)
        .with_context(|| format!("cannot act for the owner of {folder}"))?;
    let created = Store::create(&args.data_dir)
        .with_context(|| format!("cannot create a store in {folder}"))?;
    let (is_new, said) = match created {
        Created::New => (true, format!("created a store in {folder}")),
        Created::Existing => (
            false,
            format!("there is a store in {folder} already; nothing was changed"),
        ),
    };
    if json {
        say_json(&json!({"data_dir": folder.to_string(), "created": is_new}).to_string())?;
    } else {
        say(&said)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Files that this process makes from here on are for its user alone, whatever mode their folder has.
pub(super) fn keep_from_others() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}
