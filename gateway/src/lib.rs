//! The REST edge: `/api/meta/v2` with JSON:API documents in front of the gRPC services.
//!
//! It knows who calls (API keys, checked by the orchestrator), speaks HTTP well (errors, limits,
//! deadlines, streams), and turns messages into documents. It decides nothing: roles are enforced
//! by each service's matrix, and there is no storage here.

mod auth;
mod body;
mod config;
mod contract;
mod denials;
mod document;
mod edge;
mod idempotency;
mod pages;
mod params;
mod peers;
mod problem;
mod quota;
mod routes;
mod session;
mod signins;
mod view;

pub use config::Config;
pub use peers::Peers;

use meta_domain::fault::InvalidField;
use meta_runtime::flags::Flags;
use meta_runtime::{Host, Service, StartError, Wiring};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The gateway as a service.
pub struct Gateway;

impl Service for Gateway {
    const NAME: &'static str = "gateway";
    const PORT: u16 = 5001;
    type Config = Config;

    async fn wire(config: Config, host: &Host) -> Result<Wiring, StartError> {
        let peers = Peers {
            orchestrator: host.peer("orchestrator")?,
            classifier: host.peer("classifier")?,
            flags: host.peer("flag-resolver")?,
        };
        let settings = Flags::default();
        let stopping = CancellationToken::new();
        let (follower, peer) = (settings.clone(), peers.flags.clone());
        let file = config.flags_snapshot.clone();
        let ready = settings.ready();
        let aging = settings.clone();
        let app = routes::App::new(config, peers.clone(), settings, stopping.clone());
        let app = app.map_err(StartError::Config)?;
        let denials = app.denials.clone();
        Ok(Wiring::default()
            .http(routed(app))
            .background("denials", move |stop| denials.run(peers, stop))
            .ready_when(ready)
            .background("settings", move |stop| follower.follow(peer, file, stop))
            .background("age of the settings", move |stop| aging.show_age(stop))
            .background("streams", |stop| async move {
                stop.cancelled().await;
                stopping.cancel();
            }))
    }
}

/// Every route behind the edge's layers. The settings follow the flag-resolver in a task of the
/// current tokio runtime, as long as the router lives.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn router(config: Config, peers: Peers) -> Result<axum::Router, Vec<InvalidField>> {
    let settings = Flags::default();
    let stopping = CancellationToken::new();
    let (follower, peer) = (settings.clone(), peers.flags.clone());
    let file = config.flags_snapshot.clone();
    let app = routes::App::new(config, peers.clone(), settings, stopping.clone())?;
    tokio::spawn(follower.follow(peer, file, stopping.clone()));
    tokio::spawn(app.denials.clone().run(peers, stopping));
    Ok(routed(app))
}

fn routed(app: Arc<routes::App>) -> axum::Router {
    let room = edge::Room::new(Semaphore::new(app.config.requests_max as usize));
    let edge = edge::Edge { room, app: Arc::clone(&app) };
    routes::router(app).layer(axum::middleware::from_fn_with_state(edge, edge::edge))
}
