//! What a plan delta has to keep, whoever proposes it.

use super::{Prerequisites, TIMEOUT_MS_MAX};
use meta_domain::autofix::Case;
use meta_domain::limits::{PLAN_STEPS_MAX, STEP_NAME_CHARS_MAX};
use meta_domain::plan::{PlanGraph, PlanOp, PlanOpKind, PlannedStep};
use meta_domain::project::find_cycle;

/// Whether operations may be carried out on a case's plan.
///
/// # Errors
/// Each operation that may not, with the reason.
pub fn checked(case: &Case, ops: &[PlanOp]) -> Result<(), Vec<String>> {
    let mut problems: Vec<String> = ops.iter().filter_map(|op| problem(case, op)).collect();
    let graph = PlanGraph {
        steps: case.plan.clone(),
        summary: String::new(),
        risk: Vec::new(),
        overrides: meta_domain::settings::Overrides::default(),
    };
    let after = graph.rewritten(ops);
    if after == graph {
        problems.push("the plan stays as it is".to_owned());
    }
    if find_cycle(&after.steps).is_some() {
        problems.push("steps would wait for each other".to_owned());
    }
    if after.steps.len() > PLAN_STEPS_MAX {
        problems.push(format!("the plan would have more than {PLAN_STEPS_MAX} steps"));
    }
    let mut names: Vec<&str> = after.steps.iter().map(|s| s.name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|w| w[0] == w[1]) {
        problems.push("two steps would have the same name".to_owned());
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn problem(case: &Case, op: &PlanOp) -> Option<String> {
    let known = |name: &str| case.plan.iter().any(|s| s.name == name);
    let step = &op.step;
    if !known(step) {
        return Some(format!("{}: there is no step {step:?}", op.kind));
    }
    match op.kind {
        PlanOpKind::CleanCache | PlanOpKind::Serialise | PlanOpKind::MoveRunner => None,
        PlanOpKind::ExtendTimeout => {
            let now = case.plan.iter().find(|s| s.name == *step).map_or(0, |s| s.timeout_ms);
            let fits = op.timeout_ms.is_some_and(|ms| ms > now && ms <= TIMEOUT_MS_MAX);
            (!fits).then(|| {
                format!("{step}: a time limit has to grow, up to {} s", TIMEOUT_MS_MAX / 1000)
            })
        }
        PlanOpKind::AddNeeds => op
            .needs
            .iter()
            .find(|n| !known(n) || *n == step)
            .map(|n| format!("{step}: cannot wait for {n:?}"))
            .or_else(|| op.needs.is_empty().then(|| format!("{step}: waits for nothing new"))),
        PlanOpKind::SetEnv => op
            .env
            .keys()
            .find(|name| !is_harmless(name))
            .map(|name| format!("{step}: the variable {name} is not one that a re-plan sets")),
        PlanOpKind::InsertBefore => inserted(case, op.insert.as_ref()),
        PlanOpKind::Split => {
            let whole = op.parts.last().is_some_and(|last| last.name == *step);
            (!whole || op.parts.len() < 2).then(|| format!("{step}: its parts are not the step"))
        }
    }
}

/// Variables that only say how much a tool does at once.
fn is_harmless(name: &str) -> bool {
    super::ONE_AT_A_TIME.iter().any(|(known, _)| *known == name)
}

/// A new step runs nothing that the project or the rules do not know.
fn inserted(case: &Case, insert: Option<&PlannedStep>) -> Option<String> {
    let Some(step) = insert else { return Some("there is no step to insert".to_owned()) };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if step.name.is_empty()
        || step.name.chars().count() > STEP_NAME_CHARS_MAX
        || !step.name.chars().all(word)
    {
        return Some(format!("{:?} is not a name for a step", step.name));
    }
    if case.plan.iter().any(|s| s.name == step.name) {
        return Some(format!("there is a step {:?} already", step.name));
    }
    let line = step.run.to_string();
    let known = case.plan.iter().any(|s| s.run.to_string() == line)
        || Prerequisites::builtin().is_ok_and(|rules| rules.knows(&line));
    (!known).then(|| format!("{line:?} is no command that the plan or the rules know"))
}
