//! What operators do with a run.

use super::asking::{Asking, asking};
use super::{check_text, encode, invalid, refuse};
use crate::core::event::Mark;
use crate::core::run::Run;
use crate::core::transition::Input;
use crate::shell::Engine;
use meta_domain::fault::InvalidField;
use meta_domain::id::{RunId, TenantId};
use meta_domain::plan::PlanOp;
use meta_proto::convert::{all, parse};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::run_control_service_server::RunControlService;
use meta_runtime::principal;
use tonic::{Request, Response, Status};

/// Characters of a reason.
const REASON_CHARS_MAX: usize = 2_000;
/// Operations of one edit.
const OPS_MAX: usize = 100;

/// The shell of run control.
#[derive(Clone)]
pub struct Control {
    /// The runs.
    pub engine: Engine,
}

impl Control {
    async fn change(
        &self,
        asking: Asking,
        run_id: &str,
        input: impl FnOnce(String) -> Input,
    ) -> Result<Option<pb::Run>, Status> {
        let id = self.own(asking.tenant, run_id).await?.id;
        let input = input(asking.actor);
        let run = self.engine.advance_as(id, input, asking.by).await.map_err(refuse)?;
        Ok(Some(encode::run(&run)))
    }

    async fn own(&self, tenant: TenantId, run_id: &str) -> Result<std::sync::Arc<Run>, Status> {
        let id: RunId = parse("run_id", run_id).map_err(invalid)?;
        self.engine.load_of(tenant, id).await.map_err(refuse)
    }
}

/// Why somebody does something; where it has to be given it may not be empty.
fn reason(text: String, needed: bool) -> Result<String, Status> {
    let chars = text.chars().count();
    if chars > REASON_CHARS_MAX {
        let problem = format!("{chars} characters (expected at most {REASON_CHARS_MAX})");
        return Err(invalid(InvalidField::new("reason", problem)));
    }
    check_text("reason", &text).map_err(invalid)?;
    if needed && text.trim().is_empty() {
        return Err(invalid(InvalidField::new("reason", "is empty (expected why)")));
    }
    Ok(text)
}

#[tonic::async_trait]
impl RunControlService for Control {
    async fn pause_run(
        &self,
        request: Request<pb::PauseRunRequest>,
    ) -> Result<Response<pb::PauseRunResponse>, Status> {
        let asking = asking(&request)?;
        let body = request.into_inner();
        let reason = reason(body.reason, false)?;
        let input = |actor| Input::Hold { actor, reason };
        let run = self.change(asking, &body.run_id, input).await?;
        Ok(Response::new(pb::PauseRunResponse { run }))
    }

    async fn resume_run(
        &self,
        request: Request<pb::ResumeRunRequest>,
    ) -> Result<Response<pb::ResumeRunResponse>, Status> {
        let asking = asking(&request)?;
        let id = request.into_inner().run_id;
        let run = self.change(asking, &id, |actor| Input::LetGo { actor }).await?;
        Ok(Response::new(pb::ResumeRunResponse { run }))
    }

    async fn mark_step(
        &self,
        request: Request<pb::MarkStepRequest>,
    ) -> Result<Response<pb::MarkStepResponse>, Status> {
        let asking = asking(&request)?;
        let body = request.into_inner();
        let mark = match body.mark() {
            pb::StepMark::Succeeded => Mark::Succeeded,
            pb::StepMark::Skipped => Mark::Skipped,
            pb::StepMark::Unspecified => {
                let problem = "is missing (expected succeeded or skipped)";
                return Err(invalid(InvalidField::new("mark", problem)));
            }
        };
        let reason = reason(body.reason, true)?;
        let input = |actor| Input::MarkStep { step: body.step, mark, actor, reason };
        let run = self.change(asking, &body.run_id, input).await?;
        Ok(Response::new(pb::MarkStepResponse { run }))
    }

    async fn edit_plan(
        &self,
        request: Request<pb::EditPlanRequest>,
    ) -> Result<Response<pb::EditPlanResponse>, Status> {
        let asking = asking(&request)?;
        let body = request.into_inner();
        if body.ops.is_empty() || body.ops.len() > OPS_MAX {
            let problem = format!("{} operations (expected 1 to {OPS_MAX})", body.ops.len());
            return Err(invalid(InvalidField::new("ops", problem)));
        }
        let ops: Vec<PlanOp> = all("ops", body.ops).map_err(invalid)?;
        let version = body.plan_version;
        let input = |actor| Input::EditPlan { ops, version, actor };
        let run = self.change(asking, &body.run_id, input).await?;
        Ok(Response::new(pb::EditPlanResponse { run }))
    }

    async fn verify_run(
        &self,
        request: Request<pb::VerifyRunRequest>,
    ) -> Result<Response<pb::VerifyRunResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let run = self.own(tenant, &request.into_inner().run_id).await?;
        let found = self.engine.tables.verify(run.id).await.map_err(refuse)?;
        Ok(Response::new(pb::VerifyRunResponse { events: found.events, problems: found.problems }))
    }
}
