//! The only way a run changes: an input comes in, events and effects come out.
//!
//! Nothing here does I/O or asks for the time; whatever is left open is a bug.

mod control;
mod effect;
mod gate;
mod healing;
mod input;
mod judged;
mod operate;
mod rollback;
mod schedule;
mod step;
mod task;
#[cfg(test)]
pub(crate) mod tests;

pub use effect::{Effect, FixOutcome, Told};
pub use input::Input;
pub(crate) use judged::BY_MODEL;
pub use task::{Sharing, TaskKind};

use super::apply::apply;
use super::event::RunEvent;
use super::run::{Attempt, Gate, Run};
use meta_domain::autofix::{Outcome, Strategy};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::time::Timestamp;
use uuid::Uuid;

/// What came out: the run afterwards, and how it came there.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The run with all events applied.
    pub run: Run,
    /// What happened, oldest first.
    pub events: Vec<RunEvent>,
    /// What is to be done.
    pub effects: Vec<Effect>,
}

/// What a transition may not make up by itself.
#[derive(Debug, Clone)]
pub struct Context {
    /// The time.
    pub now: Timestamp,
    /// Fresh ids, enough for one transition.
    pub ids: [Uuid; 4],
}

/// Changes a run.
///
/// # Errors
/// When the input does not fit the state the run is in: nothing changes.
pub fn transition(run: &Run, input: Input, context: &Context) -> Result<Transition, Fault> {
    let mut turn = Turn {
        run: run.clone(),
        events: Vec::new(),
        effects: Vec::new(),
        now: context.now,
        ids: context.ids.to_vec(),
    };
    turn.take(input)?;
    Ok(Transition { run: turn.run, events: turn.events, effects: turn.effects })
}

/// One transition in the making.
struct Turn {
    run: Run,
    events: Vec<RunEvent>,
    effects: Vec<Effect>,
    now: Timestamp,
    ids: Vec<Uuid>,
}

impl Turn {
    fn take(&mut self, input: Input) -> Result<(), Fault> {
        match input {
            Input::Start => self.start(),
            Input::Prepared { commit, files, bot_commits } => {
                self.prepared(commit, files, bot_commits)
            }
            Input::StepStarted { step, log, runner } => self.step_started(step, log, runner),
            Input::StepFinished { step, execution, commit } => {
                self.step_finished(step, execution, commit)
            }
            Input::Judged { step, signal, decision, paid } => {
                self.judged(step, signal, decision, paid)
            }
            Input::Collected { step, files } => self.collected(step, files),
            Input::Drafted { step, result, tokens } => self.drafted(step, result, tokens),
            Input::Proposed { step, result } => self.proposed(step, result),
            Input::Reviewed { step, verdict, patch, reasons, risk } => {
                self.reviewed(step, verdict, patch, reasons, risk)
            }
            Input::VerificationStarted { step, log } => self.verification_started(step, log),
            Input::Verified { step, evidence } => self.verified(step, *evidence),
            Input::Committed { step, commit } => self.committed(step, commit),
            Input::RolledBack { step, commit } => self.rolled_back(step, commit),
            Input::TaskFailed { kind, step, message } => self.task_failed(kind, step, message),
            Input::GateDecided { gate, approve, actor, notes, seen } => {
                self.gate_decided(gate, approve, actor, notes, &seen)
            }
            Input::GateExpired { step } => self.gate_expired(&step),
            Input::Cancel { actor } => self.cancel(actor),
            Input::Retry { actor } => self.retry(actor),
            Input::Rollback { actor } => self.operator_rollback(actor),
            Input::Hold { actor, reason } => self.hold(actor, reason),
            Input::LetGo { actor } => self.let_go(actor),
            Input::MarkStep { step, mark, actor, reason } => {
                self.mark_step(step, mark, actor, reason)
            }
            Input::EditPlan { ops, version, actor } => self.edit_plan(ops, version, actor),
            Input::TimedOut => self.timed_out(),
        }
    }

