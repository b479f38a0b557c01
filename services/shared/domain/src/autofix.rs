//! The words of the auto-fix loop: strategies, outcomes, cases and decisions.

use crate::failure::FailureType;
use crate::gate::{GateEffect, GateType};
use crate::plan::{PlanOp, PlannedStep};
use crate::settings::Settings;
use crate::signal::{ExitInfo, Signal};
use crate::status::words;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

words! {
    /// How the loop answers a failure.
    Strategy {
        /// Run the step again on the same commit after a backoff.
        RetryStep = "retry_step",
        /// Let a deterministic fixer propose a patch.
        FixSpecificIssue = "fix_specific_issue",
        /// Let a model propose a patch.
        RegenerateCode = "regenerate_code",
        /// Change the plan.
        RePlan = "re_plan",
        /// Go back to the last good commit.
        Rollback = "rollback",
        /// Ask a human.
        ManualIntervention = "manual_intervention",
        /// Nothing is left to try.
        None = "none",
    }
}

words! {
    /// What came of it.
    Outcome {
        /// The step runs again.
        Retried = "retried",
        /// A verified patch was committed.
        PatchApplied = "patch_applied",
        /// A new plan version is in force.
        Replanned = "replanned",
        /// A gate waits.
        Escalated = "escalated",
        /// The step failed for good.
        GaveUp = "gave_up",
    }
}

words! {
    /// How far a fixer is trusted.
    FixerSafety {
        /// Keeps behaviour: applied when verified.
        Safe = "safe",
        /// May change behaviour: applied when verified by the failing step.
        Unsafe = "unsafe",
        /// Touches manifests, migrations or modes under its own path grant.
        Guarded = "guarded",
        /// Always asks a human.
        ApprovalAlways = "approval_always",
    }
}

words! {
    /// What came of one fixer's try.
    TryVerdict {
        /// The patch was verified and committed.
        Accepted = "accepted",
        /// The patch was verified and hangs on a gate.
        NeedsApproval = "needs_approval",
        /// The fixer changed nothing.
        NoChange = "no_change",
        /// The patch broke the patch policy.
        GuardReject = "guard_reject",
        /// The step still failed with the patch.
        VerifyFail = "verify_fail",
        /// The fixer itself failed, or its tool is missing.
        FixerError = "fixer_error",
    }
}

words! {
    /// How a fixer's change is made.
    FixerKind {
        /// Its script runs in a copy of the workspace.
        Script = "script",
        /// A model is asked for edits.
        Model = "model",
    }
}

/// A file that a model wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedFile {
    /// Relative to the workspace.
    pub path: String,
    /// Shown for understanding only: edits of it are refused.
    pub read_only: bool,
}

/// What to collect from the workspace before a model is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextPlan {
    /// Most wanted first; every path is inside the workspace and not denied.
    pub files: Vec<WantedFile>,
    /// Larger files are left out, in bytes.
    pub file_bytes_max: u64,
    /// The collection ends before the file that would exceed this, in bytes.
    pub bytes_max: u64,
}

/// A file as it is in the workspace at the failing commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Relative to the workspace.
    pub path: String,
    /// Its text.
    pub contents: String,
}

/// What a file becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEdit {
    /// Relative to the workspace.
    pub path: String,
    /// Its new text; `None` takes it away.
    pub contents: Option<String>,
}

/// A file that is written beside a fixer's script before it runs (in `$STATE_DIR`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixerFile {
    /// File name without folders.
    pub name: String,
    /// Its text.
    pub contents: String,
}

/// Which paths a fixer may change beyond the default patch policy, and how much.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathGrant {
    /// Extra writable globs, relative to the workspace.
    #[serde(default)]
    pub add: Vec<String>,
    /// Whether it may change file modes.
    #[serde(default)]
    pub modes: bool,
    /// Files it may touch; 0 means the default limit.
    #[serde(default)]
    pub files_max: u32,
    /// Lines it may change; 0 means the default limit.
    #[serde(default)]
    pub lines_max: u32,
}

/// A fixer chosen for a failure, ready to be executed in a copy of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixerCommand {
    /// Id in the registry, such as `ruff_format`; `step` for the step's own `fix`.
    pub id: String,
    /// What people call it, such as `ruff format`.
    pub title: String,
    /// Shell script, run with `bash -c` in the workspace. Exit 0: the diff decides; 3: nothing to
    /// do; 4: cannot fix safely (the text says why); anything else: the fixer failed.
    pub script: String,
    /// Files laid into `$STATE_DIR` first.
    pub files: Vec<FixerFile>,
    /// Whether it may use the network.
    pub network: bool,
    /// Time limit in milliseconds.
    pub timeout_ms: u64,
    /// How far it is trusted.
    pub safety: FixerSafety,
    /// What it may change.
    pub grant: PathGrant,
    /// How its change is made.
    #[serde(default = "script")]
    pub kind: FixerKind,
    /// What to collect first; only for models.
    #[serde(default)]
    pub context: ContextPlan,
    /// It leaves a SARIF log as `$STATE_DIR/fixes.sarif`, whose fixes are applied when it is done.
    #[serde(default)]
    pub sarif: bool,
}

