//! Plans: versioned, immutable DAGs of steps.

use crate::status::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a step executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// A line for `/bin/sh`-like shells (run with `bash -c` where there is a bash).
    Shell(String),
    /// Program and arguments, no shell.
    Argv(Vec<String>),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(line) => f.write_str(line),
            Self::Argv(words) => f.write_str(&words.join(" ")),
        }
    }
}

words! {
    /// When a step asks a human by itself.
    ApprovalMode {
        /// Only when the auto-fix policy asks.
        Never = "never",
        /// Before it runs for the first time.
        Before = "before",
        /// Before any patch for it is applied.
        OnFix = "on-fix",
    }
}

/// A node of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Name, unique in the plan.
    pub name: String,
    /// What it executes.
    pub run: Command,
    /// Names of the steps that must succeed first.
    pub needs: Vec<String>,
    /// Time limit in milliseconds.
    pub timeout_ms: u64,
    /// Folders kept between attempts and runs, relative to the workspace.
    pub cache: Vec<String>,
    /// The step's own writable twin, tried first when it fails.
    pub fix: Option<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Whether it may use the network.
    pub network: bool,
    /// Paths that patches for this step may touch beyond the default ones.
    pub writable: Vec<String>,
    /// When a human is asked.
    pub approval: ApprovalMode,
    /// Why the step is in the plan.
    pub why: String,
    /// Empty the step's caches before its next attempt (set by a re-plan).
    #[serde(default)]
    pub clean_cache: bool,
}

/// One part of a plan's risk score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskPart {
    /// What adds risk.
    pub reason: String,
    /// How many points of 100 it adds.
    pub points: u32,
}

/// The content of a plan version, before it has an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanGraph {
    /// The steps in an order in which they could run one after another.
    pub steps: Vec<PlannedStep>,
    /// One paragraph for people.
    pub summary: String,
    /// The parts of the risk score; the score is their sum, at most 100.
    pub risk: Vec<RiskPart>,
    /// Run overrides that the project's file asks for.
    #[serde(default)]
    pub overrides: crate::settings::Overrides,
}

impl PlanGraph {
    /// 0 to 100.
    pub fn risk_score(&self) -> u32 {
        self.risk.iter().map(|p| p.points).sum::<u32>().min(100)
    }

    /// The step of that name.
    pub fn step(&self, name: &str) -> Option<&PlannedStep> {
        self.steps.iter().find(|s| s.name == name)
    }
}

words! {
    /// What a re-plan does to a step.
    PlanOpKind {
        /// The step's caches are emptied before it runs again.
        CleanCache = "clean_cache",
        /// The step waits for all others that could run beside it.
        Serialise = "serialise",
        /// The step gets a longer time limit.
        ExtendTimeout = "extend_timeout",
        /// A new step is put before it.
        InsertBefore = "insert_before",
    }
}

/// One operation of a re-plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOp {
    /// What is done.
    pub kind: PlanOpKind,
    /// To which step.
    pub step: String,
    /// The new time limit in milliseconds, for `extend_timeout`.
    pub timeout_ms: Option<u64>,
    /// The new step, for `insert_before`.
    pub insert: Option<PlannedStep>,
    /// Why.
    pub why: String,
}
