//! What goes wrong, as JSON:API errors or as `application/problem+json` (RFC 9457).
//!
//! A handler returns a [`Problem`]; the edge renders it once it knows what the caller accepts.

use crate::quota::Quota;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_proto::status::from_status;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::error::Error as _;
use std::time::Duration;
use tonic::{Code, Status};

/// What a caller should wait when a backend is down and did not say.
pub(crate) const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(2);
/// The media type of RFC 9457.
pub(crate) const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";
const INTERNAL_DETAIL: &str =
    "something failed on our side; the log has the details under the request id";

/// Which part of the request is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// A JSON pointer into the request document.
    Pointer(String),
    /// A path or query parameter.
    Parameter(String),
    /// A request header.
    Header(&'static str),
}

/// One error of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) code: String,
    pub(crate) detail: String,
    pub(crate) at: Option<At>,
}

impl Entry {
    /// A field of the request document that does not hold what it should.
    pub(crate) fn of_field(code: &str, field: &InvalidField) -> Self {
        let at = Some(At::Pointer(pointer(&field.path)));
        Self { code: code.to_owned(), detail: field.to_string(), at }
    }
}

/// Characters of a caller's text that an error repeats at most.
const SHOWN_CHARS_MAX: usize = 80;

/// A caller's text as an error repeats it: quoted, and cut when it is long.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

/// Errors that are written at most, and characters of a detail or a pointer.
const ERRORS_MAX: usize = 100;
const DETAIL_CHARS_MAX: usize = 1_000;

/// A text without its middle when it is long, so that a huge request gets no huge answer: what is
/// wrong stands at its start, what was expected at its end.
fn cut(text: &str) -> Cow<'_, str> {
    let half = DETAIL_CHARS_MAX / 2;
    if text.len() <= DETAIL_CHARS_MAX {
        return text.into();
    }
    let start = text.char_indices().nth(half).map_or(text.len(), |(at, _)| at);
    let end = text.char_indices().nth_back(half - 1).map_or(0, |(at, _)| at);
    if end <= start {
        return text.into();
    }
    format!("{}…{}", &text[..start], &text[end..]).into()
}

/// An error response that is not rendered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) errors: Vec<Entry>,
    retry_after: Option<Duration>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
    quota: Option<Box<Quota>>,
}

