//! (e) Enrolments, each on the disk when it is answered, against what the disk can do: a bare write and fdatasync, one after the other.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::accounts::Accounts;
use crate::effort::Effort;
use crate::figures::{Figures, Measure, Unit};
use crate::load::{self, Length, Shape};
use crate::processes::Store;
use crate::socket::{ALONE, LOGIN};

/// In a store of its own, in `work`, with accounts that are in no other.
pub(crate) fn measure(
    work: &Path,
    run: &Path,
    effort: Effort,
    figures: &mut Figures,
) -> Result<()> {
    let folder = work.join("durable-accounts");
    std::fs::create_dir(&folder)?;
    let (mut accounts, store) = (
        Accounts::new(&folder)?,
        Store::create(work, run, "durable")?,
    );
    let daemon = store.serve()?;
    let writes = effort.writes();
    let few = writes / 4;
    let mut used = 0;
    for _ in 0..effort.rounds() {
        accounts.extend_to(used + few + writes)?;
        let bare = bare(&work.join("bare"), few)?;
        let questions = accounts.appends(used..used + few)?;
        let alone = load::run(&daemon.socket, LOGIN, ALONE, questions, Length::Once)?;
        let questions = accounts.appends(used + few..used + few + writes)?;
        let together = load::run(&daemon.socket, LOGIN, TOGETHER, questions, Length::Once)?;
        used += few + writes;

        let bare_a_second = 1.0 / bare.as_secs_f64();
        let mut add = |unit, what: &str, value| {
            figures.add(Measure::new(PART, unit, what), value);
        };
        let ratio = alone.quantile(0.5).as_secs_f64() / bare.as_secs_f64();
        add(
            Unit::Ratio,
            "an enrolment's p50 over an fdatasync's, 1×1",
            ratio,
        );
        let ratio = together.per_second / bare_a_second;
        add(Unit::Ratio, "enrolments over fdatasyncs, 1×64", ratio);
        add(Unit::PerSecond, "enrolments, 1×64", together.per_second);
        add(Unit::PerSecond, "fdatasyncs", bare_a_second);
    }
    daemon.stop()?;
    std::fs::remove_dir_all(&store.data)?;
    Ok(())
}

/// The median time of a write of 4 KiB with fdatasync, one behind the other, into a file that has its size already: a disk can't do less for
/// a store that keeps its word.
fn bare(path: &Path, writes: usize) -> Result<Duration> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let page = [b'x'; 4096];
    for number in 0..writes as u64 {
        file.write_all_at(&page, number * 4096)?;
    }
    file.sync_all()?;
    let mut times = Vec::with_capacity(writes);
    for number in 0..writes as u64 {
        let start = Instant::now();
        file.write_all_at(&page, number * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    std::fs::remove_file(path)?;
    Ok(times.get(writes / 2).copied().unwrap_or_default())
}

const TOGETHER: Shape = Shape {
    connections: 1,
    in_flight: 64,
};

const PART: &str = "Durable writes";
