//! A human decided a gate, or nobody did.

use super::{Effect, FixOutcome, TaskKind, Told, Turn, stale};
use crate::core::event::RunEvent;
use crate::core::evidence::hash;
use crate::core::run::{ExpiryAction, Gate};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::gate::{GateEffect, GateStatus};
use meta_domain::id::GateId;

impl Turn {
    pub(super) fn gate_decided(
        &mut self,
        id: GateId,
        approve: bool,
        actor: String,
        notes: String,
        seen: &(String, u32),
    ) -> Result<(), Fault> {
        let gate = self
            .run
            .gate(id)
            .cloned()
            .ok_or_else(|| Fault::not_found("GATE_NOT_FOUND", "approval gate", id))?;
        if gate.status != GateStatus::Pending {
            let by = if gate.decided_by.is_empty() { "the run's end" } else { &gate.decided_by };
            return Err(Fault::new(
                ErrorKind::Conflict,
                "GATE_ALREADY_DECIDED",
                format!("gate {id} is {} by {by}; nothing changed", gate.status),
            ));
        }
        self.no_rollback_pending()?;
        as_seen(&gate, seen)?;
        let step = gate.step.clone();
        if approve {
            self.may_approve(&gate, &actor)?;
            self.emit(RunEvent::ApprovalGranted { gate: id, step, actor: actor.clone(), notes });
            self.approved(gate, actor);
        } else {
            let said = if notes.is_empty() { String::new() } else { format!(": {notes}") };
            let reason = format!("rejected by {actor}{said}");
            self.tell_rejected(&gate);
            self.emit(RunEvent::ApprovalRejected { gate: id, step: step.clone(), actor, notes });
            self.emit(RunEvent::StepFailed { step, reason });
        }
        self.advance();
        Ok(())
    }

    /// Whether this actor may approve, and whether what they approve is still what was asked.
    fn may_approve(&self, gate: &Gate, actor: &str) -> Result<(), Fault> {
        if self.run.gate_policy.four_eyes && actor == self.run.created_by {
            let text = format!(
                "gate {} needs another person: {actor} started the run (four_eyes)",
                gate.id
            );
            return Err(Fault::new(ErrorKind::PermissionDenied, "FOUR_EYES", text));
        }
        let planned = self.step_of(&gate.step)?.fingerprint();
        if !gate.planned.is_empty() && gate.planned != planned {
            let text = format!(
                "step {:?} is another one in plan version {}; the gate was for version {}",
                gate.step, self.run.plan_version, gate.plan_version
            );
            return Err(Fault::new(ErrorKind::Conflict, "GATE_OUT_OF_DATE", text));
        }
        match &gate.proposal {
            Some((_, patch)) if hash(patch.text.as_bytes()) != patch.sha256 => Err(Fault::new(
                ErrorKind::Internal,
                "PATCH_CHANGED",
                format!("the patch of gate {} is not the one that was verified", gate.id),
            )),
            _ => Ok(()),
        }
    }

    fn approved(&mut self, gate: Gate, actor: String) {
        match (gate.effect, gate.proposal) {
            (GateEffect::ApplyPatch, Some((fixer, patch))) => {
                let step = gate.step;
                // Another step's commit moved the workspace since the patch was verified.
                let again = !gate.base.is_empty() && gate.base != self.run.head;
                self.emit(RunEvent::CommitStarted {
                    step: step.clone(),
                    approved_by: actor,
                    fixer,
                    patch,
                    evidence: gate.evidence.map(Box::new),
                    again,
                });
                self.enqueue_now(if again { TaskKind::Verify } else { TaskKind::Commit }, &step);
            }
            (GateEffect::Accept, _) => {
                self.emit(RunEvent::StepAccepted { step: gate.step, actor });
            }
            // The step is pending again; `advance` starts it.
            (GateEffect::Retry | GateEffect::Start | GateEffect::ApplyPatch, _) => {}
        }
    }

    fn tell_rejected(&mut self, gate: &Gate) {
        if let (Some((fixer, patch)), Some(signal)) = (&gate.proposal, &gate.signal) {
            self.tell(Told {
                key: format!("{}/{}/rejected", self.run.id, gate.id),
                signal: signal.clone(),
                fixer: fixer.id.clone(),
                outcome: FixOutcome::Rejected,
                patch: patch.text.clone(),
                duration_ms: 0,
                tokens: 0,
            });
        }
    }

    pub(super) fn gate_expired(&mut self, step: &str) -> Result<(), Fault> {
        let over = |g: &&Gate| {
            g.step == step
                && g.status == GateStatus::Pending
                && g.expires_at.is_some_and(|at| at <= self.now)
        };
        let Some(gate) = self.run.gates.iter().find(over).cloned() else {
            return Err(stale(step, "has no gate whose time is over"));
        };
        self.no_rollback_pending()?;
        let (action, step) = (self.run.gate_policy.on_expiry, gate.step);
        self.emit(RunEvent::GateExpired { gate: gate.id, step: step.clone(), action });
        let seconds = self.run.gate_policy.expires_after_ms / 1000;
        match action {
            ExpiryAction::Fail => {
                let reason = format!("nobody decided within {seconds} s: {}", gate.reason);
                self.emit(RunEvent::StepFailed { step, reason });
                self.advance();
            }
            ExpiryAction::Cancel => {
                let actor = format!("the approval gate of step {step:?}, which expired");
                self.emit(RunEvent::Canceled { actor });
                self.effects.push(Effect::DropTasks);
            }
        }
        Ok(())
    }
}

/// A decider who says what they saw decides that, or nothing.
fn as_seen(gate: &Gate, (sha256, version): &(String, u32)) -> Result<(), Fault> {
    let has = gate.proposal.as_ref().map(|(_, p)| p.sha256.as_str()).unwrap_or_default();
    let other_patch = !sha256.is_empty() && sha256 != has;
    let other_plan = *version != 0 && *version != gate.plan_version;
    if !other_patch && !other_plan {
        return Ok(());
    }
    let text = format!(
        "gate {} is for patch {has:?} and plan version {}, not for patch {sha256:?} and version \
         {version}; look again",
        gate.id, gate.plan_version
    );
    Err(Fault::new(ErrorKind::Conflict, "GATE_CHANGED", text))
}
