//! A fixer as data: what it claims, what it runs, what it may change.

use super::command::Invocation;
use globset::{Glob, GlobSet, GlobSetBuilder};
use meta_domain::autofix::{FixerSafety, PathGrant};
use meta_domain::failure::FailureType;
use meta_domain::fault::InvalidField;
use regex::Regex;
use serde::Deserialize;

/// Time limit of a fixer that names none.
const TIMEOUT_SECONDS_DEFAULT: u64 = 120;
/// Longest time limit a fixer may name.
const TIMEOUT_SECONDS_MAX: u64 = 1800;

/// A fixer file: `[[fixer]]` tables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FixerFileToml {
    #[serde(default)]
    pub(super) fixer: Vec<FixerToml>,
}

/// One `[[fixer]]` table as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FixerToml {
    id: String,
    title: String,
    order: u32,
    failure_types: Vec<FailureType>,
    #[serde(default)]
    invokes: Vec<String>,
    #[serde(default)]
    tools: Vec<String>,
    #[serde(default)]
    evidence: String,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    command: String,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    extensions: Vec<String>,
    #[serde(default)]
    drop: Vec<String>,
    #[serde(default)]
    once: bool,
    #[serde(default)]
    wraps: bool,
    script: String,
    #[serde(default)]
    scripts: Vec<String>,
    safety: FixerSafety,
    #[serde(default)]
    grant: PathGrant,
    #[serde(default = "timeout_default")]
    timeout_seconds: u64,
    #[serde(default)]
    stack: u32,
    #[serde(default)]
    sarif: bool,
    example: Vec<Example>,
}

fn timeout_default() -> u64 {
    TIMEOUT_SECONDS_DEFAULT
}

/// A failure that a fixer must, or must not, claim. Checked whenever the registry is loaded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The failing step's shell line.
    pub command: String,
    /// The failure's type.
    #[serde(rename = "type")]
    pub failure_type: FailureType,
    /// The tool that the signal names.
    #[serde(default)]
    pub tool: String,
    /// Lines of evidence.
    #[serde(default)]
    pub evidence: String,
    /// Files of the workspace.
    #[serde(default)]
    pub files: Vec<String>,
    /// Whether the fixer claims it.
    pub claims: bool,
    /// Text that the rendered script must contain.
    #[serde(default)]
    pub runs: String,
}

/// A fixer, checked and ready to be asked.
#[derive(Debug, Clone)]
pub struct Fixer {
    /// Id, unique in the registry.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// Smaller is tried earlier.
    pub order: u32,
    /// Failure types it may claim.
    pub failure_types: Vec<FailureType>,
    /// How it shows in a step's line: a tool and its first arguments, such as `ruff check`.
    pub invokes: Vec<String>,
    /// What the signal calls the tool.
    pub tools: Vec<String>,
    /// How the tool is started when the step's line does not show it.
    pub command: String,
    /// Its arguments in that case, when the signal names no files.
    pub arguments: Vec<String>,
    /// Extensions of files that it takes as arguments.
    pub extensions: Vec<String>,
    /// Arguments of the check that the fixer does not take; a trailing `=` means with a value.
    pub drop: Vec<String>,
    /// Run once in the workspace, not once for each invocation.
    pub once: bool,
    /// It runs the step's own line with the writable twins of all checks in their place, for a line
    /// that starts no known check itself.
    pub wraps: bool,
    /// Body of the shell function that fixes.
    pub script: String,
    /// Names of embedded scripts it needs in `$STATE_DIR`.
    pub scripts: Vec<String>,
    /// How far it is trusted.
    pub safety: FixerSafety,
    /// What it may change.
    pub grant: PathGrant,
    /// Time limit in milliseconds.
    pub timeout_ms: u64,
    /// Place in a combined run of several fixers; 0 means never combined.
    pub stack: u32,
    /// It leaves `$STATE_DIR/fixes.sarif`, whose fixes are applied when it is done.
    pub sarif: bool,
    /// Failures it must and must not claim.
    pub examples: Vec<Example>,
    evidence: Option<Regex>,
    files: Option<GlobSet>,
}

/// What a claim looks at.
pub(super) struct Claimed<'a> {
    pub(super) failure_type: FailureType,
    pub(super) tool: &'a str,
    pub(super) invocations: &'a [Invocation],
    pub(super) evidence: &'a str,
    pub(super) files: &'a [String],
}

/// Why a fixer claims a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The step's line starts its tool.
    Invoked,
    /// The signal names its tool.
    Named,
    /// The evidence alone speaks for it.
    Seen,
}

