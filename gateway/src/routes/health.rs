//! Whether the process lives, and whether the services behind it answer.

use super::App;
use crate::peers::FLAG_RESOLVER;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use meta_domain::settings::Freshness;
use meta_runtime::Transport;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long a peer may take to say that it serves.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /readyz`: the services behind the gateway serve and the settings are known; else 503 that
/// names what is missing. Once they are known they serve without the flag-resolver, so that its
/// absence is only said.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let checks =
        app.peers.health().map(|(name, client)| async move { (name, serves(client).await) });
    let peers = futures::future::join_all(checks).await;
    let known = *app.settings.ready().borrow();
    let settings = match app.settings.freshness() {
        _ if !known => "unknown",
        Freshness::Fresh => "fresh",
        Freshness::Stale { .. } => "stale",
        Freshness::Expired { .. } => "expired",
    };
    let needed = |name: &str| name != FLAG_RESOLVER;
    let ready = known && peers.iter().all(|(name, state)| !needed(name) || *state == "serving");
    let peers: Map<String, Value> =
        peers.into_iter().map(|(name, state)| (name.to_owned(), state.into())).collect();
    let (code, status) = if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    let body = json!({ "status": status, "peers": peers, "settings": settings });
    (code, Json(body)).into_response()
}

/// A peer in this process has no health service of its own: that it answers is enough.
async fn serves(mut client: HealthClient<Transport>) -> &'static str {
    let request = HealthCheckRequest { service: String::new() };
    let request = meta_runtime::auth::machine_call(CHECK_TIMEOUT, request);
    match tokio::time::timeout(CHECK_TIMEOUT, client.check(request)).await {
        Err(_) => "no_answer",
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => "serving",
        Ok(Ok(_)) => "not_serving",
        Ok(Err(status)) if status.code() == Code::Unimplemented => "serving",
        Ok(Err(_)) => "unreachable",
    }
}
