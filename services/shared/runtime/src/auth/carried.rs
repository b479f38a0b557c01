//! What a call carries beside its message: who it is made for, and what it belongs to.

use super::{ACTOR, CREDENTIAL, HOME, ROLE, SCOPES, TENANT};
use http::HeaderMap;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::{Identity, Principal};
use meta_proto::status::to_status;
use std::time::Duration;
use tonic::metadata::{MetadataMap, MetadataValue};

/// Characters of a request's name that are kept.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The identity that a service vouches for.
pub(super) fn claimed(headers: &HeaderMap) -> Result<Option<Identity>, Fault> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let (Some(tenant), Some(role)) = (text(TENANT), text(ROLE)) else { return Ok(None) };
    let bad = |name: &str, what: String| {
        Fault::new(ErrorKind::Unauthenticated, "BAD_PRINCIPAL", format!("{name}: {what}"))
    };
    let id = |name: &str, text: &str| {
        text.parse().map_err(|e: meta_domain::id::MalformedId| bad(name, e.to_string()))
    };
    let principal = Principal {
        tenant: id(TENANT, tenant)?,
        role: role.parse().map_err(|e: String| bad(ROLE, e))?,
        actor: text(ACTOR).unwrap_or("service").to_owned(),
    };
    let scopes = text(SCOPES).unwrap_or_default().parse();
    Ok(Some(Identity {
        principal,
        credential: text(CREDENTIAL).unwrap_or_default().to_owned(),
        scopes: scopes.map_err(|e: String| bad(SCOPES, e))?,
        home: text(HOME).map(|home| id(HOME, home)).transpose()?,
        expires: None,
    }))
}

/// What a request belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Names the request, when it has a name.
    pub request_id: String,
    /// The W3C trace that it belongs to, if any.
    pub trace_id: String,
}

impl Asked {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let request_id = text("x-request-id").unwrap_or_default();
        Self {
            request_id: request_id.chars().take(REQUEST_ID_CHARS_MAX).collect(),
            trace_id: text("traceparent").and_then(trace).unwrap_or_default().to_owned(),
        }
    }
}

/// What a request belongs to.
pub fn asked<T>(request: &tonic::Request<T>) -> Asked {
    Asked::of(request.metadata().as_ref())
}

/// The caller of a request, as the layer found it.
///
/// # Errors
/// `UNAUTHENTICATED` when the call came without one.
pub fn principal<T>(request: &tonic::Request<T>) -> Result<Principal, tonic::Status> {
    request.extensions().get::<Principal>().cloned().ok_or_else(nobody)
}

/// The caller of a request with the credential, as the layer found it.
///
/// # Errors
/// `UNAUTHENTICATED` when the call came without one.
pub fn identity<T>(request: &tonic::Request<T>) -> Result<Identity, tonic::Status> {
    request.extensions().get::<Identity>().cloned().ok_or_else(nobody)
}

fn nobody() -> tonic::Status {
    let text = "the call names no tenant";
    to_status(&Fault::new(ErrorKind::Unauthenticated, "NO_PRINCIPAL", text))
}

/// A request to a peer on behalf of a caller, with a deadline.
pub fn call<T>(caller: &Principal, timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = machine_call(timeout, message);
    insert(request.metadata_mut(), TENANT, &caller.tenant.to_string());
    insert(request.metadata_mut(), ROLE, caller.role.as_str());
    insert(request.metadata_mut(), ACTOR, &caller.actor);
    request
}

/// The same, with the credential that the caller has shown.
pub fn call_as<T>(caller: &Identity, timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = call(&caller.principal, timeout, message);
    let scopes = caller.scopes.to_string();
    let home = caller.home.map(|home| home.to_string()).unwrap_or_default();
    let more = [(CREDENTIAL, &caller.credential), (SCOPES, &scopes), (HOME, &home)];
    for (name, text) in more.into_iter().filter(|(_, text)| !text.is_empty()) {
        insert(request.metadata_mut(), name, text);
    }
    request
}

fn insert(metadata: &mut MetadataMap, name: &'static str, text: &str) {
    if text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && let Ok(value) = MetadataValue::try_from(text)
    {
        metadata.insert(name, value);
        return;
    }
    let plain: String =
        text.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect();
    let value = MetadataValue::try_from(plain);
    metadata.insert(name, value.unwrap_or_else(|_| MetadataValue::from_static("?")));
}

/// The W3C trace that a request belongs to, if it names one.
pub fn trace_id<T>(request: &tonic::Request<T>) -> Option<&str> {
    trace(request.metadata().get("traceparent")?.to_str().ok()?)
}

fn trace(parent: &str) -> Option<&str> {
    let trace = parent.split('-').nth(1)?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (trace.len() == 32 && trace.bytes().all(hex)).then_some(trace)
}

/// A request to a peer that belongs to no tenant, with a deadline.
pub fn machine_call<T>(timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}
