//! The command line: the list of commands, and the way from each to its file.
//!
//! Must not know: what a command does.

mod account;
#[cfg(feature = "client")]
mod advice;
mod backup;
mod cert;
mod certificate_file;
mod check;
mod doctor;
#[cfg(feature = "client")]
mod enroll;
mod explain;
mod extauth;
mod global;
mod host;
mod hosts;
mod import_prosody;
mod init;
#[cfg(feature = "client")]
mod key_files;
mod link;
#[cfg(feature = "client")]
mod login;
mod password;
mod say;
mod serve;
mod status;
#[cfg(feature = "client")]
mod steps;

pub use say::complain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use global::Global;

/// Client certificates and passwords for Prosody: the daemon and its command line.
#[derive(Debug, Parser)]
#[command(name = "saslcertd", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
// One is made in a process's life.
#[allow(clippy::large_enum_variant)]
enum Command {
    /// Create the store. Nothing else creates one.
    Init(init::InitArgs),
    /// Answer Prosody's questions, until SIGTERM.
    Serve(serve::ServeArgs),
    /// Show what the daemon is doing.
    Status,
    /// Read the whole store, and say of each table whether every row is as it was written.
    Check,
    /// Say what is wrong with this installation, and the line that mends it.
    Doctor(doctor::DoctorArgs),
    /// Look at, add, disable and revoke the certificates of an account.
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Make links by which devices get keys without a password; list and revoke them.
    #[command(subcommand)]
    Link(link::LinkCommand),
    /// Say why somebody can log in with a certificate, or why not: each rule, its verdict and why.
    Explain(explain::ExplainArgs),
    /// Look at, make, change and delete accounts whose passwords the daemon keeps.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Look at the hosts that were declared, and take away one that no server declares any more.
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Write everything that the daemon remembers to a file: a backup.
    Export(backup::ExportArgs),
    /// Add what stands in such a file. What is there already is left alone.
    Import(backup::ImportArgs),
    /// Take over accounts and certificates from Prosody's own storage; a dry run unless --apply is given.
    ImportProsody(import_prosody::ImportProsodyArgs),
    /// Make a key and a certificate for an account, upload the certificate, and log in with it.
    #[cfg(feature = "client")]
    Enroll(enroll::EnrollArgs),
    /// Log in with a client certificate and report each step.
    #[cfg(feature = "client")]
    Login(login::LoginArgs),
    /// Answer a server that starts a script to check passwords: requests on standard input, answers on standard output.
    Extauth(extauth::ExtauthArgs),
}

/// Runs the command that was typed. Its errors are for people.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let global = cli.global;
    match cli.command {
        Command::Init(args) => init::run(&args, global.json),
        Command::Serve(args) => serve::run(args, &global.socket),
        Command::Status => status::run(&global),
        Command::Check => check::run(&global),
        Command::Doctor(args) => doctor::run(&args, &global),
        Command::Cert(command) => cert::run(&command, &global),
        Command::Link(command) => link::run(&command, &global),
        Command::Explain(args) => Ok(explain::run(&args, &global)),
        Command::Account(command) => account::run(&command, &global),
        Command::Host(command) => host::run(&command, &global),
        Command::Export(args) => backup::export(&args, &global),
        Command::Import(args) => backup::import(&args, &global),
        Command::ImportProsody(args) => import_prosody::run(args, &global),
        #[cfg(feature = "client")]
        Command::Enroll(args) => enroll::run(&args, global.json),
        #[cfg(feature = "client")]
        Command::Login(args) => login::run(&args, global.json),
        Command::Extauth(args) => extauth::run(&args, &global),
    }
}
