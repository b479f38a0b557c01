//! The three histories of a run: auto-fix, escalation, plan deltas.

use super::{at, patch, plan, signal, text, word};
use crate::document::Resource;
use meta_domain::autofix::{Outcome, Strategy};
use meta_domain::failure::FailureType;
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_proto::orchestrator::{Attempt, Gate, PlanDelta, Run};
use serde_json::{Value, json};

/// The strategy of an attempt.
pub(crate) fn strategy(a: &Attempt) -> Value {
    word::<Strategy>(a.strategy)
}

/// The outcome of an attempt.
pub(crate) fn outcome(a: &Attempt) -> Value {
    word::<Outcome>(a.outcome)
}

/// The turns of the loop, newest first.
pub(crate) fn history(run: &Run) -> Resource {
    let attributes = json!({
        "run_id": run.id,
        "events": run.attempts.iter().rev().map(turn).collect::<Vec<_>>(),
        "total_attempts": run.attempts.len(),
    });
    Resource::new("autofix", &run.id, attributes).one("run", "run", &run.id)
}

/// One turn; `backoff` is in seconds.
fn turn(a: &Attempt) -> Value {
    let signal = a.signal.as_ref();
    let mut turn = json!({
        "id": a.id,
        "step_id": a.step,
        "signal_type": signal.map_or(Value::Null, |s| word::<FailureType>(s.r#type)),
        "strategy": strategy(a),
        "outcome": outcome(a),
        "attempt": a.number,
        "backoff": std::time::Duration::from_millis(a.backoff_ms).as_secs_f64(),
        "fingerprint": signal.map(|s| s.fingerprint.as_str()),
        "created_at": at(a.created_at.as_ref()),
    });
    if !a.patch.is_empty() {
        turn["patch"] = patch(&a.patch);
    }
    turn
}

/// The run's gates, newest first.
pub(crate) fn escalation(run: &Run) -> Resource {
    let attributes = json!({
        "run_id": run.id,
        "escalations": run.gates.iter().rev().map(escalated).collect::<Vec<_>>(),
        "has_pending_approvals": run.gates.iter().any(super::run::is_pending),
    });
    Resource::new("escalation", &run.id, attributes).one("run", "run", &run.id)
}

fn escalated(gate: &Gate) -> Value {
    let mut escalated = json!({
        "id": gate.id,
        "gate_type": word::<GateType>(gate.r#type),
        "step_id": gate.step,
        "metadata": {
            "status": word::<GateStatus>(gate.status),
            "effect": word::<GateEffect>(gate.effect),
            "reason": text(&gate.reason),
            "fixer": text(&gate.fixer),
            "failure_signal": signal::signal(gate.signal.as_ref()),
            "decided_by": text(&gate.decided_by),
            "decided_at": at(gate.decided_at.as_ref()),
            "notes": text(&gate.notes),
        },
        "created_at": at(gate.created_at.as_ref()),
    });
    if !gate.proposed_patch.is_empty() {
        escalated["proposed_patch"] = patch(&gate.proposed_patch);
    }
    escalated
}

/// The run's changes of plan, newest first.
pub(crate) fn plan_delta(run: &Run) -> Resource {
    let attributes = json!({
        "run_id": run.id,
        "deltas": run.deltas.iter().rev().map(delta).collect::<Vec<_>>(),
        "total_deltas": run.deltas.len(),
    });
    Resource::new("plan_delta", &run.id, attributes).one("run", "run", &run.id)
}

fn delta(d: &PlanDelta) -> Value {
    json!({
        "id": d.id,
        "original_plan_id": d.original_plan_id,
        "new_plan_id": d.new_plan_id,
        "delta_data": { "ops": d.ops.iter().map(plan::op).collect::<Vec<_>>() },
        "triggered_by": d.triggered_by,
        "created_at": at(d.created_at.as_ref()),
    })
}
