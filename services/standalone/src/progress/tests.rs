use super::*;
use meta_domain::autofix::FixTry;
use meta_domain::signal::Signal;
use serde_json::{Value, json};

fn signal(failure_type: &str) -> Value {
    let signal: Signal = serde_json::from_value(json!({
        "failure_type": failure_type, "source": "rule", "message": "broken", "severity": "low",
        "can_retry": true, "requires_replan": false, "confidence": 0.9,
        "evidence": [{ "line": 3, "text": "x" }], "locations": [], "tool": "t",
        "fingerprint": "f", "retry_after_ms": null, "runner_up": null, "unknown_reason": null,
    }))
    .unwrap();
    json!(signal)
}

fn attempt(failure_type: &str, tries: &Value) -> Value {
    json!({
        "id": "a", "step": "fmt", "number": 1, "signal": signal(failure_type), "strategy": "x",
        "outcome": "x", "backoff_ms": 1000, "reason": "because", "tries": tries, "patch": "diff",
        "rollback_to_step": "", "created_at": 0,
    })
}

fn fix(title: &str, verdict: &str) -> Value {
    let one: FixTry = serde_json::from_value(json!({
        "fixer": title, "title": title, "verdict": verdict, "detail": "", "patch_sha256": "s",
        "files": 1, "added": 2, "removed": 3,
    }))
    .unwrap();
    json!(one)
}

fn gate() -> Value {
    json!({
        "id": "g1", "step": "fmt", "gate_type": "security", "status": "pending",
        "effect": "accept", "reason": "a leak", "proposal": null, "signal": null,
        "decided_by": "", "notes": "", "created_at": 0, "decided_at": null,
    })
}

/// What is told of a log, as the JSON lines of `--output json`.
fn told(log: &[(&str, Value)]) -> Vec<Value> {
    let mut tracker = Tracker::new("metabuilder");
    let read = |(kind, data): &(&str, Value)| Happened::read(kind, &data.to_string()).unwrap();
    log.iter().flat_map(|entry| tracker.next(read(entry))).map(|p| json!(p)).collect()
}

fn started(execution: u32) -> (&'static str, Value) {
    ("step.started", json!({ "step": "fmt", "execution": execution, "log": "l", "runner": "r" }))
}

fn ended(kind: &'static str, code: i32) -> (&'static str, Value) {
    let execution = json!({
        "exit": { "code": code, "signal": null, "timed_out": false, "oom_killed": false,
                  "runner_lost": false },
        "duration_ms": 400, "cut_bytes": 0, "sandbox": "bwrap",
    });
    (kind, json!({ "step": "fmt", "execution": execution, "commit": "c", "flaky": false }))
}

fn classified(failure_type: &str) -> (&'static str, Value) {
    ("autofix.classified", json!({ "step": "fmt", "signal": signal(failure_type) }))
}

fn words(told: &[Value]) -> Vec<&str> {
    told.iter().map(|t| t["event"].as_str().unwrap()).collect()
}

#[test]
fn a_failure_is_told_with_all_that_the_contract_names() {
    let told = told(&[started(1), ended("step.attempt_failed", 1), classified("lint")]);
    assert_eq!(words(&told), ["step_started", "failure"]);
    let failure = &told[1];
    for (field, value) in [
        ("step", json!("fmt")),
        ("type", json!("lint")),
        ("message", json!("broken")),
        ("confidence", json!(0.9)),
        ("attempt", json!(1)),
        ("exit_code", json!(1)),
        ("fingerprint", json!("f")),
        ("evidence", json!([{ "line": 3, "text": "x" }])),
        ("locations", json!([])),
    ] {
        assert_eq!(failure[field], value, "{field}");
    }
}

