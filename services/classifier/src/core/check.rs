//! What `metabuilder rules ls` and `metabuilder rules test` show.

use super::rule::Action;
use super::rules::{Error, Rules, Source};
use meta_domain::failure::FailureType;
use serde::Serialize;

/// One rule, for a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleSummary {
    /// The rule's unique name.
    pub id: String,
    /// The type it speaks for; `unknown` for markers.
    #[serde(rename = "type")]
    pub failure_type: FailureType,
    /// The tool that prints it; empty when many do.
    pub tool: String,
    /// How decisive it is, 1 to 99.
    pub strength: u8,
    /// `fail`, `green`, `passed`, `noise`, `locate`, `section` or `failed`.
    pub action: &'static str,
    /// Whether a user's own rule file brought it.
    pub user: bool,
}

/// The result of one rule's examples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleCheck {
    /// The rule.
    pub id: String,
    /// How many examples it has, both kinds.
    pub examples: usize,
    /// The first example that came out wrong; `None` when all came out right.
    pub problem: Option<String>,
}

/// What a rule looks for, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText {
    /// The rule.
    pub id: String,
    /// The texts one of which a line must have.
    pub literals: Vec<String>,
    /// The expression over the line.
    pub line: String,
    /// The expression that must not match.
    pub unless: Option<String>,
    /// The examples on which it fires.
    pub matches: Vec<String>,
}

/// What every rule looks for, in the order of [`list`].
pub fn texts(rules: &Rules) -> Vec<RuleText> {
    let text = |rule: &super::rule::Rule| RuleText {
        id: rule.spec.id.clone(),
        literals: rule.spec.literals.clone(),
        line: rule.spec.line.clone(),
        unless: rule.spec.unless.clone(),
        matches: rule.spec.matches.clone(),
    };
    rules.all.iter().map(text).collect()
}

/// Every rule, in the order of the files.
pub fn list(rules: &Rules) -> Vec<RuleSummary> {
    let summary = |rule: &super::rule::Rule| RuleSummary {
        id: rule.spec.id.clone(),
        failure_type: rule.failure_type,
        tool: rule.spec.tool.clone(),
        strength: rule.spec.strength,
        action: match rule.spec.action {
            Action::Fail => "fail",
            Action::Green => "green",
            Action::Passed => "passed",
            Action::Noise => "noise",
            Action::Locate => "locate",
            Action::Section => "section",
            Action::Failed => "failed",
        },
        user: rule.priority > 0,
    };
    rules.all.iter().map(summary).collect()
}

/// Compiles the files and runs every example, going on after a wrong one.
pub fn run_examples(sources: &[Source]) -> Result<Vec<RuleCheck>, Error> {
    let rules = Rules::compile(sources)?;
    let check = |index: usize| {
        let spec = &rules.all[index].spec;
        RuleCheck {
            id: spec.id.clone(),
            examples: spec.matches.len() + spec.no_match.len(),
            problem: rules.check_examples(index).err(),
        }
    };
    Ok((0..rules.len()).map(check).collect())
}
