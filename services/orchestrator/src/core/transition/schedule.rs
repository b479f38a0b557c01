//! Which steps may start, and what status the run has.

use super::{Sharing, TaskKind, Turn};
use crate::core::event::RunEvent;
use crate::core::run::State;
use meta_domain::fault::Fault;
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::plan::ApprovalMode;
use meta_domain::status::RunStatus;

impl Turn {
    pub(super) fn start(&mut self) -> Result<(), Fault> {
        self.emit(RunEvent::Started);
        self.start_time();
        self.enqueue_now(TaskKind::Prepare, "");
        Ok(())
    }

    pub(super) fn prepared(
        &mut self,
        commit: String,
        files: usize,
        bot_commits: u32,
    ) -> Result<(), Fault> {
        self.emit(RunEvent::Prepared { commit, files, bot_commits });
        self.advance();
        Ok(())
    }

    /// Starts what may start, then sets the run's status.
    pub(super) fn advance(&mut self) {
        if self.run.status.is_terminal() || self.run.base.is_empty() {
            return;
        }
        let failing = self.run.steps.iter().any(|s| s.state == State::Failed);
        let held = !self.run.held_by.is_empty();
        if !failing && !held {
            for name in self.ready() {
                self.begin(&name);
            }
        }
        self.settle();
    }

    fn ready(&self) -> Vec<String> {
        let done = |name: &String| {
            self.run
                .step(name)
                .is_some_and(|s| matches!(s.state, State::Succeeded | State::Skipped))
        };
        self.run
            .steps
            .iter()
            .filter(|s| s.state == State::Pending && s.planned.needs.iter().all(done))
            .map(|s| s.planned.name.clone())
            .collect()
    }

    fn begin(&mut self, name: &str) {
        let Some(step) = self.run.step(name) else { return };
        let again = step.executions > 0;
        if step.planned.approval == ApprovalMode::Before && !step.let_start {
            let reason = format!("step {name:?} asks before it runs");
            let gate = self.gate(name, GateType::BeforeStep, GateEffect::Start, reason);
            self.emit(RunEvent::ApprovalRequested { gate });
            return;
        }
        let due = self.now;
        self.emit(RunEvent::StepQueued { step: name.to_owned(), due });
        let sharing = if again { Sharing::Exclusive } else { Sharing::Shared };
        self.enqueue(TaskKind::Step, name, due, sharing);
    }

    fn settle(&mut self) {
        let run = &self.run;
        let startable = !run.held_by.is_empty() && !self.ready().is_empty();
        if startable {
            return;
        }
        if run.steps.iter().any(|s| s.is_active()) {
            if run.status == RunStatus::PausedAwaitingApproval {
                self.emit(RunEvent::Resumed);
            }
            return;
        }
        let failed = run.steps.iter().find(|s| s.state == State::Failed);
        if let Some(step) = failed {
            let reason = format!("step {:?}: {}", step.planned.name, step.reason);
            self.emit(RunEvent::Failed { reason });
        } else if run.gates.iter().any(|g| g.status == GateStatus::Pending) {
            if run.status != RunStatus::PausedAwaitingApproval {
                self.emit(RunEvent::Paused);
            }
        } else if run.steps.iter().all(|s| matches!(s.state, State::Succeeded | State::Skipped)) {
            self.emit(RunEvent::Succeeded);
        }
    }
}
