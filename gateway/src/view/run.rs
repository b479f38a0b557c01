//! Runs and what hangs on them.

use super::{at, evidence, patch, plan, signal, text, word};
use crate::document::{BASE, Resource};
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::status::{RunStatus, StepStatus};
use meta_proto::orchestrator::{Attempt, ExpiryAction, Gate, Run, RunEvent, RunStep};
use serde_json::{Value, json};

/// A run without what hangs on it.
pub(crate) fn run(run: &Run) -> Resource {
    let pending = run.gates.iter().filter(|g| is_pending(g)).count();
    let attributes = json!({
        "spec_id": run.spec_id,
        "plan_id": run.plan_id,
        "plan_version": run.plan_version,
        "status": word::<RunStatus>(run.status),
        "reason": text(&run.reason),
        "max_iterations": run.max_iterations,
        "total_attempts": run.attempts.len(),
        "pending_approvals": pending,
        "head_commit": text(&run.head_commit),
        "last_seq": run.last_seq,
        "held_by": text(&run.held_by),
        "priority": run.priority,
        "timeout_seconds": run.timeout_seconds,
        "created_by": text(&run.created_by),
        "created_at": at(run.created_at.as_ref()),
        "started_at": at(run.started_at.as_ref()),
        "finished_at": at(run.finished_at.as_ref()),
    });
    Resource::new("run", &run.id, attributes).one("spec", "spec", &run.spec_id).one(
        "plan",
        "plan",
        &run.plan_id,
    )
}

