use super::*;
use meta_domain::failure::Severity;

fn step(name: &str, needs: &[&str]) -> PlanStep {
    PlanStep {
        name: name.to_owned(),
        run: "true".to_owned(),
        needs: needs.iter().map(|n| (*n).to_owned()).collect(),
        why: String::new(),
    }
}

fn layout() -> Layout {
    let mut layout = Layout::new(Paint::plain());
    let steps =
        vec![step("fmt", &[]), step("fetch-data", &[]), step("test", &["fmt", "fetch-data"])];
    layout.lines(
        &Progress::Plan {
            run_id: "r".to_owned(),
            version: 1,
            steps,
            risk_score: 12,
            risk: Vec::new(),
            summary: String::new(),
        },
        true,
    );
    layout
}

fn succeeded(step: &str) -> Progress {
    Progress::StepSucceeded {
        step: step.to_owned(),
        attempt: 2,
        duration_ms: 400,
        flaky: false,
        failed_before: Some(FailureType::Lint),
        backoff_ms: 0,
        healed: vec![Healed {
            failure_type: FailureType::Lint,
            by: "rustfmt".to_owned(),
            files: 3,
            added: 12,
            removed: 9,
        }],
        sandbox: "bwrap".to_owned(),
        accepted_by: String::new(),
    }
}

fn failure() -> Failure {
    Failure {
        step: "test".to_owned(),
        kind: FailureType::TestAssert,
        message: "a\u{1b}[31m failed".to_owned(),
        confidence: 0.934,
        attempt: 1,
        exit_code: Some(101),
        timed_out: false,
        duration_ms: 65_400,
        severity: Severity::Medium,
        fingerprint: "f".to_owned(),
        rule: "rust_test".to_owned(),
        tool: "cargo".to_owned(),
        evidence: vec![EvidenceLine { line: 12, text: "left: 1".to_owned() }],
        locations: Vec::new(),
    }
}

#[test]
fn the_plan_shows_what_runs_side_by_side() {
    let steps = [step("a", &[]), step("b", &["a"]), step("c", &[]), step("d", &["b", "c"])];
    assert_eq!(flow(&steps), "a + c → b → d");
}

#[test]
fn a_healed_step_says_how() {
    let lines = layout().lines(&succeeded("fmt"), false);
    assert_eq!(
        lines,
        [" ✔ fmt           0.4s   healed: lint · rustfmt · 3 files, +12 -9   (attempt 2)"]
    );
}

#[test]
fn a_flaky_step_says_what_it_failed_of() {
    let mut progress = succeeded("fetch-data");
    if let Progress::StepSucceeded { flaky, healed, backoff_ms, failed_before, .. } = &mut progress
    {
        *flaky = true;
        healed.clear();
        *backoff_ms = 1040;
        *failed_before = Some(FailureType::Transient);
    }
    let lines = layout().lines(&progress, false);
    assert!(lines[0].ends_with("flaky: transient · passed on retry after 1.0s"), "{lines:?}");
}

#[test]
fn a_failed_step_shows_evidence_rule_and_reason() {
    let progress = Progress::StepFailed {
        step: "test".to_owned(),
        reason: "no fixer claims it".to_owned(),
        failure: Some(failure()),
        tries: vec!["rustfmt: changed nothing".to_owned()],
    };
    let text = layout().lines(&progress, false).join("\n");
    for part in [
        " ✘ test        1m 05s   test_assert · a\u{fffd}[31m failed",
        "   12 | left: 1",
        "rust_test, confidence 0.93 (cargo)",
        "tried rustfmt: changed nothing",
        "so    no fixer claims it",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn a_gate_names_the_command_and_what_was_not_reached_is_listed() {
    let mut layout = layout();
    let progress = Progress::ApprovalNeeded {
        step: "fmt".to_owned(),
        gate_id: "0197".to_owned(),
        gate_type: GateType::Security,
        effect: meta_domain::gate::GateEffect::Accept,
        reason: "a leak".to_owned(),
        approve: "metabuilder approve 0197".to_owned(),
        patch: None,
    };
    let text = layout.lines(&progress, false).join("\n");
    assert!(text.contains("security · waiting for approval  → metabuilder approve 0197"), "{text}");
    assert_eq!(layout.rest(), [" · fetch-data", " · test"]);
    assert!(layout.rest().is_empty());
}

#[test]
fn a_live_display_leaves_the_turns_to_its_spinners() {
    let retry = Progress::Retry {
        step: "fmt".to_owned(),
        turn: 1,
        backoff_ms: 1000,
        reason: String::new(),
    };
    assert!(layout().lines(&retry, false).is_empty());
    assert!(layout().lines(&retry, true)[0].contains("again in 1.0s"));
    assert!(layout().lines(&Progress::Failure(failure()), false).is_empty());
}

#[test]
fn durations_are_short() {
    assert_eq!(seconds(0), "0.0s");
    assert_eq!(seconds(449), "0.4s");
    assert_eq!(seconds(59_949), "59.9s");
    assert_eq!(seconds(59_950), "1m 00s");
}
