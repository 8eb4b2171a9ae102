//! The daemon: its store, its socket, who may open it, and which hosts Prosody declared to it. A file for each.
//!
//! Judges what was gathered; it must not look for anything itself.

use super::commands::Commands;
use super::facts::Facts;
use super::finding::{Finding, Level};
pub(super) use seen::{
    Advice, Daemon, DaemonAnswer, Server, StoreFolder, connections, is_declared,
};

mod hosts;
mod seen;
mod socket;
mod store;

/// Judges the daemon, and what Prosody and it have to do with each other.
pub(super) fn findings(
    daemon: &Daemon,
    server: &Server,
    facts: Option<&Facts>,
    commands: &Commands,
) -> Vec<Finding> {
    let mut all = vec![store::store(daemon, commands)];
    all.extend(socket::folder(daemon, server, facts, commands));
    all.push(socket::answering(daemon, commands));
    all.push(socket::socket(daemon, server, facts, commands));
    all.push(socket::role(daemon, server, commands));
    all.push(hosts::running(server, facts, commands));
    let is_hindered = all.iter().any(|finding| finding.level == Level::Problem);
    all.extend(hosts::hosts(daemon, server, facts, is_hindered, commands));
    all
}

#[cfg(test)]
mod tests;
