//! A run's event log as this program reads it: only the fields that people are told. What it does
//! not know it passes over, so that a newer server does not break it.

use meta_domain::autofix::FixTry;
use meta_domain::gate::{GateEffect, GateType};
use meta_domain::plan::PlanOp;
use meta_domain::signal::{ExitInfo, Signal};
use serde::{Deserialize, Serialize};

/// How an execution went.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Execution {
    /// How it ended.
    pub exit: ExitInfo,
    /// Milliseconds.
    pub duration_ms: u64,
    /// Sandbox level.
    pub sandbox: String,
}

/// A turn of the loop.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Turn {
    /// The step.
    pub step: String,
    /// From 1 within the step.
    pub number: u32,
    /// What failed.
    pub signal: Signal,
    /// The wait before a retry.
    #[serde(default)]
    pub backoff_ms: u64,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What the fixers did.
    #[serde(default)]
    pub tries: Vec<FixTry>,
    /// The patch.
    pub patch: Option<String>,
}

/// How many tests a tool says it executed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct TestCount {
    /// The tool.
    pub tool: String,
    /// Tests that ran.
    pub executed: u64,
    /// Tests that did not.
    pub skipped: u64,
}

/// What one step of a verification showed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Check {
    /// The step.
    pub step: String,
    /// How it ended.
    pub exit: ExitInfo,
    /// Milliseconds.
    pub duration_ms: u64,
    /// The most that its tests did before.
    pub before: Vec<TestCount>,
    /// What they did with the patch.
    pub after: Vec<TestCount>,
    /// How often it was executed.
    pub executions: u32,
}

/// What a verification of a patch showed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Evidence {
    /// The fixer.
    pub fixer: String,
    /// The patch.
    pub patch_sha256: String,
    /// The commit it was applied to.
    pub base: String,
    /// Whether it was good enough.
    pub passed: bool,
    /// Why not.
    pub detail: String,
    /// The failing step first.
    pub checks: Vec<Check>,
    /// Files of the patch that are part of the check itself.
    pub check_files: Vec<String>,
    /// Those of them that were put back first.
    pub restored: Vec<String>,
}

/// A gate that opens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Gate {
    /// Its id.
    pub id: String,
    /// The step that waits.
    pub step: String,
    /// What is asked.
    #[serde(rename = "gate_type")]
    pub asks: GateType,
    /// What approving does.
    pub effect: GateEffect,
    /// Why.
    pub reason: String,
}

/// A fixer that was chosen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Fixer {
    /// What people call it.
    pub title: String,
}

/// The record of a re-plan.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Delta {
    /// What changed.
    pub ops: Vec<PlanOp>,
    /// Which rule asked for it.
    pub triggered_by: String,
}

/// One entry of the event log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type")]
pub enum Happened {
    #[serde(rename = "step.started")]
    StepStarted { step: String, execution: u32 },
    #[serde(rename = "step.succeeded")]
    StepSucceeded {
        step: String,
        execution: Execution,
        #[serde(default)]
        flaky: bool,
    },
    #[serde(rename = "step.attempt_failed")]
    AttemptFailed { step: String, execution: Execution },
    #[serde(rename = "autofix.classified")]
    Classified { step: String, signal: Signal },
    #[serde(rename = "autofix.fix_started")]
    FixStarted {
        step: String,
        fixers: Vec<Fixer>,
        #[serde(default)]
        reason: String,
    },
    #[serde(rename = "autofix.tried")]
    Tried {
        step: String,
        result: FixTry,
        #[serde(default)]
        evidence: Option<Evidence>,
    },
    #[serde(rename = "autofix.reviewed")]
    Reviewed {
        step: String,
        #[serde(default)]
        approval: Option<String>,
        #[serde(default)]
        reasons: Vec<String>,
        #[serde(default)]
        risk: u32,
    },
    #[serde(rename = "autofix.verified")]
    Verified {
        step: String,
        #[serde(default)]
        evidence: Evidence,
    },
    #[serde(rename = "autofix.retry")]
    Retry { attempt: Turn },
    #[serde(rename = "autofix.patch_applied")]
    PatchApplied {
        attempt: Turn,
        #[serde(default)]
        commit: String,
    },
    #[serde(rename = "autofix.replanned")]
    Replanned { attempt: Turn, delta: Delta, version: u32 },
    #[serde(rename = "autofix.escalated")]
    Escalated { attempt: Turn, gate: Gate },
    #[serde(rename = "approval.requested")]
    ApprovalRequested { gate: Gate },
    #[serde(rename = "autofix.gave_up")]
    GaveUp { attempt: Turn },
    #[serde(rename = "autofix.rollback_started")]
    RollbackStarted { step: String },
    #[serde(rename = "autofix.rollback_failed")]
    RollbackFailed { reason: String },
    #[serde(rename = "autofix.rolled_back")]
    RolledBack {
        attempt: Option<Turn>,
        #[serde(default)]
        commit: String,
    },
    #[serde(rename = "approval.granted")]
    Granted {
        gate: String,
        step: String,
        actor: String,
        #[serde(default)]
        notes: String,
    },
    #[serde(rename = "approval.rejected")]
    Rejected {
        gate: String,
        step: String,
        actor: String,
        #[serde(default)]
        notes: String,
    },
    #[serde(rename = "step.accepted")]
    Accepted { step: String, actor: String },
    #[serde(rename = "step.failed")]
    StepFailed { step: String, reason: String },
    #[serde(rename = "run.paused")]
    Paused,
    #[serde(other)]
    Other,
}

impl Happened {
    /// Reads an entry from its type and its fields.
    ///
    /// # Errors
    /// When the fields of a known type are not what they should be.
    pub fn read(kind: &str, data_json: &str) -> Result<Self, serde_json::Error> {
        let mut data: serde_json::Value = match data_json {
            "" => serde_json::Value::Object(serde_json::Map::new()),
            text => serde_json::from_str(text)?,
        };
        if let Some(fields) = data.as_object_mut() {
            fields.insert("type".to_owned(), kind.into());
        }
        serde_json::from_value(data)
    }
}
