//! Calls as seen from outside: how long they take, what they answer, and which trace they belong to.

use crate::access::{self, Who};
use axum::body::{Body, Bytes};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use meta_domain::role::Scope;
use meta_telemetry::catalogue::{
    METHODS, ROUTES, RPC_CLIENT, RPC_CODES, RPC_SERVER, RPCS, STATUSES,
};
use meta_telemetry::trace::{self, KeyValue, Kind, Span, TraceContext};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tonic::Code;
use tower::{Layer, Service};

/// The header of W3C trace context.
const TRACEPARENT: &str = "traceparent";
/// The attribute of what a call answered. Its name is still moving in the conventions.
const STATUS_CODE: &str = "rpc.response.status_code";

/// Tells the metrics which RPCs, routes, methods and statuses there are.
pub(crate) fn tell_tables() {
    RPCS.tell(access::rpcs().into_iter().map(|(name, _)| name));
    let paths = access::routes().into_iter().filter_map(|(name, _)| name.split_once(' '));
    ROUTES.tell(paths.map(|(_, path)| path));
    METHODS.tell(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
    STATUSES.tell([
        "200", "201", "202", "204", "206", "301", "302", "303", "304", "307", "308", "400", "401",
        "403", "404", "405", "406", "408", "409", "410", "412", "413", "414", "415", "416", "422",
        "428", "429", "431", "499", "500", "501", "502", "503", "504",
    ]);
}

fn word(code: Code) -> &'static str {
    RPC_CODES.get(usize::try_from(i32::from(code)).unwrap_or(2)).copied().unwrap_or("UNKNOWN")
}

/// What headers or trailers say that a call came to, when they do.
fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

fn attributes(method: &str) -> Vec<KeyValue> {
    vec![KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", method.to_owned())]
}

fn method(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// The trace of a call that is served here. What machines ask each other without being part of
/// anything, such as for work, is no trace of its own.
fn served(path: &str, headers: &HeaderMap) -> Span {
    let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()?.parse().ok());
    let name = method(path);
    if let Some(parent) = parent {
        return Span::under(parent, Kind::Server, name, || attributes(name));
    }
    let Some(row) = access::rpc(path).filter(|row| matches!(row.who, Who::Roles(_))) else {
        return Span::none();
    };
    let reads = matches!(row.scope, Some(Scope::Read | Scope::Audit));
    Span::root(reads, Kind::Server, name, || attributes(name))
}

/// The layer around everything that is served.
#[derive(Clone, Copy)]
pub(crate) struct ObserveLayer;

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;
    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner }
    }
}

#[derive(Clone)]
pub(crate) struct Observe<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let span = served(&path, request.headers());
        let mut call = Call { path, began: Instant::now(), span, ended: false };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = call.span.carry(answer).await?;
            if let Some(code) = code_of(response.headers()) {
                call.end(code);
            }
            Ok(response.map(|body| Body::new(Watched { body, call })))
        })
    }
}

/// A call that is served.
struct Call {
    path: String,
    began: Instant,
    span: Span,
    ended: bool,
}

impl Call {
    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let labels = ["grpc", method(&self.path), word(code)];
        RPC_SERVER.record_in(&labels, self.began.elapsed(), self.span.context());
        said(&self.span, code);
        self.span = Span::none();
    }
}

/// What a call came to, on its span. Only what is the server's fault is an error there.
fn said(span: &Span, code: Code) {
    span.set(|| KeyValue::new(STATUS_CODE, word(code)));
    let faults = [
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
    ];
    if faults.contains(&code) {
        span.set(|| KeyValue::new("error.type", word(code)));
        span.fail(word(code));
    }
}

impl Drop for Call {
    /// Nobody waited for its end.
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// An answer on its way: what the call came to stands at its end.
struct Watched {
    body: Body,
    call: Call,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.call.end(code);
                }
            }
            Some(Err(_)) | None => self.call.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A call that is made of a peer.
pub(crate) struct Asked {
    method: String,
    began: Instant,
    span: Span,
}

impl Asked {
    /// Notes a request, and says on it which trace it belongs to, when the work that makes it does.
    pub(crate) fn of<B>(request: &mut Request<B>) -> Self {
        let name = method(request.uri().path()).to_owned();
        let span = match trace::current() {
            Some(parent) => Span::under(parent, Kind::Client, &name, || attributes(&name)),
            None => Span::none(),
        };
        if let Some(context) = span.context() {
            put(request.headers_mut(), context);
        }
        Self { method: name, began: Instant::now(), span }
    }

    /// The head of the answer is there, or there will be none.
    pub(crate) fn answered<R, E>(self, answer: &Result<Response<R>, E>) {
        let code = match answer {
            Ok(response) => code_of(response.headers()).unwrap_or(Code::Ok),
            Err(_) => Code::Unavailable,
        };
        let labels = ["grpc", self.method.as_str(), word(code)];
        RPC_CLIENT.record_in(&labels, self.began.elapsed(), self.span.context());
        self.span.set(|| KeyValue::new(STATUS_CODE, word(code)));
        if code != Code::Ok {
            self.span.set(|| KeyValue::new("error.type", word(code)));
            self.span.fail(word(code));
        }
    }
}

fn put(headers: &mut HeaderMap, context: TraceContext) {
    if let Ok(value) = HeaderValue::from_str(&context.to_string()) {
        headers.insert(TRACEPARENT, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_words_of_grpc() {
        for (number, expected) in (0..).zip(RPC_CODES) {
            assert_eq!(word(Code::from_i32(number)), *expected);
        }
    }

    #[test]
    fn a_code_is_read_from_where_grpc_puts_it() {
        let mut headers = HeaderMap::new();
        assert_eq!(code_of(&headers), None);
        headers.insert("grpc-status", HeaderValue::from_static("5"));
        assert_eq!(code_of(&headers), Some(Code::NotFound));
    }
}
