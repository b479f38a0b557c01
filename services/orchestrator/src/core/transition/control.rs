//! An operator cancels, retries or takes back.

use super::{Effect, TaskKind, Turn};
use crate::core::event::RunEvent;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::status::RunStatus;

impl Turn {
    pub(super) fn cancel(&mut self, actor: String) -> Result<(), Fault> {
        if self.run.status.is_terminal() {
            return Err(self.refused("RUN_ALREADY_ENDED", "is not running any more"));
        }
        self.emit(RunEvent::Canceled { actor });
        self.effects.push(Effect::DropTasks);
        Ok(())
    }

    pub(super) fn retry(&mut self, actor: String) -> Result<(), Fault> {
        if !matches!(self.run.status, RunStatus::Failed | RunStatus::Canceled) {
            return Err(self.refused("RUN_NOT_RETRYABLE", "is neither failed nor canceled"));
        }
        self.no_rollback_pending()?;
        self.emit(RunEvent::RunRetry { actor });
        self.start_time();
        if self.run.base.is_empty() {
            self.enqueue_now(TaskKind::Prepare, "");
        } else {
            self.advance();
        }
        Ok(())
    }

    pub(super) fn operator_rollback(&mut self, actor: String) -> Result<(), Fault> {
        let idle =
            self.run.status.is_terminal() || self.run.status == RunStatus::PausedAwaitingApproval;
        if !idle {
            return Err(self.refused("RUN_IS_RUNNING", "has to be ended or paused first"));
        }
        self.no_rollback_pending()?;
        if self.run.base == self.run.head {
            return Err(self.refused("NOTHING_TO_ROLL_BACK", "has no commit above its first one"));
        }
        let reason = format!("asked by {actor}");
        self.emit(RunEvent::RollbackStarted { step: String::new(), reason });
        self.enqueue_now(TaskKind::Rollback, "");
        Ok(())
    }

    pub(super) fn no_rollback_pending(&self) -> Result<(), Fault> {
        if self.run.rolling_back {
            return Err(self.refused("ROLLBACK_PENDING", "is being rolled back; wait for its end"));
        }
        Ok(())
    }

    pub(super) fn refused(&self, reason: &'static str, what: &str) -> Fault {
        let text = format!("run {} {what} (it is {})", self.run.id, self.run.status);
        Fault::new(ErrorKind::FailedPrecondition, reason, text)
    }
}
