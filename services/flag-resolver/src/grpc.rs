//! The wire: decode, call, encode.

use crate::core::change::Write;
use crate::core::explain::{Explanation, LayerValue};
use crate::held::Owner;
use crate::resolver::{Answer, Resolver};
use crate::store::Audited;
use crate::watch::watch;
use futures::{Stream, StreamExt};
use meta_domain::fault::Fault;
use meta_domain::role::Principal;
use meta_domain::settings::{Layer, Overrides};
use meta_proto::common;
use meta_proto::convert::{Number, Required, parse_opt, timestamp};
use meta_proto::flags as pb;
use meta_proto::flags::flags_service_server::FlagsService;
use meta_proto::status::to_status;
use meta_runtime::{now, principal};
use std::pin::Pin;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The flags service on the wire.
pub(crate) struct Grpc {
    resolver: Arc<Resolver>,
}

impl Grpc {
    pub(crate) fn new(resolver: Arc<Resolver>) -> Self {
        Self { resolver }
    }

    async fn write(
        &self,
        caller: &Principal,
        owner: Owner,
        write: Write,
    ) -> Result<Answer, Status> {
        self.resolver.write(owner, write, &caller.actor, now()).await.map_err(status)
    }
}

type Watched = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl FlagsService for Grpc {
    async fn resolve(
        &self,
        request: Request<pb::ResolveRequest>,
    ) -> Result<Response<pb::ResolveResponse>, Status> {
        let owner = owner(&principal(&request)?, &request.get_ref().run_id)?;
        let Answer { resolved, version, .. } =
            self.resolver.resolve(owner).await.map_err(status)?;
        Ok(Response::new(pb::ResolveResponse { resolved: Some(resolved.into()), version }))
    }

    async fn set_overrides(
        &self,
        request: Request<pb::SetOverridesRequest>,
    ) -> Result<Response<pb::SetOverridesResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let owner = owner(&caller, &request.run_id)?;
        let values = overrides(request.overrides)?;
        let write = if request.patch { Write::Patch(values) } else { Write::Replace(values) };
        let Answer { resolved, version, .. } = self.write(&caller, owner, write).await?;
        Ok(Response::new(pb::SetOverridesResponse { resolved: Some(resolved.into()), version }))
    }

    async fn clear_overrides(
        &self,
        request: Request<pb::ClearOverridesRequest>,
    ) -> Result<Response<pb::ClearOverridesResponse>, Status> {
        let caller = principal(&request)?;
        let owner = owner(&caller, &request.get_ref().run_id)?;
        let Answer { resolved, version, .. } = self.write(&caller, owner, Write::Clear).await?;
        Ok(Response::new(pb::ClearOverridesResponse { resolved: Some(resolved.into()), version }))
    }

    async fn validate_overrides(
        &self,
        request: Request<pb::ValidateOverridesRequest>,
    ) -> Result<Response<pb::ValidateOverridesResponse>, Status> {
        let problems = overrides(request.into_inner().overrides)?
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
        let (settings, version) = self.resolver.explain(owner).await.map_err(status)?;
        let settings = settings.into_iter().map(explanation).collect();
        Ok(Response::new(pb::ExplainResponse { settings, version }))
    }

    async fn list_changes(
        &self,
        request: Request<pb::ListChangesRequest>,
    ) -> Result<Response<pb::ListChangesResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.into_inner();
        let owner = owner(&caller, &request.run_id)?;
        let changes = self.resolver.changes(owner, request.page_size).await.map_err(status)?;
        let changes = changes.into_iter().map(|c| changed(owner, c)).collect();
        Ok(Response::new(pb::ListChangesResponse { changes }))
    }

    type WatchStream = Watched;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Watched>, Status> {
        let owner = owner(&principal(&request)?, &request.get_ref().run_id)?;
        let answers = watch(Arc::clone(&self.resolver), owner).map(|answer| {
            let Answer { resolved, version, .. } = answer.map_err(status)?;
            Ok(pb::WatchResponse { resolved: Some(resolved.into()), version })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn status(fault: Fault) -> Status {
    to_status(&fault)
}

/// The tenant comes from the credential alone, so an override can only be the caller's.
fn owner(caller: &Principal, run_id: &str) -> Result<Owner, Status> {
    let run = parse_opt("run_id", run_id).map_err(|e| status(e.into()))?;
    Ok(Owner { tenant: caller.tenant, run })
}

fn overrides(wire: Option<common::Overrides>) -> Result<Overrides, Status> {
    wire.required("overrides").map(Overrides::from).map_err(|e| status(e.into()))
}

fn explanation(setting: Explanation) -> pb::SettingExplanation {
    let (winner, value) = setting
        .layers
        .last()
        .map_or((Layer::Platform, String::new()), |top| (top.layer, top.value.clone()));
    pb::SettingExplanation {
        name: setting.name.to_owned(),
        value,
        winner: winner.number(),
        layers: setting.layers.into_iter().map(layer_value).collect(),
    }
}

fn layer_value(says: LayerValue) -> pb::LayerValue {
    let (author, set_at) = says.set.unzip();
    pb::LayerValue {
        layer: says.layer.number(),
        value: says.value,
        author: author.unwrap_or_default(),
        set_at: set_at.map(timestamp),
    }
}

fn changed(owner: Owner, change: Audited) -> pb::Change {
    pb::Change {
        actor: change.actor,
        changed_at: Some(timestamp(change.changed_at)),
        before: Some(change.before.into()),
        after: Some(change.after.into()),
        run_id: owner.run.map(|r| r.to_string()).unwrap_or_default(),
    }
}
