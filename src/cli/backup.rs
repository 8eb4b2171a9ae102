//! `saslcertd export` and `saslcertd import`: everything that the daemon remembers, carried between it and a file.
//!
//! Both stream: however much there is, a page of an export and some questions of an import are in memory at a time.
//!
//! Must not know: what stands in a record (beside its kind and its name, for people), which records the daemon takes.

mod file;
mod progress;
mod sending;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use self::file::Fresh;
use self::progress::Progress;
use self::sending::{Sending, Taken};
use super::global::Global;
use super::say::{complain, say, say_json};
use crate::identity::counted;
use crate::protocol::client::Asker;
use crate::protocol::{BackupRecord, Export, RecordLabel};

/// `saslcertd export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The file to write; one that exists is replaced when the new one is whole. Only its owner may read it.
    file: PathBuf,
}

/// `saslcertd import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file to read, as `saslcertd export` wrote it.
    file: PathBuf,
    /// Import what does not differ from what is there, and leave the rest.
    #[arg(long)]
    keep_existing: bool,
}

pub(super) fn export(args: &ExportArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let mut asker = Asker::connect(&global.socket)?;
    let mut file = Fresh::create(&args.file)?;
    let mut unreadable = Vec::new();
    let mut progress = Progress::new("exported");
    let mut sent = asker.send(&Export { after: None })?;
    loop {
        let page = asker.receive(sent)?;
        // The daemon makes the next page while this one is written.
        let next = page.next.map(|after| Export { after: Some(after) });
        let next = next.map(|question| asker.send(&question)).transpose()?;
        for record in &page.records {
            unreadable.extend(unreadable_account(record));
            file.record(record)?;
            progress.count();
        }
        match next {
            Some(next) => sent = next,
            None => break,
        }
    }
    let records = file.finish()?;
    drop(progress);
    let shown = args.file.display();
    if global.json {
        let result =
            json!({"file": shown.to_string(), "records": records, "unreadable": unreadable});
        say_json(&result.to_string())?;
    } else {
        let records = counted(records, "record", "records");
        say(&format!("{shown}: {records}"))?;
    }
    for problem in &unreadable {
        complain(&format!("not in the backup: {problem}"));
    }
    Ok(if unreadable.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Which account is not in the backup, and why, if that is what the record says.
fn unreadable_account(record: &BackupRecord) -> Option<String> {
    let label = RecordLabel::of(record);
    let problem = label.problem()?;
    Some(format!("{}: {problem}", label.owner()))
}

pub(super) fn import(args: &ImportArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let mut asker = Asker::connect(&global.socket)?;
    let shown = args.file.display();
    let records = look_through(args, &mut asker).context("nothing was imported")?;
    // JSON is for programs, which want all of them.
    let told_at_most = if global.json { usize::MAX } else { MAX_SHOWN };
    let mut sending = Sending::to(&mut asker, true, told_at_most);
    let mut progress = Progress::new("imported");
    let done = file::read(&args.file, |line| {
        progress.count();
        sending.add(line)
    });
    let done = done.and_then(|_| sending.finish());
    drop(progress);
    let done = done.with_context(|| {
        let Taken {
            written,
            unchanged,
            left_out,
            ..
        } = sending.taken();
        format!(
            "the import has ended half way, with {} of {shown} answered for. What is written stays. Import the file \
             once more when the cause is mended",
            counted(written + unchanged + left_out, "record", "records")
        )
    });
    done?;
    let done = sending.taken();
    if global.json {
        let result = json!({
            "records": records,
            "written": done.written,
            "unchanged": done.unchanged,
            "conflicts": done.conflicts,
        });
        say_json(&result.to_string())?;
    } else {
        say(&format!(
            "{shown}: {}: {} written, {} there already, {} left out",
            counted(records, "record", "records"),
            done.written,
            done.unchanged,
            done.left_out
        ))?;
        for conflict in &done.conflicts {
            say(&format!("  left out: {conflict}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the file to its end, and asks what would become of its records. Returns how many it has.
///
/// Errors: it is cut off, or newer; records differ, and are not to be left out.
fn look_through(args: &ImportArgs, asker: &mut Asker) -> anyhow::Result<u64> {
    let mut progress = Progress::new("looked at");
    if args.keep_existing {
        // What would become of them does not matter.
        return file::read(&args.file, |_| {
            progress.count();
            Ok(())
        });
    }
    let mut sending = Sending::to(asker, false, MAX_SHOWN);
    let records = file::read(&args.file, |line| {
        progress.count();
        sending.add(line)
    })?;
    sending.finish()?;
    drop(progress);
    let Taken {
        left_out,
        conflicts,
        ..
    } = sending.taken();
    if *left_out == 0 {
        return Ok(records);
    }
    let shown = args.file.display();
    for conflict in conflicts {
        complain(&format!("{shown}, {conflict}"));
    }
    bail!(
        "{} of {} {} from what is there. To import the others and leave these: --keep-existing",
        left_out,
        counted(records, "record", "records"),
        if *left_out == 1 { "differs" } else { "differ" }
    )
}

/// Conflicts that are shown.
const MAX_SHOWN: usize = 20;
