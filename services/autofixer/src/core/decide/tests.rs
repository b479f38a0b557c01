use super::samples::{case, evidence, past, retried, try_of};
use super::*;
use meta_domain::autofix::{Outcome, Strategy, TryVerdict};
use meta_domain::gate::{GateEffect, GateType};
use meta_domain::plan::PlanOpKind;

mod table;

fn run(case: &Case) -> Decision {
    decide(case, &Registry::builtin().unwrap(), &Memory::default(), 0.0)
}

fn backoff(case: &Case, jitter: f64) -> u64 {
    match decide(case, &Registry::builtin().unwrap(), &Memory::default(), jitter) {
        Decision::RetryStep { backoff_ms, .. } => backoff_ms,
        other => panic!("expected a retry, got {other:?}"),
    }
}

fn gate(decision: &Decision) -> (GateType, GateEffect) {
    match decision {
        Decision::ManualIntervention { gate, effect, .. } => (*gate, *effect),
        other => panic!("expected a gate, got {other:?}"),
    }
}

fn fixers(decision: &Decision) -> Vec<&str> {
    match decision {
        Decision::FixSpecificIssue { fixers, .. } => fixers.iter().map(|f| f.id.as_str()).collect(),
        other => panic!("expected fixers, got {other:?}"),
    }
}

#[test]
fn nothing_is_done_while_the_flag_is_off() {
    for failure_type in FailureType::ALL {
        let mut off = case("ruff check .", failure_type);
        off.settings.autofix_enabled = false;
        let decision = run(&off);
        assert!(
            matches!(&decision, Decision::GiveUp { reason } if reason.contains("autofix_enabled"))
        );
    }
}

#[test]
fn transient_failures_back_off_exponentially_up_to_the_cap() {
    let mut lost = case("curl x", FailureType::Transient);
    lost.settings.max_per_step_attempts = 10;
    assert_eq!(backoff(&lost, 0.0), 1000);
    retried(&mut lost, 1);
    assert_eq!(backoff(&lost, 0.0), 2000);
    retried(&mut lost, 1);
    assert_eq!(backoff(&lost, 0.0), 4000);
    assert_eq!(backoff(&lost, 0.999), 4399);
    lost.settings.backoff_cap_seconds = 3;
    assert_eq!(backoff(&lost, 0.0), 3000);
    lost.settings.backoff_cap_seconds = 0;
    assert_eq!(backoff(&lost, 0.5), 0);
    retried(&mut lost, 1);
    assert_eq!(run(&lost).strategy(), Strategy::None);
}

#[test]
fn retry_after_is_the_least_wait_and_is_cut_at_the_cap() {
    let mut limited = case("curl x", FailureType::RateLimit);
    limited.signal.retry_after_ms = Some(30_000);
    assert_eq!(backoff(&limited, 0.0), 30_000);
    limited.signal.retry_after_ms = Some(10);
    assert_eq!(backoff(&limited, 0.0), 1000);
    limited.signal.retry_after_ms = Some(u64::MAX);
    assert_eq!(backoff(&limited, 0.0), 60_000);
}

#[test]
fn budgets_end_the_loop_and_are_named() {
    let mut spent = case("ruff check .", FailureType::Lint);
    spent.attempts_of_run = 6;
    assert!(run(&spent).reason().contains("max_total_attempts"));
    spent.attempts_of_run = 3;
    retried(&mut spent, 3);
    spent.attempts_of_run = 3;
    let decision = run(&spent);
    assert_eq!(decision.strategy(), Strategy::None);
    assert!(decision.reason().contains("max_per_step_attempts"), "{}", decision.reason());
}

#[test]
fn a_spent_unknown_asks_a_human_and_a_spent_lint_gives_up() {
    let mut unknown = case("exit 42", FailureType::Unknown);
    retried(&mut unknown, 3);
    assert_eq!(gate(&run(&unknown)), (GateType::Unknown, GateEffect::Retry));
    let mut infra = case("docker info", FailureType::Infra);
    retried(&mut infra, 2);
    assert_eq!(gate(&run(&infra)), (GateType::Infra, GateEffect::Retry));
}

#[test]
fn a_lock_out_of_sync_is_fixed_before_any_retry() {
    let lock = case("cd web && npm ci", FailureType::Infra);
    assert_eq!(fixers(&run(&lock)), ["npm_lock"]);
    let mut later = lock.clone();
    later.tried = vec![try_of("npm_lock", TryVerdict::NoChange, "")];
    assert_eq!(run(&later).strategy(), Strategy::RetryStep);
}

