//! What every request passes: its ids, the last net under panics, and how errors are written.

use crate::document::{BASE, MEDIA_TYPE};
use crate::problem::{PROBLEM_MEDIA_TYPE, Problem};
use crate::routes::{self, App};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use meta_runtime::clock::unrecorded_trace;
use meta_telemetry::catalogue::HTTP_SERVER;
use meta_telemetry::trace::{KeyValue, Kind, Span, TraceContext};
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
    /// The ids of a request with that place in a trace: the name that it gives itself, or a new one.
    fn of(headers: &HeaderMap, place: TraceContext) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        let request_id = text(&REQUEST_ID)
            .filter(|id| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
                (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.chars().all(plain)
            })
            .map_or_else(|| meta_runtime::clock::passing_id().to_string().into(), Arc::from);
        Self { request_id, traceparent: place.to_string().into() }
    }

    /// The id of the trace.
    pub(crate) fn trace_id(&self) -> &str {
        self.traceparent.split('-').nth(1).unwrap_or_default()
    }
}

/// The request as a part of the trace that it names, or as the start of one. What is asked all the
/// time (health, evaluations, files of the pages) starts none.
fn traced(request: &Request, route: &str) -> Span {
    let (method, path) = (request.method(), request.uri().path());
    let attributes = || {
        vec![
            KeyValue::new("http.request.method", method.to_string()),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("url.path", path.to_owned()),
            KeyValue::new("url.scheme", "http"),
        ]
    };
    let name = format_args!("{method} {route}");
    let named = request.headers().get(&TRACEPARENT).and_then(|v| v.to_str().ok()?.parse().ok());
    match named {
        Some(parent) => Span::under(parent, Kind::Server, name, attributes),
        None if path.starts_with(BASE) => {
            Span::root(method.is_safe(), Kind::Server, name, attributes)
        }
        None => Span::none(),
    }
}

/// Room for requests of the API; those beyond it are refused at once, so that the others are
/// answered. Health and the document of the API are always answered.
pub(crate) type Room = Arc<Semaphore>;

/// What the outermost layer needs to know.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) room: Room,
    pub(crate) app: Arc<App>,
}

/// The outermost layer, and the only one around every route: a layer costs each request as much as
/// what the layers in it copy.
pub(crate) async fn edge(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let Edge { room, app } = edge;
    let route = request.extensions().get::<MatchedPath>().map(|of| of.as_str().to_owned());
    let route = route.unwrap_or_default();
    let mut span = traced(&request, &route);
    let place = span.context().unwrap_or_else(|| {
        // not told, but the services' logs name it
        let place = unrecorded_trace();
        span = Span::as_part_of(place);
        place
    });
    let trace = Trace::of(request.headers(), place);
    let as_problem = accepts(request.headers(), PROBLEM_MEDIA_TYPE);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = Instant::now();
    request.extensions_mut().insert(trace.clone());
    let counted = path.starts_with(BASE);
    let permit = counted.then(|| room.try_acquire());
    let answer = if let Some(Err(_)) = permit {
        Ok(Problem::overloaded().into_response())
    } else {
        let answer = routes::within(app, request, next);
        AssertUnwindSafe(span.carry(answer)).catch_unwind().await
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
    let asked = Asked { method, path, route, started };
    asked.measure(&response, &span);
    let _within = span.enter();
    asked.log(&response, &trace);
    response
}

/// What the access line says of a request.
struct Asked {
    method: Method,
    path: String,
    /// The pattern that the path has matched; empty when there is none.
    route: String,
    started: Instant,
}

impl Asked {
    fn measure(&self, response: &Response, span: &Span) {
        let status = response.status();
        let labels = [self.method.as_str(), self.route.as_str(), status.as_str(), "http"];
        HTTP_SERVER.record_in(&labels, self.started.elapsed(), span.context());
        span.set(|| KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set(|| KeyValue::new("error.type", status.as_str().to_owned()));
            span.fail("");
        }
    }

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
    fn a_request_without_a_name_gets_one_and_its_trace_is_passed_on() {
        let place = unrecorded_trace();
        let trace = Trace::of(&HeaderMap::new(), place);
        assert_eq!(trace.traceparent.parse(), Ok(place));
        assert!(!place.sampled && trace.trace_id().len() == 32);
        assert!(trace.request_id.parse::<uuid::Uuid>().is_ok_and(|id| id.get_version_num() == 7));
        let headers = HeaderMap::from_iter([(REQUEST_ID, "mine-1".parse().unwrap())]);
        assert_eq!(&*Trace::of(&headers, place).request_id, "mine-1");
    }
}
