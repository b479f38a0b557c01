//! A failure was decided: carry the decision out.

use super::{Sharing, TaskKind, Turn, stale};
use crate::core::event::RunEvent;
use crate::core::run::{Delta, State};
use meta_domain::autofix::{Decision, FixerCommand, Outcome, Strategy};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::gate::{GateEffect, GateType};
use meta_domain::plan::PlanOp;
use meta_domain::project::find_cycle;
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

    fn retry_step(&mut self, step: &str, backoff_ms: u64, reason: String) -> Result<(), Fault> {
        let mut attempt = self.attempt(step, Strategy::RetryStep, Outcome::Retried, reason)?;
        attempt.backoff_ms = backoff_ms;
        let due = self.now.plus_ms(i64::try_from(backoff_ms).unwrap_or(i64::MAX));
        self.emit(RunEvent::Retry { attempt, due });
        self.enqueue(TaskKind::Step, step, due, Sharing::Exclusive);
        Ok(())
    }

    fn fix(&mut self, step: &str, fixers: Vec<FixerCommand>, reason: String) -> Result<(), Fault> {
        if fixers.is_empty() {
            return self.give_up(step, Strategy::FixSpecificIssue, reason);
        }
        self.emit(RunEvent::FixStarted { step: step.to_owned(), fixers, reason });
        self.enqueue_now(TaskKind::Propose, step);
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
        if graph == self.run.graph || find_cycle(&graph.steps).is_some() {
            let why = format!("{reason}; but the re-plan changes nothing or makes a cycle");
            return self.give_up(step, Strategy::RePlan, why);
        }
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

    fn escalate(
        &mut self,
        step: &str,
        gate_type: GateType,
        effect: GateEffect,
        reason: String,
    ) -> Result<(), Fault> {
        let attempt =
            self.attempt(step, Strategy::ManualIntervention, Outcome::Escalated, reason.clone())?;
        let gate = self.gate(step, gate_type, effect, reason);
        self.emit(RunEvent::Escalated { attempt, gate });
        self.advance();
        Ok(())
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
