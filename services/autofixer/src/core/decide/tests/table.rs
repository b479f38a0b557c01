//! The decision table as a file that a reviewer reads: a change of behaviour is a diff.

use super::super::samples::{case, evidence, past, retried, try_of};
use super::*;
use crate::core::model::Terms;
use meta_domain::autofix::{Case, Outcome, Strategy, TryVerdict};
use std::fmt::Write as _;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/decision_table.md");

/// A line of a step that a fixer of this type's kind claims.
fn claimed_line(failure_type: FailureType) -> &'static str {
    match failure_type {
        FailureType::Infra => "npm ci",
        FailureType::SchemaMigration => "alembic upgrade head",
        FailureType::Typecheck => "tsc -p .",
        FailureType::Runtime => "cargo check",
        _ => "ruff check .",
    }
}

fn situations(failure_type: FailureType) -> Vec<(&'static str, Case)> {
    let plain = case("./check", failure_type);
    let with = |change: &dyn Fn(&mut Case)| {
        let mut changed = plain.clone();
        changed.settings.max_per_step_attempts = 5;
        change(&mut changed);
        changed
    };
    let claimed = case(claimed_line(failure_type), failure_type);
    let mut fixers_failed = claimed.clone();
    let registry = Registry::builtin().unwrap();
    for candidate in registry.claims(&claimed) {
        let failed = try_of(&candidate.command.id, TryVerdict::VerifyFail, "abc");
        fixers_failed.tried.push(failed);
    }
    vec![
        ("flag off", with(&|c| c.settings.autofix_enabled = false)),
        ("first failure", plain.clone()),
        ("first failure, a fixer claims it", claimed),
        ("all its fixers failed", fixers_failed),
        ("after 1 retry", with(&|c| retried(c, 1))),
        ("after 2 retries", with(&|c| retried(c, 2))),
        ("after 3 retries", with(&|c| retried(c, 3))),
        (
            "after 1 retry, re-plan asked, caches",
            with(&|c| {
                retried(c, 1);
                c.signal.requires_replan = true;
                c.step.cache = vec!["target".to_owned()];
            }),
        ),
        ("server asks for 30 s", with(&|c| c.signal.retry_after_ms = Some(30_000))),
        ("signal rules a retry out", with(&|c| c.signal.can_retry = false)),
        ("known to pass by itself", with(&|c| c.known_flaky = true)),
        ("time limit passed", with(&|c| c.exit.timed_out = true)),
        (
            "time limit passed twice",
            with(&|c| {
                c.exit.timed_out = true;
                retried(c, 1);
            }),
        ),
        (
            "step budget used up",
            with(&|c| {
                c.settings.max_per_step_attempts = 1;
                retried(c, 1);
            }),
        ),
        ("run budget used up", with(&|c| c.attempts_of_run = c.settings.max_total_attempts)),
        (
            "its patch left a worse failure",
            with(&|c| {
                let mut attempt = past(c, Strategy::FixSpecificIssue, Outcome::PatchApplied);
                attempt.failure_type = FailureType::Transient;
                attempt.tries.push(try_of("x", TryVerdict::Accepted, "abc"));
                c.history.push(attempt);
                c.patched = true;
            }),
        ),
        (
            "3 patches in a row",
            with(&|c| {
                let attempt = past(c, Strategy::FixSpecificIssue, Outcome::PatchApplied);
                c.history = vec![attempt; 3];
            }),
        ),
        (
            "a package is missing, the plan does not install",
            with(&|c| {
                evidence(c, "sh: 1: vitest: not found");
                c.files = vec!["package-lock.json".to_owned()];
            }),
        ),
        (
            "killed for memory after 2 retries, beside another step",
            with(&|c| {
                retried(c, 2);
                c.exit.oom_killed = true;
                c.parallel_steps = vec!["test".to_owned()];
            }),
        ),
    ]
}

/// The same with a model behind the fixers, in a workspace that it can see.
fn with_a_model(failure_type: FailureType) -> Vec<(&'static str, Case)> {
    let mut seen = case("./check", failure_type);
    seen.settings.max_per_step_attempts = 5;
    seen.files = vec!["src/a.py".to_owned()];
    let with = |change: &dyn Fn(&mut Case)| {
        let mut changed = seen.clone();
        change(&mut changed);
        changed
    };
    let failed = |n: u32| try_of("model", TryVerdict::VerifyFail, &format!("{n}"));
    vec![
        ("a model, first failure", seen.clone()),
        ("a model, after 1 retry", with(&|c| retried(c, 1))),
        (
            "a model, its patch failed, after 1 retry",
            with(&|c| {
                retried(c, 1);
                c.tried = vec![failed(1)];
            }),
        ),
        (
            "a model, 3 patches failed, after 2 retries",
            with(&|c| {
                retried(c, 2);
                c.tried = (1..4).map(failed).collect();
            }),
        ),
        (
            "a model that said no, after 2 retries",
            with(&|c| {
                retried(c, 2);
                c.tried = vec![try_of("model", TryVerdict::NoChange, "")];
            }),
        ),
    ]
}

fn words(decision: &Decision) -> String {
    match decision {
        Decision::RetryStep { backoff_ms, .. } => format!("retry_step in {backoff_ms} ms"),
        Decision::FixSpecificIssue { fixers, .. } => {
            let ids: Vec<&str> = fixers.iter().map(|f| f.id.as_str()).collect();
            format!("fix_specific_issue: {}", ids.join(", "))
        }
        Decision::RePlan { ops, .. } => format!("re_plan: {}", ops[0].kind.as_str()),
        Decision::Rollback { .. } => "rollback".to_owned(),
        Decision::ManualIntervention { gate, effect, .. } => {
            format!("manual_intervention: {} gate, approve = {}", gate.as_str(), effect.as_str())
        }
        Decision::GiveUp { .. } => "give up".to_owned(),
    }
}

fn table() -> String {
    let registry = Registry::builtin().unwrap();
    let terms = Terms { name: "m".to_owned(), approval_always: true };
    let with_model = Registry::builtin().unwrap().with_model(Some(terms));
    let mut out = String::from(
        "# What the auto-fixer decides\n\nWritten by the test `the_decision_table_is_the_reviewed_one`; \
         defaults of staging (6 attempts a run, 3 a step where nothing else is said, cap 60 s), no \
         jitter. To renew it, delete the file and run the test.\n",
    );
    for failure_type in FailureType::ALL {
        write!(out, "\n## {failure_type}\n\n| situation | decision |\n| --- | --- |\n").unwrap();
        let modelled = with_a_model(failure_type).into_iter().map(|s| (s, &with_model));
        let plain = situations(failure_type).into_iter().map(|s| (s, &registry));
        for ((name, case), registry) in plain.chain(modelled) {
            let decision = decide(&case, registry, &Memory::default(), 0.0);
            writeln!(out, "| {name} | {} |", words(&decision)).unwrap();
        }
    }
    out
}

#[test]
fn the_decision_table_is_the_reviewed_one() {
    let now = table();
    let Ok(reviewed) = std::fs::read_to_string(GOLDEN) else {
        std::fs::write(GOLDEN, now).unwrap();
        panic!(
            "golden/decision_table.md was missing and is written now: review it, then test again"
        );
    };
    assert!(
        reviewed == now,
        "decisions changed: delete golden/decision_table.md, test twice, and review the diff"
    );
}
