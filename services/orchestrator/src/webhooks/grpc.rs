//! The shell of the webhook service.

use super::http::Http;
use super::store::{WEBHOOKS_MAX, WebhookRow, WebhookStore};
use crate::core::audit::Entry;
use crate::core::webhook::{EventFilter, SigningKey};
use crate::grpc::asking::asking;
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::id::{RunId, WebhookId};
use meta_proto::convert::{parse, timestamp};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::webhook_service_server::WebhookService;
use meta_proto::status::to_status;
use meta_runtime::{new_id, now, principal};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

/// Filters of one webhook.
const EVENTS_MAX: usize = 50;

/// The shell.
#[derive(Clone)]
pub struct Webhooks {
    /// Where they are kept.
    pub store: WebhookStore,
    /// What checks their addresses.
    pub http: Http,
    /// What their secrets are derived from.
    pub key: SigningKey,
}

#[tonic::async_trait]
impl WebhookService for Webhooks {
    async fn create_webhook(
        &self,
        request: Request<pb::CreateWebhookRequest>,
    ) -> Result<Response<pb::CreateWebhookResponse>, Status> {
        let caller = asking(&request)?;
        let body = request.into_inner();
        let events = filters(&body.events).map_err(|faults| refuse(Fault::invalid(faults)))?;
        let target = self.http.check(&body.url).await;
        let target = target.map_err(|why| refuse(InvalidField::new("url", why)))?;
        let row = WebhookRow {
            id: WebhookId(new_id()),
            url: target.url.into(),
            events,
            created_by: caller.actor.clone(),
            created_at: now(),
            disabled_reason: String::new(),
            waiting: 0,
            dead: 0,
            last_error: String::new(),
        };
        let object = format!("webhook/{}", row.id);
        let entry =
            Entry::new(caller.tenant, row.created_at, "webhook.created", &caller.actor, object);
        let after = json!({ "url": row.url, "events": body.events });
        let entry = entry.by(caller.by).change(&Value::Null, &after);
        if !self.store.create_as(caller.tenant, &row, Some(entry)).await.map_err(refuse)? {
            let text = format!("the tenant has {WEBHOOKS_MAX} webhooks already (expected fewer)");
            return Err(refuse(Fault::new(ErrorKind::ResourceExhausted, "WEBHOOKS_MAX", text)));
        }
        tracing::info!(webhook = %row.id, tenant = %caller.tenant, by = row.created_by, "a webhook is made");
        let secret = self.key.secret_of(row.id).text();
        Ok(Response::new(pb::CreateWebhookResponse { webhook: Some(encode(row)), secret }))
    }

    async fn list_webhooks(
        &self,
        request: Request<pb::ListWebhooksRequest>,
    ) -> Result<Response<pb::ListWebhooksResponse>, Status> {
        let caller = principal(&request)?;
        let rows = self.store.list(caller.tenant).await.map_err(refuse)?;
        let webhooks = rows.into_iter().map(encode).collect();
        Ok(Response::new(pb::ListWebhooksResponse { webhooks }))
    }

    async fn delete_webhook(
        &self,
        request: Request<pb::DeleteWebhookRequest>,
    ) -> Result<Response<pb::DeleteWebhookResponse>, Status> {
        let caller = asking(&request)?;
        let text = request.into_inner().webhook_id;
        let id: WebhookId = parse("webhook_id", &text).map_err(refuse)?;
        let object = format!("webhook/{id}");
        let entry = Entry::new(caller.tenant, now(), "webhook.deleted", &caller.actor, object);
        let entry = Some(entry.by(caller.by));
        if !self.store.delete_as(caller.tenant, id, entry).await.map_err(refuse)? {
            return Err(refuse(Fault::not_found("WEBHOOK_NOT_FOUND", "webhook", id)));
        }
        tracing::info!(webhook = %id, tenant = %caller.tenant, by = caller.actor, "a webhook is removed");
        Ok(Response::new(pb::DeleteWebhookResponse {}))
    }

    async fn redeliver_webhook(
        &self,
        request: Request<pb::RedeliverWebhookRequest>,
    ) -> Result<Response<pb::RedeliverWebhookResponse>, Status> {
        let caller = asking(&request)?;
        let body = request.into_inner();
        let id: WebhookId = parse("webhook_id", &body.webhook_id).map_err(refuse)?;
        let run: RunId = parse("run_id", &body.run_id).map_err(refuse)?;
        let at = now();
        let object = format!("webhook/{id}");
        let after = json!({ "run": run, "seq": body.seq });
        let entry = Entry::new(caller.tenant, at, "webhook.redelivered", &caller.actor, object);
        let entry = entry.by(caller.by).change(&Value::Null, &after);
        let event = (run, body.seq);
        if self.store.again_as(caller.tenant, id, event, at, Some(entry)).await.map_err(refuse)? {
            return Ok(Response::new(pb::RedeliverWebhookResponse {}));
        }
        let rows = self.store.list(caller.tenant).await.map_err(refuse)?;
        Err(refuse(match rows.iter().find(|row| row.id == id) {
            None => Fault::not_found("WEBHOOK_NOT_FOUND", "webhook", id),
            Some(row) if !row.disabled_reason.is_empty() => {
                let text = format!("webhook {id} is told nothing: {}", row.disabled_reason);
                Fault::new(ErrorKind::FailedPrecondition, "WEBHOOK_DISABLED", text)
            }
            Some(_) => Fault::not_found("EVENT_NOT_FOUND", "event", format!("{run}:{}", body.seq)),
        }))
    }
}

fn filters(texts: &[String]) -> Result<Vec<EventFilter>, Vec<InvalidField>> {
    if texts.len() > EVENTS_MAX {
        let problem = format!("has {} entries (expected at most {EVENTS_MAX})", texts.len());
        return Err(vec![InvalidField::new("events", problem)]);
    }
    let (mut filters, mut faults) = (Vec::new(), Vec::new());
    for (i, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(filter) => filters.push(filter),
            Err(why) => faults.push(InvalidField::new(format!("events[{i}]"), why)),
        }
    }
    if faults.is_empty() { Ok(filters) } else { Err(faults) }
}

fn encode(row: WebhookRow) -> pb::Webhook {
    pb::Webhook {
        id: row.id.to_string(),
        url: row.url,
        events: row.events.into_iter().map(Into::into).collect(),
        created_by: row.created_by,
        created_at: Some(timestamp(row.created_at)),
        disabled_reason: row.disabled_reason,
        waiting: row.waiting,
        dead: row.dead,
        last_error: row.last_error,
    }
}

fn refuse(fault: impl Into<Fault>) -> Status {
    to_status(&fault.into())
}
