//! API keys of a tenant.

use super::App;
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::{Answer, Document, Resource};
use crate::idempotency as once;
use crate::params::{PER_PAGE_DEFAULT, PER_PAGE_MAX, Params, id};
use crate::problem::Problem;
use crate::view::{at, text, word};
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, Uri};
use meta_domain::fault::InvalidField;
use meta_domain::id::KeyId;
use meta_domain::role::{Role, Scope};
use meta_domain::time::Timestamp;
use meta_proto::convert::{Number, timestamp};
use meta_proto::orchestrator as pb;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    role: Role,
    #[serde(default)]
    scopes: Vec<Scope>,
    expires_at: Option<String>,
}

/// `GET /tenants/{tenant_id}/keys`: newest first, without their secrets.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
    uri: Uri,
) -> Result<Document, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    let known = ["per_page", "page_token"];
    let params = Params::read(&uri, &known)?;
    let page_size = params.number("per_page", 1..=PER_PAGE_MAX, PER_PAGE_DEFAULT)?;
    let page_token = params.text("page_token").unwrap_or_default().to_owned();
    let message = caller.message(pb::ListKeysRequest { page_size, page_token });
    let found = caller.ask(app.peers.keys().list_keys(message)).await;
    let found = found.map_err(|problem| problem.in_query(&known))?;
    let next = Some(found.next_page_token).filter(|token| !token.is_empty());
    let path = format!("/tenants/{}/keys", caller.principal.tenant);
    let link = next.as_ref().map(|token| params.link(&path, "page_token", token));
    let meta = json!({ "per_page": page_size, "next_page_token": next });
    let keys = found.keys.iter().map(|key| resource(key, None)).collect();
    Ok(Document::list(keys).link("next", link).meta(meta))
}

/// `POST /tenants/{tenant_id}/keys`: the answer holds the key, this once.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    let new: NewKey = payload.read()?;
    let expires_at = match new.expires_at.as_deref().map(str::parse::<jiff::Timestamp>).transpose()
    {
        Ok(end) => end.map(|end| timestamp(Timestamp(end.as_millisecond()))),
        Err(error) => {
            let problem =
                format!("is not an instant: {error} (expected such as 2030-01-31T12:00:00Z)");
            let fault = InvalidField::new("expires_at", problem);
            return Err(Problem::fields("invalid_field", &[fault]));
        }
    };
    let request = pb::CreateKeyRequest {
        name: new.name,
        role: new.role.number(),
        scopes: new.scopes.into_iter().map(Number::number).collect(),
        expires_at,
    };
    let path = format!("/tenants/{}/keys", caller.principal.tenant);
    let asked = (path, &headers, payload.bytes());
    once::create(app, &caller, asked, |app, asking| async move {
        let made = asking.ask(app.peers.keys().create_key(asking.message(request))).await?;
        let key = made.key.unwrap_or_default();
        Ok(Answer::created(Document::of(resource(&key, Some(&made.api_key)))).secret())
    })
    .await
}

/// `DELETE /tenants/{tenant_id}/keys/{key_id}`: in force within seconds; again is fine.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((tenant_id, key_id)): Path<(String, String)>,
) -> Result<Document, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    let key_id = id::<KeyId>("key_id", &key_id)?.to_string();
    let message = caller.message(pb::RevokeKeyRequest { key_id, reason: String::new() });
    let ended = caller.ask(app.peers.keys().revoke_key(message)).await?;
    Ok(Document::of(resource(&ended.key.unwrap_or_default(), None)))
}

fn resource(key: &pb::Key, api_key: Option<&str>) -> Resource {
    let mut attributes = json!({
        "name": key.name,
        "role": word::<Role>(key.role),
        "scopes": key.scopes.iter().map(|scope| word::<Scope>(*scope)).collect::<Vec<_>>(),
        "actor": text(&key.actor),
        "created_at": at(key.created_at.as_ref()),
        "expires_at": at(key.expires_at.as_ref()),
        "last_used_at": at(key.last_used_at.as_ref()),
        "revoked_at": at(key.revoked_at.as_ref()),
    });
    if let Some(api_key) = api_key {
        attributes["api_key"] = api_key.into();
    }
    Resource::new("key", &key.id, attributes).one("tenant", "tenant", &key.tenant_id)
}
