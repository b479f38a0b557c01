//! Telling the orchestrator what came of a task.

use super::{CALL_LIMIT, Hold, Orchestrator, Refusal, Retry};
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::{CompleteTaskRequest, TaskError};
use meta_runtime::auth::machine_call;
use tonic::Status;

/// How often a result is sent again after a fault that may stay.
const FAULTS_MAX: u32 = 3;

/// The report on a task in hand.
pub(super) struct Report<'a> {
    pub(super) client: Orchestrator,
    pub(super) runner_id: &'a str,
    pub(super) hold: &'a Hold,
}

impl Report<'_> {
    /// Sends what came of the task. A result that is refused for good becomes an error that says
    /// why: otherwise the task would be carried out again and again.
    pub(super) async fn send(mut self, result: Outcome) {
        let Some(refused) = self.try_send(result).await else { return };
        let message = format!("the orchestrator refused the result: {}", refused.message());
        let error = TaskError { message, retryable: false };
        if let Some(status) = self.try_send(Outcome::Error(error)).await {
            tracing::error!(task_id = self.hold.task_id(), %status, "a report was refused twice");
        }
    }

    /// Sends until it is acknowledged, refused, or the lease cannot be valid any more; answers a
    /// refusal of the result itself.
    async fn try_send(&mut self, result: Outcome) -> Option<Status> {
        let task_id = self.hold.task_id().to_owned();
        let request = CompleteTaskRequest {
            task_id: task_id.clone(),
            lease_epoch: self.hold.epoch(),
            runner_id: self.runner_id.to_owned(),
            result: Some(result),
        };
        let mut retry = Retry::new();
        let mut faults = 0;
        loop {
            let call = machine_call(CALL_LIMIT, request.clone());
            let Err(status) = self.client.complete_task(call).await else { return None };
            match Refusal::of(&status) {
                Refusal::Lost => {
                    tracing::info!(%task_id, %status, "a result came too late");
                    return None;
                }
                Refusal::Never => {
                    tracing::error!(%task_id, %status, "a result was refused");
                    return Some(status);
                }
                Refusal::Perhaps if faults == FAULTS_MAX => {
                    tracing::error!(%task_id, %status, "a result could not be taken");
                    return Some(status);
                }
                Refusal::Perhaps => faults += 1,
                Refusal::Later => {}
            }
            if !self.hold.is_valid() {
                tracing::warn!(%task_id, %status, "a lease ran out before its result was taken");
                return None;
            }
            tracing::debug!(%task_id, %status, "cannot report a result yet");
            retry.wait().await;
        }
    }
}
