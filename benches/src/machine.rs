//! On what it was measured, in words.

use std::process::Command;

use crate::postgresql;
use crate::processes::REPOSITORY;

/// A list in Markdown: processor, memory, kernel, system, versions of what was measured.
pub(crate) fn describe() -> String {
    let processor = field("/proc/cpuinfo", "model name");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = field("/proc/meminfo", "MemTotal");
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
    let gib = kib.div_ceil(1 << 20);
    let system = field("/etc/os-release", "PRETTY_NAME");
    let root = REPOSITORY;
    let redis = first_line(
        &format!("{root}/target/redis/usr/bin/redis-server"),
        &["--version"],
    );
    let redis = redis.split_whitespace().nth(2).unwrap_or("?").to_owned();
    let prosody = |name: &str| {
        let package = format!("{root}/target/prosody/{name}/package");
        std::fs::read_to_string(package).unwrap_or_default()
    };
    let lines = [
        format!("{cores} cores of {processor}, {gib} GiB"),
        format!("{system}, Linux {}", first_line("uname", &["-r"])),
        format!(
            "saslcertd {}",
            first_line("git", &["-C", root, "describe", "--always", "--dirty"])
        ),
        format!(
            "redis {}, PostgreSQL {}",
            redis.trim_start_matches("v="),
            postgresql::version()
        ),
        format!("{} {}", prosody("0.12").trim(), prosody("13.0").trim()),
        format!(
            "load when it began: {}",
            first_line("cat", &["/proc/loadavg"])
        ),
    ];
    lines.map(|line| format!("* {line}\n")).concat()
}

/// The value of a line `name : value` or `name=value`, or a question mark.
fn field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.map(|rest| rest.trim_start_matches([' ', '\t', ':', '=']));
    value.map_or_else(|| "?".into(), |value| value.trim_matches('"').to_owned())
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map_or_else(
        |_| "?".into(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    text.lines().next().unwrap_or("?").to_owned()
}
