//! Who looks at a page, and what a form says.

use super::theme::Theme;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::routes::App;
use crate::session;
use axum::extract::{FromRequestParts, Request};
use http::StatusCode;
use http::request::Parts;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a form.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// Somebody with a credential: by cookie as browsers have it, or by key like any client.
pub(super) struct Visitor {
    pub(super) caller: Caller,
    /// What this visitor's forms carry; empty for one who came by key, who has no forms.
    pub(super) csrf: String,
    pub(super) theme: Theme,
    /// The page with its query.
    pub(super) path: String,
}

impl Visitor {
    /// The actor without what only machines need.
    pub(super) fn name(&self) -> &str {
        let actor = self.caller.principal.actor.as_str();
        actor.split_once(':').map_or(actor, |(_, name)| name)
    }
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let signed = session::signed_in(app, parts).await?;
        let csrf = signed.map(|s| s.csrf()).unwrap_or_default();
        Ok(Self { caller, csrf, theme: Theme::of(&parts.headers), path: path(parts) })
    }
}

fn path(parts: &Parts) -> String {
    parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string)
}

/// The fields of a form.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// A field; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The form of anybody who is on one of our pages.
    ///
    /// # Errors
    /// 403 when it was sent from elsewhere, 413 when it is too large.
    pub(super) async fn of_visitor(app: &App, request: Request) -> Result<(Parts, Self), Problem> {
        let (parts, body) = request.into_parts();
        session::check_origin(app, &parts)?;
        let bytes = axum::body::to_bytes(body, FORM_BYTES_MAX).await.map_err(|_| {
            let detail = format!("the form is too large (expected {FORM_BYTES_MAX} bytes at most)");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        })?;
        let pairs = url::form_urlencoded::parse(&bytes);
        Ok((parts, Self(pairs.map(|(n, v)| (n.into_owned(), v.into_owned())).collect())))
    }

    /// The form of somebody who is signed in, sent from one of our pages.
    ///
    /// # Errors
    /// 401 without a session, 403 when it was sent from elsewhere or without the session's token.
    pub(super) async fn of_signed_in(
        app: &Arc<App>,
        request: Request,
    ) -> Result<(Visitor, Self), Problem> {
        let (parts, fields) = Self::of_visitor(app, request).await?;
        let Some(signed) = session::signed_in(app, &parts).await? else {
            return Err(Problem::unauthenticated("the session is over"));
        };
        signed.check_csrf(fields.0.get("csrf").map(String::as_str))?;
        let csrf = signed.csrf();
        let caller = Caller::of_session(app, &parts, signed.identity)?;
        let theme = Theme::of(&parts.headers);
        Ok((Visitor { caller, csrf, theme, path: path(&parts) }, fields))
    }
}
