//! The command `saslcertd`: its errors become a line on standard error and an exit code.
//!
//! Must not know: what can be typed.

use std::process::ExitCode;

use clap::Parser;
use saslcertd::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
