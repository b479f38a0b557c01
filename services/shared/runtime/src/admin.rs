//! The admin address of a process: `/metrics`, `/livez` and `/readyz`, over plain HTTP and without
//! credentials. It says nothing of any tenant; still it belongs on an address that only the
//! installation's own network reaches.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use meta_telemetry::exposition;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// What the process says of its readiness.
#[derive(Clone)]
pub(crate) struct Readiness {
    /// All of these have to be true.
    pub(crate) ready: Vec<watch::Receiver<bool>>,
    /// It takes nothing new any more.
    pub(crate) draining: Arc<AtomicBool>,
}

impl Readiness {
    fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.ready.iter().all(|ready| *ready.borrow())
    }
}

/// The routes.
pub(crate) fn routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    if readiness.is_ready() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
}

async fn metrics(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let open_metrics = exposition::wants_open_metrics(accept);
    let media = if open_metrics { exposition::OPEN_METRICS } else { exposition::TEXT };
    ([(header::CONTENT_TYPE, media)], exposition::render(open_metrics)).into_response()
}
