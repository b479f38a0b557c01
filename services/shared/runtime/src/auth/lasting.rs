//! Streams of callers who showed a key or a token: they end within seconds after that does, or after
//! its role no longer reaches for them. Whoever is called on behalf of somebody leaves that to its
//! caller.

use super::KeyCheck;
use crate::access::Row;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyStream, StreamBody};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::Identity;
use meta_proto::status::to_status;
use std::time::{Duration, Instant};

/// How often it is looked whether a credential is still good.
const LOOK: Duration = Duration::from_secs(5);
/// How long a stream goes on while nobody can say that.
const UNHEARD_MAX: Duration = Duration::from_mins(1);

/// A credential that an answer depends on.
pub(super) struct Shown {
    /// As it was shown.
    pub(super) credential: String,
    /// Whose it was then.
    pub(super) caller: Identity,
    /// What was called.
    pub(super) path: String,
    /// Its row.
    pub(super) row: &'static Row,
    /// Finds out whose it is.
    pub(super) check: KeyCheck,
}

impl Shown {
    /// Waits for its end.
    async fn ended(self) -> Fault {
        let mut heard = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let fault = match (self.check)(self.credential.clone()).await {
                Ok(now) => match self.still(&now) {
                    Ok(()) => {
                        heard = Instant::now();
                        continue;
                    }
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            let over = [ErrorKind::Unauthenticated, ErrorKind::PermissionDenied];
            if over.contains(&fault.kind) || heard.elapsed() > UNHEARD_MAX {
                return fault;
            }
        }
    }

    fn still(&self, now: &Identity) -> Result<(), Fault> {
        if now.principal.tenant != self.caller.principal.tenant {
            let text = "the credential is another one's by now";
            return Err(Fault::new(ErrorKind::Unauthenticated, "UNAUTHENTICATED", text));
        }
        self.row.admits(&self.path, now)
    }
}

/// The response, until the credential ends; then its status says so.
pub(super) fn while_in_force(response: Response<Body>, shown: Shown) -> Response<Body> {
    if response.body().is_end_stream() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let ended: BoxFuture<'static, Fault> = Box::pin(shown.ended());
    let open = Some((BodyStream::new(body), ended.fuse()));
    let frames = stream::unfold(open, |open| async move {
        let (mut body, mut ended) = open?;
        tokio::select! {
            biased;
            next = body.next() => Some((next?, Some((body, ended)))),
            fault = &mut ended => Some((Ok(last(&fault)), None)),
        }
    });
    Response::from_parts(parts, Body::new(StreamBody::new(frames)))
}

fn last(fault: &Fault) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    if to_status(fault).add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", http::HeaderValue::from_static("16"));
    }
    Frame::trailers(trailers)
}
