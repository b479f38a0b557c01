//! `metabuilder rules`: the classifier's rules and their examples.

use crate::args::{Output, RulesArgs, RulesCommand};
use crate::display::{print, print_json, table::table};
use crate::error::{Error, Exit, Result};
use crate::row;
use classifier::core::check;

/// Lists the rules or runs their examples.
pub fn run(command: RulesCommand) -> Result<Exit> {
    match command {
        RulesCommand::Ls(args) => list(&args),
        RulesCommand::Test(args) => test(&args),
    }
}

fn bad(error: classifier::core::Error) -> Error {
    use std::error::Error as _;
    let source = error.source().map(|s| format!(" ({s})")).unwrap_or_default();
    Error::usage("the rules cannot be used", format!("{error}{source}"))
}

fn list(args: &RulesArgs) -> Result<Exit> {
    let rules = classifier::rules::load(args.dir.as_deref()).map_err(bad)?;
    let list = check::list(&rules);
    match args.output.output {
        Output::Json => print_json(&list)?,
        Output::Text => {
            let mut rows = vec![row!["RULE", "TYPE", "TOOL", "STRENGTH", "ACTION", "FROM"]];
            rows.extend(list.iter().map(|r| {
                let from = if r.user { "yours" } else { "product" };
                row![r.id, r.failure_type, r.tool, r.strength, r.action, from]
            }));
            print(&format!("{}\n{} rules", table(&rows), list.len()))?;
        }
    }
    Ok(Exit::Done)
}

fn test(args: &RulesArgs) -> Result<Exit> {
    let sources = classifier::rules::sources(args.dir.as_deref()).map_err(bad)?;
    let checks = check::run_examples(&sources).map_err(bad)?;
    let broken: Vec<_> = checks.iter().filter(|c| c.problem.is_some()).collect();
    match args.output.output {
        Output::Json => print_json(&checks)?,
        Output::Text => {
            for one in &broken {
                print(&format!("{}: {}", one.id, one.problem.as_deref().unwrap_or_default()))?;
            }
            let examples: usize = checks.iter().map(|c| c.examples).sum();
            print(&format!(
                "{} rules, {examples} examples, {} broken",
                checks.len(),
                broken.len()
            ))?;
        }
    }
    Ok(if broken.is_empty() { Exit::Done } else { Exit::Failed })
}
