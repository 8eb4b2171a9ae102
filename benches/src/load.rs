//! The one client of every server on a Unix socket: so many connections, so many questions in flight on each.
//!
//! Saslcertd, the echo and redis are asked by the same loop: it reads what there is, takes every whole answer, and writes the
//! questions that these make room for at once. One thread, so that on two cores the server has one to itself.
//!
//! Must not know what a question means: it gets lines (or redis' commands), and hears what a right answer looks like.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::LocalSet;

/// How many questions wait for their answers at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}×{}", self.connections, self.in_flight)
    }
}

/// How questions and answers are framed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    /// JSON-RPC, one object a line, in any order. A question is what stands behind its id; `hello` goes first, and is answered.
    Lines {
        hello: Option<&'static str>,
        right: &'static [u8],
    },
    /// Redis' bulk strings, in the order of the questions. A question is whole.
    Redis,
}

/// When a run is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    /// Each question was asked once.
    Once,
    /// So much time has passed; after the last question comes the first again.
    For(Duration),
}

/// The figures of a run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) per_second: f64,
    sorted: Vec<Duration>,
}

impl Run {
    /// The time from a question's write to its answer's read that `share` (0 to 1) of all stay below.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let at = (self.sorted.len() as f64 * share) as usize;
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get(at.min(last)).copied().unwrap_or_default()
    }
}

/// Asks `questions`, spread evenly over the connections.
///
/// Errors: a connection that fails or ends, and the first answer that is not a right one.
pub(crate) fn run(
    socket: &Path,
    wire: Wire,
    shape: Shape,
    questions: Vec<Vec<u8>>,
    length: Length,
) -> Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let each = questions.len().div_ceil(shape.connections).max(1);
    LocalSet::new().block_on(&runtime, async {
        let mut connected = Vec::new();
        let mut questions = questions.into_iter();
        for _ in 0..shape.connections {
            let stream = open(socket, wire).await?;
            connected.push((stream, questions.by_ref().take(each).collect()));
        }
        // The clock starts when all are connected.
        let start = Instant::now();
        let end = match length {
            Length::Once => None,
            Length::For(time) => Some(start + time),
        };
        let workers: Vec<_> = connected
            .into_iter()
            .map(|(stream, part)| {
                tokio::task::spawn_local(ask_all(stream, wire, shape.in_flight, part, end))
            })
            .collect();
        let mut sorted = Vec::new();
        for worker in workers {
            sorted.extend(worker.await??);
        }
        let per_second = sorted.len() as f64 / start.elapsed().as_secs_f64();
        sorted.sort_unstable();
        Ok(Run { per_second, sorted })
    })
}

/// Asks one question over a connection of its own, and returns the answer's line.
pub(crate) fn ask(socket: &Path, hello: &str, rest: &str) -> Result<String> {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket)
        .with_context(|| format!("connecting to {}", socket.display()))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut answer = String::new();
    for line in [hello.to_owned(), format!("{BEFORE_ID}1{rest}")] {
        stream.write_all(line.as_bytes())?;
        answer.clear();
        lines.read_line(&mut answer)?;
        ensure!(answer.contains("\"result\":"), "{line}is answered {answer}");
    }
    Ok(answer)
}

async fn open(socket: &Path, wire: Wire) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)
        .await
        .with_context(|| format!("connecting to {}", socket.display()))?;
    if let Wire::Lines {
        hello: Some(hello), ..
    } = wire
    {
        stream.write_all(hello.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            ensure!(
                stream.read_buf(&mut answer).await? > 0,
                "closed after the hello"
            );
        }
        ensure!(
            holds(&answer, b"\"result\":"),
            "the hello is answered {}",
            String::from_utf8_lossy(&answer)
        );
    }
    Ok(stream)
}

