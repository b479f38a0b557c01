//! Light, dark, or as the system has it: a cookie, because the page is made here.

use super::visitor::Fields;
use crate::problem::Problem;
use crate::routes::App;
use crate::session::{local_path, only_cookie};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, header};
use std::sync::Arc;

const COOKIE: &str = "mb_theme";
/// How long a choice is kept, in seconds: a year.
const KEEP_SECONDS: u32 = 31_536_000;

/// A page's colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// As the system has it.
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub(super) const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    /// What a browser chose.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        only_cookie(headers, COOKIE).map_or(Self::Auto, Self::named)
    }

    fn named(word: &str) -> Self {
        Self::ALL.into_iter().find(|t| t.word() == word).unwrap_or(Self::Auto)
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// `POST /theme`: chooses, and back to the page.
pub(super) async fn set(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (_, fields) = Fields::of_visitor(&app, request).await?;
    let theme = Theme::named(fields.text("theme"));
    let cookie = format!("{COOKIE}={}; Path=/; SameSite=Lax; Max-Age={KEEP_SECONDS}", theme.word());
    let back = local_path(fields.text("to")).to_owned();
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&back)).into_response())
}
