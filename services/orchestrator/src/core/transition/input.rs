//! What comes in.

use super::TaskKind;
use crate::core::event::{Execution, Mark};
use crate::core::evidence::Evidence;
use crate::core::run::Patch;
use meta_domain::autofix::{Decision, GuardVerdict, TryVerdict};
use meta_domain::id::GateId;
use meta_domain::plan::PlanOp;
use meta_domain::signal::Signal;

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
    /// Let nothing new start.
    Hold {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Go on after a hold.
    LetGo {
        /// Who.
        actor: String,
    },
    /// Say what a step came to.
    MarkStep {
        /// The step.
        step: String,
        /// What.
        mark: Mark,
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Change the plan while the run goes on.
    EditPlan {
        /// What changes.
        ops: Vec<PlanOp>,
        /// The plan version that they are for.
        version: u32,
        /// Who.
        actor: String,
    },
    /// The run's time is over.
    TimedOut,
}
