//! The run: one execution of a plan, with all that the loop knows of it.

mod attempt;
mod gate;
mod healing;
mod step;

pub use attempt::{Attempt, Delta};
pub use gate::{ExpiryAction, Gate, GatePolicy};
pub use healing::{Healing, Patch, Phase};
pub use step::{LogRef, State, Step};

use super::transition::TaskKind;
use meta_domain::autofix::PastAttempt;
use meta_domain::failure::FailureType;
use meta_domain::id::{GateId, PlanId, RunId, SpecId, TenantId};
use meta_domain::plan::PlanGraph;
use meta_domain::source::Source;
use meta_domain::status::RunStatus;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One execution of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Whom it belongs to.
    pub tenant: TenantId,
    /// What it builds.
    pub spec: SpecId,
    /// The plan version in force.
    pub plan: PlanId,
    /// Its number, from 1.
    pub plan_version: u32,
    /// Its content.
    #[serde(with = "super::shared")]
    pub graph: Arc<PlanGraph>,
    /// Where the files come from.
    pub source: Source,
    /// Where steps see the workspace; empty means the runner's default.
    pub mount: String,
    /// Names the caches.
    pub cache_key: String,
    /// How many plan versions it may go through by itself.
    pub max_iterations: u32,
    /// Who started it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it failed, in one line.
    pub reason: String,
    /// When it left `pending`.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// First commit of the workspace; empty before it is prepared.
    pub base: String,
    /// Last commit of the workspace.
    pub head: String,
    /// Its steps, in plan order.
    #[serde(with = "super::shared::each")]
    pub steps: Vec<Arc<Step>>,
    /// Turns of the auto-fix loop, oldest first.
    pub attempts: Vec<Attempt>,
    /// Human decisions, oldest first.
    pub gates: Vec<Gate>,
    /// Re-plans, oldest first.
    pub deltas: Vec<Delta>,
    /// Attempts before this index were paid by an earlier budget (see `retry`).
    pub budget_from: usize,
    /// Types of all failures, oldest first.
    pub failure_types: Vec<FailureType>,
    /// An operator asked for a rollback that is not done yet.
    #[serde(default)]
    pub rolling_back: bool,
    /// How its gates are decided.
    #[serde(default)]
    pub gate_policy: GatePolicy,
    /// Commits at the head of the source that the loop made.
    #[serde(default)]
    pub bot_commits: u32,
    /// Who paused it: nothing new of it starts; empty means nobody.
    #[serde(default)]
    pub held_by: String,
    /// Milliseconds after which it fails if it has not ended; 0 means never.
    #[serde(default)]
    pub timeout_ms: u64,
    /// Of two that wait for a runner, the run with the greater number goes first.
    #[serde(default)]
    pub priority: i32,
    /// The W3C trace context of the request that made it; empty means that there was none.
    #[serde(default)]
    pub trace: String,
    /// How often it was sent on after its end.
    #[serde(default)]
    pub retried: u32,
    /// Number of the last event.
    pub seq: u64,
}

impl Run {
    /// The step of that name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().map(|s| &**s).find(|s| s.planned.name == name)
    }

    /// The step of that name, to change it.
    pub fn step_mut(&mut self, name: &str) -> Option<&mut Step> {
        self.steps.iter_mut().find(|s| s.planned.name == name).map(Arc::make_mut)
    }

    /// What a runner has to offer for a task on that step, sorted and joined by commas.
    pub fn labels_of(&self, kind: TaskKind, step: &str) -> String {
        match self.step(step) {
            Some(step) if !kind.is_internal() => {
                let mut labels = step.planned.runs_on.clone();
                labels.sort_unstable();
                labels.join(",")
            }
            _ => String::new(),
        }
    }

    /// Attempts paid by the present budget.
    pub fn paid_attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().skip(self.budget_from).filter(|a| a.is_paid())
    }

    /// The present budget's attempts on a step, oldest first.
    pub fn history(&self, step: &str) -> Vec<PastAttempt> {
        self.attempts
            .iter()
            .skip(self.budget_from)
            .filter(|a| a.step == step && a.is_paid())
            .map(Attempt::past)
            .collect()
    }

    /// Whether a commit of the loop for this step stands above the base.
    pub fn is_patched(&self, step: &str) -> bool {
        self.head != self.base
            && self.attempts.iter().any(|a| a.step == step && a.is_standing_patch())
    }

    /// The newest patch of the loop that stands, if it came after the step's last success and may
    /// be what broke it.
    pub fn broken_by(&self, step: &str) -> Option<&Attempt> {
        let green = self.step(step)?.passed_seq;
        let last = self.attempts.iter().rev().find(|a| a.is_standing_patch())?;
        (green > 0 && last.seq > green).then_some(last)
    }

    /// The step that a patch of that hash broke, when it was taken back for that.
    pub fn taken_back(&self, sha256: &str) -> Option<&Attempt> {
        let is = |a: &&Attempt| a.reverted && a.tries.iter().any(|t| t.patch_sha256 == sha256);
        self.attempts.iter().find(is)
    }

    /// The gate of that id.
    pub fn gate(&self, id: GateId) -> Option<&Gate> {
        self.gates.iter().find(|g| g.id == id)
    }
}
