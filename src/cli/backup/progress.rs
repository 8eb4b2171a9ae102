//! Says at a terminal how far a long export or import has come. Where nobody looks on, it says nothing.
//!
//! Must not know: what is counted.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::identity::counted;

/// A line at the terminal that is written anew from time to time, and is gone at the end.
pub(super) struct Progress {
    doing: &'static str,
    records: u64,
    told: Instant,
    is_watched: bool,
    has_told: bool,
}

impl Progress {
    /// `doing`: the line's words before the count.
    pub(super) fn new(doing: &'static str) -> Self {
        Self {
            doing,
            records: 0,
            told: Instant::now(),
            is_watched: io::stderr().is_terminal(),
            has_told: false,
        }
    }

    /// One more record is done.
    pub(super) fn count(&mut self) {
        self.records += 1;
        if self.is_watched
            && self.records.is_multiple_of(LOOKS_EVERY)
            && self.told.elapsed() >= TELLS_EVERY
        {
            self.told = Instant::now();
            self.has_told = true;
            let records = counted(self.records, "record", "records");
            rewrite(&format!("{}: {records}", self.doing));
        }
    }
}

/// Writes `text` in the place of the line that stands there.
fn rewrite(text: &str) {
    // It says how long to wait, no more: nothing depends on it.
    let mut terminal = io::stderr();
    let _ = write!(terminal, "{BEGIN_OF_EMPTY_LINE}{text}").and_then(|()| terminal.flush());
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_told {
            rewrite("");
        }
    }
}

const BEGIN_OF_EMPTY_LINE: &str = "\r\x1b[K";
/// The clock is not asked for each record.
const LOOKS_EVERY: u64 = 256;
const TELLS_EVERY: Duration = Duration::from_secs(1);
