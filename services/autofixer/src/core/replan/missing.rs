//! What a plan may lack: steps that come first (as data), and edges between steps.

use super::runs;
use crate::core::evidence;
use meta_domain::autofix::Case;
use meta_domain::fault::InvalidField;
use meta_domain::plan::{ApprovalMode, Command, PlannedStep};
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const BUILTIN: &str = include_str!("../../../replan/prerequisites.toml");
/// Time limit of an inserted step, in milliseconds.
const TIMEOUT_MS: u64 = 600_000;
/// Folders that steps make, not people.
const MADE: &[&str] = &[
    "dist",
    "build",
    "out",
    "target",
    "generated",
    "gen",
    "coverage",
    ".next",
    "public",
    "bin",
    "lib",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<RuleToml>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleToml {
    id: String,
    evidence: String,
    file: String,
    runs: String,
    command: String,
    network: bool,
    why: String,
    example: Example,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    evidence: String,
    files: Vec<String>,
}

/// A rule, checked.
#[derive(Debug)]
struct Rule {
    id: String,
    evidence: Regex,
    file: String,
    runs: Regex,
    command: String,
    network: bool,
    why: String,
}

/// The rules about steps that a plan may lack.
#[derive(Debug)]
pub struct Prerequisites {
    rules: Vec<Rule>,
}

/// A step that the plan lacks.
#[derive(Debug, PartialEq)]
pub struct Missing {
    /// The rule that knows it.
    pub rule: String,
    /// The step.
    pub step: PlannedStep,
    /// Why.
    pub why: String,
}

static LOADED: LazyLock<Result<Prerequisites, Vec<InvalidField>>> =
    LazyLock::new(|| Prerequisites::load(BUILTIN));

impl Prerequisites {
    /// The rules that are part of the product.
    ///
    /// # Errors
    /// Every fault of every rule; a test holds that there is none.
    pub fn builtin() -> Result<&'static Self, &'static Vec<InvalidField>> {
        LOADED.as_ref()
    }

    /// Rules from TOML; each one's example has to hold.
    ///
    /// # Errors
    /// Every fault at once, with the rule and the field.
    pub fn load(text: &str) -> Result<Self, Vec<InvalidField>> {
        let file: File = toml::from_str(text)
            .map_err(|e| vec![InvalidField::new("prerequisites", e.to_string())])?;
        let (mut rules, mut faults) = (Vec::new(), Vec::new());
        for rule in file.rule {
            let mut regex = |field: &str, text: &str| {
                let path = format!("rule {}.{field}", rule.id);
                Regex::new(text)
                    .map_err(|e| faults.push(InvalidField::new(path, e.to_string())))
                    .ok()
            };
            let (Some(evidence), Some(runs)) =
                (regex("evidence", &rule.evidence), regex("runs", &rule.runs))
            else {
                continue;
            };
            let holds = evidence.is_match(&rule.example.evidence)
                && folder_of(&rule.file, &rule.example.files).is_some()
                && runs.is_match(&rule.command);
            if !holds {
                let path = format!("rule {}.example", rule.id);
                faults.push(InvalidField::new(path, "does not hold"));
            }
            rules.push(Rule {
                id: rule.id,
                evidence,
                file: rule.file,
                runs,
                command: rule.command,
                network: rule.network,
                why: rule.why,
            });
        }
        if faults.is_empty() { Ok(Self { rules }) } else { Err(faults) }
    }

    /// The step that this case's plan lacks.
    pub fn of(&self, case: &Case) -> Option<Missing> {
        let text = evidence::text(case);
        self.rules.iter().find_map(|rule| {
            let folder = folder_of(&rule.file, &case.files)?;
            let done =
                runs(&case.step, &rule.runs) || case.plan.iter().any(|s| runs(s, &rule.runs));
            if done || !rule.evidence.is_match(&text) {
                return None;
            }
            let command = match folder {
                "" => rule.command.clone(),
                folder => {
                    format!("cd {} && {}", crate::core::command::quoted(folder), rule.command)
                }
            };
            let mut step = step(&name(&rule.id, case), &command, rule.network);
            step.needs.clone_from(&case.step.needs);
            step.env.clone_from(&case.step.env);
            step.why = format!("inserted: {}", rule.why);
            Some(Missing { rule: rule.id.clone(), step, why: rule.why.clone() })
        })
    }

    /// Whether a command is one that a rule would insert.
    pub(super) fn knows(&self, command: &str) -> bool {
        let bare = command.rsplit("&&").next().unwrap_or(command).trim();
        self.rules.iter().any(|r| r.command == bare)
    }
}

/// The folder nearest to the top that holds a file of this name.
fn folder_of<'a>(name: &str, files: &'a [String]) -> Option<&'a str> {
    let folder = |f: &'a String| match f.rsplit_once('/') {
        None => (f == name).then_some(""),
        Some((folder, last)) => {
            (last == name && !folder.contains("node_modules")).then_some(folder)
        }
    };
    files.iter().filter_map(folder).min_by_key(|f| (f.len(), *f))
}

