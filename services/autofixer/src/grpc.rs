//! The gRPC shell: decode, decide or review, encode.

use crate::core::check;
use crate::core::decide::{decide, open_fixers};
use crate::core::guard::{PatchPolicy, review};
use crate::core::registry::Registry;
use meta_domain::autofix::{Case, FixerCommand, GuardVerdict};
use meta_domain::fault::InvalidField;
use meta_domain::plan::PlannedStep;
use meta_domain::signal::Signal;
use meta_proto::autofixer as pb;
use meta_proto::autofixer::autofixer_service_server::AutofixerService;
use meta_proto::convert::{Field, Number, Required};
use meta_proto::status::to_status;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The shell.
#[derive(Clone)]
pub(crate) struct Grpc {
    pub(crate) registry: Arc<Registry>,
}

fn case_of(wire: Option<meta_proto::common::Case>) -> Result<Case, Status> {
    wire.required("case")
        .and_then(|case| Case::try_from(case).field("case"))
        .map_err(|field| to_status(&field.into()))
}

#[tonic::async_trait]
impl AutofixerService for Grpc {
    async fn decide(
        &self,
        request: Request<pb::DecideRequest>,
    ) -> Result<Response<pb::DecideResponse>, Status> {
        let case = case_of(request.into_inner().case)?;
        let decision = decide(&case, &self.registry, meta_runtime::jitter());
        tracing::info!(
            step = case.step.name,
            failure_type = %case.signal.failure_type,
            strategy = %decision.strategy(),
            reason = decision.reason(),
            "decided"
        );
        Ok(Response::new(pb::DecideResponse { decision: Some(decision.into()) }))
    }

    async fn propose_fix(
        &self,
        request: Request<pb::ProposeFixRequest>,
    ) -> Result<Response<pb::ProposeFixResponse>, Status> {
        let case = case_of(request.into_inner().case)?;
        let fixers = open_fixers(&case, &self.registry).into_iter();
        let fixers = fixers.map(|candidate| candidate.command.into()).collect();
        Ok(Response::new(pb::ProposeFixResponse { fixers }))
    }

    async fn review_patch(
        &self,
        request: Request<pb::ReviewPatchRequest>,
    ) -> Result<Response<pb::ReviewPatchResponse>, Status> {
        let answer = reviewed(request.into_inner()).map_err(|field| to_status(&field.into()))?;
        Ok(Response::new(answer))
    }

    async fn list_fixers(
        &self,
        _request: Request<pb::ListFixersRequest>,
    ) -> Result<Response<pb::ListFixersResponse>, Status> {
        let fixers = check::list(&self.registry)
            .into_iter()
            .map(|f| pb::Fixer {
                id: f.id,
                title: f.title,
                failure_types: f.failure_types.into_iter().map(Number::number).collect(),
                tools: f.tools,
                safety: f.safety.number(),
            })
            .collect();
        Ok(Response::new(pb::ListFixersResponse { fixers }))
    }

    async fn draft_edit(
        &self,
        _request: Request<pb::DraftEditRequest>,
    ) -> Result<Response<pb::DraftEditResponse>, Status> {
        Err(Status::failed_precondition("no model is configured"))
    }

    async fn draft_replan(
        &self,
        _request: Request<pb::DraftReplanRequest>,
    ) -> Result<Response<pb::DraftReplanResponse>, Status> {
        Err(Status::failed_precondition("no model is configured"))
    }

    async fn record_outcome(
        &self,
        _request: Request<pb::RecordOutcomeRequest>,
    ) -> Result<Response<pb::RecordOutcomeResponse>, Status> {
        Err(Status::failed_precondition("nothing is remembered"))
    }

    async fn explain(
        &self,
        _request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        Err(Status::failed_precondition("nothing is remembered"))
    }
}

fn reviewed(body: pb::ReviewPatchRequest) -> Result<pb::ReviewPatchResponse, InvalidField> {
    let patch = String::from_utf8(body.patch).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        InvalidField::new("patch", format!("is not UTF-8 from byte {at} on"))
    })?;
    let fixer = FixerCommand::try_from(body.fixer.required("fixer")?).field("fixer")?;
    let step = PlannedStep::try_from(body.step.required("step")?).field("step")?;
    let signal = Signal::try_from(body.signal.required("signal")?).field("signal")?;
    let mut policy = PatchPolicy::new(&fixer, &step, &signal);
    if let Some(case) = body.case {
        let case = Case::try_from(case).field("case")?;
        policy = policy.for_case(&case, &patch);
    }
    policy.before = body.before.into_iter().map(Into::into).collect();
    let answer = review(&patch, &policy);
    let (verdict, reason) = match answer.verdict {
        GuardVerdict::Accept => (pb::GuardVerdict::Accept, String::new()),
        GuardVerdict::NeedsApproval { reason } => (pb::GuardVerdict::NeedsApproval, reason),
        GuardVerdict::Reject { reason } => (pb::GuardVerdict::Reject, reason),
    };
    Ok(pb::ReviewPatchResponse {
        verdict: verdict.into(),
        reason,
        sha256: answer.stats.sha256,
        files: answer.stats.files,
        added: answer.stats.added,
        removed: answer.stats.removed,
        reasons: answer.reasons,
        risk: answer.risk,
    })
}
