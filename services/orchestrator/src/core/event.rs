//! The run's event log: everything that ever happened to it, enough to build it again.

use super::evidence::Evidence;
use super::run::{Attempt, Delta, ExpiryAction, Gate, Patch, Run};
use meta_domain::autofix::{FixTry, FixerCommand};
use meta_domain::gate::GateStatus;
use meta_domain::id::GateId;
use meta_domain::plan::PlanGraph;
use meta_domain::signal::{ExitInfo, Signal};
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How an execution went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// How the process ended.
    pub exit: ExitInfo,
    /// Milliseconds.
    pub duration_ms: u64,
    /// Bytes of output that were cut.
    pub cut_bytes: u64,
    /// Sandbox level.
    pub sandbox: String,
}

/// What an operator says of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It counts as passed.
    Succeeded,
    /// It is not needed.
    Skipped,
}

/// One thing that happened. `step` names the step it happened to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum RunEvent {
    /// The run exists.
    #[serde(rename = "run.created")]
    Created {
        /// As it was made.
        run: Box<Run>,
    },
    /// It left `pending`.
    #[serde(rename = "meta.run.started")]
    Started,
    /// Its workspace is made.
    #[serde(rename = "run.prepared")]
    Prepared {
        /// First commit.
        commit: String,
        /// How many files.
        files: usize,
        /// Commits at the head of the source that the loop made.
        #[serde(default)]
        bot_commits: u32,
    },
    /// A step may start once `due` has come.
    #[serde(rename = "step.queued")]
    StepQueued {
        /// The step.
        step: String,
        /// Not before.
        due: Timestamp,
    },
    /// A runner took it.
    #[serde(rename = "step.started")]
    StepStarted {
        /// The step.
        step: String,
        /// Which execution.
        execution: u32,
        /// Log of this execution.
        log: String,
        /// The runner.
        runner: String,
    },
    /// It passed.
    #[serde(rename = "step.succeeded")]
    StepSucceeded {
        /// The step.
        step: String,
        /// How it went.
        execution: Execution,
        /// Head afterwards.
        commit: String,
        /// It passed on a plain retry at the same commit.
        flaky: bool,
    },
    /// One execution failed.
    #[serde(rename = "step.attempt_failed")]
    StepAttemptFailed {
        /// The step.
        step: String,
        /// How it went.
        execution: Execution,
    },
    /// The failure has a type.
    #[serde(rename = "autofix.classified")]
    Classified {
        /// The step.
        step: String,
        /// The failure.
        signal: Signal,
    },
    /// It runs again after a wait.
    #[serde(rename = "autofix.retry")]
    Retry {
        /// The turn.
        attempt: Attempt,
        /// When.
        due: Timestamp,
    },
    /// Fixers were chosen.
    #[serde(rename = "autofix.fix_started")]
    FixStarted {
        /// The step.
        step: String,
        /// Best first.
        fixers: Vec<FixerCommand>,
        /// Why.
        reason: String,
    },
    /// A model's files were read from the workspace.
    #[serde(rename = "autofix.collected")]
    Collected {
        /// The step.
        step: String,
        /// How many.
        files: usize,
    },
    /// A model answered with edits.
    #[serde(rename = "autofix.drafted")]
    Drafted {
        /// The step.
        step: String,
        /// Which model.
        model: String,
        /// Its own words.
        explanation: String,
        /// What it took.
        tokens: u64,
    },
    /// A fixer proposed a patch.
    #[serde(rename = "autofix.proposed")]
    Proposed {
        /// The step.
        step: String,
        /// The patch.
        patch: Patch,
    },
    /// The guard let it through.
    #[serde(rename = "autofix.reviewed")]
    Reviewed {
        /// The step.
        step: String,
        /// Why a human has to approve it, when one has to.
        approval: Option<String>,
        /// The patch with its measures.
        patch: Patch,
        /// Everything that the guard said.
        #[serde(default)]
        reasons: Vec<String>,
        /// How much a human should mind it, 0 to 100.
        #[serde(default)]
        risk: u32,
    },
    /// A verification began.
    #[serde(rename = "autofix.verification_started")]
    VerificationStarted {
        /// The step.
        step: String,
        /// Its log.
        log: String,
    },
    /// The step passed with it in a second copy.
    #[serde(rename = "autofix.verified")]
    Verified {
        /// The step.
        step: String,
        /// What it showed.
        #[serde(default)]
        evidence: Box<Evidence>,
    },
    /// A fixer's try ended without a patch that counts.
    #[serde(rename = "autofix.tried")]
    Tried {
        /// The step.
        step: String,
        /// What came of it.
        result: FixTry,
        /// What the verification showed, when it came to one.
        #[serde(default)]
        evidence: Option<Box<Evidence>>,
    },
    /// A verified patch was committed.
    #[serde(rename = "autofix.patch_applied")]
    PatchApplied {
        /// The turn.
        attempt: Attempt,
        /// The commit.
        commit: String,
    },
    /// A new plan version is in force.
    #[serde(rename = "autofix.replanned")]
    Replanned {
        /// The turn.
        attempt: Attempt,
        /// The record.
        delta: Delta,
        /// The new plan.
        graph: PlanGraph,
        /// Its number.
        version: u32,
    },
    /// A gate waits.
    #[serde(rename = "autofix.escalated")]
    Escalated {
        /// The turn.
        attempt: Attempt,
        /// The gate.
        gate: Gate,
    },
    /// A step asks before it starts.
    #[serde(rename = "approval.requested")]
    ApprovalRequested {
        /// The gate.
        gate: Gate,
    },
    /// Nothing is left to try.
    #[serde(rename = "autofix.gave_up")]
    GaveUp {
        /// The turn.
        attempt: Attempt,
    },
    /// The workspace is going back.
    #[serde(rename = "autofix.rollback_started")]
    RollbackStarted {
        /// The step; empty when an operator asked.
        step: String,
        /// Why.
        reason: String,
    },
    /// The workspace went back.
    #[serde(rename = "autofix.rolled_back")]
    RolledBack {
        /// The turn; absent when an operator asked.
        attempt: Option<Attempt>,
        /// Head afterwards.
        commit: String,
    },
    /// The workspace could not go back.
    #[serde(rename = "autofix.rollback_failed")]
    RollbackFailed {
        /// Why.
        reason: String,
    },
    /// A human approved.
    #[serde(rename = "approval.granted")]
    ApprovalGranted {
        /// The gate.
        gate: GateId,
        /// Its step.
        step: String,
        /// Who.
        actor: String,
        /// What they said.
        notes: String,
    },
    /// A human rejected.
    #[serde(rename = "approval.rejected")]
    ApprovalRejected {
        /// The gate.
        gate: GateId,
        /// Its step.
        step: String,
        /// Who.
        actor: String,
        /// What they said.
        notes: String,
    },
    /// Nobody decided a gate in time.
    #[serde(rename = "approval.expired")]
    GateExpired {
        /// The gate.
        gate: GateId,
        /// Its step.
        step: String,
        /// What happens now.
        action: ExpiryAction,
    },
    /// A new plan has another step in the place of the one that a gate was for.
    #[serde(rename = "approval.superseded")]
    GateSuperseded {
        /// The gate.
        gate: GateId,
        /// Its step.
        step: String,
    },
    /// A step passed on a tree that is no longer the run's: it is executed again.
    #[serde(rename = "step.outdated")]
    StepOutdated {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
    /// An approved patch is on its way into the workspace.
    #[serde(rename = "autofix.commit_started")]
    CommitStarted {
        /// The step.
        step: String,
        /// Who approved it.
        approved_by: String,
        /// The fixer.
        fixer: FixerCommand,
        /// The patch.
        patch: Patch,
        /// What the verification showed.
        #[serde(default)]
        evidence: Option<Box<Evidence>>,
        /// The workspace moved on since then: it is verified once more first.
        #[serde(default)]
        again: bool,
    },
    /// A finding was accepted by a human: the step counts as passed.
    #[serde(rename = "step.accepted")]
    StepAccepted {
        /// The step.
        step: String,
        /// Who.
        actor: String,
    },
    /// A step failed for good.
    #[serde(rename = "step.failed")]
    StepFailed {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
    /// The run waits for a human.
    #[serde(rename = "run.paused")]
    Paused,
    /// It goes on.
    #[serde(rename = "run.resumed")]
    Resumed,
    /// An operator lets nothing new start.
    #[serde(rename = "run.held")]
    Held {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// It goes on.
    #[serde(rename = "run.hold_ended")]
    HoldEnded {
        /// Who.
        actor: String,
    },
    /// An operator says what a step came to.
    #[serde(rename = "step.marked")]
    StepMarked {
        /// The step.
        step: String,
        /// What.
        mark: Mark,
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// An operator changed the plan.
    #[serde(rename = "run.plan_edited")]
    PlanEdited {
        /// The record.
        delta: Delta,
        /// The new plan.
        graph: PlanGraph,
        /// Its number.
        version: u32,
        /// Who.
        actor: String,
    },
    /// Every step passed.
    #[serde(rename = "run.succeeded")]
    Succeeded,
    /// A step, or the workspace, failed for good.
    #[serde(rename = "run.failed")]
    Failed {
        /// Why.
        reason: String,
    },
    /// Somebody canceled it.
    #[serde(rename = "meta.run.canceled")]
    Canceled {
        /// Who.
        actor: String,
    },
    /// Somebody sent it on from its failed step.
    #[serde(rename = "run.retry")]
    RunRetry {
        /// Who.
        actor: String,
    },
}

impl RunEvent {
    /// The step it happened to; empty for the run itself.
    pub fn step(&self) -> &str {
        match self {
            Self::Created { .. }
            | Self::Started
            | Self::Prepared { .. }
            | Self::Paused
            | Self::Resumed
            | Self::Succeeded
            | Self::Failed { .. }
            | Self::Canceled { .. }
            | Self::RunRetry { .. }
            | Self::RollbackFailed { .. }
            | Self::Held { .. }
            | Self::HoldEnded { .. }
            | Self::PlanEdited { .. }
            | Self::RolledBack { attempt: None, .. } => "",
            Self::StepQueued { step, .. }
            | Self::StepStarted { step, .. }
            | Self::StepSucceeded { step, .. }
            | Self::StepAttemptFailed { step, .. }
            | Self::Classified { step, .. }
            | Self::FixStarted { step, .. }
            | Self::Proposed { step, .. }
            | Self::Reviewed { step, .. }
            | Self::VerificationStarted { step, .. }
            | Self::Verified { step, .. }
            | Self::Collected { step, .. }
            | Self::Drafted { step, .. }
            | Self::GateExpired { step, .. }
            | Self::GateSuperseded { step, .. }
            | Self::StepOutdated { step, .. }
            | Self::Tried { step, .. }
            | Self::RollbackStarted { step, .. }
            | Self::ApprovalGranted { step, .. }
            | Self::ApprovalRejected { step, .. }
            | Self::CommitStarted { step, .. }
            | Self::StepAccepted { step, .. }
            | Self::StepMarked { step, .. }
            | Self::StepFailed { step, .. } => step,
            Self::Retry { attempt, .. }
            | Self::PatchApplied { attempt, .. }
            | Self::Replanned { attempt, .. }
            | Self::Escalated { attempt, .. }
            | Self::GaveUp { attempt }
            | Self::RolledBack { attempt: Some(attempt), .. } => &attempt.step,
            Self::ApprovalRequested { gate } => &gate.step,
        }
    }

    /// The status a decision event gives its gate.
    pub fn gate_status(&self) -> Option<(GateId, GateStatus)> {
        match self {
            Self::ApprovalGranted { gate, .. } => Some((*gate, GateStatus::Approved)),
            Self::ApprovalRejected { gate, .. } => Some((*gate, GateStatus::Rejected)),
            Self::GateExpired { gate, .. } | Self::GateSuperseded { gate, .. } => {
                Some((*gate, GateStatus::Expired))
            }
            _ => None,
        }
    }
}
