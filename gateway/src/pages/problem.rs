//! What goes wrong, in the same dress as everything else.

use super::layout::{Page, Section};
use super::theme::Theme;
use super::visitor::Visitor;
use crate::edge::Trace;
use crate::problem::Problem;
use crate::routes::App;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::{Extensions, HeaderMap, Method, StatusCode, header};
use maud::{Markup, html};
use std::sync::Arc;

/// Turns a handler's problem into a page, and a missing sign-in into the way there.
pub(super) async fn dress(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let asked = parts.clone();
    let response = next.run(Request::from_parts(parts.clone(), body)).await;
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            Problem::of_status(StatusCode::METHOD_NOT_ALLOWED)
        }
        None => return response,
    };
    if problem.status == StatusCode::UNAUTHORIZED {
        return to_sign_in(&asked.method, asked.uri.path_and_query().map(ToString::to_string));
    }
    // Whoever cannot be known now still gets the page, without a name on it; so does a form, which
    // was asked for its proof already.
    let visitor = match asked.method {
        Method::GET => Visitor::from_request_parts(&mut parts, &app).await.ok(),
        _ => None,
    };
    written(&problem, visitor.as_ref(), &asked.headers, &asked.extensions)
}

/// A problem as a page where it is not known who looks.
pub(super) fn page(problem: &Problem, headers: &HeaderMap, extensions: &Extensions) -> Response {
    written(problem, None, headers, extensions)
}

fn to_sign_in(method: &Method, path: Option<String>) -> Response {
    let path = path.filter(|path| method == Method::GET && path != "/runs");
    let query: String = path.map_or_else(String::new, |path| {
        let to = url::form_urlencoded::byte_serialize(path.as_bytes()).collect::<String>();
        format!("?to={to}")
    });
    Redirect::to(&format!("/sign-in{query}")).into_response()
}

fn written(
    problem: &Problem,
    visitor: Option<&Visitor>,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Response {
    let heading = heading(problem.status);
    let body = html! {
        section.problem {
            p.status-code { (problem.status.as_u16()) }
            h1 { (heading) }
            (details(problem))
            (advice(problem.status))
            @if let Some(trace) = extensions.get::<Trace>() {
                p.fine { "Request " code { (trace.request_id) } }
            }
        }
    };
    let theme = Theme::of(headers);
    let page = Page { title: heading, section: Section::None, visitor, waiting: None, theme, body };
    let mut response = page.into_response();
    *response.status_mut() = problem.status;
    let plain = problem.clone().into_response();
    if let Some(wait) = plain.headers().get(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, wait.clone());
    }
    response
}

fn heading(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "There is nothing here",
        StatusCode::FORBIDDEN => "This is not for you to do",
        StatusCode::CONFLICT => "Somebody was faster",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "Not to be had right now",
        s if s.is_client_error() => "That did not work",
        _ => "Something broke on our side",
    }
}

fn details(problem: &Problem) -> Markup {
    html! {
        @for entry in &problem.errors { p { (sentence(&entry.detail)) } }
    }
}

/// A problem's words with a capital and a stop, as people write sentences.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let stop = if text.ends_with(['.', '!', '?', ')']) { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}

fn advice(status: StatusCode) -> Markup {
    let text = match status {
        StatusCode::NOT_FOUND => {
            "It may have been removed, or belong to another tenant. Check the address."
        }
        StatusCode::FORBIDDEN => {
            "Ask somebody with a stronger role, or reload the page you came from."
        }
        StatusCode::CONFLICT => "Go back and look at what it is like now.",
        s if s.is_server_error() => {
            "What runs goes on by itself. Reload this page in a moment; nothing that was \
             acknowledged is lost."
        }
        _ => "Go back and try again.",
    };
    html! { p.advice { (text) } p { a.button href="/runs" { "To the runs" } } }
}
