//! What is said: evaluations, refusals, and the tag of a whole answer.

use super::{EVENTS, JSON};
use crate::problem::Problem;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use meta_domain::settings::openfeature::{FLAG_SET, remote_reason, variant};
use meta_domain::settings::{Layer, Owner, Setting, Value};
use meta_runtime::flags::{Answer, Evaluated};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;

/// What a client waits when there is no answer for the moment, in seconds.
const RETRY_SECONDS: u64 = 1;
/// Bytes that an answer has room for before it grows: one flag, and all of them.
const FLAG_BYTES: usize = 256;
const BULK_BYTES: usize = 1024;

#[derive(Serialize)]
struct Evaluation {
    key: &'static str,
    value: Value,
    reason: &'static str,
    variant: &'static str,
    metadata: FlagMetadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FlagMetadata {
    layer: &'static str,
    version: u64,
    stale: bool,
    flag_set_id: &'static str,
}

impl Evaluation {
    fn of(setting: Setting, value: Value, layer: Layer, version: u64, stale: bool) -> Self {
        let layer_word = variant(layer);
        Self {
            key: setting.as_str(),
            value,
            reason: remote_reason(layer),
            variant: layer_word,
            metadata: FlagMetadata { layer: layer_word, version, stale, flag_set_id: FLAG_SET },
        }
    }
}

/// One evaluation.
pub(super) fn evaluation_json(setting: Setting, found: &Evaluated) -> Vec<u8> {
    let stale = found.freshness.is_stale();
    json(FLAG_BYTES, &Evaluation::of(setting, found.value, found.layer, found.version, stale))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bulk {
    flags: Vec<Evaluation>,
    metadata: SetMetadata,
    event_streams: [EventStream; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SetMetadata {
    version: u64,
    stale: bool,
    flag_set_id: &'static str,
}

#[derive(Serialize)]
struct EventStream {
    r#type: &'static str,
    endpoint: Endpoint,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    request_uri: String,
}

/// Every flag, and where the client hears that they have changed.
pub(super) fn bulk_json(owner: Option<Owner>, found: &Answer) -> Vec<u8> {
    let (version, stale) = (found.version, found.freshness.is_stale());
    let flag = |setting: &Setting| {
        let value = found.resolved.settings.get(*setting);
        Evaluation::of(*setting, value, found.resolved.layer(*setting), version, stale)
    };
    let bulk = Bulk {
        flags: Setting::ALL.iter().map(flag).collect(),
        metadata: SetMetadata { version, stale, flag_set_id: FLAG_SET },
        event_streams: [EventStream {
            r#type: "sse",
            endpoint: Endpoint { request_uri: events_uri(owner) },
        }],
    };
    json(BULK_BYTES, &bulk)
}

/// Where the changes of an owner's flags are heard; an empty tenant is nobody.
fn events_uri(owner: Option<Owner>) -> String {
    let mut uri = format!("{EVENTS}?tenantId=");
    if let Some(owner) = owner {
        write!(uri, "{}", owner.tenant).expect("a String takes all that is written");
        if let Some(run) = owner.run {
            write!(uri, "&runId={run}").expect("a String takes all that is written");
        }
    }
    uri
}

fn json(room: usize, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(room);
    serde_json::to_writer(&mut bytes, value).expect("these types have no way to fail");
    bytes
}

/// Names what an owner is told: two answers with the same tag hold the same values from the same
/// layers, equally fresh. The version is left out, so that others' changes keep the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u128);

impl Tag {
    /// The tag of an answer.
    pub(super) fn of(owner: Option<Owner>, found: &Answer) -> Self {
        let mut hash = Sha256::new();
        if let Some(owner) = owner {
            hash.update(owner.tenant.0.as_bytes());
            if let Some(run) = owner.run {
                hash.update(run.0.as_bytes());
            }
        }
        for setting in Setting::ALL {
            let (kind, number) = match found.resolved.settings.get(*setting) {
                Value::Bool(v) => (0, u32::from(v)),
                Value::Int(v) => (1, v),
            };
            hash.update([found.resolved.layer(*setting) as u8, kind]);
            hash.update(number.to_be_bytes());
        }
        hash.update([u8::from(found.freshness.is_stale())]);
        let half = hash.finalize().into_iter().take(16);
        Self(half.fold(0, |number, byte| number << 8 | u128::from(byte)))
    }

    /// As it stands in `ETag`.
    pub(super) fn quoted(self) -> String {
        format!("\"{:032x}\"", self.0)
    }

    /// `ETag`.
    pub(super) fn header(self) -> HeaderValue {
        HeaderValue::from_str(&self.quoted()).expect("hexadecimal digits fit in a header")
    }

    /// Whether `If-None-Match` names it: in a list, weakly, or by `*`.
    pub(super) fn is_named(self, headers: &HeaderMap) -> bool {
        let mut lists = headers.get_all(header::IF_NONE_MATCH).iter().peekable();
        if lists.peek().is_none() {
            return false;
        }
        let own = self.quoted();
        lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == own
        })
    }
}

/// Why there is no evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// No such flag, or a tenant that is not the caller's: the same answer.
    NotFound,
    /// The key cannot be one.
    Malformed(&'static str),
    /// The body is not JSON.
    Json { line: usize, column: usize },
    /// The body is JSON, but not a context.
    Context { line: usize, column: usize },
    /// Not for the moment.
    Unavailable(&'static str),
    /// What any route may answer.
    Problem(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Malformed(_) | Self::Json { .. } | Self::Context { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Problem(problem) => problem.status,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "FLAG_NOT_FOUND",
            Self::Json { .. } => "PARSE_ERROR",
            Self::Context { .. } => "INVALID_CONTEXT",
            Self::Malformed(_) | Self::Unavailable(_) | Self::Problem(_) => "GENERAL",
        }
    }

    fn details(&self) -> Cow<'_, str> {
        match self {
            Self::NotFound => "there is no such flag".into(),
            Self::Malformed(problem) | Self::Unavailable(problem) => (*problem).into(),
            Self::Json { line, column } => {
                format!("the body is not valid JSON (line {line}, column {column})").into()
            }
            Self::Context { line, column } => format!(
                "the body is not {{\"context\": {{…}}}} with each attribute once (line {line}, \
                 column {column})"
            )
            .into(),
            Self::Problem(problem) => {
                problem.errors.first().map_or("the request failed", |e| e.detail.as_str()).into()
            }
        }
    }

    /// The answer, with the flag's key where one was asked for.
    pub(super) fn into_response(self, key: Option<&str>) -> Response {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Failure<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            key: Option<&'a str>,
            error_code: &'static str,
            error_details: Cow<'a, str>,
        }
        let failure = Failure { key, error_code: self.code(), error_details: self.details() };
        let body = json(FLAG_BYTES, &failure);
        let mut response = match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Unavailable(_) => {
                let wait = HeaderValue::from(RETRY_SECONDS);
                (self.status(), [(header::RETRY_AFTER, wait)]).into_response()
            }
            other => other.status().into_response(),
        };
        response.extensions_mut().remove::<Problem>();
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        *response.body_mut() = body.into();
        response
    }
}
