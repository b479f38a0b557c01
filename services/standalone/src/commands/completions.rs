//! `metabuilder completions`.

use crate::args::Cli;
use crate::error::{Exit, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

/// Prints the completions of a shell.
pub fn run(shell: Shell) -> Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "metabuilder", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(Exit::Done)
}
