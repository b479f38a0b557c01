//! `metabuilder fixers`: the fixers in force and their examples.

use crate::args::{FixersCommand, Output, RulesArgs};
use crate::display::{print, print_json, table::table};
use crate::error::{Error, Exit, Result};
use crate::row;
use autofixer::core::check;
use autofixer::core::registry::Registry;
use meta_domain::fault::InvalidField;
use serde_json::json;

/// Lists the fixers or checks their examples.
pub fn run(command: FixersCommand) -> Result<Exit> {
    match command {
        FixersCommand::Ls(args) => list(&args),
        FixersCommand::Test(args) => test(&args),
    }
}

/// The product's fixers, or those of a folder.
fn registry(args: &RulesArgs) -> Result<Registry> {
    let bad = |faults: Vec<InvalidField>| {
        let why = faults.iter().map(ToString::to_string).collect();
        Error::several("the fixers cannot be used", why)
    };
    let Some(dir) = &args.dir else { return Registry::builtin().map_err(bad) };
    let failed = |e| Error::usage(format!("{} cannot be read", dir.display()), e);
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            let text = std::fs::read_to_string(&path).map_err(failed)?;
            texts.push((path.display().to_string(), text));
        }
    }
    texts.sort();
    let sources: Vec<(&str, &str)> = texts.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    Registry::load(&sources).map_err(bad)
}

fn list(args: &RulesArgs) -> Result<Exit> {
    let list = check::list(&registry(args)?);
    let words = |types: &[meta_domain::failure::FailureType]| {
        types.iter().map(|t| t.as_str()).collect::<Vec<_>>().join(",")
    };
    match args.output.output {
        Output::Json => {
            let all: Vec<_> = list
                .iter()
                .map(|f| {
                    json!({ "id": f.id, "title": f.title, "failure_types": f.failure_types,
                            "tools": f.tools, "safety": f.safety })
                })
                .collect();
            print_json(&all)?;
        }
        Output::Text => {
            let mut rows = vec![row!["FIXER", "TITLE", "SAFETY", "TYPES", "TOOLS"]];
            rows.extend(list.iter().map(|f| {
                row![f.id, f.title, f.safety, words(&f.failure_types), f.tools.join(",")]
            }));
            print(&format!("{}\n{} fixers", table(&rows), list.len()))?;
        }
    }
    Ok(Exit::Done)
}

fn test(args: &RulesArgs) -> Result<Exit> {
    let results = check::test(&registry(args)?);
    let broken: Vec<_> = results.iter().filter(|r| !r.passed).collect();
    match args.output.output {
        Output::Json => {
            let all: Vec<_> = results
                .iter()
                .map(|r| {
                    json!({ "fixer": r.fixer, "example": r.index, "passed": r.passed,
                            "detail": r.detail })
                })
                .collect();
            print_json(&all)?;
        }
        Output::Text => {
            for one in &broken {
                print(&format!("{} example {}: {}", one.fixer, one.index, one.detail))?;
            }
            print(&format!("{} examples, {} broken", results.len(), broken.len()))?;
        }
    }
    Ok(if broken.is_empty() { Exit::Done } else { Exit::Failed })
}
