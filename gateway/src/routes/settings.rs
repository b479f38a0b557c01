//! Overrides of a tenant or a run, and the values in force.

use super::{App, runs};
use crate::auth::Caller;
use crate::body::{Payload, typed};
use crate::document::{Document, Resource};
use crate::params::id;
use crate::problem::Problem;
use crate::view;
use axum::extract::{Path, State};
use meta_domain::fault::InvalidField;
use meta_domain::settings::{Layer, Overrides};
use meta_proto::flags as pb;
use serde_json::{Value, json};
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
}

/// `GET /tenants/{tenant_id}/settings`
pub(super) async fn tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
) -> Result<Document, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    explained(&app, &caller, &Scope::Tenant).await
}

/// `PUT /tenants/{tenant_id}/settings`: replaces the override.
pub(super) async fn put_tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
    payload: Payload,
) -> Result<Document, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    set(&app, &caller, Scope::Tenant, put(&payload)?, false).await
}

/// `PATCH /tenants/{tenant_id}/settings`: changes the fields that are given.
pub(super) async fn patch_tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
    payload: Payload,
) -> Result<Document, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    set(&app, &caller, Scope::Tenant, patch(&payload)?, true).await
}

/// `DELETE /tenants/{tenant_id}/settings`: back to the platform's defaults.
pub(super) async fn clear_tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
) -> Result<Document, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    let message = caller.message(pb::ClearOverridesRequest { run_id: String::new() });
    caller.ask(app.peers.flags().clear_overrides(message)).await?;
    explained(&app, &caller, &Scope::Tenant).await
}

/// `GET /runs/{run_id}/settings`
pub(super) async fn run(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
) -> Result<Document, Problem> {
    let run = runs::get(&app, &caller, &run_id).await?;
    explained(&app, &caller, &Scope::Run(run.id)).await
}

/// `PUT /runs/{run_id}/settings`: replaces the override.
pub(super) async fn put_run(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    payload: Payload,
) -> Result<Document, Problem> {
    let overrides = put(&payload)?;
    let run = runs::get(&app, &caller, &run_id).await?;
    set(&app, &caller, Scope::Run(run.id), overrides, false).await
}

/// `PATCH /runs/{run_id}/settings`: changes the fields that are given.
pub(super) async fn patch_run(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    payload: Payload,
) -> Result<Document, Problem> {
    let overrides = patch(&payload)?;
    let run = runs::get(&app, &caller, &run_id).await?;
    set(&app, &caller, Scope::Run(run.id), overrides, true).await
}

/// `POST /settings/validate`: says what is out of range, stores nothing.
pub(super) async fn validate(
    State(app): State<Arc<App>>,
    caller: Caller,
    payload: Payload,
) -> Result<Document, Problem> {
    let overrides: Overrides = payload.read()?;
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

fn put(payload: &Payload) -> Result<Overrides, Problem> {
    checked(payload.read()?)
}

/// In a PATCH a null would be a silent no; the override is cleared by leaving fields out of a PUT.
fn patch(payload: &Payload) -> Result<Overrides, Problem> {
    let attributes = payload.attributes()?;
    let fields = attributes.as_object().into_iter().flatten();
    let nulls: Vec<_> = fields
        .filter(|(_, value)| **value == Value::Null)
        .map(|(name, _)| {
            let problem = "is null (expected a value; PUT the whole override to leave a field out)";
            InvalidField::new(name, problem)
        })
        .collect();
    if nulls.is_empty() {
        checked(typed(attributes)?)
    } else {
        Err(Problem::fields("invalid_field", &nulls))
    }
}

fn checked(overrides: Overrides) -> Result<Overrides, Problem> {
    overrides.check().map_err(|faults| Problem::fields("override_out_of_range", &faults))?;
    Ok(overrides)
}

async fn set(
    app: &App,
    caller: &Caller,
    scope: Scope,
    overrides: Overrides,
    patch: bool,
) -> Result<Document, Problem> {
    let request = pb::SetOverridesRequest {
        run_id: scope.run_id(),
        overrides: Some(overrides.into()),
        patch,
    };
    caller.ask(app.peers.flags().set_overrides(caller.message(request))).await?;
    explained(app, caller, &scope).await
}

async fn explained(app: &App, caller: &Caller, scope: &Scope) -> Result<Document, Problem> {
    let message = caller.message(pb::ExplainRequest { run_id: scope.run_id() });
    let found = caller.ask(app.peers.flags().explain(message)).await?;
    let (id, layer) = match scope {
        Scope::Tenant => (caller.principal.tenant.to_string(), Layer::Tenant),
        Scope::Run(id) => (id.clone(), Layer::Run),
    };
    Ok(Document::of(Resource::new("settings", id, view::settings::explained(&found, layer))))
}
