//! Is everything there that was ever written, and nothing else? Asked when the store is opened, and while it serves.
//!
//! The answer is the tally that every commit writes, against the rows that are there: see docs/decisions/0006-flipped-bits.md.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::identity::{UnixSeconds, counted};

use super::committer::{Planned, Row, Table};
use super::reached::{self, Said};
use super::record::{self, Versioned};
use super::tally::{Changed, Sum, Tally};
use super::{Store, StoreError, Tables, accounts};

/// What a check found of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCheck {
    /// Which table.
    pub table: &'static str,
    /// Rows that are there.
    pub rows: u64,
    /// Rows that were written.
    pub written: u64,
    /// What is wrong with it, in words; `None` when every row is as it was written.
    pub problem: Option<String>,
}

/// What was accepted to be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When it was accepted.
    pub at: UnixSeconds,
    /// So many commits are missing at the end.
    pub commits: u64,
    /// These tables are not as they were written.
    pub tables: Vec<String>,
}

impl Versioned for Loss {
    const VERSION: u8 = 1;
}

/// What is done with a store that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// It is not opened.
    Refuse,
    /// What is left of it is served, and that is remembered.
    Accept {
        /// The time of the decision.
        now: UnixSeconds,
    },
}

/// How the store was found when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The tables that were read as a whole before anything was answered.
    pub checked: Vec<TableCheck>,
    /// Were these all of them?
    pub is_checked: bool,
    /// What is missing, and was accepted at this opening.
    pub accepted: Option<Loss>,
}

/// The tally as it is now, and a check that is under way. The writer thread changes both.
pub(super) struct Ledger {
    tally: Tally,
    check: Option<UnderWay>,
}

/// A check of one table, between two pages.
struct UnderWay {
    table: Table,
    /// The last key that was read.
    behind: Option<Vec<u8>>,
    found: Sum,
}

impl Ledger {
    pub(super) fn of(tally: Tally) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { tally, check: None }))
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// These changes are on the disk now, and this is the tally with them.
    pub(super) fn committed(&mut self, tally: Tally, changes: &[Changed]) {
        self.tally = tally;
        let Some(check) = &mut self.check else {
            return;
        };
        for changed in changes {
            // What the check has yet to read it will find as it is then.
            let is_read = check.behind.as_ref() >= Some(&changed.key);
            if changed.table == check.table && is_read {
                changed.apply_to(&mut check.found);
            }
        }
    }
}

/// A thread that panics ends the process, but in tests.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts what is in a store that nobody has counted yet, and writes that down, to be flushed by who calls.
pub(super) fn count(db: &sled::Db) -> Result<Tally, StoreError> {
    let tables = Tables::open(db, Box::new(|_| {}))?;
    // It is a row like others, and older stores may have none.
    accounts::own_secret(tables.tree(Table::Meta))?;
    let mut tally = Tally::default();
    tally.commits = reached::FIRST;
    for table in Table::COUNTED.iter().copied() {
        let all = read_all(&tables, table)?;
        if let Some(problem) = all.unreadable {
            return Err(tables.corrupt(table, &problem));
        }
        tally.set(table, all.sum);
    }
    tables.write_tally(&tally)?;
    Ok(tally)
}

/// What [`prove`] has made out.
pub(super) struct Proof {
    /// What every later commit counts from.
    pub(super) tally: Tally,
    /// The tally is not the one in the store, and must be written there.
    pub(super) is_new: bool,
    pub(super) found: Found,
}

