//! `metabuilder fixers`: the fixers in force and their examples.

use crate::args::{FixersCommand, Output, RulesArgs};
use crate::data::local_dir;
use crate::display::{print, print_json, table::table};
use crate::error::{Error, Exit, Result};
use crate::row;
use crate::session::Session;
use autofixer::core::check;
use autofixer::core::registry::Registry;
use meta_domain::fault::InvalidField;
use serde_json::json;

/// Lists the fixers or checks their examples.
pub fn run(command: FixersCommand, session: &Session) -> Result<Exit> {
    match command {
        FixersCommand::Ls(args) => list(&args, session),
        FixersCommand::Test(args) => test(&args, session),
    }
}

/// The product's fixers and those of a folder: the one that is named, else `fixers.d` of this
/// machine's data folder, where the auto-fixer looks as well.
fn registry(args: &RulesArgs, session: &Session) -> Result<Registry> {
    let bad = |faults: Vec<InvalidField>| {
        let why = faults.iter().map(ToString::to_string).collect();
        Error::several("the fixers cannot be used", why)
    };
    let usual = || local_dir(&session.vars).ok().map(|data| data.join("fixers.d"));
    let own = args.dir.clone().or_else(|| usual().filter(|folder| folder.is_dir()));
    autofixer::fixers::load(own.as_deref()).map_err(bad)
}

fn list(args: &RulesArgs, session: &Session) -> Result<Exit> {
    let list = check::list(&registry(args, session)?);
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

fn test(args: &RulesArgs, session: &Session) -> Result<Exit> {
    let results = check::test(&registry(args, session)?);
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
