//! `saslcertd init`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::store::{Created, Store};

/// `saslcertd init`.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The folder to create it in.
    #[arg(long, value_name = "DIR", default_value = super::serve::DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
}

pub(super) fn run(args: &InitArgs, json: bool) -> anyhow::Result<ExitCode> {
    let folder = args.data_dir.display();
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
        println!("{}", json!({"data_dir": args.data_dir, "created": is_new}));
    } else {
        println!("{said}");
    }
    Ok(ExitCode::SUCCESS)
}
