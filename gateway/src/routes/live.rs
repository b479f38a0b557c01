//! Streams that follow a run: server-sent events and JSON lines.

mod feed;
mod watch;

pub(crate) use feed::Feeds;

use super::{App, runs};
use crate::auth::{Caller, ask_within};
use crate::problem::Problem;
use crate::view;
use axum::body::Body;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderName, HeaderValue, header};
use meta_domain::id::RunId;
use meta_domain::status::RunStatus;
use meta_proto::orchestrator as pb;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

/// What a browser waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(2);
/// Media type of server-sent events.
pub(super) const SSE: &str = "text/event-stream";
/// Media type of one JSON object a line.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// Tells a proxy in between to pass every event on at once.
pub(super) const NO_BUFFERING: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// Whose stream of which run.
pub(super) struct Follower {
    pub(super) app: Arc<App>,
    pub(super) caller: Caller,
    pub(super) run_id: RunId,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// Room for one more stream, for as long as it is open.
///
/// # Errors
/// 503 when too many are open.
pub(super) fn room(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&app.streams).try_acquire_owned().map_err(|_| Problem::overloaded())
}

impl Follower {
    /// The run's event log after an event.
    ///
    /// # Errors
    /// As the orchestrator says.
    pub(super) async fn open(
        &self,
        after_seq: u64,
        follow: bool,
    ) -> Result<Streaming<pb::StreamEventsResponse>, Problem> {
        let run_id = self.run_id.to_string();
        let whole = Duration::from_millis(self.app.config.stream_ms);
        let request = pb::StreamEventsRequest { run_id, after_seq, follow };
        let message = self.caller.message_within(whole, request);
        let open = self.app.config.request_timeout();
        ask_within(open, self.app.peers.runs().stream_events(message)).await
    }

    /// The run's events after `seen` as they come, then `end` with its status. What else may end the
    /// stream is as with [`Follower::sse`].
    pub(super) fn watch(
        self,
        log: Streaming<pb::StreamEventsResponse>,
        seen: u64,
        follow: bool,
    ) -> Response {
        let heartbeat = Duration::from_millis(self.app.config.heartbeat_ms);
        let events = watch::Watcher::new(self, log, (seen, follow)).events();
        live(heartbeat, events)
    }

    /// Messages as events as they come, then `end` with the run's status. A stream that breaks says
    /// `problem` and no `end`, one whose time is over, or whose gateway stops, says nothing; the
    /// browser then connects again and names the last event it saw. What `written` leaves out is
    /// not sent.
    pub(super) fn sse<T, W>(self, log: Streaming<T>, written: W) -> Response
    where
        T: Send + 'static,
        W: FnMut(T) -> Option<Event> + Send + 'static,
    {
        let heartbeat = Duration::from_millis(self.app.config.heartbeat_ms);
        let until = Instant::now() + Duration::from_millis(self.app.config.stream_ms);
        let rest = stream::unfold(Some((self, log, written)), move |open| async move {
            let (follower, mut log, mut written) = open?;
            loop {
                let next = tokio::select! {
                    next = timeout_at(until, log.message()) => next,
                    () = follower.app.stopping.cancelled() => return None,
                };
                match next {
                    Ok(Ok(Some(message))) => {
                        if let Some(event) = written(message) {
                            return Some((event, Some((follower, log, written))));
                        }
                    }
                    Ok(Ok(None)) => return Some((follower.end().await, None)),
                    Ok(Err(status)) => return Some((torn(status), None)),
                    Err(_) => return None,
                }
            }
        });
        live(heartbeat, rest)
    }

    async fn end(&self) -> Event {
        let run = runs::get(&self.app, &self.caller, &self.run_id.to_string()).await;
        let status = run.map_or(Value::Null, |r| view::word::<RunStatus>(r.status));
        let data = json!({ "run_id": self.run_id, "status": status });
        Event::default().event("end").data(data.to_string())
    }
}

fn live(heartbeat: Duration, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let first = stream::iter([Event::default().retry(RECONNECT)]);
    let events = first.chain(events).map(Ok::<_, Infallible>);
    let keep_alive = KeepAlive::new().interval(heartbeat).text("heartbeat");
    ([NO_BUFFERING], Sse::new(events).keep_alive(keep_alive)).into_response()
}

fn written(event: &pb::RunEvent) -> Event {
    let name: String = event.r#type.chars().filter(|c| !c.is_control()).collect();
    let data = view::run::event(event).to_string();
    Event::default().id(event.seq.to_string()).event(name).data(data)
}

fn torn(status: Status) -> Event {
    problem(&Problem::from(status))
}

fn problem(problem: &Problem) -> Event {
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

/// One message a line. A stream that breaks ends without the last chunk, so that nobody takes it
/// for whole.
pub(super) fn ndjson<T: Send + 'static>(
    log: Streaming<T>,
    (app, room): (&App, OwnedSemaphorePermit),
    written: impl Fn(T) -> Value + Send + 'static,
) -> Response {
    let lines = until(log, app).map(move |message| {
        let _held = &room;
        message.map(|m| Bytes::from(format!("{}\n", written(m))))
    });
    let media = (header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    ([media, NO_BUFFERING], Body::from_stream(lines)).into_response()
}
