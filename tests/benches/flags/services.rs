//! The processes that are measured: the flag-resolver, the gateway, and the orchestrator, which
//! tells the gateway whose a key is.

use crate::in_process::value;
use crate::load::tenant;
use anyhow::{Context, Result, ensure};
use meta_domain::role::{Principal, Role};
use meta_proto::common::Overrides;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_proto::flags::{SetOverridesRequest, SetOverridesResponse};
use meta_runtime::call;
use meta_tests::processes::{LIMIT, Rest, ServiceProcess, TOKEN, only};
use std::ops::Range;
use std::time::Instant;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// The API key of a platform administrator.
pub const KEY: &str = "mb_dev_bench_key_0123456789abcdef";
/// Writers at a time.
const WRITERS: usize = 16;

/// See the module.
pub struct Services {
    /// The flag-resolver.
    pub resolver: ServiceProcess,
    /// The gateway.
    pub gateway: ServiceProcess,
    /// Where flagd's clients connect.
    pub flagd: String,
    _orchestrator: ServiceProcess,
    _folder: TempDir,
}

impl Services {
    /// Starts them and waits until they are ready.
    pub async fn start() -> Result<Self> {
        only(&["flag-resolver", "orchestrator", "gateway"]);
        let folder = tempfile::tempdir()?;
        let data = folder.path().to_str().context("a plain path")?;
        let vars = [
            ("METABUILDER__AUTH__SERVICE_TOKEN", TOKEN),
            ("METABUILDER__DATA_DIR", data),
            ("METABUILDER__DEV_KEY", KEY),
        ];
        let sets = |more: &[String]| {
            let listen = "listen=127.0.0.1:0".to_owned();
            std::iter::once(listen).chain(more.iter().cloned()).collect::<Vec<_>>()
        };
        let open = sets(&["flagd.listen=127.0.0.1:0".to_owned(), "flagd.tenant=any".to_owned()]);
        let mut resolver =
            ServiceProcess::start("flag-resolver", folder.path(), &vars[..2], &open).await?;
        let flagd = resolver.process.until(|line| {
            let log: serde_json::Value = serde_json::from_str(line).ok()?;
            let open = log["message"] == "serving without credentials";
            open.then(|| log["address"].as_str().map(|a| format!("http://{a}"))).flatten()
        });
        let flagd = flagd.await?;
        let peer = |name: &str, address: &str| format!("peers.{name}={address}");
        let mut peers: Vec<_> = ["flag-resolver", "classifier", "autofixer"]
            .map(|name| peer(name, &resolver.address))
            .into();
        let orchestrator =
            ServiceProcess::start("orchestrator", folder.path(), &vars, &sets(&peers)).await?;
        peers.push(peer("orchestrator", &orchestrator.address));
        let gateway =
            ServiceProcess::start("gateway", folder.path(), &vars[..1], &sets(&peers)).await?;
        Rest::new(&gateway.address, KEY)?.ready().await?;
        Ok(Self { resolver, gateway, flagd, _orchestrator: orchestrator, _folder: folder })
    }

    /// Gives these tenants an override each; the seconds that took.
    pub async fn write(&self, tenants: Range<usize>) -> Result<f64> {
        let began = Instant::now();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let mut client = FlagsServiceClient::new(self.resolver.channel(TOKEN)?);
            let own: Vec<_> = tenants.clone().skip(writer).step_by(WRITERS).collect();
            writers.spawn(async move {
                for n in own {
                    let total = Some(value(n));
                    let overrides = Overrides { max_total_attempts: total, ..Overrides::default() };
                    let request =
                        SetOverridesRequest { overrides: Some(overrides), ..Default::default() };
                    let request = call(&caller(n, Role::Admin), LIMIT, request);
                    let answer: SetOverridesResponse =
                        client.set_overrides(request).await?.into_inner();
                    ensure!(answer.version > 0, "{answer:?}");
                }
                Ok(())
            });
        }
        while let Some(done) = writers.join_next().await {
            done??;
        }
        Ok(began.elapsed().as_secs_f64())
    }
}

/// A caller of a tenant.
pub fn caller(n: usize, role: Role) -> Principal {
    Principal { tenant: tenant(n), role, actor: "bench".to_owned() }
}
