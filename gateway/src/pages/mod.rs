//! The web pages: rendered here, readable without a script, live with one.
//!
//! Pages are clients like any other: they ask the same services on behalf of the same caller, and
//! every form goes through the same checks as the API.

mod approvals;
mod assets;
mod badge;
mod core;
mod diff;
mod gates;
mod layout;
mod oidc;
mod problem;
mod run;
mod runs;
mod settings;
mod sign_in;
mod theme;
mod visitor;

pub(crate) use runs::Titles;

use crate::document::BASE;
use crate::edge::accepts;
use crate::problem::Problem;
use crate::routes::App;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::sync::Arc;

/// The media type of pages.
const HTML: &str = "text/html";

/// What a page may load: our own files and nothing else; no script or style inside the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";

/// The routes of the pages.
pub(crate) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let pages = Router::new()
        .route("/", get(|| async { Redirect::to("/runs") }))
        .route("/sign-in", get(sign_in::show).post(sign_in::submit))
        .route("/sign-in/provider", get(oidc::leave))
        .route("/sign-in/callback", get(oidc::back))
        .route("/sign-out", post(sign_in::leave))
        .route("/theme", post(theme::set))
        .route("/runs", get(runs::list))
        .route("/runs/{run_id}", get(run::show))
        .route("/runs/{run_id}/actions/{action}", post(run::act))
        .route("/runs/{run_id}/changes", get(run::changes))
        .route("/runs/{run_id}/log-lines", get(run::follow))
        .route("/approvals", get(approvals::list))
        .route("/approvals/{gate_id}/decide", post(approvals::decide))
        .route("/settings/builder/auto-fix", get(settings::show).post(settings::change))
        .layer(from_fn_with_state(app.clone(), problem::dress))
        .layer(from_fn(guard));
    Router::new().route("/assets/{name}", get(assets::file)).merge(pages)
}

/// What no route answers: a page for browsers, a document for everybody else.
pub(crate) async fn nowhere(request: Request) -> Response {
    let path = request.uri().path();
    let problem = Problem::of_status(StatusCode::NOT_FOUND);
    if path.starts_with(BASE) || !accepts(request.headers(), HTML) {
        return problem.into_response();
    }
    let response = problem::page(&problem, request.headers(), request.extensions());
    guarded(response)
}

/// Headers that keep a page from being used by another.
async fn guard(request: Request, next: Next) -> Response {
    guarded(next.run(request).await)
}

fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), microphone=(), geolocation=(), payment=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
