//! An operator holds a run, marks a step, or edits the plan; and the run's time is over.

use super::{Effect, TaskKind, Turn, stale};
use crate::core::event::{Mark, RunEvent};
use crate::core::plan::problem as plan_problem;
use crate::core::run::{Delta, Gate, State, Step};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::gate::GateStatus;
use meta_domain::plan::PlanOp;
use std::sync::Arc;

/// Rule name of a delta that a human asked for.
const BY_OPERATOR: &str = "operator";

impl Turn {
    pub(super) fn hold(&mut self, actor: String, reason: String) -> Result<(), Fault> {
        self.has_not_ended()?;
        if !self.run.held_by.is_empty() {
            return Err(self.refused("RUN_ALREADY_PAUSED", "is paused already"));
        }
        self.emit(RunEvent::Held { actor, reason });
        Ok(())
    }

    pub(super) fn let_go(&mut self, actor: String) -> Result<(), Fault> {
        if self.run.held_by.is_empty() {
            return Err(self.refused("RUN_NOT_PAUSED", "is not paused by an operator"));
        }
        self.emit(RunEvent::HoldEnded { actor });
        self.advance();
        Ok(())
    }

    /// A step counts as passed or as not needed, because somebody says so.
    pub(super) fn mark_step(
        &mut self,
        step: String,
        mark: Mark,
        actor: String,
        reason: String,
    ) -> Result<(), Fault> {
        let at = self
            .run
            .step(&step)
            .ok_or_else(|| Fault::not_found("STEP_NOT_FOUND", "step", &step))?;
        if matches!(at.state, State::Succeeded) {
            return Err(self.refused_step(&step, "has passed already"));
        }
        if matches!(at.state, State::RollingBack { .. }) {
            return Err(self.refused_step(&step, "is going back; wait for its end"));
        }
        let gates: Vec<_> =
            self.run.gates.iter().filter(|g| is_open_for(g, &step)).map(|g| g.id).collect();
        for gate in gates {
            self.emit(RunEvent::GateSuperseded { gate, step: step.clone() });
        }
        self.emit(RunEvent::StepMarked { step: step.clone(), mark, actor, reason });
        self.effects.push(Effect::DropTasksOf { step });
        self.advance();
        Ok(())
    }

    /// The plan is changed while the run goes on; steps that are at work stay as they are.
    pub(super) fn edit_plan(
        &mut self,
        ops: Vec<PlanOp>,
        version: u32,
        actor: String,
    ) -> Result<(), Fault> {
        self.has_not_ended()?;
        if version != self.run.plan_version {
            let text = format!(
                "run {} is at plan version {} (expected {version}, which the edit was made for)",
                self.run.id, self.run.plan_version
            );
            return Err(Fault::new(ErrorKind::Conflict, "PLAN_CHANGED", text));
        }
        let graph = self.run.graph.rewritten(&ops);
        let unknown = ops.iter().position(|op| self.run.graph.step(&op.step).is_none());
        if let Some(at) = unknown {
            let problem = format!("{:?} is not in the plan in force", ops[at].step);
            return Err(InvalidField::new(format!("ops[{at}].step"), problem).into());
        }
        if let Some(problem) = plan_problem(&graph) {
            return Err(InvalidField::new("ops", problem).into());
        }
        if graph == *self.run.graph {
            return Err(InvalidField::new("ops", "change nothing (expected a change)").into());
        }
        let planned =
            |s: &&Arc<Step>| s.is_active() && graph.step(&s.planned.name) != Some(&s.planned);
        if let Some(active) = self.run.steps.iter().find(planned) {
            let name = active.planned.name.clone();
            return Err(self.refused_step(&name, "is at work; it can be changed once it has ended"));
        }
        self.supersede_gates(&graph);
        let delta = Delta {
            id: self.id().into(),
            original_plan: self.run.plan,
            new_plan: self.id().into(),
            ops,
            triggered_by: BY_OPERATOR.to_owned(),
            created_at: self.now,
        };
        let version = self.run.plan_version + 1;
        self.emit(RunEvent::PlanEdited { delta, graph, version, actor });
        self.advance();
        Ok(())
    }

    /// The run did not end in its time: what is at work is stopped.
    pub(super) fn timed_out(&mut self) -> Result<(), Fault> {
        if self.run.status.is_terminal() || self.run.timeout_ms == 0 {
            return Err(stale("", "has ended, or has no time limit"));
        }
        let reason = format!("the run did not end within {} s", self.run.timeout_ms.div_ceil(1000));
        let active = self.run.steps.iter().filter(|s| s.is_active());
        for step in active.map(|s| s.planned.name.clone()).collect::<Vec<_>>() {
            let reason = "it was stopped: the time of the run is over".to_owned();
            self.emit(RunEvent::StepFailed { step, reason });
        }
        self.emit(RunEvent::Failed { reason });
        self.effects.push(Effect::DropTasks);
        Ok(())
    }

    /// Starts the run's time, if it has a limit.
    pub(super) fn start_time(&mut self) {
        if self.run.timeout_ms > 0 {
            let ms = i64::try_from(self.run.timeout_ms).unwrap_or(i64::MAX);
            let due = self.now.plus_ms(ms);
            self.enqueue(TaskKind::Deadline, "", due, super::Sharing::None);
        }
    }

    fn has_not_ended(&self) -> Result<(), Fault> {
        if self.run.status.is_terminal() {
            return Err(self.refused("RUN_ALREADY_ENDED", "is not running any more"));
        }
        Ok(())
    }

    fn refused_step(&self, step: &str, what: &str) -> Fault {
        let text = format!("step {step:?} of run {} {what}", self.run.id);
        Fault::new(ErrorKind::FailedPrecondition, "STEP_NOT_CHANGEABLE", text)
    }
}

fn is_open_for(gate: &Gate, step: &str) -> bool {
    gate.step == step && gate.status == GateStatus::Pending
}
