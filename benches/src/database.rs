//! (f) The store in a database in the place of a folder: what a decision costs, how long a revocation takes with one daemon and with
//! several, and what many accounts cost.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::accounts::{Accounts, Dice, HELLO, Offered};
use crate::effort::Effort;
use crate::figures::{Figures, Measure, Unit};
use crate::load::{self, Length, Run, Shape};
use crate::postgresql::PostgreSql;
use crate::processes::{Server, Store};
use crate::say;
use crate::socket::{ALONE, LOGIN, MANY, OFFER, REMEMBERED, counted};

/// A store in a folder, the daemon on it, and how many accounts it has.
#[derive(Clone, Copy)]
pub(crate) struct InFolder<'a> {
    pub(crate) store: &'a Store,
    pub(crate) daemon: &'a Server,
    pub(crate) accounts: usize,
}

/// Measures each of `folders` against the same accounts in a database, and revocations.
pub(crate) fn measure(
    folders: &[InFolder<'_>],
    accounts: &Accounts,
    (work, run): (&Path, &Path),
    effort: Effort,
    figures: &mut Figures,
) -> Result<()> {
    let server = PostgreSql::start()?;
    for folder in folders {
        let name = format!("accounts_{}", folder.accounts);
        let store = Store::in_database(&server, work, run, &name)?;
        let mut daemon = store.serve()?;
        let file = work.join("accounts.ndjson");
        let words = file.to_string_lossy().into_owned();
        folder.store.command(&["export", &words])?;
        let row = |unit, what: &str| {
            Measure::new(PART, unit, format!("{what}, {}", counted(folder.accounts)))
        };
        say(&format!("importing {}", counted(folder.accounts)));
        let took = store.command(&["import", &words])?;
        figures.add_time(row(Unit::Seconds, "import"), took);
        std::fs::remove_file(&file)?;
        figures.add(row(Unit::Mebibytes, "disk"), server.disk_mib(&name)?);
        let imported = row(Unit::Mebibytes, "the daemon's memory after the import");
        figures.add(imported, daemon.resident_mib()?);
        let mut dice = Dice(7);
        for _ in 0..STARTS {
            daemon.stop()?;
            let start = Instant::now();
            daemon = store.serve()?;
            let login = accounts.logins(&mut dice, folder.accounts, 1)?;
            load::run(&daemon.socket, LOGIN, ALONE, login, Length::Once)?;
            let measure = row(Unit::Seconds, "start, until a login is decided");
            figures.add_time(measure, start.elapsed());
        }
        for _ in 0..effort.rounds() {
            decisions((*folder, &daemon), accounts, &mut dice, effort, figures)?;
        }
        let used = row(Unit::Mebibytes, "the daemon's memory after these logins");
        figures.add(used, daemon.resident_mib()?);
        daemon.stop()?;
    }
    say("revocations with several daemons");
    revocations(&server, (work, run), effort, figures)?;
    server.stop()
}

/// One round: the same kind of logins at both, in each shape.
fn decisions(
    (folder, in_database): (InFolder<'_>, &Server),
    accounts: &Accounts,
    dice: &mut Dice,
    effort: Effort,
    figures: &mut Figures,
) -> Result<()> {
    let among = folder.accounts;
    for shape in [ALONE, MANY] {
        let mut logins = |daemon: &Server| -> Result<(Run, Run)> {
            let Offered { offers, logins } = accounts.offered(dice, among, REMEMBERED)?;
            // Most of them are read for the first time in a while.
            let offers = load::run(&daemon.socket, OFFER, shape, offers, Length::Once)?;
            let logins = load::run(&daemon.socket, LOGIN, shape, logins, effort.run())?;
            Ok((offers, logins))
        };
        let (offers_of_folder, of_folder) = logins(folder.daemon)?;
        let (offers_of_database, of_database) = logins(in_database)?;
        let size = counted(among);
        let mut add = |unit, what: &str, value| {
            let what = format!("{what}, {shape}, {size}");
            figures.add(Measure::new(PART, unit, what), value);
        };
        if shape == ALONE {
            let p50 = |run: &Run| run.quantile(0.5).as_secs_f64();
            let over = p50(&of_database) / p50(&of_folder);
            add(Unit::Ratio, "a decision's p50 over one's in a folder", over);
            let over = p50(&offers_of_database) / p50(&offers_of_folder);
            let what = "an offer's p50 over one's in a folder";
            add(Unit::Ratio, what, over);
            add(
                Unit::Milliseconds,
                "an offer's p50",
                1000.0 * p50(&offers_of_database),
            );
        } else {
            let over = of_database.per_second / of_folder.per_second;
            add(Unit::Ratio, "decisions over those in a folder", over);
        }
        add(Unit::PerSecond, "decisions", of_database.per_second);
    }
    Ok(())
}

/// Revocations one after the other, each of a certificate that was enrolled shortly before: in a folder, and in a database with so many
/// daemons, to each of which a server is connected.
fn revocations(
    server: &PostgreSql,
    (work, run): (&Path, &Path),
    effort: Effort,
    figures: &mut Figures,
) -> Result<()> {
    let keys = work.join("revoked");
    std::fs::create_dir(&keys)?;
    let mut accounts = Accounts::new(&keys)?;
    let folder = Store::create(work, run, "revoking")?.serve()?;
    let mut of_databases = Vec::new();
    for count in DAEMONS {
        let store = Store::in_database(server, work, run, &format!("daemons_{count}"))?;
        let mut daemons = vec![store.serve()?];
        for number in 1..count {
            let daemon = store.beside(number).serve()?;
            attach(&daemon.socket)?;
            daemons.push(daemon);
        }
        of_databases.push((count, daemons));
    }
    let each = effort.revocations();
    for _ in 0..effort.rounds() {
        let mut revoke = |daemon: &Server| {
            let first = accounts.count();
            accounts.extend_to(first + each)?;
            let enrolments = accounts.appends(first..first + each)?;
            load::run(&daemon.socket, LOGIN, FILLING, enrolments, Length::Once)?;
            let revocations = Accounts::revocations(first..first + each);
            load::run(&daemon.socket, LOGIN, ALONE, revocations, Length::Once)
        };
        let in_folder = revoke(&folder)?;
        record(&in_folder, "in a folder", figures);
        for (count, daemons) in &of_databases {
            let Some(daemon) = daemons.first() else {
                continue;
            };
            let revoked = revoke(daemon)?;
            let plural = if *count == 1 { "" } else { "s" };
            let with = format!("{count} daemon{plural}");
            record(&revoked, &with, figures);
            let over = revoked.quantile(0.5).as_secs_f64() / in_folder.quantile(0.5).as_secs_f64();
            let what = format!("a revocation's p50 over one's in a folder, {with}");
            figures.add(Measure::new(REVOCATIONS, Unit::Ratio, what), over);
        }
    }
    folder.stop()?;
    for daemon in of_databases.into_iter().flat_map(|(_, daemons)| daemons) {
        daemon.stop()?;
    }
    std::fs::remove_dir_all(&keys)?;
    Ok(())
}

fn record(run: &Run, with: &str, figures: &mut Figures) {
    for (name, share) in [("p50", 0.5), ("p95", 0.95)] {
        let what = format!("a revocation's {name}, {with}");
        figures.add_time(
            Measure::new(REVOCATIONS, Unit::Milliseconds, what),
            run.quantile(share),
        );
    }
}

/// A server that reads what the daemon tells it, until that ends.
fn attach(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(HELLO.as_bytes())?;
    let mut lines = BufReader::new(stream);
    let mut answer = String::new();
    lines.read_line(&mut answer)?;
    ensure!(answer.contains("\"result\":"), "the hello: {answer}");
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Ok(())
}

/// With so many on one database.
const DAEMONS: [usize; 3] = [1, 2, 5];

const STARTS: usize = 3;

const FILLING: Shape = Shape {
    connections: 4,
    in_flight: 64,
};

const PART: &str = "A database (PostgreSQL)";
const REVOCATIONS: &str = "Revocations with several daemons";
