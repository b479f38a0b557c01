//! Signing in and out.

use super::layout::{Page, Section};
use super::theme::Theme;
use super::visitor::Fields;
use crate::problem::Problem;
use crate::routes::App;
use crate::session::{self, local_path};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use maud::html;
use std::sync::Arc;

/// `GET /sign-in?to=`
pub(super) async fn show(headers: HeaderMap, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let asked = url::form_urlencoded::parse(query.as_bytes());
    let named = |name| asked.clone().find_map(|(n, v)| (n == name).then_some(v));
    let out = named("signed-out").is_some();
    form(&headers, &named("to").unwrap_or_default(), if out { Said::Out } else { Said::Nothing })
}

enum Said {
    Nothing,
    Out,
    Refused,
}

fn form(headers: &HeaderMap, to: &str, said: Said) -> Response {
    let refused = matches!(said, Said::Refused);
    let body = html! {
        section.sign-in {
            h1 { "Sign in" }
            @match said {
                Said::Nothing => {}
                Said::Out => p.note role="status" { "You are signed out." },
                Said::Refused => p.note.bad id="key-problem" role="alert" {
                    "This key does not sign in."
                },
            }
            form method="post" action="/sign-in" {
                input type="hidden" name="to" value=(local_path(to));
                label for="key" { "API key" }
                input id="key" name="key" type="password" required autocomplete="current-password"
                    spellcheck="false" autocapitalize="off" autofocus maxlength="512"
                    aria-invalid=[refused.then_some("true")]
                    aria-describedby=(if refused { "key-problem key-help" } else { "key-help" });
                p.fine id="key-help" {
                    "It begins with " code { "mb_" } ". An owner of your tenant makes one; "
                    code { "metabuilder up" } " prints one for development. The session ends when "
                    "the key does."
                }
                button.primary type="submit" { "Sign in" }
            }
        }
    };
    let (theme, section) = (Theme::of(headers), Section::None);
    Page { title: "Sign in", section, visitor: None, waiting: None, theme, body }.into_response()
}

/// `POST /sign-in`: a new session, and on to the page that was asked for.
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, fields) = Fields::of_visitor(&app, request).await?;
    let to = local_path(fields.text("to"));
    match session::begin(&app, &parts, fields.text("key").trim()).await {
        Ok(cookie) => Ok(([(header::SET_COOKIE, cookie)], Redirect::to(to)).into_response()),
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
            let mut page = form(&parts.headers, to, Said::Refused);
            *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(page)
        }
        Err(problem) => Err(problem),
    }
}

/// `POST /sign-out`
pub(super) async fn leave(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let form = Request::from_parts(parts.clone(), body);
    let (_, _) = Fields::of_signed_in(&app, form).await?;
    session::end(&app, &parts).await?;
    let cookie = [(header::SET_COOKIE, session::no_cookie(&app))];
    Ok((cookie, Redirect::to("/sign-in?signed-out=1")).into_response())
}
