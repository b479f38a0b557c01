//! A run for the tests of the formats: one step healed, one flaky, one with a finding, one not
//! reached.

use super::{Report, Step};
use crate::progress::{Failure, Healed, Progress};
use crate::view::{GateView, RunView, StepView};
use meta_domain::failure::{FailureType, Severity};
use meta_domain::signal::{EvidenceLine, Location};

fn failure(step: &str, kind: FailureType) -> Failure {
    let place = |file: &str, line| Location { file: file.to_owned(), line, ..Location::default() };
    Failure {
        step: step.to_owned(),
        kind,
        message: "a secret | was found".to_owned(),
        confidence: 0.97,
        attempt: 1,
        exit_code: Some(1),
        timed_out: false,
        duration_ms: 100,
        severity: Severity::High,
        fingerprint: format!("{step}-{kind}"),
        rule: "gitleaks".to_owned(),
        tool: "gitleaks".to_owned(),
        evidence: vec![EvidenceLine { line: 12, text: "RuleID: generic-api-key".to_owned() }],
        locations: vec![place("config/shop one.toml", 2), place("/etc/passwd", 1)],
    }
}

/// A step with a finding that nobody decided.
pub(crate) fn failed() -> Step {
    Step {
        name: "audit".to_owned(),
        status: "failed".to_owned(),
        failures: vec![failure("audit", FailureType::Security)],
        ..Step::default()
    }
}

fn view(status: &str) -> RunView {
    let step = |name: &str, status: &str, duration_ms| StepView {
        name: name.to_owned(),
        status: status.to_owned(),
        duration_ms,
        ..StepView::default()
    };
    let waits = status == "paused_awaiting_approval";
    RunView {
        id: "r-1".to_owned(),
        status: status.to_owned(),
        steps: vec![
            step("fmt", "succeeded", 400),
            step("fetch", "succeeded", 100),
            step("audit", if waits { "running" } else { "failed" }, 100),
            step("package", "pending", 0),
        ],
        gates: vec![GateView {
            id: "g-1".to_owned(),
            step: "audit".to_owned(),
            status: if waits { "pending" } else { "rejected" }.to_owned(),
            reason: "a secret | was found".to_owned(),
            ..GateView::default()
        }],
        ..RunView::default()
    }
}

fn passed(step: &str, healed: Vec<Healed>, flaky: bool) -> Progress {
    Progress::StepSucceeded {
        step: step.to_owned(),
        attempt: 2,
        duration_ms: 400,
        flaky,
        failed_before: None,
        backoff_ms: 0,
        healed,
        sandbox: String::new(),
        accepted_by: String::new(),
    }
}

/// A run with that status.
pub(crate) fn report(status: &str) -> Report {
    let healed = Healed {
        failure_type: FailureType::Lint,
        by: "cargo fmt".to_owned(),
        files: 1,
        added: 2,
        removed: 1,
    };
    let mut lint = failure("fmt", FailureType::Lint);
    lint.rule = "rustfmt".to_owned();
    let story = vec![
        Progress::Failure(lint),
        passed("fmt", vec![healed], false),
        passed("fetch", Vec::new(), true),
        Progress::Failure(failure("audit", FailureType::Security)),
    ];
    Report::new(&view(status), story)
}

/// The same run while the finding waits.
pub(crate) fn waiting() -> Report {
    report("paused_awaiting_approval")
}

#[test]
fn steps_are_told_in_the_order_of_the_plan_with_all_that_happened() {
    let report = waiting();
    let names: Vec<_> = report.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["fmt", "fetch", "audit", "package"]);
    assert_eq!((report.healed(), report.flaky()), (1, 1));
    assert_eq!(report.steps[2].waits.as_ref().map(|(gate, _)| gate.as_str()), Some("g-1"));
    assert!(report.steps[3].skipped() && !report.steps[2].skipped());
}

#[test]
fn long_and_hostile_lines_are_cut_and_cleaned() {
    let long = super::line(&"x".repeat(1_000));
    assert_eq!(long.chars().count(), super::LINE_CHARS_MAX);
    assert_eq!(super::line("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb c");
}
