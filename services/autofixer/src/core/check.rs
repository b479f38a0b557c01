//! What `metabuilder fixers ls` and `metabuilder fixers test` show.

use super::fixer::Fixer;
use super::registry::{Registry, claim_of_example};
use meta_domain::autofix::FixerSafety;
use meta_domain::failure::FailureType;

/// A line of `fixers ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Id in the registry.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// Failure types it may claim.
    pub failure_types: Vec<FailureType>,
    /// Tools it belongs to.
    pub tools: Vec<String>,
    /// How far it is trusted.
    pub safety: FixerSafety,
}

/// One example's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleResult {
    /// The fixer.
    pub fixer: String,
    /// Place of the example in the fixer's list, from 0.
    pub index: usize,
    /// Whether it holds.
    pub passed: bool,
    /// What was expected and found; empty when it holds.
    pub detail: String,
}

/// The fixers in force, in the order in which they are tried.
pub fn list(registry: &Registry) -> Vec<Listed> {
    let listed = |f: &Fixer| Listed {
        id: f.id.clone(),
        title: f.title.clone(),
        failure_types: f.failure_types.clone(),
        tools: f.tools.clone(),
        safety: f.safety,
    };
    registry.fixers().iter().map(listed).collect()
}

/// Every example of every fixer.
pub fn test(registry: &Registry) -> Vec<ExampleResult> {
    let twins = registry.twins();
    registry.fixers().iter().flat_map(|f| examples(f, &twins)).collect()
}

/// The examples of one fixer.
pub(super) fn examples(fixer: &Fixer, twins: &[&Fixer]) -> Vec<ExampleResult> {
    let check = |(index, example): (usize, &super::fixer::Example)| {
        let (claim, script) = claim_of_example(fixer, example, twins);
        let detail = if claim.is_some() != example.claims {
            let verb = if example.claims { "does not claim" } else { "claims" };
            format!("{verb} {:?} as {}", example.command, example.failure_type)
        } else if !script.contains(&example.runs) {
            format!("the script for {:?} does not contain {:?}", example.command, example.runs)
        } else {
            String::new()
        };
        ExampleResult { fixer: fixer.id.clone(), index, passed: detail.is_empty(), detail }
    };
    fixer.examples.iter().enumerate().map(check).collect()
}