impl Problem {
    /// One error.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let entry = Entry { code: code.to_owned(), detail: detail.into(), at: None };
        Self::of_entries(status, vec![entry])
    }

    fn of_entries(status: StatusCode, errors: Vec<Entry>) -> Self {
        Self { status, errors, retry_after: None, header: None, quota: None }
    }

    /// The same, with how long to wait before the next try.
    #[must_use]
    pub(crate) fn wait(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// More is asked at once than this gateway can take.
    pub(crate) fn overloaded() -> Self {
        let detail = "too many requests are at work here at the moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).wait(RETRY_AFTER_DEFAULT)
    }

    /// A bad request.
    pub(crate) fn bad(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// A path or query parameter that does not hold what it should.
    pub(crate) fn parameter(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::bad("invalid_parameter", format!("{name}: {detail}")).at(At::Parameter(name.into()))
    }

    /// Fields of the request document that do not hold what they should.
    pub(crate) fn fields(code: &str, fields: &[InvalidField]) -> Self {
        Self::entries(fields.iter().map(|field| Entry::of_field(code, field)).collect())
    }

    /// Several parts of a bad request, each with its own code.
    pub(crate) fn entries(errors: Vec<Entry>) -> Self {
        Self::of_entries(StatusCode::BAD_REQUEST, errors)
    }

    /// No credential, or one that is not known.
    pub(crate) fn unauthenticated(detail: &str) -> Self {
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail);
        let challenge = HeaderValue::from_static("Bearer realm=\"metabuilder\"");
        problem.header = Some(Box::new((header::WWW_AUTHENTICATE, challenge)));
        problem
    }

    /// A bug or a broken peer; what it was is only in the log.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL_DETAIL)
    }

    /// A peer did not answer in time.
    pub(crate) fn deadline() -> Self {
        let detail = "a service behind the gateway did not answer in time";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", detail)
    }

    /// What HTTP itself refuses, when all that is known is the status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("route_not_found", "there is no such route"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "the route does not know this method (see Allow)")
            }
            s if s.is_client_error() => ("bad_request", "the request is not valid"),
            _ => ("internal", INTERNAL_DETAIL),
        };
        Self::new(status, code, detail)
    }

    /// Names the part of the request that is at fault.
    #[must_use]
    pub(crate) fn at(mut self, at: At) -> Self {
        if let Some(first) = self.errors.first_mut() {
            first.at = Some(at);
        }
        self
    }

    /// The same errors, where a peer's field is what a query parameter of that name says.
    #[must_use]
    pub(crate) fn in_query(mut self, names: &[&str]) -> Self {
        for entry in &mut self.errors {
            let Some(At::Pointer(at)) = &entry.at else { continue };
            let last = at.rsplit('/').next().unwrap_or_default();
            if let Some(name) = names.iter().find(|name| **name == last) {
                entry.at = Some(At::Parameter((*name).to_owned()));
            }
        }
        self
    }

    /// The errors as a JSON:API document.
    pub(crate) fn json_api(&self, request_id: &str, trace_id: &str) -> Value {
        let entry = |e: &Entry| {
            let mut error = json!({
                "status": self.status.as_str(),
                "code": e.code,
                "title": title(&e.code),
                "detail": cut(&e.detail),
                "meta": { "request_id": request_id, "trace_id": trace_id },
            });
            match &e.at {
                Some(At::Pointer(pointer)) => {
                    error["source"] = json!({ "pointer": cut(pointer) });
                }
                Some(At::Parameter(name)) => {
                    error["source"] = json!({ "parameter": cut(name) });
                }
                Some(At::Header(name)) => error["source"] = json!({ "header": name }),
                None => {}
            }
            error
        };
        json!({ "errors": self.errors.iter().take(ERRORS_MAX).map(entry).collect::<Vec<_>>() })
    }

    /// The errors as an RFC 9457 document.
    pub(crate) fn problem_json(&self, request_id: &str, trace_id: &str) -> Value {
        let first = self.errors.first();
        let code = first.map_or("internal", |e| e.code.as_str());
        let mut problem = json!({
            "type": format!("urn:metabuilder:error:{code}"),
            "title": title(code),
            "status": self.status.as_u16(),
            "detail": first.map(|e| cut(&e.detail)),
            "code": code,
            "request_id": request_id,
            "trace_id": trace_id,
        });
        let part = |e: &Entry| match e.at.as_ref()? {
            At::Pointer(at) => Some(json!({ "pointer": cut(at), "detail": cut(&e.detail) })),
            At::Parameter(at) => Some(json!({ "parameter": cut(at), "detail": cut(&e.detail) })),
            At::Header(at) => Some(json!({ "header": at, "detail": cut(&e.detail) })),
        };
        let parts: Vec<Value> = self.errors.iter().take(ERRORS_MAX).filter_map(part).collect();
        if !parts.is_empty() {
            problem["errors"] = parts.into();
        }
        problem
    }
}

