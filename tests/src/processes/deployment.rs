//! The five services and the gateway, each a process of its own.

use super::{LIMIT, Process, Rest};
use anyhow::{Context, Result, bail};
use meta_runtime::Transport;
use std::path::Path;
use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// The token that the services of a test share.
pub const TOKEN: &str = "test-service-token-0123456789abcdef";
/// The API key that the orchestrator is told to know.
const DEV_KEY: &str = "mb_dev_test_key_0123456789abcdef";

/// The gRPC services by process, as they are named in health and reflection.
pub const SERVICES: [(&str, &[&str]); 5] = [
    ("classifier", &["metabuilder.classifier.v1.ClassifierService"]),
    ("flag-resolver", &["metabuilder.flags.v1.FlagsService"]),
    ("autofixer", &["metabuilder.autofixer.v1.AutofixerService"]),
    (
        "orchestrator",
        &[
            "metabuilder.orchestrator.v1.SpecService",
            "metabuilder.orchestrator.v1.PlanService",
            "metabuilder.orchestrator.v1.RunService",
            "metabuilder.orchestrator.v1.ApprovalService",
            "metabuilder.orchestrator.v1.AuditService",
            "metabuilder.orchestrator.v1.KeyService",
            "metabuilder.orchestrator.v1.TenantService",
            "metabuilder.orchestrator.v1.SessionService",
            "metabuilder.orchestrator.v1.RunControlService",
            "metabuilder.orchestrator.v1.WebhookService",
            "metabuilder.orchestrator.v1.AnswerService",
            "metabuilder.runner.v1.WorkService",
        ],
    ),
    ("runner", &["metabuilder.runner.v1.RunnerService"]),
];

/// A service that serves.
#[derive(Debug)]
pub struct ServiceProcess {
    /// The process.
    pub process: Process,
    /// Where it serves, such as `http://127.0.0.1:50051`.
    pub address: String,
}

impl ServiceProcess {
    /// Starts a service and waits until it says where it serves.
    pub async fn start(
        name: &str,
        folder: &Path,
        vars: &[(&str, &str)],
        sets: &[String],
    ) -> Result<Self> {
        let args: Vec<&str> = sets.iter().flat_map(|s| ["--set", s.as_str()]).collect();
        let mut process = Process::start(name, &args, vars, folder)?;
        let address = process
            .until(|line| {
                let log: serde_json::Value = serde_json::from_str(line).ok()?;
                let serving = log["message"] == "serving";
                serving.then(|| log["address"].as_str().map(|a| format!("http://{a}"))).flatten()
            })
            .await?;
        Ok(Self { process, address })
    }

    /// A channel to it with a credential.
    pub fn channel(&self, credential: &str) -> Result<Transport> {
        meta_runtime::transport::remote(&self.address, credential).map_err(anyhow::Error::msg)
    }

    /// What it says of the health of a service; empty means the process.
    pub async fn health(&self, service: &str) -> Result<ServingStatus> {
        let mut client = HealthClient::new(self.channel("")?);
        let request = HealthCheckRequest { service: service.to_owned() };
        Ok(client.check(request).await?.into_inner().status())
    }
}

/// Starts a service alone, believing every caller, on a free loopback port.
pub async fn alone(name: &str, folder: &Path, peer: &str) -> Result<ServiceProcess> {
    let peers = ["orchestrator", "classifier", "flag-resolver", "autofixer"];
    let mut sets = vec!["auth.mode=none".to_owned(), "listen=127.0.0.1:0".to_owned()];
    sets.extend(peers.iter().map(|p| format!("peers.{p}={peer}")));
    ServiceProcess::start(name, folder, &[], &sets).await
}

