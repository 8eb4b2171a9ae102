//! The daemon, asked through its socket: a file for each family of questions.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    unreachable_pub
)]

mod account;
mod activation;
mod authorities;
mod backup;
mod certificates;
mod command;
mod console;
mod database;
mod documentation;
mod explain;
mod extauth;
mod external;
mod flips;
mod framing;
mod hello;
mod host;
mod kill;
mod lifecycle;
mod links;
mod many_kills;
mod migration;
mod notices;
mod outages;
mod own_server;
mod passwords;
mod power;
mod sessions;
mod sharing;
mod streams;
mod support;
mod visible;
mod wholeness;
