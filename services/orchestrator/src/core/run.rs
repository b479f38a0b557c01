//! The run: one execution of a plan, with all that the loop knows of it.

use super::evidence::{Evidence, hash};
use super::transition::TaskKind;
use meta_domain::autofix::{FixTry, FixerCommand, FixerKind, Outcome, PastAttempt, Strategy};
use meta_domain::failure::FailureType;
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::id::{AttemptId, DeltaId, GateId, PlanId, RunId, SpecId, TenantId};
use meta_domain::plan::{PlanGraph, PlanOp, PlannedStep};
use meta_domain::signal::{ExitInfo, Signal};
use meta_domain::source::Source;
use meta_domain::status::{RunStatus, StepStatus};
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

/// A patch with its measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// As `git diff --binary` prints it.
    pub text: String,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Files it touches.
    pub files: u32,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// The fixers of one decision, and how far they got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Healing {
    /// Best first.
    pub fixers: Vec<FixerCommand>,
    /// Which one is at work.
    pub next: usize,
    /// Why these were chosen.
    pub reason: String,
    /// What is being done with it.
    pub phase: Phase,
    /// Its patch, from the review on.
    pub patch: Option<Patch>,
    /// Why a human has to approve the patch, when one has to.
    pub approval: Option<String>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// What the verification showed.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// Everything that the guard said of the patch.
    #[serde(default)]
    pub guard_reasons: Vec<String>,
    /// How much a human should mind the patch, 0 to 100.
    #[serde(default)]
    pub risk: u32,
    /// Tokens that the fixer's model took.
    #[serde(default)]
    pub tokens: u64,
    /// When this fixer began.
    #[serde(default = "long_ago")]
    pub since: Timestamp,
}

fn long_ago() -> Timestamp {
    Timestamp(0)
}

impl Healing {
    /// A healing that begins with the first fixer.
    pub fn new(fixers: Vec<FixerCommand>, reason: String, since: Timestamp) -> Self {
        let mut healing = Self {
            fixers,
            next: 0,
            reason,
            phase: Phase::Proposing,
            patch: None,
            approval: None,
            approved_by: None,
            evidence: None,
            guard_reasons: Vec::new(),
            risk: 0,
            tokens: 0,
            since,
        };
        healing.phase = healing.first_phase();
        healing
    }

    /// Goes on with the next fixer; answers whether there is one.
    pub fn go_on(&mut self, since: Timestamp) -> bool {
        let fixers = std::mem::take(&mut self.fixers);
        let (next, reason) = (self.next + 1, std::mem::take(&mut self.reason));
        *self = Self { next, ..Self::new(fixers, reason, since) };
        self.phase = self.first_phase();
        self.next < self.fixers.len()
    }

    fn first_phase(&self) -> Phase {
        match self.fixer().map(|f| f.kind) {
            Some(FixerKind::Model) => Phase::Collecting,
            Some(FixerKind::Script) | None => Phase::Proposing,
        }
    }

    /// The strategy that its fixer at work stands for.
    pub fn strategy(&self) -> Strategy {
        match self.fixer().map(|f| f.kind) {
            Some(FixerKind::Model) => Strategy::RegenerateCode,
            Some(FixerKind::Script) | None => Strategy::FixSpecificIssue,
        }
    }

    /// The fixer at work.
    pub fn fixer(&self) -> Option<&FixerCommand> {
        self.fixers.get(self.next)
    }
}

/// What is being done with a fixer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A model's files are read from the workspace.
    Collecting,
    /// A model is asked for edits.
    Drafting,
    /// It changes a copy of the workspace.
    Proposing,
    /// The patch guard looks at its patch.
    Reviewing,
    /// The step is executed with the patch in a second copy.
    Verifying,
    /// The patch is committed to the run's workspace.
    Committing,
}

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