    fn emit(&mut self, event: RunEvent) {
        apply(&mut self.run, &event, self.now);
        self.events.push(event);
    }

    fn enqueue(&mut self, kind: TaskKind, step: &str, due: Timestamp, sharing: Sharing) {
        let avoid = match kind {
            TaskKind::Step => self.run.step(step).map(|s| s.avoid_runner.clone()),
            _ => None,
        };
        let (step, avoid) = (step.to_owned(), avoid.unwrap_or_default());
        self.effects.push(Effect::Enqueue { kind, step, due, sharing, avoid });
    }

    fn enqueue_now(&mut self, kind: TaskKind, step: &str) {
        let sharing = match kind {
            TaskKind::Inspect
            | TaskKind::Judge
            | TaskKind::Review
            | TaskKind::Draft
            | TaskKind::Record
            | TaskKind::Expire
            | TaskKind::Deadline => Sharing::None,
            TaskKind::Step | TaskKind::Propose | TaskKind::Verify | TaskKind::Collect => {
                Sharing::Shared
            }
            TaskKind::Prepare | TaskKind::Commit | TaskKind::Rollback => Sharing::Exclusive,
        };
        self.enqueue(kind, step, self.now, sharing);
    }

    /// A fresh id; the context holds enough for any one transition.
    fn id(&mut self) -> Uuid {
        self.ids.pop().unwrap_or(Uuid::nil())
    }

    fn attempt(
        &mut self,
        step: &str,
        strategy: Strategy,
        outcome: Outcome,
        reason: String,
    ) -> Result<Attempt, Fault> {
        let at = self.step_of(step)?;
        let signal = at.signal.clone().ok_or_else(|| stale(step, "has no classified failure"))?;
        let tries = at.tries.clone();
        let of_step = self.run.attempts.iter().filter(|a| a.step == step).count();
        Ok(Attempt {
            id: self.id().into(),
            step: step.to_owned(),
            number: u32::try_from(of_step).unwrap_or(u32::MAX).saturating_add(1),
            signal,
            strategy,
            outcome,
            backoff_ms: 0,
            reason,
            tries,
            patch: None,
            rollback_to_step: String::new(),
            created_at: self.now,
            evidence: None,
            commit: String::new(),
            seq: 0,
            reverted: false,
        })
    }

    fn gate(
        &mut self,
        step: &str,
        gate_type: GateType,
        effect: GateEffect,
        reason: String,
    ) -> Gate {
        let wait = i64::try_from(self.run.gate_policy.expires_after_ms).unwrap_or(i64::MAX);
        let expires_at = (wait > 0).then(|| self.now.plus_ms(wait));
        if let Some(due) = expires_at {
            self.enqueue(TaskKind::Expire, step, due, Sharing::None);
        }
        Gate {
            plan: Some(self.run.plan),
            plan_version: self.run.plan_version,
            planned: self.run.step(step).map(super::run::Step::fingerprint).unwrap_or_default(),
            base: self.run.head.clone(),
            evidence: None,
            guard_reasons: Vec::new(),
            risk: 0,
            expires_at,
            id: self.id().into(),
            step: step.to_owned(),
            gate_type,
            status: GateStatus::Pending,
            effect,
            reason,
            proposal: None,
            signal: self.run.step(step).and_then(|s| s.signal.clone()),
            decided_by: String::new(),
            notes: String::new(),
            created_at: self.now,
            decided_at: None,
        }
    }

    /// Puts into the queue what came of a fixer.
    fn tell(&mut self, told: Told) {
        self.effects.push(Effect::Tell(Box::new(told)));
    }

    fn step_of(&self, name: &str) -> Result<&super::run::Step, Fault> {
        self.run.step(name).ok_or_else(|| stale(name, "is not in the plan in force"))
    }
}

/// The input is about a state that the step is no longer in.
fn stale(step: &str, what: &str) -> Fault {
    Fault::new(ErrorKind::FailedPrecondition, "STALE_INPUT", format!("step {step:?} {what}"))
}
