//! Plan edits as rules. Each rule fires at most once for a step, and a run has few re-plans, so that
//! re-planning always ends.

mod checks;
mod missing;

pub use checks::checked;
pub use missing::{Prerequisites, step};

use super::command::invocations;
use super::evidence;
use meta_domain::autofix::{Case, Decision, Strategy};
use meta_domain::failure::FailureType;
use meta_domain::plan::{Command, PlanOp, PlanOpKind, PlannedStep};
use std::collections::BTreeMap;

/// Re-plans of one run.
const REPLANS_MAX: u32 = 2;
/// What a longer time limit is multiplied with.
const TIMEOUT_FACTOR: u64 = 2;
/// The longest time limit a re-plan gives, in milliseconds.
pub(super) const TIMEOUT_MS_MAX: u64 = 3_600_000;
/// Variables that make tools do one thing at a time.
const ONE_AT_A_TIME: &[(&str, &str)] = &[
    ("CARGO_BUILD_JOBS", "1"),
    ("CMAKE_BUILD_PARALLEL_LEVEL", "1"),
    ("GOMAXPROCS", "1"),
    ("MAKEFLAGS", "-j1"),
    ("NODE_OPTIONS", "--max-old-space-size=4096"),
    ("PYTEST_XDIST_AUTO_NUM_WORKERS", "1"),
    ("RUST_TEST_THREADS", "1"),
];
/// What a log says of too little memory.
const NO_MEMORY: &[&str] = &[
    "JavaScript heap out of memory",
    "Cannot allocate memory",
    "std::bad_alloc",
    "MemoryError",
    "signal: 9, SIGKILL",
    "OutOfMemoryError",
    "virtual memory exhausted",
];

/// What a log says of a machine that is in trouble itself.
const OF_THE_MACHINE: &[&str] = &[
    "No space left on device",
    "Cannot connect to the Docker daemon",
    "Read-only file system",
    "Too many open files",
    "Input/output error",
    "Disk quota exceeded",
];

/// The first rule that applies.
pub fn replan(case: &Case) -> Option<Decision> {
    if case.replans_of_run >= REPLANS_MAX {
        return None;
    }
    clean_cache(case)
        .or_else(|| insert_missing(case))
        .or_else(|| mend_edge(case))
        .or_else(|| serialise(case))
        .or_else(|| fewer_jobs(case))
        .or_else(|| move_runner(case))
}

/// A re-plan that answers what is plainly missing, before anything else is tried.
pub fn asked_for_by_evidence(case: &Case) -> Option<Decision> {
    if case.replans_of_run >= REPLANS_MAX {
        return None;
    }
    insert_missing(case).or_else(|| mend_edge(case))
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
    let op = PlanOp::new(PlanOpKind::CleanCache, &case.step.name, &why);
    Some(decision(vec![op], "consecutive_unknown_failures", why))
}

/// A step that the plan lacks.
fn insert_missing(case: &Case) -> Option<Decision> {
    if replanned_here(case) {
        return None;
    }
    let rules = Prerequisites::builtin().ok()?;
    let found = rules.of(case)?;
    let why = format!("{}: {} runs first", found.why, found.step.run);
    let op = PlanOp {
        insert: Some(found.step),
        ..PlanOp::new(PlanOpKind::InsertBefore, &case.step.name, &why)
    };
    Some(decision(vec![op], &format!("missing_prerequisite_{}", found.rule), why))
}

/// A file is missing that another step makes, and this one does not wait for it.
fn mend_edge(case: &Case) -> Option<Decision> {
    if replanned_here(case) {
        return None;
    }
    let (maker, path) = missing::maker_of_missing_file(case)?;
    let why = format!("{path} is missing and the step {maker} makes it, without being waited for");
    let op =
        PlanOp { needs: vec![maker], ..PlanOp::new(PlanOpKind::AddNeeds, &case.step.name, &why) };
    Some(decision(vec![op], "missing_edge", why))
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
    } else if out_of_memory(case) {
        ("out_of_memory", format!("the step ran out of memory beside {beside}"))
    } else {
        return None;
    };
    let op = PlanOp::new(PlanOpKind::Serialise, &case.step.name, &why);
    Some(decision(vec![op], rule, why))
}

fn out_of_memory(case: &Case) -> bool {
    let text = evidence::text(case);
    case.exit.oom_killed || NO_MEMORY.iter().any(|words| text.contains(words))
}

