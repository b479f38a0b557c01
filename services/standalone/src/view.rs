//! A run as commands print it, whether it was read from this machine or from a server.

use crate::display::lines::{Paint, seconds};
use crate::display::table::table;
use crate::row;
use meta_domain::autofix::{Outcome, Strategy};
use meta_domain::failure::FailureType;
use meta_domain::gate::{GateStatus, GateType};
use meta_domain::status::{RunStatus, StepStatus};
use meta_proto::convert::{Number, instant, word_opt};
use meta_proto::orchestrator as pb;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Display;

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunView {
    pub id: String,
    pub spec_id: String,
    pub status: String,
    pub reason: String,
    pub plan_version: u64,
    pub total_attempts: u64,
    pub created_by: String,
    pub created_at: String,
    pub finished_at: String,
    pub steps: Vec<StepView>,
    pub attempts: Vec<AttemptView>,
    pub gates: Vec<GateView>,
}

/// A step of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StepView {
    pub name: String,
    pub status: String,
    pub executions: u64,
    pub duration_ms: u64,
    pub failure_type: String,
    pub message: String,
    pub flaky: bool,
    pub sandbox: String,
    pub reason: String,
}

/// A turn of the loop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AttemptView {
    pub step: String,
    pub number: u64,
    pub failure_type: String,
    pub strategy: String,
    pub outcome: String,
    pub reason: String,
}

/// A gate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GateView {
    pub id: String,
    pub run_id: String,
    pub step: String,
    pub gate_type: String,
    pub status: String,
    pub reason: String,
    pub decided_by: String,
    pub notes: String,
}

fn word<D: Number + Display>(number: i32) -> String {
    let known = word_opt::<D>("", number).ok().flatten();
    known.map_or_else(String::new, |w| w.to_string())
}

fn at(time: Option<&prost_types::Timestamp>) -> String {
    time.map(|t| instant(t).to_string()).unwrap_or_default()
}

impl From<&pb::Run> for RunView {
    fn from(run: &pb::Run) -> Self {
        Self {
            id: run.id.clone(),
            spec_id: run.spec_id.clone(),
            status: word::<RunStatus>(run.status),
            reason: run.reason.clone(),
            plan_version: run.plan_version.into(),
            total_attempts: run.attempts.len() as u64,
            created_by: run.created_by.clone(),
            created_at: at(run.created_at.as_ref()),
            finished_at: at(run.finished_at.as_ref()),
            steps: run.steps.iter().map(step).collect(),
            attempts: run.attempts.iter().map(attempt).collect(),
            gates: run.gates.iter().map(gate).collect(),
        }
    }
}