/// A name that no step of the plan has.
fn name(rule: &str, case: &Case) -> String {
    let base = rule.replace('_', "-");
    let taken = |name: &str| case.plan.iter().any(|s| s.name == name) || case.step.name == name;
    let numbered = (2..=case.plan.len() + 2).map(|n| format!("{base}-{n}"));
    std::iter::once(base.clone()).chain(numbered).find(|n| !taken(n)).unwrap_or(base)
}

/// A plain step.
pub fn step(name: &str, line: &str, network: bool) -> PlannedStep {
    PlannedStep {
        name: name.to_owned(),
        run: Command::Shell(line.to_owned()),
        needs: Vec::new(),
        timeout_ms: TIMEOUT_MS,
        cache: Vec::new(),
        fix: None,
        env: BTreeMap::new(),
        network,
        writable: Vec::new(),
        approval: ApprovalMode::Never,
        why: String::new(),
        clean_cache: false,
        runs_on: Vec::new(),
    }
}

static ABSENT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?:No such file or directory:? ?|ENOENT: no such file or directory, \w+ |Cannot find module |cannot open |can't open file |FileNotFoundError: \[Errno 2\] No such file or directory: |couldn't read |No such file: |does not exist: |cannot access )[`'"‘]?([\w./@-]+)|[`'"‘]?([\w./@-]+)[`'"’]?: No such file or directory"#).ok()
});

/// A step beside the failed one that makes the file which the failed one lacks, and the file.
pub(super) fn maker_of_missing_file(case: &Case) -> Option<(String, String)> {
    let text = evidence::text(case);
    let found = ABSENT.as_ref()?.captures_iter(&text).filter_map(|c| c.get(1).or(c.get(2)));
    for path in found.map(|m| m.as_str().trim_start_matches("./").trim_start_matches("../")) {
        let made = path.split('/').find(|part| MADE.contains(part));
        let Some(folder) = made.filter(|_| !case.files.iter().any(|f| f == path)) else { continue };
        let maker = case.plan.iter().find(|s| {
            let line = s.run.to_string();
            let word =
                |w: &str| line.split(|c: char| !c.is_alphanumeric() && c != '.').any(|p| p == w);
            let makes = word(folder)
                || s.cache.iter().any(|c| c.split('/').any(|p| p == folder))
                || ((word("build") || s.name.contains("build") || s.name.contains("gen"))
                    && folder != "lib"
                    && folder != "bin");
            s.name != case.step.name
                && makes
                && !case.step.needs.contains(&s.name)
                && case.parallel_steps.contains(&s.name)
        });
        if let Some(maker) = maker {
            return Some((maker.name.clone(), path.to_owned()));
        }
    }
    None
}