impl FixerToml {
    /// Checks the table; `path` says where it stands.
    pub(super) fn checked(self, path: &str) -> Result<Fixer, Vec<InvalidField>> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, problem: String| {
            faults.push(InvalidField::new(format!("{path}.{field}"), problem));
        };
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.id.is_empty() || !self.id.chars().all(word) {
            fault("id", format!("{:?} is not an id (expected letters a-z, digits and _)", self.id));
        }
        if self.failure_types.is_empty() {
            fault("failure_types", "is empty (expected at least one failure type)".to_owned());
        }
        if self.invokes.is_empty() && self.tools.is_empty() && self.evidence.is_empty() {
            fault(
                "invokes",
                "is empty (expected invokes, tools or evidence to match on)".to_owned(),
            );
        }
        if !(1..=TIMEOUT_SECONDS_MAX).contains(&self.timeout_seconds) {
            fault(
                "timeout_seconds",
                format!("{} is not from 1 to {TIMEOUT_SECONDS_MAX}", self.timeout_seconds),
            );
        }
        for wanted in [true, false] {
            if !self.example.iter().any(|e| e.claims == wanted) {
                fault("example", format!("has none with claims = {wanted} (expected one of each)"));
            }
        }
        let evidence = match (self.evidence.is_empty(), Regex::new(&self.evidence)) {
            (true, _) => None,
            (false, Ok(regex)) => Some(regex),
            (false, Err(error)) => {
                fault("evidence", format!("{:?} is not a regex: {error}", self.evidence));
                None
            }
        };
        let files = globs(&self.files).unwrap_or_else(|problem| {
            fault("files", problem);
            None
        });
        if let Err(problem) = globs(&self.grant.add) {
            fault("grant.add", problem);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Fixer {
            id: self.id,
            title: self.title,
            order: self.order,
            failure_types: self.failure_types,
            invokes: self.invokes,
            tools: self.tools,
            command: self.command,
            arguments: self.arguments,
            extensions: self.extensions,
            drop: self.drop,
            once: self.once,
            wraps: self.wraps,
            script: self.script,
            scripts: self.scripts,
            safety: self.safety,
            grant: self.grant,
            timeout_ms: self.timeout_seconds * 1000,
            stack: self.stack,
            sarif: self.sarif,
            examples: self.example,
            evidence,
            files,
        })
    }
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(
            Glob::new(pattern).map_err(|e| format!("{pattern:?} is not a glob: {}", e.kind()))?,
        );
    }
    let set = set.build().map_err(|e| e.to_string())?;
    Ok((!patterns.is_empty()).then_some(set))
}

/// Fixers that tidy up a text, and may stand in for a check, have at least this place in a stack.
const STACK_OF_TWINS: u32 = 10;

impl Fixer {
    /// Whether it may stand in for a check that a step's own script starts.
    pub(super) fn is_twin(&self) -> bool {
        let trusted = matches!(self.safety, FixerSafety::Safe | FixerSafety::Guarded);
        trusted && self.stack >= STACK_OF_TWINS && !self.once && !self.invokes.is_empty()
    }

    /// The pattern of `invokes` that an invocation fits.
    pub(super) fn invoked_as(&self, invocation: &Invocation) -> Option<&str> {
        self.invokes.iter().map(String::as_str).find(|p| invocation.is(p))
    }

    /// Whether and why the fixer claims a failure.
    pub(super) fn claims(&self, case: &Claimed<'_>) -> Option<Claim> {
        let wanted = self.failure_types.contains(&case.failure_type)
            && self.evidence.as_ref().is_none_or(|r| r.is_match(case.evidence))
            && self.files.as_ref().is_none_or(|g| case.files.iter().any(|f| g.is_match(f)));
        if !wanted {
            return None;
        }
        if case.invocations.iter().any(|i| self.invoked_as(i).is_some()) {
            Some(Claim::Invoked)
        } else if self.tools.iter().any(|t| t == case.tool) {
            Some(Claim::Named)
        } else if self.invokes.is_empty() && self.tools.is_empty() {
            Some(Claim::Seen)
        } else {
            None
        }
    }

    /// Why the fixer does not claim a failure; `None` when it does.
    pub(super) fn passes_because(&self, case: &Claimed<'_>) -> Option<String> {
        if self.claims(case).is_some() {
            return None;
        }
        if !self.failure_types.contains(&case.failure_type) {
            return Some(format!("it does not heal {} failures", case.failure_type));
        }
        if self.evidence.as_ref().is_some_and(|r| !r.is_match(case.evidence)) {
            return Some("the evidence does not speak of what it heals".to_owned());
        }
        if self.files.as_ref().is_some_and(|g| !case.files.iter().any(|f| g.is_match(f))) {
            return Some("the workspace lacks the files it is for".to_owned());
        }
        let mut tools = self.invokes.clone();
        tools.extend(self.tools.iter().filter(|t| !self.invokes.contains(t)).cloned());
        Some(format!("the step does not start {} and nothing else names it", tools.join(" or ")))
    }
}
