//! The failure signal: one classified failure of one step attempt.

use crate::failure::{FailureType, Severity};
use serde::{Deserialize, Serialize};

/// A line of the log that speaks for the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// Line number in the log, from 1.
    pub line: u64,
    /// The line itself: escape codes removed, secrets masked, cut to a printable length.
    pub text: String,
}

/// A place in the code that the log names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Path as the tool printed it.
    pub file: String,
    /// Line from 1, or 0 when not known.
    pub line: u32,
    /// Column from 1, or 0 when not known.
    pub column: u32,
    /// The tool's code for the finding, such as `E302` or `TS2322`; empty when it has none.
    pub code: String,
    /// The test that failed; empty when the finding is not a test.
    pub test: String,
}

/// Why a signal is `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownReason {
    /// There was no output to read.
    NoLog,
    /// No rule fired.
    NoRule,
    /// Rules of equal weight disagree.
    Conflicting,
}

/// The classified failure of one step attempt (BEHAVIOUR.md section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The failure type.
    pub failure_type: FailureType,
    /// Id of the rule that matched, or of the run-wide rule that overruled it.
    pub source: String,
    /// One line for people.
    pub message: String,
    /// How grave it is.
    pub severity: Severity,
    /// Whether running the step again unchanged can help.
    pub can_retry: bool,
    /// Whether the plan itself should change.
    pub requires_replan: bool,
    /// How sure the classifier is, in `[0, 1]`.
    pub confidence: f64,
    /// The lines that speak for it.
    pub evidence: Vec<EvidenceLine>,
    /// The places in the code it names.
    pub locations: Vec<Location>,
    /// The tool that failed (`pytest`, `rustc`, ...); empty when not known.
    pub tool: String,
    /// Same failure, same fingerprint: numbers, paths, hashes and timestamps are removed first.
    pub fingerprint: String,
    /// What the server asked us to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The second-best type, when another rule fired too.
    pub runner_up: Option<FailureType>,
    /// Why the type is `unknown`; `None` for every other type.
    pub unknown_reason: Option<UnknownReason>,
}

/// How a step's process ended, as far as the classifier needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitInfo {
    /// Exit code, when the process ended by itself.
    pub code: Option<i32>,
    /// Signal number that ended it, when one did.
    pub signal: Option<i32>,
    /// The step's own time limit passed and the runner killed it.
    pub timed_out: bool,
    /// The kernel killed it for memory.
    pub oom_killed: bool,
    /// The runner disappeared while it ran.
    pub runner_lost: bool,
}

impl ExitInfo {
    /// The process ended by itself with this code.
    pub fn code(code: i32) -> Self {
        Self { code: Some(code), ..Self::default() }
    }

    /// Whether the step succeeded.
    pub fn success(&self) -> bool {
        self.code == Some(0) && !self.timed_out && !self.oom_killed && !self.runner_lost
    }
}
