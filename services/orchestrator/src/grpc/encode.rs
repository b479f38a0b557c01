//! Runs and what belongs to them, for the wire.

use crate::core::evidence::{Check, Evidence, TestCount};
use crate::core::run::{Attempt, Delta, ExpiryAction, Gate, Run, State, Step};
use crate::store::{FlakyRow, PlanRow, SpecRow, StoredEvent};
use meta_domain::plan::{PlanGraph, PlannedStep};
use meta_domain::secrecy;
use meta_domain::source::Source;
use meta_proto::convert::{Number, list, timestamp};
use meta_proto::orchestrator as pb;

/// A run.
pub fn run(run: &Run) -> pb::Run {
    pb::Run {
        id: run.id.to_string(),
        spec_id: run.spec.to_string(),
        plan_id: run.plan.to_string(),
        plan_version: run.plan_version,
        status: run.status.number(),
        reason: run.reason.clone(),
        steps: run.steps.iter().map(|s| step(run, s)).collect(),
        attempts: run.attempts.iter().map(attempt).collect(),
        gates: run.gates.iter().map(|g| gate(run, g)).collect(),
        deltas: run.deltas.iter().map(delta).collect(),
        max_iterations: run.max_iterations,
        head_commit: run.head.clone(),
        created_by: run.created_by.clone(),
        created_at: Some(timestamp(run.created_at)),
        started_at: run.started_at.map(timestamp),
        finished_at: run.finished_at.map(timestamp),
        last_seq: run.seq,
        held_by: run.held_by.clone(),
        priority: run.priority,
        timeout_seconds: run.timeout_ms / 1000,
    }
}

fn step(run: &Run, s: &Step) -> pb::RunStep {
    let attempts = run.attempts.iter().filter(|a| a.step == s.planned.name).count();
    let due = match s.state {
        State::Queued { due } => Some(timestamp(due)),
        _ => None,
    };
    pb::RunStep {
        step: Some(shown_step(s.planned.clone())),
        status: s.status().number(),
        executions: s.executions,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        started_at: s.started_at.map(timestamp),
        finished_at: s.finished_at.map(timestamp),
        duration_ms: s.duration_ms,
        signal: s.signal.clone().map(Into::into),
        exit: s.exit.map(Into::into),
        flaky: s.flaky,
        sandbox: s.sandbox.clone(),
        due_at: due,
        reason: s.reason.clone(),
        verifications: s.verifications.iter().map(evidence).collect(),
        tries: list(s.tries.clone()),
        marked_by: s.marked_by.clone(),
    }
}

fn attempt(a: &Attempt) -> pb::Attempt {
    pb::Attempt {
        id: a.id.to_string(),
        step: a.step.clone(),
        number: a.number,
        signal: Some(a.signal.clone().into()),
        strategy: a.strategy.number(),
        outcome: a.outcome.number(),
        backoff_ms: a.backoff_ms,
        reason: a.reason.clone(),
        tries: list(a.tries.clone()),
        patch: a.patch.clone().unwrap_or_default().into_bytes(),
        rollback_to_step: a.rollback_to_step.clone(),
        created_at: Some(timestamp(a.created_at)),
        evidence: a.evidence.as_ref().map(evidence),
        commit: a.commit.clone(),
        reverted: a.reverted,
    }
}

fn evidence(e: &Evidence) -> pb::Evidence {
    pb::Evidence {
        fixer: e.fixer.clone(),
        patch_sha256: e.patch_sha256.clone(),
        base_commit: e.base.clone(),
        passed: e.passed,
        detail: e.detail.clone(),
        checks: e.checks.iter().map(check).collect(),
        check_files: e.check_files.clone(),
        restored: e.restored.clone(),
    }
}

fn check(c: &Check) -> pb::Check {
    let counts = |counts: &[TestCount]| {
        let count = |c: &TestCount| pb::TestCount {
            tool: c.tool.clone(),
            executed: c.executed,
            failed: c.failed,
            skipped: c.skipped,
        };
        counts.iter().map(count).collect()
    };
    pb::Check {
        step: c.step.clone(),
        exit: Some(c.exit.into()),
        duration_ms: c.duration_ms,
        before: counts(&c.before),
        after: counts(&c.after),
        newly_skipped: c.newly_skipped.clone(),
        executions: c.executions,
    }
}

/// A flaky step.
pub fn flaky(row: FlakyRow) -> pb::FlakyStep {
    pb::FlakyStep {
        step: row.step,
        source: row.source,
        fingerprint: row.fingerprint,
        failure_type: row.failure_type.number(),
        message: row.message,
        times: row.times,
        first_seen: Some(timestamp(row.first_at)),
        last_seen: Some(timestamp(row.last_at)),
        run_id: row.run.to_string(),
    }
}

