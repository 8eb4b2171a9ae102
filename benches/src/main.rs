//! `make bench`: what saslcertd costs, as ratios to what does the same work or nothing at all, measured in turn in one run.
//!
//! With `$BENCH` = `quick` in some minutes, else in less than twenty, and the import of a million accounts into a database. `make bench PARTS='socket logins'` measures these parts only. The table
//! goes to the terminal, and with its picture to target/bench/. docs/performance.md says what each row means.
//!
//! Nothing is asserted of a figure. A figure that can't be measured is an error, and no table is printed.

#![allow(clippy::cast_precision_loss, clippy::print_stdout)]

mod accounts;
mod authorities;
mod chart;
mod clients;
mod database;
mod durable;
mod echo;
mod effort;
mod figures;
mod load;
mod machine;
mod postgresql;
mod processes;
mod prosody;
mod scale;
mod socket;

use std::path::Path;

use anyhow::{Context, Result, bail};

use accounts::Accounts;
use effort::Effort;
use figures::Figures;
use processes::Store;
use socket::Filled;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // The other processes of a bench.
        ["echo", socket] => echo::serve(Path::new(socket)),
        ["identities", count, domain] => clients::print_identities(count.parse()?, domain),
        ["log-in", rest @ ..] => clients::one_after_the_other(rest),
        ["come-back", rest @ ..] => clients::all_at_once(rest),
        [] => measure(&PARTS),
        parts => measure(parts),
    }
}

/// Measures these parts, prints the table and draws the picture.
fn measure(parts: &[&str]) -> Result<()> {
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        bail!("there is no part {unknown}; there are {}", PARTS.join(", "));
    }
    let effort = Effort::wanted()?;
    let machine = machine::describe();
    let mut figures = Figures::default();
    // The stores are to be on a disk, and a socket's path must be short.
    let results = std::env::current_exe()?.with_file_name("..").join("bench");
    std::fs::create_dir_all(&results)?;
    let work = tempfile::tempdir_in(&results)?;
    let run = tempfile::tempdir()?;
    if parts.contains(&"durable") {
        say("durable writes");
        durable::measure(work.path(), run.path(), effort, &mut figures)?;
    }
    if ["scale", "socket", "flood", "authority", "database"]
        .iter()
        .any(|part| parts.contains(part))
    {
        with_stores(parts, effort, work.path(), run.path(), &mut figures)?;
    }
    let in_prosody: Vec<&str> = ["logins", "return"]
        .into_iter()
        .filter(|part| parts.contains(part))
        .collect();
    if !in_prosody.is_empty() {
        say("logins to Prosody");
        prosody::measure(&in_prosody, effort, &mut figures)?;
    }
    let table = figures.table();
    println!("\n{machine}\n{table}");
    let page = format!("{PICTURE}\n\n{machine}\n{table}");
    std::fs::write(results.join("table.md"), page)?;
    chart::draw(&figures, &results.join("performance.svg"))?;
    println!("In {}: table.md, performance.svg", results.display());
    Ok(())
}

/// The parts that need a daemon with many accounts: the smallest store, and the largest beside it.
fn with_stores(
    parts: &[&str],
    effort: Effort,
    work: &Path,
    run: &Path,
    figures: &mut Figures,
) -> Result<()> {
    let sizes = effort.sizes();
    let few = sizes.first().copied().context("sizes")?;
    let mut accounts = Accounts::new(work)?;
    accounts.extend_to(few)?;
    let small = Store::create(work, run, "small")?;
    let small_daemon = small.serve()?;
    say(&format!("enrolling {}", socket::counted(few)));
    scale::fill(&small_daemon, &accounts, 0)?;

    let large = Store::create(work, run, "large")?;
    let mut large_daemon = large.serve()?;
    let measures_scale = parts.contains(&"scale");
    let mut from = 0;
    for size in sizes.iter().copied() {
        // Without that part the largest store is only needed for what is compared with it.
        let is_compared = parts.contains(&"socket") || parts.contains(&"database");
        if !measures_scale && (size == few || !is_compared) {
            continue;
        }
        say(&format!("enrolling {}", socket::counted(size)));
        accounts.extend_to(size)?;
        scale::fill(&large_daemon, &accounts, from)?;
        from = size;
        if measures_scale {
            say(&format!(
                "start, status, export, import with {}",
                socket::counted(size)
            ));
            large_daemon = scale::measure(&large, large_daemon, &accounts, (work, run), figures)?;
        }
    }
    let smallest = Filled {
        daemon: &small_daemon,
        accounts: few,
    };
    if parts.contains(&"flood") {
        say("a flood of passwords");
        socket::flood(smallest, &accounts, effort, figures)?;
    }
    if parts.contains(&"socket") {
        say("decisions over the socket");
        let largest = Filled {
            daemon: &large_daemon,
            accounts: from,
        };
        let both = [smallest, largest];
        let stores = if from > few { &both[..] } else { &both[..1] };
        socket::decisions(stores, &accounts, run, effort, figures)?;
    }
    if parts.contains(&"database") {
        say("a database in the place of a folder");
        let of = |store, daemon, accounts| database::InFolder {
            store,
            daemon,
            accounts,
        };
        let both = [
            of(&small, &small_daemon, few),
            of(&large, &large_daemon, from),
        ];
        let stores = if from > few { &both[..] } else { &both[..1] };
        database::measure(stores, &accounts, (work, run), effort, figures)?;
    }
    large_daemon.stop()?;
    if parts.contains(&"authority") {
        say("decisions by an authority");
        authorities::measure(smallest, &accounts, work, effort, figures)?;
    }
    small_daemon.stop()
}

/// Progress goes to standard error, so that the table can be redirected.
fn say(what: &str) {
    eprintln!("bench: {what}");
}

/// How docs/performance.md shows it.
const PICTURE: &str = "![The ratios of the table, with their ranges and aims](performance.svg)";

const PARTS: [&str; 8] = [
    "durable",
    "scale",
    "socket",
    "flood",
    "authority",
    "database",
    "logins",
    "return",
];