/// Holds what the store says of itself against how far it had come, and against its rows.
///
/// Errors: it is not whole, and `on_loss` refuses that.
pub(super) fn prove(
    folder: &Path,
    tables: &Tables,
    said: Said,
    on_loss: OnLoss,
) -> Result<Proof, StoreError> {
    let had_come_to = match said {
        Said::Commits(commits) => commits,
        Said::Missing | Said::Damaged => 0,
    };
    let kept = match Tally::read(tables) {
        // Nothing can be said for it.
        Err(StoreError::Corrupt { .. }) => None,
        kept => kept?,
    };
    let is_counted = kept.is_some();
    let kept = kept.unwrap_or_default();
    let missing = had_come_to.saturating_sub(kept.commits);
    if missing > 0 && on_loss == OnLoss::Refuse {
        return Err(StoreError::RolledBack {
            folder: folder.display().to_string(),
            missing,
            had_come_to,
        });
    }
    let rows_of = |tables: &[Table]| tables.iter().map(|table| kept.of(*table).rows).sum::<u64>();
    let is_small = rows_of(&TABLES_FOR_LATER) <= MAX_ROWS_AT_ONCE;
    // What is accepted is counted anew, all of it.
    let is_whole = is_counted && missing == 0;
    let at_once = |table: &Table| is_small || !is_whole || !TABLES_FOR_LATER.contains(table);
    let mut found = Found::default();
    let mut sums = Vec::new();
    for table in Table::COUNTED.iter().copied().filter(at_once) {
        let read = read_all(tables, table)?;
        found.checked.push(read.held_against(table, kept.of(table)));
        sums.push((table, read.sum));
    }
    found.is_checked = found.checked.len() == Table::COUNTED.len();
    let damaged: Vec<&TableCheck> = found
        .checked
        .iter()
        .filter(|check| check.problem.is_some())
        .collect();
    if is_whole && damaged.is_empty() {
        return Ok(Proof {
            tally: kept,
            is_new: false,
            found,
        });
    }
    let OnLoss::Accept { now } = on_loss else {
        let problem = damaged.iter().filter_map(|check| {
            let problem = check.problem.as_ref()?;
            Some(format!("{}: {problem}", check.table))
        });
        return Err(StoreError::Incomplete {
            folder: folder.display().to_string(),
            problem: if is_counted {
                problem.collect::<Vec<_>>().join("; ")
            } else {
                "what it says of its own size is lost".to_owned()
            },
        });
    };
    found.accepted = Some(Loss {
        at: now,
        commits: missing,
        tables: damaged.iter().map(|check| check.table.to_owned()).collect(),
    });
    let mut tally = kept;
    // Never below what the file beside it says, else the next opening would be refused.
    tally.commits = tally.commits.max(had_come_to);
    for (table, sum) in sums {
        tally.set(table, sum);
    }
    Ok(Proof {
        tally,
        is_new: true,
        found,
    })
}

impl Proof {
    /// Counts a table anew, in which something was written since.
    pub(super) fn count_again(&mut self, tables: &Tables, table: Table) -> Result<(), StoreError> {
        self.tally.set(table, read_all(tables, table)?.sum);
        Ok(())
    }
}

/// All rows of a table, as far as they can be read.
struct AllRows {
    sum: Sum,
    unreadable: Option<String>,
}