/// What hangs on a run: its relationships by name.
pub(crate) fn parts(run: &Run) -> [(&'static str, Vec<Resource>); 5] {
    [
        ("steps", run.steps.iter().map(|s| step(&run.id, s)).collect()),
        ("approvals", run.gates.iter().map(approval).collect()),
        ("diffs", run.attempts.iter().filter(|a| !a.patch.is_empty()).map(diff).collect()),
        (
            "evaluations",
            run.attempts.iter().filter(|a| a.signal.is_some()).map(evaluation).collect(),
        ),
        ("artifacts", artifacts(&run.id)),
    ]
}

/// A step in a run; it is known by its name there.
fn step(run_id: &str, s: &RunStep) -> Resource {
    let empty = meta_proto::common::PlannedStep::default();
    let planned = s.step.as_ref().unwrap_or(&empty);
    let mut attributes = plan::step(planned);
    for (name, value) in [
        ("status", word::<StepStatus>(s.status)),
        ("executions", s.executions.into()),
        ("attempts", s.attempts.into()),
        ("started_at", at(s.started_at.as_ref())),
        ("finished_at", at(s.finished_at.as_ref())),
        ("duration_ms", s.duration_ms.into()),
        ("due_at", at(s.due_at.as_ref())),
        ("failure_signal", signal::signal(s.signal.as_ref())),
        ("exit", signal::exit(s.exit.as_ref())),
        ("flaky", s.flaky.into()),
        ("sandbox", text(&s.sandbox)),
        ("reason", text(&s.reason)),
        ("tries", evidence::tries(&s.tries)),
        ("verifications", s.verifications.iter().map(evidence::evidence).collect()),
        ("marked_by", text(&s.marked_by)),
    ] {
        attributes[name] = value;
    }
    Resource::new("step", format!("{run_id}:{}", planned.name), attributes)
}

/// Whether a gate waits for a human.
pub(crate) fn is_pending(gate: &Gate) -> bool {
    gate.status == i32::from(meta_proto::common::GateStatus::Pending)
}

/// A gate.
pub(crate) fn approval(gate: &Gate) -> Resource {
    let attributes = json!({
        "run_id": gate.run_id,
        "step_id": gate.step,
        "gate_type": word::<GateType>(gate.r#type),
        "status": word::<GateStatus>(gate.status),
        "effect": word::<GateEffect>(gate.effect),
        "reason": text(&gate.reason),
        "proposed_patch": patch(&gate.proposed_patch),
        "patch_sha256": text(&gate.patch_sha256),
        "plan_id": text(&gate.plan_id),
        "plan_version": gate.plan_version,
        "base_commit": text(&gate.base_commit),
        "files": gate.files,
        "added": gate.added,
        "removed": gate.removed,
        "risk": gate.risk,
        "guard_reasons": gate.guard_reasons,
        "evidence": evidence::some(gate.evidence.as_ref()),
        "fixer": text(&gate.fixer),
        "failure_signal": signal::signal(gate.signal.as_ref()),
        "four_eyes": gate.four_eyes,
        "expires_at": at(gate.expires_at.as_ref()),
        "on_expiry": on_expiry(gate),
        "decided_by": text(&gate.decided_by),
        "decided_at": at(gate.decided_at.as_ref()),
        "notes": text(&gate.notes),
        "created_at": at(gate.created_at.as_ref()),
    });
    Resource::new("approval", &gate.id, attributes).one("run", "run", &gate.run_id)
}

/// What happens when nobody decides in time; null when the gate waits for ever.
fn on_expiry(gate: &Gate) -> Value {
    match gate.on_expiry() {
        ExpiryAction::Unspecified => Value::Null,
        ExpiryAction::Fail => "fail".into(),
        ExpiryAction::Cancel => "cancel".into(),
    }
}

fn diff(a: &Attempt) -> Resource {
    let attributes = json!({
        "step_id": a.step,
        "attempt": a.number,
        "outcome": super::autofix::outcome(a),
        "patch": patch(&a.patch),
        "commit": text(&a.commit),
        "reverted": a.reverted,
        "created_at": at(a.created_at.as_ref()),
    });
    Resource::new("diff", &a.id, attributes)
}

fn evaluation(a: &Attempt) -> Resource {
    Resource::new("evaluation", &a.id, turn_in_full(a))
}

fn turn_in_full(a: &Attempt) -> Value {
    json!({
        "step_id": a.step,
        "attempt": a.number,
        "failure_signal": signal::signal(a.signal.as_ref()),
        "strategy": super::autofix::strategy(a),
        "outcome": super::autofix::outcome(a),
        "reason": text(&a.reason),
        "tries": evidence::tries(&a.tries),
        "evidence": evidence::some(a.evidence.as_ref()),
        "commit": text(&a.commit),
        "reverted": a.reverted,
        "created_at": at(a.created_at.as_ref()),
    })
}

/// Why a step is as it is.
pub(crate) fn explanation(run: &Run, name: &str, s: &RunStep) -> Value {
    let turns = run.attempts.iter().filter(|a| a.step == name).map(turn_in_full);
    let gates = run.gates.iter().filter(|g| g.step == name).map(|g| approval(g).json());
    json!({
        "run_id": run.id,
        "step_id": name,
        "planned_because": s.step.as_ref().map_or("", |p| p.why.as_str()),
        "status": word::<StepStatus>(s.status),
        "reason": text(&s.reason),
        "flaky": s.flaky,
        "marked_by": text(&s.marked_by),
        "exit": signal::exit(s.exit.as_ref()),
        "failure_signal": signal::signal(s.signal.as_ref()),
        "attempts": turns.collect::<Vec<_>>(),
        "tries": evidence::tries(&s.tries),
        "verifications": s.verifications.iter().map(evidence::evidence).collect::<Vec<_>>(),
        "approvals": gates.collect::<Vec<_>>(),
    })
}

fn artifacts(run_id: &str) -> Vec<Resource> {
    let artifact = |name: &str, media_type: &str| {
        let href = format!("{BASE}/runs/{run_id}/artifacts/{name}");
        let attributes = json!({ "name": name, "media_type": media_type, "href": href });
        Resource::new("artifact", format!("{run_id}:{name}"), attributes)
    };
    vec![
        artifact("workspace", "application/gzip"),
        artifact("patch", "text/x-diff"),
        artifact("log", "text/plain"),
    ]
}

/// An entry of the event log.
pub(crate) fn event(event: &RunEvent) -> Value {
    json!({
        "seq": event.seq,
        "type": event.r#type,
        "step": text(&event.step),
        "at": at(event.at.as_ref()),
        "data": super::json(&event.data_json),
    })
}