/// The times of all answers, in the order in which they came: to each question once, or until `end`, and then to those in flight.
async fn ask_all(
    mut stream: UnixStream,
    wire: Wire,
    in_flight: usize,
    questions: Vec<Vec<u8>>,
    end: Option<Instant>,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(questions.len());
    let (mut once, mut again) = (questions.iter(), questions.iter().cycle());
    // When the question was written whose id is the place here.
    let mut written = vec![Instant::now(); in_flight];
    let mut next_of_redis = 0;
    let mut free: Vec<usize> = (0..in_flight).collect();
    let (mut inbox, mut outbox) = (Vec::with_capacity(64 * 1024), Vec::new());
    let mut unanswered = 0;
    loop {
        outbox.clear();
        let now = Instant::now();
        for id in free.drain(..) {
            let question = match end {
                None => once.next(),
                Some(end) if now < end => again.next(),
                Some(_) => None,
            };
            let Some(question) = question else { break };
            unanswered += 1;
            if let Wire::Lines { .. } = wire {
                outbox.extend_from_slice(BEFORE_ID.as_bytes());
                outbox.extend_from_slice(id.to_string().as_bytes());
            }
            outbox.extend_from_slice(question);
            *written.get_mut(id).context("an id")? = now;
        }
        if unanswered == 0 {
            return Ok(times);
        }
        stream.write_all(&outbox).await?;
        ensure!(
            stream.read_buf(&mut inbox).await? > 0,
            "the server closed the connection"
        );
        let now = Instant::now();
        let mut at = 0;
        while let Some(answer) = whole_answer(wire, inbox.get(at..).unwrap_or_default())? {
            at += answer.len();
            let id = match wire {
                Wire::Redis => {
                    let id = next_of_redis;
                    next_of_redis = (id + 1) % in_flight;
                    Some(id)
                }
                Wire::Lines { right, .. } => id_of(answer, right)?,
            };
            // Else it is a question of the daemon's, which this client leaves unanswered.
            if let Some(id) = id {
                times.push(now - *written.get(id).context("an id that nobody gave")?);
                free.push(id);
                unanswered -= 1;
            }
        }
        inbox.drain(..at);
    }
}

/// The first answer in `bytes`, if all of it is there.
fn whole_answer(wire: Wire, bytes: &[u8]) -> Result<Option<&[u8]>> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let length = match wire {
        Wire::Lines { .. } => end + 1,
        Wire::Redis => {
            let header = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
            let value = header.trim_end().strip_prefix('$');
            let Some(value) = value.and_then(|length| length.parse::<usize>().ok()) else {
                bail!("redis answers {header}");
            };
            end + 1 + value + 2
        }
    };
    Ok(bytes.get(..length))
}

/// The id of an answer; `None` for a question. Errors: an answer that is not a right one.
fn id_of(line: &[u8], right: &[u8]) -> Result<Option<usize>> {
    let digits = line.strip_prefix(BEFORE_ID.as_bytes()).unwrap_or_default();
    let mut id = 0;
    let mut length = 0;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        id = id * 10 + usize::from(digit - b'0');
        length += 1;
    }
    if length == 0 && holds(line, b"\"method\":") {
        return Ok(None);
    }
    ensure!(
        length > 0 && holds(line, right),
        "a question is answered {}",
        String::from_utf8_lossy(line)
    );
    Ok(Some(id))
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// The text before the id of a question, and of an answer.
pub(crate) const BEFORE_ID: &str = "{\"jsonrpc\":\"2.0\",\"id\":";

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: Wire = Wire::Lines {
        hello: None,
        right: b"\"result\":",
    };

    #[test]
    fn an_answer_is_taken_when_all_of_it_is_there() {
        let whole = |wire, bytes| whole_answer(wire, bytes).ok().flatten().map(<[u8]>::len);
        assert_eq!(whole(LINES, b"{\"id\":1"), None);
        assert_eq!(whole(LINES, b"{}\n{}\n"), Some(3));
        assert_eq!(whole(Wire::Redis, b"$3\r\nabc\r"), None);
        assert_eq!(whole(Wire::Redis, b"$3\r\nabc\r\n$3"), Some(9));
        assert!(whole_answer(Wire::Redis, b"$-1\r\n").is_err(), "no value");
    }

    #[test]
    fn an_answer_that_is_not_a_right_one_ends_the_run() {
        let line = |rest: &str| format!("{BEFORE_ID}{rest}\n").into_bytes();
        let id = |rest: &str| id_of(&line(rest), b"\"result\":").ok();
        assert_eq!(id("42,\"result\":{}}"), Some(Some(42)));
        assert_eq!(id("42,\"error\":{}}"), None);
        assert_eq!(id("null,\"error\":{}}"), None);
        // The daemon asks, too.
        assert_eq!(id("\"d1\",\"method\":\"account.notify\"}"), Some(None));
    }

    #[test]
    fn a_quantile_is_the_time_that_so_many_answers_stay_below() {
        let sorted = (1..=100).map(Duration::from_micros).collect();
        let run = Run {
            per_second: 1.0,
            sorted,
        };
        assert_eq!(run.quantile(0.5), Duration::from_micros(51));
        assert_eq!(run.quantile(0.99), Duration::from_micros(100));
        assert_eq!(run.quantile(1.0), Duration::from_micros(100));
    }
}
