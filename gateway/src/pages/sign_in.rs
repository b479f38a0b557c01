//! Signing in and out.

use super::layout::{Page, Section};
use super::theme::Theme;
use super::visitor::Fields;
use crate::problem::Problem;
use crate::routes::App;
use crate::session::{self, With, local_path};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri, header};
use maud::{Markup, html};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// `GET /sign-in?to=`
pub(super) async fn show(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let asked = url::form_urlencoded::parse(query.as_bytes());
    let named = |name| asked.clone().find_map(|(n, v)| (n == name).then_some(v));
    let out = named("signed-out").is_some();
    let said = if out { Said::Out } else { Said::Nothing };
    form(&app, &headers, &named("to").unwrap_or_default(), said)
}

enum Said {
    Nothing,
    Out,
    Refused,
    NotSignedIn,
}

impl Said {
    fn words(&self) -> Markup {
        html! {
            @match self {
                Self::Nothing => {}
                Self::Out => p.note role="status" { "You are signed out." },
                Self::Refused => p.note.bad id="key-problem" role="alert" {
                    "This key does not sign in."
                },
                Self::NotSignedIn => p.note.bad role="alert" {
                    "You are not signed in. Try again, or ask whoever runs this installation \
                     whether you may."
                },
            }
        }
    }
}

fn form(app: &App, headers: &HeaderMap, to: &str, said: Said) -> Response {
    let refused = matches!(said, Said::Refused);
    let to = local_path(to);
    let body = html! {
        section.sign-in {
            h1 { "Sign in" }
            (said.words())
            @if let Some(provider) = &app.provider {
                @let query: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
                p { a.button href=(format!("/sign-in/provider?to={query}")) {
                    "Sign in with " (provider.name())
                } }
            }
            form method="post" action="/sign-in" {
                input type="hidden" name="to" value=(to);
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

/// The page for somebody whom the provider did not sign in.
pub(super) fn not_signed_in(app: &App, headers: &HeaderMap) -> Response {
    let mut page = form(app, headers, "", Said::NotSignedIn);
    *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    page
}

/// Whether the address of a request may try to sign in; answers it.
///
/// # Errors
/// 429 for one that failed too often.
pub(super) fn attempt(app: &App, parts: &Parts) -> Result<Option<IpAddr>, Problem> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    let address = app.signins.address(peer, &parts.headers);
    app.signins.check(address, Instant::now())?;
    Ok(address)
}

/// An address has failed to sign in.
pub(super) fn failed(app: &App, address: Option<IpAddr>) {
    app.signins.failed(address, Instant::now());
}

/// `POST /sign-in`: a new session, and on to the page that was asked for.
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, fields) = Fields::of_visitor(&app, request).await?;
    let address = attempt(&app, &parts)?;
    let to = local_path(fields.text("to"));
    match session::begin(&app, &parts, With::Key(fields.text("key").trim())).await {
        Ok(cookie) => Ok(([(header::SET_COOKIE, cookie)], Redirect::to(to)).into_response()),
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
            failed(&app, address);
            let mut page = form(&app, &parts.headers, to, Said::Refused);
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
