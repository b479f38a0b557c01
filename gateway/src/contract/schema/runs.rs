//! Runs and all that hangs on them.

use super::specs::{event, planned_step};
use super::{
    Schema, count, flag, id, list_of, named, number, object, or_null, resource, some_text,
    some_time, text, words,
};
use meta_domain::autofix::{Outcome, Strategy, TryVerdict};
use meta_domain::failure::FailureType;
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::status::{RunStatus, StepStatus};
use serde_json::json;

pub(super) fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("Run", run()),
        ("Step", step()),
        ("Approval", approval()),
        ("Diff", diff()),
        ("Evaluation", evaluation()),
        ("Artifact", artifact()),
        ("Autofix", autofix()),
        ("Escalation", escalation()),
        ("PlanDelta", plan_delta()),
        ("Explanation", explanation()),
        ("RunVerification", verification()),
        ("Event", resource("event", event(), &[])),
        ("Evidence", evidence()),
        ("FixTry", fix_try()),
    ]
}

fn strategy() -> Schema {
    or_null(words(Strategy::ALL))
}

fn outcome() -> Schema {
    or_null(words(Outcome::ALL))
}

fn signal() -> Schema {
    or_null(named("FailureSignal"))
}

fn run() -> Schema {
    let attributes = object(&[
        ("spec_id", id()),
        ("plan_id", id()),
        ("plan_version", count()),
        ("status", or_null(words(RunStatus::ALL))),
        ("reason", some_text()),
        ("max_iterations", count()),
        ("total_attempts", count()),
        ("pending_approvals", count()),
        ("head_commit", some_text()),
        ("last_seq", count()),
        ("held_by", some_text()),
        ("priority", number(-100, 100)),
        ("timeout_seconds", count()),
        ("created_by", some_text()),
        ("created_at", some_time()),
        ("started_at", some_time()),
        ("finished_at", some_time()),
    ]);
    let relationships = [
        ("spec", false),
        ("plan", false),
        ("steps?", true),
        ("approvals?", true),
        ("diffs?", true),
        ("evaluations?", true),
        ("artifacts?", true),
    ];
    resource("run", attributes, &relationships)
}

fn step() -> Schema {
    let mut fields = planned_step();
    fields.extend([
        ("status", or_null(words(StepStatus::ALL))),
        ("executions", count()),
        ("attempts", count()),
        ("started_at", some_time()),
        ("finished_at", some_time()),
        ("duration_ms", count()),
        ("due_at", some_time()),
        ("failure_signal", signal()),
        ("exit", or_null(named("Exit"))),
        ("flaky", flag()),
        ("sandbox", some_text()),
        ("reason", some_text()),
        ("tries", list_of(named("FixTry"))),
        ("verifications", list_of(named("Evidence"))),
        ("marked_by", some_text()),
    ]);
    resource("step", object(&fields), &[])
}

fn approval() -> Schema {
    let attributes = object(&[
        ("run_id", id()),
        ("step_id", text()),
        ("gate_type", or_null(words(GateType::ALL))),
        ("status", or_null(words(GateStatus::ALL))),
        ("effect", or_null(words(GateEffect::ALL))),
        ("reason", some_text()),
        ("proposed_patch", some_text()),
        ("patch_sha256", some_text()),
        ("plan_id", some_text()),
        ("plan_version", count()),
        ("base_commit", some_text()),
        ("files", count()),
        ("added", count()),
        ("removed", count()),
        ("risk", number(0, 100)),
        ("guard_reasons", list_of(text())),
        ("evidence", or_null(named("Evidence"))),
        ("fixer", some_text()),
        ("failure_signal", signal()),
        ("four_eyes", flag()),
        ("expires_at", some_time()),
        ("on_expiry", or_null(words(&["fail", "cancel"]))),
        ("decided_by", some_text()),
        ("decided_at", some_time()),
        ("notes", some_text()),
        ("created_at", some_time()),
    ]);
    resource("approval", attributes, &[("run", false)])
}

fn diff() -> Schema {
    let attributes = object(&[
        ("step_id", text()),
        ("attempt", count()),
        ("outcome", outcome()),
        ("patch", some_text()),
        ("commit", some_text()),
        ("reverted", flag()),
        ("created_at", some_time()),
    ]);
    resource("diff", attributes, &[])
}

