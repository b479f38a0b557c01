//! The model fixer's pure part: what to show a model (`context`, `digest`, `prompt`), and what to make
//! of its answer (`reply`, `edit`, `plan`). Who calls the endpoint stands outside, in the shell.
//!
//! Logs and files are data: they stand in fences that their own text cannot close, without secrets. A
//! model's only power is a patch, which is guarded, verified and, unless the operator says otherwise,
//! approved like any stranger's.

pub mod context;
pub mod digest;
pub mod edit;
pub mod plan;
pub mod prompt;
pub mod reply;

use super::guard::manifests::OF_MODELS;
use meta_domain::autofix::{
    Case, FixTry, FixerCommand, FixerKind, FixerSafety, PathGrant, TryVerdict,
};
use meta_domain::failure::FailureType;

/// Id of the model fixer, of every try.
pub const MODEL: &str = "model";
/// Patches that a model may propose for one failure.
pub const TRIES_MAX: usize = 3;
/// Files that a model's patch may touch.
const FILES_MAX: u32 = 8;
/// Lines that a model's patch may change.
const LINES_MAX: u32 = 300;
/// Time limit of a draft with its repairs, in milliseconds.
const TIMEOUT_MS: u64 = 300_000;

/// Under which terms a model is a fixer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What people call it: the model's name.
    pub name: String,
    /// Whether each of its patches asks a human; else only those of manifests and migrations do.
    pub approval_always: bool,
}

/// Whether a fixer is the model.
pub fn is_model(fixer: &str) -> bool {
    fixer == MODEL
}

/// The model as a fixer for a case, when a patch can be its answer and tries are left.
pub fn fixer(case: &Case, terms: &Terms) -> Option<FixerCommand> {
    if !heals(case.signal.failure_type) {
        return None;
    }
    let tries: Vec<&FixTry> = tries(case);
    let limit = TRIES_MAX.min(case.settings.max_per_step_attempts as usize);
    if tries.len() >= limit || tries.last().is_some_and(|t| ends(t)) || turns_in_circles(&tries) {
        return None;
    }
    let safety =
        if terms.approval_always { FixerSafety::ApprovalAlways } else { FixerSafety::Unsafe };
    let number = tries.len() + 1;
    let mut command = FixerCommand {
        id: MODEL.to_owned(),
        title: match number {
            1 => format!("the model {}", terms.name),
            _ => format!("the model {} (try {number})", terms.name),
        },
        script: String::new(),
        files: Vec::new(),
        network: false,
        timeout_ms: TIMEOUT_MS,
        safety,
        grant: PathGrant {
            add: OF_MODELS.iter().map(|g| (*g).to_owned()).collect(),
            modes: false,
            files_max: FILES_MAX,
            lines_max: LINES_MAX,
        },
        kind: FixerKind::Model,
        context: meta_domain::autofix::ContextPlan::default(),
        sarif: false,
    };
    command.context = context::plan(case, &command);
    (!command.context.files.is_empty()).then_some(command)
}

/// Failures that a change of the code can answer.
fn heals(failure_type: FailureType) -> bool {
    match failure_type {
        FailureType::TestAssert
        | FailureType::Lint
        | FailureType::Typecheck
        | FailureType::Runtime
        | FailureType::SchemaMigration
        | FailureType::Security
        | FailureType::Unknown => true,
        FailureType::Transient
        | FailureType::RateLimit
        | FailureType::Infra
        | FailureType::Policy => false,
    }
}

/// What the model did about this failure so far, oldest first.
pub fn tries(case: &Case) -> Vec<&FixTry> {
    let here = case.history.iter().filter(|a| a.fingerprint == case.signal.fingerprint);
    here.flat_map(|a| &a.tries).chain(&case.tried).filter(|t| is_model(&t.fixer)).collect()
}

/// After these the model is not asked again: it said that it cannot, or it cannot be reached.
fn ends(last: &FixTry) -> bool {
    matches!(last.verdict, TryVerdict::NoChange | TryVerdict::FixerError)
}

/// The same patch came twice.
fn turns_in_circles(tries: &[&FixTry]) -> bool {
    let twice = |t: &&FixTry| {
        !t.patch_sha256.is_empty()
            && tries.iter().filter(|o| o.patch_sha256 == t.patch_sha256).count() > 1
    };
    tries.iter().any(twice)
}

#[cfg(test)]
mod tests;
