//! The routes, one file a resource.

mod approvals;
mod classify;
mod control;
mod create_run;
mod events;
mod health;
mod logs;
mod ofrep;
mod plans;
mod runs;
mod settings;
mod specs;
mod tenants;

use crate::auth::KeyCache;
use crate::document::BASE;
use crate::idempotency::Answers;
use crate::session::SessionCache;
use crate::{Config, Peers};
use axum::Router;
use axum::routing::{delete, get, post, put};
use meta_runtime::flags::Flags;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Event streams of flags that are open at once, at most.
const FLAG_STREAMS_MAX: usize = 10_000;

/// What the handlers share.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) peers: Peers,
    pub(crate) keys: KeyCache,
    pub(crate) sessions: SessionCache,
    /// What runs are called, for the pages.
    pub(crate) titles: crate::pages::Titles,
    pub(crate) answers: Arc<Answers>,
    /// The settings of the installation, without asking the flag-resolver.
    pub(crate) settings: Flags,
    /// Event streams of flags that may still be opened.
    pub(crate) flag_streams: Arc<Semaphore>,
    /// Canceled when the process stops: streams and waits end.
    pub(crate) stopping: CancellationToken,
}

impl Drop for App {
    /// Nobody can ask any more, so whatever still follows may stop.
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl App {
    /// A gateway in front of these services.
    pub(crate) fn new(
        config: Config,
        peers: Peers,
        settings: Flags,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        let keys = KeyCache::new(Duration::from_millis(config.key_cache_ms));
        let sessions = SessionCache::new(Duration::from_millis(config.key_cache_ms));
        let flag_streams = Arc::new(Semaphore::new(FLAG_STREAMS_MAX));
        let answers = Arc::default();
        let titles = crate::pages::Titles::default();
        Arc::new(Self {
            config,
            peers,
            keys,
            sessions,
            titles,
            answers,
            settings,
            flag_streams,
            stopping,
        })
    }
}

/// A request document without fields.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Every route.
pub(crate) fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .merge(tenants_and_settings())
        .merge(specs_and_plans())
        .merge(runs())
        .merge(decisions())
        .route("/classify-failure", post(classify::classify));
    Router::new()
        .nest(BASE, api)
        .merge(ofrep::routes())
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .merge(crate::pages::routes(&app))
        .fallback(crate::pages::nowhere)
        .with_state(app)
}

fn tenants_and_settings() -> Router<Arc<App>> {
    let tenant = get(settings::tenant)
        .put(settings::set_tenant)
        .patch(settings::set_tenant)
        .delete(settings::clear_tenant);
    Router::new()
        .route("/caller", get(tenants::caller))
        .route("/tenants", get(tenants::list).post(tenants::create))
        .route("/tenants/{tenant_id}/users", post(tenants::create_user))
        .route("/tenants/{tenant_id}/settings", tenant)
        .route("/tenants/{tenant_id}/settings/history", get(settings::history::tenant))
        .route(
            "/tenants/{tenant_id}/settings/scheduled/{scheduled_id}",
            delete(settings::cancel_scheduled),
        )
        .route("/settings/validate", post(settings::validate))
        .merge(platform_settings())
}

fn platform_settings() -> Router<Arc<App>> {
    let layer = put(settings::platform::set)
        .patch(settings::platform::set)
        .delete(settings::platform::clear);
    Router::new()
        .route("/settings/platform", get(settings::platform::show))
        .route("/settings/platform/{layer}", layer)
        .route("/settings/platform/history", get(settings::history::platform))
        .route(
            "/settings/platform/scheduled/{scheduled_id}",
            delete(settings::platform::cancel_scheduled),
        )
}

fn specs_and_plans() -> Router<Arc<App>> {
    Router::new()
        .route("/specs", get(specs::list).post(specs::create))
        .route("/specs/{spec_id}", get(specs::show))
        .route("/specs/{spec_id}/plan", post(plans::create))
        .route("/specs/{spec_id}/runs", post(create_run::create))
}

fn runs() -> Router<Arc<App>> {
    let settings = get(settings::run)
        .put(settings::set_run)
        .patch(settings::set_run)
        .delete(settings::clear_run);
    Router::new()
        .route("/runs", get(runs::list))
        .route("/runs/{run_id}", get(runs::show))
        .route("/runs/{run_id}/logs", get(logs::logs))
        .route("/runs/{run_id}/events", get(events::events))
        .route("/runs/{run_id}/cancel", post(runs::cancel))
        .route("/runs/{run_id}/retry", post(runs::retry))
        .route("/runs/{run_id}/rollback", post(runs::rollback))
        .route("/runs/{run_id}/pause", post(control::pause))
        .route("/runs/{run_id}/resume", post(control::resume))
        .route("/runs/{run_id}/steps/{step}/mark", post(control::mark))
        .route("/runs/{run_id}/plan-edit", post(control::edit))
        .route("/runs/{run_id}/verify", get(control::verify))
        .route("/runs/{run_id}/settings", settings)
        .route("/runs/{run_id}/settings/history", get(settings::history::run))
        .route("/runs/{run_id}/autofix", get(runs::autofix))
        .route("/runs/{run_id}/escalation", get(runs::escalation))
        .route("/runs/{run_id}/plan-delta", get(runs::plan_delta))
        .route("/runs/{run_id}/artifacts/{name}", get(logs::artifact))
}

fn decisions() -> Router<Arc<App>> {
    Router::new()
        .route("/runs/{run_id}/approve", post(approvals::approve_run))
        .route("/runs/{run_id}/reject", post(approvals::reject_run))
        .route("/approvals", get(approvals::list))
        .route("/approvals/{gate_id}/approve", post(approvals::approve))
        .route("/approvals/{gate_id}/reject", post(approvals::reject))
}
