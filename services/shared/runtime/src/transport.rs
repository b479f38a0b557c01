//! One kind of client channel, whether the peer is in this process or elsewhere.

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

/// How long connecting to a peer may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle connection is probed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A peer in this process: its routes are called directly, with the same layers as over the wire.
pub fn in_process(routes: axum::Router, token: &str) -> Transport {
    let service = tower::service_fn(move |request: Request<tonic::body::Body>| {
        let routes = routes.clone();
        async move {
            let request = request.map(axum::body::Body::new);
            let response = routes.oneshot(request).await.map_err(|never| match never {})?;
            Ok::<_, Error>(response.map(tonic::body::Body::new))
        }
    });
    Transport::new(WithToken::new(service, token))
}

/// A peer at an address such as `http://127.0.0.1:50051`; connects when first used, and again
/// after a loss.
///
/// # Errors
/// When the address is not a URI.
pub fn remote(address: &str, token: &str) -> Result<Transport, String> {
    let endpoint = tonic::transport::Endpoint::from_shared(address.to_owned())
        .map_err(|e| format!("{address:?} is not an address ({e}; expected http://host:port)"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let channel = endpoint.connect_lazy().map_err(|e: tonic::transport::Error| Error(e.into()));
    Ok(Transport::new(WithToken::new(channel, token)))
}

/// Puts the service token on every call.
#[derive(Clone)]
struct WithToken<S> {
    inner: S,
    header: Option<HeaderValue>,
}

impl<S> WithToken<S> {
    fn new(inner: S, token: &str) -> Self {
        let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok();
        if let Some(value) = header.as_mut() {
            value.set_sensitive(true);
        }
        Self { inner, header: header.filter(|_| !token.is_empty()) }
    }
}

impl<S> Service<Request<tonic::body::Body>> for WithToken<S>
where
    S: Service<Request<tonic::body::Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> S::Future {
        if let Some(header) = &self.header {
            request.headers_mut().insert(http::header::AUTHORIZATION, header.clone());
        }
        self.inner.call(request)
    }
}
