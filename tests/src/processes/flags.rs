//! A flag-resolver alone, and somebody who writes settings.

use super::{LIMIT, ServiceProcess, TOKEN};
use anyhow::{Context, Result};
use meta_domain::role::{Principal, Role};
use meta_proto::common::Overrides;
use meta_proto::flags as pb;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_runtime::{Transport, call, new_id};
use std::path::Path;
use tonic::{Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;

/// A flag-resolver on a database.
#[derive(Debug)]
pub struct FlagResolver {
    /// Its process.
    pub service: ServiceProcess,
}

impl FlagResolver {
    /// Starts it on a free port. What it keeps is in the folder `data`; `database` is its setting,
    /// password included.
    pub async fn start(data: &Path, database: &str) -> Result<Self> {
        let vars = [
            ("METABUILDER__AUTH__SERVICE_TOKEN", TOKEN),
            ("METABUILDER__DATA_DIR", data.to_str().context("a plain path")?),
            ("METABUILDER__DATABASE", database),
        ];
        let sets = ["listen=127.0.0.1:0".to_owned()];
        let folder = data.parent().context("a data folder is in a folder")?;
        Ok(Self { service: ServiceProcess::start("flag-resolver", folder, &vars, &sets).await? })
    }

    /// An admin of a tenant.
    pub fn writer(&self, tenant: meta_domain::id::TenantId) -> Result<Writer> {
        let caller = Principal { tenant, role: Role::Admin, actor: "ann".to_owned() };
        Ok(Writer { client: FlagsServiceClient::new(self.service.channel(TOKEN)?), caller })
    }

    /// Waits until it says of itself that it serves.
    pub async fn serves(&self) -> Result<()> {
        let serving = async {
            while self.service.health("").await? != ServingStatus::Serving {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(LIMIT, serving).await.context("it does not serve in time")?
    }
}

/// Somebody who writes settings.
#[derive(Debug, Clone)]
pub struct Writer {
    client: FlagsServiceClient<Transport>,
    caller: Principal,
}

impl Writer {
    /// Sets `max_total_attempts` of a run, or (empty) of the tenant; with a version only if it
    /// still is that. The outcome.
    pub async fn set(
        &mut self,
        run_id: &str,
        total: u32,
        if_version: Option<u64>,
    ) -> Result<pb::WriteOutcome, Status> {
        let message = pb::SetOverridesRequest {
            run_id: run_id.to_owned(),
            overrides: Some(Overrides { max_total_attempts: Some(total), ..Default::default() }),
            patch: false,
            options: Some(pb::WriteOptions { if_version, ..Default::default() }),
        };
        let answer = self.client.set_overrides(call(&self.caller, LIMIT, message)).await?;
        Ok(answer.into_inner().outcome.unwrap_or_default())
    }

    /// What is in force.
    pub async fn resolve(&mut self, run_id: &str) -> Result<pb::ResolveResponse, Status> {
        let message = pb::ResolveRequest { run_id: run_id.to_owned() };
        Ok(self.client.resolve(call(&self.caller, LIMIT, message)).await?.into_inner())
    }

    /// `max_total_attempts` in force.
    pub async fn total(&mut self, run_id: &str) -> Result<u32> {
        let resolved = self.resolve(run_id).await?.resolved.context("settings")?;
        Ok(resolved.settings.context("settings")?.max_total_attempts)
    }

    /// The tenant's settings now and after every change.
    pub async fn watch(&mut self) -> Result<Streaming<pb::WatchResponse>, Status> {
        let message = pb::WatchRequest::default();
        let mut request = call(&self.caller, LIMIT, message);
        request.metadata_mut().remove("grpc-timeout");
        Ok(self.client.watch(request).await?.into_inner())
    }

    /// Every change of the tenant and its runs, newest first.
    pub async fn history(&mut self) -> Result<Vec<pb::Change>, Status> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let asked = pb::ListChangesRequest { page_size: 200, page_token, ..Default::default() };
            let page = self.client.list_changes(call(&self.caller, LIMIT, asked)).await?;
            let page = page.into_inner();
            all.extend(page.changes);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }
}

/// A fresh run's id.
pub fn run_id() -> String {
    new_id().to_string()
}
