//! What an event does to a run. Total: it cannot fail, and replay uses it too.

use super::event::{Mark, RunEvent};
use super::evidence::{Evidence, VERIFICATIONS_MAX};
use super::run::{Attempt, Delta, Gate, Healing, LogRef, Phase, Run, State, Step};
use meta_domain::gate::GateStatus;
use meta_domain::plan::{PlanGraph, PlanOpKind};
use meta_domain::status::RunStatus;
use meta_domain::time::Timestamp;
use std::sync::Arc;

/// Applies one event that happened at `at`.
pub fn apply(run: &mut Run, event: &RunEvent, at: Timestamp) {
    match event {
        RunEvent::Created { run: first } => *run = (**first).clone(),
        RunEvent::Started => {
            run.status = RunStatus::Running;
            run.started_at = Some(at);
        }
        RunEvent::Prepared { commit, bot_commits, .. } => {
            run.bot_commits = *bot_commits;
            run.base.clone_from(commit);
            run.head.clone_from(commit);
        }
        RunEvent::StepQueued { .. }
        | RunEvent::StepStarted { .. }
        | RunEvent::StepSucceeded { .. }
        | RunEvent::StepAttemptFailed { .. }
        | RunEvent::StepAccepted { .. }
        | RunEvent::StepOutdated { .. }
        | RunEvent::StepMarked { .. }
        | RunEvent::StepFailed { .. } => apply_step(run, event, at),
        RunEvent::Classified { step, signal } => {
            run.failure_types.push(signal.failure_type);
            change(run, step, |s| s.signal = Some(signal.clone()));
        }
        RunEvent::FixStarted { .. }
        | RunEvent::Collected { .. }
        | RunEvent::Drafted { .. }
        | RunEvent::Proposed { .. }
        | RunEvent::Reviewed { .. }
        | RunEvent::VerificationStarted { .. }
        | RunEvent::Verified { .. }
        | RunEvent::Tried { .. }
        | RunEvent::CommitStarted { .. } => apply_healing(run, event, at),
        RunEvent::Retry { .. }
        | RunEvent::PatchApplied { .. }
        | RunEvent::Replanned { .. }
        | RunEvent::Escalated { .. }
        | RunEvent::GaveUp { .. }
        | RunEvent::RollbackStarted { .. }
        | RunEvent::RollbackFailed { .. }
        | RunEvent::RolledBack { .. } => apply_outcome(run, event, at),
        RunEvent::ApprovalRequested { gate } => open(run, gate),
        RunEvent::ApprovalGranted { .. }
        | RunEvent::ApprovalRejected { .. }
        | RunEvent::GateExpired { .. }
        | RunEvent::GateSuperseded { .. } => apply_gate(run, event, at),
        RunEvent::Held { actor, .. } => run.held_by.clone_from(actor),
        RunEvent::HoldEnded { .. } => run.held_by.clear(),
        RunEvent::PlanEdited { delta, graph, version, .. } => {
            put_plan(run, delta, graph, *version);
        }
        RunEvent::Paused => run.status = RunStatus::PausedAwaitingApproval,
        RunEvent::Resumed => run.status = RunStatus::Running,
        RunEvent::Succeeded => end(run, RunStatus::Succeeded, "", at),
        RunEvent::Failed { reason } => {
            end(run, RunStatus::Failed, reason, at);
            for step in run.steps.iter_mut().filter(|s| is_open(s)).map(Arc::make_mut) {
                step.state = State::Skipped;
                "not reached".clone_into(&mut step.reason);
            }
        }
        RunEvent::Canceled { actor } => {
            end(run, RunStatus::Canceled, &format!("canceled by {actor}"), at);
            run.rolling_back = false;
            for step in run.steps.iter_mut().filter(|s| is_open(s)).map(Arc::make_mut) {
                step.state = State::Canceled;
                step.finished_at = Some(at);
            }
        }
        RunEvent::RunRetry { .. } => {
            run.retried += 1;
            run.status = RunStatus::Running;
            run.reason.clear();
            run.finished_at = None;
            run.budget_from = run.attempts.len();
            for step in run.steps.iter_mut().map(Arc::make_mut) {
                let ended = matches!(step.state, State::Failed | State::Skipped | State::Canceled);
                if ended && step.marked_by.is_empty() {
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

/// A gate came to its end.
fn apply_gate(run: &mut Run, event: &RunEvent, at: Timestamp) {
    let Some((gate, status)) = event.gate_status() else { return };
    let (actor, notes) = match event {
        RunEvent::ApprovalGranted { actor, notes, .. }
        | RunEvent::ApprovalRejected { actor, notes, .. } => (actor.as_str(), notes.as_str()),
        _ => ("", ""),
    };
    decide(run, gate, status, actor, notes, at);
    change(run, event.step(), |s| match event {
        RunEvent::ApprovalGranted { .. } => {
            s.state = State::Pending;
            s.let_start = true;
        }
        RunEvent::GateSuperseded { .. } => s.state = State::Pending,
        _ => {}
    });
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
            change(run, &attempt.step, |s| s.state = State::Pending);
            put_plan(run, delta, graph, *version);
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
            let patch = run.attempts.iter_mut().rev().find(|a| a.is_standing_patch());
            let taken = patch.map(|a| {
                a.reverted = true;
                (a.seq, a.step.clone())
            });
            match attempt {
                Some(attempt) => {
                    record(run, attempt);
                    change(run, &attempt.step, |s| s.state = State::Pending);
                    if let Some((seq, step)) = taken {
                        passed_with_it(run, seq, &step);
                    }
                }
                None => rolled_back(run),
            }
        }
        _ => {}
    }
}

/// Another plan version is in force.
fn put_plan(run: &mut Run, delta: &Delta, graph: &PlanGraph, version: u32) {
    run.plan = delta.new_plan;
    run.plan_version = version;
    run.deltas.push(delta.clone());
    run.graph = Arc::new(graph.clone());
    run.steps = graph.steps.iter().map(|planned| Arc::new(carried(run, planned))).collect();
    redo_followers(run);
    for op in delta.ops.iter().filter(|op| op.kind == PlanOpKind::MoveRunner) {
        change(run, &op.step, |s| s.avoid_runner.clone_from(&s.runner));
    }
    for gate in run.gates.iter_mut().filter(|g| g.status == GateStatus::Pending) {
        gate.plan = Some(delta.new_plan);
        gate.plan_version = version;
    }
}

/// A patch was taken back: the step that it healed, and what passed only with it, run again.
fn passed_with_it(run: &mut Run, seq: u64, healed: &str) {
    let outdated = |s: &&mut Arc<Step>| {
        s.state == State::Succeeded && (s.planned.name == healed || s.passed_seq > seq)
    };
    for step in run.steps.iter_mut().filter(outdated).map(Arc::make_mut) {
        step.state = State::Pending;
        step.finished_at = None;
    }
}

/// A finished step of a new plan that waits for one that is not finished runs again.
fn redo_followers(run: &mut Run) {
    loop {
        let done = |run: &Run, name: &String| {
            let state = run.step(name).map(|s| &s.state);
            state.is_none_or(|s| matches!(s, State::Succeeded | State::Skipped))
        };
        let next = run.steps.iter().position(|s| {
            s.state == State::Succeeded && !s.planned.needs.iter().all(|n| done(run, n))
        });
        let Some(next) = next else { return };
        let next = Arc::make_mut(&mut run.steps[next]);
        next.state = State::Pending;
        next.finished_at = None;
    }
}

/// The tree is another one: what passed on the old one has to pass again before the run does.
fn rolled_back(run: &mut Run) {
    run.rolling_back = false;
    if run.status == RunStatus::Succeeded {
        return;
    }
    let passed = run.steps.iter_mut().filter(|s| s.state == State::Succeeded);
    for step in passed.map(Arc::make_mut) {
        step.state = State::Pending;
        step.finished_at = None;
    }
}

fn apply_step(run: &mut Run, event: &RunEvent, at: Timestamp) {
    let (head, seq) = (run.head.clone(), run.seq + 1);
    if let RunEvent::StepSucceeded { commit, .. } = event
        && !commit.is_empty()
    {
        run.head.clone_from(commit);
    }
    change(run, event.step(), |s| match event {
        RunEvent::StepQueued { due, .. } => s.state = State::Queued { due: *due },
        RunEvent::StepStarted { execution, log, runner, .. } => {
            s.state = State::Executing;
            s.runner.clone_from(runner);
            s.avoid_runner.clear();
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
            s.flaky |= *flaky;
            s.passed_seq = seq;
            s.finished_at = Some(at);
            s.reason.clear();
        }
        RunEvent::StepAttemptFailed { execution, .. } => {
            s.state = State::Judging;
            s.duration_ms = execution.duration_ms;
            s.exit = Some(execution.exit);
            s.sandbox.clone_from(&execution.sandbox);
            s.failed_at_commit.clone_from(&head);
            s.failed_at = Some(at);
            s.signal = None;
            s.tries.clear();
        }
        RunEvent::StepAccepted { actor, .. } => {
            s.state = State::Succeeded;
            s.finished_at = Some(at);
            s.reason = format!("accepted by {actor}");
        }
        RunEvent::StepOutdated { .. } => {
            s.state = State::Pending;
            s.finished_at = None;
        }
        RunEvent::StepMarked { mark, actor, reason, .. } => {
            let (state, word) = match mark {
                Mark::Succeeded => (State::Succeeded, "counts as passed"),
                Mark::Skipped => (State::Skipped, "skipped"),
            };
            s.state = state;
            s.marked_by.clone_from(actor);
            s.finished_at = Some(at);
            s.reason = format!("{word}, says {actor}: {reason}");
        }
        RunEvent::StepFailed { reason, .. } => fail(s, reason, at),
        _ => {}
    });
}

fn apply_healing(run: &mut Run, event: &RunEvent, at: Timestamp) {
    change(run, event.step(), |s| match event {
        RunEvent::FixStarted { fixers, reason, .. } => {
            let healing = Healing::new(fixers.clone(), reason.clone(), at);
            s.state = State::Healing(Box::new(healing));
        }
        RunEvent::CommitStarted { approved_by, fixer, patch, evidence, again, .. } => {
            s.state = State::Healing(Box::new(Healing {
                phase: if *again { Phase::Verifying } else { Phase::Committing },
                patch: Some(patch.clone()),
                approved_by: Some(approved_by.clone()),
                evidence: evidence.as_deref().cloned(),
                ..Healing::new(vec![fixer.clone()], String::new(), at)
            }));
        }
        RunEvent::Collected { .. } => {
            heal(s, |h| h.phase = Phase::Drafting);
        }
        RunEvent::Drafted { tokens, .. } => {
            heal(s, |h| {
                h.phase = Phase::Proposing;
                h.tokens += tokens;
            });
        }
        RunEvent::Tried { result, evidence, .. } => {
            s.tries.push(result.clone());
            keep(s, evidence.as_deref());
            if !heal(s, |h| h.go_on(at)).unwrap_or(false) {
                s.state = State::Judging;
            }
        }
        RunEvent::Proposed { patch, .. } => {
            heal(s, |h| {
                h.patch = Some(patch.clone());
                h.phase = Phase::Reviewing;
            });
        }
        RunEvent::Reviewed { approval, patch, reasons, risk, .. } => {
            heal(s, |h| {
                h.patch = Some(patch.clone());
                h.approval.clone_from(approval);
                h.guard_reasons.clone_from(reasons);
                h.risk = *risk;
                h.phase = Phase::Verifying;
            });
        }
        RunEvent::VerificationStarted { log, .. } => {
            let log = LogRef { execution: s.executions, name: log.clone(), verification: true };
            s.logs.push(log);
        }
        RunEvent::Verified { evidence, .. } => {
            keep(s, Some(evidence));
            heal(s, |h| {
                h.phase = Phase::Committing;
                h.evidence = Some((**evidence).clone());
            });
        }
        _ => {}
    });
}

/// Keeps what a verification showed; of very many, the newest.
fn keep(step: &mut Step, evidence: Option<&Evidence>) {
    if let Some(evidence) = evidence {
        if step.verifications.len() == VERIFICATIONS_MAX {
            step.verifications.remove(0);
        }
        step.verifications.push(evidence.clone());
    }
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
    run.attempts.push(Attempt { seq: run.seq + 1, ..attempt.clone() });
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
            let same = old.planned.run == planned.run
                && old.planned.env == planned.env
                && old.planned.cache == planned.cache
                && old.planned.network == planned.network;
            if done && !same {
                step.state = State::Pending;
            }
            step.planned = planned.clone();
            step
        }
    }
}
