//! The file of a backup: lines of JSON. The first line says what it is, the last one how many records stand between them: what was cut
//! off is no backup.
//!
//! Must not know: the daemon, what stands in a record (beside what its label says).

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::identity::{ByteOrderMark, counted};
use crate::protocol::BackupRecord;

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
pub(super) struct Fresh {
    name: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
    records: u64,
}

impl Fresh {
    /// One that holds no records yet.
    pub(super) fn create(name: &Path) -> anyhow::Result<Self> {
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
        let mut fresh = Self {
            name: name.to_owned(),
            temporary,
            file: Some(BufWriter::with_capacity(BUFFER_BYTES, file)),
            records: 0,
        };
        fresh.frame(&Frame::Export {
            version: VERSION,
            software: concat!("saslcertd ", env!("CARGO_PKG_VERSION")).to_owned(),
        })?;
        Ok(fresh)
    }

    /// Adds a record.
    pub(super) fn record(&mut self, record: &BackupRecord) -> anyhow::Result<()> {
        self.records += 1;
        self.line(record.as_str())
    }

    fn frame(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let line = serde_json::to_string(frame)?;
        self.line(&line)
    }

    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else {
            bail!("{} is closed", self.temporary.display());
        };
        let written = file.write_all(line.as_bytes());
        let written = written.and_then(|()| file.write_all(b"\n"));
        written.with_context(|| format!("cannot write {}", self.temporary.display()))
    }

    /// Makes it durable, and gives it its name. Returns how many records it has.
    pub(super) fn finish(mut self) -> anyhow::Result<u64> {
        let records = self.records;
        self.frame(&Frame::End { records })?;
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
        Ok(records)
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

/// One record, as it was read.
pub(super) struct Line {
    /// Its number in the file, from 1.
    pub(super) number: u64,
    pub(super) record: BackupRecord,
}

/// Hands each record of an export to `take`, and returns how many there are.
///
/// Errors: it is not an export, is newer, or is cut off, and the line is named; those of `take`.
pub(super) fn read(
    path: &Path,
    mut take: impl FnMut(Line) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let shown = path.display();
    let mut lines = Lines::open(path)?;
    match lines.next()?.as_ref().and_then(frame) {
        Some(Frame::Export {
            version: VERSION, ..
        }) => {}
        Some(Frame::Export { version, software }) if version > VERSION => {
            bail!("{shown} was written by a newer saslcertd ({software}); import it with that one")
        }
        _ => bail!("{shown} {NO_BACKUP}"),
    }
    let mut records = 0;
    loop {
        let behind = lines.number;
        let Some(record) = lines.next()? else {
            bail!("{shown} is cut off behind line {behind}");
        };
        if let Some(Frame::End { records: said }) = frame(&record) {
            ensure!(
                said == records,
                "{shown} has {} and says that there are others",
                counted(records, "record", "records")
            );
            ensure!(lines.next()?.is_none(), "{shown} goes on behind its end");
            return Ok(records);
        }
        records += 1;
        let number = lines.number;
        take(Line { number, record })?;
    }
}

/// The first or the last line; `None`: it is a record.
fn frame(line: &BackupRecord) -> Option<Frame> {
    // Records have no such field; in the text of some the word stands all the same.
    let may_be = line.as_str().contains("\"saslcertd\"");
    may_be
        .then(|| serde_json::from_str(line.as_str()).ok())
        .flatten()
}

/// The lines of a file, each a JSON text.
struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
    line: Vec<u8>,
    /// Of the line that was read last, from 1.
    number: u64,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let cannot = || format!("cannot open {shown}");
        let found = fs::metadata(path).with_context(cannot)?;
        // It is read more than once.
        ensure!(found.is_file(), "{shown} is not a file");
        let file = File::open(path).with_context(cannot)?;
        Ok(Self {
            path,
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            line: Vec::new(),
            number: 0,
        })
    }

    /// The next line; `None` at the end.
    fn next(&mut self) -> anyhow::Result<Option<BackupRecord>> {
        let Self {
            path,
            file,
            line,
            number,
        } = self;
        let shown = path.display();
        line.clear();
        let read = file.take(MAX_LINE_BYTES + 1).read_until(b'\n', line);
        read.with_context(|| format!("cannot read {shown}"))?;
        if line.is_empty() {
            return Ok(None);
        }
        *number += 1;
        if let (1, Some(mark)) = (*number, ByteOrderMark::of(line)) {
            bail!("{shown} {mark}");
        }
        ensure!(*number > 1 || line.starts_with(b"{"), "{shown} {NO_BACKUP}");
        ensure!(
            line.ends_with(b"\n"),
            "{shown}, line {number}: it is too long, or the file is cut off"
        );
        let not_json = || format!("{shown}, line {number}: not JSON");
        let text = std::str::from_utf8(line).with_context(not_json)?;
        BackupRecord::from_line(text)
            .map(Some)
            .with_context(not_json)
    }
}

const NO_BACKUP: &str = "is no backup of saslcertd export";
/// The end of the name of an unfinished file, behind the number of its process.
const UNFINISHED: &str = ".unfinished";
/// Of the file's form.
const VERSION: u64 = 1;
/// A certificate of the largest size that is taken fits well into it.
pub(super) const MAX_LINE_BYTES: u64 = 96 * 1024;
/// Read and written at a time.
const BUFFER_BYTES: usize = 256 * 1024;
