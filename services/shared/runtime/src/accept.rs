//! Connections: how many there may be, how long a caller may take to say what it wants, and how
//! large that may be. Whoever is slow or silent is closed, so that others find room.

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Connections of one listener that are open at once, at most; more wait to be accepted.
const CONNECTIONS_MAX: usize = 20_000;
/// How long a caller may take for the first bytes, and for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header lines of a request over HTTP/1.
const HEADERS_MAX: usize = 128;
/// Calls of one HTTP/2 connection at once. The services hold one connection to each other, over
/// which every stream of every caller goes.
const STREAMS_MAX: u32 = 20_000;
/// How often a silent HTTP/2 connection is asked whether it lives, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The pause after the system refused a connection, such as when there are no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that tell HTTP/1 from HTTP/2.
const PREFACE_BYTES: usize = 24;

/// Serves until `closing` is canceled, then lets requests in flight end.
pub(crate) async fn serve(listener: TcpListener, router: axum::Router, closing: CancellationToken) {
    let builder = builder();
    let open = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            let room = Arc::clone(&open).acquire_owned().await.ok()?;
            Some((accept(&listener).await, room))
        };
        let (stream, from, room) = tokio::select! {
            () = closing.cancelled() => break,
            next = next => match next {
                Some(((stream, from), room)) => (stream, from, room),
                None => break,
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        let router = router.clone();
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(from));
            let router = router.clone();
            async move {
                if is_ambiguous(&request) {
                    return Ok(refused());
                }
                router.oneshot(request.map(Body::new)).await
            }
        });
        let io = TokioIo::new(Prompt::new(stream));
        let connection = builder
            .serve_connection_with_upgrades(io, TowerToHyperService::new(service))
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %from, "a connection ended badly");
            }
            drop(room);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Whether a request over HTTP/1.1 names its host not at all or more than once: two servers may then
/// read it differently, and one believes what the other did not check. (Of two lengths hyper takes
/// the chunks, and closes the connection after them.)
fn is_ambiguous<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    request.version() == Version::HTTP_11 && hosts != 1
}

/// The answer to what cannot be read for sure, after which nothing more is read.
fn refused() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                let one = [
                    io::ErrorKind::ConnectionRefused,
                    io::ErrorKind::ConnectionAborted,
                    io::ErrorKind::ConnectionReset,
                ];
                if !one.contains(&error.kind()) {
                    tracing::error!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A connection whose first bytes have to come in time.
struct Prompt {
    stream: TcpStream,
    seen: usize,
    until: Pin<Box<Sleep>>,
}

impl Prompt {
    fn new(stream: TcpStream) -> Self {
        let until = Box::pin(sleep_until(Instant::now() + HEAD_TIMEOUT));
        Self { stream, seen: 0, until }
    }
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.seen >= PREFACE_BYTES {
            return read;
        }
        self.seen += buf.filled().len().saturating_sub(before);
        if read.is_pending() && self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
