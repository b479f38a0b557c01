//! The HTTP API, driven through its router (or a socket) against services that answer over gRPC.

mod auth;
mod contract;
mod documents;
mod errors;
mod idempotency;
mod limits;
mod ofrep;
mod pages;
mod peers;
mod platform;
mod samples;
mod settings;
mod streams;

use axum::body::Body;
use axum::response::Response;
use gateway::{Config, Peers};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use peers::Peer;
use serde_json::Value;
use tower::ServiceExt;

/// A gateway with services behind it.
struct Api {
    router: axum::Router,
    peer: Peer,
}

/// An answer that was read to its end.
struct Got {
    status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("a readable header"))
    }

    /// Status, code and source of the first error.
    #[track_caller]
    fn error(&self) -> (u16, String, Value) {
        let json = self.json();
        let error = &json["errors"][0];
        assert_eq!(error["status"], self.status.as_str(), "{}", self.text);
        let code = error["code"].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), code, error["source"].clone())
    }
}

impl Api {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let peer = Peer::default();
        let peers = Peers {
            orchestrator: peer.orchestrator(),
            classifier: peer.classifier(),
            flags: peer.flags(),
        };
        Self { router: gateway::router(config, peers).expect("a configuration that fits"), peer }
    }

    async fn open(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.expect("an answer")
    }

    /// The answer, which has to be as the document says.
    async fn send(&self, request: Request<Body>) -> Got {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let got = read(self.open(request).await).await;
        contract::CONTRACT.check(&method, &path, &got);
        got
    }

    async fn get(&self, key: &str, path: &str) -> Got {
        self.send(request("GET", key, path, "")).await
    }

    async fn post(&self, key: &str, path: &str, body: impl ToString) -> Got {
        self.send(request("POST", key, path, &body.to_string())).await
    }
}

async fn read(response: Response) -> Got {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    Got { status: parts.status, headers: parts.headers, text }
}

fn request(method: &str, key: &str, path: &str, body: &str) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/api/meta/v2{path}"))
        .header("authorization", format!("Bearer {key}"));
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request.body(body.to_owned().into()).expect("a request")
}

fn with_header(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().append(name, value.parse().expect("a header value"));
    request
}
