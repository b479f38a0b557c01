//! What a user is told while a run goes on: one value a happening, which is also one JSON object a
//! line with `--output json`.

mod happened;
mod tracker;

pub use happened::{Check, Evidence, Happened, TestCount};
pub use tracker::Tracker;

use meta_domain::autofix::TryVerdict;
use meta_domain::failure::{FailureType, Severity};
use meta_domain::gate::{GateEffect, GateType};
use meta_domain::plan::{PlanOp, RiskPart};
use meta_domain::signal::{EvidenceLine, Location};
use meta_domain::status::RunStatus;
use serde::Serialize;

/// A step of the plan, as told at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanStep {
    /// Its name.
    pub name: String,
    /// What it executes.
    pub run: String,
    /// The steps before it.
    pub needs: Vec<String>,
    /// Why it is in the plan.
    pub why: String,
}

/// How a step was healed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Healed {
    /// What had failed.
    #[serde(rename = "type")]
    pub failure_type: FailureType,
    /// What mended it.
    pub by: String,
    /// Files of the patch.
    pub files: u32,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// One failed execution of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The step.
    pub step: String,
    /// What kind of failure.
    #[serde(rename = "type")]
    pub kind: FailureType,
    /// One line for people.
    pub message: String,
    /// How sure the classifier is, in `[0, 1]`.
    pub confidence: f64,
    /// Which execution of the step, from 1.
    pub attempt: u32,
    /// Exit code of the step, when it ended by itself.
    pub exit_code: Option<i32>,
    /// It was killed at its time limit.
    pub timed_out: bool,
    /// Milliseconds the execution took.
    pub duration_ms: u64,
    /// How grave.
    pub severity: Severity,
    /// Same failure, same fingerprint.
    pub fingerprint: String,
    /// The rule that matched.
    pub rule: String,
    /// The tool that failed.
    pub tool: String,
    /// The lines that speak for it.
    pub evidence: Vec<EvidenceLine>,
    /// The places it names.
    pub locations: Vec<Location>,
}

/// What happened, as a user is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// The plan that is about to run.
    Plan {
        /// The run.
        run_id: String,
        /// The plan's number, from 1.
        version: u32,
        /// The steps in an order in which they could run.
        steps: Vec<PlanStep>,
        /// 0 to 100.
        risk_score: u32,
        /// The parts of the score.
        risk: Vec<RiskPart>,
        /// One paragraph.
        summary: String,
    },
    /// A step is being executed.
    StepStarted {
        /// The step.
        step: String,
        /// Which execution, from 1.
        attempt: u32,
    },
    /// A step passed.
    StepSucceeded {
        /// The step.
        step: String,
        /// Which execution, from 1.
        attempt: u32,
        /// Milliseconds of this execution.
        duration_ms: u64,
        /// It passed on a plain retry at the same commit.
        flaky: bool,
        /// What it had failed of, when it failed before.
        failed_before: Option<FailureType>,
        /// Milliseconds waited before the retry that passed.
        backoff_ms: u64,
        /// How it was healed.
        healed: Vec<Healed>,
        /// The sandbox it ran in.
        sandbox: String,
        /// Who accepted its finding; empty when it simply passed.
        accepted_by: String,
    },
    /// A step's execution failed.
    Failure(Failure),
    /// Fixers go to work.
    Fixing {
        /// The step.
        step: String,
        /// Their titles, best first.
        fixers: Vec<String>,
        /// Why these.
        reason: String,
    },
    /// What one fixer did.
    Fix {
        /// The step.
        step: String,
        /// The fixer.
        fixer: String,
        /// What people call it.
        title: String,
        /// What came of it.
        verdict: TryVerdict,
        /// Why.
        detail: String,
        /// Files of the patch.
        files: u32,
        /// Lines added.
        added: u32,
        /// Lines removed.
        removed: u32,
    },
    /// A verified patch was committed to the run's workspace.
    PatchApplied {
        /// The step.
        step: String,
        /// The turn of the loop, from 1 within the step.
        turn: u32,
        /// Why.
        reason: String,
        /// The commit.
        commit: String,
        /// The patch.
        patch: String,
    },
    /// The step runs again after a wait.
    Retry {
        /// The step.
        step: String,
        /// The turn of the loop, from 1 within the step.
        turn: u32,
        /// The wait.
        backoff_ms: u64,
        /// Why.
        reason: String,
    },
    /// The plan changed.
    Replanned {
        /// The step.
        step: String,
        /// The new plan's number.
        version: u32,
        /// What changed.
        ops: Vec<PlanOp>,
        /// Which rule asked for it.
        triggered_by: String,
        /// Why.
        reason: String,
    },
    /// The workspace went back.
    RolledBack {
        /// The step; empty when a person asked.
        step: String,
        /// Why.
        reason: String,
        /// The commit it is at.
        commit: String,
    },
    /// A person has to decide.
    ApprovalNeeded {
        /// The step that waits.
        step: String,
        /// The gate.
        gate_id: String,
        /// What is asked.
        gate_type: GateType,
        /// What approving does.
        effect: GateEffect,
        /// Why.
        reason: String,
        /// The command that approves.
        approve: String,
        /// The patch that waits, when there is one.
        patch: Option<String>,
    },
    /// A person decided.
    Decided {
        /// The step.
        step: String,
        /// The gate.
        gate_id: String,
        /// Yes or no.
        approved: bool,
        /// Who.
        actor: String,
        /// What they said.
        notes: String,
    },
    /// A step failed for good.
    StepFailed {
        /// The step.
        step: String,
        /// Why nothing is left.
        reason: String,
        /// Its last failure.
        failure: Option<Failure>,
        /// What the fixers did about it.
        tries: Vec<String>,
    },
    /// Output of a step.
    Log {
        /// The step.
        step: String,
        /// Whether it came from standard error.
        stderr: bool,
        /// The text.
        text: String,
    },
    /// The run ended or waits.
    RunFinished {
        /// The run.
        run_id: String,
        /// How.
        status: RunStatus,
        /// Why, when it failed.
        reason: String,
        /// The exit code of this command.
        exit_code: u8,
        /// Milliseconds since the command began.
        duration_ms: u64,
        /// Where the combined diff was written.
        patch: Option<String>,
        /// Files of the combined diff.
        files: u32,
        /// Lines added.
        added: u32,
        /// Lines removed.
        removed: u32,
        /// Whether the diff was applied to the project's files.
        applied: bool,
        /// The branch it was committed to.
        branch: Option<String>,
    },
}

#[cfg(test)]
mod tests;
