//! The client of a server's REST API.

use crate::error::{Error, Exit, Result};
use crate::progress::Happened;
use crate::select::pick;
use crate::session::Server;
use crate::view::{RunView, gate_of};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::Duration;
use tokio_stream::StreamExt;

/// Where the API is.
const BASE: &str = "/api/meta/v2";
/// Deadline of a plain request.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Runs looked at when one is searched by a part of its id.
const RUNS_SEARCHED_MAX: u32 = 100;
/// Bytes of one event of a stream at most.
const EVENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// See the module.
#[derive(Debug, Clone)]
pub struct Rest {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Rest {
    /// A client of that server.
    pub fn new(server: &Server) -> Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::failed("no HTTP client", e))?;
        let base = format!("{}{BASE}", server.url);
        Ok(Self { http, base, token: server.token.clone() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|e| {
            let e = e.without_url();
            let error = Error::failed(format!("{} does not answer", self.base), deepest(&e));
            let error = error.next("check METABUILDER_URL, and that the server runs");
            Error { may_pass: true, ..error }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        Err(refused(status, &body))
    }

    async fn document(&self, request: RequestBuilder) -> Result<Value> {
        let response = self.answer(request.timeout(REQUEST_TIMEOUT)).await?;
        response.json().await.map_err(|e| Error::failed("the answer is not JSON", e.without_url()))
    }

    /// Reads a document.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.document(self.request(Method::GET, path)).await
    }

    /// Sends a document; `None` sends no body.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.document(request).await
    }

    /// Reads a text such as a log or a diff.
    pub async fn text(&self, path: &str) -> Result<Response> {
        self.answer(self.request(Method::GET, path)).await
    }

    /// The tenant that the token belongs to.
    pub async fn tenant(&self) -> Result<String> {
        let document = self.get("/caller").await?;
        let id = document["data"]["id"].as_str().map(ToOwned::to_owned);
        id.ok_or_else(|| {
            Error::failed("the server does not say whose token this is", "it names no tenant")
                .next("name the tenant with --tenant")
        })
    }

    /// The latest runs.
    pub async fn runs(&self, limit: u32, status: Option<&str>) -> Result<Vec<RunView>> {
        let status = status.map(|s| format!("&status={s}")).unwrap_or_default();
        let document = self.get(&format!("/runs?per_page={limit}{status}")).await?;
        let list = document["data"].as_array().cloned().unwrap_or_default();
        Ok(list.iter().map(|r| RunView::from_resource(r, &[])).collect())
    }

    /// One run with what hangs on it.
    pub async fn run(&self, run_id: &str) -> Result<RunView> {
        let document = self.get(&format!("/runs/{run_id}")).await?;
        let included = document["included"].as_array().cloned().unwrap_or_default();
        Ok(RunView::from_resource(&document["data"], &included))
    }

    /// The id of the run that a part of an id means.
    pub async fn run_id(&self, part: &str) -> Result<String> {
        if part.len() == 36 {
            return Ok(part.to_owned());
        }
        let runs = self.runs(RUNS_SEARCHED_MAX, None).await?;
        let ids = runs.iter().map(|r| r.id.as_str());
        Ok(pick("run", "metabuilder runs ls", part, ids)?.to_owned())
    }

    /// Decides the gate of that id, or the one gate of the run of that id.
    pub async fn decide(&self, target: &str, approve: bool, notes: &str) -> Result<Value> {
        let document = self.get("/approvals").await?;
        let list = document["data"].as_array().cloned().unwrap_or_default();
        let gates: Vec<_> = list.iter().map(|g| gate_of(&g["id"], &g["attributes"])).collect();
        let verb = if approve { "approve" } else { "reject" };
        let body = json!({ "notes": notes });
        if let Ok(gate) = pick("gate", "", target, gates.iter().map(|g| g.id.as_str())) {
            let path = format!("/approvals/{gate}/{verb}");
            return self.send(Method::POST, &path, Some(&body)).await;
        }
        if let Ok(run) = pick("run", "", target, gates.iter().map(|g| g.run_id.as_str())) {
            return self.send(Method::POST, &format!("/runs/{run}/{verb}"), Some(&body)).await;
        }
        if target.len() == 36 {
            // the server knows best why it is not pending any more
            let path = format!("/approvals/{target}/{verb}");
            return self.send(Method::POST, &path, Some(&body)).await;
        }
        Err(Error::usage(format!("no gate or run {target:?}"), "nothing that waits has such an id")
            .next("see metabuilder runs ls --status paused_awaiting_approval"))
    }