/// A step that runs out of memory alone does one thing at a time.
fn fewer_jobs(case: &Case) -> Option<Decision> {
    let has = ONE_AT_A_TIME.iter().all(|(name, _)| case.step.env.contains_key(*name));
    if !out_of_memory(case) || has {
        return None;
    }
    let new = ONE_AT_A_TIME.iter().filter(|(name, _)| !case.step.env.contains_key(*name));
    let env: BTreeMap<String, String> =
        new.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let why = "the step ran out of memory: its tools do one thing at a time".to_owned();
    let op = PlanOp { env, ..PlanOp::new(PlanOpKind::SetEnv, &case.step.name, &why) };
    Some(decision(vec![op], "out_of_memory_alone", why))
}

/// A machine's own trouble that did not pass: another machine may not have it.
fn move_runner(case: &Case) -> Option<Decision> {
    let again = case.history.iter().filter(|a| a.failure_type == FailureType::Infra).count();
    let text = evidence::text(case);
    let machine = case.exit.runner_lost || OF_THE_MACHINE.iter().any(|words| text.contains(words));
    let infra = case.signal.failure_type == FailureType::Infra;
    if !infra || !machine || again == 0 || replanned_here(case) {
        return None;
    }
    let why = "the platform failed twice under the step: another runner takes it".to_owned();
    let op = PlanOp::new(PlanOpKind::MoveRunner, &case.step.name, &why);
    Some(decision(vec![op], "infra_failed_twice", why))
}

/// A longer time limit, once in a run.
pub fn extend_timeout(case: &Case) -> Option<Decision> {
    let longer = (case.step.timeout_ms * TIMEOUT_FACTOR).min(TIMEOUT_MS_MAX);
    if case.replans_of_run > 0 || replanned_here(case) || longer <= case.step.timeout_ms {
        return None;
    }
    let why = format!("the step passed its time limit of {} s twice", case.step.timeout_ms / 1000);
    let op = PlanOp {
        timeout_ms: Some(longer),
        ..PlanOp::new(PlanOpKind::ExtendTimeout, &case.step.name, &why)
    };
    Some(decision(vec![op], "time_limit_passed_twice", why))
}

/// A step of several commands that passed a longer time limit too: each command gets its own.
pub fn split(case: &Case) -> Option<Decision> {
    if case.replans_of_run >= REPLANS_MAX {
        return None;
    }
    let parts = parts(&case.step)?;
    let why =
        format!("the step passed its time limit again: its {} commands run apart", parts.len());
    let op = PlanOp { parts, ..PlanOp::new(PlanOpKind::Split, &case.step.name, &why) };
    Some(decision(vec![op], "time_limit_passed_again", why))
}

/// The steps of a line `a && b`, when no command depends on what the shell kept from another.
fn parts(step: &PlannedStep) -> Option<Vec<PlannedStep>> {
    const PARTS_MAX: usize = 8;
    let Command::Shell(line) = &step.run else { return None };
    let plain = !line.contains(['\n', ';', '|', '(', '{', '`', '\'', '"', '<'])
        && !line.replace("&&", "").contains('&')
        && !line.contains("$(");
    let commands: Vec<&str> = line.split("&&").map(str::trim).collect();
    let keeps = ["cd ", "export ", "source ", ". ", "set ", "pushd ", "alias ", "eval "];
    let apart = commands
        .iter()
        .all(|c| !c.is_empty() && !c.contains('$') && !keeps.iter().any(|k| c.starts_with(k)));
    if !plain || !apart || !(2..=PARTS_MAX).contains(&commands.len()) {
        return None;
    }
    let last = commands.len() - 1;
    let mut out: Vec<PlannedStep> = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        let mut part = step.clone();
        part.run = Command::Shell((*command).to_owned());
        part.why = format!("a part of the step {}", step.name);
        if index < last {
            part.name = format!("{}-{}", step.name, index + 1);
        }
        if let Some(before) = out.last() {
            part.needs = vec![before.name.clone()];
        }
        out.push(part);
    }
    Some(out)
}

/// Whether a step already runs a command that a pattern describes.
pub(super) fn runs(step: &PlannedStep, pattern: &regex::Regex) -> bool {
    let words = |i: &super::command::Invocation| {
        let mut all = i.starts_with.clone();
        all.extend(i.args.iter().cloned());
        all.join(" ")
    };
    pattern.is_match(&step.run.to_string())
        || invocations(&step.run).iter().any(|i| pattern.is_match(&words(i)))
}

fn decision(ops: Vec<PlanOp>, rule: &str, why: String) -> Decision {
    Decision::RePlan { ops, triggered_by: rule.to_owned(), reason: why }
}

#[cfg(test)]
mod tests;
