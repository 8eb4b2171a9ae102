//! Sends the records of a backup to the daemon, some questions at a time: while it writes what one brings, it reads the next.
//!
//! Records of one account are decided in the order of the file: a question that brings some waits for those before it that did. So
//! does one that brings records of no account, and all that come behind it wait for that.
//!
//! Must not know: which records the daemon takes, the form of the file.

use std::collections::{HashSet, VecDeque};

use anyhow::Context;

use super::file::Line;
use crate::protocol::client::{Asker, Sent};
use crate::protocol::{BackupRecord, Import, ImportConflict, RecordLabel};

/// Sends records, and adds up what becomes of them.
pub(super) struct Sending<'a> {
    asker: &'a mut Asker,
    apply: bool,
    /// So many conflicts are told in words.
    told_at_most: usize,
    batch: Batch,
    /// The questions that are not answered yet, the first one first.
    in_flight: VecDeque<(Sent<Import>, Brought)>,
    taken: Taken,
}

/// What became of the records of all questions that are answered.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) written: usize,
    pub(super) unchanged: usize,
    /// So many were left out.
    pub(super) left_out: usize,
    /// The first of these in words, each with its line.
    pub(super) conflicts: Vec<String>,
}

/// Records for the next question.
#[derive(Default)]
struct Batch {
    records: Vec<BackupRecord>,
    bytes: usize,
    brought: Brought,
}

/// The records of a question, as people and other questions need to know them.
#[derive(Default)]
struct Brought {
    /// The line of each, and whose it is.
    lines: Vec<(u64, String)>,
    accounts: HashSet<String>,
    /// Are some of no account?
    has_others: bool,
}

impl Brought {
    fn add(&mut self, line: u64, label: &RecordLabel) {
        self.lines.push((line, label.owner().to_owned()));
        match label.account() {
            Some(account) => drop(self.accounts.insert(account.to_owned())),
            None => self.has_others = true,
        }
    }

    /// Does it not matter which of the two is decided first?
    fn may_go_beside(&self, other: &Self) -> bool {
        !self.has_others && !other.has_others && self.accounts.is_disjoint(&other.accounts)
    }

    /// Its first line and its last one.
    fn range(&self) -> (u64, u64) {
        let number = |line: Option<&(u64, String)>| line.map_or(0, |(number, _)| *number);
        (number(self.lines.first()), number(self.lines.last()))
    }
}

impl<'a> Sending<'a> {
    /// To the daemon behind `asker`; `apply`: the records are to be written.
    pub(super) fn to(asker: &'a mut Asker, apply: bool, told_at_most: usize) -> Self {
        Self {
            asker,
            apply,
            told_at_most,
            batch: Batch::default(),
            in_flight: VecDeque::new(),
            taken: Taken::default(),
        }
    }

    /// Adds a record; sends it, and waits for others, as need be.
    pub(super) fn add(&mut self, Line { number, record }: Line) -> anyhow::Result<()> {
        let length = record.as_str().len();
        if self.batch.bytes + length > BATCH_BYTES {
            self.send()?;
        }
        let Batch {
            records,
            bytes,
            brought,
        } = &mut self.batch;
        brought.add(number, &RecordLabel::of(&record));
        records.push(record);
        *bytes += length;
        Ok(())
    }

    /// Sends what is left, and waits for all answers.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.send()?;
        while self.receive()? {}
        Ok(())
    }

    /// What has become of the records so far.
    pub(super) fn taken(&self) -> &Taken {
        &self.taken
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let Batch {
            records, brought, ..
        } = std::mem::take(&mut self.batch);
        if records.is_empty() {
            return Ok(());
        }
        while self.in_flight.len() >= MAX_IN_FLIGHT || self.must_wait(&brought) {
            self.receive()?;
        }
        let apply = self.apply;
        let sent = self.asker.send(&Import { records, apply });
        self.in_flight
            .push_back((sent.with_context(|| about(&brought))?, brought));
        Ok(())
    }

    fn must_wait(&self, brought: &Brought) -> bool {
        let mut before = self.in_flight.iter();
        before.any(|(_, before)| !brought.may_go_beside(before))
    }

    /// Waits for the answer to the first question that has none; false if there is no such question.
    fn receive(&mut self) -> anyhow::Result<bool> {
        let Some((sent, brought)) = self.in_flight.pop_front() else {
            return Ok(false);
        };
        let done = self.asker.receive(sent).with_context(|| about(&brought))?;
        self.taken.written += done.written;
        self.taken.unchanged += done.unchanged;
        self.taken.left_out += done.conflicts.len();
        let room = self.told_at_most.saturating_sub(self.taken.conflicts.len());
        for ImportConflict { record, problem } in done.conflicts.into_iter().take(room) {
            let (line, owner) = brought.lines.get(record).cloned().unwrap_or_default();
            let conflict = format!("line {line}: {owner}: {problem}");
            self.taken.conflicts.push(conflict);
        }
        Ok(true)
    }
}

/// Which lines a question is about.
fn about(brought: &Brought) -> String {
    let (first, last) = brought.range();
    format!("lines {first} to {last}")
}

/// Below the limit of a question, with what stands around the records.
const BATCH_BYTES: usize = 96 * 1024;
/// Questions that wait for their answers: enough that the writer of the store always has some before it, few enough that the changes
/// of others hardly wait behind them.
const MAX_IN_FLIGHT: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn brought(records: &[&str]) -> Brought {
        let mut brought = Brought::default();
        for (line, record) in (2..).zip(records) {
            brought.add(
                line,
                &RecordLabel::of(&BackupRecord::from_line(record).unwrap()),
            );
        }
        brought
    }

    #[test]
    fn only_records_of_different_accounts_are_decided_in_any_order() {
        let hamlet = r#"{"type":"certificate","account":"hamlet@a.lit"}"#;
        let yorick = r#"{"type":"account","account":"yorick@a.lit"}"#;
        let host = r#"{"type":"host","host":"a.lit"}"#;
        let secret = r#"{"type":"secret"}"#;
        for (one, other, expected) in [
            (&[hamlet][..], &[yorick][..], true),
            (&[hamlet], &[hamlet], false),
            (&[yorick, hamlet], &[hamlet], false),
            (&[secret], &[hamlet], false),
            (&[host, yorick], &[hamlet], false),
            (&["null"], &[hamlet], false),
            (&["{\"account\":5}"], &[hamlet], false),
        ] {
            let (one, other) = (brought(one), brought(other));
            assert_eq!(one.may_go_beside(&other), expected);
            assert_eq!(other.may_go_beside(&one), expected);
        }
        assert_eq!(brought(&[secret, host, hamlet]).range(), (2, 4));
    }
}
