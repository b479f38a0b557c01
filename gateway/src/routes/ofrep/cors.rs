//! Evaluations that scripts of other sites ask for in browsers: of the origins that the operator
//! named, and of no other. Nothing of it carries cookies.

use crate::routes::App;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;

/// What lies below is what scripts may ask for.
const PATHS: &str = "/ofrep/";
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const ASKED: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-none-match, x-api-key");
const SHOWN: HeaderValue = HeaderValue::from_static("etag, retry-after, x-request-id");
/// How long a browser remembers that it may ask, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

/// The layer.
pub(crate) async fn cors(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.config.cors_origins.is_empty() || !request.uri().path().starts_with(PATHS) {
        return next.run(request).await;
    }
    let origin = named(&app.config.cors_origins, request.headers());
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if request.method() == Method::OPTIONS && asks && origin.is_some() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN);
        if asks {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ASKED);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
        }
    }
    response
}

/// The one origin of a request, when the operator named it.
fn named(allowed: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(header::ORIGIN).iter();
    let origin = values.next().filter(|_| values.next().is_none())?;
    let text = origin.to_str().ok()?;
    let same = |one: &String| one.trim_end_matches('/').eq_ignore_ascii_case(text);
    allowed.iter().any(same).then(|| origin.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_origin_is_one() {
        let allowed = ["https://app.example".to_owned(), "http://localhost:3000/".to_owned()];
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ORIGIN, value.parse().unwrap());
            }
            named(&allowed, &headers).is_some()
        };
        assert!(of(&["https://app.example"]) && of(&["http://localhost:3000"]));
        for bad in [
            vec![],
            vec!["null"],
            vec!["https://app.example.evil.example"],
            vec!["http://app.example"],
            vec!["https://app.example:8443"],
            vec!["https://app.example", "https://app.example"],
        ] {
            assert!(!of(&bad), "{bad:?}");
        }
    }
}
