//! A fixer's patch on its way: files for a model, its edits, the patch, the review, the verification,
//! the commit.

use super::{FixOutcome, TaskKind, Told, Turn, stale};
use crate::core::event::RunEvent;
use crate::core::evidence::{Evidence, is_check};
use crate::core::run::{Healing, Patch, Phase, State};
use meta_domain::autofix::{FixTry, GuardVerdict, Outcome, TryVerdict};
use meta_domain::fault::Fault;
use meta_domain::gate::{GateEffect, GateType};

impl Turn {
    pub(super) fn healing(&self, step: &str, phase: Phase) -> Result<Healing, Fault> {
        match &self.step_of(step)?.state {
            State::Healing(h) if h.phase == phase => Ok((**h).clone()),
            _ => Err(stale(step, "is not in that phase of healing")),
        }
    }

    /// Starts the fixer at work.
    pub(super) fn begin_fixer(&mut self, step: &str) {
        let Some(State::Healing(healing)) = self.run.step(step).map(|s| &s.state) else { return };
        let kind = match healing.phase {
            Phase::Collecting => TaskKind::Collect,
            _ => TaskKind::Propose,
        };
        self.enqueue_now(kind, step);
    }

    pub(super) fn collected(&mut self, step: String, files: usize) -> Result<(), Fault> {
        self.healing(&step, Phase::Collecting)?;
        self.emit(RunEvent::Collected { step: step.clone(), files });
        self.enqueue_now(TaskKind::Draft, &step);
        Ok(())
    }

    pub(super) fn drafted(
        &mut self,
        step: String,
        result: Result<(String, String), (TryVerdict, String)>,
        tokens: u64,
    ) -> Result<(), Fault> {
        match &self.step_of(&step)?.state {
            State::Healing(h) if matches!(h.phase, Phase::Collecting | Phase::Drafting) => {}
            _ => return Err(stale(&step, "does not wait for a model")),
        }
        match result {
            Err((verdict, detail)) => self.try_ended(&step, verdict, detail, None),
            Ok((model, explanation)) => {
                self.emit(RunEvent::Drafted { step: step.clone(), model, explanation, tokens });
                self.enqueue_now(TaskKind::Propose, &step);
                Ok(())
            }
        }
    }

