//! Tells runners which workspaces they need not keep.

use super::super::{invalid, refuse};
use super::Work;
use meta_domain::fault::InvalidField;
use meta_domain::id::RunId;
use meta_proto::convert::parse;
use meta_proto::runner as pb;
use tonic::Status;

/// Workspaces that one call may ask about.
const RUNS_MAX: usize = 1_000;

impl Work {
    /// The runs of a question whose workspaces may go.
    pub(super) async fn unneeded(
        &self,
        body: pb::SweepRunsRequest,
    ) -> Result<pb::SweepRunsResponse, Status> {
        if body.workspaces.len() > RUNS_MAX {
            let count = body.workspaces.len();
            let problem = format!("has {count} entries (expected at most {RUNS_MAX})");
            return Err(invalid(InvalidField::new("workspaces", problem)));
        }
        let now = self.engine.clock.now();
        let mut run_ids = Vec::new();
        for workspace in body.workspaces {
            let id: RunId = parse("run_id", &workspace.run_id).map_err(invalid)?;
            let standing = self.engine.tables.standing(id).await;
            let standing = standing.map_err(refuse)?;
            if self.engine.workspaces().may_go(standing, workspace.idle_ms, now) {
                run_ids.push(workspace.run_id);
            }
        }
        Ok(pb::SweepRunsResponse { run_ids })
    }
}