    /// Reads the run's event log, and hands on each entry until told to stop; follows it live
    /// when asked.
    pub async fn events(
        &self,
        run_id: &str,
        after: u64,
        follow: bool,
        mut each: impl FnMut(u64, Happened) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let path = format!("/runs/{run_id}/events?after={after}&follow={follow}");
        let request = self.request(Method::GET, &path).header("accept", "application/x-ndjson");
        let mut stream = self.answer(request).await?.bytes_stream();
        let mut line: Vec<u8> = Vec::new();
        while let Some(piece) = stream.next().await {
            let piece =
                piece.map_err(|e| Error::failed("the event log broke off", e.without_url()))?;
            for part in piece.split_inclusive(|b| *b == b'\n') {
                line.extend_from_slice(part);
                if line.len() > EVENT_BYTES_MAX {
                    return Err(Error::failed("the event log", "one event is too long"));
                }
                if line.ends_with(b"\n") {
                    let (seq, happened) = entry(&line)?;
                    if each(seq, happened)?.is_break() {
                        return Ok(());
                    }
                    line.clear();
                }
            }
        }
        Ok(())
    }
}

fn entry(line: &[u8]) -> Result<(u64, Happened)> {
    let bad = |e: serde_json::Error| Error::failed("an event is not understood", e);
    let event: Value = serde_json::from_slice(line).map_err(bad)?;
    let kind = event["type"].as_str().unwrap_or_default();
    let happened = Happened::read(kind, &event["data"].to_string()).map_err(bad)?;
    Ok((event["seq"].as_u64().unwrap_or(0), happened))
}

/// The innermost cause, which says most.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// What a server answered instead of a document.
fn refused(status: StatusCode, body: &str) -> Error {
    let document: Value = serde_json::from_str(body).unwrap_or_default();
    let errors = document["errors"].as_array().cloned().unwrap_or_default();
    let why: Vec<String> = errors
        .iter()
        .filter_map(|e| e["detail"].as_str().or_else(|| e["title"].as_str()))
        .map(crate::patch::printable)
        .collect();
    let (exit, next) = match status.as_u16() {
        400 | 404 | 422 => (Exit::Usage, ""),
        401 => (Exit::Failed, "check METABUILDER_TOKEN"),
        429 | 503 => (Exit::Failed, "try again in a moment"),
        _ => (Exit::Failed, ""),
    };
    let why = if why.is_empty() { vec!["the server gives no reason".to_owned()] } else { why };
    let may_pass = [429, 502, 503, 504].contains(&status.as_u16());
    Error {
        what: format!("the server answered {status}"),
        why,
        next: next.to_owned(),
        exit,
        may_pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_document_is_read() {
        let body =
            r#"{"errors":[{"status":"409","code":"x","title":"t","detail":"decided before"}]}"#;
        let error = refused(StatusCode::CONFLICT, body);
        assert_eq!(error.to_string(), "the server answered 409 Conflict: decided before");
        assert_eq!(error.exit, Exit::Failed);
        assert_eq!(refused(StatusCode::NOT_FOUND, "<html>").exit, Exit::Usage);
    }

    #[test]
    fn an_event_of_a_stream_is_read() {
        let line = br#"{"seq":7,"type":"step.started","step":"a","at":null,"data":{"step":"a","execution":2}}"#;
        let (seq, happened) = entry(line).unwrap();
        assert_eq!(seq, 7);
        assert_eq!(happened, Happened::StepStarted { step: "a".to_owned(), execution: 2 });
    }
}