#[test]
fn healing_is_told_turn_by_turn_and_summed_up_when_the_step_passes() {
    let tries = json!([fix("a", "no_change"), fix("rustfmt", "accepted")]);
    let told = told(&[
        started(1),
        ended("step.attempt_failed", 1),
        classified("lint"),
        (
            "autofix.fix_started",
            json!({ "step": "fmt", "reason": "r", "fixers": [{ "title": "a" }] }),
        ),
        ("autofix.tried", json!({ "step": "fmt", "result": fix("a", "no_change") })),
        ("autofix.patch_applied", json!({ "attempt": attempt("lint", &tries), "commit": "c" })),
        started(2),
        ended("step.succeeded", 0),
    ]);
    let expected = [
        "step_started",
        "failure",
        "fixing",
        "fix",
        "fix",
        "patch_applied",
        "step_started",
        "step_succeeded",
    ];
    assert_eq!(words(&told), expected);
    assert_eq!(told[4]["verdict"], "accepted");
    let healed = json!([{ "type": "lint", "by": "rustfmt", "files": 1, "added": 2, "removed": 3 }]);
    assert_eq!(told[7]["healed"], healed);
    assert_eq!((&told[7]["attempt"], &told[7]["failed_before"]), (&json!(2), &json!("lint")));
}

#[test]
fn a_retry_tells_its_wait_and_the_pass_its_flakiness() {
    let mut passed = ended("step.succeeded", 0);
    passed.1["flaky"] = json!(true);
    let told = told(&[
        started(1),
        ended("step.attempt_failed", 7),
        classified("transient"),
        ("autofix.retry", json!({ "attempt": attempt("transient", &json!([])), "due": 5 })),
        started(2),
        passed,
    ]);
    assert_eq!(words(&told)[2..], ["retry", "step_started", "step_succeeded"]);
    assert_eq!(told[2]["backoff_ms"], 1000);
    assert_eq!((&told[4]["flaky"], &told[4]["backoff_ms"]), (&json!(true), &json!(1000)));
}

#[test]
fn a_gate_is_told_with_the_command_that_approves() {
    let escalated = json!({ "attempt": attempt("security", &json!([])), "gate": gate() });
    let told = told(&[started(1), classified("security"), ("autofix.escalated", escalated)]);
    let needed = &told[2];
    assert_eq!(needed["event"], "approval_needed");
    assert_eq!(needed["gate_id"], "g1");
    assert_eq!(needed["gate_type"], "security");
    assert_eq!(needed["approve"], "metabuilder approve g1");
}

#[test]
fn an_accepted_finding_names_who_accepted_it() {
    let told = told(&[
        started(1),
        ended("step.attempt_failed", 1),
        classified("security"),
        (
            "autofix.escalated",
            json!({ "attempt": attempt("security", &json!([])), "gate": gate() }),
        ),
        ("approval.granted", json!({ "gate": "g1", "step": "fmt", "actor": "ada", "notes": "" })),
        ("step.accepted", json!({ "step": "fmt", "actor": "ada" })),
    ]);
    assert_eq!(words(&told)[3..], ["decided", "step_succeeded"]);
    assert_eq!(told[4]["accepted_by"], "ada");
}

#[test]
fn a_step_fails_for_good_once_with_its_last_failure_and_what_was_tried() {
    let told = told(&[
        started(1),
        ended("step.attempt_failed", 1),
        classified("test_assert"),
        ("autofix.tried", json!({ "step": "fmt", "result": fix("a", "verify_fail") })),
        ("autofix.gave_up", json!({ "attempt": attempt("test_assert", &json!([])) })),
        ("step.failed", json!({ "step": "fmt", "reason": "again" })),
    ]);
    assert_eq!(words(&told)[2..], ["fix", "step_failed"]);
    assert_eq!(told[3]["reason"], "because");
    assert_eq!(told[3]["failure"]["type"], "test_assert");
    assert_eq!(told[3]["tries"], json!(["a: the step still fails with its patch"]));
}

#[test]
fn what_is_not_known_is_passed_over_and_what_is_broken_is_an_error() {
    assert_eq!(Happened::read("something.new", r#"{"a":1}"#).unwrap(), Happened::Other);
    assert_eq!(Happened::read("run.paused", "").unwrap(), Happened::Paused);
    assert!(Happened::read("step.started", r#"{"step":"a"}"#).is_err());
    assert!(Happened::read("step.started", "[").is_err());
}
