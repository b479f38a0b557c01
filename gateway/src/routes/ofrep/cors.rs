//! Evaluations that scripts of other sites ask for in browsers: of the origins that the operator
//! named, and of no other. Nothing of it carries cookies.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// What lies below is what scripts may ask for.
const PATHS: &str = "/ofrep/";
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const ASKED: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-none-match, x-api-key");
const SHOWN: HeaderValue = HeaderValue::from_static("etag, retry-after, x-request-id");
/// How long a browser remembers that it may ask, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

/// A request for evaluations where scripts of other sites may ask for them.
pub(crate) struct Foreign {
    origin: Option<HeaderValue>,
    /// Whether a browser asks if a script may ask.
    asks: bool,
    preflight: bool,
}

impl Foreign {
    /// What a request is, where the operator named origins and it is for what lies open to them.
    pub(crate) fn of(origins: &[String], request: &Request) -> Option<Self> {
        if origins.is_empty() || !request.uri().path().starts_with(PATHS) {
            return None;
        }
        let origin = named(origins, request.headers());
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let preflight = request.method() == Method::OPTIONS && asks && origin.is_some();
        Some(Self { origin, asks, preflight })
    }

    /// The answer to a browser's question, which no route sees.
    pub(crate) fn preflight(&self) -> Option<Response> {
        self.preflight.then(|| StatusCode::NO_CONTENT.into_response())
    }

    /// The answer with what the browser may do with it.
    pub(crate) fn allowed(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN);
            if self.asks {
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ASKED);
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
            }
        }
        response
    }
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
