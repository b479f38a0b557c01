//! A human decided a gate.

use super::{TaskKind, Turn};
use crate::core::event::RunEvent;
use crate::core::run::Gate;
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
        let step = gate.step.clone();
        if approve {
            self.emit(RunEvent::ApprovalGranted { gate: id, step, actor: actor.clone(), notes });
            self.approved(gate, actor);
        } else {
            let said = if notes.is_empty() { String::new() } else { format!(": {notes}") };
            let reason = format!("rejected by {actor}{said}");
            self.emit(RunEvent::ApprovalRejected { gate: id, step: step.clone(), actor, notes });
            self.emit(RunEvent::StepFailed { step, reason });
        }
        self.advance();
        Ok(())
    }

    fn approved(&mut self, gate: Gate, actor: String) {
        match (gate.effect, gate.proposal) {
            (GateEffect::ApplyPatch, Some((fixer, patch))) => {
                let step = gate.step;
                self.emit(RunEvent::CommitStarted {
                    step: step.clone(),
                    approved_by: actor,
                    fixer,
                    patch,
                });
                self.enqueue_now(TaskKind::Commit, &step);
            }
            (GateEffect::Accept, _) => {
                self.emit(RunEvent::StepAccepted { step: gate.step, actor });
            }
            // The step is pending again; `advance` starts it.
            (GateEffect::Retry | GateEffect::Start | GateEffect::ApplyPatch, _) => {}
        }
    }
}
