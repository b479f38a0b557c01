//! Tells a page that there is something new to show. What it is the page reads again, so that only
//! one place knows how a run looks.

use super::load;
use crate::auth::ask_within;
use crate::pages::visitor::Visitor;
use crate::params::Params;
use crate::problem::Problem;
use crate::routes::App;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http::{HeaderMap, Uri};
use meta_proto::orchestrator as pb;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

/// `GET /runs/{run_id}/changes?after=`: `change` with the number of each event after that one, then
/// `end` when the run has ended.
pub(in crate::pages) async fn changes(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(run_id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["after"])?;
    let run = load(&app, &visitor, &run_id).await?;
    let resumed = headers.get("last-event-id").and_then(|v| v.to_str().ok()?.parse().ok());
    let after_seq = match resumed {
        Some(seq) => seq,
        None => params.parsed::<u64>("after", "the number of an event")?.unwrap_or(0),
    };
    let request = pb::StreamEventsRequest { run_id: run.id, after_seq, follow: true };
    let whole = Duration::from_millis(app.config.stream_ms);
    let message = visitor.caller.message_within(whole, request);
    let mut runs = app.peers.runs();
    let log = ask_within(app.config.request_timeout(), runs.stream_events(message)).await?;
    let heartbeat = Duration::from_millis(app.config.heartbeat_ms);
    let watch = Watch { log, until: Instant::now() + whole, app };
    let events = stream::unfold(Some(watch), |watch| async move { watch?.next().await });
    let keep_alive = KeepAlive::new().interval(heartbeat).text("heartbeat");
    let sse = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(keep_alive);
    Ok(([super::log::NO_BUFFERING], sse).into_response())
}

struct Watch {
    app: Arc<App>,
    log: Streaming<pb::StreamEventsResponse>,
    until: Instant,
}

impl Watch {
    /// The next event; a stream that breaks ends without `end`, so that the browser asks again.
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        let next = tokio::select! {
            next = timeout_at(self.until, self.log.message()) => next,
            () = self.app.stopping.cancelled() => return None,
        };
        match next {
            Ok(Ok(Some(message))) => {
                let seq = message.event.map_or(0, |e| e.seq).to_string();
                Some((Event::default().event("change").id(&seq).data(&seq), Some(self)))
            }
            Ok(Ok(None)) => Some((Event::default().event("end").data("end"), None)),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}
