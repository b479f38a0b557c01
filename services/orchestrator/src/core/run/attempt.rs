//! The turns of the auto-fix loop, and what they changed of the plan.

use crate::core::evidence::Evidence;
use meta_domain::autofix::{FixTry, Outcome, PastAttempt, Strategy};
use meta_domain::id::{AttemptId, DeltaId, PlanId};
use meta_domain::plan::PlanOp;
use meta_domain::signal::Signal;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One turn of the auto-fix loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// The step.
    pub step: String,
    /// From 1 within the step.
    pub number: u32,
    /// What failed.
    pub signal: Signal,
    /// What was done.
    pub strategy: Strategy,
    /// What came of it.
    pub outcome: Outcome,
    /// Wait before the retry, in milliseconds.
    pub backoff_ms: u64,
    /// Why.
    pub reason: String,
    /// What the fixers did.
    pub tries: Vec<FixTry>,
    /// The committed or proposed patch.
    pub patch: Option<String>,
    /// The step whose commit a rollback went back to.
    pub rollback_to_step: String,
    /// When.
    pub created_at: Timestamp,
    /// What the verification of the patch showed.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// The commit of the patch.
    #[serde(default)]
    pub commit: String,
    /// Number of the event that recorded it.
    #[serde(default)]
    pub seq: u64,
    /// The patch was taken back later.
    #[serde(default)]
    pub reverted: bool,
}

impl Attempt {
    /// Whether it takes from the budgets: a turn that made the step run again. Taking a patch back
    /// does not: the patch was paid, and a spent budget must not keep it standing.
    pub fn is_paid(&self) -> bool {
        match self.outcome {
            Outcome::PatchApplied => self.strategy != Strategy::Rollback,
            Outcome::Retried | Outcome::Replanned => true,
            Outcome::Escalated | Outcome::GaveUp => false,
        }
    }

    /// A patch of the loop that was committed and not taken back.
    pub fn is_standing_patch(&self) -> bool {
        self.outcome == Outcome::PatchApplied
            && self.strategy != Strategy::Rollback
            && !self.reverted
    }

    /// As a decision sees it.
    pub fn past(&self) -> PastAttempt {
        PastAttempt {
            failure_type: self.signal.failure_type,
            fingerprint: self.signal.fingerprint.clone(),
            strategy: self.strategy,
            outcome: self.outcome,
            tries: self.tries.clone(),
        }
    }
}

/// The record of a re-plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Its id.
    pub id: DeltaId,
    /// The plan before.
    pub original_plan: PlanId,
    /// The plan after.
    pub new_plan: PlanId,
    /// What changed.
    pub ops: Vec<PlanOp>,
    /// Which rule asked for it.
    pub triggered_by: String,
    /// When.
    pub created_at: Timestamp,
}