#[test]
fn security_and_policy_findings_wait_for_a_human() {
    assert_eq!(
        gate(&run(&case("bandit -r .", FailureType::Security))),
        (GateType::Security, GateEffect::Accept)
    );
    assert_eq!(
        gate(&run(&case("cargo deny check", FailureType::Policy))),
        (GateType::Policy, GateEffect::Accept)
    );
    assert_eq!(
        gate(&run(&case("squawk a.sql", FailureType::SchemaMigration))),
        (GateType::Migration, GateEffect::Retry)
    );
}

#[test]
fn a_lost_executable_bit_is_mended_before_a_human_is_asked() {
    let mut denied = case("./run.sh", FailureType::Policy);
    evidence(&mut denied, "bash: ./run.sh: Permission denied");
    assert_eq!(fixers(&run(&denied)), ["exec_bit"]);
}

#[test]
fn a_failed_test_runs_once_more_and_then_fails() {
    let mut test = case("pytest", FailureType::TestAssert);
    assert_eq!(run(&test).strategy(), Strategy::RetryStep);
    retried(&mut test, 1);
    assert_eq!(run(&test).strategy(), Strategy::None);
}

#[test]
fn a_missing_module_nobody_knows_goes_to_a_human() {
    let mut missing = case("python -m src.app", FailureType::Runtime);
    evidence(&mut missing, "ModuleNotFoundError: No module named 'acme_billing'");
    missing.files = vec!["src/app.py".to_owned()];
    assert_eq!(gate(&run(&missing)), (GateType::Unknown, GateEffect::Retry));
    missing.files.push("lib/acme_billing/__init__.py".to_owned());
    assert_eq!(
        run(&missing).strategy(),
        Strategy::RetryStep,
        "our own module is plainly broken code"
    );
    retried(&mut missing, 1);
    assert_eq!(run(&missing).strategy(), Strategy::None);
}

#[test]
fn a_missing_tool_goes_to_a_human_who_can_install_it() {
    let mut absent = case("terraform validate", FailureType::Runtime);
    evidence(&mut absent, "bash: line 1: terraform: command not found");
    absent.exit.code = Some(127);
    retried(&mut absent, 1);
    let decision = run(&absent);
    assert_eq!(gate(&decision), (GateType::Infra, GateEffect::Retry));
    assert!(decision.reason().contains("terraform"), "{}", decision.reason());
}

#[test]
fn a_step_that_never_ends_ends() {
    let mut hung = case("sleep 3600", FailureType::Infra);
    hung.exit.timed_out = true;
    assert_eq!(run(&hung).strategy(), Strategy::RetryStep);
    retried(&mut hung, 1);
    let Decision::RePlan { ops, .. } = run(&hung) else { panic!("expected a longer limit") };
    assert_eq!((ops[0].kind, ops[0].timeout_ms), (PlanOpKind::ExtendTimeout, Some(120_000)));
    let attempt = past(&hung, Strategy::RePlan, Outcome::Replanned);
    hung.history.push(attempt);
    hung.replans_of_run = 1;
    let end = run(&hung);
    assert_eq!(end.strategy(), Strategy::None);
    assert!(end.reason().contains("time limit"), "{}", end.reason());
}

#[test]
fn two_unknown_failures_empty_the_caches_once() {
    let mut twice = case("make", FailureType::Unknown);
    twice.step.cache = vec!["build".to_owned()];
    retried(&mut twice, 1);
    twice.signal.requires_replan = true;
    let Decision::RePlan { ops, triggered_by, .. } = run(&twice) else {
        panic!("expected a re-plan")
    };
    assert_eq!(
        (ops[0].kind, triggered_by.as_str()),
        (PlanOpKind::CleanCache, "consecutive_unknown_failures")
    );
    twice.replans_of_run = 1;
    assert_eq!(run(&twice).strategy(), Strategy::RetryStep);
}

#[test]
fn mixed_failures_beside_other_steps_serialise_the_plan() {
    let mut mixed = case("ninja", FailureType::Lint);
    mixed.signal.requires_replan = true;
    mixed.failure_types_of_run =
        vec![FailureType::Lint, FailureType::Infra, FailureType::Unknown, FailureType::Runtime];
    assert_eq!(run(&mixed).strategy(), Strategy::None, "nothing runs beside it");
    mixed.parallel_steps = vec!["test".to_owned()];
    let Decision::RePlan { ops, triggered_by, .. } = run(&mixed) else {
        panic!("expected a re-plan")
    };
    assert_eq!(
        (ops[0].kind, triggered_by.as_str()),
        (PlanOpKind::Serialise, "mixed_failure_types")
    );
}

