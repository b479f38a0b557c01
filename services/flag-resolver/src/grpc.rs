//! The wire: decode, call, encode.

mod decode;
mod encode;

use crate::core::scope::Scope;
use crate::core::write::Write;
use crate::resolver::{Outcome, Resolver};
use crate::store::Filter;
use crate::watch::{follow, watch};
use decode::{
    by, invalid, options, owner, page, platform_scope, platform_write, setting_filter, settings,
    tenants,
};
use futures::{Stream, StreamExt};
use meta_domain::fault::Fault;
use meta_domain::settings::{Overrides, Owner};
use meta_proto::convert::{Required, parse};
use meta_proto::flags as pb;
use meta_proto::flags::flags_service_server::FlagsService;
use meta_proto::status::to_status;
use meta_runtime::principal;
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The flags service on the wire.
pub(crate) struct Grpc {
    resolver: Arc<Resolver>,
}

type Watched<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Grpc {
    pub(crate) fn new(resolver: Arc<Resolver>) -> Self {
        Self { resolver }
    }

    /// Writes an owner's override and resolves it.
    async fn write(
        &self,
        request: Request<()>,
        owner: Owner,
        write: Write,
        wire: Option<pb::WriteOptions>,
    ) -> Result<(pb::WriteOutcome, meta_runtime::flags::Answer), Status> {
        let asked = options(&request, Scope::of(owner), write, wire)?;
        let outcome = self.resolver.write(asked).await.map_err(status)?;
        let answer = self.resolver.resolve(owner).map_err(status)?;
        Ok((encode::outcome(outcome), answer))
    }

    async fn changes(&self, filter: Filter) -> Result<(Vec<pb::Change>, String), Status> {
        let asked = Filter { limit: filter.limit + 1, ..filter };
        let mut changes = self.resolver.changes(asked).await.map_err(status)?;
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let more = changes.len() > limit;
        changes.truncate(limit);
        let next = changes.last().filter(|_| more).map(|c| c.version.to_string());
        Ok((changes.into_iter().map(encode::change).collect(), next.unwrap_or_default()))
    }

    async fn platform_write(
        &self,
        request: Request<()>,
        scope: Scope,
        write: Write,
        wire: Option<pb::WriteOptions>,
        others: Vec<String>,
    ) -> Result<Outcome, Status> {
        let mut asked = options(&request, scope, write, wire)?;
        decode::reason_is_given(&asked).map_err(invalid)?;
        asked.others = tenants(&others).map_err(invalid)?;
        self.resolver.write(asked).await.map_err(status)
    }
}

/// Changes that are read at once for the audit, unless the caller says otherwise.
const CHANGES_DEFAULT: u32 = 200;
/// Changes that are read at once for the audit, at most.
const CHANGES_MAX: u32 = 500;

#[tonic::async_trait]
impl FlagsService for Grpc {
    async fn resolve(
        &self,
        request: Request<pb::ResolveRequest>,
    ) -> Result<Response<pb::ResolveResponse>, Status> {
        let owner = owner(&principal(&request)?, &request.get_ref().run_id)?;
        let answer = self.resolver.resolve(owner).map_err(status)?;
        Ok(Response::new(encode::resolved(answer)))
    }

    async fn set_overrides(
        &self,
        request: Request<pb::SetOverridesRequest>,
    ) -> Result<Response<pb::SetOverridesResponse>, Status> {
        let (request, body) = decode::split(request);
        let owner = owner(&principal(&request)?, &body.run_id)?;
        let terms = decode::terms(body.overrides)?;
        let write = if body.patch { Write::Patch(terms) } else { Write::Replace(terms) };
        let (outcome, answer) = self.write(request, owner, write, body.options).await?;
        Ok(Response::new(pb::SetOverridesResponse {
            resolved: Some(answer.resolved.into()),
            version: answer.version,
            outcome: Some(outcome),
        }))
    }

    async fn clear_overrides(
        &self,
        request: Request<pb::ClearOverridesRequest>,
    ) -> Result<Response<pb::ClearOverridesResponse>, Status> {
        let (request, body) = decode::split(request);
        let owner = owner(&principal(&request)?, &body.run_id)?;
        let write = Write::Clear(settings(&body.settings).map_err(invalid)?);
        let (outcome, answer) = self.write(request, owner, write, body.options).await?;
        Ok(Response::new(pb::ClearOverridesResponse {
            resolved: Some(answer.resolved.into()),
            version: answer.version,
            outcome: Some(outcome),
        }))
    }

