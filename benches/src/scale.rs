//! (d) What many accounts cost: memory, start, status, export, import, disk.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::accounts::{Accounts, Dice};
use crate::figures::{Aim, Figures, Measure, Unit};
use crate::load::{self, Length, Shape};
use crate::processes::{Server, Store};
use crate::socket::{ALONE, LOGIN, MANY, counted};

/// Enrols what is missing until `store`, which has `from` accounts, has all of `accounts`: by `certificate.append` over the socket, as
/// uploads come in. Of all ways that saslcertd has this is the fastest, and each enrolment goes through every check.
pub(crate) fn fill(daemon: &Server, accounts: &Accounts, from: usize) -> Result<()> {
    for first in (from..accounts.count()).step_by(BLOCK) {
        let block = first..(first + BLOCK).min(accounts.count());
        load::run(
            &daemon.socket,
            LOGIN,
            FILLING,
            accounts.appends(block)?,
            Length::Once,
        )?;
    }
    Ok(())
}

/// Measures a store that has all of `accounts`, with `daemon` on it since they were enrolled; a restarted daemon.
pub(crate) fn measure(
    store: &Store,
    daemon: Server,
    accounts: &Accounts,
    folders: (&Path, &Path),
    figures: &mut Figures,
) -> Result<Server> {
    let (count, size) = (accounts.count(), counted(accounts.count()));
    let at_most = |thousandths| (count == MOST).then_some(Aim::AtMost(thousandths));
    let row = |unit, what: &str| Measure::new(PART, unit, format!("{what}, {size}"));
    figures.add(row(Unit::Mebibytes, "disk"), store.disk_mib()?);
    let grown = row(Unit::Mebibytes, "memory after the enrolments");
    figures.add(grown, daemon.resident_mib()?);

    let mut dice = Dice(3);
    let mut daemon = daemon;
    for _ in 0..STARTS {
        daemon.stop()?;
        let start = Instant::now();
        daemon = store.serve()?;
        load::run(
            &daemon.socket,
            LOGIN,
            ALONE,
            accounts.logins(&mut dice, count, 1)?,
            Length::Once,
        )?;
        let measure = row(Unit::Seconds, "start, until a login is decided").aim(at_most(1000));
        figures.add_time(measure, start.elapsed());
    }
    for _ in 0..100_000 / LOGINS {
        let logins = accounts.logins(&mut dice, count, LOGINS)?;
        load::run(&daemon.socket, LOGIN, MANY, logins, Length::Once)?;
    }
    let what = "memory after a restart and 100,000 random logins";
    let measure = row(Unit::Mebibytes, what).aim(at_most(512_000));
    figures.add(measure, daemon.resident_mib()?);
    for _ in 0..STARTS {
        let measure = row(Unit::Milliseconds, "status").aim(at_most(50_000));
        figures.add_time(measure, store.command(&["status"])?);
    }

    let (work, run) = folders;
    let file = work.join("export.ndjson");
    let words = file.to_string_lossy().into_owned();
    let measure = row(Unit::Seconds, "export").aim(at_most(25_000));
    figures.add_time(measure, store.command(&["export", &words])?);
    let other = Store::create(work, run, "imported")?;
    let importing = other.serve()?;
    let measure = row(Unit::Seconds, "import").aim(at_most(150_000));
    figures.add_time(measure, other.command(&["import", &words])?);
    let last = accounts.logins(&mut dice, count, LOGINS)?;
    // The imported store lets the same people in.
    load::run(&importing.socket, LOGIN, MANY, last, Length::Once)?;
    importing.stop()?;
    std::fs::remove_dir_all(&other.data)?;
    std::fs::remove_file(&file)?;
    Ok(daemon)
}

/// How many are enrolled, or log in, between two preparations of questions.
const BLOCK: usize = 50_000;
const LOGINS: usize = 20_000;

const STARTS: usize = 3;

/// The size that aims are set for.
const MOST: usize = 1_000_000;

const FILLING: Shape = Shape {
    connections: 4,
    in_flight: 64,
};

const PART: &str = "Many accounts";
