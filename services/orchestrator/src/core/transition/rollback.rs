//! The workspace went back by one patch.

use super::{FixOutcome, Told, Turn, stale};
use crate::core::event::RunEvent;
use crate::core::run::{Attempt, State};
use meta_domain::autofix::{Outcome, Strategy, TryVerdict};
use meta_domain::fault::Fault;

impl Turn {
    pub(super) fn rolled_back(&mut self, step: String, commit: String) -> Result<(), Fault> {
        let patch = self.run.attempts.iter().rev().find(|a| a.is_standing_patch()).cloned();
        if step.is_empty() {
            if commit.is_empty() {
                let reason = "there is no commit of the loop to take back".to_owned();
                self.emit(RunEvent::RollbackFailed { reason });
                return Ok(());
            }
            self.tell_reverted(patch.as_ref());
            self.emit(RunEvent::RolledBack { attempt: None, commit });
            return Ok(());
        }
        let State::RollingBack { reason } = self.step_of(&step)?.state.clone() else {
            return Err(stale(&step, "is not going back"));
        };
        if commit.is_empty() {
            let why = format!("{reason}; but there is no earlier commit to go back to");
            return self.give_up(&step, Strategy::Rollback, why);
        }
        self.tell_reverted(patch.as_ref());
        let mut attempt = self.attempt(&step, Strategy::Rollback, Outcome::PatchApplied, reason)?;
        attempt.rollback_to_step = patch.map(|a| a.step).unwrap_or_default();
        attempt.commit.clone_from(&commit);
        self.emit(RunEvent::RolledBack { attempt: Some(attempt), commit });
        self.advance();
        Ok(())
    }

    fn tell_reverted(&mut self, patch: Option<&Attempt>) {
        let Some(patch) = patch else { return };
        let Some(accepted) = patch.tries.iter().find(|t| t.verdict == TryVerdict::Accepted) else {
            return;
        };
        self.tell(Told {
            key: format!("{}/{}/{}/reverted", self.run.id, patch.id, accepted.fixer),
            signal: patch.signal.clone(),
            fixer: accepted.fixer.clone(),
            outcome: FixOutcome::Reverted,
            patch: patch.patch.clone().unwrap_or_default(),
            duration_ms: 0,
            tokens: 0,
        });
    }
}