    async fn validate_overrides(
        &self,
        request: Request<pb::ValidateOverridesRequest>,
    ) -> Result<Response<pb::ValidateOverridesResponse>, Status> {
        let wire = request.into_inner().overrides.required("overrides").map_err(invalid)?;
        let problems = Overrides::from(wire)
            .check()
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|fault| pb::FieldProblem { field: fault.path, problem: fault.problem })
            .collect();
        Ok(Response::new(pb::ValidateOverridesResponse { problems }))
    }

    async fn explain(
        &self,
        request: Request<pb::ExplainRequest>,
    ) -> Result<Response<pb::ExplainResponse>, Status> {
        let owner = owner(&principal(&request)?, &request.get_ref().run_id)?;
        let explained = self.resolver.explain(owner).await.map_err(status)?;
        Ok(Response::new(encode::explained(explained)))
    }

    async fn list_changes(
        &self,
        request: Request<pb::ListChangesRequest>,
    ) -> Result<Response<pb::ListChangesResponse>, Status> {
        let owner = owner(&principal(&request)?, &request.get_ref().run_id)?;
        let body = request.into_inner();
        let (limit, before) = page(body.page_size, &body.page_token).map_err(invalid)?;
        let setting = setting_filter(&body.setting).map_err(invalid)?;
        let run = owner.run.map(|run| run.0);
        let filter = Filter { tenant: Some(owner.tenant), run, setting, before, limit };
        let (changes, next_page_token) = self.changes(filter).await?;
        Ok(Response::new(pb::ListChangesResponse { changes, next_page_token }))
    }

    type WatchStream = Watched<pb::WatchResponse>;

    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let owner = owner(&principal(&request)?, &request.get_ref().run_id)?;
        self.resolver.known().map_err(status)?;
        let answers = watch(Arc::clone(&self.resolver), owner)
            .map(|answer| answer.map(encode::watched).map_err(status));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn cancel_scheduled(
        &self,
        request: Request<pb::CancelScheduledRequest>,
    ) -> Result<Response<pb::CancelScheduledResponse>, Status> {
        let caller = principal(&request)?;
        let id = parse("id", &request.get_ref().id).map_err(invalid)?;
        let origin = decode::origin(&request)?;
        let by = by(&caller, "");
        let canceled = self.resolver.cancel(id, Some(caller.tenant), &by, &origin).await;
        let version = canceled.map_err(status)?;
        Ok(Response::new(pb::CancelScheduledResponse { version }))
    }

    async fn get_platform(
        &self,
        _: Request<pb::GetPlatformRequest>,
    ) -> Result<Response<pb::GetPlatformResponse>, Status> {
        let scheduled = self.resolver.scheduled_of_platform().await.map_err(status)?;
        let (environment, layers) = self.resolver.platform();
        let version = self.resolver.flags.snapshot().version;
        Ok(Response::new(encode::platform(environment, layers, scheduled, version)))
    }

    async fn set_platform(
        &self,
        request: Request<pb::SetPlatformRequest>,
    ) -> Result<Response<pb::SetPlatformResponse>, Status> {
        let (request, body) = decode::split(request);
        let scope = platform_scope(body.layer).map_err(invalid)?;
        let write =
            platform_write(scope, body.overrides, body.rollouts, body.patch).map_err(invalid)?;
        let outcome =
            self.platform_write(request, scope, write, body.options, body.tenant_ids).await?;
        Ok(Response::new(pb::SetPlatformResponse { outcome: Some(encode::outcome(outcome)) }))
    }

    async fn clear_platform(
        &self,
        request: Request<pb::ClearPlatformRequest>,
    ) -> Result<Response<pb::ClearPlatformResponse>, Status> {
        let (request, body) = decode::split(request);
        let scope = platform_scope(body.layer).map_err(invalid)?;
        let write = Write::Clear(settings(&body.settings).map_err(invalid)?);
        let outcome =
            self.platform_write(request, scope, write, body.options, body.tenant_ids).await?;
        Ok(Response::new(pb::ClearPlatformResponse { outcome: Some(encode::outcome(outcome)) }))
    }

    async fn list_platform_changes(
        &self,
        request: Request<pb::ListPlatformChangesRequest>,
    ) -> Result<Response<pb::ListPlatformChangesResponse>, Status> {
        let body = request.into_inner();
        let (limit, before) = page(body.page_size, &body.page_token).map_err(invalid)?;
        let setting = setting_filter(&body.setting).map_err(invalid)?;
        let filter = Filter { tenant: None, run: None, setting, before, limit };
        let (changes, next_page_token) = self.changes(filter).await?;
        Ok(Response::new(pb::ListPlatformChangesResponse { changes, next_page_token }))
    }

    async fn cancel_platform_scheduled(
        &self,
        request: Request<pb::CancelPlatformScheduledRequest>,
    ) -> Result<Response<pb::CancelPlatformScheduledResponse>, Status> {
        let caller = principal(&request)?;
        let id = parse("id", &request.get_ref().id).map_err(invalid)?;
        let origin = decode::origin(&request)?;
        let canceled = self.resolver.cancel(id, None, &by(&caller, ""), &origin).await;
        let version = canceled.map_err(status)?;
        Ok(Response::new(pb::CancelPlatformScheduledResponse { version }))
    }

    async fn read_changes(
        &self,
        request: Request<pb::ReadChangesRequest>,
    ) -> Result<Response<pb::ReadChangesResponse>, Status> {
        let body = request.into_inner();
        let limit = match body.page_size {
            0 => CHANGES_DEFAULT,
            asked => asked.min(CHANGES_MAX),
        };
        let found = self.resolver.changes_after(body.after_version, limit).await;
        let changes = found.map_err(status)?.into_iter().map(encode::tenant_change).collect();
        Ok(Response::new(pb::ReadChangesResponse { changes }))
    }

    type WatchSnapshotStream = Watched<pb::WatchSnapshotResponse>;

    async fn watch_snapshot(
        &self,
        _: Request<pb::WatchSnapshotRequest>,
    ) -> Result<Response<Self::WatchSnapshotStream>, Status> {
        self.resolver.known().map_err(status)?;
        let parts = follow(Arc::clone(&self.resolver)).map(|part| part.map_err(status));
        Ok(Response::new(Box::pin(parts)))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn status(fault: Fault) -> Status {
    to_status(&fault)
}
