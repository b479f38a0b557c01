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
mod import;
pub mod plan;
pub mod report;
mod rollback;
pub mod rules;
pub mod runs;
pub mod tenants;
pub mod up;
pub mod why;

use crate::args::{Cli, Command};
use crate::display::print;
use crate::error::{Error, Exit, Result};
use crate::session::Session;
use std::io::Read;

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
        Command::Report(args) => report::run(args, session).await,
        Command::RunnerSecret => runner_secret(),
        Command::Health { address } => match meta_runtime::probe::serves(address).await {
            Ok(()) => Ok(Exit::Done),
            Err(problem) => Err(Error::failed("it does not serve", problem)),
        },
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Bytes of the services' secret at most.
const SECRET_BYTES_MAX: u64 = 4096;

/// Prints the secret that takes work and does nothing else.
fn runner_secret() -> Result<Exit> {
    let mut secret = String::new();
    let read = std::io::stdin().take(SECRET_BYTES_MAX).read_to_string(&mut secret);
    read.map_err(|e| Error::failed("cannot read standard input", e))?;
    let secret = secret.trim();
    let derived = meta_runtime::auth::runner_secret(secret).filter(|_| !secret.is_empty());
    let derived = derived.ok_or_else(|| {
        Error::usage("there is no secret", "standard input is empty, or already a runner's secret")
            .next("metabuilder runner-secret <<<\"$SERVICE_TOKEN\"")
    })?;
    print(&derived)?;
    Ok(Exit::Done)
}
