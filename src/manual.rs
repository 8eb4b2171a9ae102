//! `saslcertd-manual DIR` writes man pages (`DIR/man1/`) and completions (`DIR/bash/`, `DIR/fish/`, `DIR/zsh/`) of the
//! command line, for those who make packages. A binary of its own, so that the daemon does not carry them.
//!
//! Must not know: what a command does.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use saslcertd::cli::Cli;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: saslcertd-manual DIR");
        return ExitCode::from(2);
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("saslcertd-manual: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> anyhow::Result<()> {
    let made = |name: &str| {
        let made = folder.join(name);
        fs::create_dir_all(&made).with_context(|| format!("cannot create {}", made.display()))?;
        anyhow::Ok(made)
    };
    // The text would have the width of the terminal that it is made in.
    let command = Cli::command().term_width(100);
    clap_mangen::generate_to(command.clone(), made("man1")?).context("cannot write man pages")?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let mut command = command.clone();
        clap_complete::generate_to(shell, &mut command, "saslcertd", made(&shell.to_string())?)
            .with_context(|| format!("cannot write completions for {shell}"))?;
    }
    Ok(())
}