/// Every service and the gateway.
#[derive(Debug)]
pub struct Deployment {
    /// `classifier`, `flag-resolver`, `autofixer`, `orchestrator`, `runner`.
    pub services: Vec<(&'static str, ServiceProcess)>,
    /// Further variables, each with the name of its service.
    more: Vec<[String; 3]>,
    /// Where each service was started, also when it is gone.
    peers: Vec<(&'static str, String)>,
    /// The gateway.
    pub gateway: ServiceProcess,
    /// A caller with the default tenant's key.
    pub rest: Rest,
    /// Where the processes keep what they keep.
    pub folder: TempDir,
}

impl Deployment {
    /// Starts them on free ports, each after those it calls, and waits until all are ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further variables: each with the name of its service.
    pub async fn start_with(more: &[(&str, &str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut services: Vec<(&'static str, ServiceProcess)> = Vec::new();
        let mut peers = Vec::new();
        let more: Vec<[String; 3]> =
            more.iter().map(|(of, name, value)| [*of, *name, *value].map(str::to_owned)).collect();
        for (name, _) in SERVICES {
            let vars = vars_of(&more, name);
            let started = service(name, folder.path(), &peers, ("127.0.0.1:0", &vars)).await?;
            peers.push((name, started.address.clone()));
            services.push((name, started));
        }
        let vars = vars_of(&more, "gateway");
        let gateway = service("gateway", folder.path(), &peers, ("127.0.0.1:0", &vars)).await?;
        let rest = Rest::new(&gateway.address, DEV_KEY)?;
        let deployment = Self { services, more, peers, gateway, rest, folder };
        deployment.rest.ready().await?;
        Ok(deployment)
    }

    /// A service by name.
    pub fn service(&self, name: &str) -> Result<&ServiceProcess> {
        let found = self.services.iter().find(|(n, _)| *n == name);
        Ok(&found.with_context(|| format!("no service {name}"))?.1)
    }

    /// A service, to wait for what it says.
    pub fn service_mut(&mut self, name: &str) -> Result<&mut ServiceProcess> {
        let found = self.services.iter_mut().find(|(n, _)| *n == name);
        Ok(&mut found.with_context(|| format!("no service {name}"))?.1)
    }

    /// Takes a service out, to be stopped.
    pub fn take(&mut self, name: &str) -> Result<ServiceProcess> {
        let at = self.services.iter().position(|(n, _)| *n == name);
        Ok(self.services.remove(at.with_context(|| format!("no service {name}"))?).1)
    }

    /// Kills a service with SIGKILL.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        self.take(name)?.process.kill().await?;
        Ok(())
    }

    /// Starts a killed service again where it was, on the same data.
    pub async fn start_again(&mut self, name: &str) -> Result<()> {
        let peer = self.peers.iter().find(|(n, _)| *n == name);
        let (name, address) = peer.with_context(|| format!("no service {name}"))?;
        let listen = address.strip_prefix("http://").context("an address")?;
        let vars = vars_of(&self.more, name);
        let started = service(name, self.folder.path(), &self.peers, (listen, &vars)).await?;
        self.services.push((name, started));
        Ok(())
    }

    /// Starts another gateway, and waits until it is ready.
    pub async fn another_gateway(&self) -> Result<(ServiceProcess, Rest)> {
        let folder = self.folder.path();
        let gateway = service("gateway", folder, &self.peers, ("127.0.0.1:0", &[])).await?;
        let rest = Rest::new(&gateway.address, DEV_KEY)?;
        rest.ready().await?;
        Ok((gateway, rest))
    }

    /// Starts another runner, on data of its own.
    pub async fn another_runner(&self, vars: &[(&str, &str)]) -> Result<ServiceProcess> {
        service("runner", self.folder.path(), &self.peers, ("127.0.0.1:0", vars)).await
    }

    /// A channel to the orchestrator with the default tenant's API key.
    pub fn orchestrator(&self) -> Result<Transport> {
        self.service("orchestrator")?.channel(DEV_KEY)
    }
}

/// The further variables of a service.
fn vars_of<'a>(more: &'a [[String; 3]], service: &str) -> Vec<(&'a str, &'a str)> {
    let of = more.iter().filter(|[of, ..]| of == service);
    of.map(|[_, name, value]| (name.as_str(), value.as_str())).collect()
}

async fn service(
    name: &str,
    folder: &Path,
    peers: &[(&'static str, String)],
    (listen, more): (&str, &[(&str, &str)]),
) -> Result<ServiceProcess> {
    let mut sets = vec![format!("listen={listen}")];
    sets.extend(peers.iter().map(|(n, address)| format!("peers.{n}={address}")));
    let data = folder.join(name);
    let data = data.to_str().context("a plain path")?;
    let mut vars = vec![("METABUILDER__AUTH__SERVICE_TOKEN", TOKEN)];
    if ["flag-resolver", "orchestrator", "runner"].contains(&name) {
        vars.push(("METABUILDER__DATA_DIR", data));
    }
    if name == "orchestrator" {
        vars.push(("METABUILDER__DEV_KEY", DEV_KEY));
    }
    if name == "runner" {
        // so that a toolchain in the home folder of whoever runs the test is seen
        vars.push(("METABUILDER__PROFILE", "local"));
    }
    vars.extend(more);
    let started = ServiceProcess::start(name, folder, &vars, &sets).await?;
    if name != "gateway" {
        serving(&started).await.with_context(|| name.to_owned())?;
    }
    Ok(started)
}

/// Waits until a service says of itself that it serves.
async fn serving(service: &ServiceProcess) -> Result<()> {
    let mut client = HealthClient::new(service.channel("")?);
    let mut watch = client.watch(HealthCheckRequest::default()).await?.into_inner();
    let waited = tokio::time::timeout(LIMIT, async {
        while let Some(now) = watch.message().await? {
            if now.status() == ServingStatus::Serving {
                return Ok(());
            }
        }
        bail!("its health ended")
    });
    waited.await.context("it does not serve in time")?
}
