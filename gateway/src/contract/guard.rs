//! What a request has to fit before its handler sees it: the media types that the route gives and
//! the query parameters that it knows.

use super::Operation;
use crate::document::MEDIA_TYPE;
use crate::params::Params;
use crate::problem::{At, PROBLEM_MEDIA_TYPE, Problem, shown};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::future::{Either, Ready, ready};
use http::{HeaderMap, StatusCode, header};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// The part of an operation that is checked for every request.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    gives: Option<Arc<[&'static str]>>,
    query: Option<Arc<[&'static str]>>,
}

impl Guard {
    pub(super) fn of(of: &Operation) -> Self {
        let mut gives: Vec<&str> =
            of.replies.iter().flat_map(|r| &r.content).map(|(media, _)| *media).collect();
        if gives.contains(&MEDIA_TYPE) {
            gives.push("application/json");
        }
        gives.push(PROBLEM_MEDIA_TYPE);
        let checked = of.in_api() && !of.ignores_accept();
        Self {
            gives: checked.then(|| gives.into()),
            query: of.in_api().then(|| of.query.iter().map(|p| p.name).collect()),
        }
    }
}

/// Refuses what does not fit.
impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;
    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A route behind its guard.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match fits(&self.guard, &request) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(problem) => Either::Left(ready(Ok(problem.into_response()))),
        }
    }
}

fn fits(guard: &Guard, request: &Request) -> Result<(), Problem> {
    if let Some(gives) = &guard.gives {
        check_accept(request.headers(), gives)?;
    }
    if let Some(known) = &guard.query
        && request.uri().query().is_some_and(|q| !q.is_empty())
    {
        Params::read(request.uri(), known)?;
    }
    Ok(())
}

/// No `Accept` is any; JSON:API takes no parameters of its media type but `ext` and `profile`.
fn check_accept(headers: &HeaderMap, gives: &[&str]) -> Result<(), Problem> {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut given = String::new();
    for value in values {
        let text = value.to_str().unwrap_or("?");
        if text.split(',').any(|range| is_given(range, gives)) {
            return Ok(());
        }
        given.push_str(text);
    }
    if given.trim().is_empty() {
        return Ok(());
    }
    let detail = format!(
        "Accept {} fits nothing of this route (expected {})",
        shown(&given),
        gives.join(", ")
    );
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail).at(At::Header("Accept")))
}

fn is_given(range: &str, gives: &[&str]) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let refused =
        |p: &str| p.replace(' ', "").strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
    let parameters: Vec<&str> = parts.collect();
    if parameters.iter().any(|p| refused(p)) {
        return false;
    }
    if media == "*/*" {
        return true;
    }
    if let Some(kind) = media.strip_suffix("/*") {
        return gives.iter().any(|g| g.split('/').next() == Some(kind));
    }
    let plain = |p: &&str| ["q=", "ext=", "profile="].iter().any(|known| p.starts_with(known));
    if media == MEDIA_TYPE && !parameters.iter().all(plain) {
        return false;
    }
    gives.iter().any(|g| g.split(';').next() == Some(media.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::ACCEPT, text.parse().unwrap())]);
        check_accept(&headers, &[MEDIA_TYPE, "application/json", "text/event-stream"]).is_ok()
    }

    #[test]
    fn what_a_route_gives_is_accepted_and_nothing_else() {
        for good in [
            "*/*",
            "application/*",
            "application/json",
            "text/html, */*;q=0.1",
            "application/vnd.api+json",
            "application/vnd.api+json;profile=\"a\"",
            "Text/Event-Stream",
            "",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "text/html",
            "image/*",
            "application/vnd.api+json;version=2",
            "*/*;q=0",
            "application/xml, text/plain",
        ] {
            assert!(!accepts(bad), "{bad}");
        }
    }
}
