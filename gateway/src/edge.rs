//! What every request passes: its ids, the last net under panics, and how errors are written.

use crate::document::{BASE, MEDIA_TYPE};
use crate::problem::{PROBLEM_MEDIA_TYPE, Problem};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The header that names a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of W3C trace context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Where evaluations are asked for.
const REMOTE_EVALUATION: &str = "/ofrep/v1/evaluate/";
/// Characters of a request id that a caller may choose.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The ids of a request.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// Names this request in logs and errors.
    pub(crate) request_id: Arc<str>,
    /// W3C trace context, passed on to the peers.
    pub(crate) traceparent: Arc<str>,
}

impl Trace {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let request_id = text(&REQUEST_ID)
            .filter(|id| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
                (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.chars().all(plain)
            })
            .map_or_else(|| meta_runtime::new_id().to_string(), str::to_owned);
        let traceparent = text(&TRACEPARENT)
            .filter(|t| is_traceparent(t))
            .map_or_else(new_traceparent, str::to_owned);
        Self { request_id: request_id.into(), traceparent: traceparent.into() }
    }

    /// The id of the trace.
    pub(crate) fn trace_id(&self) -> &str {
        self.traceparent.split('-').nth(1).unwrap_or_default()
    }
}

fn new_traceparent() -> String {
    let random = meta_runtime::clock::secret();
    format!("00-{}-{}-00", &random[..32], &random[32..48])
}

/// Whether a header value is a version 00 trace context (later versions may add parts).
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags, rest @ ..] = parts.as_slice() else { return false };
    hex(version, 2)
        && *version != "ff"
        && (rest.is_empty() || *version != "00")
        && hex(trace, 32)
        && hex(span, 16)
        && hex(flags, 2)
        && trace.bytes().any(|b| b != b'0')
        && span.bytes().any(|b| b != b'0')
}

/// Room for requests of the API; those beyond it are refused at once, so that the others are
/// answered. Health and the document of the API are always answered.
pub(crate) type Room = Arc<Semaphore>;

/// The outermost layer.
pub(crate) async fn edge(State(room): State<Room>, mut request: Request, next: Next) -> Response {
    let trace = Trace::of(request.headers());
    let as_problem = accepts(request.headers(), PROBLEM_MEDIA_TYPE);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = Instant::now();
    request.extensions_mut().insert(trace.clone());
    let counted = path.starts_with(BASE);
    let permit = counted.then(|| room.try_acquire());
    let answer = match permit {
        Some(Err(_)) => Ok(Problem::overloaded().into_response()),
        Some(Ok(_)) | None => AssertUnwindSafe(next.run(request)).catch_unwind().await,
    };
    let response = answer.unwrap_or_else(|_| {
        tracing::error!(request_id = %trace.request_id, %path, "a handler panicked");
        Problem::internal().into_response()
    });
    let mut response = written(response, &trace, as_problem);
    let headers = response.headers_mut();
    for (name, value) in [(REQUEST_ID, &trace.request_id), (TRACEPARENT, &trace.traceparent)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let asked = Asked { method, path, started };
    asked.log(&response, &trace);
    response
}

/// What the access line says of a request.
struct Asked {
    method: Method,
    path: String,
    started: Instant,
}

impl Asked {
    /// One line a request; evaluations that succeed, which are many and cheap, only for who asks
    /// for debug.
    fn log(&self, response: &Response, trace: &Trace) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    method = %self.method,
                    path = self.path.as_str(),
                    status = response.status().as_u16(),
                    ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                    request_id = %trace.request_id,
                    trace_id = trace.trace_id(),
                    "answered"
                )
            };
        }
        let status = response.status();
        let plain = status.is_success() || status == StatusCode::NOT_MODIFIED;
        if plain && self.path.starts_with(REMOTE_EVALUATION) {
            line!(debug);
        } else {
            line!(info);
        }
    }
}

/// Gives a body to a response that carries a problem, or that the router made by itself.
fn written(mut response: Response, trace: &Trace, as_problem: bool) -> Response {
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if status.as_u16() >= 400 && !is_ours(response.headers()) => {
            Problem::of_status(status)
        }
        None => return response,
    };
    let (media, body) = if as_problem {
        (PROBLEM_MEDIA_TYPE, problem.problem_json(&trace.request_id, trace.trace_id()))
    } else {
        (MEDIA_TYPE, problem.json_api(&trace.request_id, trace.trace_id()))
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = body.to_string().into();
    response
}

/// Whether a handler wrote the body, and not the router.
fn is_ours(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    media.is_some_and(|m| m.contains("json") || m.starts_with("text/html"))
}

/// Whether the caller names this media type in `Accept`.
pub(crate) fn accepts(headers: &HeaderMap, media: &str) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|v| v.split(';').next())
        .any(|v| v.trim().eq_ignore_ascii_case(media))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_contexts_are_checked() {
        assert!(is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert!(is_traceparent(&new_traceparent()));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
