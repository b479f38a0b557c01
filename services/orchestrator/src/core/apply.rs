//! What an event does to a run. Total: it cannot fail, and replay uses it too.

use super::event::RunEvent;
use super::run::{Attempt, Gate, Healing, LogRef, Phase, Run, State, Step};
use meta_domain::gate::GateStatus;
use meta_domain::status::RunStatus;
use meta_domain::time::Timestamp;

/// Applies one event that happened at `at`.
pub fn apply(run: &mut Run, event: &RunEvent, at: Timestamp) {
    match event {
        RunEvent::Created { run: first } => *run = (**first).clone(),
        RunEvent::Started => {
            run.status = RunStatus::Running;
            run.started_at = Some(at);
        }
        RunEvent::Prepared { commit, .. } => {
            run.base.clone_from(commit);
            run.head.clone_from(commit);
        }
        RunEvent::StepQueued { .. }
        | RunEvent::StepStarted { .. }
        | RunEvent::StepSucceeded { .. }
        | RunEvent::StepAttemptFailed { .. }
        | RunEvent::StepAccepted { .. }
        | RunEvent::StepFailed { .. } => apply_step(run, event, at),
        RunEvent::Classified { step, signal } => {
            run.failure_types.push(signal.failure_type);
            change(run, step, |s| s.signal = Some(signal.clone()));
        }
        RunEvent::FixStarted { .. }
        | RunEvent::Proposed { .. }
        | RunEvent::Reviewed { .. }
        | RunEvent::VerificationStarted { .. }
        | RunEvent::Verified { .. }
        | RunEvent::Tried { .. }
        | RunEvent::CommitStarted { .. } => apply_healing(run, event),
        RunEvent::Retry { .. }
        | RunEvent::PatchApplied { .. }
        | RunEvent::Replanned { .. }
        | RunEvent::Escalated { .. }
        | RunEvent::GaveUp { .. }
        | RunEvent::RollbackStarted { .. }
        | RunEvent::RollbackFailed { .. }
        | RunEvent::RolledBack { .. } => apply_outcome(run, event, at),
        RunEvent::ApprovalRequested { gate } => open(run, gate),
        RunEvent::ApprovalGranted { gate, step, actor, notes } => {
            decide(run, *gate, GateStatus::Approved, actor, notes, at);
            change(run, step, |s| {
                s.state = State::Pending;
                s.let_start = true;
            });
        }
        RunEvent::ApprovalRejected { gate, actor, notes, .. } => {
            decide(run, *gate, GateStatus::Rejected, actor, notes, at);
        }
        RunEvent::Paused => run.status = RunStatus::PausedAwaitingApproval,
        RunEvent::Resumed => run.status = RunStatus::Running,
        RunEvent::Succeeded => end(run, RunStatus::Succeeded, "", at),
        RunEvent::Failed { reason } => {
            end(run, RunStatus::Failed, reason, at);
            for step in run.steps.iter_mut().filter(|s| is_open(s)) {
                step.state = State::Skipped;
                "not reached".clone_into(&mut step.reason);
            }
        }
        RunEvent::Canceled { actor } => {
            end(run, RunStatus::Canceled, &format!("canceled by {actor}"), at);
            for step in run.steps.iter_mut().filter(|s| is_open(s)) {
                step.state = State::Canceled;
                step.finished_at = Some(at);
            }
        }
        RunEvent::RunRetry { .. } => {
            run.status = RunStatus::Running;
            run.reason.clear();
            run.finished_at = None;
            run.budget_from = run.attempts.len();
            for step in &mut run.steps {
                if matches!(step.state, State::Failed | State::Skipped | State::Canceled) {
                    step.state = State::Pending;
                    step.finished_at = None;
                    step.reason.clear();
                    step.tries.clear();
                }
            }
        }
    }
    run.seq += 1;
}

