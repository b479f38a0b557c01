//! Somebody who calls the service.

use crate::{PATIENCE, because};
use meta_domain::role::{Principal, Role};
use meta_domain::settings::{Layer, Resolved, Setting, Value};
use meta_proto::common::{self, Overrides};
use meta_proto::flags as pb;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_runtime::{Transport, call, new_id};
use tonic::{Request, Status, Streaming};

/// A trace that every call belongs to.
pub const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A caller of a started service.
#[derive(Clone)]
pub struct Caller {
    pub client: FlagsServiceClient<Transport>,
    pub principal: Principal,
}

impl Caller {
    /// An admin of a fresh tenant.
    pub fn of(channel: Transport) -> Self {
        let principal =
            Principal { tenant: new_id().into(), role: Role::Admin, actor: "ann".to_owned() };
        Self { client: FlagsServiceClient::new(channel), principal }
    }

    /// The same, as somebody else of the same tenant.
    pub fn named(&self, actor: &str) -> Self {
        let mut other = self.clone();
        actor.clone_into(&mut other.principal.actor);
        other
    }

    /// The same with another role.
    pub fn as_role(&self, role: Role) -> Self {
        let mut other = self.clone();
        other.principal.role = role;
        other
    }

    /// Whoever may change the whole platform.
    pub fn ops(&self) -> Self {
        self.named("ops").as_role(Role::PlatformAdmin)
    }

    /// The same, of another tenant.
    pub fn of_another_tenant(&self) -> Self {
        let mut other = self.clone();
        other.principal.tenant = new_id().into();
        other
    }

    /// The same person at another server.
    pub fn at(&self, channel: Transport) -> Self {
        Self { client: FlagsServiceClient::new(channel), principal: self.principal.clone() }
    }

    pub fn tenant(&self) -> String {
        self.principal.tenant.to_string()
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = call(&self.principal, PATIENCE, message);
        let trace = format!("00-{TRACE}-b7ad6b7169203331-01");
        request.metadata_mut().insert("traceparent", trace.parse().unwrap());
        request
    }

    /// The same without a limit of time, for streams.
    fn unlimited<T>(&self, message: T) -> Request<T> {
        let mut request = self.request(message);
        request.metadata_mut().remove("grpc-timeout");
        request
    }

    pub async fn resolve(&mut self, run_id: &str) -> Result<pb::ResolveResponse, Status> {
        let request = self.request(pb::ResolveRequest { run_id: run_id.to_owned() });
        Ok(self.client.resolve(request).await?.into_inner())
    }

    /// A value and the layer it came from.
    pub async fn value(&mut self, run_id: &str, setting: Setting) -> (Value, Layer) {
        let answer = self.resolve(run_id).await.unwrap();
        let resolved: Resolved = answer.resolved.unwrap().try_into().unwrap();
        (resolved.settings.get(setting), resolved.layer(setting))
    }

    /// `max_total_attempts` and its layer.
    pub async fn total(&mut self, run_id: &str) -> (u32, Layer) {
        match self.value(run_id, Setting::MaxTotalAttempts).await {
            (Value::Int(n), layer) => (n, layer),
            (Value::Bool(_), _) => panic!("a number is no boolean"),
        }
    }

    pub async fn version(&mut self) -> u64 {
        self.resolve("").await.unwrap().version
    }

    pub async fn set(&mut self, run: &str, o: Overrides) -> Result<pb::WriteOutcome, Status> {
        self.set_with(run, o, pb::WriteOptions::default()).await
    }

    pub async fn set_with(
        &mut self,
        run_id: &str,
        overrides: Overrides,
        options: pb::WriteOptions,
    ) -> Result<pb::WriteOutcome, Status> {
        self.write(run_id, overrides, false, options).await
    }

    pub async fn patch(&mut self, run: &str, o: Overrides) -> Result<pb::WriteOutcome, Status> {
        self.write(run, o, true, pb::WriteOptions::default()).await
    }

    pub async fn write(
        &mut self,
        run_id: &str,
        overrides: Overrides,
        patch: bool,
        options: pb::WriteOptions,
    ) -> Result<pb::WriteOutcome, Status> {
        let message = pb::SetOverridesRequest {
            run_id: run_id.to_owned(),
            overrides: Some(overrides),
            patch,
            options: Some(options),
        };
        let answer = self.client.set_overrides(self.request(message)).await?.into_inner();
        Ok(answer.outcome.unwrap())
    }

