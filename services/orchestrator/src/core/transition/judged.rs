//! A failure was decided: carry the decision out.

use super::{Sharing, TaskKind, Turn, stale};
use crate::core::event::RunEvent;
use crate::core::plan::problem as plan_problem;
use crate::core::run::{Delta, Gate, State};
use meta_domain::autofix::{Decision, FixerCommand, Outcome, Strategy};
use meta_domain::failure::FailureType;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::plan::{ApprovalMode, PlanGraph, PlanOp, PlanOpKind};
use meta_domain::signal::Signal;

impl Turn {
    pub(super) fn judged(
        &mut self,
        step: String,
        signal: Signal,
        decision: Decision,
        paid: usize,
    ) -> Result<(), Fault> {
        if self.run.paid_attempts().count() != paid {
            let text = format!("the budget of step {step:?} changed since it was decided");
            return Err(Fault::new(ErrorKind::Conflict, "DECISION_OUT_OF_DATE", text));
        }
        let at = self.step_of(&step)?;
        if at.state != State::Judging {
            return Err(stale(&step, "is not being judged"));
        }
        if at.signal.is_none() {
            self.emit(RunEvent::Classified { step: step.clone(), signal });
        }
        if let Some(reason) = self.broken_by_patch(&step, &decision) {
            self.emit(RunEvent::RollbackStarted { step: step.clone(), reason });
            self.enqueue_now(TaskKind::Rollback, &step);
            return Ok(());
        }
        match decision {
            Decision::RetryStep { backoff_ms, reason } => {
                self.retry_step(&step, backoff_ms, reason)
            }
            Decision::FixSpecificIssue { fixers, reason } => self.fix(&step, fixers, reason),
            Decision::RePlan { ops, triggered_by, reason } => {
                self.replan(&step, ops, triggered_by, reason)
            }
            Decision::Rollback { reason } => {
                self.emit(RunEvent::RollbackStarted { step: step.clone(), reason });
                self.enqueue_now(TaskKind::Rollback, &step);
                Ok(())
            }
            Decision::ManualIntervention { gate, effect, reason } => {
                self.escalate(&step, gate, effect, reason)
            }
            Decision::GiveUp { reason } => self.give_up(&step, Strategy::None, reason),
        }
    }

    /// Why the newest patch has to go: the step passed in this run before it, fails since, and not
    /// for a reason that passes by itself. Switched off, the loop takes nothing back.
    fn broken_by_patch(&self, step: &str, decision: &Decision) -> Option<String> {
        if matches!(decision, Decision::RetryStep { .. } | Decision::Rollback { .. }) {
            return None;
        }
        let failure = self.run.step(step)?.signal.as_ref()?.failure_type;
        let passing =
            matches!(failure, FailureType::Transient | FailureType::RateLimit | FailureType::Infra);
        let patch = self.run.broken_by(step).filter(|_| !passing)?;
        Some(format!(
            "the step passed in this run before the patch for step {:?} (attempt {}), and fails since",
            patch.step, patch.number
        ))
    }

    fn retry_step(&mut self, step: &str, backoff_ms: u64, reason: String) -> Result<(), Fault> {
        let mut attempt = self.attempt(step, Strategy::RetryStep, Outcome::Retried, reason)?;
        attempt.backoff_ms = backoff_ms;
        // from the failure on: what it took to look at it is part of the wait
        let failed_at = self.run.step(step).and_then(|s| s.failed_at).unwrap_or(self.now);
        let due = failed_at.plus_ms(i64::try_from(backoff_ms).unwrap_or(i64::MAX)).max(self.now);
        self.emit(RunEvent::Retry { attempt, due });
        self.enqueue(TaskKind::Step, step, due, Sharing::Exclusive);
        Ok(())
    }

    fn fix(&mut self, step: &str, fixers: Vec<FixerCommand>, reason: String) -> Result<(), Fault> {
        if fixers.is_empty() {
            return self.give_up(step, Strategy::FixSpecificIssue, reason);
        }
        self.emit(RunEvent::FixStarted { step: step.to_owned(), fixers, reason });
        self.begin_fixer(step);
        Ok(())
    }