/// A turn of the loop came to its outcome.
fn apply_outcome(run: &mut Run, event: &RunEvent, at: Timestamp) {
    match event {
        RunEvent::Retry { attempt, due } => {
            record(run, attempt);
            change(run, &attempt.step, |s| s.state = State::Queued { due: *due });
        }
        RunEvent::PatchApplied { attempt, commit } => {
            run.head.clone_from(commit);
            record(run, attempt);
            change(run, &attempt.step, |s| s.state = State::Pending);
        }
        RunEvent::Replanned { attempt, delta, graph, version } => {
            record(run, attempt);
            run.plan = delta.new_plan;
            run.plan_version = *version;
            run.deltas.push(delta.clone());
            change(run, &attempt.step, |s| s.state = State::Pending);
            run.graph = graph.clone();
            run.steps = graph.steps.iter().map(|planned| carried(run, planned)).collect();
        }
        RunEvent::Escalated { attempt, gate } => {
            record(run, attempt);
            open(run, gate);
        }
        RunEvent::GaveUp { attempt } => {
            record(run, attempt);
            change(run, &attempt.step, |s| fail(s, &attempt.reason, at));
        }
        RunEvent::RollbackStarted { step, reason } => {
            run.rolling_back = step.is_empty();
            change(run, step, |s| s.state = State::RollingBack { reason: reason.clone() });
        }
        RunEvent::RollbackFailed { .. } => run.rolling_back = false,
        RunEvent::RolledBack { attempt, commit } => {
            run.head.clone_from(commit);
            match attempt {
                Some(attempt) => {
                    record(run, attempt);
                    change(run, &attempt.step, |s| s.state = State::Pending);
                }
                None => rolled_back(run),
            }
        }
        _ => {}
    }
}

/// The tree is another one: what passed on the old one has to pass again before the run does.
fn rolled_back(run: &mut Run) {
    run.rolling_back = false;
    if run.status == RunStatus::Succeeded {
        return;
    }
    for step in run.steps.iter_mut().filter(|s| s.state == State::Succeeded) {
        step.state = State::Pending;
        step.finished_at = None;
    }
}

fn apply_step(run: &mut Run, event: &RunEvent, at: Timestamp) {
    let head = run.head.clone();
    if let RunEvent::StepSucceeded { commit, .. } = event
        && !commit.is_empty()
    {
        run.head.clone_from(commit);
    }
    change(run, event.step(), |s| match event {
        RunEvent::StepQueued { due, .. } => s.state = State::Queued { due: *due },
        RunEvent::StepStarted { execution, log, .. } => {
            s.state = State::Executing;
            s.executions = *execution;
            s.started_at.get_or_insert(at);
            let log = LogRef { execution: *execution, name: log.clone(), verification: false };
            s.logs.push(log);
        }
        RunEvent::StepSucceeded { execution, flaky, .. } => {
            s.state = State::Succeeded;
            s.duration_ms = execution.duration_ms;
            s.exit = Some(execution.exit);
            s.sandbox.clone_from(&execution.sandbox);
            s.flaky = *flaky;
            s.finished_at = Some(at);
            s.reason.clear();
        }
        RunEvent::StepAttemptFailed { execution, .. } => {
            s.state = State::Judging;
            s.duration_ms = execution.duration_ms;
            s.exit = Some(execution.exit);
            s.sandbox.clone_from(&execution.sandbox);
            s.failed_at_commit.clone_from(&head);
            s.signal = None;
            s.tries.clear();
        }
        RunEvent::StepAccepted { actor, .. } => {
            s.state = State::Succeeded;
            s.finished_at = Some(at);
            s.reason = format!("accepted by {actor}");
        }
        RunEvent::StepFailed { reason, .. } => fail(s, reason, at),
        _ => {}
    });
}

