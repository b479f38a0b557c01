//! Answers that go on: they end within seconds after the credential does, or after its role no longer
//! reaches for them. One layer sees to it for every route, so that none can forget.

use super::{Caller, check};
use crate::problem::Problem;
use crate::routes::App;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http::request::Parts;
use http::{StatusCode, header};
use meta_domain::role::Identity;
use serde_json::json;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A stream looks after its credential this often at the most.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// How long a stream goes on while nobody can say whether its credential is still good.
const UNHEARD_MAX: Duration = Duration::from_mins(1);

/// What is looked after.
#[derive(Debug)]
pub(super) enum Watched {
    /// A key or a token, as it was shown.
    Shown(String),
    /// A browser's session, by its token.
    Session(String),
}

/// Where the caller of a request is left for the layer.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot(Arc<OnceLock<Arc<Lasting>>>);

/// A caller whose answer goes on.
#[derive(Debug)]
struct Lasting {
    called: Arc<str>,
    identity: Identity,
    watched: Watched,
}

impl Slot {
    /// Leaves the caller of a request for the layer.
    pub(super) fn fill(parts: &Parts, caller: &Caller, watched: impl FnOnce() -> Watched) {
        let Some(slot) = parts.extensions.get::<Self>() else { return };
        let called = Arc::clone(&caller.called);
        // a second extractor of the same request finds the same caller
        let lasting = Lasting { called, identity: caller.identity(), watched: watched() };
        let _ = slot.0.set(Arc::new(lasting));
    }
}

/// What every request passes.
pub(crate) async fn while_in_force(app: Arc<App>, mut request: Request, next: Next) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let response = next.run(request).await;
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    match slot.0.get().map(Arc::clone) {
        Some(lasting) => guarded(response, Box::pin(lasting.ended(app))),
        None => response,
    }
}

impl Lasting {
    /// Waits for the end of the credential.
    async fn ended(self: Arc<Self>, app: Arc<App>) -> Problem {
        let every = Duration::from_millis(app.config.key_cache_ms).max(LOOK_MIN);
        let mut heard = Instant::now();
        loop {
            tokio::time::sleep(every).await;
            match self.still(&app).await {
                Ok(()) => heard = Instant::now(),
                Err(problem) => {
                    let over = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
                    if over.contains(&problem.status) || heard.elapsed() > UNHEARD_MAX {
                        return problem;
                    }
                }
            }
        }
    }

    /// Whether the credential still admits what was called.
    async fn still(&self, app: &App) -> Result<(), Problem> {
        let now = match &self.watched {
            Watched::Shown(shown) => check::again(app, shown).await?,
            Watched::Session(token) => crate::session::again(app, token).await?,
        };
        let own = self.identity.home.unwrap_or(self.identity.principal.tenant);
        if now.principal.tenant != own {
            return Err(Problem::unauthenticated("the credential is another one's by now"));
        }
        let (method, pattern) = self.called.split_once(' ').unwrap_or_default();
        let row = meta_runtime::access::route(method, pattern);
        let row = row.ok_or_else(|| Problem::of_status(StatusCode::FORBIDDEN))?;
        Ok(row.admits(&self.called, &now)?)
    }
}

/// The response, until `ended`. Server-sent events then say `problem`; whatever else breaks off, so
/// that nobody takes it for whole.
fn guarded(response: Response, ended: BoxFuture<'static, Problem>) -> Response {
    let media = response.headers().get(header::CONTENT_TYPE);
    let events = media.is_some_and(|m| m.as_bytes().starts_with(b"text/event-stream"));
    let (parts, body) = response.into_parts();
    let open = Some((body.into_data_stream(), ended.fuse()));
    let parts_of_body = stream::unfold(open, move |open| async move {
        let (mut body, mut ended) = open?;
        tokio::select! {
            biased;
            problem = &mut ended => Some((last(&problem, events), None)),
            next = body.next() => {
                let next = next?.map_err(io::Error::other);
                Some((next, Some((body, ended))))
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(parts_of_body))
}

fn last(problem: &Problem, events: bool) -> Result<Bytes, io::Error> {
    let first = problem.errors.first();
    let detail = first.map_or("the credential is over", |e| e.detail.as_str());
    if !events {
        return Err(io::Error::other(detail.to_owned()));
    }
    let code = first.map(|e| e.code.as_str());
    let data = json!({ "status": problem.status.as_u16(), "code": code, "detail": detail });
    Ok(Bytes::from(format!("event: problem\ndata: {data}\n\n")))
}
