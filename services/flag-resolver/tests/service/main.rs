//! The flag-resolver through its real wiring and the generated client.

#![expect(clippy::unwrap_used, reason = "these are tests, the helpers between them too")]

mod resolve;
mod start;
mod watch;
mod write;

use flag_resolver::{Config, FlagResolver};
use meta_domain::role::{Principal, Role};
use meta_domain::settings::Resolved;
use meta_proto::common::Overrides;
use meta_proto::flags as pb;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_runtime::{Host, Service, StartError, Transport, Wiring, call, new_id};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tonic::Status;

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Wires the service on a folder, with these environment variables.
async fn wire(dir: &Path, vars: &[(&str, &str)]) -> Result<Wiring, StartError> {
    let vars: BTreeMap<String, String> =
        vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let config = Config { data_dir: dir.to_owned(), ..Config::default() };
    FlagResolver::wire(config, &Host::new(vars)).await
}

/// A caller of a started service.
#[derive(Clone)]
struct Caller {
    client: FlagsServiceClient<Transport>,
    principal: Principal,
}

impl Caller {
    /// Starts the service on a folder and calls it as an admin of a fresh tenant.
    async fn start(dir: &Path) -> Self {
        Self::of(&wire(dir, &[]).await.unwrap())
    }

    fn of(wiring: &Wiring) -> Self {
        let principal =
            Principal { tenant: new_id().into(), role: Role::Admin, actor: "ann".to_owned() };
        Self { client: FlagsServiceClient::new(wiring.in_process("token")), principal }
    }

    /// The same service, as somebody else of the same tenant.
    fn named(&self, actor: &str) -> Self {
        let mut other = self.clone();
        actor.clone_into(&mut other.principal.actor);
        other
    }

    /// The same service, as an admin of another tenant.
    fn of_another_tenant(&self) -> Self {
        let mut other = self.clone();
        other.principal.tenant = new_id().into();
        other
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        call(&self.principal, PATIENCE, message)
    }

    async fn resolve(&mut self, run_id: &str) -> Result<(Resolved, u64), Status> {
        let request = self.request(pb::ResolveRequest { run_id: run_id.to_owned() });
        let answer = self.client.resolve(request).await?.into_inner();
        Ok((answer.resolved.unwrap().try_into().unwrap(), answer.version))
    }

    async fn set(&mut self, run_id: &str, overrides: Overrides) -> Result<(Resolved, u64), Status> {
        self.write(run_id, overrides, false).await
    }

    async fn patch(
        &mut self,
        run_id: &str,
        overrides: Overrides,
    ) -> Result<(Resolved, u64), Status> {
        self.write(run_id, overrides, true).await
    }

    async fn write(
        &mut self,
        run_id: &str,
        overrides: Overrides,
        patch: bool,
    ) -> Result<(Resolved, u64), Status> {
        let message = pb::SetOverridesRequest {
            run_id: run_id.to_owned(),
            overrides: Some(overrides),
            patch,
        };
        let answer = self.client.set_overrides(self.request(message)).await?.into_inner();
        Ok((answer.resolved.unwrap().try_into().unwrap(), answer.version))
    }

    async fn clear(&mut self, run_id: &str) -> Result<(Resolved, u64), Status> {
        let request = self.request(pb::ClearOverridesRequest { run_id: run_id.to_owned() });
        let answer = self.client.clear_overrides(request).await?.into_inner();
        Ok((answer.resolved.unwrap().try_into().unwrap(), answer.version))
    }

    async fn explain(&mut self, run_id: &str) -> Result<pb::ExplainResponse, Status> {
        let request = self.request(pb::ExplainRequest { run_id: run_id.to_owned() });
        Ok(self.client.explain(request).await?.into_inner())
    }

    async fn changes(&mut self, run_id: &str, page_size: u32) -> Result<Vec<pb::Change>, Status> {
        let message = pb::ListChangesRequest { run_id: run_id.to_owned(), page_size };
        Ok(self.client.list_changes(self.request(message)).await?.into_inner().changes)
    }

    async fn watch(&mut self, run_id: &str) -> Result<tonic::Streaming<pb::WatchResponse>, Status> {
        let request = self.request(pb::WatchRequest { run_id: run_id.to_owned() });
        Ok(self.client.watch(request).await?.into_inner())
    }
}

fn total(n: u32) -> Overrides {
    Overrides { max_total_attempts: Some(n), ..Overrides::default() }
}

fn per_step(n: u32) -> Overrides {
    Overrides { max_per_step_attempts: Some(n), ..Overrides::default() }
}

fn run_id() -> String {
    new_id().to_string()
}
