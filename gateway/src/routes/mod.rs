//! The routes, one file a resource.

mod about;
mod approvals;
mod audit;
mod classify;
mod control;
mod create_run;
mod events;
mod flaky;
mod health;
mod keys;
mod live;
mod logs;
mod ofrep;
mod plans;
mod runs;
mod settings;
mod specs;
mod table;
mod tenants;
mod webhooks;
mod why;

use crate::auth::{Acting, KeyCache, Tokens, lasting};
use crate::contract::Routes;
use crate::denials::Denials;
use crate::session::SessionCache;
use crate::signins::SignIns;
use crate::{Config, Peers};
use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use meta_domain::fault::InvalidField;
use meta_runtime::flags::Flags;
use meta_tokens::Provider;
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
    /// The tokens that are believed.
    pub(crate) tokens: Tokens,
    /// Where people sign in, beside with a key.
    pub(crate) provider: Option<Provider>,
    /// Platform administrators in other tenants.
    pub(crate) acting: Acting,
    /// What is refused here.
    pub(crate) denials: Denials,
    /// Failed sign-ins by address.
    pub(crate) signins: SignIns,
    /// The runs that are watched here.
    pub(crate) feeds: live::Feeds,
    /// Streams of runs that may still be opened.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) sessions: SessionCache,
    /// What runs are called, for the pages.
    pub(crate) titles: crate::pages::Titles,
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
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub(crate) fn new(
        config: Config,
        peers: Peers,
        settings: Flags,
        stopping: CancellationToken,
    ) -> Result<Arc<Self>, Vec<InvalidField>> {
        config.check()?;
        let within = |section| {
            move |faults: Vec<InvalidField>| {
                faults.into_iter().map(|f| f.within(section)).collect::<Vec<_>>()
            }
        };
        let tokens = Tokens::of(config.jwt.as_ref()).map_err(within("jwt"))?;
        let provider = config.oidc.as_ref().map(|oidc| Provider::new(oidc, config.redirect()));
        let provider = provider.transpose().map_err(within("oidc"))?;
        let keys = KeyCache::new(Duration::from_millis(config.key_cache_ms));
        let sessions = SessionCache::new(Duration::from_millis(config.key_cache_ms));
        let flag_streams = Arc::new(Semaphore::new(FLAG_STREAMS_MAX));
        let proxies = config.trusted_proxies.clone();
        let signins = SignIns::new(config.failed_sign_ins_per_minute, proxies);
        let streams = Arc::new(Semaphore::new(config.streams_max as usize));
        let feeds = live::Feeds::default();
        let titles = crate::pages::Titles::default();
        Ok(Arc::new(Self {
            config,
            peers,
            keys,
            tokens,
            provider,
            acting: Acting::default(),
            denials: Denials::default(),
            signins,
            feeds,
            streams,
            sessions,
            titles,
            settings,
            flag_streams,
            stopping,
        }))
    }
}

/// A request document without fields.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Every route, and the document of them.
pub(crate) fn routes() -> Routes {
    table::routes()
}

/// Every route.
pub(crate) fn router(app: Arc<App>) -> Router {
    routes()
        .router()
        .merge(crate::pages::routes(&app))
        .fallback(crate::pages::nowhere)
        .with_state(app)
}

/// What every request passes between the edge and its route.
pub(crate) async fn within(app: Arc<App>, request: Request, next: Next) -> Response {
    match ofrep::Foreign::of(&app.config.cors_origins, &request) {
        None => lasting::while_in_force(app, request, next).await,
        Some(foreign) => {
            let response = match foreign.preflight() {
                Some(answer) => answer,
                None => lasting::while_in_force(app, request, next).await,
            };
            foreign.allowed(response)
        }
    }
}
