//! Plan edits as rules. Each rule fires at most once in a run, so that re-planning always ends.

use meta_domain::autofix::{Case, Decision, Strategy};
use meta_domain::failure::FailureType;
use meta_domain::plan::{PlanOp, PlanOpKind};

/// Re-plans of one run.
const REPLANS_MAX: u32 = 2;
/// What a longer time limit is multiplied with.
const TIMEOUT_FACTOR: u64 = 2;
/// The longest time limit a re-plan gives, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 3_600_000;

/// The first rule that applies.
pub fn replan(case: &Case) -> Option<Decision> {
    if case.replans_of_run >= REPLANS_MAX {
        return None;
    }
    clean_cache(case).or_else(|| serialise(case))
}

fn replanned_here(case: &Case) -> bool {
    case.history.iter().any(|a| a.strategy == Strategy::RePlan)
}

/// Two failures in a row that nobody knows, on a step that keeps folders: they may be spoilt.
fn clean_cache(case: &Case) -> Option<Decision> {
    let before = case.history.last().map(|a| a.failure_type);
    let twice =
        case.signal.failure_type == FailureType::Unknown && before == Some(FailureType::Unknown);
    let fresh = case.replans_of_run == 0 && !case.step.clean_cache && !replanned_here(case);
    if !twice || !fresh || case.step.cache.is_empty() {
        return None;
    }
    let why =
        format!("two unknown failures in a row; the step keeps {}", case.step.cache.join(", "));
    Some(decision(case, PlanOpKind::CleanCache, None, "consecutive_unknown_failures", why))
}

/// Failures of many kinds, or too little memory, on a step that runs beside others.
fn serialise(case: &Case) -> Option<Decision> {
    if case.parallel_steps.is_empty() || replanned_here(case) {
        return None;
    }
    let mut types = case.failure_types_of_run.clone();
    types.sort_unstable();
    types.dedup();
    let mixed = case.signal.requires_replan && types.len() > 3;
    let beside = case.parallel_steps.join(", ");
    let (rule, why) = if mixed {
        (
            "mixed_failure_types",
            format!("{} types of failure in one run beside {beside}", types.len()),
        )
    } else if case.exit.oom_killed {
        ("out_of_memory", format!("the step ran out of memory beside {beside}"))
    } else {
        return None;
    };
    Some(decision(case, PlanOpKind::Serialise, None, rule, why))
}

/// A longer time limit, once in a run.
pub fn extend_timeout(case: &Case) -> Option<Decision> {
    let longer = (case.step.timeout_ms * TIMEOUT_FACTOR).min(TIMEOUT_MS_MAX);
    if case.replans_of_run > 0 || replanned_here(case) || longer <= case.step.timeout_ms {
        return None;
    }
    let why = format!("the step passed its time limit of {} s twice", case.step.timeout_ms / 1000);
    Some(decision(case, PlanOpKind::ExtendTimeout, Some(longer), "time_limit_passed_twice", why))
}

fn decision(
    case: &Case,
    kind: PlanOpKind,
    timeout_ms: Option<u64>,
    rule: &str,
    why: String,
) -> Decision {
    let op = PlanOp { timeout_ms, ..PlanOp::new(kind, &case.step.name, &why) };
    Decision::RePlan { ops: vec![op], triggered_by: rule.to_owned(), reason: why }
}
