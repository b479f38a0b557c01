//! The API about itself: its OpenAPI document, and a page that shows it without the internet.

use crate::contract;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let document = contract::document(super::routes().operations());
    Bytes::from(document.to_string())
});

const PAGE: &str = include_str!("about/docs.html");
const SCRIPT: &str = include_str!("about/docs.js");
const STYLE: &str = include_str!("about/docs.css");
/// Nothing comes from elsewhere, and nothing runs that is not ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /openapi.json`
pub(super) async fn openapi() -> Response {
    given("application/json", DOCUMENT.clone())
}

/// `GET /docs`
pub(super) async fn docs() -> Response {
    let mut response = given("text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes()));
    let policy = HeaderValue::from_static(POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// `GET /docs/docs.js`
pub(super) async fn script() -> Response {
    given("text/javascript; charset=utf-8", Bytes::from_static(SCRIPT.as_bytes()))
}

/// `GET /docs/docs.css`
pub(super) async fn style() -> Response {
    given("text/css; charset=utf-8", Bytes::from_static(STYLE.as_bytes()))
}

fn given(media: &'static str, body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, media), (header::CACHE_CONTROL, "max-age=300")], body).into_response()
}
