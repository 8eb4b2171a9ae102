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
#[cfg(feature = "postgres")]
use crate::identity::visible::visible;
use crate::store::{Created, Store};
use crate::system::places::DEFAULT_DATA_DIR;

/// `saslcertd init`.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The folder to create it in. Root does it as the folder's owner.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Create it in this PostgreSQL database, which is there already: "host=/run/postgresql dbname=NAME". A password comes from a
    /// file: passfile=FILE or PGPASSFILE.
    #[cfg(feature = "postgres")]
    #[arg(
        long,
        value_name = "WORDS",
        env = "SASLCERTD_DATABASE",
        conflicts_with = "data_dir"
    )]
    database: Option<String>,
    /// Give this role of the database the rights that a daemon needs, which may not change the tables. For a store that is there, too.
    #[cfg(feature = "postgres")]
    #[arg(long, value_name = "NAME", requires = "database")]
    role: Option<String>,
}

pub(super) fn run(args: &InitArgs, json: bool) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "postgres")]
    if let Some(database) = &args.database {
        return in_database(database, args.role.as_deref(), json);
    }
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

#[cfg(feature = "postgres")]
fn in_database(database: &str, role: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let place = Store::database_in_words(database)?;
    let created = Store::create_in_database(database, role).context("cannot create a store")?;
    let is_new = created == Created::New;
    if json {
        say_json(&json!({"database": place, "created": is_new, "role": role}).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let made = if is_new {
        format!("created a store in {place}")
    } else {
        format!("there is a store in {place} already; nothing was changed in it")
    };
    match role {
        Some(role) => say(&format!(
            "{made}; the role {} may read and write it",
            visible(role)
        ))?,
        None => say(&made)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Files that this process makes from here on are for its user alone, whatever mode their folder has.
pub(super) fn keep_from_others() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}
