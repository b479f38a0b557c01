//! A node of the plan inside the run.

use super::Healing;
use crate::core::evidence::{Evidence, hash};
use meta_domain::autofix::FixTry;
use meta_domain::id::GateId;
use meta_domain::plan::PlannedStep;
use meta_domain::signal::{ExitInfo, Signal};
use meta_domain::status::StepStatus;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A node of the plan inside the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// As planned.
    pub planned: PlannedStep,
    /// Where it stands.
    pub state: State,
    /// Executions begun.
    pub executions: u32,
    /// When it was first executed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Milliseconds of the last execution.
    pub duration_ms: u64,
    /// The last failure.
    pub signal: Option<Signal>,
    /// How the last execution ended.
    pub exit: Option<ExitInfo>,
    /// It passed on a plain retry at the same commit.
    pub flaky: bool,
    /// Sandbox of the last execution.
    pub sandbox: String,
    /// Why it ended as it did, in one line.
    pub reason: String,
    /// Its logs, oldest first.
    pub logs: Vec<LogRef>,
    /// A human let it start (`approval = "before"`).
    pub let_start: bool,
    /// Fixers tried on the present failure.
    pub tries: Vec<FixTry>,
    /// Commit at which the present failure happened.
    pub failed_at_commit: String,
    /// When it happened: what the backoff is counted from.
    #[serde(default)]
    pub failed_at: Option<Timestamp>,
    /// Every verification of a patch for it, oldest first.
    #[serde(default)]
    pub verifications: Vec<Evidence>,
    /// Number of the event of its last success; 0 when it never passed.
    #[serde(default)]
    pub passed_seq: u64,
    /// The runner of its last execution.
    #[serde(default)]
    pub runner: String,
    /// A re-plan moved it away from this runner.
    #[serde(default)]
    pub avoid_runner: String,
    /// Who said that it counts as passed or as not needed; empty means nobody.
    #[serde(default)]
    pub marked_by: String,
}

/// A log of one execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRef {
    /// Which execution of the step, from 1.
    pub execution: u32,
    /// File name in the log store.
    pub name: String,
    /// It is the log of a verification, not of the step itself.
    pub verification: bool,
}

/// Where a step stands; each state carries its own data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Waits for its needs.
    Pending,
    /// In the queue; not before `due`.
    Queued {
        /// When it may start.
        due: Timestamp,
    },
    /// A runner executes it.
    Executing,
    /// It failed; the failure is being classified and decided.
    Judging,
    /// A fixer's patch is on its way.
    Healing(Box<Healing>),
    /// A gate waits for a human.
    Gated {
        /// The gate.
        gate: GateId,
    },
    /// The workspace goes back to an earlier commit.
    RollingBack {
        /// Why.
        reason: String,
    },
    /// Passed.
    Succeeded,
    /// Failed for good.
    Failed,
    /// Not reached.
    Skipped,
    /// The run was canceled.
    Canceled,
}

impl Step {
    /// A step that has not run.
    pub fn new(planned: PlannedStep) -> Self {
        Self {
            planned,
            state: State::Pending,
            executions: 0,
            started_at: None,
            finished_at: None,
            duration_ms: 0,
            signal: None,
            exit: None,
            flaky: false,
            sandbox: String::new(),
            reason: String::new(),
            logs: Vec::new(),
            let_start: false,
            tries: Vec::new(),
            failed_at_commit: String::new(),
            failed_at: None,
            verifications: Vec::new(),
            passed_seq: 0,
            runner: String::new(),
            avoid_runner: String::new(),
            marked_by: String::new(),
        }
    }

    /// Whether it passed by itself, not by a human's word.
    pub fn is_green(&self) -> bool {
        self.state == State::Succeeded && self.exit.is_some_and(|e| e.success())
    }

    /// Names the step as it is planned: another command, environment or order is another name.
    pub fn fingerprint(&self) -> String {
        let text = serde_json::to_vec(&self.planned).unwrap_or_default();
        hash(&text)
    }

    /// The status that users see.
    pub fn status(&self) -> StepStatus {
        match self.state {
            State::Pending | State::Queued { .. } => StepStatus::Pending,
            State::Executing
            | State::Judging
            | State::Healing(_)
            | State::Gated { .. }
            | State::RollingBack { .. } => StepStatus::Running,
            State::Succeeded => StepStatus::Succeeded,
            State::Failed => StepStatus::Failed,
            State::Skipped => StepStatus::Skipped,
            State::Canceled => StepStatus::Canceled,
        }
    }

    /// Whether a task of it is in the queue or at work.
    pub fn is_active(&self) -> bool {
        match self.state {
            State::Queued { .. }
            | State::Executing
            | State::Judging
            | State::Healing(_)
            | State::RollingBack { .. } => true,
            State::Pending
            | State::Gated { .. }
            | State::Succeeded
            | State::Failed
            | State::Skipped
            | State::Canceled => false,
        }
    }
}
