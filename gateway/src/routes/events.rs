//! A run's event log: as a list, as server-sent events, or as one JSON object a line.

use super::App;
use crate::auth::{Caller, ask_within};
use crate::edge::accepts;
use crate::params::{Params, id};
use crate::problem::{At, Problem};
use crate::view;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use meta_domain::id::RunId;
use meta_domain::status::RunStatus;
use meta_proto::orchestrator as pb;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

/// Events in one list at most; `links.next` goes on from there.
const LIST_EVENTS_MAX: u32 = 1000;
/// What a browser waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(2);
const SSE: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";
/// Tells a proxy in between to pass every event on at once.
pub(super) const NO_BUFFERING: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

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
        None => params.get("after")?.unwrap_or(0),
    };
    let follow = params.get("follow")?.unwrap_or(live);
    if follow && !live && !lines {
        let expected = format!("is only for Accept: {SSE} or {NDJSON}");
        return Err(Problem::parameter("follow", expected));
    }
    let limit = params.number("per_page", 1..=LIST_EVENTS_MAX, LIST_EVENTS_MAX)?;
    let follower = Follower { app, caller, run_id };
    let log = follower.open(after, follow).await?;
    if live {
        Ok(follower.sse(log))
    } else if lines {
        Ok(ndjson(log, &follower.app))
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

struct Follower {
    app: Arc<App>,
    caller: Caller,
    run_id: RunId,
}

type Log = Streaming<pb::StreamEventsResponse>;

impl Follower {
    async fn open(&self, after_seq: u64, follow: bool) -> Result<Log, Problem> {
        let run_id = self.run_id.to_string();
        let whole = Duration::from_millis(self.app.config.stream_ms);
        let request = pb::StreamEventsRequest { run_id, after_seq, follow };
        let message = self.caller.message_within(whole, request);
        let open = self.app.config.request_timeout();
        ask_within(open, self.app.peers.runs().stream_events(message)).await
    }

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

    /// Events as they come, then `end` with the run's status. A stream that breaks says `problem`
    /// and no `end`, one whose time is over, or whose gateway stops, says nothing; the browser then
    /// connects again and names the last event it saw.
    fn sse(self, log: Log) -> Response {
        let heartbeat = Duration::from_millis(self.app.config.heartbeat_ms);
        let until = Instant::now() + Duration::from_millis(self.app.config.stream_ms);
        let first = stream::iter([Event::default().retry(RECONNECT)]);
        let rest = stream::unfold(Some((self, log)), move |open| async move {
            let (follower, mut log) = open?;
            let next = tokio::select! {
                next = timeout_at(until, log.message()) => next,
                () = follower.app.stopping.cancelled() => return None,
            };
            match next {
                Ok(Ok(Some(message))) => {
                    let event = written(&message.event.unwrap_or_default());
                    Some((event, Some((follower, log))))
                }
                Ok(Ok(None)) => Some((follower.end().await, None)),
                Ok(Err(status)) => Some((torn(status), None)),
                Err(_) => None,
            }
        });
        let events = first.chain(rest).map(Ok::<_, Infallible>);
        let keep_alive = KeepAlive::new().interval(heartbeat).text("heartbeat");
        ([NO_BUFFERING], Sse::new(events).keep_alive(keep_alive)).into_response()
    }

    async fn end(&self) -> Event {
        let run = super::runs::get(&self.app, &self.caller, &self.run_id.to_string()).await;
        let status = run.map_or(Value::Null, |r| view::word::<RunStatus>(r.status));
        let data = json!({ "run_id": self.run_id, "status": status });
        Event::default().event("end").data(data.to_string())
    }
}

fn written(event: &pb::RunEvent) -> Event {
    let name: String = event.r#type.chars().filter(|c| !c.is_control()).collect();
    let data = view::run::event(event).to_string();
    Event::default().id(event.seq.to_string()).event(name).data(data)
}

fn torn(status: Status) -> Event {
    let problem = Problem::from(status);
    let first = problem.errors.first();
    let data = json!({
        "status": problem.status.as_u16(),
        "code": first.map(|e| e.code.as_str()),
        "detail": first.map(|e| e.detail.as_str()),
    });
    Event::default().event("problem").data(data.to_string())
}

/// The messages of a stream, which breaks when its time is over or the gateway stops.
pub(super) fn until<T: Send + 'static>(
    log: Streaming<T>,
    app: &App,
) -> impl Stream<Item = Result<T, Status>> + Send + use<T> {
    let until = Instant::now() + Duration::from_millis(app.config.stream_ms);
    stream::unfold(Some((log, app.stopping.clone())), move |open| async move {
        let (mut log, stopping) = open?;
        let next = tokio::select! {
            next = timeout_at(until, log.message()) => next,
            () = stopping.cancelled() => Ok(Err(Status::unavailable("the gateway is stopping"))),
        };
        match next {
            Ok(Ok(None)) => None,
            Ok(Ok(Some(message))) => Some((Ok(message), Some((log, stopping)))),
            Ok(Err(status)) => Some((Err(status), None)),
            Err(_) => Some((Err(Status::deadline_exceeded("the stream's time is over")), None)),
        }
    })
}

/// One event a line. A stream that breaks ends without the last chunk, so that nobody takes it for
/// whole.
fn ndjson(log: Log, app: &App) -> Response {
    let lines = until(log, app).map(|message| {
        message
            .map(|m| Bytes::from(format!("{}\n", view::run::event(&m.event.unwrap_or_default()))))
    });
    let media = (header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    ([media, NO_BUFFERING], Body::from_stream(lines)).into_response()
}
