//! (a) Decisions over the socket, against redis' GETs of 300 bytes and against an echo, each by the same client; and the same while
//! passwords are tried.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use saslcertd::identity::{ScramHash, ScramVerifier, Secret};

use crate::accounts::{Accounts, Dice, HELLO, Offered, redis_gets, redis_sets};
use crate::effort::Effort;
use crate::figures::{Aim, Figures, Measure, Unit};
use crate::load::{self, Length, Run, Shape, Wire};
use crate::processes::Server;

/// A daemon, and how many accounts its store has.
#[derive(Clone, Copy)]
pub(crate) struct Filled<'a> {
    pub(crate) daemon: &'a Server,
    pub(crate) accounts: usize,
}

/// Measures each of `filled` in turn, round by round.
pub(crate) fn decisions(
    filled: &[Filled<'_>],
    accounts: &Accounts,
    run: &Path,
    effort: Effort,
    figures: &mut Figures,
) -> Result<()> {
    let (redis, echo) = (Server::redis(run)?, Server::echo(run)?);
    let most = filled.iter().map(|one| one.accounts).max().unwrap_or(0);
    fill_redis(&redis.socket, most)?;
    let mut dice = Dice(1);
    for one in filled {
        let questions = accounts.logins(&mut dice, one.accounts, effort.questions())?;
        load::run(&one.daemon.socket, LOGIN, MANY, questions, Length::Once)?;
    }
    for _ in 0..effort.rounds() {
        let mut alone = Vec::new();
        for one in filled {
            for shape in SHAPES {
                let (among, count) = (one.accounts, effort.questions());
                let gets = redis_gets(&mut dice, among, count);
                let gets = load::run(&redis.socket, Wire::Redis, shape, gets, effort.run())?;
                let echoes = accounts.offered(&mut dice, among, REMEMBERED)?.logins;
                let echoes = load::run(&echo.socket, ECHO, shape, echoes, effort.run())?;
                let offers = accounts.offers(&mut dice, among, count)?;
                let offers = load::run(&one.daemon.socket, OFFER, shape, offers, effort.run())?;
                let Offered {
                    offers: before,
                    logins,
                } = accounts.offered(&mut dice, among, REMEMBERED)?;
                load::run(&one.daemon.socket, OFFER, MANY, before, Length::Once)?;
                let logins = load::run(&one.daemon.socket, LOGIN, shape, logins, effort.run())?;
                if shape == ALONE {
                    alone.push((among, logins.quantile(0.5)));
                }
                let taken = Taken {
                    gets,
                    echoes,
                    offers,
                    logins,
                };
                taken.record(figures, shape, among);
            }
        }
        if let [(few, fast), .., (many, slow)] = alone.as_slice() {
            let what = format!("decisions' p50, {} over {}", counted(*many), counted(*few));
            let measure = Measure::new(PART, Unit::Ratio, what).aim(Aim::AtMost(1300));
            figures.add(measure, slow.as_secs_f64() / fast.as_secs_f64());
        }
    }
    redis.stop()
}

/// One shape's runs of one round.
struct Taken {
    gets: Run,
    echoes: Run,
    offers: Run,
    logins: Run,
}

impl Taken {
    fn record(&self, figures: &mut Figures, shape: Shape, among: usize) {
        let among = counted(among);
        let mut add = |unit: Unit, what: &str, aim: Option<Aim>, value: f64| {
            let what = format!("{what}, {shape}, {among}");
            figures.add(Measure::new(PART, unit, what).aim(aim), value);
        };
        let aim = match (shape.connections, shape.in_flight) {
            (64, 1) => Some(Aim::AtLeast(750)),
            (1, 64) => Some(Aim::AtLeast(400)),
            _ => None,
        };
        let gets = self.gets.per_second;
        let logins = self.logins.per_second;
        add(
            Unit::Ratio,
            "decisions over redis' GETs",
            aim,
            logins / gets,
        );
        add(
            Unit::Ratio,
            "offers over redis' GETs",
            None,
            self.offers.per_second / gets,
        );
        if shape == ALONE {
            let over =
                self.logins.quantile(0.5).as_secs_f64() / self.echoes.quantile(0.5).as_secs_f64();
            let aim = Aim::AtMost(1500);
            add(
                Unit::Ratio,
                "a decision's p50 over an echo's",
                Some(aim),
                over,
            );
        }
        add(Unit::PerSecond, "decisions", None, logins);
        add(Unit::PerSecond, "redis' GETs", None, gets);
        add(Unit::PerSecond, "echoes", None, self.echoes.per_second);
    }
}

fn fill_redis(socket: &Path, keys: usize) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    for first in (0..keys).step_by(1000) {
        let block = first..(first + 1000).min(keys);
        stream.write_all(redis_sets(block.clone()).as_bytes())?;
        for _ in block {
            let answer = answers.next().context("redis closed the connection")??;
            ensure!(answer == "+OK", "redis answers {answer}");
        }
    }
    Ok(())
}

