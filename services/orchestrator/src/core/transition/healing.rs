//! A fixer's patch: proposed, reviewed, verified, committed, or taken back.

use super::{TaskKind, Turn, stale};
use crate::core::event::RunEvent;
use crate::core::run::{Healing, Patch, Phase, State};
use meta_domain::autofix::{FixTry, GuardVerdict, Outcome, Strategy, TryVerdict};
use meta_domain::fault::Fault;
use meta_domain::gate::{GateEffect, GateType};

impl Turn {
    fn healing(&self, step: &str, phase: Phase) -> Result<Healing, Fault> {
        match &self.step_of(step)?.state {
            State::Healing(h) if h.phase == phase => Ok((**h).clone()),
            _ => Err(stale(step, "is not in that phase of healing")),
        }
    }

    pub(super) fn proposed(
        &mut self,
        step: String,
        result: Result<String, (TryVerdict, String)>,
    ) -> Result<(), Fault> {
        self.healing(&step, Phase::Proposing)?;
        match result {
            Err((verdict, detail)) => self.try_ended(&step, verdict, detail),
            Ok(text) => {
                let patch = Patch { text, sha256: String::new(), files: 0, added: 0, removed: 0 };
                self.emit(RunEvent::Proposed { step: step.clone(), patch });
                self.enqueue_now(TaskKind::Review, &step);
                Ok(())
            }
        }
    }

    pub(super) fn reviewed(
        &mut self,
        step: String,
        verdict: GuardVerdict,
        patch: Patch,
    ) -> Result<(), Fault> {
        self.healing(&step, Phase::Reviewing)?;
        let before = self.step_of(&step)?.tries.iter();
        let same = before.clone().find(|t| t.patch_sha256 == patch.sha256).map(|t| t.title.clone());
        let approval = match verdict {
            GuardVerdict::Reject { reason } => {
                return self.try_ended(&step, TryVerdict::GuardReject, reason);
            }
            GuardVerdict::Accept => None,
            GuardVerdict::NeedsApproval { reason } => Some(reason),
        };
        self.emit(RunEvent::Reviewed { step: step.clone(), approval, patch });
        if let Some(title) = same {
            let detail = format!("the same patch as by {title}, which did not help");
            return self.try_ended(&step, TryVerdict::VerifyFail, detail);
        }
        self.enqueue_now(TaskKind::Verify, &step);
        Ok(())
    }

    pub(super) fn verification_started(&mut self, step: String, log: String) -> Result<(), Fault> {
        self.healing(&step, Phase::Verifying)?;
        self.emit(RunEvent::VerificationStarted { step, log });
        Ok(())
    }

    pub(super) fn verified(
        &mut self,
        step: String,
        passed: bool,
        detail: String,
    ) -> Result<(), Fault> {
        let healing = self.healing(&step, Phase::Verifying)?;
        if !passed {
            return self.try_ended(&step, TryVerdict::VerifyFail, detail);
        }
        let Some(reason) = healing.approval.clone() else {
            self.emit(RunEvent::Verified { step: step.clone() });
            self.enqueue_now(TaskKind::Commit, &step);
            return Ok(());
        };
        self.ask_for_patch(&step, &healing, reason)
    }

    fn ask_for_patch(
        &mut self,
        step: &str,
        healing: &Healing,
        reason: String,
    ) -> Result<(), Fault> {
        let (Some(fixer), Some(patch)) = (healing.fixer().cloned(), healing.patch.clone()) else {
            return Err(stale(step, "has no patch"));
        };
        let mut attempt = self.attempt(
            step,
            Strategy::FixSpecificIssue,
            Outcome::Escalated,
            format!("{} has a verified patch, but {reason}", fixer.title),
        )?;
        attempt.tries.push(tried(healing, TryVerdict::NeedsApproval, &reason));
        attempt.patch = Some(patch.text.clone());
        let mut gate = self.gate(step, GateType::Patch, GateEffect::ApplyPatch, reason);
        gate.proposal = Some((fixer, patch));
        self.emit(RunEvent::Escalated { attempt, gate });
        self.advance();
        Ok(())
    }

    pub(super) fn committed(&mut self, step: String, commit: String) -> Result<(), Fault> {
        let healing = self.healing(&step, Phase::Committing)?;
        let title = healing.fixer().map(|f| f.title.clone()).unwrap_or_default();
        let reason = match &healing.approved_by {
            Some(actor) => format!("{title}, approved by {actor}"),
            None => format!("{title} ({})", healing.reason),
        };
        let mut attempt =
            self.attempt(&step, Strategy::FixSpecificIssue, Outcome::PatchApplied, reason)?;
        attempt.tries.push(tried(&healing, TryVerdict::Accepted, ""));
        attempt.patch = healing.patch.map(|p| p.text);
        self.emit(RunEvent::PatchApplied { attempt, commit });
        self.advance();
        Ok(())
    }

    pub(super) fn rolled_back(&mut self, step: String, commit: String) -> Result<(), Fault> {
        if step.is_empty() {
            let reason = "there is no commit of the loop to take back".to_owned();
            self.emit(if commit.is_empty() {
                RunEvent::RollbackFailed { reason }
            } else {
                RunEvent::RolledBack { attempt: None, commit }
            });
            return Ok(());
        }
        let State::RollingBack { reason } = self.step_of(&step)?.state.clone() else {
            return Err(stale(&step, "is not going back"));
        };
        if commit.is_empty() {
            let why = format!("{reason}; but there is no earlier commit to go back to");
            return self.give_up(&step, Strategy::Rollback, why);
        }
        let to = self.run.attempts.iter().rev().find(|a| {
            a.outcome == Outcome::PatchApplied && a.strategy == Strategy::FixSpecificIssue
        });
        let to = to.map(|a| a.step.clone()).unwrap_or_default();
        let mut attempt = self.attempt(&step, Strategy::Rollback, Outcome::PatchApplied, reason)?;
        attempt.rollback_to_step = to;
        self.emit(RunEvent::RolledBack { attempt: Some(attempt), commit });
        self.advance();
        Ok(())
    }
}

fn tried(healing: &Healing, verdict: TryVerdict, detail: &str) -> FixTry {
    let fixer = healing.fixer();
    let patch = healing.patch.as_ref();
    FixTry {
        fixer: fixer.map(|f| f.id.clone()).unwrap_or_default(),
        title: fixer.map(|f| f.title.clone()).unwrap_or_default(),
        verdict,
        detail: detail.to_owned(),
        patch_sha256: patch.map(|p| p.sha256.clone()).unwrap_or_default(),
        files: patch.map_or(0, |p| p.files),
        added: patch.map_or(0, |p| p.added),
        removed: patch.map_or(0, |p| p.removed),
    }
}
