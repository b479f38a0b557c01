//! The only way a run changes: an input comes in, events and effects come out.
//!
//! Nothing here does I/O or asks for the time; whatever is left open is a bug.

mod control;
mod gate;
mod healing;
mod judged;
mod rollback;
mod schedule;
mod step;
#[cfg(test)]
pub(crate) mod tests;

use super::apply::apply;
use super::event::{Execution, RunEvent};
use super::evidence::Evidence;
use super::run::{Attempt, Gate, Patch, Run};
use meta_domain::autofix::{Decision, GuardVerdict, Outcome, Strategy, TryVerdict};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::id::GateId;
use meta_domain::signal::Signal;
use meta_domain::status::words;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

words! {
    /// What a task of a run does.
    TaskKind {
        /// Read a source for the planner (belongs to a spec).
        Inspect = "inspect",
        /// Make the workspace.
        Prepare = "prepare",
        /// Execute a step.
        Step = "step",
        /// Classify a failure and decide.
        Judge = "judge",
        /// Let a fixer change a copy.
        Propose = "propose",
        /// Let the guard look at a patch.
        Review = "review",
        /// Execute the step with a patch in a second copy.
        Verify = "verify",
        /// Commit a patch to the workspace.
        Commit = "commit",
        /// Take the workspace back.
        Rollback = "rollback",
        /// Read files of the workspace for a model.
        Collect = "collect",
        /// Ask a model for edits.
        Draft = "draft",
        /// Tell the auto-fixer what came of a fixer (belongs to no run).
        Record = "record",
        /// Decide a gate that nobody decided in time.
        Expire = "expire",
    }
}

words! {
    /// How a task uses the run's workspace.
    Sharing {
        /// Not at all.
        None = "none",
        /// Beside others.
        Shared = "shared",
        /// Alone.
        Exclusive = "exclusive",
    }
}

impl TaskKind {
    /// Whether the orchestrator itself carries it out.
    pub fn is_internal(self) -> bool {
        match self {
            Self::Judge | Self::Review | Self::Draft | Self::Record | Self::Expire => true,
            Self::Inspect
            | Self::Prepare
            | Self::Step
            | Self::Propose
            | Self::Verify
            | Self::Commit
            | Self::Rollback
            | Self::Collect => false,
        }
    }
}

/// What comes in.
#[derive(Debug, Clone)]
pub enum Input {
    /// The run was made: start it.
    Start,
    /// Its workspace is made.
    Prepared {
        /// First commit.
        commit: String,
        /// How many files.
        files: usize,
        /// Commits at the head of the source that the loop made.
        bot_commits: u32,
    },
    /// A runner took a step.
    StepStarted {
        /// The step.
        step: String,
        /// Log of this execution.
        log: String,
        /// The runner.
        runner: String,
    },
    /// A step's execution ended.
    StepFinished {
        /// The step.
        step: String,
        /// How.
        execution: Execution,
        /// Head afterwards.
        commit: String,
    },
    /// A failure was classified (unless it was before) and decided.
    Judged {
        /// The step.
        step: String,
        /// The failure.
        signal: Signal,
        /// What to do.
        decision: Decision,
        /// Attempts that the run had paid when it was decided.
        paid: usize,
    },
    /// A model's files were read.
    Collected {
        /// The step.
        step: String,
        /// How many.
        files: usize,
    },
    /// A model answered.
    Drafted {
        /// The step.
        step: String,
        /// Which model, its own words and the tokens it took; or what else came of it.
        result: Result<(String, String), (TryVerdict, String)>,
        /// What it took.
        tokens: u64,
    },
    /// A fixer ended.
    Proposed {
        /// The step.
        step: String,
        /// Its patch, or what else came of it.
        result: Result<String, (TryVerdict, String)>,
    },
    /// The guard answered.
    Reviewed {
        /// The step.
        step: String,
        /// Its verdict.
        verdict: GuardVerdict,
        /// The patch with its measures.
        patch: Patch,
        /// Everything that the guard said.
        reasons: Vec<String>,
        /// How much a human should mind it, 0 to 100.
        risk: u32,
    },
    /// A verification began.
    VerificationStarted {
        /// The step.
        step: String,
        /// Its log.
        log: String,
    },
    /// A verification ended.
    Verified {
        /// The step.
        step: String,
        /// What it showed; whose it is and its log are filled in here.
        evidence: Box<Evidence>,
    },
    /// A patch was committed.
    Committed {
        /// The step.
        step: String,
        /// The commit.
        commit: String,
    },
    /// The workspace went back; the commit is empty when there was nothing to take back.
    RolledBack {
        /// The step; empty when an operator asked.
        step: String,
        /// Head afterwards.
        commit: String,
    },
    /// A task could not be carried out, and another try cannot help.
    TaskFailed {
        /// What it was.
        kind: TaskKind,
        /// Its step.
        step: String,
        /// Why.
        message: String,
    },
    /// A human decided.
    GateDecided {
        /// The gate.
        gate: GateId,
        /// How.
        approve: bool,
        /// Who.
        actor: String,
        /// What they said.
        notes: String,
        /// The patch and the plan version that they saw; empty and 0 when they do not say.
        seen: (String, u32),
    },
    /// Nobody decided the gate of this step in time.
    GateExpired {
        /// The step.
        step: String,
    },
    /// Stop it.
    Cancel {
        /// Who.
        actor: String,
    },
    /// Go on from the failed step.
    Retry {
        /// Who.
        actor: String,
    },
    /// Take the last commit of the loop back.
    Rollback {
        /// Who.
        actor: String,
    },
}

/// What has to be done because of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Put a task into the queue.
    Enqueue {
        /// What it does.
        kind: TaskKind,
        /// For which step; empty for the run itself.
        step: String,
        /// Not before.
        due: Timestamp,
        /// How it uses the workspace.
        sharing: Sharing,
        /// Rather not on this runner; empty means on any.
        avoid: String,
    },
    /// Tell the auto-fixer what came of a fixer.
    Tell(Box<Told>),
    /// Remove all tasks of the run; runners are told to stop theirs.
    DropTasks,
}

/// What came of a fixer, for the auto-fixer's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Unique for what is said.
    pub key: String,
    /// The failure.
    pub signal: Signal,
    /// Id of the fixer.
    pub fixer: String,
    /// What came of it.
    pub outcome: FixOutcome,
    /// The patch; empty when there was none.
    pub patch: String,
    /// How long fixer and verification took.
    pub duration_ms: u64,
    /// Tokens that its model took.
    pub tokens: u64,
}

words! {
    /// What came of a fixer's patch.
    FixOutcome {
        /// Verified and committed.
        Accepted = "accepted",
        /// A human approved it.
        Approved = "approved",
        /// A human rejected it.
        Rejected = "rejected",
        /// The step still failed with it.
        VerifyFail = "verify_fail",
        /// The guard refused it.
        GuardReject = "guard_reject",
        /// There was no patch.
        NoChange = "no_change",
        /// The fixer could not work.
        FixerError = "fixer_error",
        /// It was committed and taken back later.
        Reverted = "reverted",
    }
}

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
            | TaskKind::Expire => Sharing::None,
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