fn step(s: &pb::RunStep) -> StepView {
    let signal = s.signal.clone().unwrap_or_default();
    StepView {
        name: s.step.as_ref().map(|p| p.name.clone()).unwrap_or_default(),
        status: word::<StepStatus>(s.status),
        executions: s.executions.into(),
        duration_ms: s.duration_ms,
        failure_type: word::<FailureType>(signal.r#type),
        message: signal.message,
        flaky: s.flaky,
        sandbox: s.sandbox.clone(),
        reason: s.reason.clone(),
    }
}

fn attempt(a: &pb::Attempt) -> AttemptView {
    AttemptView {
        step: a.step.clone(),
        number: a.number.into(),
        failure_type: a.signal.as_ref().map(|s| word::<FailureType>(s.r#type)).unwrap_or_default(),
        strategy: word::<Strategy>(a.strategy),
        outcome: word::<Outcome>(a.outcome),
        reason: a.reason.clone(),
    }
}

fn gate(g: &pb::Gate) -> GateView {
    GateView {
        id: g.id.clone(),
        run_id: g.run_id.clone(),
        step: g.step.clone(),
        gate_type: word::<GateType>(g.r#type),
        status: word::<GateStatus>(g.status),
        reason: g.reason.clone(),
        decided_by: g.decided_by.clone(),
        notes: g.notes.clone(),
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

impl RunView {
    /// A run from a resource of the REST API and what came with it.
    pub fn from_resource(resource: &Value, included: &[Value]) -> Self {
        let a = &resource["attributes"];
        let of = |kind: &str| {
            let fits = included.iter().filter(move |r| r["type"] == kind);
            fits.map(|r| (&r["id"], &r["attributes"])).collect::<Vec<_>>()
        };
        Self {
            id: text(resource, "id"),
            spec_id: text(a, "spec_id"),
            status: text(a, "status"),
            reason: text(a, "reason"),
            plan_version: number(a, "plan_version"),
            total_attempts: number(a, "total_attempts"),
            created_by: text(a, "created_by"),
            created_at: text(a, "created_at"),
            finished_at: text(a, "finished_at"),
            steps: of("step").into_iter().map(|(_, s)| step_of(s)).collect(),
            attempts: of("evaluation").into_iter().map(|(_, e)| attempt_of(e)).collect(),
            gates: of("approval").into_iter().map(|(id, g)| gate_of(id, g)).collect(),
        }
    }

    /// One row of a list.
    fn row(&self) -> Vec<String> {
        let healed = self.attempts.iter().filter(|a| a.outcome == "patch_applied").count();
        let waits = self.gates.iter().filter(|g| g.status == "pending").count();
        row![self.id, self.status, self.total_attempts, healed, waits, self.created_at, self.reason]
    }

    /// The run for people.
    pub fn text(&self, paint: Paint) -> String {
        let mut lines = vec![
            format!("run {}   {}", paint.strong(&self.id), self.status),
            format!("    started by {} at {}", self.created_by, self.created_at),
        ];
        if !self.finished_at.is_empty() {
            lines.push(format!("    ended at {}", self.finished_at));
        }
        if !self.reason.is_empty() {
            lines.push(format!("    {}", self.reason));
        }
        let mut rows = vec![row!["STEP", "STATUS", "RUNS", "TIME", "FAILED OF", "NOTE"]];
        rows.extend(self.steps.iter().map(|s| {
            let note = if s.flaky { "flaky" } else { &s.reason };
            row![s.name, s.status, s.executions, seconds(s.duration_ms), s.failure_type, note]
        }));
        lines.extend([String::new(), table(&rows)]);
        if !self.attempts.is_empty() {
            let mut rows = vec![row!["STEP", "TURN", "FAILURE", "STRATEGY", "OUTCOME", "WHY"]];
            rows.extend(
                self.attempts.iter().map(|a| {
                    row![a.step, a.number, a.failure_type, a.strategy, a.outcome, a.reason]
                }),
            );
            lines.extend([String::new(), table(&rows)]);
        }
        if !self.gates.is_empty() {
            let mut rows = vec![row!["GATE", "STEP", "ASKS", "STATUS", "WHY"]];
            rows.extend(
                self.gates.iter().map(|g| row![g.id, g.step, g.gate_type, g.status, g.reason]),
            );
            lines.extend([String::new(), table(&rows)]);
        }
        lines.join("\n")
    }
}

fn step_of(s: &Value) -> StepView {
    let signal = &s["failure_signal"];
    StepView {
        name: text(s, "name"),
        status: text(s, "status"),
        executions: number(s, "executions"),
        duration_ms: number(s, "duration_ms"),
        failure_type: text(signal, "type"),
        message: text(signal, "message"),
        flaky: s["flaky"].as_bool().unwrap_or(false),
        sandbox: text(s, "sandbox"),
        reason: text(s, "reason"),
    }
}

fn attempt_of(e: &Value) -> AttemptView {
    AttemptView {
        step: text(e, "step_id"),
        number: number(e, "attempt"),
        failure_type: text(&e["failure_signal"], "type"),
        strategy: text(e, "strategy"),
        outcome: text(e, "outcome"),
        reason: text(e, "reason"),
    }
}

/// A gate from a resource of the REST API.
pub fn gate_of(id: &Value, g: &Value) -> GateView {
    GateView {
        id: id.as_str().unwrap_or_default().to_owned(),
        run_id: text(g, "run_id"),
        step: text(g, "step_id"),
        gate_type: text(g, "gate_type"),
        status: text(g, "status"),
        reason: text(g, "reason"),
        decided_by: text(g, "decided_by"),
        notes: text(g, "notes"),
    }
}

/// Runs for people.
pub fn list(runs: &[RunView]) -> String {
    if runs.is_empty() {
        return "no runs".to_owned();
    }
    let mut rows = vec![row!["RUN", "STATUS", "TURNS", "HEALED", "WAITS", "CREATED", "REASON"]];
    rows.extend(runs.iter().map(RunView::row));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_of_a_server_reads_like_one_of_this_machine() {
        let local = RunView::from(&pb::Run {
            id: "r".to_owned(),
            status: pb::RunStatus::Failed.into(),
            reason: "a".to_owned(),
            steps: vec![pb::RunStep {
                status: pb::StepStatus::Failed.into(),
                executions: 2,
                duration_ms: 5,
                step: Some(meta_proto::common::PlannedStep {
                    name: "fmt".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..Default::default()
        });
        let resource = json!({
            "type": "run", "id": "r", "attributes": { "status": "failed", "reason": "a" },
        });
        let included = [json!({
            "type": "step", "id": "r:fmt",
            "attributes": { "name": "fmt", "status": "failed", "executions": 2, "duration_ms": 5,
                            "failure_signal": null },
        })];
        assert_eq!(RunView::from_resource(&resource, &included), local);
        assert!(local.text(Paint::plain()).contains("fmt   failed  2     0.0s"));
    }
}
