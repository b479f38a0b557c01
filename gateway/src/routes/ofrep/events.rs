//! Changes as they happen: a client is told to ask again, not what has changed.

use super::answer::{Refused, Tag};
use super::{App, Asking, known};
use crate::params::Params;
use crate::routes::live::NO_BUFFERING;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{HeaderMap, Uri};
use meta_domain::role::Role;
use meta_domain::settings::Owner;
use meta_domain::settings::openfeature::{self, Attribute, RUN_ATTRIBUTE, TENANT_ATTRIBUTE};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

/// How often it is looked whether the settings have become stale, which makes no new version.
const LOOK: Duration = Duration::from_secs(1);

/// `GET /ofrep/v1/events?tenantId=&runId=`: `refetchEvaluation` whenever what a bulk evaluation of
/// this owner says is different. A platform administrator's client may ask for any tenant next, so
/// it hears of every change.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    caller: Asking,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let open = watched(&app, caller, &uri).and_then(|whose| Ok((whose, room(&app)?)));
    match open {
        Ok(((owner, all), room)) => Watched::of(app, owner, all, &headers).stream(room),
        Err(refused) => refused.into_response(None),
    }
}

/// Whose flags are followed, and whether everybody's are.
fn watched(app: &App, caller: Asking, uri: &Uri) -> Result<(Option<Owner>, bool), Refused> {
    let caller = known(app, caller)?;
    let params = Params::read(uri, &[TENANT_ATTRIBUTE, RUN_ATTRIBUTE])?;
    let attribute = |name| match params.text(name) {
        None => Attribute::Absent,
        Some("") => Attribute::Other,
        Some(text) => Attribute::Text(text),
    };
    let (tenant, run) = (attribute(TENANT_ATTRIBUTE), attribute(RUN_ATTRIBUTE));
    let owner = openfeature::owner(&caller, tenant, run).map_err(|_| Refused::NotFound)?;
    Ok((owner, caller.role == Role::PlatformAdmin))
}

/// Room for one more stream, for as long as it is open.
fn room(app: &App) -> Result<OwnedSemaphorePermit, Refused> {
    let room = Arc::clone(&app.flag_streams).try_acquire_owned();
    room.map_err(|_| Refused::Unavailable("too many event streams are open"))
}

struct Watched {
    app: Arc<App>,
    owner: Option<Owner>,
    /// Every change is told, whosesoever it is.
    all: bool,
    /// What the client has been told.
    told: String,
    versions: watch::Receiver<u64>,
    look: Interval,
    until: Instant,
}

impl Watched {
    /// From now on, or from what the client says it was told last.
    fn of(app: Arc<App>, owner: Option<Owner>, all: bool, headers: &HeaderMap) -> Self {
        let versions = app.settings.versions();
        let last = headers.get("last-event-id").and_then(|v| v.to_str().ok());
        let last = last.filter(|id| !id.is_empty()).map(str::to_owned);
        let told = last.unwrap_or_else(|| Tag::of(owner, &app.settings.resolve(owner)).quoted());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let until = Instant::now() + Duration::from_millis(app.config.stream_ms);
        Self { app, owner, all, told, versions, look, until }
    }

    fn stream(self, room: OwnedSemaphorePermit) -> Response {
        let heartbeat = Duration::from_millis(self.app.config.heartbeat_ms);
        let events = stream::unfold((self, room), |(mut watched, room)| async move {
            let event = watched.next().await?;
            Some((Ok::<_, Infallible>(event), (watched, room)))
        });
        let keep_alive = KeepAlive::new().interval(heartbeat).text("heartbeat");
        ([NO_BUFFERING], Sse::new(events).keep_alive(keep_alive)).into_response()
    }

    /// Waits for a change; `None` when the stream's time is over or the gateway stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let new_version = tokio::select! {
                changed = self.versions.changed() => changed.map(|()| true).ok()?,
                _ = self.look.tick() => false,
                () = self.app.stopping.cancelled() => return None,
                () = sleep_until(self.until) => return None,
            };
            let tag = Tag::of(self.owner, &self.app.settings.resolve(self.owner)).quoted();
            if tag != self.told || (self.all && new_version) {
                let event = told(&tag);
                self.told = tag;
                return Some(event);
            }
        }
    }
}

fn told(tag: &str) -> Event {
    let seconds = meta_runtime::now().0.div_euclid(1000);
    let data = json!({ "type": "refetchEvaluation", "etag": tag, "lastModified": seconds });
    Event::default().id(tag).data(data.to_string())
}