fn read_all(tables: &Tables, table: Table) -> Result<AllRows, StoreError> {
    let mut all = AllRows {
        sum: Sum::default(),
        unreadable: None,
    };
    let mut last = Vec::new();
    for row in tables.rows_behind(table, &[], None) {
        match row {
            Ok((key, value)) => {
                all.sum.add(table, &key, &value);
                last = key.to_vec();
            }
            Err(StoreError::Corrupt { .. }) => {
                // sled would name the same place again and again.
                all.unreadable = Some(unreadable(&last));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

impl AllRows {
    fn held_against(&self, table: Table, written: Sum) -> TableCheck {
        let problem = self.unreadable.clone().or_else(|| {
            if self.sum == written {
                None
            } else if self.sum.rows == written.rows {
                Some(format!(
                    "its {} written",
                    counted(
                        written.rows,
                        "row is not the one that was",
                        "rows are not those that were"
                    )
                ))
            } else {
                Some(format!(
                    "{} there, and {} written",
                    counted(self.sum.rows, "row is", "rows are"),
                    counted(written.rows, "was", "were")
                ))
            }
        });
        TableCheck {
            table: table.name(),
            rows: self.sum.rows,
            written: written.rows,
            problem,
        }
    }
}

fn unreadable(last: &[u8]) -> String {
    match record::account_of(record::account_part(last)) {
        Some(account) => format!("what stands behind the rows of {account} cannot be read"),
        None => "a part of it cannot be read".to_owned(),
    }
}

/// The row that remembers a loss that was accepted.
fn loss_row(loss: &Loss) -> Row {
    Row {
        table: Table::Meta,
        key: LOSS_ROW.to_vec(),
        value: Some(record::encode(loss)),
    }
}

impl Store {
    /// Reads every row, and holds them against what was written. Changes go on meanwhile.
    ///
    /// Blocks for as long as it takes: a page at a time in the writer thread, and before each page `pause` is called with how
    /// many rows were read by then. There must be one check at a time.
    pub fn check(&self, mut pause: impl FnMut(u64)) -> Result<Vec<TableCheck>, StoreError> {
        let mut read = 0;
        let mut checks = Vec::new();
        for table in Table::COUNTED.iter().copied() {
            let ledger = Arc::clone(&self.ledger);
            self.committer.commit_in_turn(move |_| {
                lock(&ledger).check = Some(UnderWay {
                    table,
                    behind: None,
                    found: Sum::default(),
                });
                Ok(Planned::nothing(()))
            })?;
            loop {
                pause(read);
                let ledger = Arc::clone(&self.ledger);
                let page = self.committer.commit_in_turn(move |tables| {
                    Ok(Planned::nothing(read_page(&mut lock(&ledger), tables)?))
                })?;
                read += page.rows;
                if let Some(check) = page.end {
                    checks.push(check);
                    break;
                }
            }
        }
        Ok(checks)
    }

    /// Writes down what was accepted at this opening.
    pub(super) fn remember_loss(&self) -> Result<(), StoreError> {
        let Some(loss) = &self.found.accepted else {
            return Ok(());
        };
        let rows = vec![loss_row(loss)];
        self.committer
            .commit_in_turn(move |_| Ok(Planned { rows, outcome: () }))
    }

    /// Why `SEQUENCE` does not say how far the store has come, in words; `None`: it does.
    #[must_use]
    pub fn sequence_problem(&self) -> Option<String> {
        self.reached.problem()
    }

    /// How many commits the store has seen.
    #[must_use]
    pub fn commits(&self) -> u64 {
        lock(&self.ledger).tally().commits
    }

    /// How many rows there are to be checked.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let ledger = lock(&self.ledger);
        let rows = |table: &Table| ledger.tally().of(*table).rows;
        Table::COUNTED.iter().map(rows).sum()
    }

    /// How it was found when it was opened.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// What was last accepted to be missing, at this opening or an earlier one.
    pub fn accepted_loss(&self) -> Result<Option<Loss>, StoreError> {
        let value = self.tables.read(Table::Meta, LOSS_ROW)?;
        value
            .map(|value| self.tables.decoded(Table::Meta, &value))
            .transpose()
    }
}

struct Page {
    rows: u64,
    /// The table's last one.
    end: Option<TableCheck>,
}

/// In the writer thread: nothing changes meanwhile.
fn read_page(ledger: &mut Ledger, tables: &Tables) -> Result<Page, StoreError> {
    let Some(check) = &mut ledger.check else {
        return Err(StoreError::Failed);
    };
    let table = check.table;
    let mut page = Page { rows: 0, end: None };
    let mut unreadable_behind = None;
    let mut is_end = true;
    let mut bytes = 0;
    for row in tables.rows_behind(table, &[], check.behind.clone()) {
        match row {
            Ok((key, value)) => {
                check.found.add(table, &key, &value);
                page.rows += 1;
                bytes += key.len() + value.len();
                check.behind = Some(key.to_vec());
            }
            Err(StoreError::Corrupt { .. }) => {
                unreadable_behind = Some(check.behind.clone().unwrap_or_default());
                break;
            }
            Err(error) => return Err(error),
        }
        if page.rows >= PAGE_ROWS || bytes >= PAGE_BYTES {
            is_end = false;
            break;
        }
    }
    if is_end {
        let all = AllRows {
            sum: check.found,
            unreadable: unreadable_behind.map(|last| unreadable(&last)),
        };
        page.end = Some(all.held_against(table, ledger.tally.of(table)));
        ledger.check = None;
    }
    Ok(page)
}

const LOSS_ROW: &[u8] = b"loss";
/// As long as these stay in the writer, no change is made: about a millisecond.
const PAGE_ROWS: u64 = 128;
const PAGE_BYTES: usize = 256 * 1024;
/// These say what may log in; what may not stands in the others. With more rows than this in them they are read when the
/// store serves already.
const TABLES_FOR_LATER: [Table; 2] = [Table::Certificates, Table::ByFingerprint];
const MAX_ROWS_AT_ONCE: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::identity::{BareJid, Incarnation, KeyId};
    use crate::store::Edit;

    fn revoke(store: &Store, account: &str, key: u8, is_revoked: bool) {
        let account = BareJid::parse(account).unwrap();
        let key_id = KeyId::from_bytes([key; 32]);
        let incarnation = Incarnation::parse("one").unwrap();
        let edit = if is_revoked {
            Edit::RevokeKey {
                key_id,
                incarnation,
                at: UnixSeconds(i64::from(key)),
            }
        } else {
            Edit::UnrevokeKey {
                key_id,
                incarnation,
            }
        };
        let changed = store.change(&account, move |_| Ok(Ok::<_, ()>((vec![edit], ()))));
        changed.unwrap().unwrap();
    }

    fn created() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        Store::create(folder.path()).unwrap();
        let store = opened(folder.path(), OnLoss::Refuse).unwrap();
        (folder, store)
    }

    fn opened(folder: &Path, on_loss: OnLoss) -> Result<Store, StoreError> {
        Store::open_with(folder, 8 << 20, on_loss, Box::new(|_| {}))
    }

    fn problems(checks: &[TableCheck]) -> Vec<(&str, &str)> {
        let problem = |check: &TableCheck| Some((check.table, check.problem.clone()?));
        let mut problems = Vec::new();
        for (table, problem) in checks.iter().filter_map(problem) {
            problems.push((table, &*problem.leak()));
        }
        problems
    }

    #[test]
    fn a_check_is_right_whatever_is_changed_between_its_pages() {
        let (_folder, store) = created();
        for number in 0..200 {
            for key in 0..3 {
                revoke(&store, &format!("user{number:03}@a.lit"), key, true);
            }
        }
        let mut turn = 0;
        let checks = store.check(|_| {
            turn += 1;
            // Before the place where it is, and behind it: new rows, other ones, and rows that go.
            for number in [0, turn * 17 % 200, 199] {
                let account = format!("user{number:03}@a.lit");
                revoke(&store, &account, 0, turn % 2 == 0);
                revoke(&store, &account, 9, turn % 3 != 0);
            }
            revoke(&store, &format!("aaa{turn}@a.lit"), 1, true);
            revoke(&store, &format!("zzz{turn}@a.lit"), 1, true);
        });
        let checks = checks.unwrap();
        assert!(turn > 10, "{turn}");
        assert_eq!(problems(&checks), []);
        let revoked = checks.iter().find(|check| check.table == "revoked_keys");
        assert!(revoked.unwrap().rows > 600);
    }

    #[test]
    fn a_row_that_was_not_written_so_is_found_and_the_store_is_not_opened_again() {
        let key = b"a.lit\0user\0whatever";
        for (told, damage) in [
            (
                "2 rows are there, and 1 was written",
                Box::new(|tree: &sled::Tree| drop(tree.insert(key, b"new").unwrap()))
                    as Box<dyn Fn(&sled::Tree)>,
            ),
            (
                "0 rows are there, and 1 was written",
                Box::new(|tree| tree.clear().unwrap()),
            ),
            (
                "its 1 row is not the one that was written",
                Box::new(|tree| {
                    let (key, _) = tree.first().unwrap().unwrap();
                    tree.insert(key, b"other").unwrap();
                }),
            ),
        ] {
            let (folder, store) = created();
            revoke(&store, "user@a.lit", 1, true);
            assert_eq!(problems(&store.check(|_| {}).unwrap()), []);
            damage(store.tables.tree(Table::RevokedKeys));
            let found = store.check(|_| {}).unwrap();
            assert_eq!(problems(&found), [("revoked_keys", told)]);
            store.close();
            drop(store);
            let refused = opened(folder.path(), OnLoss::Refuse).err().unwrap();
            let refused = refused.to_string();
            assert!(refused.contains(told), "{refused}");
            assert!(refused.contains("--accept-rollback"), "{refused}");
            // What is accepted is remembered, and counts from then on.
            let now = UnixSeconds(7);
            let store = opened(folder.path(), OnLoss::Accept { now }).unwrap();
            let loss = Loss {
                at: now,
                commits: 0,
                tables: vec!["revoked_keys".to_owned()],
            };
            assert_eq!(store.found().accepted, Some(loss.clone()));
            assert_eq!(problems(&store.check(|_| {}).unwrap()), []);
            drop(store);
            let store = opened(folder.path(), OnLoss::Refuse).unwrap();
            assert_eq!(store.found().accepted, None);
            assert_eq!(store.accepted_loss().unwrap(), Some(loss));
            assert!(store.found().is_checked);
        }
    }
}
