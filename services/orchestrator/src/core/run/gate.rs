//! What humans decide, and how.

use super::Patch;
use crate::core::evidence::Evidence;
use meta_domain::autofix::FixerCommand;
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::id::{GateId, PlanId};
use meta_domain::signal::Signal;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How a run's gates are decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatePolicy {
    /// Milliseconds after which a gate decides itself; 0 means never.
    pub expires_after_ms: u64,
    /// What happens then.
    pub on_expiry: ExpiryAction,
    /// Whoever started the run may not approve.
    pub four_eyes: bool,
}

/// What happens when nobody decides a gate in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryAction {
    /// The run fails, as if somebody had rejected.
    #[default]
    Fail,
    /// The run is canceled.
    Cancel,
}

/// A human decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Its id.
    pub id: GateId,
    /// The step that waits.
    pub step: String,
    /// What is asked.
    pub gate_type: GateType,
    /// Where it stands.
    pub status: GateStatus,
    /// What approving does.
    pub effect: GateEffect,
    /// Why it is asked.
    pub reason: String,
    /// The patch that waits, with the fixer that made it.
    pub proposal: Option<(FixerCommand, Patch)>,
    /// The failure.
    pub signal: Option<Signal>,
    /// Who decided.
    pub decided_by: String,
    /// What they said.
    pub notes: String,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// The plan that the decision is for.
    #[serde(default)]
    pub plan: Option<PlanId>,
    /// Its number.
    #[serde(default)]
    pub plan_version: u32,
    /// Names the step as it was planned when it was asked.
    #[serde(default)]
    pub planned: String,
    /// The commit that the patch was verified on.
    #[serde(default)]
    pub base: String,
    /// What the verification showed.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// Everything that the guard said.
    #[serde(default)]
    pub guard_reasons: Vec<String>,
    /// How much to mind the patch, 0 to 100.
    #[serde(default)]
    pub risk: u32,
    /// When it decides itself.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl Gate {
    /// Whether a human's yes to this gate also covers a patch for the step as it is planned now.
    pub fn covers_patch(&self, planned: &str, sha256: &str) -> bool {
        self.status == GateStatus::Approved
            && self.effect == GateEffect::ApplyPatch
            && self.planned == planned
            && self.proposal.as_ref().is_some_and(|(_, p)| p.sha256 == sha256)
    }

    /// Whether it also covers the same finding of the step as it is planned now.
    pub fn covers_finding(&self, planned: &str, signal: &Signal) -> bool {
        self.status == GateStatus::Approved
            && self.effect == GateEffect::Accept
            && self.planned == planned
            && self.signal.as_ref().is_some_and(|s| {
                s.fingerprint == signal.fingerprint && s.failure_type == signal.failure_type
            })
    }
}
