//! Runs and what hangs on them.

use super::{at, patch, plan, signal, text, word};
use crate::document::{BASE, Resource};
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::status::{RunStatus, StepStatus};
use meta_proto::orchestrator::{Attempt, Gate, Run, RunEvent, RunStep};
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
        "fixer": text(&gate.fixer),
        "failure_signal": signal::signal(gate.signal.as_ref()),
        "decided_by": text(&gate.decided_by),
        "decided_at": at(gate.decided_at.as_ref()),
        "notes": text(&gate.notes),
        "created_at": at(gate.created_at.as_ref()),
    });
    Resource::new("approval", &gate.id, attributes).one("run", "run", &gate.run_id)
}

fn diff(a: &Attempt) -> Resource {
    let attributes = json!({
        "step_id": a.step,
        "attempt": a.number,
        "outcome": super::autofix::outcome(a),
        "patch": patch(&a.patch),
        "created_at": at(a.created_at.as_ref()),
    });
    Resource::new("diff", &a.id, attributes)
}

fn evaluation(a: &Attempt) -> Resource {
    let attributes = json!({
        "step_id": a.step,
        "attempt": a.number,
        "failure_signal": signal::signal(a.signal.as_ref()),
        "strategy": super::autofix::strategy(a),
        "outcome": super::autofix::outcome(a),
        "reason": text(&a.reason),
        "created_at": at(a.created_at.as_ref()),
    });
    Resource::new("evaluation", &a.id, attributes)
}

fn artifacts(run_id: &str) -> Vec<Resource> {
    let artifact = |name: &str, media_type: &str| {
        let href = format!("{BASE}/runs/{run_id}/artifacts/{name}");
        let attributes = json!({ "name": name, "media_type": media_type, "href": href });
        Resource::new("artifact", format!("{run_id}:{name}"), attributes)
    };
    vec![artifact("patch", "text/x-diff"), artifact("log", "text/plain")]
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