    pub async fn clear(
        &mut self,
        run_id: &str,
        settings: &[&str],
    ) -> Result<pb::WriteOutcome, Status> {
        let message = pb::ClearOverridesRequest {
            run_id: run_id.to_owned(),
            settings: settings.iter().map(|s| (*s).to_owned()).collect(),
            options: None,
        };
        let answer = self.client.clear_overrides(self.request(message)).await?.into_inner();
        Ok(answer.outcome.unwrap())
    }

    /// Sets a layer of the whole platform.
    pub async fn platform(
        &mut self,
        layer: common::Layer,
        overrides: Overrides,
        options: pb::WriteOptions,
    ) -> Result<pb::WriteOutcome, Status> {
        let message = pb::SetPlatformRequest {
            layer: layer.into(),
            overrides: Some(overrides),
            options: Some(options),
            ..pb::SetPlatformRequest::default()
        };
        let answer = self.client.set_platform(self.request(message)).await?.into_inner();
        Ok(answer.outcome.unwrap())
    }

    /// Sets the rollouts.
    pub async fn roll_out(
        &mut self,
        rollouts: Vec<common::Rollout>,
    ) -> Result<pb::WriteOutcome, Status> {
        let message = pb::SetPlatformRequest {
            layer: common::Layer::Rollout.into(),
            rollouts,
            options: Some(because("a share")),
            ..pb::SetPlatformRequest::default()
        };
        let answer = self.client.set_platform(self.request(message)).await?.into_inner();
        Ok(answer.outcome.unwrap())
    }

    pub async fn clear_platform(
        &mut self,
        layer: common::Layer,
    ) -> Result<pb::WriteOutcome, Status> {
        let message = pb::ClearPlatformRequest {
            layer: layer.into(),
            options: Some(because("no longer")),
            ..pb::ClearPlatformRequest::default()
        };
        let answer = self.client.clear_platform(self.request(message)).await?.into_inner();
        Ok(answer.outcome.unwrap())
    }

    pub async fn explain(&mut self, run_id: &str) -> Result<pb::ExplainResponse, Status> {
        let request = self.request(pb::ExplainRequest { run_id: run_id.to_owned() });
        Ok(self.client.explain(request).await?.into_inner())
    }

    /// The explanation of `max_total_attempts`.
    pub async fn explain_total(&mut self, run_id: &str) -> pb::SettingExplanation {
        let all = self.explain(run_id).await.unwrap().settings;
        all.into_iter().find(|s| s.name == "max_total_attempts").unwrap()
    }

    pub async fn changes(&mut self, run_id: &str) -> Result<Vec<pb::Change>, Status> {
        let asked = pb::ListChangesRequest { run_id: run_id.to_owned(), ..Default::default() };
        Ok(self.list(asked).await?.changes)
    }

    pub async fn list(
        &mut self,
        asked: pb::ListChangesRequest,
    ) -> Result<pb::ListChangesResponse, Status> {
        Ok(self.client.list_changes(self.request(asked)).await?.into_inner())
    }

    pub async fn platform_changes(&mut self) -> Result<Vec<pb::Change>, Status> {
        let request = self.request(pb::ListPlatformChangesRequest::default());
        Ok(self.client.list_platform_changes(request).await?.into_inner().changes)
    }

    pub async fn cancel(&mut self, id: &str) -> Result<u64, Status> {
        let request = self.request(pb::CancelScheduledRequest { id: id.to_owned() });
        Ok(self.client.cancel_scheduled(request).await?.into_inner().version)
    }

    pub async fn watch(&mut self, run_id: &str) -> Result<Streaming<pb::WatchResponse>, Status> {
        let request = self.unlimited(pb::WatchRequest { run_id: run_id.to_owned() });
        Ok(self.client.watch(request).await?.into_inner())
    }

    pub async fn follow(&mut self) -> Result<Streaming<pb::WatchSnapshotResponse>, Status> {
        let request = self.unlimited(pb::WatchSnapshotRequest {});
        Ok(self.client.watch_snapshot(request).await?.into_inner())
    }
}
