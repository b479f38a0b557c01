//! Overrides of a tenant or a run, and the values in force.

mod asked;
mod document;
pub(super) mod history;
pub(super) mod platform;

use super::{App, runs};
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::{Answer, Document, Resource};
use crate::params::{Params, id};
use crate::problem::Problem;
use crate::view;
use asked::Asked;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, Uri, header};
use meta_domain::settings::{Layer, Overrides};
use meta_proto::flags as pb;
use serde_json::json;
use std::sync::Arc;

/// Whose settings.
enum Scope {
    Tenant,
    Run(String),
}

impl Scope {
    /// The run's id on the wire; empty for the tenant.
    fn run_id(&self) -> String {
        match self {
            Self::Tenant => String::new(),
            Self::Run(id) => id.clone(),
        }
    }

    /// The id of the document.
    fn id(&self, caller: &Caller) -> String {
        match self {
            Self::Tenant => caller.principal.tenant.to_string(),
            Self::Run(id) => id.clone(),
        }
    }

    fn layer(&self) -> Layer {
        match self {
            Self::Tenant => Layer::Tenant,
            Self::Run(_) => Layer::Run,
        }
    }
}

/// `GET /tenants/{tenant_id}/settings`
pub(super) async fn tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    Params::read(&uri, &[])?;
    explained(&app, &caller, &Scope::Tenant).await
}

/// `PUT /tenants/{tenant_id}/settings` replaces the override, `PATCH` changes what is given.
pub(super) async fn set_tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
    asked: Asked,
    payload: Payload,
) -> Result<Response, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    let overrides = document::overrides(payload)?;
    set(&app, &caller, &Scope::Tenant, &asked, overrides).await
}

/// `DELETE /tenants/{tenant_id}/settings`: back to the layers below.
pub(super) async fn clear_tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    clear(&app, &caller, &Scope::Tenant, &asked).await
}

/// `GET /runs/{run_id}/settings`
pub(super) async fn run(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let run = runs::get(&app, &caller, &run_id).await?;
    Params::read(&uri, &[])?;
    explained(&app, &caller, &Scope::Run(run.id)).await
}

/// `PUT /runs/{run_id}/settings` replaces the override, `PATCH` changes what is given.
pub(super) async fn set_run(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    asked: Asked,
    payload: Payload,
) -> Result<Response, Problem> {
    let overrides = document::overrides(payload)?;
    let run = runs::get(&app, &caller, &run_id).await?;
    set(&app, &caller, &Scope::Run(run.id), &asked, overrides).await
}

/// `DELETE /runs/{run_id}/settings`: back to the layers below.
pub(super) async fn clear_run(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let run = runs::get(&app, &caller, &run_id).await?;
    clear(&app, &caller, &Scope::Run(run.id), &asked).await
}

/// `DELETE /tenants/{tenant_id}/settings/scheduled/{scheduled_id}`: takes back a change of the
/// tenant's or one of its runs' settings.
pub(super) async fn cancel_scheduled(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((tenant_id, scheduled_id)): Path<(String, String)>,
) -> Result<Document, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    let scheduled = id::<uuid::Uuid>("scheduled_id", &scheduled_id)?.to_string();
    let message = caller.message(pb::CancelScheduledRequest { id: scheduled.clone() });
    let done = caller.ask(app.peers.flags().cancel_scheduled(message)).await?;
    Ok(canceled(scheduled, done.version))
}

fn canceled(id: String, version: u64) -> Document {
    let attributes = json!({ "status": "canceled", "version": version });
    Document::of(Resource::new("scheduled_change", id, attributes))
}

/// `POST /settings/validate`: says what is out of range, stores nothing.
pub(super) async fn validate(
    State(app): State<Arc<App>>,
    caller: Caller,
    payload: Payload,
) -> Result<Document, Problem> {
    let overrides = document::overrides_of_any_range(payload)?;
    let request = pb::ValidateOverridesRequest { overrides: Some(overrides.into()) };
    let message = caller.message(request);
    let found = caller.ask(app.peers.flags().validate_overrides(message)).await?;
    let problems = found.problems.iter().map(|p| json!({ "field": p.field, "problem": p.problem }));
    let attributes = json!({
        "valid": found.problems.is_empty(),
        "problems": problems.collect::<Vec<_>>(),
    });
    let id = meta_runtime::new_id().to_string();
    Ok(Document::of(Resource::new("settings_validation", id, attributes)))
}

async fn set(
    app: &App,
    caller: &Caller,
    scope: &Scope,
    asked: &Asked,
    overrides: Overrides,
) -> Result<Response, Problem> {
    let request = pb::SetOverridesRequest {
        run_id: scope.run_id(),
        overrides: Some(overrides.into()),
        patch: asked.patch,
        options: Some(asked.options()),
    };
    let done = caller.ask(app.peers.flags().set_overrides(caller.message(request))).await;
    let done = done.map_err(|problem| asked.blame(problem))?;
    settled(app, caller, scope, asked, &done.outcome.unwrap_or_default()).await
}

async fn clear(
    app: &App,
    caller: &Caller,
    scope: &Scope,
    asked: &Asked,
) -> Result<Response, Problem> {
    let request = pb::ClearOverridesRequest {
        run_id: scope.run_id(),
        settings: asked.settings(),
        options: Some(asked.options()),
    };
    let done = caller.ask(app.peers.flags().clear_overrides(caller.message(request))).await;
    let done = done.map_err(|problem| asked.blame(problem))?;
    settled(app, caller, scope, asked, &done.outcome.unwrap_or_default()).await
}

/// What came of a write: what would change, what was scheduled, or how the settings are now.
async fn settled(
    app: &App,
    caller: &Caller,
    scope: &Scope,
    asked: &Asked,
    outcome: &pb::WriteOutcome,
) -> Result<Response, Problem> {
    match promised(asked, outcome, &scope.id(caller)) {
        Some(answer) => Ok(answer),
        None => explained(app, caller, scope).await,
    }
}

/// The answer to a write that has changed nothing yet: 200 with what would change, or 202.
fn promised(asked: &Asked, outcome: &pb::WriteOutcome, owner: &str) -> Option<Response> {
    if asked.dry_run {
        let attributes = view::settings::dry_run(outcome);
        let document = Document::of(Resource::new("settings_dry_run", owner, attributes));
        Some(document.into_response())
    } else if outcome.scheduled_id.is_empty() {
        None
    } else {
        let attributes = json!({
            "status": "scheduled",
            "effective_at": asked.effective_at.map(|at| at.to_string()),
            "version": outcome.version,
            "override_version": outcome.override_version,
        });
        let resource = Resource::new("scheduled_change", &outcome.scheduled_id, attributes);
        Some(Answer::new(StatusCode::ACCEPTED, Document::of(resource)).into_response())
    }
}

async fn explained(app: &App, caller: &Caller, scope: &Scope) -> Result<Response, Problem> {
    let message = caller.message(pb::ExplainRequest { run_id: scope.run_id() });
    let found = caller.ask(app.peers.flags().explain(message)).await?;
    let attributes = view::settings::explained(&found, scope.layer());
    let document = Document::of(Resource::new("settings", scope.id(caller), attributes));
    Ok(tagged(document, found.override_version))
}

/// A document with the version that a later write names in `If-Match`.
fn tagged(document: Document, version: u64) -> Response {
    let mut response = document.into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
