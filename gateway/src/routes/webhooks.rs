//! Who is told of what happens to a tenant's runs.

use super::App;
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::{Answer, Document, Resource};
use crate::idempotency as once;
use crate::params::id;
use crate::problem::Problem;
use crate::view::{at, text};
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use meta_domain::fault::Fault;
use meta_domain::id::WebhookId;
use meta_proto::orchestrator as pb;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewWebhook {
    url: String,
    #[serde(default)]
    events: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redelivery {
    run_id: String,
    seq: u64,
}

/// `GET /webhooks`
pub(super) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Document, Problem> {
    let found = all(&app, &caller).await?;
    Ok(Document::list(found.iter().map(|w| resource(w, None)).collect()))
}

/// `GET /webhooks/{webhook_id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(webhook_id): Path<String>,
) -> Result<Document, Problem> {
    let webhook_id = id::<WebhookId>("webhook_id", &webhook_id)?.to_string();
    let found = all(&app, &caller).await?.into_iter().find(|w| w.id == webhook_id);
    let webhook =
        found.ok_or_else(|| Fault::not_found("WEBHOOK_NOT_FOUND", "webhook", webhook_id))?;
    Ok(Document::of(resource(&webhook, None)))
}

async fn all(app: &App, caller: &Caller) -> Result<Vec<pb::Webhook>, Problem> {
    let message = caller.message(pb::ListWebhooksRequest {});
    Ok(caller.ask(app.peers.webhooks().list_webhooks(message)).await?.webhooks)
}

/// `POST /webhooks`: the answer holds the secret, this once.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let NewWebhook { url, events } = payload.read()?;
    let body = ("/webhooks".to_owned(), &headers, payload.bytes());
    once::create(app, &caller, body, |app, asking| async move {
        let message = asking.message(pb::CreateWebhookRequest { url, events });
        let made = asking.ask(app.peers.webhooks().create_webhook(message)).await?;
        let webhook = made.webhook.unwrap_or_default();
        let document = Document::of(resource(&webhook, Some(&made.secret)));
        Ok(Answer::created(document).found_at(&format!("/webhooks/{}", webhook.id)).secret())
    })
    .await
}

/// `DELETE /webhooks/{webhook_id}`
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(webhook_id): Path<String>,
) -> Result<StatusCode, Problem> {
    let webhook_id = id::<WebhookId>("webhook_id", &webhook_id)?.to_string();
    let message = caller.message(pb::DeleteWebhookRequest { webhook_id });
    caller.ask(app.peers.webhooks().delete_webhook(message)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /webhooks/{webhook_id}/redeliver`: one event once more.
pub(super) async fn redeliver(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(webhook_id): Path<String>,
    payload: Payload,
) -> Result<StatusCode, Problem> {
    let Redelivery { run_id, seq } = payload.read()?;
    let webhook_id = id::<WebhookId>("webhook_id", &webhook_id)?.to_string();
    let message = pb::RedeliverWebhookRequest { webhook_id, run_id, seq };
    caller.ask(app.peers.webhooks().redeliver_webhook(caller.message(message))).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn resource(webhook: &pb::Webhook, secret: Option<&str>) -> Resource {
    let mut attributes = json!({
        "url": webhook.url,
        "events": webhook.events,
        "created_by": text(&webhook.created_by),
        "created_at": at(webhook.created_at.as_ref()),
        "disabled_reason": text(&webhook.disabled_reason),
        "waiting": webhook.waiting,
        "dead": webhook.dead,
        "last_error": text(&webhook.last_error),
    });
    if let Some(secret) = secret {
        attributes["secret"] = secret.into();
    }
    Resource::new("webhook", &webhook.id, attributes)
}
