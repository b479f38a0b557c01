//! The layers of the whole platform, for platform administrators. Every write says why.

use super::asked::Asked;
use super::{canceled, document, promised, tagged};
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::{Document, Resource};
use crate::params::{Params, id};
use crate::problem::{At, Problem, shown};
use crate::routes::App;
use crate::view;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use meta_domain::role::Role;
use meta_domain::settings::Layer;
use meta_proto::convert::Number;
use meta_proto::convert::settings::rollouts;
use meta_proto::{flags as pb, orchestrator};
use serde_json::json;
use std::sync::Arc;

/// Tenants that a dry run looks at, at most.
const TENANTS_MAX: usize = 50_000;
/// Tenants that are asked for at once.
const PAGE_TENANTS: u32 = 1000;
const ID: &str = "platform";

/// The layer that a path names.
fn layer(name: &str) -> Result<Layer, Problem> {
    let layers = [Layer::Platform, Layer::Rollout, Layer::KillSwitch];
    layers.into_iter().find(|layer| view::settings::segment(*layer) == name).ok_or_else(|| {
        let detail = format!(
            "{} is not a layer of the whole platform (expected platform, rollouts or kill-switch)",
            shown(name)
        );
        Problem::new(StatusCode::NOT_FOUND, "layer_not_found", detail)
            .at(At::Parameter("layer".to_owned()))
    })
}

/// `GET /settings/platform`
pub(in crate::routes) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Document, Problem> {
    let caller = caller.with_role(Role::PlatformAdmin)?;
    Params::read(&uri, &[])?;
    shown_now(&app, &caller).await
}

async fn shown_now(app: &App, caller: &Caller) -> Result<Document, Problem> {
    let message = caller.message(pb::GetPlatformRequest {});
    let found = caller.ask(app.peers.flags().get_platform(message)).await?;
    Ok(Document::of(Resource::new("platform_settings", ID, view::settings::platform(&found))))
}

/// `PUT /settings/platform/{layer}` replaces what is set there, `PATCH` changes what is given.
pub(in crate::routes) async fn set(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    asked: Asked,
    payload: Payload,
) -> Result<Response, Problem> {
    let caller = caller.with_role(Role::PlatformAdmin)?;
    let layer = layer(&name)?;
    let asked = asked.explained()?;
    let (overrides, rollouts) = match layer {
        Layer::Rollout => (None, rollouts(&document::rollouts(payload)?)),
        _ => (Some(document::overrides(payload)?.into()), Vec::new()),
    };
    let request = pb::SetPlatformRequest {
        layer: layer.number(),
        overrides,
        rollouts,
        patch: asked.patch,
        options: Some(asked.options()),
        tenant_ids: looked_at(&app, &caller, &asked).await?,
    };
    let done = caller.ask(app.peers.flags().set_platform(caller.message(request))).await;
    let done = done.map_err(|problem| asked.blame(problem))?;
    settled(&app, &caller, &asked, done.outcome).await
}

/// `DELETE /settings/platform/{layer}`
pub(in crate::routes) async fn clear(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let caller = caller.with_role(Role::PlatformAdmin)?;
    let layer = layer(&name)?;
    let asked = asked.explained()?;
    let request = pb::ClearPlatformRequest {
        layer: layer.number(),
        settings: asked.settings(),
        options: Some(asked.options()),
        tenant_ids: looked_at(&app, &caller, &asked).await?,
    };
    let done = caller.ask(app.peers.flags().clear_platform(caller.message(request))).await;
    let done = done.map_err(|problem| asked.blame(problem))?;
    settled(&app, &caller, &asked, done.outcome).await
}

/// `DELETE /settings/platform/scheduled/{scheduled_id}`
pub(in crate::routes) async fn cancel_scheduled(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(scheduled_id): Path<String>,
) -> Result<Document, Problem> {
    let caller = caller.with_role(Role::PlatformAdmin)?;
    let scheduled = id::<uuid::Uuid>("scheduled_id", &scheduled_id)?.to_string();
    let message = caller.message(pb::CancelPlatformScheduledRequest { id: scheduled.clone() });
    let done = caller.ask(app.peers.flags().cancel_platform_scheduled(message)).await?;
    Ok(canceled(scheduled, done.version))
}

async fn settled(
    app: &App,
    caller: &Caller,
    asked: &Asked,
    outcome: Option<pb::WriteOutcome>,
) -> Result<Response, Problem> {
    let outcome = outcome.unwrap_or_default();
    if let Some(answer) = promised(asked, &outcome, ID) {
        return Ok(answer);
    }
    let meta = json!({
        "changed": outcome.changed,
        "override_version": outcome.override_version,
    });
    let document = shown_now(app, caller).await?.meta(meta);
    Ok(tagged(document, outcome.override_version))
}

/// The tenants that a dry run looks at: the flag-resolver knows only those with overrides.
async fn looked_at(app: &App, caller: &Caller, asked: &Asked) -> Result<Vec<String>, Problem> {
    let mut ids = Vec::new();
    let mut page_token = String::new();
    while asked.dry_run && ids.len() < TENANTS_MAX {
        let request = orchestrator::ListTenantsRequest { page_size: PAGE_TENANTS, page_token };
        let message = caller.message(request);
        let page = caller.ask(app.peers.tenants().list_tenants(message)).await?;
        ids.extend(page.tenants.into_iter().map(|tenant| tenant.id));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    Ok(ids)
}