/// What a stored fixer is that names no kind.
fn script() -> FixerKind {
    FixerKind::Script
}

/// What one fixer did about one failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixTry {
    /// The fixer.
    pub fixer: String,
    /// Its title.
    pub title: String,
    /// What came of it.
    pub verdict: TryVerdict,
    /// Why, in one line.
    pub detail: String,
    /// SHA-256 of the patch, in hex; empty when there was none.
    pub patch_sha256: String,
    /// Files the patch touches.
    pub files: u32,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// An earlier turn of the loop on the same step, as far as a decision needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastAttempt {
    /// What failed.
    pub failure_type: FailureType,
    /// Its fingerprint.
    pub fingerprint: String,
    /// What was done.
    pub strategy: Strategy,
    /// What came of it.
    pub outcome: Outcome,
    /// What the fixers did.
    pub tries: Vec<FixTry>,
}

/// Everything a decision may depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The step as planned.
    pub step: PlannedStep,
    /// How it ended.
    pub exit: ExitInfo,
    /// The classified failure.
    pub signal: Signal,
    /// Settings in force for this run.
    pub settings: Settings,
    /// Earlier attempts on this step in this run, oldest first.
    pub history: Vec<PastAttempt>,
    /// Fixers already tried on this very failure.
    pub tried: Vec<FixTry>,
    /// Attempts of the whole run so far.
    pub attempts_of_run: u32,
    /// Types of all failures of the run so far, this one included, oldest first.
    pub failure_types_of_run: Vec<FailureType>,
    /// Names of the run's steps that could run beside this one.
    pub parallel_steps: Vec<String>,
    /// How often the plan was already changed in this run.
    pub replans_of_run: u32,
    /// Relative paths of the workspace's files.
    pub files: Vec<String>,
    /// Whether a commit made by the loop stands above the base commit for this step.
    pub patched: bool,
    /// Commits at the head of the source that the loop made with no human's commit above them; 0
    /// where nobody counted.
    #[serde(default)]
    pub bot_commits_in_a_row: u32,
    /// All steps of the plan in force; empty where only the failed one is known.
    #[serde(default)]
    pub plan: Vec<PlannedStep>,
    /// Whether this very failure of this step went away by itself before, in this run or another.
    #[serde(default)]
    pub known_flaky: bool,
}

/// What to do about a failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "strategy", rename_all = "snake_case")]
pub enum Decision {
    /// Run the step again after a wait.
    RetryStep {
        /// Wait in milliseconds.
        backoff_ms: u64,
        /// Why.
        reason: String,
    },
    /// Try these fixers in order until one is verified.
    FixSpecificIssue {
        /// The fixers, best first.
        fixers: Vec<FixerCommand>,
        /// Why.
        reason: String,
    },
    /// Change the plan.
    RePlan {
        /// How.
        ops: Vec<PlanOp>,
        /// Which rule asked for it.
        triggered_by: String,
        /// Why.
        reason: String,
    },
    /// Go back to the last good commit and run the step again.
    Rollback {
        /// Why.
        reason: String,
    },
    /// Ask a human.
    ManualIntervention {
        /// What is asked.
        gate: GateType,
        /// What approving does.
        effect: GateEffect,
        /// Why.
        reason: String,
    },
    /// The step fails for good.
    GiveUp {
        /// What was tried and why nothing is left.
        reason: String,
    },
}

impl Decision {
    /// The strategy of this decision.
    pub fn strategy(&self) -> Strategy {
        match self {
            Self::RetryStep { .. } => Strategy::RetryStep,
            Self::FixSpecificIssue { .. } => Strategy::FixSpecificIssue,
            Self::RePlan { .. } => Strategy::RePlan,
            Self::Rollback { .. } => Strategy::Rollback,
            Self::ManualIntervention { .. } => Strategy::ManualIntervention,
            Self::GiveUp { .. } => Strategy::None,
        }
    }

    /// Why.
    pub fn reason(&self) -> &str {
        match self {
            Self::RetryStep { reason, .. }
            | Self::FixSpecificIssue { reason, .. }
            | Self::RePlan { reason, .. }
            | Self::Rollback { reason }
            | Self::ManualIntervention { reason, .. }
            | Self::GiveUp { reason } => reason,
        }
    }
}

/// The patch guard's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum GuardVerdict {
    /// May be verified and committed.
    Accept,
    /// May be verified; a human decides whether it is committed.
    NeedsApproval {
        /// Why.
        reason: String,
    },
    /// Thrown away.
    Reject {
        /// Why.
        reason: String,
    },
}
