//! The gRPC shell: decode, decide or review, encode.

mod answer;

use crate::core::check;
use crate::core::decide::{decide, open_fixers};
use crate::core::explain::explain;
use crate::core::guard::{PatchPolicy, review};
use crate::core::learn::Memory;
use crate::core::model::prompt::{Material, Past};
use crate::core::registry::Registry;
use crate::drafts;
use crate::endpoint::Endpoint;
use crate::memory::Store;
use meta_domain::autofix::{Case, FixTry, FixerCommand, GuardVerdict, SourceFile};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::plan::PlannedStep;
use meta_domain::role::Principal;
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
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) memory: Store,
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
        let caller = meta_runtime::principal(&request)?;
        let case = case_of(request.into_inner().case)?;
        let memory = self.recall(&caller, &case).await;
        let decision = decide(&case, &self.registry, &memory, meta_runtime::jitter());
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
        let caller = meta_runtime::principal(&request)?;
        let case = case_of(request.into_inner().case)?;
        let memory = self.recall(&caller, &case).await;
        let open = open_fixers(&case, &self.registry, &memory).into_iter().map(|c| c.command);
        let fixers = open.chain(self.registry.model(&case)).map(Into::into).collect();
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
        request: Request<pb::DraftEditRequest>,
    ) -> Result<Response<pb::DraftEditResponse>, Status> {
        let endpoint = self.endpoint()?;
        let body = request.into_inner();
        let case = case_of(body.case)?;
        let fixer = body
            .fixer
            .required("fixer")
            .and_then(|f| FixerCommand::try_from(f).field("fixer"))
            .map_err(|field| to_status(&field.into()))?;
        let past = drafts_of(body.drafts).map_err(|field| to_status(&field.into()))?;
        let files: Vec<SourceFile> = body.files.into_iter().map(Into::into).collect();
        let material = Material {
            case: &case,
            fixer: &fixer,
            log: &body.log,
            files: &files,
            past: &past,
            tokens_max: endpoint.settings.prompt_tokens,
        };
        let draft = drafts::edits(endpoint, &material).await;
        tracing::info!(
            step = case.step.name,
            fixer = fixer.id,
            tokens_in = draft.tokens_in,
            tokens_out = draft.tokens_out,
            result = draft.result.word(),
            "the model was asked"
        );
        Ok(Response::new(answer::edits(draft, &endpoint.settings.model)))
    }

    async fn draft_replan(
        &self,
        request: Request<pb::DraftReplanRequest>,
    ) -> Result<Response<pb::DraftReplanResponse>, Status> {
        let endpoint = self.endpoint()?;
        let body = request.into_inner();
        let case = case_of(body.case)?;
        let draft = drafts::plan(endpoint, &case, &body.log).await;
        Ok(Response::new(answer::plan(draft, &endpoint.settings.model)))
    }

    async fn record_outcome(
        &self,
        request: Request<pb::RecordOutcomeRequest>,
    ) -> Result<Response<pb::RecordOutcomeResponse>, Status> {
        let tenant = meta_runtime::principal(&request)?.tenant;
        let body = request.into_inner();
        let said = answer::outcome(&body).map_err(|field| to_status(&field.into()))?;
        let recorded = self.memory.record(tenant, &said.told(&body)).await;
        let recorded = recorded.map_err(|e| to_status(&Fault::from(e)))?;
        Ok(Response::new(pb::RecordOutcomeResponse { recorded }))
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        let caller = meta_runtime::principal(&request)?;
        let case = case_of(request.into_inner().case)?;
        let memory = self.recall(&caller, &case).await;
        let (fixers, decision) = explain(&case, &self.registry, &memory);
        let fixers = fixers.into_iter().map(answer::considered).collect();
        Ok(Response::new(pb::ExplainResponse { fixers, decision: Some(decision.into()) }))
    }
}

impl Grpc {
    fn endpoint(&self) -> Result<&Endpoint, Status> {
        self.endpoint.as_ref().ok_or_else(|| {
            to_status(&Fault::new(
                ErrorKind::FailedPrecondition,
                "NO_MODEL",
                "no model is configured (METABUILDER_LLM_BASE_URL)",
            ))
        })
    }

    /// What is remembered for a caller's tenant. A decision does not wait for a memory that is away.
    async fn recall(&self, caller: &Principal, case: &Case) -> Memory {
        let now = meta_runtime::now();
        match self.memory.recall(caller.tenant, &case.signal, now).await {
            Ok(memory) => memory,
            Err(error) => {
                tracing::warn!(fault = %Fault::from(error), "deciding without the past");
                Memory { now, ..Memory::default() }
            }
        }
    }
}

fn drafts_of(drafts: Vec<pb::PastDraft>) -> Result<Vec<Past>, InvalidField> {
    let mut past = Vec::new();
    for (index, draft) in drafts.into_iter().enumerate() {
        let path = format!("drafts[{index}]");
        let tried = draft.r#try.required("try").field(&path)?;
        let tried = FixTry::try_from(tried).field("try").field(&path)?;
        past.push(Past { tried, failure_log: draft.failure_log });
    }
    Ok(past)
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