#[test]
fn fixers_that_were_tried_are_not_tried_again() {
    let mut lint = case("ruff check .", FailureType::Lint);
    assert_eq!(fixers(&run(&lint)), ["ruff_check", "ruff_unsafe"]);
    lint.tried = vec![try_of("ruff_check", TryVerdict::NoChange, "")];
    assert_eq!(fixers(&run(&lint)), ["ruff_unsafe"]);
    lint.tried.push(try_of("ruff_unsafe", TryVerdict::VerifyFail, "abc"));
    let end = run(&lint);
    assert_eq!(end.strategy(), Strategy::None);
    assert!(end.reason().contains("ruff_unsafe (verify fail)"), "{}", end.reason());
    assert_eq!(patches_refused(&lint), ["abc"]);
}

#[test]
fn a_patch_that_made_things_worse_is_taken_back() {
    let mut worse = case("make", FailureType::Lint);
    let mut attempt = past(&worse, Strategy::FixSpecificIssue, Outcome::PatchApplied);
    attempt.tries.push(try_of("ruff_check", TryVerdict::Accepted, "abc"));
    worse.history.push(attempt);
    worse.patched = true;
    worse.signal.failure_type = FailureType::Runtime;
    worse.signal.fingerprint = "other".to_owned();
    assert_eq!(run(&worse).strategy(), Strategy::Rollback);
    worse.patched = false;
    assert_ne!(run(&worse).strategy(), Strategy::Rollback, "there is nothing to take back");
}

#[test]
fn the_same_patch_for_the_same_failure_is_not_made_a_third_time() {
    let mut again = case("ruff check .", FailureType::Lint);
    let mut attempt = past(&again, Strategy::FixSpecificIssue, Outcome::PatchApplied);
    attempt.tries.push(try_of("ruff_check", TryVerdict::Accepted, "abc"));
    again.history = vec![attempt.clone(), attempt];
    again.patched = true;
    assert_eq!(run(&again).strategy(), Strategy::Rollback);
    let back = past(&again, Strategy::Rollback, Outcome::PatchApplied);
    again.history.push(back);
    again.patched = false;
    again.settings.max_per_step_attempts = 10;
    assert_eq!(fixers(&run(&again)), ["ruff_unsafe"]);
    assert!(repeats(&again, "abc"));
}

#[test]
fn a_known_flake_is_run_again_first_whatever_its_type_and_once() {
    for failure_type in FailureType::ALL {
        let mut flake = case("ruff check .", failure_type);
        flake.signal.can_retry = false;
        flake.known_flaky = true;
        assert_eq!(run(&flake).strategy(), Strategy::RetryStep, "{failure_type}");
        assert!(run(&flake).reason().contains("by itself before"), "{}", run(&flake).reason());
        retried(&mut flake, 1);
        let second = run(&flake);
        assert!(!second.reason().contains("by itself before"), "{}", second.reason());
        flake.history.clear();
        flake.settings.max_total_attempts = 1;
        assert_ne!(run(&flake).strategy(), Strategy::RetryStep, "within the budget");
        flake.settings.autofix_enabled = false;
        assert_eq!(run(&flake).strategy(), Strategy::None);
    }
}

#[test]
fn three_patches_in_a_row_ask_a_human() {
    let mut busy = case("ruff check .", FailureType::Lint);
    busy.settings.max_per_step_attempts = 10;
    for n in 0..3 {
        let mut attempt = past(&busy, Strategy::FixSpecificIssue, Outcome::PatchApplied);
        attempt.fingerprint = format!("print {n}");
        busy.history.push(attempt);
    }
    assert_eq!(gate(&run(&busy)), (GateType::Unknown, GateEffect::Retry));
}

#[test]
fn every_failure_ends_within_its_budget() {
    let registry = Registry::builtin().unwrap();
    for failure_type in FailureType::ALL {
        for line in ["ruff check .", "cargo test", "exit 1"] {
            let mut endless = case(line, failure_type);
            endless.step.cache = vec!["x".to_owned()];
            endless.parallel_steps = vec!["y".to_owned()];
            let mut turns = 0;
            loop {
                let decision = decide(&endless, &registry, &Memory::default(), 0.3);
                let outcome = match &decision {
                    Decision::RetryStep { .. } => Outcome::Retried,
                    Decision::RePlan { .. } => {
                        endless.replans_of_run += 1;
                        Outcome::Replanned
                    }
                    Decision::FixSpecificIssue { fixers, .. } => {
                        let failed =
                            fixers.iter().map(|f| try_of(&f.id, TryVerdict::VerifyFail, &f.id));
                        endless.tried.extend(failed);
                        continue;
                    }
                    Decision::Rollback { .. } => panic!("nothing was patched"),
                    Decision::ManualIntervention { .. } | Decision::GiveUp { .. } => break,
                };
                let mut attempt = past(&endless, decision.strategy(), outcome);
                attempt.tries = std::mem::take(&mut endless.tried);
                endless.history.push(attempt);
                endless.attempts_of_run += 1;
                turns += 1;
                assert!(turns <= 6, "{failure_type} {line} does not end");
            }
        }
    }
}
