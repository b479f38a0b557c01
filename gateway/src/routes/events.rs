//! A run's event log: as a list, as server-sent events, or as one JSON object a line.

use super::App;
use super::live::{Follower, NDJSON, SSE, ndjson, room};
use crate::auth::Caller;
use crate::edge::accepts;
use crate::params::{Params, id};
use crate::problem::{At, Problem};
use crate::view;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri};
use meta_domain::id::RunId;
use meta_proto::orchestrator as pb;
use std::sync::Arc;
use tonic::{Status, Streaming};

/// Events in one list at most; `links.next` goes on from there.
const LIST_EVENTS_MAX: u32 = 1000;
/// `GET /runs/{run_id}/events?after=&follow=&per_page=`
pub(super) async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run_id: RunId = id("run_id", &run_id)?;
    let params = Params::read(&uri, &["after", "follow", "per_page"])?;
    let (live, lines) = (accepts(&headers, SSE), accepts(&headers, NDJSON));
    let after = match last_event_id(&headers)? {
        Some(seq) => seq,
        None => params.parsed("after", "the number of an event")?.unwrap_or(0),
    };
    let follow = params.get("follow")?.unwrap_or(live);
    if follow && !live && !lines {
        let expected = format!("is only for Accept: {SSE} or {NDJSON}");
        return Err(Problem::parameter("follow", expected));
    }
    let limit = params.number("per_page", 1..=LIST_EVENTS_MAX, LIST_EVENTS_MAX)?;
    let room = if live || lines { Some(room(&app)?) } else { None };
    let mut follower = Follower { app, caller, run_id, room };
    let log = follower.open(after, follow && !live).await?;
    if live {
        Ok(follower.watch(log, after, follow))
    } else if let Some(room) = follower.room.take() {
        Ok(ndjson(log, (&follower.app, room), |m| view::run::event(&m.event.unwrap_or_default())))
    } else {
        follower.list(log, limit, &params).await
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let detail =
            format!("Last-Event-ID {text:?} is not valid (expected the number of an event)");
        Problem::bad("invalid_header", detail).at(At::Header("Last-Event-ID"))
    })
}

type Log = Streaming<pb::StreamEventsResponse>;

impl Follower {
    async fn list(&self, mut log: Log, limit: u32, params: &Params) -> Result<Response, Problem> {
        let read = async {
            let mut events = Vec::new();
            let mut more = None;
            while let Some(message) = log.message().await? {
                if events.len() >= limit as usize {
                    more = events.last().map(|e: &pb::RunEvent| e.seq);
                    break;
                }
                events.extend(message.event);
            }
            Ok::<_, Status>((events, more))
        };
        let whole = tokio::time::timeout(self.app.config.request_timeout(), read).await;
        let (events, more) = whole.map_err(|_| Problem::deadline())??;
        let run_id = self.run_id;
        let path = format!("/runs/{run_id}/events");
        let next = more.map(|seq| params.link(&path, "after", &seq.to_string()));
        let resources = events.iter().map(|e| {
            let id = format!("{run_id}:{}", e.seq);
            crate::document::Resource::new("event", id, view::run::event(e))
        });
        let document = crate::document::Document::list(resources.collect());
        Ok(document.link("next", next).into_response())
    }
}
