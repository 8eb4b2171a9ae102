//! The command `saslcertd`: its errors become a line on standard error and an exit code.
//!
//! Must not know: what can be typed.

use std::process::ExitCode;

use clap::Parser;
use saslcertd::cli::{self, Cli};
use tikv_jemallocator::Jemalloc;

/// What one thread of the store's engine allocates another one frees, all the time: docs/decisions/0011-the-allocator.md.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
