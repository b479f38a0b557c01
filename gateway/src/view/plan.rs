//! Plans and their steps.

use super::{at, word};
use crate::document::Resource;
use meta_domain::plan::{ApprovalMode, PlanOpKind};
use meta_proto::common::{PlanGraph, PlanOp, PlannedStep, command};
use meta_proto::orchestrator::Plan;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The services that make plans today.
const AGENTS: [&str; 1] = ["planner"];

/// A plan version. `diff_preview` is null: before a run nobody knows what will be changed.
pub(crate) fn plan(plan: &Plan) -> Resource {
    let empty = PlanGraph::default();
    let graph = plan.graph.as_ref().unwrap_or(&empty);
    let risk = graph.risk.iter().map(|r| json!({ "reason": r.reason, "points": r.points }));
    let attributes = json!({
        "spec_id": plan.spec_id,
        "version": plan.version,
        "summary": graph.summary,
        "risk_score": plan.risk_score,
        "risk": risk.collect::<Vec<_>>(),
        "agents_used": AGENTS,
        "plan_graph": nodes_and_edges(&graph.steps),
        "steps": graph.steps.iter().map(step).collect::<Vec<_>>(),
        "settings": super::settings::overrides(graph.overrides.as_ref()),
        "diff_preview": null,
        "created_at": at(plan.created_at.as_ref()),
    });
    Resource::new("plan", &plan.id, attributes).one("spec", "spec", &plan.spec_id)
}

fn nodes_and_edges(steps: &[PlannedStep]) -> Value {
    let nodes = steps.iter().map(|s| json!({ "id": s.name, "label": command(s), "why": s.why }));
    let edges =
        steps.iter().flat_map(|s| s.needs.iter().map(|need| json!({ "from": need, "to": s.name })));
    json!({ "nodes": nodes.collect::<Vec<_>>(), "edges": edges.collect::<Vec<_>>() })
}

fn command(step: &PlannedStep) -> Value {
    match step.run.as_ref().and_then(|r| r.kind.as_ref()) {
        Some(command::Kind::Shell(line)) => line.as_str().into(),
        Some(command::Kind::Argv(argv)) => argv.words.clone().into(),
        None => Value::Null,
    }
}

/// A step as planned.
pub(crate) fn step(s: &PlannedStep) -> Value {
    json!({
        "name": s.name,
        "run": command(s),
        "needs": s.needs,
        "timeout_ms": s.timeout_ms,
        "cache": s.cache,
        "fix": s.fix,
        "env": environment(&s.env),
        "network": s.network,
        "writable": s.writable,
        "approval": word::<ApprovalMode>(s.approval),
        "runs_on": s.runs_on,
        "why": s.why,
    })
}

fn environment(env: &HashMap<String, String>) -> Map<String, Value> {
    env.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect()
}

/// An operation of a re-plan.
pub(crate) fn op(op: &PlanOp) -> Value {
    json!({
        "kind": word::<PlanOpKind>(op.kind),
        "step": op.step,
        "timeout_ms": op.timeout_ms,
        "insert": op.insert.as_ref().map(step),
        "needs": op.needs,
        "env": environment(&op.env),
        "parts": op.parts.iter().map(step).collect::<Vec<_>>(),
        "why": op.why,
    })
}
