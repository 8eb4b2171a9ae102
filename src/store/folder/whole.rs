//! Is everything there that was ever written, and nothing else? Asked when the store is opened; `check` asks while it serves.
//!
//! The answer is the tally that every commit writes, against the rows that are there: see docs/decisions/0006-flipped-bits.md.
//!
//! Must not know: what stands in a row, what serves.

use std::path::Path;

use crate::identity::counted;

use super::super::counts::{Counting, Counts};
use super::super::edit::Table;
use super::super::error::StoreError;
use super::super::record;
use super::super::tables::Tables;
use super::super::wholeness::{Found, Loss, OnLoss, TableCheck};
use super::reached::Reading;
use super::secret::own_secret;
use super::tally::{Sum, Tally};
use super::trees::Trees;

/// Counts what is in a store that nobody has counted yet, and writes that down, to be flushed by who calls.
///
/// `commits`: so many it has seen.
pub(super) fn count(trees: &Trees, commits: u64) -> Result<Tally, StoreError> {
    let tables = &trees.tables;
    // It is a row like others, and older stores may have none.
    own_secret(trees.tree(Table::Meta))?;
    let mut tally = Tally::default();
    tally.commits = commits;
    for table in Table::COUNTED.iter().copied() {
        let all = read_all(tables, table)?;
        if let Some(problem) = all.unreadable {
            return Err(tables.corrupt(table, &problem));
        }
        tally.set(table, all.sum);
    }
    tally.write(trees)?;
    Ok(tally)
}

/// The findings of [`prove`].
pub(super) struct Proof {
    /// The tally that every later commit counts from.
    pub(super) tally: Tally,
    /// How much there is of each host.
    pub(super) counts: Counts,
    /// The tally is not the one in the store, and must be written there; what follows from other tables, too.
    pub(super) is_new: bool,
    pub(super) found: Found,
}

/// How much is read before the first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of a store of an older format: what follows from it is written anew.
    Former,
    /// The tables that say who may not log in; the others if they are small.
    AtOnce,
}

/// Holds what the store says of itself against how far it had come, and against its rows.
///
/// Errors: it is not whole, and `on_loss` refuses that.
pub(super) fn prove(
    folder: &Path,
    tables: &Tables,
    reading: Reading,
    on_loss: OnLoss,
    reach: Reach,
) -> Result<Proof, StoreError> {
    let had_come_to = match reading {
        Reading::Commits(commits) => commits,
        Reading::Missing | Reading::Damaged => 0,
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
    let is_former = reach == Reach::Former;
    let is_small = is_former || rows_of(&TABLES_FOR_LATER) <= MAX_ROWS_AT_ONCE;
    // A store with an accepted loss is counted anew, all of it.
    let is_whole = is_counted && missing == 0;
    let is_all_read = is_small || !is_whole || on_loss != OnLoss::Refuse;
    let at_once = |table: &Table| {
        if is_former && Table::DERIVED.contains(table) {
            return false;
        }
        is_all_read || !TABLES_FOR_LATER.contains(table)
    };
    let wanted = Table::COUNTED.iter().copied().filter(at_once);
    let Examined {
        mut found,
        sums,
        counts,
    } = Examined::of(tables, wanted, &kept)?;
    let damaged: Vec<&TableCheck> = found
        .checked
        .iter()
        .filter(|check| check.problem.is_some())
        .collect();
    if is_whole && damaged.is_empty() {
        return Ok(Proof {
            tally: kept,
            counts,
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
        counts,
        is_new: true,
        found,
    })
}

/// The rows and sums of some tables, as they were read.
struct Examined {
    found: Found,
    sums: Vec<(Table, Sum)>,
    counts: Counts,
}

impl Examined {
    /// Reads the tables that are `wanted`, and holds them against what was `written`.
    fn of(
        tables: &Tables,
        wanted: impl Iterator<Item = Table>,
        written: &Tally,
    ) -> Result<Self, StoreError> {
        let mut checked = Vec::new();
        let mut sums = Vec::new();
        let mut sound = Vec::new();
        let mut counting = Counting::default();
        for table in wanted {
            let read = read_all_with(tables, table, |key| counting.add(table, key))?;
            let check = read.held_against(table, written.of(table));
            if check.problem.is_none() {
                sound.push(table);
            }
            checked.push(check);
            sums.push((table, read.sum));
        }
        let counts = match Counts::read(tables) {
            // Its table has been found to be damaged.
            Err(StoreError::Corrupt { .. }) => Counts::default(),
            counts => counts?,
        };
        if sound.contains(&Table::Counts) {
            let problem = written
                .held_against(&counts)
                .or_else(|| counts.held_against(&counting.counts, &sound));
            let name = Table::Counts.name();
            let check = checked.iter_mut().filter(|check| check.table == name);
            check.for_each(|check| check.problem.clone_from(&problem));
        }
        let found = Found {
            is_checked: checked.len() == Table::COUNTED.len(),
            checked,
            accepted: None,
        };
        Ok(Self {
            found,
            sums,
            counts,
        })
    }
}

impl Proof {
    /// Counts anew what was written since.
    pub(super) fn count_again(&mut self, tables: &Tables) -> Result<(), StoreError> {
        for table in [Table::Known, Table::Meta, Table::Expiry, Table::Counts] {
            self.tally.set(table, read_all(tables, table)?.sum);
        }
        self.counts = Counts::read(tables)?;
        Ok(())
    }
}

/// All rows of a table, as far as they can be read.
pub(super) struct AllRows {
    pub(super) sum: Sum,
    pub(super) unreadable: Option<String>,
}

fn read_all(tables: &Tables, table: Table) -> Result<AllRows, StoreError> {
    read_all_with(tables, table, |_| {})
}

fn read_all_with(
    tables: &Tables,
    table: Table,
    mut each: impl FnMut(&[u8]),
) -> Result<AllRows, StoreError> {
    let mut all = AllRows {
        sum: Sum::default(),
        unreadable: None,
    };
    let mut last = Vec::new();
    for row in tables.rows_behind(table, &[], None) {
        match row {
            Ok((key, value)) => {
                all.sum.add(table, &key, &value);
                each(&key);
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
    /// The verdict on the table, if `written` is the sum of what was written.
    pub(super) fn held_against(&self, table: Table, written: Sum) -> TableCheck {
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

/// A sentence for rows behind this key that cannot be read.
pub(super) fn unreadable(last: &[u8]) -> String {
    match record::account_of(record::account_part(last)) {
        Some(account) => format!("what stands behind the rows of {account} cannot be read"),
        None => "a part of it cannot be read".to_owned(),
    }
}

/// These say what may log in; what may not stands in the others. With more rows than this in them they are read when the
/// store serves already; until then `known` is not believed when it says that a key is not revoked.
const TABLES_FOR_LATER: [Table; 3] = [Table::Certificates, Table::Known, Table::Expiry];
const MAX_ROWS_AT_ONCE: u64 = 1_000_000;
