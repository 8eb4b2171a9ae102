//! The flags that every command has.
//!
//! Must not know: which commands there are.

use std::path::PathBuf;

use clap::Args;

/// Options of all commands.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// The daemon's socket.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "SASLCERTD_SOCKET",
        default_value = "/run/saslcertd/saslcertd.sock"
    )]
    pub(super) socket: PathBuf,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub(super) json: bool,
}
