//! The flag-resolver: the four settings of the auto-fix loop, resolved field by field from the
//! kill switch, the run, the tenant, the rollouts and the platform (docs/SETTINGS.md).
//!
//! `core` decides, `store` holds the only SQL, `held` is the store's copy in memory, `resolver`
//! joins them, `hearing` keeps the copy up to date, `watch` streams it, `grpc` speaks our wire and
//! `openfeature` flagd's.

mod config;
pub mod core;
mod grpc;
mod hearing;
mod held;
mod openfeature;
mod resolver;
mod store;
mod watch;

pub use config::{ANY_TENANT, Config, Flagd};

use hearing::Hearing;
use meta_domain::settings::platform_from_env;
use meta_proto::flags::flags_service_server::FlagsServiceServer;
use meta_runtime::{Host, Service, StartError, Wiring};
use resolver::Resolver;
use std::sync::Arc;
use store::FlagStore;

/// The service.
pub struct FlagResolver;

impl Service for FlagResolver {
    const NAME: &'static str = "flag-resolver";
    const PORT: u16 = 50054;
    type Config = Config;

    async fn wire(config: Config, host: &Host) -> Result<Wiring, StartError> {
        let (environment, platform) = platform_from_env(host.vars()).map_err(StartError::Config)?;
        let location = config.location().map_err(|fault| StartError::Config(vec![fault]))?;
        let kept = config.kept(&location);
        let resolver = Arc::new(Resolver::new(platform));
        let wiring = flagd_listener(Wiring::default(), &config, &resolver)?;
        let hearing = Hearing::new(Arc::clone(&resolver), location.clone(), kept);
        hearing
            .start()
            .await
            .map_err(|e| StartError::failed(&format!("database {location}"), e))?;
        tracing::info!(
            %environment,
            autofix_enabled = platform.autofix_enabled,
            max_total_attempts = platform.max_total_attempts,
            max_per_step_attempts = platform.max_per_step_attempts,
            backoff_cap_seconds = platform.backoff_cap_seconds,
            "platform settings"
        );
        let stopping = Arc::clone(&resolver);
        let ready = resolver.flags.ready();
        Ok(openfeature::serve(wiring, &resolver)
            .serve(FlagsServiceServer::new(grpc::Grpc::new(resolver)))
            .ready_when(ready)
            .background("store", |stop| hearing.run(stop))
            .background("streams", |stop| async move {
                stop.cancelled().await;
                stopping.end_streams();
            }))
    }

    async fn migrate(config: Config) -> Result<(), StartError> {
        let location = config.location().map_err(|fault| StartError::Config(vec![fault]))?;
        let opened = FlagStore::open(&location).await;
        opened.map(drop).map_err(|e| StartError::failed(&format!("database {location}"), e))
    }
}

fn flagd_listener(
    wiring: Wiring,
    config: &Config,
    resolver: &Arc<Resolver>,
) -> Result<Wiring, StartError> {
    let Some(flagd) = &config.flagd else { return Ok(wiring) };
    let caller = flagd.caller().map_err(StartError::Config)?;
    let routes = openfeature::serve(Wiring::default(), resolver);
    Ok(wiring.open_listener("flagd", flagd.listen, routes, caller))
}
