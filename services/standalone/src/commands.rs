//! The commands, a file each.

pub mod access;
pub mod build;
pub mod classify;
pub mod completions;
mod control;
pub mod decide;
pub mod doctor;
pub mod fixers;
pub mod flags;
pub mod flaky;
pub mod plan;
mod rollback;
pub mod rules;
pub mod runs;
pub mod tenants;
pub mod up;
pub mod why;

use crate::args::{Cli, Command};
use crate::error::{Exit, Result};
use crate::session::Session;

/// Carries out a command.
pub async fn run(cli: Cli, session: &Session) -> Result<Exit> {
    match cli.command {
        Command::Up(args) => up::run(args, session).await,
        Command::Build(args) => build::run(args, session).await,
        Command::Plan(args) => plan::run(args, session).await,
        Command::Runs(command) => runs::run(command, session).await,
        Command::Approve(args) => decide::run(args, true, session).await,
        Command::Reject(args) => decide::run(args, false, session).await,
        Command::Why(args) => why::run(args, session).await,
        Command::Flaky(args) => flaky::run(&args, session).await,
        Command::Classify(args) => classify::run(&args),
        Command::Rules(command) => rules::run(command),
        Command::Fixers(command) => fixers::run(command, session),
        Command::Flags(command) => flags::run(command, session).await,
        Command::Tenants(command) => tenants::create(command, session).await,
        Command::Users(command) => tenants::add_user(command, session).await,
        Command::Keys(command) => access::keys(command, session).await,
        Command::Audit(command) => access::audit(command, session).await,
        Command::Doctor(args) => doctor::run(args, session).await,
        Command::Completions { shell } => completions::run(shell),
    }
}
