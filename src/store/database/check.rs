//! While the store serves: can every row be read, and do the counts follow from them?
//!
//! Whether the bytes of a row are those that were written is PostgreSQL's own to say: it keeps checksums of its pages if it was told so
//! (`initdb --data-checksums`), and gives an error for a page that is damaged. All is read in one snapshot, so what is changed meanwhile
//! does not matter.
//!
//! Must not know: who asks, the words about a damage.

use std::sync::Arc;

use super::super::counts::{Counting, Counts};
use super::super::edit::Table;
use super::super::error::StoreError;
use super::super::health::Health;
use super::super::tables::Tables;
use super::super::wholeness::TableCheck;
use super::belief::Believed;
use super::connect::wait;
use super::connections::Connections;
use super::followed::Followed;
use super::rows::Seen;

/// Reads every row; `pause` is called now and then, with how many were read by then. Blocks for as long as it takes.
pub(super) fn check(
    connections: &Connections,
    followed: &Arc<Followed>,
    pause: &mut dyn FnMut(u64),
) -> Result<Vec<TableCheck>, StoreError> {
    let session = connections.another()?;
    // The snapshot is that of the first question behind it, which is asked behind whatever is applied by now.
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let is_begun = wait(session.client().batch_execute(begin));
    is_begun.map_err(|error| error.away())?;
    // Its own: damage that it finds is told by it, and counted by nobody.
    let health = Arc::new(Health::of(
        Believed::at_opening().belief(),
        Box::new(|_| {}),
    ));
    let moment = Seen::of_moment(&session, followed, &health);
    let tables = Tables::of(Arc::new(moment), health);
    let mut counting = Counting::default();
    let mut read = 0;
    let mut checks = Vec::new();
    for table in Table::COUNTED.iter().copied() {
        let (mut rows, mut problem) = (0, None);
        for row in tables.scan(table, &[]) {
            match row {
                Ok((key, _)) => {
                    counting.add(table, &key);
                    rows += 1;
                    read += 1;
                    if read % PAUSED_EVERY == 0 {
                        pause(read);
                    }
                }
                Err(StoreError::Corrupt { problem: said, .. }) => problem = Some(said),
                Err(error) => return Err(error),
            }
        }
        if table == Table::Counts && problem.is_none() {
            let kept = Counts::read(&tables)?;
            problem =
                kept.held_against(&counting.counts, &[Table::Certificates, Table::RevokedKeys]);
        }
        checks.push(TableCheck {
            table: table.name(),
            rows,
            written: rows,
            problem,
        });
    }
    Ok(checks)
}

/// Rows.
const PAUSED_EVERY: u64 = 512;
