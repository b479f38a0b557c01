//! The REST edge: `/api/meta/v2` with JSON:API documents in front of the gRPC services.
//!
//! It knows who calls (API keys, checked by the orchestrator), speaks HTTP well (errors, limits,
//! deadlines, streams), and turns messages into documents. It decides nothing: roles are enforced
//! by each service's matrix, and there is no storage here.

mod auth;
mod body;
mod config;
mod document;
mod edge;
mod idempotency;
mod params;
mod peers;
mod problem;
mod routes;
mod view;

pub use config::Config;
pub use peers::Peers;

use meta_runtime::{Host, Service, StartError, Wiring};
use tokio_util::sync::CancellationToken;

/// The gateway as a service.
pub struct Gateway;

impl Service for Gateway {
    const NAME: &'static str = "gateway";
    const PORT: u16 = 5001;
    type Config = Config;

    async fn wire(config: Config, host: &Host) -> Result<Wiring, StartError> {
        config.check().map_err(StartError::Config)?;
        let peers = Peers {
            orchestrator: host.peer("orchestrator")?,
            classifier: host.peer("classifier")?,
            flags: host.peer("flag-resolver")?,
        };
        let stopping = CancellationToken::new();
        let routes = routed(config, peers, stopping.clone());
        Ok(Wiring::default().http(routes).background("streams", |stop| async move {
            stop.cancelled().await;
            stopping.cancel();
        }))
    }
}

/// Every route behind the edge's layers.
pub fn router(config: Config, peers: Peers) -> axum::Router {
    routed(config, peers, CancellationToken::new())
}

/// The same; what waits or follows ends with `stopping`.
fn routed(config: Config, peers: Peers, stopping: CancellationToken) -> axum::Router {
    let app = routes::App::new(config, peers, stopping);
    routes::router(app).layer(axum::middleware::from_fn(edge::edge))
}