fn apply_healing(run: &mut Run, event: &RunEvent) {
    change(run, event.step(), |s| match event {
        RunEvent::FixStarted { fixers, reason, .. } => {
            s.state = State::Healing(Box::new(Healing {
                fixers: fixers.clone(),
                next: 0,
                reason: reason.clone(),
                phase: Phase::Proposing,
                patch: None,
                approval: None,
                approved_by: None,
            }));
        }
        RunEvent::CommitStarted { approved_by, fixer, patch, .. } => {
            s.state = State::Healing(Box::new(Healing {
                fixers: vec![fixer.clone()],
                next: 0,
                reason: String::new(),
                phase: Phase::Committing,
                patch: Some(patch.clone()),
                approval: None,
                approved_by: Some(approved_by.clone()),
            }));
        }
        RunEvent::Tried { result, .. } => {
            s.tries.push(result.clone());
            let exhausted = heal(s, |h| {
                h.next += 1;
                h.phase = Phase::Proposing;
                h.patch = None;
                h.approval = None;
                h.next >= h.fixers.len()
            });
            if exhausted.unwrap_or(true) {
                s.state = State::Judging;
            }
        }
        RunEvent::Proposed { patch, .. } => {
            heal(s, |h| {
                h.patch = Some(patch.clone());
                h.phase = Phase::Reviewing;
            });
        }
        RunEvent::Reviewed { approval, patch, .. } => {
            heal(s, |h| {
                h.patch = Some(patch.clone());
                h.approval.clone_from(approval);
                h.phase = Phase::Verifying;
            });
        }
        RunEvent::VerificationStarted { log, .. } => {
            let log = LogRef { execution: s.executions, name: log.clone(), verification: true };
            s.logs.push(log);
        }
        RunEvent::Verified { .. } => {
            heal(s, |h| h.phase = Phase::Committing);
        }
        _ => {}
    });
}

fn heal<T>(step: &mut Step, with: impl FnOnce(&mut Healing) -> T) -> Option<T> {
    match &mut step.state {
        State::Healing(healing) => Some(with(healing)),
        _ => None,
    }
}

fn change(run: &mut Run, step: &str, with: impl FnOnce(&mut Step)) {
    if let Some(step) = run.step_mut(step) {
        with(step);
    }
}

fn fail(step: &mut Step, reason: &str, at: Timestamp) {
    step.state = State::Failed;
    step.finished_at = Some(at);
    reason.clone_into(&mut step.reason);
}

fn record(run: &mut Run, attempt: &Attempt) {
    run.attempts.push(attempt.clone());
}

fn open(run: &mut Run, gate: &Gate) {
    run.gates.push(gate.clone());
    change(run, &gate.step, |s| s.state = State::Gated { gate: gate.id });
}

fn decide(
    run: &mut Run,
    id: meta_domain::id::GateId,
    status: GateStatus,
    actor: &str,
    notes: &str,
    at: Timestamp,
) {
    if let Some(gate) = run.gates.iter_mut().find(|g| g.id == id) {
        gate.status = status;
        actor.clone_into(&mut gate.decided_by);
        notes.clone_into(&mut gate.notes);
        gate.decided_at = Some(at);
    }
}

fn end(run: &mut Run, status: RunStatus, reason: &str, at: Timestamp) {
    run.status = status;
    reason.clone_into(&mut run.reason);
    run.finished_at = Some(at);
    for gate in run.gates.iter_mut().filter(|g| g.status == GateStatus::Pending) {
        gate.status = GateStatus::Expired;
        gate.decided_at = Some(at);
    }
}

fn is_open(step: &Step) -> bool {
    step.is_active() || matches!(step.state, State::Pending | State::Gated { .. })
}

/// A step of a new plan version: finished ones whose inputs did not change keep their result.
fn carried(run: &Run, planned: &meta_domain::plan::PlannedStep) -> Step {
    match run.step(&planned.name) {
        None => Step::new(planned.clone()),
        Some(old) => {
            let mut step = old.clone();
            let done = step.state == State::Succeeded;
            let same = old.planned.run == planned.run && old.planned.env == planned.env;
            if done && !same {
                step.state = State::Pending;
            }
            step.planned = planned.clone();
            step
        }
    }
}
