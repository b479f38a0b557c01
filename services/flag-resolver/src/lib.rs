//! The flag-resolver: the four settings of the auto-fix loop, resolved field by field from the
//! platform's defaults, the tenant's override and the run's override (docs/SETTINGS.md).
//!
//! `core` decides, `store` holds the only SQL, `resolver` joins the two with a copy of all
//! overrides in memory, `grpc` speaks the wire.

pub mod core;
mod grpc;
mod held;
mod resolver;
mod store;
mod watch;

use meta_domain::settings::platform_from_env;
use meta_proto::flags::flags_service_server::FlagsServiceServer;
use meta_runtime::{Host, Service, StartError, Wiring};
use resolver::Resolver;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use store::FlagStore;

/// The service.
pub struct FlagResolver;

/// Configuration of the flag-resolver.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the installation's files; made when it is missing.
    pub data_dir: PathBuf,
    /// The SQLite file: a path under `data_dir`, or an absolute one.
    pub database: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { data_dir: ".metabuilder".into(), database: "flags.db".into() }
    }
}

impl Config {
    /// Where the SQLite file is.
    pub fn database_path(&self) -> PathBuf {
        self.data_dir.join(&self.database)
    }
}

impl Service for FlagResolver {
    const NAME: &'static str = "flag-resolver";
    const PORT: u16 = 50054;
    type Config = Config;

    async fn wire(config: Config, host: &Host) -> Result<Wiring, StartError> {
        let (environment, platform) = platform_from_env(host.vars()).map_err(StartError::Config)?;
        let path = config.database_path();
        let store = FlagStore::open(&path)
            .await
            .map_err(|e| StartError::failed(&format!("database {}", path.display()), e))?;
        let resolver = Resolver::load(platform, store)
            .await
            .map_err(|e| StartError::failed(&format!("database {}", path.display()), e))?;
        tracing::info!(
            %environment,
            autofix_enabled = platform.autofix_enabled,
            max_total_attempts = platform.max_total_attempts,
            max_per_step_attempts = platform.max_per_step_attempts,
            backoff_cap_seconds = platform.backoff_cap_seconds,
            "platform settings"
        );
        let resolver = Arc::new(resolver);
        let stopping = Arc::clone(&resolver);
        Ok(Wiring::default().serve(FlagsServiceServer::new(grpc::Grpc::new(resolver))).background(
            "flag-watches",
            |stop| async move {
                stop.cancelled().await;
                stopping.end_watches();
            },
        ))
    }
}