/// The title of a code: the code as words, so it is the same every time.
fn title(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `steps[2].timeout` as a JSON pointer into the attributes.
pub(crate) fn pointer(path: &str) -> String {
    let mut pointer = String::from("/data/attributes");
    for part in path.split(['.', '[']).map(|p| p.trim_end_matches(']')).filter(|p| !p.is_empty()) {
        pointer.push('/');
        pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::from(meta_proto::status::to_status(&fault))
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let mut got = from_status(&status);
        let quota = Quota::of(status.metadata()).said();
        let broken = matches!(status.code(), Code::Unknown | Code::Internal);
        if broken && status.source().is_some() {
            got.kind = ErrorKind::Unavailable;
        }
        match got.kind {
            ErrorKind::Internal => {
                let said = status.message();
                tracing::error!(code = ?status.code(), said, "a peer failed");
                return Self::internal();
            }
            ErrorKind::Unauthenticated => {
                let said = status.message();
                tracing::error!(said, "a peer refused the gateway's own credential");
                return Self::internal();
            }
            ErrorKind::DeadlineExceeded => return Self::deadline(),
            ErrorKind::Unavailable => {
                tracing::warn!(said = status.message(), "a peer cannot be reached");
                "a service behind the gateway cannot be reached".clone_into(&mut got.message);
                got.retry_after = got.retry_after.or(Some(RETRY_AFTER_DEFAULT));
            }
            ErrorKind::InvalidArgument
            | ErrorKind::PermissionDenied
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::FailedPrecondition
            | ErrorKind::Conflict
            | ErrorKind::ResourceExhausted => {}
        }
        let code = if got.reason.is_empty() {
            got.kind.code().to_owned()
        } else {
            got.reason.to_ascii_lowercase()
        };
        let status = StatusCode::from_u16(got.kind.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut problem = if got.fields.is_empty() {
            Self::new(status, &code, got.message)
        } else {
            Self::fields(&code, &got.fields)
        };
        problem.status = status;
        problem.retry_after = got.retry_after;
        problem.quota = quota.map(Box::new);
        problem
    }
}

impl IntoResponse for Problem {
    /// Status and headers; the edge adds the body.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(wait) = self.retry_after {
            let up = u64::from(wait.subsec_nanos() > 0);
            let seconds = wait.as_secs().saturating_add(up).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(quota) = &self.quota {
            quota.write(response.headers_mut());
        }
        if let Some((name, value)) = self.header.as_deref() {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_pointers() {
        for (path, expected) in [
            ("", "/data/attributes"),
            ("title", "/data/attributes/title"),
            ("steps[2].needs[0]", "/data/attributes/steps/2/needs/0"),
            ("a/b~c", "/data/attributes/a~1b~0c"),
        ] {
            assert_eq!(pointer(path), expected);
        }
    }

    #[test]
    fn a_long_text_is_not_repeated_whole() {
        assert_eq!(shown("a\"b"), r#""a\"b""#);
        assert!(shown(&"é".repeat(10_000)).chars().count() < 100);
    }

    #[test]
    fn an_error_is_short_however_long_the_request_was() {
        let long = "é".repeat(10_000);
        let detail = format!("title: {long:?} is not valid (expected less)");
        let field = InvalidField::new(format!("steps[0].{long}"), detail);
        let problem = Problem::fields("invalid_field", &vec![field; 200]);
        for text in [problem.json_api("r", "t"), problem.problem_json("r", "t")] {
            let text = text.to_string();
            assert!(text.len() < 1_000 * ERRORS_MAX * 5, "{}", text.len());
            assert!(text.contains("is not valid (expected less)"));
        }
        for whole in ["", "a", &"é".repeat(500), &"a".repeat(1_000)] {
            assert_eq!(cut(whole), whole);
        }
        assert_eq!(cut(&long).chars().count(), 1_001);
    }

    #[test]
    fn titles_are_fixed_by_their_code() {
        assert_eq!(title("run_not_found"), "Run not found");
        assert_eq!(title(""), "");
    }

    #[test]
    fn an_internal_error_tells_nothing() {
        let problem = Problem::from(Status::internal("password=hunter2"));
        assert_eq!(problem.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!problem.json_api("r", "t").to_string().contains("hunter2"));
    }

    #[test]
    fn an_unreachable_peer_asks_to_wait() {
        let response = Problem::from(Status::unavailable("10.0.0.7 refused")).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
