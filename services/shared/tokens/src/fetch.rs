//! Asking an issuer: over TLS (or on loopback), without redirects and proxies, and never for long.

use futures::StreamExt;
use meta_domain::fault::InvalidField;
use reqwest::{Client, RequestBuilder, StatusCode};
use std::time::Duration;
use url::Url;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Why an issuer's answer cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(crate) String);

/// A client for issuers.
///
/// # Errors
/// When there can be none.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .timeout(ANSWER_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

/// The body of a successful answer.
pub(crate) async fn answer(request: RequestBuilder) -> Result<Vec<u8>, Error> {
    let failed = |e: reqwest::Error| Error(deepest(&e.without_url()));
    let answer = request.send().await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        return Err(Error(format!("the answer is {}", answer.status())));
    }
    let mut bytes = Vec::new();
    let mut parts = answer.bytes_stream();
    while let Some(part) = parts.next().await {
        bytes.extend_from_slice(&part.map_err(failed)?);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(Error(format!("the answer has more than {ANSWER_BYTES_MAX} bytes")));
        }
    }
    Ok(bytes)
}

/// The innermost cause, which says what happened.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// An address that an issuer may be asked at.
pub(crate) fn checked_url(name: &str, text: &str) -> Result<Url, InvalidField> {
    let bad = |problem: &str| {
        let expected = "expected an https:// address, or http:// on loopback";
        InvalidField::new(name, format!("{text:?} {problem} ({expected})"))
    };
    let url: Url = text.parse().map_err(|_| bad("is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidField::new(name, "has a user (expected an address without one)"));
    }
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => Err(bad("is not safe")),
    }
}