    fn replan(
        &mut self,
        step: &str,
        ops: Vec<PlanOp>,
        triggered_by: String,
        reason: String,
    ) -> Result<(), Fault> {
        let graph = self.run.graph.rewritten(&ops);
        let iterations = u32::try_from(self.run.deltas.len()).unwrap_or(u32::MAX);
        if iterations.saturating_add(1) >= self.run.max_iterations {
            let why =
                format!("{reason}; but max_iterations ({}) is reached", self.run.max_iterations);
            return self.give_up(step, Strategy::RePlan, why);
        }
        let moves = ops.iter().any(|op| op.kind == PlanOpKind::MoveRunner);
        let problem = if graph == *self.run.graph && !moves {
            Some("it changes nothing".to_owned())
        } else {
            plan_problem(&graph)
        };
        if let Some(problem) = problem {
            let why = format!("{reason}; but the re-plan is not carried out: {problem}");
            return self.give_up(step, Strategy::RePlan, why);
        }
        let graph = if triggered_by == BY_MODEL { asking(graph, step, &ops) } else { graph };
        self.supersede_gates(&graph);
        let attempt = self.attempt(step, Strategy::RePlan, Outcome::Replanned, reason)?;
        let delta = Delta {
            id: self.id().into(),
            original_plan: self.run.plan,
            new_plan: self.id().into(),
            ops,
            triggered_by,
            created_at: self.now,
        };
        let version = self.run.plan_version + 1;
        self.emit(RunEvent::Replanned { attempt, delta, graph, version });
        self.advance();
        Ok(())
    }

    /// Gates of steps that the new plan changes are for nothing any more.
    pub(super) fn supersede_gates(&mut self, graph: &PlanGraph) {
        let changed = |g: &&Gate| {
            let planned = self.run.step(&g.step).map(|s| &s.planned);
            g.status == GateStatus::Pending && graph.step(&g.step) != planned
        };
        let gone: Vec<_> =
            self.run.gates.iter().filter(changed).map(|g| (g.id, g.step.clone())).collect();
        for (gate, step) in gone {
            self.emit(RunEvent::GateSuperseded { gate, step });
        }
    }

    fn escalate(
        &mut self,
        step: &str,
        gate_type: GateType,
        effect: GateEffect,
        reason: String,
    ) -> Result<(), Fault> {
        if effect == GateEffect::Accept
            && let Some(actor) = self.accepted_before(step)
        {
            self.emit(RunEvent::StepAccepted { step: step.to_owned(), actor });
            self.advance();
            return Ok(());
        }
        let attempt =
            self.attempt(step, Strategy::ManualIntervention, Outcome::Escalated, reason.clone())?;
        let gate = self.gate(step, gate_type, effect, reason);
        self.emit(RunEvent::Escalated { attempt, gate });
        self.advance();
        Ok(())
    }

    /// Who accepted the very same finding of the same step in this run.
    fn accepted_before(&self, step: &str) -> Option<String> {
        let at = self.run.step(step)?;
        let (planned, signal) = (at.fingerprint(), at.signal.as_ref()?);
        let gate = self.run.gates.iter().find(|g| g.covers_finding(&planned, signal))?;
        Some(gate.decided_by.clone())
    }

    pub(super) fn give_up(
        &mut self,
        step: &str,
        strategy: Strategy,
        reason: String,
    ) -> Result<(), Fault> {
        let attempt = self.attempt(step, strategy, Outcome::GaveUp, reason)?;
        self.emit(RunEvent::GaveUp { attempt });
        self.advance();
        Ok(())
    }
}

/// What a change of the plan is triggered by when a model proposed it.
pub(crate) const BY_MODEL: &str = "model";

/// A plan that nobody but a model wants: what it adds, and the step that it is for, ask a human
/// before they run.
fn asking(mut graph: PlanGraph, step: &str, ops: &[PlanOp]) -> PlanGraph {
    let named = |name: &str| {
        name == step
            || ops.iter().any(|op| {
                op.step == name || op.insert.as_ref().is_some_and(|inserted| inserted.name == name)
            })
    };
    for planned in graph.steps.iter_mut().filter(|planned| named(&planned.name)) {
        planned.approval = ApprovalMode::Before;
    }
    graph
}
