//! A step starts and ends.

use super::{Input, TaskKind, Turn, stale};
use crate::core::event::{Execution, RunEvent};
use crate::core::evidence::Evidence;
use crate::core::run::State;
use meta_domain::autofix::{Outcome, Strategy, TryVerdict};
use meta_domain::fault::Fault;
use meta_domain::signal::ExitInfo;

impl Turn {
    pub(super) fn step_started(
        &mut self,
        step: String,
        log: String,
        runner: String,
    ) -> Result<(), Fault> {
        let at = self.step_of(&step)?;
        // Executing: the runner before this one was lost, so the step runs again.
        if !matches!(at.state, State::Queued { .. } | State::Executing) {
            return Err(stale(&step, "does not wait for a runner"));
        }
        let execution = at.executions + 1;
        self.emit(RunEvent::StepStarted { step, execution, log, runner });
        Ok(())
    }

    pub(super) fn step_finished(
        &mut self,
        step: String,
        execution: Execution,
        commit: String,
    ) -> Result<(), Fault> {
        if self.step_of(&step)?.state != State::Executing {
            return Err(stale(&step, "is not executing"));
        }
        if execution.exit.success() {
            let flaky = self.passed_on_a_retry(&step);
            self.emit(RunEvent::StepSucceeded { step, execution, commit, flaky });
            self.advance();
        } else {
            self.emit(RunEvent::StepAttemptFailed { step: step.clone(), execution });
            self.enqueue_now(TaskKind::Judge, &step);
        }
        Ok(())
    }

    /// The last turn on the step was a plain retry, and the workspace is as it was.
    fn passed_on_a_retry(&self, step: &str) -> bool {
        let last = self.run.attempts.iter().rev().find(|a| a.step == step);
        last.is_some_and(|a| a.strategy == Strategy::RetryStep && a.outcome == Outcome::Retried)
            && self.run.step(step).is_some_and(|s| s.failed_at_commit == self.run.head)
    }

    pub(super) fn task_failed(
        &mut self,
        kind: TaskKind,
        step: String,
        message: String,
    ) -> Result<(), Fault> {
        match kind {
            TaskKind::Prepare => {
                let reason = format!("the workspace could not be made: {message}");
                self.emit(RunEvent::Failed { reason });
                Ok(())
            }
            TaskKind::Step if self.step_of(&step)?.state == State::Executing => {
                let exit = ExitInfo { runner_lost: true, ..ExitInfo::default() };
                let execution = Execution { exit, ..Execution::default() };
                self.take(Input::StepFinished { step, execution, commit: String::new() })
            }
            TaskKind::Step => {
                let reason = format!("the runner could not execute it: {message}");
                self.emit(RunEvent::StepFailed { step, reason });
                self.advance();
                Ok(())
            }
            TaskKind::Propose => {
                self.take(Input::Proposed { step, result: Err((TryVerdict::FixerError, message)) })
            }
            TaskKind::Collect => {
                let result = Err((TryVerdict::FixerError, message));
                self.take(Input::Drafted { step, result, tokens: 0 })
            }
            TaskKind::Verify => {
                let evidence = Evidence { detail: message, ..Evidence::default() };
                self.take(Input::Verified { step, evidence: Box::new(evidence) })
            }
            TaskKind::Commit => {
                let detail = format!("it could not be committed: {message}");
                self.try_ended(&step, TryVerdict::FixerError, detail, None)
            }
            TaskKind::Rollback if step.is_empty() => {
                self.emit(RunEvent::RollbackFailed { reason: message });
                Ok(())
            }
            TaskKind::Rollback => {
                let why = format!("the workspace could not go back: {message}");
                self.give_up(&step, Strategy::Rollback, why)
            }
            TaskKind::Inspect
            | TaskKind::Judge
            | TaskKind::Review
            | TaskKind::Draft
            | TaskKind::Record
            | TaskKind::Expire
            | TaskKind::Deadline => Err(stale(&step, "has no such task")),
        }
    }
}