/// The effect of a flood of passwords on logins with a certificate: tries come twice as fast as all cores together derive keys.
pub(crate) fn flood(
    filled: Filled<'_>,
    accounts: &Accounts,
    effort: Effort,
    figures: &mut Figures,
) -> Result<()> {
    let socket = &filled.daemon.socket;
    let create = r#","method":"account.create","params":{"account":"brutus@rome.lit","password":"et tu?","caller":"server"}}"#;
    load::ask(socket, HELLO_OF_ROME, &format!("{create}\n"))?;
    let cores = std::thread::available_parallelism()?.get();
    let tries_a_second = 2.0 * cores as f64 * derivations_a_second()?;
    let mut dice = Dice(2);
    for _ in 0..effort.rounds() {
        for shape in [ALONE, MANY] {
            let mut logins = || {
                let questions = accounts.logins(&mut dice, filled.accounts, effort.questions())?;
                load::run(socket, LOGIN, shape, questions, effort.run())
            };
            let quiet = logins()?;
            let is_over = AtomicBool::new(false);
            let (flooded, passwords) = std::thread::scope(|scope| {
                let flood = scope.spawn(|| try_passwords(socket, tries_a_second, &is_over));
                let flooded = logins();
                is_over.store(true, Ordering::Relaxed);
                (flooded, flood.join())
            });
            let passwords = passwords.map_err(|_| anyhow::anyhow!("the flood panicked"))??;
            let ratio = flooded?.quantile(0.99).as_secs_f64() / quiet.quantile(0.99).as_secs_f64();
            let what = format!("decisions' p99 in a flood of PLAIN over that without, {shape}");
            let measure = Measure::new(PART_FLOOD, Unit::Ratio, what);
            figures.add(measure.aim(Aim::AtMost(2000)), ratio);
            let what = format!("passwords found right meanwhile, {shape}");
            figures.add(Measure::new(PART_FLOOD, Unit::PerSecond, what), passwords);
        }
    }
    let what = "passwords tried meanwhile";
    figures.add(
        Measure::new(PART_FLOOD, Unit::PerSecond, what),
        tries_a_second,
    );
    Ok(())
}

/// How many keys one core derives, as accounts in the daemon have them.
fn derivations_a_second() -> Result<f64> {
    let secret = Secret::prepare("et tu?").map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let start = Instant::now();
    for number in 0..200_u8 {
        let salt = [number; 16];
        std::hint::black_box(ScramVerifier::derive(
            ScramHash::Sha256,
            &secret,
            &salt,
            10_000,
        ));
    }
    Ok(200.0 / start.elapsed().as_secs_f64())
}

/// Tries the right password so often, whatever is answered, until it is over. How many a second were found right.
fn try_passwords(socket: &Path, a_second: f64, is_over: &AtomicBool) -> Result<f64> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(HELLO_OF_ROME.as_bytes())?;
    let answers = BufReader::new(stream.try_clone()?).lines();
    let start = Instant::now();
    let right = std::thread::scope(|scope| {
        let counting = scope.spawn(move || -> std::io::Result<usize> {
            let mut right = 0;
            for answer in answers {
                right += usize::from(answer?.contains("\"result\":"));
            }
            // One of them was the hello's.
            Ok(right.saturating_sub(1))
        });
        let line = load::BEFORE_ID.to_owned()
            + r#"1,"method":"account.verify","params":{"account":"brutus@rome.lit","password":"et tu?","address":null}}"#
            + "\n";
        let mut sent = 0;
        while !is_over.load(Ordering::Relaxed) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let due = (start.elapsed().as_secs_f64() * a_second) as usize;
            stream.write_all(line.repeat(due - sent).as_bytes())?;
            sent = due;
            std::thread::sleep(TICK);
        }
        stream.shutdown(Shutdown::Write)?;
        let right = counting.join();
        Ok::<_, anyhow::Error>(right.map_err(|_| anyhow::anyhow!("the counter panicked"))??)
    })?;
    Ok(right as f64 / start.elapsed().as_secs_f64())
}

/// So many chains the daemon remembers for certain: fewer than those that fit into its memory of them.
pub(crate) const REMEMBERED: usize = 6_000;

/// As people say it: 10,000 accounts.
pub(crate) fn counted(accounts: usize) -> String {
    let digits = accounts.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + " accounts"
}

pub(crate) const ALONE: Shape = Shape {
    connections: 1,
    in_flight: 1,
};

pub(crate) const MANY: Shape = Shape {
    connections: 64,
    in_flight: 1,
};

/// Connections, and questions in flight on each.
pub(crate) const SHAPES: [Shape; 4] = [
    ALONE,
    MANY,
    Shape {
        connections: 1,
        in_flight: 64,
    },
    Shape {
        connections: 16,
        in_flight: 4,
    },
];

pub(crate) const LOGIN: Wire = Wire::Lines {
    hello: Some(HELLO),
    right: b"\"result\":",
};
pub(crate) const OFFER: Wire = Wire::Lines {
    hello: Some(HELLO),
    right: b"\"offer\":true",
};
const ECHO: Wire = Wire::Lines {
    hello: None,
    right: b"\"result\":",
};

const HELLO_OF_ROME: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"session.hello","params":{"protocol":2,"software":"bench","#,
    r#""hosts":[{"host":"rome.lit","accounts":"daemon","options":{}}]}}"#,
    "\n"
);

/// How often passwords are sent.
const TICK: Duration = Duration::from_millis(2);

const PART: &str = "Decisions over the socket (connections × in flight)";
const PART_FLOOD: &str = "A flood of passwords";
