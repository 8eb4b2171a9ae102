//! While the store serves: is every row as it was written?
//!
//! A page at a time, in the writer thread, so that changes go on between two pages.
//!
//! Must not know: who asks, the words about a damage.

use std::sync::Arc;

use super::super::counts::Counting;
use super::super::edit::Table;
use super::super::error::StoreError;
use super::super::health::Health;
use super::super::job::Planned;
use super::super::memory::Memory;
use super::super::queue::Queue;
use super::super::tables::Tables;
use super::super::wholeness::TableCheck;
use super::ledger::{Ledger, UnderWay};
use super::tally::Sum;
use super::whole::{AllRows, unreadable};
use crate::system::lock::Lock;

/// The parts of an open store that a check needs.
pub(super) struct Checking<'a> {
    pub(super) queue: &'a Queue,
    pub(super) ledger: &'a Arc<Lock<Ledger>>,
    pub(super) memory: &'a Arc<Memory>,
    pub(super) health: &'a Health,
}

impl Checking<'_> {
    /// Holds every row against what was written.
    ///
    /// Blocks for as long as it takes: a page at a time in the writer thread, and before each page `pause` is called with how
    /// many rows were read by then. There must be one check at a time.
    pub(super) fn check(self, pause: &mut dyn FnMut(u64)) -> Result<Vec<TableCheck>, StoreError> {
        let mut read = 0;
        let mut checks = Vec::new();
        for table in Table::COUNTED.iter().copied() {
            let ledger = Arc::clone(self.ledger);
            self.queue.in_turn(move |_| {
                ledger.lock().check = Some(UnderWay {
                    table,
                    behind: None,
                    found: Sum::default(),
                    counting: Some(Counting::default()),
                });
                Ok(Planned::nothing(()))
            })?;
            loop {
                pause(read);
                let (ledger, memory) = (Arc::clone(self.ledger), Arc::clone(self.memory));
                let page = self.queue.in_turn(move |tables| {
                    let page = read_page(&mut ledger.lock(), &memory, tables)?;
                    Ok(Planned::nothing(page))
                })?;
                read += page.rows;
                if let Some(check) = page.end {
                    if table == Table::Known {
                        self.health.set_known_proven(check.problem.is_none());
                    }
                    checks.push(check);
                    break;
                }
            }
        }
        Ok(checks)
    }
}

struct Page {
    rows: u64,
    /// The table's last one.
    end: Option<TableCheck>,
}

/// In the writer thread: nothing changes meanwhile.
fn read_page(ledger: &mut Ledger, memory: &Memory, tables: &Tables) -> Result<Page, StoreError> {
    let Some(check) = &mut ledger.check else {
        return Err(StoreError::Failed);
    };
    let table = check.table;
    let mut page = Page { rows: 0, end: None };
    let mut unreadable_behind = None;
    let mut is_end = true;
    let mut bytes = 0;
    for row in tables.rows_behind(table, &[], check.behind.as_deref()) {
        match row {
            Ok((key, value)) => {
                check.found.add(table, &key, &value);
                if let Some(counting) = &mut check.counting {
                    counting.add(table, &key);
                }
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
        let counting = check.counting.take();
        let mut end = all.held_against(table, ledger.tally().of(table));
        ledger.check = None;
        if table == Table::Counts {
            let miscounted = ledger.miscounted.take();
            let tally = ledger.tally();
            let miscounted = miscounted.or_else(|| tally.held_against(&memory.counts.lock()));
            end.problem = end.problem.or(miscounted);
        } else if let (None, Some(Counting { counts, .. })) = (&end.problem, counting) {
            let other = memory.counts.lock().held_against(&counts, &[table]);
            ledger.miscounted = other.or(ledger.miscounted.take());
        }
        page.end = Some(end);
    }
    Ok(page)
}

/// As long as these stay in the writer, no change is made: about a millisecond.
const PAGE_ROWS: u64 = 128;
const PAGE_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use std::path::Path;

    use crate::identity::{BareJid, Incarnation, KeyId, UnixSeconds};
    use crate::store::{Edit, Loss, OnLoss, Store};

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
        let changed = store.take_back(None, &account, move |_| Ok(Ok::<_, ()>((vec![edit], ()))));
        changed.unwrap().unwrap();
    }

    fn created() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        Store::create(folder.path()).unwrap();
        let store = opened(folder.path(), OnLoss::Refuse).unwrap();
        (folder, store)
    }

    fn opened(folder: &Path, on_loss: OnLoss) -> Result<Store, StoreError> {
        Store::open_in_test(folder, on_loss)
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
        let put = |tables: &Tables, key: &[u8], value: Option<&[u8]>| {
            tables.scribble(Table::RevokedKeys, key, value);
        };
        let first = |tables: &Tables| {
            let row = tables.sound_rows(Table::RevokedKeys).next();
            let (key, _) = row.unwrap().unwrap();
            key.to_vec()
        };
        for (told, damage) in [
            (
                "2 rows are there, and 1 was written",
                Box::new(|tables: &Tables| put(tables, key, Some(b"new"))) as Box<dyn Fn(&Tables)>,
            ),
            (
                "0 rows are there, and 1 was written",
                Box::new(|tables| put(tables, &first(tables), None)),
            ),
            (
                "its 1 row is not the one that was written",
                Box::new(|tables| put(tables, &first(tables), Some(b"other"))),
            ),
        ] {
            let (folder, store) = created();
            revoke(&store, "user@a.lit", 1, true);
            assert_eq!(problems(&store.check(|_| {}).unwrap()), []);
            damage(&store.tables);
            let found = store.check(|_| {}).unwrap();
            assert_eq!(problems(&found), [("revoked_keys", told)]);
            store.close();
            drop(store);
            let refused = opened(folder.path(), OnLoss::Refuse).err().unwrap();
            let refused = refused.to_string();
            assert!(refused.contains(told), "{refused}");
            assert!(refused.contains("--accept-rollback"), "{refused}");
            // An accepted loss is remembered, and counts from then on.
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