/// A gate of a run.
pub fn gate(run: &Run, g: &Gate) -> pb::Gate {
    let (fixer, patch) = match &g.proposal {
        Some((fixer, patch)) => (fixer.title.clone(), Some(patch)),
        None => (String::new(), None),
    };
    let expires_at = g.expires_at.map(timestamp);
    let on_expiry = match run.gate_policy.on_expiry {
        _ if expires_at.is_none() => pb::ExpiryAction::Unspecified,
        ExpiryAction::Fail => pb::ExpiryAction::Fail,
        ExpiryAction::Cancel => pb::ExpiryAction::Cancel,
    };
    pb::Gate {
        id: g.id.to_string(),
        run_id: run.id.to_string(),
        step: g.step.clone(),
        r#type: g.gate_type.number(),
        status: g.status.number(),
        effect: g.effect.number(),
        reason: g.reason.clone(),
        proposed_patch: patch.map(|p| p.text.clone().into_bytes()).unwrap_or_default(),
        fixer,
        decided_by: g.decided_by.clone(),
        notes: g.notes.clone(),
        created_at: Some(timestamp(g.created_at)),
        decided_at: g.decided_at.map(timestamp),
        signal: g.signal.clone().map(Into::into),
        plan_id: g.plan.map(|p| p.to_string()).unwrap_or_default(),
        plan_version: g.plan_version,
        patch_sha256: patch.map(|p| p.sha256.clone()).unwrap_or_default(),
        base_commit: g.base.clone(),
        evidence: g.evidence.as_ref().map(evidence),
        guard_reasons: g.guard_reasons.clone(),
        risk: g.risk,
        expires_at,
        on_expiry: on_expiry.into(),
        four_eyes: run.gate_policy.four_eyes,
        files: patch.map_or(0, |p| p.files),
        added: patch.map_or(0, |p| p.added),
        removed: patch.map_or(0, |p| p.removed),
    }
}

fn delta(d: &Delta) -> pb::PlanDelta {
    pb::PlanDelta {
        id: d.id.to_string(),
        original_plan_id: d.original_plan.to_string(),
        new_plan_id: d.new_plan.to_string(),
        ops: list(d.ops.clone()),
        triggered_by: d.triggered_by.clone(),
        created_at: Some(timestamp(d.created_at)),
    }
}

/// A step as a viewer may see it: the log and the plan are not the place of secrets.
fn shown_step(mut step: PlannedStep) -> meta_proto::common::PlannedStep {
    step.env = secrecy::shown_env(&step.env);
    step.into()
}

/// A plan's content as a viewer may see it.
fn shown_graph(mut graph: PlanGraph) -> meta_proto::common::PlanGraph {
    for step in &mut graph.steps {
        step.env = secrecy::shown_env(&step.env);
    }
    graph.into()
}

/// A source as a viewer may see it.
fn shown_source(source: Source) -> meta_proto::common::Source {
    match source {
        Source::Git { url, reference } => {
            Source::Git { url: secrecy::shown_address(&url), reference }.into()
        }
        other => other.into(),
    }
}

/// The body of an event as a viewer may see it.
fn shown_body(body: String) -> String {
    if !body.contains("\"env\"") && !body.contains("\"url\"") {
        return body;
    }
    match serde_json::from_str(&body) {
        Ok(mut value) => {
            secrecy::shown_json(&mut value);
            value.to_string()
        }
        Err(error) => {
            tracing::error!(%error, "an event's body is not JSON");
            "{}".to_owned()
        }
    }
}

/// An entry of the event log.
pub fn event(e: StoredEvent) -> pb::RunEvent {
    pb::RunEvent {
        seq: e.seq,
        r#type: e.event_type,
        step: e.step,
        at: Some(timestamp(e.at)),
        data_json: shown_body(e.body),
    }
}

/// A spec.
pub fn spec(s: SpecRow) -> pb::Spec {
    pb::Spec {
        id: s.id.to_string(),
        title: s.title,
        description: s.description,
        mode: s.mode,
        source: s.source.map(shown_source),
        steps: s.steps.into_iter().map(shown_step).collect(),
        guided_input_json: s.guided_input_json,
        attachments_json: s.attachments_json,
        created_by: s.created_by,
        created_at: Some(timestamp(s.created_at)),
    }
}

/// A plan.
pub fn plan(p: PlanRow) -> pb::Plan {
    pb::Plan {
        id: p.id.to_string(),
        spec_id: p.spec.to_string(),
        version: p.version,
        risk_score: p.graph.risk_score(),
        graph: Some(shown_graph(p.graph)),
        created_at: Some(timestamp(p.created_at)),
    }
}
