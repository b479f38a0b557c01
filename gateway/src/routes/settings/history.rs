//! The audit of changes, newest first.

use super::super::{App, runs};
use crate::auth::Caller;
use crate::document::{Document, Resource};
use crate::params::{PER_PAGE_DEFAULT, PER_PAGE_MAX, Params, id};
use crate::problem::Problem;
use crate::view;
use axum::extract::{Path, State};
use http::Uri;
use meta_domain::role::Role;
use meta_domain::settings::Setting;
use meta_proto::flags as pb;
use serde_json::json;
use std::sync::Arc;

const PARAMS: [&str; 3] = ["setting", "per_page", "page_token"];

/// Which page of the history.
struct Page {
    params: Params,
    size: u32,
    setting: String,
    token: String,
}

impl Page {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let params = Params::read(uri, &PARAMS)?;
        let size = params.number("per_page", 1..=PER_PAGE_MAX, PER_PAGE_DEFAULT)?;
        let setting = params.get::<Setting>("setting")?;
        let setting = setting.map(|s| s.as_str().to_owned()).unwrap_or_default();
        let token = params.text("page_token").unwrap_or_default().to_owned();
        Ok(Self { params, size, setting, token })
    }

    fn document(&self, path: &str, changes: &[pb::Change], next: String) -> Document {
        let resource = |change: &pb::Change| {
            let (id, attributes) = view::settings::change(change);
            Resource::new("settings_change", id, attributes)
        };
        let next = Some(next).filter(|token| !token.is_empty());
        let link = next.as_ref().map(|token| self.params.link(path, "page_token", token));
        let meta = json!({ "per_page": self.size, "next_page_token": next });
        Document::list(changes.iter().map(resource).collect()).link("next", link).meta(meta)
    }
}

/// `GET /tenants/{tenant_id}/settings/history`: of the tenant and its runs.
pub(in crate::routes) async fn tenant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(tenant_id): Path<String>,
    uri: Uri,
) -> Result<Document, Problem> {
    let caller = caller.in_tenant(id("tenant_id", &tenant_id)?)?;
    let path = format!("/tenants/{}/settings/history", caller.principal.tenant);
    owned(&app, &caller, &path, String::new(), &uri).await
}

/// `GET /runs/{run_id}/settings/history`
pub(in crate::routes) async fn run(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    uri: Uri,
) -> Result<Document, Problem> {
    let run = runs::get(&app, &caller, &run_id).await?;
    let path = format!("/runs/{}/settings/history", run.id);
    owned(&app, &caller, &path, run.id, &uri).await
}

async fn owned(
    app: &App,
    caller: &Caller,
    path: &str,
    run_id: String,
    uri: &Uri,
) -> Result<Document, Problem> {
    let page = Page::read(uri)?;
    let request = pb::ListChangesRequest {
        run_id,
        page_size: page.size,
        setting: page.setting.clone(),
        page_token: page.token.clone(),
    };
    let found = caller.ask(app.peers.flags().list_changes(caller.message(request))).await;
    let found = found.map_err(|problem| problem.in_query(&PARAMS))?;
    Ok(page.document(path, &found.changes, found.next_page_token))
}

/// `GET /settings/platform/history`: of the layers of the whole platform.
pub(in crate::routes) async fn platform(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Document, Problem> {
    let caller = caller.with_role(Role::PlatformAdmin)?;
    let page = Page::read(&uri)?;
    let request = pb::ListPlatformChangesRequest {
        page_size: page.size,
        setting: page.setting.clone(),
        page_token: page.token.clone(),
    };
    let message = caller.message(request);
    let found = caller.ask(app.peers.flags().list_platform_changes(message)).await;
    let found = found.map_err(|problem| problem.in_query(&PARAMS))?;
    Ok(page.document("/settings/platform/history", &found.changes, found.next_page_token))
}
