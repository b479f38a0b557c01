//! The runner: takes tasks from the orchestrator and carries them out behind a wall.
//!
//! It executes what projects bring (steps, fixers, git on their files) and never decides anything:
//! which step runs, whether a patch is good enough, what happens after a failure is the
//! orchestrator's and the auto-fixer's business. It sees no database.

mod commits;
pub mod config;
pub mod core;
pub mod error;
pub mod exec;
pub mod folders;
pub mod git;
mod grpc;
pub mod nofollow;
pub mod sandbox;
pub mod source;
pub mod tasks;
pub mod work;

pub use config::{Config, PathSources, Profile, SandboxMode, Store, Strict};
pub use tasks::run_patch;

use meta_domain::fault::InvalidField;
use meta_objects::Objects;
use meta_proto::runner::runner_service_server::RunnerServiceServer;
use meta_runtime::{Host, StartError, Wiring};
use std::sync::Arc;

/// The object store, if there is one; a folder of this machine is hidden from whatever is built.
fn objects(config: &mut Config, host: &Host) -> Result<Option<Objects>, StartError> {
    let Some(url) = &config.objects else { return Ok(None) };
    let objects =
        Objects::open(url, host.vars()).map_err(|fault| StartError::Config(vec![fault]))?;
    config.hidden.extend(objects.folder().map(std::path::Path::to_owned));
    tracing::info!(objects = objects.shown(), "commits of runs travel");
    Ok(Some(objects))
}

/// The runner as a service.
pub struct Runner;

impl meta_runtime::Service for Runner {
    const NAME: &'static str = "runner";
    const PORT: u16 = 50055;
    type Config = Config;

    async fn wire(mut config: Config, host: &Host) -> Result<Wiring, StartError> {
        let objects = objects(&mut config, host)?;
        let client = work::orchestrator(host.peer("orchestrator")?);
        let sandbox = sandbox::Sandbox::open(&config, host.vars())
            .await
            .map_err(|e| StartError::failed("sandbox", e))?;
        let level = sandbox.level().as_str();
        let volumes = sandbox.volumes().describe();
        let capacity = match config.capacity {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given => usize::try_from(given).unwrap_or(usize::MAX),
        };
        let labels = meta_domain::project::labels(&config.labels)
            .map_err(|problem| StartError::Config(vec![InvalidField::new("labels", problem)]))?;
        let only_run = config.run_id.clone().unwrap_or_default().into();
        let workshop = tasks::Workshop::new(&config, sandbox, objects)
            .map_err(|e| StartError::failed("data_dir", e))?;
        let runner_id: Arc<str> = format!("runner-{}", meta_runtime::new_id()).into();
        let leases = work::Leases::default();
        tracing::info!(%runner_id, sandbox = level, volumes, capacity, "taking work");
        let grpc = grpc::Grpc {
            runner_id: Arc::clone(&runner_id),
            sandbox: level,
            capacity,
            leases: leases.clone(),
        };
        let workshop = Arc::new(workshop);
        let sweeper = work::Sweeper {
            workshop: Arc::clone(&workshop),
            client: client.clone(),
            runner_id: Arc::clone(&runner_id),
        };
        let puller = work::Puller {
            workshop,
            client,
            leases,
            runner_id,
            capacity,
            only_run,
            labels: labels.into(),
        };
        Ok(Wiring::default()
            .serve(RunnerServiceServer::new(grpc))
            .background("work", move |stop| puller.run(stop))
            .background("sweep", move |stop| sweeper.run(stop)))
    }
}
