//! Removes workspaces that nobody needs any more: those of runs that ended long enough ago, and what
//! an earlier process of this runner left behind. Which ones, the orchestrator says.

use super::{CALL_LIMIT, Orchestrator};
use crate::tasks::{Kept, Workshop};
use meta_proto::runner::{SweepRunsRequest, Workspace};
use meta_runtime::auth::machine_call;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// How often it is looked for them.
const EVERY: Duration = Duration::from_mins(10);
/// Wait before the orchestrator is asked again that did not answer.
const RETRY: Duration = Duration::from_secs(30);
/// Workspaces asked about in one call.
const CHUNK: usize = 500;

/// Asks, and removes.
pub struct Sweeper {
    /// What has the workspaces.
    pub workshop: Arc<Workshop>,
    /// Who knows the runs.
    pub client: Orchestrator,
    /// This runner's name.
    pub runner_id: Arc<str>,
}

impl Sweeper {
    /// Works until stopped.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                swept = self.sweep() => match swept {
                    Ok(()) => EVERY,
                    Err(status) if status.code() == Code::Unimplemented => {
                        tracing::info!("this orchestrator does not say which workspaces may go");
                        EVERY
                    }
                    Err(status) => {
                        tracing::debug!(%status, "cannot ask which workspaces may go");
                        RETRY
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn sweep(&self) -> Result<(), Status> {
        self.workshop.remove_leftovers().await;
        for kept in self.workshop.kept().chunks(CHUNK) {
            let workspace = |kept: &Kept| Workspace {
                run_id: kept.run_id.clone(),
                idle_ms: u64::try_from(kept.idle.as_millis()).unwrap_or(u64::MAX),
            };
            let request = SweepRunsRequest {
                runner_id: self.runner_id.to_string(),
                workspaces: kept.iter().map(workspace).collect(),
            };
            let mut client = self.client.clone();
            let answer = client.sweep_runs(machine_call(CALL_LIMIT, request)).await?.into_inner();
            let mut removed = 0;
            for run in answer.run_ids.iter().filter(|run| kept.iter().any(|k| k.run_id == **run)) {
                match self.workshop.take_away(run).await {
                    Ok(gone) => removed += usize::from(gone),
                    Err(error) => tracing::warn!(%error, run, "a workspace stays behind"),
                }
            }
            if removed > 0 {
                tracing::info!(removed, "removed workspaces of runs that ended");
            }
        }
        Ok(())
    }
}
