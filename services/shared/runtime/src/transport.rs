//! One kind of client channel, whether the peer is in this process or elsewhere.

use crate::auth::Signer;
use crate::observed::Asked;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Service, ServiceExt};

/// A channel to a peer; generated clients take it as `XxxServiceClient<Transport>`.
pub type Transport = tower::util::BoxCloneSyncService<
    Request<tonic::body::Body>,
    Response<tonic::body::Body>,
    Error,
>;

/// Why a peer could not be called. A named type, so that futures over a channel are plainly `Send`;
/// tonic finds the cause in its source and picks the code from there.
#[derive(Debug, thiserror::Error)]
#[error("the peer cannot be reached")]
pub struct Error(#[source] BoxError);

/// What every API key starts with.
const API_KEY: &str = "mb_";
/// How long connecting to a peer may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle connection is probed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A peer in this process: its routes are called directly, with the same layers as over the wire.
///
/// Calls carry tokens that `credential` signs, or `credential` itself where it is an API key.
pub fn in_process(routes: axum::Router, credential: &str) -> Transport {
    let service = tower::service_fn(move |request: Request<tonic::body::Body>| {
        let routes = routes.clone();
        async move {
            let request = request.map(axum::body::Body::new);
            let response = routes.oneshot(request).await.map_err(|never| match never {})?;
            Ok::<_, Error>(response.map(tonic::body::Body::new))
        }
    });
    Transport::new(Showing::new(service, credential))
}

/// A peer at an address such as `http://127.0.0.1:50051`; connects when first used, and again
/// after a loss. For `credential` see [`in_process`].
///
/// # Errors
/// When the address is not a URI.
pub fn remote(address: &str, credential: &str) -> Result<Transport, String> {
    let endpoint = tonic::transport::Endpoint::from_shared(address.to_owned())
        .map_err(|e| format!("{address:?} is not an address ({e}; expected http://host:port)"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let channel = endpoint.connect_lazy().map_err(|e: tonic::transport::Error| Error(e.into()));
    Ok(Transport::new(Showing::new(channel, credential)))
}

/// What a client shows.
#[derive(Clone)]
enum Credential {
    /// Nothing.
    None,
    /// An API key, as it is.
    Key(HeaderValue),
    /// A token for each call, signed with the installation's secret.
    Signed(Signer),
}

impl Credential {
    fn new(text: &str) -> Self {
        if !text.starts_with(API_KEY) {
            return Signer::new(text).map_or(Self::None, Self::Signed);
        }
        match bearer(text) {
            Some(key) => Self::Key(key),
            None => Self::None,
        }
    }

    fn header(&self, path: &str, headers: &http::HeaderMap) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Key(key) => Some(key.clone()),
            Self::Signed(signer) => bearer(&signer.sign(path, headers, crate::now())),
        }
    }
}

fn bearer(credential: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {credential}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Puts the credential and the trace on every call, and measures it.
#[derive(Clone)]
struct Showing<S> {
    inner: S,
    credential: Credential,
}

impl<S> Showing<S> {
    fn new(inner: S, credential: &str) -> Self {
        Self { inner, credential: Credential::new(credential) }
    }
}

impl<S> Service<Request<tonic::body::Body>> for Showing<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<tonic::body::Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> Self::Future {
        if let Some(header) = self.credential.header(request.uri().path(), request.headers()) {
            request.headers_mut().insert(http::header::AUTHORIZATION, header);
        }
        let asked = Asked::of(&mut request);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            asked.answered(&answer);
            answer
        })
    }
}
