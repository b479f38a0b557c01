//! The steps' logs as text, and downloads.

mod place;

use super::App;
use super::live::{Follower, NDJSON, NO_BUFFERING, SSE, ndjson, room, until};
use crate::auth::{Caller, ask_within};
use crate::edge::accepts;
use crate::params::{Params, id};
use crate::problem::Problem;
use crate::view;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use meta_domain::id::RunId;
use meta_proto::orchestrator as pb;
use place::Place;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Streaming;

const TEXT: &str = "text/plain; charset=utf-8";
const TAR_GZ: &str = "application/gzip";
const DIFF: &str = "text/x-diff; charset=utf-8";

/// `GET /runs/{run_id}/logs?step=&follow=`: text with headings, or by `Accept` server-sent events or
/// JSON lines, of which each is a piece of one attempt's log.
pub(super) async fn logs(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run_id: RunId = id("run_id", &run_id)?;
    let params = Params::read(&uri, &["step", "follow"])?;
    let step = params.text("step").unwrap_or_default().to_owned();
    let live = accepts(&headers, SSE);
    let follow = params.get("follow")?.unwrap_or(live);
    let mut place = Place::seen(&headers)?;
    let room = room(&app)?;
    let log = open(&app, &caller, run_id, step, follow).await?;
    if live {
        let follower = Follower { app, caller, run_id, room: Some(room) };
        return Ok(follower.sse(log, move |m| place.event(&m)));
    }
    if accepts(&headers, NDJSON) {
        return Ok(ndjson(log, (&app, room), |m| piece(&m)));
    }
    let media = (header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    Ok(([media, NO_BUFFERING], body(log, &app, Some(room))).into_response())
}

/// A piece of a log; bytes that are no UTF-8 are replaced.
fn piece(m: &pb::StreamLogsResponse) -> Value {
    json!({
        "step": m.step,
        "attempt": m.attempt,
        "at": view::at(m.at.as_ref()),
        "stderr": m.stderr,
        "text": String::from_utf8_lossy(&m.text),
    })
}

async fn open(
    app: &App,
    caller: &Caller,
    run_id: RunId,
    step: String,
    follow: bool,
) -> Result<Streaming<pb::StreamLogsResponse>, Problem> {
    let whole = Duration::from_millis(app.config.stream_ms);
    let request = pb::StreamLogsRequest { run_id: run_id.to_string(), step, follow };
    let message = caller.message_within(whole, request);
    ask_within(app.config.request_timeout(), app.peers.runs().stream_logs(message)).await
}

/// The log's own bytes; a heading stands where another step or attempt begins.
fn body(
    log: Streaming<pb::StreamLogsResponse>,
    app: &App,
    room: Option<OwnedSemaphorePermit>,
) -> Body {
    let mut current: Option<(String, u32)> = None;
    let mut line_open = false;
    Body::from_stream(until(log, app).map(move |message| {
        let _held = &room;
        message.map(|m| {
            let mut out = BytesMut::with_capacity(m.text.len());
            let here = (m.step, m.attempt);
            if current.as_ref() != Some(&here) {
                if line_open {
                    out.put_u8(b'\n');
                }
                let (step, attempt) = &here;
                out.put_slice(format!("==> {step} (attempt {attempt}) <==\n").as_bytes());
                current = Some(here);
                line_open = false;
            }
            if let Some(last) = m.text.last() {
                line_open = *last != b'\n';
            }
            out.put_slice(&m.text);
            Bytes::from(out)
        })
    }))
}

/// `GET /runs/{run_id}/artifacts/{name}`: `workspace`, `patch` and `log`.
pub(super) async fn artifact(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((run_id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let run_id: RunId = id("run_id", &run_id)?;
    let (media, body, extension) = match name.as_str() {
        "patch" => {
            let message = caller.message(pb::GetPatchRequest { run_id: run_id.to_string() });
            let patch = caller.ask(app.peers.runs().get_patch(message)).await?.patch;
            (DIFF, Body::from(patch), "patch")
        }
        "workspace" => {
            let limit = Duration::from_millis(app.config.plan_timeout_ms);
            let request = pb::GetWorkspaceRequest { run_id: run_id.to_string() };
            let message = caller.message_within(limit, request);
            let packed = ask_within(limit, app.peers.runs().get_workspace(message)).await?.tar_gz;
            (TAR_GZ, Body::from(packed), "tar.gz")
        }
        "log" => (
            TEXT,
            body(open(&app, &caller, run_id, String::new(), false).await?, &app, None),
            "log",
        ),
        _ => {
            let detail =
                format!("there is no artifact {name:?} (expected workspace, patch or log)");
            return Err(Problem::new(StatusCode::NOT_FOUND, "artifact_not_found", detail));
        }
    };
    let file = format!("attachment; filename=\"run-{run_id}.{extension}\"");
    let headers = [(header::CONTENT_TYPE, media.to_owned()), (header::CONTENT_DISPOSITION, file)];
    Ok((headers, body).into_response())
}
