//! `saslcertd export` and `saslcertd import`: everything that the daemon remembers, as lines of JSON.
//!
//! The first line says what the file is, the last one how many records stand between them: what was cut off is no
//! backup.
//!
//! Must not know: what stands in a record (beside its kind and its name, for people), which records the daemon takes.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::identity::{ByteOrderMark, counted};
use crate::protocol::client::Asker;
use crate::protocol::{Export, Import, ImportConflict, RecordLabel};
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::global::Global;
use super::say::{complain, say, say_json};

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
    let mut found = Counted::default();
    file.line(&json!(Frame::Export {
        version: VERSION,
        software: concat!("saslcertd ", env!("CARGO_PKG_VERSION")).to_owned(),
    }))?;
    let mut question = Export { after: None };
    loop {
        let page = asker.ask(&question)?;
        for record in &page.records {
            found.count(record);
            file.line(record)?;
        }
        if page.next.is_none() {
            break;
        }
        question.after = page.next;
    }
    let records = found.records;
    file.line(&json!(Frame::End { records }))?;
    file.finish()?;
    let shown = args.file.display();
    if global.json {
        let result = json!({"file": shown.to_string(), "records": found.records, "unreadable": found.unreadable});
        say_json(&result.to_string())?;
    } else {
        let records = counted(found.records, "record", "records");
        say(&format!("{shown}: {records}"))?;
    }
    for problem in &found.unreadable {
        complain(&format!("not in the backup: {problem}"));
    }
    Ok(if found.unreadable.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[derive(Default)]
struct Counted {
    records: u64,
    unreadable: Vec<String>,
}

impl Counted {
    fn count(&mut self, record: &Value) {
        self.records += 1;
        let label = RecordLabel::of(record);
        if let Some(problem) = label.problem() {
            self.unreadable
                .push(format!("{}: {problem}", label.owner()));
        }
    }
}

/// The first and the last line of a file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "saslcertd", rename_all = "lowercase")]
enum Frame {
    /// The first line: this is a backup, of this form.
    Export {
        version: u64,
        #[serde(default = "unknown")]
        software: String,
    },
    /// How many records it has.
    End { records: u64 },
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// A file that appears under its name when it is whole.
struct Fresh {
    name: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Fresh {
    fn create(name: &Path) -> anyhow::Result<Self> {
        // It would be replaced, not written to.
        if let Ok(found) = fs::symlink_metadata(name) {
            ensure!(
                found.is_file(),
                "{} is not a file; name one, or a place for a new one",
                name.display()
            );
        }
        let mut temporary = name.as_os_str().to_owned();
        temporary.push(format!(".{}{UNFINISHED}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .with_context(|| format!("cannot create {}", temporary.display()))?;
        if let Ok(own) = file.metadata() {
            remove_left_over(name, own.uid());
        }
        Ok(Self {
            name: name.to_owned(),
            temporary,
            file: Some(BufWriter::new(file)),
        })
    }

    fn line(&mut self, value: &Value) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else {
            bail!("{} is closed", self.temporary.display());
        };
        writeln!(file, "{value}")
            .with_context(|| format!("cannot write {}", self.temporary.display()))
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let shown = self.temporary.display().to_string();
        let write = || format!("cannot write {shown}");
        if let Some(file) = self.file.take() {
            let file = file
                .into_inner()
                .map_err(std::io::IntoInnerError::into_error);
            file.and_then(|file| file.sync_all()).with_context(write)?;
            fs::rename(&self.temporary, &self.name)
                .with_context(|| format!("cannot write {}", self.name.display()))?;
            let folder = self.name.parent().filter(|folder| *folder != Path::new(""));
            let folder = File::open(folder.unwrap_or(Path::new(".")));
            folder
                .and_then(|folder| folder.sync_all())
                .with_context(write)?;
        }
        Ok(())
    }
}

/// Removes what exports of this file have left that were killed: files of `uid`, whose process has ended. What can't be
/// looked at stays.
fn remove_left_over(name: &Path, uid: u32) {
    let folder = name.parent().filter(|folder| *folder != Path::new(""));
    let entries = fs::read_dir(folder.unwrap_or(Path::new(".")));
    let own = name.file_name().unwrap_or_default().as_bytes();
    for entry in entries.into_iter().flatten().flatten() {
        let found = entry.file_name();
        let process = found.as_bytes().strip_prefix(own);
        let process = process.and_then(|rest| rest.strip_prefix(b"."));
        let process = process.and_then(|rest| rest.strip_suffix(UNFINISHED.as_bytes()));
        let process = process.and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(process) = process.and_then(|digits| digits.parse::<u32>().ok()) else {
            continue;
        };
        let has_ended = !Path::new(&format!("/proc/{process}")).exists();
        let is_own = entry
            .metadata()
            .is_ok_and(|entry| entry.is_file() && entry.uid() == uid);
        if has_ended && is_own {
            // It may be gone by now, and is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Gone already when it was finished.
        let _ = fs::remove_file(&self.temporary);
    }
}

pub(super) fn import(args: &ImportArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let mut asker = Asker::connect(&global.socket)?;
    let shown = args.file.display();
    // To its end first: nothing is changed by a file that is cut off or newer.
    let mut records: u64 = 0;
    read(&args.file, |_, _| {
        records += 1;
        Ok(())
    })?;
    let before = sent(&args.file, &mut asker, false)?;
    if !before.conflicts.is_empty() && !args.keep_existing {
        for conflict in before.conflicts.iter().take(MAX_SHOWN) {
            complain(&format!("{shown}, {conflict}"));
        }
        bail!(
            "{} of {} {} from what is there; nothing was changed. To import the others and leave these: \
             --keep-existing",
            before.conflicts.len(),
            counted(records, "record", "records"),
            if before.conflicts.len() == 1 {
                "differs"
            } else {
                "differ"
            }
        );
    }
    let done = sent(&args.file, &mut asker, true)?;
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
            done.conflicts.len()
        ))?;
        for conflict in done.conflicts.iter().take(MAX_SHOWN) {
            say(&format!("  left out: {conflict}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Sent {
    written: usize,
    unchanged: usize,
    conflicts: Vec<String>,
}

/// Asks the daemon to import all records of a file, some at a time.
fn sent(path: &Path, asker: &mut Asker, apply: bool) -> anyhow::Result<Sent> {
    let mut sent = Sent::default();
    let mut batch: Vec<(u64, Value)> = Vec::new();
    let mut bytes = 0;
    let mut flush = |batch: &mut Vec<(u64, Value)>| -> anyhow::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (lines, records): (Vec<u64>, Vec<Value>) = batch.drain(..).unzip();
        let question = Import { records, apply };
        let done = asker.ask(&question)?;
        sent.written += done.written;
        sent.unchanged += done.unchanged;
        for ImportConflict { record, problem } in done.conflicts {
            let label = question.records.get(record).map(RecordLabel::of);
            let label = label.unwrap_or_default();
            let owner = label.owner();
            let line = lines.get(record).copied().unwrap_or(0);
            sent.conflicts
                .push(format!("line {line}: {owner}: {problem}"));
        }
        Ok(())
    };
    read(path, |line, record| {
        let length = record.to_string().len();
        if bytes + length > BATCH_BYTES {
            flush(&mut batch)?;
            bytes = 0;
        }
        bytes += length;
        batch.push((line, record));
        Ok(())
    })?;
    flush(&mut batch)?;
    Ok(sent)
}

/// Hands each record of an export, with the number of its line, to `take`.
///
/// Errors: it is not an export, is newer, or is cut off; the line is named.
fn read(path: &Path, mut take: impl FnMut(u64, Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let shown = path.display();
    let found = fs::metadata(path).with_context(|| format!("cannot open {shown}"))?;
    // It is read more than once.
    ensure!(found.is_file(), "{shown} is not a file");
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let mut file = BufReader::new(file);
    let mut number: u64 = 0;
    let mut next = || -> anyhow::Result<Option<Value>> {
        number += 1;
        let mut line = Vec::new();
        let limit = MAX_LINE_BYTES + 1;
        let read = (&mut file).take(limit).read_until(b'\n', &mut line);
        read.with_context(|| format!("cannot read {shown}"))?;
        if line.is_empty() {
            return Ok(None);
        }
        if let (1, Some(mark)) = (number, ByteOrderMark::of(&line)) {
            bail!("{shown} {mark}");
        }
        ensure!(number > 1 || line.starts_with(b"{"), "{shown} {NO_BACKUP}");
        ensure!(
            line.ends_with(b"\n"),
            "{shown}, line {number}: it is too long, or the file is cut off; nothing was changed"
        );
        let value = serde_json::from_slice(&line);
        let value = value.with_context(|| format!("{shown}, line {number}: not JSON"))?;
        Ok(Some(value))
    };
    let header = next()?.unwrap_or_default();
    match Frame::deserialize(&header) {
        Ok(Frame::Export {
            version: VERSION, ..
        }) => {}
        Ok(Frame::Export { version, software }) if version > VERSION => bail!(
            "{shown} was written by a newer saslcertd ({software}); nothing was changed. Import it with that one"
        ),
        _ => bail!("{shown} {NO_BACKUP}"),
    }
    let mut records = 0;
    let mut line = 1;
    loop {
        let Some(value) = next()? else {
            bail!("{shown} is cut off behind line {line}; nothing was changed");
        };
        line += 1;
        if let Ok(Frame::End { records: said }) = Frame::deserialize(&value) {
            ensure!(
                said == records,
                "{shown} has {} and says that there are others; nothing was changed",
                counted(records, "record", "records")
            );
            ensure!(
                next()?.is_none(),
                "{shown} goes on behind its end; nothing was changed"
            );
            return Ok(());
        }
        records += 1;
        take(line, value)?;
    }
}

const NO_BACKUP: &str = "is no backup of saslcertd export";
/// The end of the name of an unfinished file, behind the number of its process.
const UNFINISHED: &str = ".unfinished";
/// Of the file's form.
const VERSION: u64 = 1;
/// A certificate of the largest size that is taken fits well into it.
const MAX_LINE_BYTES: u64 = 96 * 1024;
/// Below the limit of a question.
const BATCH_BYTES: usize = 96 * 1024;
/// Conflicts that are shown.
const MAX_SHOWN: usize = 20;
