//! Signing in at a provider: there with a secret that only this browser keeps, and back with a code.

use super::sign_in;
use crate::auth::refused;
use crate::problem::Problem;
use crate::routes::App;
use crate::session::{self, With, local_path};
use axum::extract::{Request, State};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{StatusCode, header};
use meta_tokens::SignIn;
use std::sync::Arc;

/// The cookie of a sign-in that is under way.
const COOKIE: &str = "mb_signing_in";
/// How long somebody may take at the provider, in seconds.
const SIGN_IN_SECONDS: u32 = 600;

fn provider(app: &App) -> Result<&meta_tokens::Provider, Problem> {
    app.provider.as_ref().ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))
}

fn query(parts: &Parts, name: &str) -> Option<String> {
    let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(n, _)| n == name).map(|(_, value)| value.into_owned());
    let first = values.next()?;
    // of two nobody knows which one was meant
    values.next().is_none().then_some(first)
}

/// `GET /sign-in/provider?to=`: to the provider.
pub(super) async fn leave(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let secret = meta_runtime::clock::secret();
    let sign_in = SignIn::of(&secret).ok_or_else(Problem::internal)?;
    let started = provider(&app)?.start(&sign_in, meta_runtime::now()).await;
    let started = started.map_err(|error| {
        tracing::error!(%error, "the provider cannot be asked");
        let detail = "the provider at which one signs in cannot be reached";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "provider_unreachable", detail)
            .wait(crate::problem::RETRY_AFTER_DEFAULT)
    })?;
    let to = query(&parts, "to").unwrap_or_default();
    let to: String = url::form_urlencoded::byte_serialize(local_path(&to).as_bytes()).collect();
    let cookie = session::own_cookie(&app, COOKIE, &format!("{secret}.{to}"), SIGN_IN_SECONDS);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&started.location)).into_response())
}

/// `GET /sign-in/callback?code=&state=`: back from the provider.
pub(super) async fn back(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let address = sign_in::attempt(&app, &parts)?;
    let over = session::own_cookie(&app, COOKIE, "", 0);
    match signed_in(&app, &parts).await {
        Ok((cookie, to)) => {
            let cookies = AppendHeaders([(header::SET_COOKIE, cookie), (header::SET_COOKIE, over)]);
            Ok((cookies, Redirect::to(&to)).into_response())
        }
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
            sign_in::failed(&app, address);
            let page = sign_in::not_signed_in(&app, &parts.headers);
            Ok(([(header::SET_COOKIE, over)], page).into_response())
        }
        Err(problem) => Err(problem),
    }
}

async fn signed_in(app: &App, parts: &Parts) -> Result<(http::HeaderValue, String), Problem> {
    let provider = provider(app)?;
    let nobody = || Problem::unauthenticated("nobody came back from the provider");
    let kept = session::own_cookie_of(app, &parts.headers, COOKIE).ok_or_else(nobody)?;
    let (secret, to) = kept.split_once('.').ok_or_else(nobody)?;
    let sign_in = SignIn::of(secret).ok_or_else(nobody)?;
    let state = query(parts, "state").ok_or_else(nobody)?;
    if !sign_in.is_of(&state) || query(parts, "iss").is_some_and(|iss| iss != provider.issuer()) {
        return Err(nobody());
    }
    if let Some(error) = query(parts, "error") {
        let error: String = error.chars().filter(char::is_ascii_graphic).take(80).collect();
        tracing::info!(error, "the provider signs nobody in");
        return Err(nobody());
    }
    let code = query(parts, "code").ok_or_else(nobody)?;
    let claims = provider.finish(&sign_in, &code, meta_runtime::now()).await;
    let claims = claims.map_err(|why| {
        tracing::info!(%why, "a sign-in at the provider is not believed");
        refused(why)
    })?;
    let cookie = session::begin(app, parts, With::Known(&claims.identity())).await?;
    let to = url::form_urlencoded::parse(format!("to={to}").as_bytes())
        .next()
        .map(|(_, to)| to.into_owned())
        .unwrap_or_default();
    Ok((cookie, local_path(&to).to_owned()))
}