    pub(super) fn proposed(
        &mut self,
        step: String,
        result: Result<String, (TryVerdict, String)>,
    ) -> Result<(), Fault> {
        self.healing(&step, Phase::Proposing)?;
        match result {
            Err((verdict, detail)) => self.try_ended(&step, verdict, detail, None),
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
        reasons: Vec<String>,
        risk: u32,
    ) -> Result<(), Fault> {
        self.healing(&step, Phase::Reviewing)?;
        let before = self.step_of(&step)?.tries.iter();
        let same = before.clone().find(|t| t.patch_sha256 == patch.sha256).map(|t| t.title.clone());
        let taken_back = self.run.taken_back(&patch.sha256).is_some();
        let (approval, refused) = match verdict {
            GuardVerdict::Reject { reason } => (None, Some(reason)),
            GuardVerdict::Accept => (None, None),
            GuardVerdict::NeedsApproval { reason } => (Some(reason), None),
        };
        self.emit(RunEvent::Reviewed { step: step.clone(), approval, patch, reasons, risk });
        if let Some(reason) = refused {
            return self.try_ended(&step, TryVerdict::GuardReject, reason, None);
        }
        if let Some(title) = same {
            let detail = format!("the same patch as by {title}, which did not help");
            return self.try_ended(&step, TryVerdict::VerifyFail, detail, None);
        }
        if taken_back {
            let detail = "this very patch was taken back in this run: it broke another step";
            return self.try_ended(&step, TryVerdict::VerifyFail, detail.to_owned(), None);
        }
        self.enqueue_now(TaskKind::Verify, &step);
        Ok(())
    }

    pub(super) fn verification_started(&mut self, step: String, log: String) -> Result<(), Fault> {
        self.healing(&step, Phase::Verifying)?;
        self.emit(RunEvent::VerificationStarted { step, log });
        Ok(())
    }

    pub(super) fn verified(&mut self, step: String, evidence: Evidence) -> Result<(), Fault> {
        let healing = self.healing(&step, Phase::Verifying)?;
        let evidence = self.complete(&step, &healing, evidence)?;
        if !evidence.passed {
            let detail = evidence.detail.clone();
            return self.try_ended(&step, TryVerdict::VerifyFail, detail, Some(evidence));
        }
        let covered = healing.approved_by.is_some() || healing.approval.is_none();
        let earlier = if covered { None } else { self.approved_before(&step, &healing) };
        self.emit(RunEvent::Verified { step: step.clone(), evidence: Box::new(evidence.clone()) });
        if covered {
            self.enqueue_now(TaskKind::Commit, &step);
            return Ok(());
        }
        match earlier {
            Some(approved_by) => self.commit_approved(&step, &healing, approved_by, evidence),
            None => self.ask_for_patch(&step, &healing, evidence),
        }
    }

    /// Says whose the evidence is, and whether all that passed is proof enough.
    fn complete(
        &self,
        step: &str,
        healing: &Healing,
        mut evidence: Evidence,
    ) -> Result<Evidence, Fault> {
        let log = self.step_of(step)?.logs.iter().rev().find(|l| l.verification);
        evidence.log = log.map(|l| l.name.clone()).unwrap_or_default();
        evidence.fixer = healing.fixer().map(|f| f.id.clone()).unwrap_or_default();
        evidence.base.clone_from(&self.run.head);
        if let Some(patch) = &healing.patch {
            evidence.patch_sha256.clone_from(&patch.sha256);
        }
        if evidence.passed
            && let Some(problem) = evidence.problem()
        {
            evidence.passed = false;
            evidence.detail = problem;
        }
        Ok(evidence)
    }

    /// Who approved the very same patch for the same step in this run.
    fn approved_before(&self, step: &str, healing: &Healing) -> Option<String> {
        let planned = self.run.step(step)?.fingerprint();
        let hash = &healing.patch.as_ref()?.sha256;
        let gate = self.run.gates.iter().find(|g| g.covers_patch(&planned, hash))?;
        Some(gate.decided_by.clone())
    }

    fn commit_approved(
        &mut self,
        step: &str,
        healing: &Healing,
        approved_by: String,
        evidence: Evidence,
    ) -> Result<(), Fault> {
        let (fixer, patch) = proposal(step, healing)?;
        self.emit(RunEvent::CommitStarted {
            step: step.to_owned(),
            approved_by,
            fixer,
            patch,
            evidence: Some(Box::new(evidence)),
            again: false,
        });
        self.enqueue_now(TaskKind::Commit, step);
        Ok(())
    }

    fn ask_for_patch(
        &mut self,
        step: &str,
        healing: &Healing,
        evidence: Evidence,
    ) -> Result<(), Fault> {
        let (fixer, patch) = proposal(step, healing)?;
        let reason = healing.approval.clone().unwrap_or_default();
        let text = format!("{} has a verified patch, but {reason}", fixer.title);
        let mut attempt = self.attempt(step, healing.strategy(), Outcome::Escalated, text)?;
        attempt.tries.push(tried(healing, TryVerdict::NeedsApproval, &reason));
        attempt.patch = Some(patch.text.clone());
        attempt.evidence = Some(evidence.clone());
        let mut gate = self.gate(step, GateType::Patch, GateEffect::ApplyPatch, reason);
        gate.proposal = Some((fixer, patch));
        gate.evidence = Some(evidence);
        gate.guard_reasons.clone_from(&healing.guard_reasons);
        gate.risk = healing.risk;
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
        let mut attempt = self.attempt(&step, healing.strategy(), Outcome::PatchApplied, reason)?;
        attempt.tries.push(tried(&healing, TryVerdict::Accepted, ""));
        attempt.patch = healing.patch.as_ref().map(|p| p.text.clone());
        attempt.evidence.clone_from(&healing.evidence);
        attempt.commit.clone_from(&commit);
        let outcome = match healing.approved_by {
            Some(_) => FixOutcome::Approved,
            None => FixOutcome::Accepted,
        };
        self.tell_of(&step, &healing, outcome);
        self.emit(RunEvent::PatchApplied { attempt, commit });
        self.outdate(&step, healing.evidence.as_ref());
        self.advance();
        Ok(())
    }

    /// What passed on the tree before the patch, and was not seen to pass with it, runs again.
    fn outdate(&mut self, healed: &str, evidence: Option<&Evidence>) {
        let seen =
            |name: &String| evidence.is_some_and(|e| e.checks.iter().any(|c| c.step == *name));
        let outdated: Vec<String> = self
            .run
            .steps
            .iter()
            .filter(|s| s.planned.name != healed && s.is_green() && is_check(s))
            .map(|s| s.planned.name.clone())
            .filter(|name| !seen(name))
            .collect();
        for step in outdated {
            let reason = format!("it passed before the patch for step {healed:?}");
            self.emit(RunEvent::StepOutdated { step, reason });
        }
    }

    /// The fixer at work ended without a patch that counts: the next one, or a new decision.
    pub(super) fn try_ended(
        &mut self,
        step: &str,
        verdict: TryVerdict,
        detail: String,
        evidence: Option<Evidence>,
    ) -> Result<(), Fault> {
        let State::Healing(healing) = &self.step_of(step)?.state else {
            return Err(stale(step, "is not being healed"));
        };
        let healing = (**healing).clone();
        let result = tried(&healing, verdict, &detail);
        let stale_tree = self.step_of(step)?.failed_at_commit != self.run.head;
        if let Some(outcome) = outcome_of(verdict).filter(|_| !stale_tree) {
            self.tell_of(step, &healing, outcome);
        }
        let evidence = evidence.map(Box::new);
        self.emit(RunEvent::Tried { step: step.to_owned(), result, evidence });
        if stale_tree {
            // Another step's commit came in between: the failure, and the patch made for it, are of
            // an older tree. Look again before anything is said about this one.
            let due = self.now;
            self.emit(RunEvent::StepQueued { step: step.to_owned(), due });
            self.enqueue(TaskKind::Step, step, due, super::Sharing::Exclusive);
        } else if matches!(self.step_of(step)?.state, State::Healing(_)) {
            self.begin_fixer(step);
        } else {
            self.enqueue_now(TaskKind::Judge, step);
        }
        Ok(())
    }

    /// Puts what came of the fixer at work into the queue, for the auto-fixer to remember.
    pub(super) fn tell_of(&mut self, step: &str, healing: &Healing, outcome: FixOutcome) {
        let Some(at) = self.run.step(step) else { return };
        let (Some(signal), Some(fixer)) = (at.signal.clone(), healing.fixer()) else { return };
        let of_step = self.run.attempts.iter().filter(|a| a.step == step).count();
        let key =
            format!("{}/{step}/{of_step}/{}/{}/{outcome}", self.run.id, at.tries.len(), fixer.id);
        self.tell(Told {
            key,
            signal,
            fixer: fixer.id.clone(),
            outcome,
            patch: healing.patch.as_ref().map(|p| p.text.clone()).unwrap_or_default(),
            duration_ms: self.now.since_ms(healing.since),
            tokens: healing.tokens,
        });
    }
}

fn proposal(
    step: &str,
    healing: &Healing,
) -> Result<(meta_domain::autofix::FixerCommand, Patch), Fault> {
    match (healing.fixer(), &healing.patch) {
        (Some(fixer), Some(patch)) => Ok((fixer.clone(), patch.clone())),
        _ => Err(stale(step, "has no patch")),
    }
}

fn outcome_of(verdict: TryVerdict) -> Option<FixOutcome> {
    Some(match verdict {
        TryVerdict::NoChange => FixOutcome::NoChange,
        TryVerdict::GuardReject => FixOutcome::GuardReject,
        TryVerdict::VerifyFail => FixOutcome::VerifyFail,
        TryVerdict::FixerError => FixOutcome::FixerError,
        TryVerdict::Accepted | TryVerdict::NeedsApproval => return None,
    })
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
