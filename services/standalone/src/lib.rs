//! The command `metabuilder`: the whole product in one process, and a client of a server.
//!
//! `args` is the command line, `commands` has a file a command, `embedded` wires the services,
//! `progress` turns a run's event log into what a user is told, `display` shows it.

mod args;
mod caller;
mod client;
mod commands;
mod data;
mod display;
mod embedded;
mod error;
mod finish;
mod follow;
mod git;
mod patch;
mod progress;
mod report;
mod rest;
mod select;
mod session;
mod view;
mod workflow;

use args::{Cli, Command, Output};
use clap::Parser;
use error::{Error, Exit};
use session::Session;
use std::process::ExitCode;
use std::time::Duration;

/// How long work that does not end by itself may hold up the end of the process.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// Carries out the command line; the exit code of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match meta_runtime::start::embedded_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return end(Err(Error::failed("cannot start", error)), false),
    };
    let json = wants_json(&cli.command);
    let result = runtime.block_on(async {
        let program = std::env::args().next().unwrap_or_default();
        let session = Session {
            vars: meta_runtime::start::vars(),
            program: called(&program),
            stop: meta_runtime::start::stop_signal(),
        };
        commands::run(cli, &session).await
    });
    runtime.shutdown_timeout(SHUTDOWN);
    end(result, json)
}

/// How a user calls this program again.
fn called(program: &str) -> String {
    if program.contains('/') { program.to_owned() } else { "metabuilder".to_owned() }
}

fn wants_json(command: &Command) -> bool {
    let output = match command {
        Command::Build(args) => args.output,
        Command::Approve(args) | Command::Reject(args) => args.output,
        _ => return false,
    };
    output.output == Output::Json
}

fn end(result: error::Result<Exit>, json: bool) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) if error.what.is_empty() => error.exit.into(),
        Err(error) => {
            if json {
                let line = serde_json::json!({
                    "event": "error", "what": error.what, "why": error.why, "next": error.next,
                    "exit_code": error.exit as u8,
                });
                // a standard output that is gone cannot be told so
                let _ = display::print(&line.to_string());
            }
            eprintln!("metabuilder: {error}");
            error.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_named_as_they_were_called() {
        assert_eq!(called("metabuilder"), "metabuilder");
        assert_eq!(called("target/release/metabuilder"), "target/release/metabuilder");
        assert_eq!(called(""), "metabuilder");
    }
}