/// The fields of a turn that is told in full.
fn turn_in_full() -> Vec<(&'static str, Schema)> {
    vec![
        ("step_id", text()),
        ("attempt", count()),
        ("failure_signal", signal()),
        ("strategy", strategy()),
        ("outcome", outcome()),
        ("reason", some_text()),
        ("tries", list_of(named("FixTry"))),
        ("evidence", or_null(named("Evidence"))),
        ("commit", some_text()),
        ("reverted", flag()),
        ("created_at", some_time()),
    ]
}

fn evaluation() -> Schema {
    resource("evaluation", object(&turn_in_full()), &[])
}

fn artifact() -> Schema {
    let attributes = object(&[("name", text()), ("media_type", text()), ("href", text())]);
    resource("artifact", attributes, &[])
}

fn autofix() -> Schema {
    let turn = object(&[
        ("id", id()),
        ("step_id", text()),
        ("signal_type", or_null(words(&FailureType::ALL))),
        ("strategy", strategy()),
        ("outcome", outcome()),
        ("attempt", count()),
        ("backoff", json!({ "type": "number", "minimum": 0 })),
        ("fingerprint", some_text()),
        ("patch?", text()),
        ("created_at", some_time()),
    ]);
    let attributes =
        object(&[("run_id", id()), ("events", list_of(turn)), ("total_attempts", count())]);
    resource("autofix", attributes, &[("run", false)])
}

fn escalation() -> Schema {
    let metadata = object(&[
        ("status", or_null(words(GateStatus::ALL))),
        ("effect", or_null(words(GateEffect::ALL))),
        ("reason", some_text()),
        ("fixer", some_text()),
        ("failure_signal", signal()),
        ("decided_by", some_text()),
        ("decided_at", some_time()),
        ("notes", some_text()),
    ]);
    let escalated = object(&[
        ("id", id()),
        ("gate_type", or_null(words(GateType::ALL))),
        ("step_id", text()),
        ("metadata", metadata),
        ("proposed_patch?", text()),
        ("created_at", some_time()),
    ]);
    let attributes = object(&[
        ("run_id", id()),
        ("escalations", list_of(escalated)),
        ("has_pending_approvals", flag()),
    ]);
    resource("escalation", attributes, &[("run", false)])
}

fn plan_delta() -> Schema {
    let delta = object(&[
        ("id", id()),
        ("original_plan_id", text()),
        ("new_plan_id", text()),
        ("delta_data", object(&[("ops", list_of(named("PlanOp")))])),
        ("triggered_by", text()),
        ("created_at", some_time()),
    ]);
    let attributes =
        object(&[("run_id", id()), ("deltas", list_of(delta)), ("total_deltas", count())]);
    resource("plan_delta", attributes, &[("run", false)])
}

/// Why a step is as it is.
fn explanation() -> Schema {
    let attributes = object(&[
        ("run_id", id()),
        ("step_id", text()),
        ("planned_because", text()),
        ("status", or_null(words(StepStatus::ALL))),
        ("reason", some_text()),
        ("flaky", flag()),
        ("marked_by", some_text()),
        ("exit", or_null(named("Exit"))),
        ("failure_signal", signal()),
        ("attempts", list_of(object(&turn_in_full()))),
        ("tries", list_of(named("FixTry"))),
        ("verifications", list_of(named("Evidence"))),
        ("approvals", list_of(named("Approval"))),
    ]);
    resource("explanation", attributes, &[("run", false)])
}

fn verification() -> Schema {
    let attributes = object(&[
        ("run_id", id()),
        ("events", count()),
        ("verified", flag()),
        ("problems", list_of(text())),
    ]);
    resource("run-verification", attributes, &[])
}

fn evidence() -> Schema {
    let tests = object(&[
        ("tool", text()),
        ("executed", count()),
        ("failed", count()),
        ("skipped", count()),
    ]);
    let check = object(&[
        ("step", text()),
        ("exit", or_null(named("Exit"))),
        ("duration_ms", count()),
        ("executions", count()),
        ("before", list_of(tests.clone())),
        ("after", list_of(tests)),
        ("newly_skipped", list_of(text())),
    ]);
    object(&[
        ("fixer", some_text()),
        ("patch_sha256", text()),
        ("base_commit", text()),
        ("passed", flag()),
        ("detail", some_text()),
        ("checks", list_of(check)),
        ("check_files", list_of(text())),
        ("restored", list_of(text())),
    ])
}

fn fix_try() -> Schema {
    object(&[
        ("fixer", text()),
        ("title", some_text()),
        ("verdict", or_null(words(TryVerdict::ALL))),
        ("detail", some_text()),
        ("patch_sha256", some_text()),
        ("files", count()),
        ("added", count()),
        ("removed", count()),
    ])
}
